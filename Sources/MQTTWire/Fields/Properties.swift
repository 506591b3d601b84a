public import Bounded

/// A property (§2.2.2.2)  ┌──────────────┬──────────────────────────────────────────────────┐
///                        │ identifier u8│ value: u8, u16, u32, VBI, string, binary or pair │
///                        └──────────────┴──────────────────────────────────────────────────┘
/// (The identifier is a VBI by the standard; all that exist are below 128.)
public struct Property: BitwiseCopyable, Sendable {
  public let id: PropertyID
  /// The value of a numeric property.
  public let uint32: UInt32
  /// The name of a User Property, else empty.
  public let key: Bytes
  /// The value of a string, binary or User Property, else empty.
  public let value: Bytes
  /// The whole property as it stands, identifier included.
  public let encoded: Bytes

  public var byte: UInt8 { UInt8(truncatingIfNeeded: uint32) }
  public var uint16: UInt16 { UInt16(truncatingIfNeeded: uint32) }
  public var bytes: Bytes { value }
  public var bool: Bool { uint32 != 0 }

  /// Reads the form only; text and ranges are judged by `check`.
  init(from reader: inout ByteReader) throws(WireError) {
    let start = reader.offset
    guard let id = PropertyID(rawValue: try reader.readByte()) else { throw .malformedPacket }  // §2.2.2.2
    var number: UInt32 = 0
    var key = Bytes.empty
    var value = Bytes.empty
    switch id.form {
    case .byte: number = UInt32(try reader.readByte())
    case .uint16: number = UInt32(try reader.readUInt16())
    case .uint32: number = try reader.readUInt32()
    case .variableByteInteger: number = try reader.readVariableByteInteger()
    case .string, .binary: value = try reader.readBinary()
    case .stringPair:
      key = try reader.readBinary()
      value = try reader.readBinary()
    }
    self.id = id
    uint32 = number
    self.key = key
    self.value = value
    encoded = reader.bytes[start..<reader.offset]
  }

  func check() throws(WireError) {
    switch id {
    case .payloadFormatIndicator, .requestProblemInformation, .requestResponseInformation, .maximumQoS,
      .retainAvailable, .wildcardSubscriptionAvailable, .subscriptionIdentifierAvailable,
      .sharedSubscriptionAvailable:
      guard uint32 <= 1 else { throw .protocolError }
    case .receiveMaximum, .maximumPacketSize, .subscriptionIdentifier:
      guard uint32 != 0 else { throw .protocolError }  // §3.1.2.11.3, §3.1.2.11.4, §3.8.2.1.2
    case .topicAlias:
      guard uint32 != 0 else { throw .topicAliasInvalid }  // §3.3.2.3.4
    case .responseTopic:
      if Topic.isValidName(value) { break }
      throw UTF8Check.isValid(value) ? .protocolError : .malformedPacket  // §3.3.2.3.5
    case .contentType, .assignedClientIdentifier, .authenticationMethod, .responseInformation, .serverReference,
      .reasonString:
      guard UTF8Check.isValid(value) else { throw .malformedPacket }
    case .userProperty:
      guard UTF8Check.isValid(key), UTF8Check.isValid(value) else { throw .malformedPacket }
    case .messageExpiryInterval, .correlationData, .sessionExpiryInterval, .serverKeepAlive, .authenticationData,
      .willDelayInterval, .topicAliasMaximum:
      break
    }
  }
}

/// A validated property block: every identifier known and allowed where it stands, none twice that may stand
/// once, text well-formed, numbers in range (§2.2.2).
public struct Properties: BitwiseCopyable, Sendable {
  /// The block without its Property Length.
  public let bytes: Bytes

  @inlinable init(validated bytes: Bytes) { self.bytes = bytes }

  /// Judges a block that was written by hand.
  @_optimize(size) public init(_ bytes: Bytes, in scope: PropertyScope) throws(WireError) {
    var scan = PropertyScan(block: bytes, scope: scope)
    while try scan.next() != nil {}
    self.bytes = bytes
  }

  @inlinable public static var none: Properties { Properties(validated: .empty) }

  @inlinable public var isEmpty: Bool { bytes.isEmpty }

  public func makeReader() -> PropertyReader { PropertyReader(bytes) }

  public func first(_ id: PropertyID) -> Property? {
    var reader = makeReader()
    while let property = reader.next() {
      if property.id == id { return property }
    }
    return nil
  }

  /// Copies the properties in `kept`, in their order.
  public func write<Sink: ByteSink>(_ kept: PropertySet, to sink: inout Sink) {
    var reader = makeReader()
    while let property = reader.next() {
      if kept.contains(property.id) { sink.write(property.encoded) }
    }
  }
}

/// Goes through a validated block.
public struct PropertyReader: BitwiseCopyable {
  private var reader: ByteReader

  init(_ block: Bytes) { reader = ByteReader(block) }

  public mutating func next() -> Property? {
    guard !reader.isAtEnd else { return nil }
    do throws(WireError) {
      return try Property(from: &reader)
    } catch {
      preconditionFailure("a validated property block does not parse")
    }
  }
}

/// Goes through a block while judging it, so that a packet's decoder reads and judges in one pass.
struct PropertyScan {
  private var reader: ByteReader
  private let scope: PropertyScope
  private var seen = PropertySet.none

  init(block: Bytes, scope: PropertyScope) {
    reader = ByteReader(block)
    self.scope = scope
  }

  /// Takes Property Length and the block from the packet (§2.2.2.1).
  init(from packet: inout ByteReader, scope: PropertyScope) throws(WireError) {
    let byteCount = try packet.readVariableByteInteger()
    self.init(block: try packet.readBytes(Int(byteCount)), scope: scope)
  }

  @inline(never) @_optimize(size) mutating func next() throws(WireError) -> Property? { try nextOfMessage() }

  /// The same for PUBLISH, whose decoder has a copy of its own.
  @inline(__always) mutating func nextOfMessage() throws(WireError) -> Property? {
    guard !reader.isAtEnd else { return nil }
    let property = try Property(from: &reader)
    guard property.id.isAllowed(in: scope) else { throw .malformedPacket }  // §2.2.2.2
    if seen.contains(property.id) {
      guard property.id.mayRepeat(in: scope) else { throw .protocolError }
    }
    seen = seen.with(property.id)
    try property.check()
    return property
  }

  /// To be asked once `next` gave nil.
  var properties: Properties {
    precondition(reader.isAtEnd)
    return Properties(validated: reader.bytes)
  }
}

public import Bounded

/// Where a layout is written to. A layout is written down once: into a `ByteCounter` to learn its length, into
/// a `ByteWriter` to send it.
public protocol ByteSink {
  mutating func write(_ byte: UInt8)
  mutating func write(_ bytes: Bytes)
  mutating func writeUInt16(_ value: UInt16)
  mutating func writeUInt32(_ value: UInt32)
}

extension ByteWriter: ByteSink {}

/// Counts what would be written.
public struct ByteCounter: ByteSink {
  public private(set) var count = 0

  public init() {}

  public mutating func write(_ byte: UInt8) { count &+= 1 }
  public mutating func write(_ bytes: Bytes) { count += bytes.count }
  public mutating func writeUInt16(_ value: UInt16) { count &+= 2 }
  public mutating func writeUInt32(_ value: UInt32) { count &+= 4 }
}

extension ByteSink {
  /// Bytes that `value` takes as a Variable Byte Integer, 1...4 (§1.5.5).
  @inlinable public static func variableByteIntegerByteCount(_ value: Int) -> Int {
    precondition(value >= 0 && value <= 268_435_455)
    if value < 128 { return 1 }
    if value < 16_384 { return 2 }
    return value < 2_097_152 ? 3 : 4
  }

  /// §1.5.5. `value` is 0...268 435 455.
  @inlinable public mutating func writeVariableByteInteger(_ value: Int) {
    precondition(value >= 0 && value <= 268_435_455)
    var rest = value
    while rest >= 0x80 {
      write(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest &>>= 7
    }
    write(UInt8(truncatingIfNeeded: rest))
  }

  @inlinable public mutating func writeVariableByteInteger(_ value: UInt32) {
    writeVariableByteInteger(Int(value))
  }

  /// Two bytes of length, then the bytes: a UTF-8 string (§1.5.4) or binary data (§1.5.6) of 0...65 535 bytes.
  @inlinable public mutating func writeString(_ bytes: Bytes) {
    precondition(bytes.count <= 65_535)
    writeUInt16(UInt16(truncatingIfNeeded: bytes.count))
    write(bytes)
  }

  /// First byte and Remaining Length (§2.1).
  @inlinable public mutating func writeFixedHeader(_ type: PacketType, flags: UInt8, remainingLength: Int) {
    write(type.rawValue &<< 4 | flags)
    writeVariableByteInteger(remainingLength)
  }
}

// MARK: - Properties (§2.2.2)

extension ByteSink {
  @inlinable public mutating func writeProperty(_ id: PropertyID, byte: UInt8) {
    write(id.rawValue)
    write(byte)
  }

  @inlinable public mutating func writeProperty(_ id: PropertyID, bool: Bool) {
    writeProperty(id, byte: bool ? 1 : 0)
  }

  @inlinable public mutating func writeProperty(_ id: PropertyID, uint16: UInt16) {
    write(id.rawValue)
    writeUInt16(uint16)
  }

  @inlinable public mutating func writeProperty(_ id: PropertyID, uint32: UInt32) {
    write(id.rawValue)
    writeUInt32(uint32)
  }

  @inlinable public mutating func writeProperty(_ id: PropertyID, variableByteInteger value: UInt32) {
    write(id.rawValue)
    writeVariableByteInteger(value)
  }

  /// A string or binary data, 0...65 535 bytes.
  @inlinable public mutating func writeProperty(_ id: PropertyID, bytes: Bytes) {
    write(id.rawValue)
    writeString(bytes)
  }

  /// User Property (§3.3.2.3.7 and its like in every packet).
  @inlinable public mutating func writeProperty(_ id: PropertyID, key: Bytes, value: Bytes) {
    write(id.rawValue)
    writeString(key)
    writeString(value)
  }
}

// MARK: - Whole packets

/// A packet's body as one layout, from which its length and its bytes are made.
protocol PacketLayout {
  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion)
  /// The properties without their length.
  func writeProperties<Sink: ByteSink>(to sink: inout Sink)
}

extension PacketLayout {
  func encode(_ type: PacketType, flags: UInt8 = 0, into writer: inout ByteWriter, version: ProtocolVersion) {
    writer.writeFixedHeader(type, flags: flags, remainingLength: bodyByteCount(version: version))
    writeBody(to: &writer, version: version)
  }

  func wholeByteCount(version: ProtocolVersion) -> Int {
    let body = bodyByteCount(version: version)
    return 1 + ByteCounter.variableByteIntegerByteCount(body) + body
  }

  func bodyByteCount(version: ProtocolVersion) -> Int {
    var counter = ByteCounter()
    writeBody(to: &counter, version: version)
    return counter.count
  }

  var propertyByteCount: Int {
    var counter = ByteCounter()
    writeProperties(to: &counter)
    return counter.count
  }

  /// Property Length, then the properties (§2.2.2.1).
  func writePropertyBlock<Sink: ByteSink>(to sink: inout Sink) {
    sink.writeVariableByteInteger(propertyByteCount)
    writeProperties(to: &sink)
  }
}

public import Bounded
import MQTTWire

/// A message that a tap wants published. Its bytes lie in the table's memory and in what the event lent: valid
/// until the tap's next event.
public struct Publication: BitwiseCopyable {
  public let topic: Bytes
  public let payload: Bytes
  /// States, faults and the status are retained; an empty payload deletes. Events are not.
  public let retain: Bool
  /// Content Type `application/json` (§3.3.2.3.9).
  public let isJSON: Bool
  /// Message Expiry Interval (§3.3.2.3.3): after it what is retained is no longer true. nil: it stays true.
  public let expirySeconds: UInt32?
  /// When it happened: nanoseconds since 1970 UTC.
  public let wallNanoseconds: Int64
  /// The kernel's number of the edge, if it counts them.
  public let sequence: UInt32?
  /// Edges that were missed since start.
  public let lostCount: UInt64
  /// Who caused it: a client identifier; empty when unknown.
  public let by: Bytes

  init(
    topic: Bytes, payload: Bytes, wallNanoseconds: Int64, sequence: UInt32? = nil, lostCount: UInt64 = 0,
    by: Bytes = .empty, retain: Bool = true, isJSON: Bool = false, expirySeconds: UInt32? = nil
  ) {
    self.topic = topic
    self.payload = payload
    self.wallNanoseconds = wallNanoseconds
    self.sequence = sequence
    self.lostCount = lostCount
    self.by = by.prefix(most: Publication.byBytesMax)
    self.retain = retain
    self.isJSON = isJSON
    self.expirySeconds = expirySeconds
  }

  /// Longer client identifiers are cut.
  public static var byBytesMax: Int { 128 }

  /// The properties of PUBLISH (§3.3.2.3), without their length: the payload is UTF-8 (Payload Format
  /// Indicator 1); Content Type of JSON; User Properties `ts` (RFC 3339), `seq` if counted, `lost` if not 0, `by` if
  /// known; 256 bytes at most. The expiry is not among them: it runs while the message is retained.
  public func writeProperties(into writer: inout ByteWriter) {
    writer.writeProperty(.payloadFormatIndicator, byte: 1)
    if isJSON { writer.writeProperty(.contentType, bytes: Bytes("application/json")) }
    Publication.writeKey("ts", valueByteCount: RFC3339.byteCount, into: &writer)
    RFC3339.write(wallNanoseconds: wallNanoseconds, into: &writer)
    if let sequence { Publication.write("seq", UInt64(sequence), into: &writer) }
    if lostCount > 0 { Publication.write("lost", lostCount, into: &writer) }
    if !by.isEmpty { writer.writeProperty(.userProperty, key: Bytes("by"), value: by) }
  }

  private static func write(_ key: StaticString, _ value: UInt64, into writer: inout ByteWriter) {
    var digitCount = 1
    var rest = value / 10
    while rest > 0 {
      digitCount += 1
      rest /= 10
    }
    writeKey(key, valueByteCount: digitCount, into: &writer)
    writer.writeDecimal(value)
  }

  /// A User Property up to its value, which the caller writes.
  private static func writeKey(_ key: StaticString, valueByteCount: Int, into writer: inout ByteWriter) {
    writer.write(PropertyID.userProperty.rawValue)
    writer.writeString(Bytes(key))
    writer.writeUInt16(UInt16(valueByteCount))
  }
}

/// What an event made of a tap: at most one message on its state topic, one on its fault topic and one on its event
/// topic.
public struct TapUpdate: BitwiseCopyable {
  public var state: Publication?
  public var fault: Publication?
  public var event: Publication?

  public static var none: TapUpdate { TapUpdate() }

  init(state: Publication? = nil, fault: Publication? = nil, event: Publication? = nil) {
    self.state = state
    self.fault = fault
    self.event = event
  }
}

/// `<base>/<tap>` and `<base>/<tap>/fault`, and what stands on the second.
struct FaultReport: BitwiseCopyable {
  let topic: Bytes
  private(set) var text: TextBuffer
  private var isPublished = false

  init(topic: Bytes, text: TextBuffer) {
    self.topic = topic
    self.text = text
  }

  static var textBytesMax: Int { 96 }

  /// A message if it is not the text that stands there already.
  mutating func raise(_ reason: Bytes, label: Bytes = .empty, wallNanoseconds: Int64) -> Publication? {
    // An empty payload would delete.
    let changed = text.replace(label, reason.isEmpty && label.isEmpty ? Bytes("fault") : reason)
    guard changed || !isPublished else { return nil }
    isPublished = true
    return Publication(topic: topic, payload: text.bytes, wallNanoseconds: wallNanoseconds)
  }

  /// An empty message if a fault stands there.
  mutating func clear(wallNanoseconds: Int64) -> Publication? {
    guard isPublished else { return nil }
    isPublished = false
    return Publication(topic: topic, payload: .empty, wallNanoseconds: wallNanoseconds)
  }

  /// The message for the fault topic as it should be now: the fault's text, or an empty payload.
  func now(wallNanoseconds: Int64) -> Publication {
    Publication(topic: topic, payload: isPublished ? text.bytes : .empty, wallNanoseconds: wallNanoseconds)
  }
}

enum StateText {
  static func bytes(active: Bool) -> Bytes { active ? Bytes("ON") : Bytes("OFF") }
}

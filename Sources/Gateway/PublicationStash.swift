import Bounded
import MQTTBroker
import MQTTWire

/// Publications that wait until the broker is free: what taps want published while it is in a turn. Emptied after each
/// packet that ran a tap.
struct PublicationStash: ~Copyable {
  struct Entry: BitwiseCopyable {
    var start: Int
    var topicByteCount: Int
    var propertyByteCount: Int
    var payloadByteCount: Int
    var qos: QoS
    var retain: Bool
    var runsTaps: Bool
    /// The client that has named the topic; null: it is the board's choice.
    var asker: Handle<Session>
  }
  private let entries: FixedArray<Entry>
  private let memory: Scratch
  private var count = 0
  private var taken = 0
  private var byteCount = 0
  private(set) var refused: UInt64 = 0

  init(_ limits: HandlerLimits, in reservation: inout Reservation) {
    entries = FixedArray(count: limits.publicationsMax, name: "tap publications", in: &reservation)
    memory = Scratch(byteCount: limits.publicationBytes, name: "  bytes", in: &reservation)
  }

  var isEmpty: Bool { count == 0 }

  /// Copies a publication; `false`, counted, when there is no room.
  mutating func push(
    topic: Bytes, payload: Bytes, properties: (inout ByteWriter) -> Void, qos: QoS, retain: Bool, runsTaps: Bool,
    asker: Handle<Session> = .null
  ) -> Bool {
    let place = UnsafeMutableRawBufferPointer(rebasing: memory.buffer[byteCount...])
    guard count < entries.count, !place.isEmpty else {
      refused &+= 1
      return false
    }
    var writer = ByteWriter(place)
    writer.write(topic)
    let propertyStart = writer.count
    properties(&writer)
    let payloadStart = writer.count
    writer.write(payload)
    guard !writer.overflowed else {
      refused &+= 1
      return false
    }
    entries[count] = Entry(
      start: byteCount, topicByteCount: propertyStart, propertyByteCount: payloadStart - propertyStart,
      payloadByteCount: writer.count - payloadStart, qos: qos, retain: retain, runsTaps: runsTaps,
      asker: asker)
    byteCount += writer.count
    count += 1
    return true
  }

  /// The next one, first pushed first; its bytes are valid until the next push after the last one was taken.
  mutating func pop() -> (entry: Entry, topic: Bytes, properties: Bytes, payload: Bytes)? {
    guard taken < count else {
      count = 0
      taken = 0
      byteCount = 0
      return nil
    }
    let entry = entries[taken]
    taken += 1
    let byteCount = entry.topicByteCount + entry.propertyByteCount + entry.payloadByteCount
    let bytes = Bytes(UnsafeRawBufferPointer(rebasing: memory.buffer[entry.start..<(entry.start + byteCount)]))
    let propertyEnd = entry.topicByteCount + entry.propertyByteCount
    return (
      entry, bytes.first(entry.topicByteCount), bytes[entry.topicByteCount..<propertyEnd], bytes.from(propertyEnd)
    )
  }
}

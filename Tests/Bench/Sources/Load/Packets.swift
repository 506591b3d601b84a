/// The packets that a client sends, MQTT 3.1.1.
enum Packets {
  /// Clean session, keep alive of an hour.
  static func connect(_ id: String) -> [UInt8] {
    packet(0x10, [0, 4, 0x4D, 0x51, 0x54, 0x54, 4, 2, 0x0E, 0x10] + text(id))
  }

  static func subscribe(_ filters: [String], qos: UInt8) -> [UInt8] {
    packet(0x82, [0, 1] + filters.flatMap { text($0) + [qos] })
  }

  static func publish(_ topic: String, _ payload: [UInt8], qos: UInt8 = 0, id: UInt16 = 1, retain: Bool = false)
    -> [UInt8]
  {
    packet(
      0x30 | qos << 1 | (retain ? 1 : 0),
      text(topic) + (qos > 0 ? [UInt8(id >> 8), UInt8(id & 0xFF)] : []) + payload)
  }

  static var disconnect: [UInt8] { [0xE0, 0] }

  /// Publisher, number, and a pattern up to `count` bytes.
  static func payload(_ publisher: Int, _ number: UInt32, _ count: Int) -> [UInt8] {
    var bytes = [UInt8]()
    for value in [UInt32(publisher), number] {
      for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }
    while bytes.count < count { bytes.append(0x30 + UInt8(bytes.count % 10)) }
    return bytes
  }

  private static func packet(_ first: UInt8, _ body: [UInt8]) -> [UInt8] {
    var head = [first]
    var rest = body.count
    repeat {
      head.append(UInt8(rest % 128) | (rest >= 128 ? 128 : 0))
      rest /= 128
    } while rest > 0
    return head + body
  }

  private static func text(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    return [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
  }
}

/// One publisher's messages: a window of packets made once, of which only the numbers change.
final class Publisher {
  let client: Client
  let index: Int
  /// Who gets its messages.
  let receivers: [Client]
  private let qos: UInt8
  private let window: Int
  private let packetBytes: Int
  private let payloadOffset: Int
  private let packets: UnsafeMutableRawPointer
  private(set) var sent: UInt32 = 0

  init(_ client: Client, index: Int, topic: String, receivers: [Client], qos: UInt8, payloadBytes: Int, window: Int) {
    self.client = client
    self.index = index
    self.receivers = receivers
    self.qos = qos
    self.window = window
    let one = Packets.publish(topic, Packets.payload(index, 0, payloadBytes), qos: qos)
    packetBytes = one.count
    payloadOffset = one.count - payloadBytes
    packets = .allocate(byteCount: one.count * window, alignment: 16)
    for slot in 0..<window {
      one.withUnsafeBytes { (packets + slot * one.count).copyMemory(from: $0.baseAddress!, byteCount: one.count) }
    }
  }

  /// Messages that all receivers have got, and for QoS 1 and 2 whose sending is over as well.
  var settled: UInt32 {
    var least = qos == 0 ? sent : UInt32(truncatingIfNeeded: client.acknowledged)
    for receiver in receivers { least = min(least, receiver.next(of: index)) }
    return least
  }

  /// As many as the window has room for, in one write; at most `most`.
  func fill(most: Int = .max) {
    let count = min(window - Int(sent - settled), most)
    guard count > 0 else { return }
    var place = packets + payloadOffset
    for _ in 0..<count {
      if qos > 0 {
        let id = UInt16(sent % 60_000) + 1
        place.storeBytes(of: UInt8(id >> 8), toByteOffset: -2, as: UInt8.self)
        place.storeBytes(of: UInt8(id & 0xFF), toByteOffset: -1, as: UInt8.self)
      }
      var number = sent.littleEndian
      (place + 4).copyMemory(from: &number, byteCount: 4)
      sent += 1
      place += packetBytes
    }
    client.write(packets, count * packetBytes)
  }
}

import MQTTWire

/// One client over all its connections. An honest one keeps to the standard and loses nothing by itself; the others
/// do anything.
final class SimulatedClient {
  static let honestMarks: ClosedRange<UInt8> = UInt8(ascii: "h")...UInt8(ascii: "k")

  /// What it published and is not done with, in the order of sending.
  struct Unfinished {
    let packetID: UInt16
    let packet: Packet
    var isReceived = false  // PUBREC has come
  }

  let mark: UInt8
  let isHonest: Bool
  var line: Line?
  private var session: ModelSession?
  var unfinished: [Unfinished] = []
  private var lastPacketID: UInt16 = 0

  init(mark: UInt8) {
    self.mark = mark
    isHonest = SimulatedClient.honestMarks.contains(mark)
  }

  /// Those of every version are bridges for as long as they live.
  var isBridge: Bool { mark % 3 == 0 }
  var name: String { String(UnicodeScalar(mark)) }

  /// Unused by what is under way; small, so that they come again soon.
  func unusedPacketID() -> UInt16 {
    repeat { lastPacketID = lastPacketID % 20 + 1 } while unfinished.contains { $0.packetID == lastPacketID }
    return lastPacketID
  }

  /// CONNACK: what is unfinished is sent again, in order (§4.4).
  func isWelcome(on line: Line, sessionPresent: Bool) {
    line.isReady = true
    guard isHonest else { return }
    // CONNACK of MQTT 3.1 does not say it (its §3.2).
    let isKept = line.version == .v31 ? line.session === session : sessionPresent
    session = line.session
    if !isKept { unfinished.removeAll() }
    for entry in unfinished { line.outgoing += repeated(entry).bytes(line.version) }
  }

  private func repeated(_ entry: Unfinished) -> Packet {
    if entry.isReceived { return .pubRel(entry.packetID) }
    guard case .publish(let topic, let payload, let qos, let id, let retain, _, let properties) = entry.packet else {
      preconditionFailure("only PUBLISH is kept")
    }
    return .publish(
      topic: topic, payload: payload, qos: qos, packetID: id, retain: retain, dup: true, properties: properties)
  }

  /// PUBACK, PUBREC or PUBCOMP.
  func isAnswered(_ type: PacketType, _ ack: Ack, on line: Line) {
    guard let index = unfinished.firstIndex(where: { $0.packetID == ack.packetID }) else {
      if type == .pubRec, !ack.reason.isError { line.replies.append(Line.Reply(type: .pubRel, id: ack.packetID)) }
      return
    }
    if type == .pubRec, !ack.reason.isError {
      unfinished[index].isReceived = true
      line.replies.append(Line.Reply(type: .pubRel, id: ack.packetID))
    } else {
      unfinished.remove(at: index)
    }
  }
}

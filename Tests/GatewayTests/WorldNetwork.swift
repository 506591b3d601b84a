import MQTTWire
import Testing

@testable import Bounded
@testable import Gateway
@testable import MQTTBroker

/// What lies between the clients and the broker: reads, flushes, and what each client does with what it is sent.
extension World {
  /// One network connection as its client sees it.
  final class Client {
    enum Reading {
      /// Everything, at once.
      case all
      /// Everything; what was sent is of no interest.
      case discards
      /// Nothing: the socket stays full.
      case nothing
    }
    let name: String
    let id: ConnectionID
    let version: ProtocolVersion
    var isOpen = true
    var reading = Reading.all
    var outgoing: [UInt8] = []
    /// Bytes the broker sent that make no packet yet.
    var incoming: [UInt8] = []
    var packets: [Packet] = []
    var lastPacketID: UInt16 = 0

    init(name: String, id: ConnectionID, version: ProtocolVersion) {
      self.name = name
      self.id = id
      self.version = version
    }
  }

  /// The broker gets all that a client has sent.
  func give(_ client: Client) {
    let bytes = client.outgoing
    client.outgoing.removeAll(keepingCapacity: true)
    bytes.withUnsafeBytes { give(client, Bytes($0)) }
    // A turn's work may be over in the middle of it: the rest is taken in the next ones, before anybody else is read.
    while let id = gateway.callBroker({ $0.takePaused() }) {
      guard let paused = connections[id.bits] else { break }
      give(paused, .empty)
    }
  }

  private func give(_ client: Client, _ bytes: Bytes) {
    guard client.isOpen, !gateway.broker.isClosing(client.id) else { return }
    gateway.callBroker { $0.beginTurn() }
    gateway.receive(bytes, on: client.id, lends: false, at: now) { flush() }
  }

  /// Every connection takes what waits for it, as far as its client reads.
  func flush() {
    while let id = gateway.callBroker({ $0.nextReady() }) {
      if let client = connections[id.bits] { take(client) }
    }
  }

  /// The client reads again.
  func read(_ client: Client, _ reading: Client.Reading) {
    client.reading = reading
    if client.isOpen { take(client) }
    flush()
  }

  private func take(_ client: Client) {
    let id = client.id
    while client.reading != .nothing, gateway.broker.pendingByteCount(id) > 0 {
      let count = gateway.broker.gather(id, into: parts)
      var taken = 0
      for part in parts[..<count] {
        if client.reading == .all { decode(part, for: client) }
        taken += part.count
      }
      gateway.callBroker { $0.sent(taken, on: id, at: now) }
    }
    if gateway.broker.isFinished(id) { detach(client) }
  }

  private func decode(_ part: Bytes, for client: Client) {
    var rest = part
    do throws(WireError) {
      // In pieces, as each packet that is taken moves what is behind it.
      while !rest.isEmpty {
        client.incoming += rest.first(min(rest.count, 4096)).buffer
        rest = rest.from(min(rest.count, 4096))
        while !client.incoming.isEmpty, let packet = try Packet.takeFirst(from: &client.incoming, client.version) {
          client.packets.append(packet)
        }
      }
    } catch {
      Issue.record("the broker's bytes are no packet: \(error.reason)")
      client.incoming = []
    }
  }

  func detach(_ client: Client) {
    client.isOpen = false
    connections[client.id.bits] = nil
    let moment = now
    gateway.brokerTurn(at: moment) { $0.detach(client.id, at: moment) }
  }
}

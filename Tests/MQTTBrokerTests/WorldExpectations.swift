import Bounded
import MQTTBroker
import Testing

/// What a test expects of the clients and of the broker.
extension World {
  /// The next packets for `name`, in this order.
  func expect(_ name: String, _ packets: Packet..., sourceLocation: SourceLocation = #_sourceLocation) {
    for expected in packets { #expect(takeFirst(name) == expected, sourceLocation: sourceLocation) }
  }

  /// `name` is connected and has got nothing more.
  func expectNothing(_ names: String..., sourceLocation: SourceLocation = #_sourceLocation) {
    for name in names {
      let client = client(name)
      #expect(client.isOpen, "\(name) is disconnected", sourceLocation: sourceLocation)
      #expect(client.packets == [], "for \(name)", sourceLocation: sourceLocation)
      #expect(client.incoming == [], "for \(name)", sourceLocation: sourceLocation)
    }
  }

  /// The broker has closed the connection of `name` after these packets.
  func expectClosed(_ name: String, _ packets: Packet..., sourceLocation: SourceLocation = #_sourceLocation) {
    let client = client(name)
    #expect(client.packets == packets, sourceLocation: sourceLocation)
    #expect(!client.isOpen, "\(name) is still connected", sourceLocation: sourceLocation)
    client.packets = []
  }

  func takeFirst(_ name: String) -> Packet? {
    let client = client(name)
    return client.packets.isEmpty ? nil : client.packets.removeFirst()
  }

  func takeAll(_ name: String) -> [Packet] {
    let client = client(name)
    defer { client.packets = [] }
    return client.packets
  }

  /// Whether the broker would take more bytes from it now.
  func wantsInput(_ name: String) -> Bool { broker.wantsInput(client(name).id) }
  /// Whether the broker keeps input of it that it has not looked at.
  func holdsInput(_ name: String) -> Bool { broker.holdsInput(client(name).id) }
  /// The broker has ended it, but its last bytes are not taken yet.
  func isClosing(_ name: String) -> Bool { broker.isClosing(client(name).id) }
  func isOpen(_ name: String) -> Bool { clients[name]?.isOpen == true }
  func client(_ name: String) -> Client { clients[name]! }
  var openNames: [String] { clients.filter(\.value.isOpen).map(\.key).sorted() }

  func pool(_ name: String) -> Gauge {
    for index in 0..<Broker.poolCount {
      let (poolName, gauge) = broker.pool(index)
      if "\(poolName)" == name { return gauge }
    }
    preconditionFailure("no pool \(name)")
  }
}

import MQTTWire
import Testing

@testable import MQTTBroker

/// One publisher and one subscriber. Messages are numbers: a message's payload is its number in decimal.
extension World {
  /// `pub`, and `sub`, which has subscribed to `t` and keeps its session.
  static func withSubscriber(
    receiveMaximum: UInt32? = nil, version: ProtocolVersion = .v5, limits: Limits = .forTests
  ) -> World {
    let world = World(clients: ["pub"], limits: limits)
    world.resumeSubscriber(receiveMaximum: receiveMaximum, version: version)
    world.subscribe("sub", "t", qos: 2)
    return world
  }

  /// `sub` connects without Clean Start. Answers whether its session was present.
  @discardableResult func resumeSubscriber(receiveMaximum: UInt32? = nil, version: ProtocolVersion = .v5) -> Bool {
    connect(
      "sub", version, cleanStart: false, sessionExpiry: version == .v5 ? 1000 : nil, receiveMaximum: receiveMaximum
    ).sessionPresent
  }

  /// `pub` publishes these messages to `t`; each is acknowledged with Success.
  func publish(_ numbers: ClosedRange<Int>, qos: UInt8 = 1) {
    for number in numbers {
      send("pub", .publish(topic: "t", payload: "\(number)", qos: qos, packetID: UInt16(number)))
      if qos == 2 { send("pub", .pubRel(UInt16(number))) }
    }
    #expect(
      takeAll("pub").allSatisfy { packet in
        if case .pubAck(_, .success, nil) = packet { return true }
        if case .pubRec(_, .success, nil) = packet { return true }
        if case .pubComp(_, .success) = packet { return true }
        return false
      })
  }

  /// `sub` gets these messages with packet identifiers that count up from `firstID`, and nothing more.
  func expect(
    _ numbers: ClosedRange<Int>, qos: UInt8 = 1, firstID: UInt16, dup: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    var id = firstID
    for number in numbers {
      expect(
        "sub", .publish(topic: "t", payload: "\(number)", qos: qos, packetID: id, dup: dup),
        sourceLocation: sourceLocation)
      id += 1
    }
    expectNothing("sub", sourceLocation: sourceLocation)
  }
}

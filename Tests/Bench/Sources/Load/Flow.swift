/// Publishers with a window each, as fast as their receivers take it.
struct Flow {
  enum Shape { case oneToMany, manyToOne, pairs }

  var shape: Shape
  var count: Int
  var qos: UInt8 = 0
  var payloadBytes = 16
  /// Messages of one publisher that not all receivers have got (QoS 1 and 2: or that are not acknowledged).
  var window = 16
  /// Subscriptions of others to other topics, 50 a client, one in ten with a wildcard.
  var otherSubscriptions = 0

  func run(_ broker: Broker, _ options: Options) -> Result {
    let loop = Loop(port: broker.port)
    let publisherCount = shape == .oneToMany ? 1 : count
    let receiverCount = shape == .manyToOne ? 1 : count
    for (index, client) in loop.connect(otherSubscriptions / 50, "other").enumerated() {
      loop.subscribe(
        client,
        (0..<50).map { $0 % 10 == 0 ? "bench/+/alarm/\(index)/\($0)" : "bench/\(index % 50)/detail/\(index)/\($0)" })
    }
    let receivers = loop.connect(receiverCount, "receiver")
    for (index, receiver) in receivers.enumerated() {
      receiver.expect(publishers: publisherCount, payloadBytes: payloadBytes)
      switch shape {
      case .oneToMany: loop.subscribe(receiver, ["bench/0/value"], qos: qos)
      case .manyToOne: loop.subscribe(receiver, ["bench/+/value"], qos: qos)
      case .pairs: loop.subscribe(receiver, ["bench/\(index)/value"], qos: qos)
      }
    }
    let publishers = loop.connect(publisherCount, "publisher").enumerated().map { index, client in
      Publisher(
        client, index: index, topic: "bench/\(index)/value",
        receivers: shape == .oneToMany ? receivers : [receivers[shape == .manyToOne ? 0 : index]], qos: qos,
        payloadBytes: payloadBytes, window: window)
    }
    var delivered: Int { receivers.reduce(0) { $0 + $1.delivered } }
    var stalled = 0
    func flow(seconds: Double) {
      let end = cbenchNow() + UInt64(seconds * 1e9)
      while cbenchNow() < end {
        for publisher in publishers { publisher.fill() }
        if !loop.turn(1000) { stalled += 1 }
        if stalled > 1 { break }
      }
    }

    flow(seconds: options.warmUpSeconds)
    let measurement = Measurement(broker)
    let before = delivered
    flow(seconds: options.seconds)
    let after = delivered
    var result = Result()
    measurement.write(after - before, into: &result)

    // What is under way arrives, or is missing.
    let end = cbenchNow() + 2_000_000_000
    while cbenchNow() < end, !publishers.allSatisfy({ $0.settled == $0.sent }) { loop.turn() }
    let missing = publishers.reduce(0) { $0 + Int($1.sent - $1.settled) }
    result.fault(missing, "messages missing or not acknowledged at the end")
    result.fault(stalled, "stalls of a second")
    result.check(loop.clients)
    return result
  }
}

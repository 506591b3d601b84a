import CBench

/// One message at a time: the next one when this one has come. Latencies are from the write to what was read.
func closedLoop(_ broker: Broker, _ options: Options) -> Result {
  let loop = Loop(port: broker.port)
  let receiver = loop.connect(1, "receiver")[0]
  receiver.expect(publishers: 1, payloadBytes: 16)
  loop.subscribe(receiver, ["bench/0/value"])
  let publisher = Publisher(
    loop.connect(1, "publisher")[0], index: 0, topic: "bench/0/value", receivers: [receiver], qos: 0, payloadBytes: 16,
    window: 1)
  var latencies: [UInt64] = []
  latencies.reserveCapacity(1 << 20)
  func flow(seconds: Double) {
    let end = cbenchNow() + UInt64(seconds * 1e9)
    while cbenchNow() < end {
      let sent = cbenchNow()
      publisher.fill()
      loop.until("delivery") { publisher.settled == publisher.sent }
      latencies.append(cbenchNow() - sent)
    }
  }
  flow(seconds: options.warmUpSeconds)
  latencies.removeAll(keepingCapacity: true)
  let measurement = Measurement(broker)
  flow(seconds: options.seconds)
  var result = Result()
  measurement.write(latencies.count, into: &result)
  latencies.sort()
  func percentile(_ percent: Int) -> Double { Double(latencies[latencies.count * percent / 100]) / 1000 }
  if !latencies.isEmpty {
    result.set("p50_us", percentile(50))
    result.set("p99_us", percentile(99))
  }
  result.check(loop.clients)
  return result
}

/// 100 clients with ten messages a second each, evenly spread, and one who hears them all.
func telemetry(_ broker: Broker, _ options: Options) -> Result {
  let loop = Loop(port: broker.port)
  let count = 100
  let spacing: UInt64 = 1_000_000_000 / UInt64(10 * count)
  let receiver = loop.connect(1, "receiver")[0]
  receiver.expect(publishers: count, payloadBytes: 16)
  loop.subscribe(receiver, ["bench/+/value"])
  let publishers = loop.connect(count, "publisher").enumerated().map { index, client in
    Publisher(
      client, index: index, topic: "bench/\(index)/value", receivers: [receiver], qos: 0, payloadBytes: 16, window: 64)
  }
  var due = cbenchNow()
  var turn = 0
  func flow(seconds: Double) {
    let end = cbenchNow() + UInt64(seconds * 1e9)
    while cbenchNow() < end {
      while due <= cbenchNow() {
        publishers[turn % count].fill(most: 1)
        turn += 1
        due += spacing
      }
      loop.turn(1)
    }
  }
  flow(seconds: options.warmUpSeconds)
  let before = receiver.delivered
  let measurement = Measurement(broker)
  flow(seconds: options.seconds)
  var result = Result()
  measurement.write(receiver.delivered - before, into: &result)
  let end = cbenchNow() + 2_000_000_000
  while cbenchNow() < end, !publishers.allSatisfy({ $0.settled == $0.sent }) { loop.turn() }
  result.fault(publishers.reduce(0) { $0 + Int($1.sent - $1.settled) }, "messages missing at the end")
  result.check(loop.clients)
  return result
}

import CBench
import Glibc

/// How long the broker took to its first CONNACK, and what it holds when nobody is there.
func start(_ broker: Broker, _ options: Options) -> Result {
  usleep(300_000)
  let memory = broker.memory
  var result = Result()
  result.set("start_ms", Double(broker.startNanoseconds) / 1e6)
  result.set("rss_kib", Double(memory.rss))
  result.set("anonymous_kib", Double(memory.anonymous))
  return result
}

/// 1,000 clients that do nothing, each with a subscription to a topic of its own.
func idle(_ broker: Broker, _ options: Options) -> Result {
  let loop = Loop(port: broker.port)
  let count = 1000
  let before = broker.memory
  for (index, client) in loop.connect(count, "idle").enumerated() { loop.subscribe(client, ["idle/\(index)"]) }
  usleep(300_000)
  var result = Result()
  result.setGrowth(from: before, to: broker.memory, of: count)
  result.check(loop.clients)
  return result
}

/// 10,000 retained messages of 64 bytes, then five clients that fetch them all, one after the other.
func retained(_ broker: Broker, _ options: Options) -> Result {
  let loop = Loop(port: broker.port)
  let count = 10_000
  let fetches = 5
  let publisher = loop.connect(1, "publisher")[0]
  let before = broker.memory
  for index in 0..<count {
    let payload = Packets.payload(index, 0, 64)
    publisher.write(
      Packets.publish("retained/\(index)", payload, qos: 1, id: UInt16(index % 60_000) + 1, retain: true))
    if index % 16 == 15 { loop.until("PUBACK") { publisher.acknowledged == index + 1 } }
  }
  loop.until("PUBACK") { publisher.acknowledged == count }
  usleep(300_000)
  var result = Result()
  result.setGrowth(from: before, to: broker.memory, of: count)

  let measurement = Measurement(broker)
  for receiver in loop.connect(fetches, "receiver") {
    // Their order is the broker's own: each is a publisher's only message.
    receiver.expect(publishers: count, payloadBytes: 64)
    loop.subscribe(receiver, ["retained/#"])
    let end = cbenchNow() + 5_000_000_000
    while receiver.delivered < count, cbenchNow() < end { loop.turn() }
    result.fault(count - receiver.delivered, "retained messages missing")
  }
  result.set("fetch_ms", measurement.nanoseconds / 1e6 / Double(fetches))
  result.set("fetch_cpu_us", measurement.cpuNanoseconds / 1000 / Double(fetches * count))
  result.check(loop.clients)
  return result
}

/// 4,000 connections, 64 at a time: each is accepted, says CONNECT, hears CONNACK, says DISCONNECT and sees the end.
func storm(_ broker: Broker, _ options: Options) -> Result {
  let loop = Loop(port: broker.port)
  let count = 4000
  var begun = 0
  var ended = 0
  var underWay: [(client: Client, isLeaving: Bool)] = []
  let measurement = Measurement(broker)
  let limit = cbenchNow() + 20_000_000_000
  while ended < count, cbenchNow() < limit {
    while begun < count, underWay.count < 64 {
      underWay.append((loop.add("storm\(begun)", waits: false), false))
      begun += 1
    }
    loop.turn()
    for index in underWay.indices where underWay[index].client.connAcks == 1 && !underWay[index].isLeaving {
      underWay[index].isLeaving = true
      underWay[index].client.write(Packets.disconnect)
    }
    underWay.removeAll {
      if !$0.client.isOpen { ended += 1 }
      return !$0.client.isOpen
    }
  }
  var result = Result()
  measurement.write(count, into: &result)
  result.fault(loop.clients.count { $0.connAcks != 1 }, "connections without a CONNACK")
  result.fault(count - ended, "connections without an end")
  return result
}

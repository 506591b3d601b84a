import Bounded

/// What the broker's counters gain in a minute, as mosquitto tells it under `$SYS/broker/load/`: averages over the last 1, 5
/// and 15 minutes, in which the past counts the less the longer it is ago. After an interval of t minutes in which a counter
/// has gained g, an average over m minutes is g/t + e^(-t/m) * (before - g/t).
struct Loads: BitwiseCopyable {
  /// Averages: three of each counter.
  static var count: Int { 27 }

  private var told = InlineArray<9, UInt64>(repeating: 0)
  private var averages = InlineArray<27, Double>(repeating: 0)
  private var updatedAt = Instant.never

  /// The first call begins the first interval.
  @_optimize(size) mutating func update(_ counters: Counters, at now: Instant) {
    let minutes = updatedAt == .never ? 0 : Double(now.since(updatedAt)) / 60e9
    var source = 0
    while source < 9 {
      let value = Loads.value(source, counters)
      if minutes > 0 {
        let rate = Double(value &- told[source]) / minutes
        average(3 * source, rate, Loads.decay(minutes))
        average(3 * source + 1, rate, Loads.decay(minutes / 5))
        average(3 * source + 2, rate, Loads.decay(minutes / 15))
      }
      told[source] = value
      source += 1
    }
    updatedAt = now
  }

  private mutating func average(_ index: Int, _ rate: Double, _ decay: Double) {
    averages[index] = rate + decay * (averages[index] - rate)
  }

  /// With two digits behind the point: `12.50`.
  @_optimize(size) func write(_ index: Int, into writer: inout ByteWriter) {
    let hundredths = UInt64(averages[index] * 100 + 0.5)  // 0 or more
    writer.writeDecimal(hundredths / 100)
    writer.write(".")
    writer.write(UInt8(48 + hundredths / 10 % 10))
    writer.write(UInt8(48 + hundredths % 10))
  }

  /// e^-x for 0 or more, which no library of every build has: of the 1024th part by its series, then squared ten times.
  private static func decay(_ x: Double) -> Double {
    guard x < 50 else { return 0 }
    let part = x / 1024
    var value = 1 / (1 + part * (1 + part / 2 * (1 + part / 3 * (1 + part / 4))))
    var squares = 0
    while squares < 10 {
      value *= value
      squares += 1
    }
    return value
  }

  private static func value(_ source: Int, _ counters: Counters) -> UInt64 {
    switch source {
    case 0: counters.packetsReceived
    case 1: counters.packetsSent
    case 2: counters.qos0Dropped &+ counters.queuedDropped
    case 3: counters.publishesReceived
    case 4: counters.publishesSent
    case 5: counters.bytesReceived
    case 6: counters.bytesSent
    case 7: counters.connectionsAccepted
    default: counters.connectsAccepted
    }
  }

  static func topic(_ index: Int) -> StaticString {
    switch index {
    case 0: "$SYS/broker/load/messages/received/1min"
    case 1: "$SYS/broker/load/messages/received/5min"
    case 2: "$SYS/broker/load/messages/received/15min"
    case 3: "$SYS/broker/load/messages/sent/1min"
    case 4: "$SYS/broker/load/messages/sent/5min"
    case 5: "$SYS/broker/load/messages/sent/15min"
    case 6: "$SYS/broker/load/publish/dropped/1min"
    case 7: "$SYS/broker/load/publish/dropped/5min"
    case 8: "$SYS/broker/load/publish/dropped/15min"
    case 9: "$SYS/broker/load/publish/received/1min"
    case 10: "$SYS/broker/load/publish/received/5min"
    case 11: "$SYS/broker/load/publish/received/15min"
    case 12: "$SYS/broker/load/publish/sent/1min"
    case 13: "$SYS/broker/load/publish/sent/5min"
    case 14: "$SYS/broker/load/publish/sent/15min"
    case 15: "$SYS/broker/load/bytes/received/1min"
    case 16: "$SYS/broker/load/bytes/received/5min"
    case 17: "$SYS/broker/load/bytes/received/15min"
    case 18: "$SYS/broker/load/bytes/sent/1min"
    case 19: "$SYS/broker/load/bytes/sent/5min"
    case 20: "$SYS/broker/load/bytes/sent/15min"
    case 21: "$SYS/broker/load/sockets/1min"
    case 22: "$SYS/broker/load/sockets/5min"
    case 23: "$SYS/broker/load/sockets/15min"
    case 24: "$SYS/broker/load/connections/1min"
    case 25: "$SYS/broker/load/connections/5min"
    default: "$SYS/broker/load/connections/15min"
    }
  }
}

import Bounded
import LinuxIO
import MQTTBroker
import TaplineConfiguration

/// What the loop says of itself under $SYS.
extension Server {
  /// Every `sys_interval_seconds`, from READY on.
  func publishFigures(at now: Instant) {
    guard figuresAt <= now else { return }
    figuresAt = now.adding(seconds: Int64(configuration.limits.sysIntervalSeconds))
    var writer = loop.scratch.writer()
    turnTimes.write(into: &writer)
    publishFigure("$SYS/tapline/loop/turn_microseconds", writer.written, at: now)
    publishLogCounters(at: now)
    guard let allocationCount else { return }
    let afterReady = allocationCount() &- allocationsAtStart
    guard afterReady != publishedAllocations else { return }
    if publishedAllocations == nil {
      publishFigure("$SYS/tapline/memory/allocations_at_start", allocationsAtStart, at: now)
    }
    publishedAllocations = afterReady
    publishFigure("$SYS/tapline/memory/allocations_after_ready", afterReady, at: now)
  }

  /// `tapline version 0.1.0`, once: a client that looks there first learns what it speaks to.
  func publishVersion(at now: Instant) {
    var writer = loop.scratch.writer()
    writer.write("tapline version ")
    writer.write(Version.text)
    publishFigure("$SYS/broker/version", writer.written, at: now)
  }

  func publishFigure(_ topic: StaticString, _ value: UInt64, at now: Instant) {
    var writer = loop.scratch.writer()
    writer.writeDecimal(value)
    publishFigure(topic, writer.written, at: now)
  }

  private func publishFigure(_ topic: StaticString, _ payload: Bytes, at now: Instant) {
    _ = publishOwn(topic: Bytes(topic), payload: payload, retain: true, runsTaps: false, at: now)
  }
}

/// How many turns of the loop took how long, from the end of one wait to the beginning of the next.
struct TurnTimes {
  /// Turns of less than 1 µs, then of less than 2, 4, 8, ... µs and not counted before; in the last one, all others.
  private(set) var buckets = InlineArray<21, UInt64>(repeating: 0)
  private(set) var longestMicroseconds: UInt64 = 0

  mutating func add(nanoseconds: Int64) {
    let microseconds = UInt64(max(0, nanoseconds)) / 1000
    buckets[min(UInt64.bitWidth - microseconds.leadingZeroBitCount, buckets.count - 1)] &+= 1
    longestMicroseconds = max(longestMicroseconds, microseconds)
  }

  /// `{"max":812,"buckets":[0,17,...]}`.
  func write(into writer: inout ByteWriter) {
    writer.write("{\"max\":")
    writer.writeDecimal(longestMicroseconds)
    for index in 0..<buckets.count {
      writer.write(index == 0 ? ",\"buckets\":[" : ",")
      writer.writeDecimal(buckets[index])
    }
    writer.write("]}")
  }
}

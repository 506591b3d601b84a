import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// What the loop says of itself under $SYS.
extension Server {
  /// Every `sys_interval_seconds`, from READY on.
  func publishFigures(at now: Instant) {
    guard figuresAt <= now else { return }
    figuresAt = now.adding(seconds: Int64(configuration.limits.sysIntervalSeconds))
    var writer = gateway.scratch.writer()
    turnTimes.write(into: &writer)
    publishFigure("$SYS/tapline/loop/turn_microseconds", writer.written, at: now)
    publishLogCounters(at: now)
    publishPortFigures(at: now)
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
    var writer = gateway.scratch.writer()
    writer.write("tapline version ")
    writer.write(Version.text)
    publishFigure("$SYS/broker/version", writer.written, at: now)
  }

  func publishFigure(_ topic: StaticString, _ value: UInt64, at now: Instant) {
    var writer = gateway.scratch.writer()
    writer.writeDecimal(value)
    publishFigure(topic, writer.written, at: now)
  }

  private func publishFigure(_ topic: StaticString, _ payload: Bytes, at now: Instant) {
    gateway.publishOwn(topic: Bytes(topic), payload: payload, retain: true, runsTaps: false, at: now)
  }

  func publishCounter(_ topic: StaticString, _ value: UInt64, _ before: UInt64, at now: Instant) {
    guard value != before else { return }
    publishFigure(topic, value, at: now)
  }

  // MARK: Taps and rules

  /// When changed figures are due; they are published once a second at most.
  var tapCountersDeadline: Instant {
    gateway.handlerCounters == publishedHandlerCounters && gateway.rules.counters == publishedRuleCounters
      ? .never : tapCountersAt
  }

  /// `$SYS/tapline/taps/...` and `$SYS/tapline/rules/...`, where they have changed.
  func publishTapCounters(at now: Instant) {
    guard tapCountersDeadline <= now else { return }
    tapCountersAt = now.adding(seconds: 1)
    publishHandlerCounters(at: now)
    publishRuleCounters(at: now)
  }

  private func publishHandlerCounters(at now: Instant) {
    let (new, old) = (gateway.handlerCounters, publishedHandlerCounters)
    publishCounter("$SYS/tapline/taps/overruns", new.overruns, old.overruns, at: now)
    publishCounter("$SYS/tapline/taps/quarantines", new.quarantines, old.quarantines, at: now)
    publishCounter("$SYS/tapline/taps/quarantined_skipped", new.quarantinedSkipped, old.quarantinedSkipped, at: now)
    publishCounter("$SYS/tapline/taps/decoupled_dropped", new.decoupledDropped, old.decoupledDropped, at: now)
    publishedHandlerCounters = new
  }

  private func publishRuleCounters(at now: Instant) {
    let (new, old) = (gateway.rules.counters, publishedRuleCounters)
    publishCounter("$SYS/tapline/rules/fired", new.fired, old.fired, at: now)
    publishCounter("$SYS/tapline/rules/cut", new.cut, old.cut, at: now)
    publishCounter("$SYS/tapline/rules/refused", new.refused, old.refused, at: now)
    publishCounter("$SYS/tapline/rules/dropped", new.dropped, old.dropped, at: now)
    publishCounter("$SYS/tapline/rules/not_comparable", new.notComparable, old.notComparable, at: now)
    publishedRuleCounters = new
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

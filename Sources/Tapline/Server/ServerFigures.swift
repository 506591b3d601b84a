import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// Publishes the numbers of the loop and the gateway under $SYS, beside the broker's own.
extension Server {
  /// Every `sys_interval_seconds`, from READY on.
  func publishFigures(at now: Instant) {
    figures.loopAt = now.adding(seconds: Int64(configuration.limits.sysIntervalSeconds))
    var writer = gateway.scratch.writer()
    figures.turnTimes.write(into: &writer)
    publishText("$SYS/tapline/loop/turn_microseconds", writer.written, at: now)
    publishPortFigures(at: now)
    visitFigures { topic, value in publishFigure(topic, value, omitsZero: true, at: now) }
    guard let allocationCount else { return }
    publishFigure("$SYS/tapline/memory/allocations_at_start", figures.allocationsAtStart, at: now)
    publishFigure(
      "$SYS/tapline/memory/allocations_after_ready", allocationCount() &- figures.allocationsAtStart, at: now)
  }

  /// Visits the numbers of the log and of layers: topic under $SYS, and value.
  private func visitFigures(_ visit: (StaticString, UInt64) -> Void) {
    visit("$SYS/tapline/log/lines", log.counters.written)
    visit("$SYS/tapline/log/repeated", log.counters.repeated)
    visit("$SYS/tapline/log/suppressed", log.counters.suppressed)
    visit("$SYS/tapline/log/lost", log.counters.lost)
    users?.visitFigures(visit)
    if layers.isUsed { layers.counters.visit(visit) }
    if tls.isUsed { tls.counters.visit(visit) }
  }

  /// Figures that are told once they are not 0 any more have their room from the start.
  func ownFigures() {
    visitFigures { topic, _ in callBroker { $0.ownFigure(topic) } }
    gateway.visitFigures { topic, _ in callBroker { $0.ownFigure(topic) } }
  }

  /// `tapline version 0.1.0`, once: a client that looks there first learns what it speaks to.
  func publishVersion(at now: Instant) {
    var writer = gateway.scratch.writer()
    writer.write("tapline version ")
    writer.write(Version.text)
    publishText("$SYS/broker/version", writer.written, at: now)
  }

  @inline(never) func publishFigure(_ topic: StaticString, _ value: UInt64, omitsZero: Bool = false, at now: Instant) {
    callBroker { $0.publishFigure(topic, value, omitsZero: omitsZero, at: now) }
    gateway.drainOutboxes()
  }

  private func publishText(_ topic: StaticString, _ payload: Bytes, at now: Instant) {
    gateway.publishOwn(topic: Bytes(topic), payload: payload, retain: true, runsTaps: false, at: now)
  }

  // MARK: Taps and rules

  /// When the gateway's changed figures are due: once a second at most.
  var gatewayFiguresDeadline: Instant {
    gateway.handlerCounters == figures.toldHandlers && gateway.rules.counters == figures.toldRules
      ? .never : figures.gatewayAt
  }

  func publishGatewayFigures(at now: Instant) {
    figures.gatewayAt = now.adding(seconds: 1)
    (figures.toldHandlers, figures.toldRules) = (gateway.handlerCounters, gateway.rules.counters)
    tellHandlerLimits(at: now)
    gateway.visitFigures { topic, value in publishFigure(topic, value, omitsZero: true, at: now) }
  }
}

/// When figures are published, and what has been told of the gateway's.
struct FigureTimes {
  var loopAt = Instant.never
  var gatewayAt = Instant(nanoseconds: 0)
  var toldHandlers = HandlerCounters()
  var toldRules = RuleCounters()
  /// What the log was told of handlers, and until when it is told nothing more.
  var loggedHandlers = HandlerCounters()
  var handlersQuietUntil = Instant(nanoseconds: 0)
  var turnTimes = TurnTimes()
  var allocationsAtStart: UInt64 = 0
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

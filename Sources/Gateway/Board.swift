public import Bounded
import MQTTBroker
import Taps

/// What the gateway asks of the board. The loop's thread makes every call, and each answers before it returns.
public protocol Board: AnyObject {
  /// The clocks now: what a line or a driver does takes its time, so this is later than the turn's beginning.
  var moment: Moment { get }

  /// Sets an output's line. False, with the reason for people in `reason`, when the line does not do it; the board has
  /// then given the line back and tries to get it again.
  func set(line: Int, active: Bool, reason: inout ByteWriter) -> Bool
  /// What a line has now: true is active. nil when it is not there or does not answer.
  func level(ofLine line: Int) -> Bool?
  /// Gives a line back at the end. `letsGo`: as an input, which drives nothing.
  func giveBack(line: Int, letsGo: Bool)

  /// Writes a PWM channel's or an LED's power and waits for the driver, in 2^-32 of the full power. False, with the
  /// reason for people in `reason`, when the driver refuses, or does not answer in time.
  func write(level index: Int, share: UInt64, reason: inout ByteWriter) -> Bool
  /// Gives all PWM channels and LEDs their last job, all at the same time. From then on they take no more.
  /// - Parameters:
  ///   - job: of the level with this index.
  ///   - ended: called once for each level with a job, in their order: whether it was done, and if not, the reason for
  ///     people.
  func finishLevels(_ job: (Int) -> LastLevel, ended: (Int, Bool, Bytes) -> Void)

  /// The gateway calls this when something that is kept over a restart has changed.
  func stateChanged(at now: Instant)
  /// The gateway calls this when an entity of an earlier configuration has been taken back from Home Assistant.
  func forget(announced name: [UInt8], at now: Instant)
  /// Hands a message to a decoupled handler, by its place among all handlers; false when its queue is full.
  func submit(handler: Int, topic: Bytes, payload: Bytes) -> Bool

  /// Nanoseconds of a clock that only measures, for the time that a handler takes.
  var monotonicNanoseconds: Int64 { get }
  func tell(_ notice: GatewayNotice)
}

/// A level's last job.
public enum LastLevel: BitwiseCopyable {
  /// Nothing is written.
  case keep
  /// In 2^-32 of the full power.
  case share(UInt64)
  /// It is given back.
  case release
}

/// An event for the log. Bytes are valid during the call.
public enum GatewayNotice {
  /// A tap does not work; the board tries it again.
  case fault(tap: [UInt8], reason: Bytes)
  /// An output was switched.
  case switched(output: Int, active: Bool, by: Bytes)
  /// A command was refused.
  case refused(output: Int, reason: Bytes, by: Bytes)
  /// A rule was cut off because it is in a loop; `by` is `rule:NAME` or `link:INPUT`.
  case ruleLoop(by: Bytes)
  /// A handler takes too long and is set aside.
  case handlerSetAside(pattern: Bytes)
  /// An answer found no room to be published.
  case answerLost
  /// A discovery message found no room.
  case discoveryLost
  /// The broker has no room for the tap that hears when Home Assistant comes.
  case homeAssistantUnheard
}

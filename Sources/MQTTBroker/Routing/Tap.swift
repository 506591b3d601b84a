public import Bounded
public import MQTTWire

/// A tap as the broker knows it: one kind of subscriber. The number is its place in the order of `addTap`.
public struct TapID: BitwiseCopyable, Equatable, Sendable {
  public let index: Int
  @inlinable public init(index: Int) { self.index = index }
}

/// When a tap runs among those that match the same message, whatever nodes their filters end at.
///
/// Taps that may refuse run before taps that act, and nothing runs after a refusal: nothing has moved for a message that is
/// refused, and nobody has acted on it.
public enum TapPhase: UInt8, BitwiseCopyable, Sendable {
  /// It may refuse the message, or change how it goes on.
  case judge
  /// It carries the message out or refuses it. Of these at most one may match a message: a second one could refuse what
  /// the first has carried out.
  case command
  /// It acts on a message that has been accepted, and must not refuse it.
  case follow

  fileprivate var bit: UInt8 { 1 << rawValue }
}

/// A message as a tap sees it; all bytes are borrowed for the length of the call.
public struct TapMessage {
  public let topic: Bytes
  public let payload: Bytes
  public let qos: QoS
  public let retain: Bool
  /// The properties as they will be forwarded, without Property Length.
  public let forwardedProperties: Bytes
  /// The publisher's client identifier; empty for the board itself, as no client has an empty one (§3.1.3.1).
  public let clientID: Bytes
  /// The publisher's user name; empty: anonymous, or the board.
  public let userName: Bytes
  /// The publisher's session, by whose rights the topic of an answer is judged; null: the board's message.
  public let publisher: Handle<Session>
  public let now: Instant

  /// Whether the board itself has published it, not a client.
  public var isBoards: Bool { clientID.isEmpty }
}

/// What a tap makes of a message.
public struct TapVerdict {
  /// Not an error: the message goes on to the subscribers. An error: it goes no further, and the publisher is
  /// told this Reason Code (§3.4.2.1; MQTT 5, QoS 1 and 2 only).
  public var reason = ReasonCode.success
  /// UTF-8 for the publisher (§3.4.2.2.2), valid until the tap is called again; at most 200 bytes are sent.
  public var reasonString = Bytes.empty
  /// How the message goes on, where it is not to go on as it came; the acknowledgement keeps the publisher's QoS.
  public var qos: QoS?
  /// Commands are not kept: a retained one would switch a pin at every restart.
  public var retain: Bool?
  /// Message Expiry Interval from now on (§3.3.2.3.3).
  public var expirySeconds: UInt32?

  public init(
    reason: ReasonCode = .success, reasonString: Bytes = .empty, qos: QoS? = nil, retain: Bool? = nil,
    expirySeconds: UInt32? = nil
  ) {
    self.reason = reason
    self.reasonString = reasonString
    self.qos = qos
    self.retain = retain
    self.expirySeconds = expirySeconds
  }

  public static var accept: TapVerdict { TapVerdict() }
}

extension Inbound {
  /// It goes on as taps have said.
  @inline(__always) mutating func change(by verdict: TapVerdict, at now: Instant) {
    qos = verdict.qos ?? qos
    retain = verdict.retain ?? retain
    if let seconds = verdict.expirySeconds { expiresAt = now.adding(seconds: Int64(seconds)) }
  }
}

/// Runs in the turn of the PUBLISH, after its validation and once per QoS 2 message. It must not call the
/// broker; what it wants published it hands over when `receive` has returned.
public typealias TapHandler = (TapID, TapMessage) -> TapVerdict

struct TapEntry: BitwiseCopyable {
  var node: Handle<TopicNode>
  var next: UInt16  // index + 1 of the next tap on the same node
  var phase: TapPhase
}

extension Broker {
  /// Runs `onTap` for messages whose topic matches `filter`, in their `phase`; before the first connection.
  /// `nil` when there is no room or the filter is not valid.
  @_optimize(size) public mutating func addTap(filter: Bytes, _ phase: TapPhase = .command) -> TapID? {
    guard tapCount < limits.tapsMax, filter.count <= limits.topicBytesMax, Topic.isValidFilter(filter),
      Topic.levelCount(filter) <= limits.topicLevelsMax, let node = topics.intern(filter)
    else { return nil }
    taps[tapCount] = TapEntry(node: node, next: topics[node].taps, phase: phase)
    tapCount += 1
    topics.hangTap(UInt16(tapCount), on: node)
    topics.takeInCommon(node, &shares.joint)
    return TapID(index: tapCount - 1)
  }

  /// Runs the taps of the nodes found by the last match, those of one phase after the other, and in a phase in the order of
  /// the tree. The first refusal ends it; of changes the last one counts.
  mutating func runTaps(_ message: TapMessage) -> TapVerdict {
    var merged = TapVerdict.accept
    var phases: UInt8 = 0
    var count = 0
    var last = 0
    var position = 0
    while position < topics.foundCount {
      var tap = topics[topics.found(position)].taps
      while tap != 0 {
        last = Int(tap) - 1
        phases |= taps[last].phase.bit
        count &+= 1
        tap = taps[last].next
      }
      position += 1
    }
    guard count > 1 else {  // as most messages that have a tap at all
      if count == 1 { _ = runTap(last, message, &merged) }
      return merged
    }
    while phases != 0 {
      guard runTaps(of: phases & (0 &- phases), message, &merged) else { break }
      phases &= phases &- 1
    }
    return merged
  }

  /// - Parameter phase: its bit.
  /// - Returns: false: one has refused the message.
  @inline(never) private mutating func runTaps(
    of phase: UInt8, _ message: TapMessage, _ merged: inout TapVerdict
  ) -> Bool {
    var position = 0
    while position < topics.foundCount {
      var tap = topics[topics.found(position)].taps
      while tap != 0 {
        let index = Int(tap) - 1
        if taps[index].phase.bit == phase, !runTap(index, message, &merged) { return false }
        tap = taps[index].next
      }
      position += 1
    }
    return true
  }

  /// - Returns: false: it has refused the message.
  @inline(__always) private mutating func runTap(
    _ index: Int, _ message: TapMessage, _ merged: inout TapVerdict
  ) -> Bool {
    counters.tapsRun &+= 1
    let verdict = onTap(TapID(index: index), message)
    merged.qos = verdict.qos ?? merged.qos
    merged.retain = verdict.retain ?? merged.retain
    merged.expirySeconds = verdict.expirySeconds ?? merged.expirySeconds
    merged.reason = verdict.reason.isError ? verdict.reason : .success
    guard verdict.reason.isError else { return true }
    precondition(taps[index].phase != .follow)  // others have acted on it already
    merged.reasonString = verdict.reasonString
    counters.tapRefusals &+= 1
    return false
  }
}

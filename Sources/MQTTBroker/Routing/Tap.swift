public import Bounded
public import MQTTWire

/// A tap as the broker knows it: one kind of subscriber. The number is its place in the order of `addTap`.
public struct TapID: BitwiseCopyable, Equatable, Sendable {
  public let index: Int
  @inlinable public init(index: Int) { self.index = index }
}

/// A message as a tap sees it; all bytes are borrowed for the length of the call.
public struct TapMessage {
  public let topic: Bytes
  public let payload: Bytes
  public let qos: QoS
  public let retain: Bool
  /// The properties as they will be forwarded, without Property Length.
  public let forwardedProperties: Bytes
  /// The publisher's client identifier; empty for the broker itself.
  public let clientID: Bytes
  public let now: Instant
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

/// Runs in the turn of the PUBLISH, after its validation and once per QoS 2 message. It must not call the
/// broker; what it wants published it hands over when `receive` has returned.
public typealias TapHandler = (TapID, TapMessage) -> TapVerdict

struct TapEntry: BitwiseCopyable {
  var node: Handle<TopicNode>
  var next: UInt16  // index + 1 of the next tap on the same node
}

extension Broker {
  /// Runs `onTap` for messages whose topic matches `filter`; before the first connection.
  /// `nil` when there is no room or the filter is not valid.
  @_optimize(size) public mutating func addTap(filter: Bytes) -> TapID? {
    guard tapCount < limits.tapsMax, filter.count <= limits.topicBytesMax, Topic.isValidFilter(filter),
      Topic.levelCount(filter) <= limits.topicLevelsMax, let node = topics.intern(filter)
    else { return nil }
    taps[tapCount] = TapEntry(node: node, next: topics[node].taps)
    tapCount += 1
    topics.hangTap(UInt16(tapCount), on: node)
    topics.takeInCommon(node, &shares.joint)
    return TapID(index: tapCount - 1)
  }

  /// Runs the taps of the nodes found by the last match, in the order of the tree; the first refusal ends it, of
  /// changes the last one counts.
  mutating func runTaps(_ message: TapMessage) -> TapVerdict {
    var merged = TapVerdict.accept
    var position = 0
    while position < topics.foundCount {
      var tap = topics[topics.found(position)].taps
      while tap != 0 {
        let index = Int(tap) - 1
        counters.tapsRun &+= 1
        let verdict = onTap(TapID(index: index), message)
        merged.qos = verdict.qos ?? merged.qos
        merged.retain = verdict.retain ?? merged.retain
        merged.expirySeconds = verdict.expirySeconds ?? merged.expirySeconds
        if verdict.reason.isError {
          merged.reason = verdict.reason
          merged.reasonString = verdict.reasonString
          counters.tapRefusals &+= 1
          return merged
        }
        merged.reason = .success
        tap = taps[index].next
      }
      position += 1
    }
    return merged
  }
}

/// The capacities of the loop around the broker: what it reads at once, and what handlers may take. They are set under
/// `limits:` beside the broker's.
public struct LoopLimits: Sendable {
  /// Bytes read from one connection in one turn.
  public var readBytes = 65_536
  /// Seconds after which TCP gives a peer up that answers nothing.
  public var deadPeerSeconds = 60

  /// Publications that taps may hand over while one message is routed, and their bytes.
  public var tapPublishesMax = 16
  public var tapPublishBytes = 8192
  /// Microseconds an inline handler should take, and overruns in a minute after which it is set aside.
  public var tapMicroseconds = 1000
  public var tapOverrunsMax = 10
  /// Messages that wait for decoupled handlers, and the longest of them, topic and payload.
  public var tapQueueMax = 64
  public var tapQueueBytesMax = 1024

  public init() {}
}

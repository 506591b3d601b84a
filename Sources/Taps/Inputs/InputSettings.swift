import Bounded

/// Which edges of a bouncing contact count.
public enum DebounceMode: UInt8, BitwiseCopyable, Sendable {
  /// A level counts once it has lasted the time: late by it, and never wrong.
  case settle
  /// The first edge counts at once; the line is then ignored for the time and looked at again after it.
  case leading
}

/// What a button tells of its presses on `<base>/<tap>/event`.
public struct ButtonSettings: Sendable {
  /// A press of this many nanoseconds is a long one; 0: no press is.
  public var longNanoseconds: Int64 = 0
  /// Presses of which each begins within this many nanoseconds after the end of the one before are counted
  /// together; 0: they are not.
  public var multiNanoseconds: Int64 = 0

  public init(longNanoseconds: Int64 = 0, multiNanoseconds: Int64 = 0) {
    self.longNanoseconds = longNanoseconds
    self.multiNanoseconds = multiNanoseconds
  }
}

/// Both edges of the line are asked for.
public struct InputSettings: Sendable {
  public var name: [UInt8]
  public var pin: LineAddress
  public var active = LineActive.high
  public var bias = LineBias.asIs
  /// 0 is no debounce.
  public var debounceMicroseconds: UInt32 = 0
  public var debounceMode = DebounceMode.settle
  /// How long the line is active before the state is `ON`, in nanoseconds; 0: at once.
  public var onDelayNanoseconds: Int64 = 0
  /// How long the line is inactive before the state is `OFF`, in nanoseconds; 0: at once.
  public var offDelayNanoseconds: Int64 = 0
  /// nil: there is a state only. Events follow the debounced line, not the delayed state.
  public var events: ButtonSettings?

  public static var delayNanosecondsMax: Int64 { 7 * 86_400 * 1_000_000_000 }

  public init(name: [UInt8], pin: LineAddress) {
    self.name = name
    self.pin = pin
  }

  func problem() -> StaticString? {
    let delays = 0...InputSettings.delayNanosecondsMax
    guard delays.contains(onDelayNanoseconds), delays.contains(offDelayNanoseconds) else {
      return "on_delay and off_delay must be 0 to 7d"
    }
    guard let events else { return nil }
    let isFit = delays.contains(events.longNanoseconds) && delays.contains(events.multiNanoseconds)
    return isFit ? nil : "long and multi must be 0 to 7d"
  }
}

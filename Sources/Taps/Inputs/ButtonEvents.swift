import Bounded

/// What Home Assistant calls a button's standard events, in the order of a press's life.
enum ButtonEventKind: UInt8 {
  case pressStart
  case multiPressOngoing
  case pressEnd
  case longPressStart
  case longPressEnd
  case multiPressEnd

  var name: StaticString {
    switch self {
    case .pressStart: return "press_start"
    case .multiPressOngoing: return "multi_press_ongoing"
    case .pressEnd: return "press_end"
    case .longPressStart: return "long_press_start"
    case .longPressEnd: return "long_press_end"
    case .multiPressEnd: return "multi_press_end"
    }
  }
}

struct ButtonEvent: BitwiseCopyable {
  var kind: ButtonEventKind
  var wallNanoseconds: Int64
  /// How long the button was held, for the ends of presses.
  var heldNanoseconds: Int64?
  /// Presses so far, for the multi-press events.
  var count: UInt32?

  /// `{"event_type":"press_end","duration_ms":132,"ts":"2026-11-22T20:41:26.123456Z"}`, as long as this at most.
  static var payloadBytesMax: Int { 128 }

  func write(into writer: inout ByteWriter) {
    writer.write("{\"event_type\":\"")
    writer.write(kind.name)
    writer.write("\"")
    if let heldNanoseconds {
      writer.write(",\"duration_ms\":")
      writer.writeDecimal(heldNanoseconds / 1_000_000)
    }
    if let count {
      writer.write(",\"count\":")
      writer.writeDecimal(UInt64(count))
    }
    writer.write(",\"ts\":\"")
    RFC3339.write(wallNanoseconds: wallNanoseconds, into: &writer)
    writer.write("\"}")
  }
}

/// A debounced line's levels as a button's events.
///
///     line    ──┐   ┌──┐  ┌────────────      ──┐                ┌────────────
///               press_ │  press_end            press_start      long_press_end
///               start  press_start,                 │ long ▸ long_press_start
///                      multi_press_ongoing 2
///                         │ multi ▸ multi_press_end 2
///
/// A sequence of presses that ends in a long one ends with `long_press_end`.
struct ButtonEvents: BitwiseCopyable {
  private let longNanoseconds: Int64
  private let multiNanoseconds: Int64
  /// Since when the button is held; nil: it is not.
  private var pressed: Moment?
  private var isLong = false
  /// Presses in the present sequence.
  private var count: UInt32 = 0
  /// When a held press becomes a long one, or a sequence is over; counted from `timedFrom`.
  private(set) var deadline = Instant.never
  private var timedFrom = Moment(at: Instant(nanoseconds: 0), wallNanoseconds: 0)
  /// The second event of one press, to be told next.
  private var ongoing: ButtonEvent?

  init(_ settings: ButtonSettings) {
    longNanoseconds = settings.longNanoseconds
    multiNanoseconds = settings.multiNanoseconds
  }

  var hasPending: Bool { ongoing != nil }

  /// The level at start, or after a fault: a button that is held already was not pressed.
  mutating func reset() {
    pressed = nil
    isLong = false
    count = 0
    deadline = .never
    ongoing = nil
  }

  mutating func levelChanged(_ level: Bool, at moment: Moment) -> ButtonEvent? {
    level ? pressStarted(at: moment) : pressEnded(at: moment)
  }

  private mutating func pressStarted(at moment: Moment) -> ButtonEvent? {
    pressed = moment
    isLong = false
    count = multiNanoseconds > 0 ? count &+ 1 : 1
    time(longNanoseconds, from: moment)
    let wall = moment.wallNanoseconds
    if count > 1 { ongoing = ButtonEvent(kind: .multiPressOngoing, wallNanoseconds: wall, count: count) }
    return ButtonEvent(kind: .pressStart, wallNanoseconds: wall)
  }

  private mutating func pressEnded(at moment: Moment) -> ButtonEvent? {
    guard let start = pressed else { return nil }
    pressed = nil
    time(isLong ? 0 : multiNanoseconds, from: moment)
    if isLong { count = 0 }
    return ButtonEvent(
      kind: isLong ? .longPressEnd : .pressEnd, wallNanoseconds: moment.wallNanoseconds,
      heldNanoseconds: max(0, moment.at.since(start.at)))
  }

  private mutating func time(_ nanoseconds: Int64, from moment: Moment) {
    timedFrom = moment
    deadline = nanoseconds > 0 ? moment.at.adding(nanoseconds: nanoseconds) : .never
  }

  mutating func takePending() -> ButtonEvent? {
    defer { ongoing = nil }
    return ongoing
  }

  /// The deadline has passed.
  mutating func deadlinePassed() -> ButtonEvent {
    deadline = .never
    if pressed != nil {
      isLong = true
      return ButtonEvent(kind: .longPressStart, wallNanoseconds: timedFrom.wallNanoseconds &+ longNanoseconds)
    }
    defer { count = 0 }
    return ButtonEvent(
      kind: .multiPressEnd, wallNanoseconds: timedFrom.wallNanoseconds &+ multiNanoseconds, count: count)
  }
}

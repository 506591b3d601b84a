public import Bounded

/// A sensor and its topics: readings in, decimals out.
///
/// A reading that is no number is a failure like a read that failed. `failuresMax` in a row are a fault; the first
/// good reading clears it. A value is published when it is the first, differs in its text from the one published
/// last (by `delta` or more), follows a fault, or when `refresh` has passed since.
public struct SensorTap: BitwiseCopyable {
  public enum State: BitwiseCopyable, Equatable {
    /// `failuresInARow` is 0 when the last reading was good, or there was none yet.
    case working(failuresInARow: Int)
    case faulted
  }
  public private(set) var state = State.working(failuresInARow: 0)
  public let stateTopic: Bytes
  public var faultTopic: Bytes { fault.topic }
  /// No file is to be read: `simulatedReading`.
  public let isSimulated: Bool
  /// When the next read is due: multiples of the interval from start on, those missed left out.
  public private(set) var nextReadAt: Instant
  /// Reads that were due while the loop was late or another read was under way.
  public private(set) var skippedCount: UInt64 = 0
  public private(set) var failedCount: UInt64 = 0

  private let offset: PlainDecimal
  private let scale: PlainDecimal
  private let digits: Int
  private let deltaSteps: Int64
  private let intervalNanoseconds: Int64
  private let refreshNanoseconds: Int64  // 0: never
  private var readStartedAt: Instant?
  private var published: Int64?  // in steps of 10^-digits
  private var publishedAt = Instant(nanoseconds: 0)
  private var payload: TextBuffer
  private var fault: FaultReport

  /// DHT11 and its like fail one read in five in good health.
  public static var failuresMax: Int { 3 }
  /// A read that takes longer is a failure each time the next one is due.
  public static var readNanosecondsMax: Int64 { 5_000_000_000 }
  static var payloadBytesMax: Int { 32 }

  init(settings: SensorSettings, stateTopic: Bytes, fault: FaultReport, payload: TextBuffer, firstReadAt: Instant) {
    let usual = SensorUnit.of(settings.source)
    let scale = settings.scale ?? usual.scale
    // A number of unknown kind gets the decimals of the scale that makes sense of it.
    let digits = settings.digits ?? (usual.isPlain ? min(scale.places, 3) : usual.digits)
    if case .simulatedWave = settings.source { isSimulated = true } else { isSimulated = false }
    self.scale = scale
    self.digits = digits
    offset = settings.offset
    deltaSteps =
      settings.delta.steps(offset: .zero, scale: PlainDecimal(mantissa: 1, places: 0), digits: digits) ?? .max
    intervalNanoseconds = settings.intervalNanoseconds
    refreshNanoseconds = settings.refreshNanoseconds
    self.stateTopic = stateTopic
    self.fault = fault
    self.payload = payload
    nextReadAt = firstReadAt
  }

  /// Why the sensor is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  /// The text published last; empty before the first.
  public var valueText: Bytes { payload.bytes }
  public var isReading: Bool { readStartedAt != nil }

  // MARK: Readings

  /// What the file held.
  public mutating func readingReceived(_ text: Bytes, at now: Instant, wallNanoseconds: Int64) -> TapUpdate {
    readStartedAt = nil
    do throws(PlainDecimal.ParseError) {
      let raw = try PlainDecimal(parsing: text)
      guard let steps = raw.steps(offset: offset, scale: scale, digits: digits) else { throw .tooLarge }
      return valueRead(steps, at: now, wallNanoseconds: wallNanoseconds)
    } catch {
      switch error {
      case .empty: return failed(Bytes("empty reading"), .empty, wallNanoseconds: wallNanoseconds)
      case .notANumber: return failed(Bytes("not a number: "), text.excerpt, wallNanoseconds: wallNanoseconds)
      case .tooLarge: return failed(Bytes("number too large: "), text.excerpt, wallNanoseconds: wallNanoseconds)
      }
    }
  }

  /// The file could not be read; `reason` is for people.
  public mutating func readingFailed(_ reason: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    readStartedAt = nil
    return failed(.empty, reason, wallNanoseconds: wallNanoseconds)
  }

  /// A reading of the simulated source.
  public mutating func simulatedReading(at now: Instant, wallNanoseconds: Int64) -> TapUpdate {
    precondition(isSimulated)
    let raw = PlainDecimal(mantissa: SimulatedWave.milli(at: now), places: 0)
    guard let steps = raw.steps(offset: offset, scale: scale, digits: digits) else {
      return failed(Bytes("number too large"), .empty, wallNanoseconds: wallNanoseconds)
    }
    return valueRead(steps, at: now, wallNanoseconds: wallNanoseconds)
  }

  private mutating func valueRead(_ steps: Int64, at now: Instant, wallNanoseconds: Int64) -> TapUpdate {
    let cleared = fault.clear(wallNanoseconds: wallNanoseconds)
    state = .working(failuresInARow: 0)
    guard cleared != nil || isWorthPublishing(steps, at: now) else { return .none }
    published = steps
    publishedAt = now
    let digits = digits
    payload.write { PlainDecimal.write(steps: steps, digits: digits, into: &$0) }
    return TapUpdate(
      state: Publication(topic: stateTopic, payload: payload.bytes, wallNanoseconds: wallNanoseconds),
      fault: cleared)
  }

  private func isWorthPublishing(_ steps: Int64, at now: Instant) -> Bool {
    guard let published else { return true }
    if refreshNanoseconds > 0, now.since(publishedAt) >= refreshNanoseconds { return true }
    return steps != published && (steps - published).magnitude >= deltaSteps.magnitude
  }

  private mutating func failed(_ label: Bytes, _ reason: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    failedCount &+= 1
    switch state {
    case .working(let failuresInARow) where failuresInARow + 1 < SensorTap.failuresMax:
      state = .working(failuresInARow: failuresInARow + 1)
      return .none
    case .working, .faulted:
      state = .faulted
      return TapUpdate(fault: fault.raise(reason, label: label, wallNanoseconds: wallNanoseconds))
    }
  }

  // MARK: Time

  /// What a sensor does when its deadline has come.
  enum Due {
    case read
    case simulate
    case wait
    case overdue
  }

  mutating func deadlinePassed(at now: Instant) -> Due {
    let late = now.since(nextReadAt)
    precondition(late >= 0)
    skippedCount &+= UInt64(late / intervalNanoseconds)
    nextReadAt = now.adding(nanoseconds: intervalNanoseconds - late % intervalNanoseconds)
    if isSimulated { return .simulate }
    guard let readStartedAt else {
      self.readStartedAt = now
      return .read
    }
    skippedCount &+= 1
    return now.since(readStartedAt) >= SensorTap.readNanosecondsMax ? .overdue : .wait
  }

  mutating func readOverdue(wallNanoseconds: Int64) -> TapUpdate {
    failed(Bytes("read does not return"), .empty, wallNanoseconds: wallNanoseconds)
  }
}

extension Bytes {
  /// The beginning, for a message about it.
  fileprivate var excerpt: Bytes { trimmingASCIIWhitespace.prefix(most: 32) }
}

/// A temperature that no board has: a triangle from 20.0 °C to 25.0 °C and back in a minute.
public enum SimulatedWave {
  public static var periodNanoseconds: Int64 { 60_000_000_000 }

  /// 20 000...25 000 m°C; 20 000 at 0 and at each whole period.
  public static func milli(at now: Instant) -> Int64 {
    let phase = now.nanoseconds % periodNanoseconds
    let fromValley = phase <= periodNanoseconds / 2 ? phase : periodNanoseconds - phase
    return 20_000 + fromValley / (periodNanoseconds / 2 / 5_000)
  }
}

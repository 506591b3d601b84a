public import Bounded

/// A sensor and its topics: readings in, decimals out.
///
/// A reading that is no number, not in the valid range or in the reject list is a failure like a read that failed.
/// `failuresMax` in a row are a fault; the first good reading clears it. After a failure that is no fault yet the next
/// read comes early. A value is published when it is the first, differs in its text from the one published last (by
/// `delta` or more), follows a fault, when `refresh` has passed since, or before it expires.
///
/// It has more than twenty properties, because most are settings: each step from the number in the file to the
/// published text has its own. The rest is the time of the next read and what was published last.
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
  /// What is to be read next.
  public private(set) var filePart: SensorFilePart
  /// Multiples of the interval from start on, those missed left out.
  private var intervalEndsAt: Instant
  /// A read between them: after a failure, or after a file that only explains the value.
  private var extraReadAt = Instant.never
  /// Reads that were due while the loop was late or another read was under way.
  public private(set) var skippedCount: UInt64 = 0
  public private(set) var failedCount: UInt64 = 0

  private let offset: PlainDecimal
  private let scale: PlainDecimal
  private let isDeviceScaled: Bool
  private var deviceScale = PlainDecimal(mantissa: 1, places: 0)
  private var deviceOffset = PlainDecimal.zero
  private let valid: SensorRange?
  private var rejects = InlineArray<4, PlainDecimal>(repeating: .zero)
  private let rejectCount: Int
  private let isBinary: Bool
  private let digits: Int
  private let deltaSteps: Int64
  private let intervalNanoseconds: Int64
  private let refreshNanoseconds: Int64  // 0: never
  private let staleNanoseconds: Int64  // 0: never
  private var readStartedAt: Instant?
  private var published: Int64?  // in steps of 10^-digits
  private var publishedAt = Instant(nanoseconds: 0)
  private var payload: TextBuffer
  private var fault: FaultReport

  /// DHT11 and its like fail one read in five in good health.
  public static var failuresMax: Int { 3 }
  /// A read that takes longer is a failure each time the next one is due.
  public static var readNanosecondsMax: Int64 { 5_000_000_000 }
  /// From a failure that is no fault yet to the next read; DHT11 drivers answer anew after 2 s.
  public static var retryNanoseconds: Int64 { 2_000_000_000 }
  static var payloadBytesMax: Int { 32 }

  init(settings: SensorSettings, stateTopic: Bytes, fault: FaultReport, payload: TextBuffer, firstReadAt: Instant) {
    let usual = SensorUnit.of(settings.source, isRaw: settings.scale != nil)
    let scale = settings.scale ?? usual.scale
    // A number of unknown kind gets the decimals of the scale that makes sense of it.
    let digits = settings.digits ?? (usual.isPlain ? min(scale.places, 3) : usual.digits)
    valid = settings.valid ?? settings.source.kind?.valid
    let rejects = settings.reject ?? settings.source.kind?.reject ?? []
    isSimulated = settings.source.isSimulated
    isDeviceScaled = settings.scale == nil && settings.source.hasDeviceScale
    rejectCount = rejects.count
    for (index, reject) in rejects.enumerated() { self.rejects[index] = reject }
    self.scale = scale
    self.digits = digits
    offset = settings.offset
    isBinary = settings.isBinary
    deltaSteps =
      settings.delta.steps(offset: .zero, scale: PlainDecimal(mantissa: 1, places: 0), digits: digits) ?? .max
    intervalNanoseconds = settings.intervalNanoseconds
    refreshNanoseconds = settings.refreshNanoseconds
    staleNanoseconds = settings.staleNanosecondsOrUsual
    self.stateTopic = stateTopic
    self.fault = fault
    self.payload = payload
    intervalEndsAt = firstReadAt
    filePart = isDeviceScaled ? .scale : .value
  }

  /// Why the sensor is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  /// The text published last; empty before the first.
  public var valueText: Bytes { payload.bytes }
  public var isReading: Bool { readStartedAt != nil }
  /// When the next read is due.
  public var nextReadAt: Instant { min(intervalEndsAt, extraReadAt) }

  // MARK: Readings

  /// What the file held.
  public mutating func readingReceived(_ text: Bytes, at moment: Moment) -> TapUpdate {
    readStartedAt = nil
    do throws(PlainDecimal.ParseError) {
      let number = try PlainDecimal(parsing: text)
      switch filePart {
      case .scale, .sharedScale: deviceScale = number
      case .offset, .sharedOffset: deviceOffset = number
      case .value: return try measured(number, at: moment)
      }
      readFollowing(isMissing: false, at: moment.at)
      return .none
    } catch {
      switch error {
      case .empty: return failed(Bytes("empty reading"), .empty, at: moment)
      case .notANumber: return failed(Bytes("not a number: "), text.excerpt, at: moment)
      case .tooLarge: return failed(Bytes("number too large: "), text.excerpt, at: moment)
      }
    }
  }

  /// The file could not be read; `reason` is for people.
  /// - Parameter isMissing: the device is there, and this file of it is not.
  public mutating func readingFailed(_ reason: Bytes, isMissing: Bool = false, at moment: Moment) -> TapUpdate {
    readStartedAt = nil
    if isMissing, filePart != .value {
      readFollowing(isMissing: true, at: moment.at)
      return .none
    }
    return failed(.empty, reason, at: moment)
  }

  private mutating func readFollowing(isMissing: Bool, at now: Instant) {
    filePart = filePart.following(isMissing: isMissing)
    extraReadAt = now
  }

  /// A reading of the simulated source.
  public mutating func simulatedReading(at moment: Moment) -> TapUpdate {
    precondition(isSimulated)
    let raw = PlainDecimal(mantissa: SimulatedWave.milli(at: moment.at), places: 0)
    do throws(PlainDecimal.ParseError) {
      return try measured(raw, at: moment)
    } catch {
      return failed(Bytes("number too large"), .empty, at: moment)
    }
  }

  private mutating func measured(_ raw: PlainDecimal, at moment: Moment) throws(PlainDecimal.ParseError) -> TapUpdate {
    var number = raw
    if isDeviceScaled {
      guard let nano = raw.steps(offset: deviceOffset, scale: deviceScale, digits: 9) else { throw .tooLarge }
      number = PlainDecimal(mantissa: nano, places: 9)
    }
    guard let steps = number.steps(offset: offset, scale: scale, digits: digits) else { throw .tooLarge }
    if let label = objection(to: steps, exactly: number.steps(offset: offset, scale: scale, digits: 6)) {
      return withUnsafeTemporaryAllocation(byteCount: SensorTap.payloadBytesMax, alignment: 8) { room in
        var writer = ByteWriter(room)
        PlainDecimal.write(steps: steps, digits: digits, into: &writer)
        return failed(Bytes(label), writer.written, at: moment)
      }
    }
    return valueRead(isBinary ? (steps == 0 ? 0 : 1) : steps, at: moment)
  }

  /// Why a value that is a number is no measurement.
  /// - Parameter micro: with six decimals, so that 84.96 is not rejected for 85.
  private func objection(to steps: Int64, exactly micro: Int64?) -> StaticString? {
    if let valid {
      let value = PlainDecimal(mantissa: steps, places: digits)
      if value < valid.lowest || valid.highest < value { return "out of its range: " }
    }
    guard rejectCount > 0, let micro else { return nil }
    let exact = PlainDecimal(mantissa: micro, places: 6)
    for index in 0..<rejectCount {
      if rejects[index] == exact { return "not a measurement: " }
    }
    return nil
  }

  private mutating func valueRead(_ steps: Int64, at moment: Moment) -> TapUpdate {
    let cleared = fault.clear(wallNanoseconds: moment.wallNanoseconds)
    state = .working(failuresInARow: 0)
    guard cleared != nil || isWorthPublishing(steps, at: moment.at) else { return .none }
    published = steps
    publishedAt = moment.at
    let (digits, isBinary) = (digits, isBinary)
    payload.write { writer in
      if isBinary {
        writer.write(StateText.bytes(active: steps != 0))
      } else {
        PlainDecimal.write(steps: steps, digits: digits, into: &writer)
      }
    }
    return TapUpdate(
      state: Publication(
        topic: stateTopic, payload: payload.bytes, wallNanoseconds: moment.wallNanoseconds,
        expirySeconds: expirySeconds),
      fault: cleared)
  }

  /// Rounded up.
  private var expirySeconds: UInt32? {
    guard staleNanoseconds > 0 else { return nil }
    return UInt32(clamping: (staleNanoseconds - 1) / 1_000_000_000 + 1)
  }

  private func isWorthPublishing(_ steps: Int64, at now: Instant) -> Bool {
    guard let published else { return true }
    let age = now.since(publishedAt)
    if refreshNanoseconds > 0, age >= refreshNanoseconds { return true }
    // It would expire before the next reading has come, should that fail and be tried again.
    let untilNext = intervalNanoseconds.addingSaturated(SensorTap.retryNanoseconds + 1_000_000_000)
    if staleNanoseconds > 0, age.addingSaturated(untilNext) > staleNanoseconds { return true }
    return steps != published && (isBinary || (steps - published).magnitude >= deltaSteps.magnitude)
  }

  private mutating func failed(_ label: Bytes, _ reason: Bytes, at moment: Moment) -> TapUpdate {
    failedCount &+= 1
    switch state {
    case .working(let failuresInARow) where failuresInARow + 1 < SensorTap.failuresMax:
      state = .working(failuresInARow: failuresInARow + 1)
      if !isReading { extraReadAt = moment.at.adding(nanoseconds: SensorTap.retryNanoseconds) }
      return .none
    case .working, .faulted:
      // A wrong value that wobbles is told of once.
      if state == .faulted, !label.isEmpty, fault.text.bytes.hasPrefix(label) { return .none }
      state = .faulted
      if isDeviceScaled { filePart = .scale }  // another device may come in its place
      return TapUpdate(fault: fault.raise(reason, label: label, wallNanoseconds: moment.wallNanoseconds))
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
    let late = now.since(intervalEndsAt)
    extraReadAt = .never
    if late >= 0 {
      skippedCount &+= UInt64(late / intervalNanoseconds)
      intervalEndsAt = now.adding(nanoseconds: intervalNanoseconds - late % intervalNanoseconds)
    }
    if isSimulated { return .simulate }
    guard let readStartedAt else {
      self.readStartedAt = now
      return .read
    }
    if late >= 0 { skippedCount &+= 1 }
    return now.since(readStartedAt) >= SensorTap.readNanosecondsMax ? .overdue : .wait
  }

  mutating func readOverdue(at moment: Moment) -> TapUpdate {
    failed(Bytes("read does not return"), .empty, at: moment)
  }
}

extension SensorSource {
  fileprivate var kind: SensorKind? {
    guard case .device(let kind, _, _) = self else { return nil }
    return kind
  }

  fileprivate var hasDeviceScale: Bool {
    guard case .device(let kind, _, let channel) = self else { return false }
    return channel.withUnsafeBytes { kind.isRaw(Bytes($0)) }
  }
}

extension Int64 {
  /// The sum of two numbers of 0 or more, or the largest number.
  func addingSaturated(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
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

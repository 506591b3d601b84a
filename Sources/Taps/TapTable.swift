// The board's taps: outputs, inputs, counters, sensors, levels (PWM channels and LEDs) and rules, a folder a kind.
//
// This module owns what each tap is (its state, its timers, its fault) and what an event makes of it. A command, an
// edge, a reading or a deadline is a method; its answer is an action for the caller or a `Publication`. A tap changes no
// line: it says what the line should do and is told what the line did. Settings are here with what they must not be
// (`problem`), and so are the topics of taps, their payloads (Texts/), what Home Assistant is told of them, and the format
// of the state file.
//
// It imports MQTTWire and Bounded, neither the broker nor the kernel's side. It does no I/O and reads no clock: time is a
// parameter. `TapTable`, `OutputTable` and `RuleTable` take their memory from the reservation and write it once;
// afterwards nothing allocates. Texts are rewritten in place, so a `Publication` is valid until its tap's next event.
// Only what runs at the start (settings, discovery, reading a saved state) has arrays.

public import Bounded

/// Taps of one kind in the table's memory.
///
/// Invariant: `count` initialised taps lie at `base` once the table is prepared.
public struct TapList<Tap: BitwiseCopyable>: BitwiseCopyable {
  let base: UnsafeMutablePointer<Tap>
  public let count: Int

  public subscript(index: Int) -> Tap {
    unsafeAddress {
      precondition(index >= 0 && index < count)
      return UnsafePointer(base + index)
    }
    nonmutating unsafeMutableAddress {
      precondition(index >= 0 && index < count)
      return base + index
    }
  }
}

/// What a due sensor wants.
public enum SensorAction: BitwiseCopyable {
  /// Read the file of this sensor, then tell the tap: `readingReceived` or `readingFailed`.
  case read(Int)
  /// This sensor's news; may be empty.
  case publish(Int, TapUpdate)
}

/// The tap to which a line belongs, by its place in its list.
public enum LineOwner: BitwiseCopyable, Equatable {
  case output(Int)
  case input(Int)
  case counter(Int)
}

/// All taps of the board, made once from the settings. Lines are numbered: outputs first, then inputs, then counters.
///
/// The memory is taken in `init` and written by `prepare`, so that a table for the plan only counts.
public final class TapTable {
  public let settings: TapSettings
  public let outputs: TapList<OutputTap>
  public let inputs: TapList<InputTap>
  public let counters: TapList<CounterTap>
  public let sensors: TapList<SensorTap>
  public let levels: TapList<LevelTap>
  /// What the table took from the reservation.
  public let byteCount: Int
  /// `<base>/status`.
  public private(set) var statusTopic = Bytes.empty

  /// Memory that all outputs share; see OutputTable.
  var outputRoom: OutputRoom
  let hasLeases: Bool
  var untold: UntoldTaps

  private let topics: UnsafeMutableRawPointer
  private let topicByteCount: Int
  private let texts: UnsafeMutablePointer<UInt8>
  private var textByteCount = 0

  /// The settings must have no `problem()`.
  public init(_ settings: TapSettings, in reservation: inout Reservation) {
    precondition(settings.problem() == nil)
    self.settings = settings
    let before = reservation.byteCount
    topicByteCount = TapTable.topicByteCount(settings)
    outputs = TapList(
      base: reservation.take(OutputTap.self, count: settings.outputs.count, name: "outputs"),
      count: settings.outputs.count)
    outputRoom = OutputRoom(settings, in: &reservation)
    hasLeases = settings.outputs.contains { $0.lease != nil } || settings.levels.contains { $0.lease != nil }
    inputs = TapList(
      base: reservation.take(InputTap.self, count: settings.inputs.count, name: "inputs"),
      count: settings.inputs.count)
    counters = TapList(
      base: reservation.take(CounterTap.self, count: settings.counters.count, name: "counters"),
      count: settings.counters.count)
    sensors = TapList(
      base: reservation.take(SensorTap.self, count: settings.sensors.count, name: "sensors"),
      count: settings.sensors.count)
    levels = TapList(
      base: reservation.take(LevelTap.self, count: settings.levels.count, name: "PWM channels and LEDs"),
      count: settings.levels.count)
    untold = UntoldTaps(
      count: settings.outputs.count + settings.counters.count + settings.levels.count, in: &reservation)
    topics = reservation.takeBytes(topicByteCount, name: "tap topics")
    texts = reservation.take(
      UInt8.self, count: TapTable.textByteCount(settings), name: "tap texts")
    byteCount = reservation.byteCount - before
  }

  /// Writes the table's memory; every sensor's first read is due at `now`. Once, before any other call.
  public func prepare(at now: Instant) {
    precondition(statusTopic.isEmpty)
    var writer = ByteWriter(topics, capacity: topicByteCount)
    TopicLayout.write(settings.layout.statusShape, base: settings.base, into: &writer)
    statusTopic = writer.written
    for (index, output) in settings.outputs.enumerated() {
      let topics = OutputTopics(output, at: index, in: self, &writer)
      let fault = faultReport(names(.output, output.name, index), into: &writer)
      (outputs.base + index).initialize(
        to: OutputTap(
          lineIndex: index, settings: output, groups: settings.groups, topics: topics, fault: fault,
          delayedBy: output.group == nil ? nil : textBuffer(Publication.byBytesMax), at: now))
      outputRoom.nextDeadline = min(outputRoom.nextDeadline, outputs[index].nextDeadline)
    }
    for (index, input) in settings.inputs.enumerated() {
      let names = names(.input, input.name, index)
      let fault = faultReport(names, into: &writer)
      (inputs.base + index).initialize(
        to: InputTap(
          settings: input, lineIndex: outputs.count + index,
          stateTopic: names.topic(.state, into: &writer),
          eventTopic: input.events == nil ? .empty : names.topic(.event, into: &writer),
          eventText: textBuffer(input.events == nil ? 0 : ButtonEvent.payloadBytesMax), fault: fault))
    }
    for (index, counter) in settings.counters.enumerated() {
      let names = names(.counter, counter.name, index)
      let total = names.topic(.state, into: &writer)
      let command = names.topic(.set, into: &writer)
      let rate = counter.rate == nil ? .empty : names.topic(.rate, into: &writer)
      let fault = faultReport(names, into: &writer)
      (counters.base + index).initialize(
        to: CounterTap(
          settings: counter, lineIndex: outputs.count + inputs.count + index, totalTopic: total,
          commandTopic: command, rateTopic: rate, fault: fault, totalText: textBuffer(CounterTap.textBytesMax),
          rateText: textBuffer(CounterTap.textBytesMax)))
    }
    for (index, sensor) in settings.sensors.enumerated() {
      let names = names(.sensor, sensor.topicName, index)
      let fault = faultReport(names, into: &writer)
      (sensors.base + index).initialize(
        to: SensorTap(
          settings: sensor, stateTopic: names.topic(.state, into: &writer), fault: fault,
          payload: textBuffer(SensorTap.payloadBytesMax), firstReadAt: now))
    }
    for (index, level) in settings.levels.enumerated() {
      let names = names(.pwm, level.name, index)
      let state = names.topic(.state, into: &writer)
      let command = names.topic(.set, into: &writer)
      (levels.base + index).initialize(
        to: LevelTap(
          settings: level, stateTopic: state, commandTopic: command, fault: faultReport(names, into: &writer),
          payload: textBuffer(LevelTap.payloadBytesMax), at: now))
    }
    precondition(!writer.overflowed && writer.count == topicByteCount)
  }

  // MARK: Lines

  public var lineCount: Int { outputs.count + inputs.count + counters.count }

  public func owner(ofLine lineIndex: Int) -> LineOwner {
    precondition(lineIndex >= 0 && lineIndex < lineCount)
    if lineIndex < outputs.count { return .output(lineIndex) }
    let index = lineIndex - outputs.count
    return index < inputs.count ? .input(index) : .counter(index - inputs.count)
  }

  /// The line that a message on `<base>/<tap>/get` asks for; nil when no output and no input is called so.
  public func line(ofQuestion topic: Bytes) -> Int? {
    guard topic.count > 4 else { return nil }
    let state = topic.first(topic.count - 4)
    for index in 0..<outputs.count where outputs[index].stateTopic == state { return outputs[index].lineIndex }
    for index in 0..<inputs.count where inputs[index].stateTopic == state { return inputs[index].lineIndex }
    return nil
  }

  /// The earliest deadline of all inputs and counters.
  public var nextInputDeadline: Instant {
    var earliest = Instant.never
    for index in 0..<inputs.count {
      earliest = min(earliest, inputs[index].nextDeadline)
    }
    for index in 0..<counters.count {
      earliest = min(earliest, counters[index].nextDeadline)
    }
    return earliest
  }

  /// The earliest deadline of all PWM channels and LEDs.
  public var nextLevelDeadline: Instant {
    var earliest = Instant.never
    for index in 0..<levels.count { earliest = min(earliest, levels[index].nextDeadline) }
    return earliest
  }

  // MARK: Sensors

  /// Takes one sensor whose deadline is not after `moment`; call until nil. Never two reads of a sensor at a time.
  public func takeDueSensor(at moment: Moment) -> SensorAction? {
    for index in 0..<sensors.count {
      if sensors[index].nextReadAt <= moment.at {
        switch sensors[index].deadlinePassed(at: moment.at) {
        case .read:
          return .read(index)
        case .simulate:
          return .publish(index, sensors[index].simulatedReading(at: moment))
        case .overdue:
          return .publish(index, sensors[index].readOverdue(at: moment))
        case .wait:
          break
        }
      }
    }
    return nil
  }

  /// The earliest `nextReadAt` of all sensors; `never` without sensors.
  public var nextSensorDeadline: Instant {
    var earliest = Instant.never
    for index in 0..<sensors.count {
      earliest = min(earliest, sensors[index].nextReadAt)
    }
    return earliest
  }

  // MARK: The board

  /// `online` after start, `offline` before an orderly end; other layouts have other words.
  public func status(online: Bool, wallNanoseconds: Int64) -> Publication {
    Publication(
      topic: statusTopic, payload: Bytes(settings.layout.statusText(online: online)), wallNanoseconds: wallNanoseconds)
  }

  // MARK: Memory

  private static func topicByteCount(_ settings: TapSettings) -> Int {
    var count = TopicLayout.byteCount(settings.layout.statusShape, base: settings.base)
    // Written out, without constant lists of roles: the Embedded build compiles this function into several modules, and
    // the linker takes one module's list for another's of the same name.
    for (index, output) in settings.outputs.enumerated() {
      let names = names(settings, .output, output.name, index)
      count += names.byteCount(.state) + names.byteCount(.set) + names.byteCount(.pulse) + names.byteCount(.offPulse)
      count += names.byteCount(.fault) + (output.hasStats ? names.byteCount(.stats) : 0)
    }
    for (index, input) in settings.inputs.enumerated() {
      let names = names(settings, .input, input.name, index)
      count += names.byteCount(.state) + names.byteCount(.fault) + (input.events == nil ? 0 : names.byteCount(.event))
    }
    for (index, counter) in settings.counters.enumerated() {
      let names = names(settings, .counter, counter.name, index)
      count += names.byteCount(.state) + names.byteCount(.set) + names.byteCount(.fault)
      count += counter.rate == nil ? 0 : names.byteCount(.rate)
    }
    for (index, sensor) in settings.sensors.enumerated() {
      let names = names(settings, .sensor, sensor.topicName, index)
      count += names.byteCount(.state) + names.byteCount(.fault)
    }
    for (index, level) in settings.levels.enumerated() {
      let names = names(settings, .pwm, level.name, index)
      count += names.byteCount(.state) + names.byteCount(.set) + names.byteCount(.fault)
    }
    return count
  }

  private static func textByteCount(_ settings: TapSettings) -> Int {
    var count = (settings.outputs.count + settings.inputs.count) * FaultReport.textBytesMax
    count += settings.outputs.count { $0.group != nil } * Publication.byBytesMax
    for input in settings.inputs where input.events != nil { count += ButtonEvent.payloadBytesMax }
    count += settings.counters.count * (FaultReport.textBytesMax + 2 * CounterTap.textBytesMax)
    count += settings.levels.count * (FaultReport.textBytesMax + LevelTap.payloadBytesMax)
    return count + settings.sensors.count * (FaultReport.textBytesMax + SensorTap.payloadBytesMax)
  }

  private static func names(_ settings: TapSettings, _ kind: TapKind, _ name: [UInt8], _ index: Int) -> TopicNames {
    TopicNames(layout: settings.layout, kind: kind, base: settings.base, name: name, number: index + 1)
  }

  func names(_ kind: TapKind, _ name: [UInt8], _ index: Int) -> TopicNames {
    TopicNames(layout: settings.layout, kind: kind, base: settings.base, name: name, number: index + 1)
  }

  @inline(never) private func faultReport(_ names: TopicNames, into writer: inout ByteWriter) -> FaultReport {
    FaultReport(topic: names.topic(.fault, into: &writer), text: textBuffer(FaultReport.textBytesMax))
  }

  private func textBuffer(_ capacity: Int) -> TextBuffer {
    let start = textByteCount
    textByteCount += capacity
    precondition(textByteCount <= TapTable.textByteCount(settings))
    return TextBuffer(texts + start, capacity: capacity)
  }
}

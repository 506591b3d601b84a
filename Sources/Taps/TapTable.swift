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

/// All taps of the board, made once from the settings. Lines are numbered: outputs first, then inputs.
///
/// The memory is taken in `init` and written by `prepare`, so that a table for the plan only counts.
public final class TapTable {
  public let settings: TapSettings
  public let outputs: TapList<OutputTap>
  public let inputs: TapList<InputTap>
  public let sensors: TapList<SensorTap>
  /// What the table took from the reservation.
  public let byteCount: Int
  /// `<base>/status`.
  public private(set) var statusTopic = Bytes.empty
  /// The earliest `nextReadAt` of all sensors; `never` without sensors.
  public private(set) var nextSensorDeadline = Instant.never

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
    inputs = TapList(
      base: reservation.take(InputTap.self, count: settings.inputs.count, name: "inputs"),
      count: settings.inputs.count)
    sensors = TapList(
      base: reservation.take(SensorTap.self, count: settings.sensors.count, name: "sensors"),
      count: settings.sensors.count)
    topics = reservation.takeBytes(topicByteCount, name: "tap topics")
    texts = reservation.take(
      UInt8.self, count: TapTable.textByteCount(settings), name: "tap texts")
    byteCount = reservation.byteCount - before
  }

  /// Writes the table's memory; every sensor's first read is due at `now`. Once, before any other call.
  public func prepare(at now: Instant) {
    precondition(statusTopic.isEmpty)
    var writer = ByteWriter(topics, capacity: topicByteCount)
    statusTopic = topic(Bytes("status"), "", into: &writer)
    for (index, output) in settings.outputs.enumerated() {
      let command = topic(output.name, "/set", into: &writer)
      let fault = faultReport(output.name, into: &writer)
      (outputs.base + index).initialize(
        to: OutputTap(
          lineIndex: index, initialActive: output.initialActive, stateTopic: command.first(command.count - 4),
          commandTopic: command, fault: fault))
    }
    for (index, input) in settings.inputs.enumerated() {
      let fault = faultReport(input.name, into: &writer)
      (inputs.base + index).initialize(
        to: InputTap(lineIndex: outputs.count + index, stateTopic: stateTopic(of: fault), fault: fault))
    }
    for (index, sensor) in settings.sensors.enumerated() {
      let fault = faultReport(sensor.name, into: &writer)
      (sensors.base + index).initialize(
        to: SensorTap(
          settings: sensor, stateTopic: stateTopic(of: fault), fault: fault,
          payload: textBuffer(SensorTap.payloadBytesMax), firstReadAt: now))
      nextSensorDeadline = now
    }
    precondition(!writer.overflowed && writer.count == topicByteCount)
  }

  // MARK: Lines

  public var lineCount: Int { outputs.count + inputs.count }

  /// Which input has this line, or nil when an output has it.
  public func inputIndex(ofLine lineIndex: Int) -> Int? {
    precondition(lineIndex >= 0 && lineIndex < lineCount)
    return lineIndex >= outputs.count ? lineIndex - outputs.count : nil
  }

  // MARK: Sensors

  /// Takes one sensor whose deadline is not after `now`; call until nil. Never two reads of a sensor at a time.
  public func takeDueSensor(at now: Instant, wallNanoseconds: Int64) -> SensorAction? {
    guard nextSensorDeadline <= now else { return nil }
    var index = 0
    while index < sensors.count {
      if sensors[index].nextReadAt <= now {
        switch sensors[index].deadlinePassed(at: now) {
        case .read:
          return .read(index)
        case .simulate:
          return .publish(index, sensors[index].simulatedReading(at: now, wallNanoseconds: wallNanoseconds))
        case .overdue:
          return .publish(index, sensors[index].readOverdue(wallNanoseconds: wallNanoseconds))
        case .wait:
          break
        }
      }
      index += 1
    }
    nextSensorDeadline = earliestSensorDeadline()
    return nil
  }

  private func earliestSensorDeadline() -> Instant {
    var earliest = Instant.never
    var index = 0
    while index < sensors.count {
      earliest = min(earliest, sensors[index].nextReadAt)
      index += 1
    }
    return earliest
  }

  // MARK: The board

  /// `online` after start, `offline` before an orderly end.
  public func status(online: Bool, wallNanoseconds: Int64) -> Publication {
    Publication(
      topic: statusTopic, payload: online ? Bytes("online") : Bytes("offline"), wallNanoseconds: wallNanoseconds)
  }

  // MARK: Memory

  /// `<base>/<name>/fault`, whose beginning is the state topic; an output has `<base>/<name>/set` too.
  private static func topicByteCount(_ settings: TapSettings) -> Int {
    var count = settings.base.count + 1 + 6  // status
    for output in settings.outputs { count += 2 * (settings.base.count + 1 + output.name.count) + 4 + 6 }
    for input in settings.inputs { count += settings.base.count + 1 + input.name.count + 6 }
    for sensor in settings.sensors { count += settings.base.count + 1 + sensor.name.count + 6 }
    return count
  }

  private static func textByteCount(_ settings: TapSettings) -> Int {
    (settings.outputs.count + settings.inputs.count) * FaultReport.textBytesMax
      + settings.sensors.count * (FaultReport.textBytesMax + SensorTap.payloadBytesMax)
  }

  private func topic(_ name: Bytes, _ suffix: StaticString, into writer: inout ByteWriter) -> Bytes {
    let start = writer.count
    settings.base.withUnsafeBytes { writer.write(Bytes($0)) }
    writer.write(UInt8(ascii: "/"))
    writer.write(name)
    writer.write(suffix)
    return writer.written.from(start)
  }

  private func topic(_ name: [UInt8], _ suffix: StaticString, into writer: inout ByteWriter) -> Bytes {
    name.withUnsafeBytes { topic(Bytes($0), suffix, into: &writer) }
  }

  private func faultReport(_ name: [UInt8], into writer: inout ByteWriter) -> FaultReport {
    FaultReport(topic: topic(name, "/fault", into: &writer), text: textBuffer(FaultReport.textBytesMax))
  }

  private func stateTopic(of fault: FaultReport) -> Bytes { fault.topic.first(fault.topic.count - 6) }

  private func textBuffer(_ capacity: Int) -> TextBuffer {
    let start = textByteCount
    textByteCount += capacity
    precondition(textByteCount <= TapTable.textByteCount(settings))
    return TextBuffer(texts + start, capacity: capacity)
  }
}

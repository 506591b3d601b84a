import Bounded

/// Where a sensor's number comes from.
public enum SensorSource: Sendable {
  /// A device by its name and the file that holds the value, such as `temp1_input`; an empty channel is the kind's own
  /// file. A raw file (`in_voltage0_raw`) has its scale and offset in files beside it.
  case device(SensorKind, name: [UInt8], channel: [UInt8])
  /// Any file that holds one number.
  case file(path: [UInt8])
  /// No file: see `SimulatedWave`.
  case simulatedWave
}

/// value = (raw + offset) x scale, with `digits` decimals, rounded half away from zero.
public struct SensorSettings: Sendable {
  public var name: [UInt8]
  /// One of several values of a device, on `<base>/<name>/<channel>`; empty: the only one, on `<base>/<name>`.
  public var channel: [UInt8] = []
  public var source: SensorSource
  /// Nanoseconds from read to read, at least `intervalNanosecondsMin`.
  public var intervalNanoseconds: Int64
  /// nil: by source and channel, see `SensorUnit`, and for raw IIO channels by the device's own files too.
  public var scale: PlainDecimal?
  /// In the file's own unit, before scaling.
  public var offset = PlainDecimal.zero
  /// 0...`digitsMax`; nil: by source and channel, see `SensorUnit`.
  public var digits: Int?
  /// In the published unit: smaller changes are not published; 0 publishes every change of the text.
  public var delta = PlainDecimal.zero
  /// An unchanged value is published again after this many nanoseconds; 0 is never.
  public var refreshNanoseconds: Int64 = 0
  /// After this many nanoseconds without a good reading the retained value is gone; 0: it stays. nil: twice the
  /// interval and 5 s.
  public var staleNanoseconds: Int64?
  /// In the published unit: a reading outside is a failure. nil: by source.
  public var valid: SensorRange?
  /// In the published unit: what the device says when it has nothing to say. nil: by source.
  public var reject: [PlainDecimal]?
  /// `ON` for every number but 0, `OFF` for 0.
  public var isBinary = false

  public static var intervalNanosecondsMin: Int64 { 10_000_000 }
  public static var digitsMax: Int { 9 }
  public static var rejectsMax: Int { 4 }

  public init(name: [UInt8], source: SensorSource, intervalNanoseconds: Int64) {
    self.name = name
    self.source = source
    self.intervalNanoseconds = intervalNanoseconds
  }

  var staleNanosecondsOrUsual: Int64 {
    staleNanoseconds
      ?? intervalNanoseconds.addingSaturated(intervalNanoseconds).addingSaturated(SensorTap.readNanosecondsMax)
  }

  /// `<name>` or `<name>/<channel>`.
  var topicName: [UInt8] { channel.isEmpty ? name : name + [UInt8(ascii: "/")] + channel }
}

/// From `lowest` to `highest`, both included.
public struct SensorRange: BitwiseCopyable, Sendable, Equatable {
  public var lowest: PlainDecimal
  public var highest: PlainDecimal

  public init(lowest: PlainDecimal, highest: PlainDecimal) {
    self.lowest = lowest
    self.highest = highest
  }
}

extension SensorSettings {
  func problem() -> StaticString? {
    if intervalNanoseconds < SensorSettings.intervalNanosecondsMin { return "interval must be at least 10ms" }
    if let digits, digits < 0 || digits > SensorSettings.digitsMax { return "digits must be 0 to 9" }
    if delta < .zero { return "delta must not be negative" }
    if refreshNanoseconds < 0 { return "refresh must not be negative" }
    if let staleNanoseconds, staleNanoseconds < 0 { return "stale_after must not be negative" }
    if let scale, scale == .zero { return "scale must not be 0" }
    if let valid, valid.highest < valid.lowest { return "valid is a range from the lowest to the highest value" }
    if let reject, reject.count > SensorSettings.rejectsMax { return "at most 4 values to reject" }
    if !channel.isEmpty, TapSettings.nameProblem(channel) != nil {
      return "a channel's name is one topic level: UTF-8, not empty, without / + #"
    }
    switch source {
    case .device(let kind, let name, let channel):
      if name.isEmpty { return "a sensor needs the device's name" }
      if kind.isFoundByEntry, name.contains(UInt8(ascii: "/")) { return "the device's name is a file's, without /" }
      if kind.needsChannel, channel.isEmpty { return "a sensor needs the device's name and a channel" }
      if channel.contains(UInt8(ascii: "/")) { return "channel is a file's name, without /" }
    case .file(let path):
      if path.isEmpty { return "file needs a path" }
    case .simulatedWave:
      break
    }
    return nil
  }
}

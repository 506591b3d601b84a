import Bounded
import CLinux

/// Where a level is written: a channel of a PWM chip, found by its device, or an LED of the kernel.
public enum LevelDevice: Sendable {
  /// Period in nanoseconds, 1 or more.
  case pwm(device: FixedText<64>, channel: UInt32, periodNanoseconds: UInt64, isInversed: Bool)
  /// An empty trigger is left as it is.
  case led(name: FixedText<64>, trigger: ShortText)
}

/// The jobs of a level's file.
public enum LevelJob: UInt8, BitwiseCopyable, Sendable {
  /// Find it, set it up, and write the level.
  case open
  /// Write the level; find it again where that does not work.
  case set
  /// No more of it: a PWM channel is switched off and unexported, an LED gets back the trigger that was found.
  case release
}

/// What was being done when the kernel refused.
public enum LevelStep: UInt8, BitwiseCopyable, Sendable {
  case find
  case export
  case period
  case duty
  case polarity
  case enable
  case unexport
  case maxBrightness
  case brightness
  case trigger

  /// The file's name below /sys/class/pwm/pwmchipN, pwmN or the LED.
  public var file: StaticString {
    switch self {
    case .find: return "device"
    case .export: return "export"
    case .period: return "period"
    case .duty: return "duty_cycle"
    case .polarity: return "polarity"
    case .enable: return "enable"
    case .unexport: return "unexport"
    case .maxBrightness: return "max_brightness"
    case .brightness: return "brightness"
    case .trigger: return "trigger"
    }
  }
}

/// `step` find with ENODEV: there is no such device.
public struct LevelFailure: Error, BitwiseCopyable, Sendable {
  public var step: LevelStep
  public var error: LinuxError
}

/// Writes levels to files of /sys. Blocks, for as long as the driver likes: on a `LevelLane` only.
struct LevelFile {
  typealias Path = FixedText<512>

  private let device: LevelDevice
  private let root: FixedText<256>
  /// The folder of the channel or the LED; empty until found.
  private var folder = Path()
  private var maxBrightness: UInt64 = 0
  /// The trigger that was there before.
  private var foundTrigger = ShortText()

  init(_ device: LevelDevice, root: FixedText<256>) {
    self.device = device
    self.root = root
  }

  /// - Parameter share: of the full power, in 2^-32: 0...2^32.
  mutating func perform(_ job: LevelJob, share: UInt64) throws(LevelFailure) {
    switch job {
    case .open:
      try open(share)
    case .set:
      guard !folder.isEmpty else { return try open(share) }
      do throws(LevelFailure) {
        try write(share)
      } catch {
        try open(share)  // it has gone, or has come back without a period
      }
    case .release:
      try release()
    }
  }

  private mutating func open(_ share: UInt64) throws(LevelFailure) {
    folder = Path()
    switch device {
    case .pwm(let name, let channel, let period, let isInversed):
      let found = try channelFolder(name, channel)
      try setUp(found, period, LevelFile.part(share, of: period), isInversed)
      folder = found
    case .led(let name, let trigger):
      var path = below("class/leds")
      path.append("/")
      _ = name.withBytes { path.append($0) }
      let most = number(.maxBrightness, in: path)
      guard let most, most > 0 else { throw LevelFailure(step: .find, error: .noDevice) }
      maxBrightness = most
      try setTrigger(trigger, in: path)
      folder = path
      try write(share)
    }
  }

  private func write(_ share: UInt64) throws(LevelFailure) {
    switch device {
    case .pwm(_, _, let period, _): try write(.duty, LevelFile.part(share, of: period), in: folder)
    case .led:
      // A level that is not 0 is not dark.
      let value = max(LevelFile.part(share, of: maxBrightness), share > 0 ? 1 : 0)
      try write(.brightness, value, in: folder)
    }
  }

  /// `share` of `whole`, rounded to the nearest; never more than `whole`.
  static func part(_ share: UInt64, of whole: UInt64) -> UInt64 {
    let product = whole.multipliedFullWidth(by: share)
    let (low, carry) = product.low.addingReportingOverflow(1 << 31)
    return (product.high + (carry ? 1 : 0)) << 32 | low >> 32
  }

  // MARK: PWM

  private static var waits: Int { 100 }  // x 10 ms

  /// The channel's folder, exported if it is not; waits for its files, and for udev to hand them to the group.
  private func channelFolder(_ name: FixedText<64>, _ channel: UInt32) throws(LevelFailure) -> Path {
    let chip = try chipFolder(name)
    var path = chip
    path.append("/pwm")
    path.append(decimal: UInt64(channel))
    if number(.period, in: path) != nil { return path }
    try write(.export, UInt64(channel), in: chip)
    // udev hands over one file after the other.
    var waits = LevelFile.waits
    for step in [LevelStep.period, .duty, .polarity, .enable] {
      while true {
        let answer = openFile(step, in: path, isRewritten: false)
        if answer >= 0 {
          _ = clinux_close(answer)
          break
        }
        guard waits > 0 else { throw LevelFailure(step: step, error: LinuxError(errno: -answer)) }
        clinux_sleep(10_000_000)
        waits -= 1
      }
    }
    return path
  }

  /// The chip with the lowest number whose `device` links to NAME; the same as a part of the path before it.
  private func chipFolder(_ name: FixedText<64>) throws(LevelFailure) -> Path {
    var path = below("class/pwm")
    let chip = path.withBytes { folder in
      Directory.lowest(in: folder, prefix: Bytes("pwmchip")) { entry in
        var link = Path(folder)
        link.append("/")
        link.append(entry)
        link.append("/device")
        return link.withBytes { link in name.withBytes { Directory.isLink(link, to: $0) } }
      }
    }
    guard let chip else { throw LevelFailure(step: .find, error: .noDevice) }
    path.append("/")
    chip.withBytes { _ = path.append($0) }
    return path
  }

  /// The duty cycle is never longer than the period, on no step of the way. A fresh channel has a period of 0, with which
  /// nothing else can be set; polarity changes only while the channel is off.
  private func setUp(
    _ path: Path, _ period: UInt64, _ duty: UInt64, _ isInversed: Bool
  ) throws(LevelFailure) {
    let oldPeriod = number(.period, in: path) ?? 0
    let oldDuty = number(.duty, in: path) ?? 0
    if oldDuty > period { try write(.duty, duty, in: path) }  // duty <= period < oldDuty <= oldPeriod
    if oldPeriod != period { try write(.period, period, in: path) }
    if isInversed != (text(.polarity, in: path) == Bytes("inversed")) {
      if number(.enable, in: path) == 1 { try write(.enable, 0, in: path) }
      try write(.polarity, ShortText(Bytes(isInversed ? "inversed" : "normal")), in: path)
    }
    try write(.duty, duty, in: path)
    if number(.enable, in: path) != 1 { try write(.enable, 1, in: path) }
  }

  private mutating func release() throws(LevelFailure) {
    guard !folder.isEmpty else { return }
    let path = folder
    folder = Path()
    switch device {
    case .pwm(let name, let channel, _, _):
      try write(.enable, 0, in: path)
      try write(.unexport, UInt64(channel), in: try chipFolder(name))
    case .led:
      if !foundTrigger.isEmpty { try write(.trigger, foundTrigger, in: path) }
    }
  }

  // MARK: LED

  /// `none [mmc0] heartbeat`: the one in brackets is the present one.
  private mutating func setTrigger(_ wanted: ShortText, in path: Path) throws(LevelFailure) {
    guard !wanted.isEmpty else { return }
    var present = ShortText()
    text(.trigger, in: path).withBytes { text in
      guard let start = text.firstIndex(of: UInt8(ascii: "[")) else { return }
      let rest = text.from(start + 1)
      present = ShortText(rest.first(rest.firstIndex(of: UInt8(ascii: "]")) ?? rest.count))
    }
    if wanted.withBytes({ present == $0 }) { return }
    if foundTrigger.isEmpty { foundTrigger = present }
    try write(.trigger, wanted, in: path)
  }

  // MARK: Files

  private func below(_ folder: StaticString) -> Path {
    var path = Path()
    root.withBytes { _ = path.append($0) }
    path.append("/")
    path.append(folder)
    return path
  }

  private func openFile(_ file: LevelStep, in folder: Path, isRewritten: Bool) -> Int32 {
    var path = folder
    path.append("/")
    path.append(file.file)
    return path.withBytes {
      withPath($0) { isRewritten ? clinux_open_rewrite($0) : clinux_open_write($0) }
    }
  }

  private func write(_ file: LevelStep, _ number: UInt64, in folder: Path) throws(LevelFailure) {
    var text = ShortText()
    text.append(decimal: number)
    try write(file, text, in: folder)
  }

  private func write(_ file: LevelStep, _ text: ShortText, in folder: Path) throws(LevelFailure) {
    let fd = openFile(file, in: folder, isRewritten: true)
    guard fd >= 0 else { throw LevelFailure(step: file, error: LinuxError(errno: -fd)) }
    let count = text.withBytes { clinux_write(fd, $0.buffer.baseAddress!, $0.count) }
    let closed = clinux_close(fd)
    let answer = count < 0 ? Int32(count) : closed
    guard answer >= 0 else { throw LevelFailure(step: file, error: LinuxError(errno: -answer)) }
  }

  /// A file's first line; empty when it cannot be read.
  private func text(_ file: LevelStep, in folder: Path) -> Path {
    var path = folder
    path.append("/")
    path.append(file.file)
    var content = Path()
    let fd = path.withBytes { withPath($0) { clinux_open_read($0) } }
    guard fd >= 0 else { return content }
    _ = content.fill { clinux_read(fd, $0.baseAddress!, $0.count) }
    _ = clinux_close(fd)
    let end = content.withBytes { $0.firstIndex(of: 10) ?? $0.count }
    content.truncate(to: end)
    return content
  }

  /// nil when it is no number, or cannot be read.
  private func number(_ file: LevelStep, in folder: Path) -> UInt64? {
    text(file, in: folder).withBytes { $0.leadingDecimal }.map { UInt64($0) }
  }
}

public import Bounded
import CGPIOD

/// Where the configuration says a line is.
public enum LineSelector {
  /// `GPIO17`, or any name the chip's driver or device tree gives.
  case name(Bytes)
  /// With a chip the offset on it, without one the number in `GPIOn`.
  case number(Int)
}

/// The lines of this machine: the kernel's chips, or one simulated chip in their place. Allocates inside libgpiod while
/// a chip is open, and gives it back before a call returns: start-up, and retries of a missing line, stay bounded.
public struct Lines {
  private let simulated: SimulatedChip?

  /// The kernel's chips.
  public init() { simulated = nil }

  public init(simulated: SimulatedChip) { self.simulated = simulated }

  public var capabilities: LineCapabilities { simulated?.capabilities ?? .ofKernel }

  /// Chips whose lines are the board's header, with the offset as the header's GPIO number.
  static func isHeader(_ label: ShortText) -> Bool {
    label == Bytes("pinctrl-bcm2835") || label == Bytes("pinctrl-bcm2711") || label == Bytes("pinctrl-rp1")
  }

  /// Finds a line, never by a chip's number, which moves between kernels:
  /// 1. With `chip` (label, name or path): the offset, or the name, on that chip.
  /// 2. The name, unique over all chips. A number n is the name `GPIOn`.
  /// 3. `GPIOn` or n on the one chip that is a header, as offset n: images without line names.
  public func find(_ selector: LineSelector, chip wanted: Bytes? = nil) throws(LineError) -> ChipLine {
    var search = Search(selector: selector, chip: wanted)
    var refused: Int32 = 0
    forEachOpenChip(only: wanted) { answer, chip in
      guard let chip else {
        refused = answer
        return
      }
      search.visit(chip)
    }
    if search.found == nil, search.header == nil, refused != 0 { throw LineError(answer: refused) }
    return try search.result()
  }

  /// Every chip that may be opened, by number. Throws what the first refused one answered, after the others.
  public func forEachChip(_ body: (ChipInfo) -> Void) throws(LinuxError) {
    var refused: Int32 = 0
    forEachOpenChip(only: nil) { answer, chip in
      if let chip { body(chip.info) } else if refused == 0 { refused = answer }
    }
    try check(refused)
  }

  /// Every line of a chip, by offset.
  public func forEachLine(of chip: ChipInfo, _ body: (LineInfo) -> Void) throws(LinuxError) {
    var refused: Int32 = 0
    let path = chip.path
    path.withBytes { path in
      forEachOpenChip(only: path) { answer, chip in
        guard let chip else {
          refused = answer
          return
        }
        for offset in 0..<chip.info.lineCount {
          if let line = chip.line(offset) { body(line) }
        }
      }
    }
    try check(refused)
  }

  /// Opens one chip after the other; nil with -errno for one that cannot be opened. With a path only that one.
  private func forEachOpenChip(only: Bytes?, _ body: (Int32, OpenChip?) -> Void) {
    if let simulated { return body(0, OpenChip(simulated: simulated)) }
    if let only, only.hasPrefix(Bytes("/")) { return Lines.open(only, body) }
    var numbers = DeviceNumbers()
    let answer = numbers.scan()
    guard answer >= 0 else { return body(answer, nil) }
    for number in 0..<DeviceNumbers.max where numbers.contains(number) {
      var path = ShortText(Bytes("/dev/gpiochip"))
      path.append(decimal: UInt64(number))
      path.withBytes { Lines.open($0, body) }
    }
  }

  private static func open(_ path: Bytes, _ body: (Int32, OpenChip?) -> Void) {
    var handle: OpaquePointer?
    let answer = withPath(path) { cgpiod_chip_open($0, &handle) }
    guard answer >= 0, let handle else { return body(answer, nil) }
    defer { cgpiod_chip_close(handle) }
    var info = cgpiod_chip_info()
    let asked = cgpiod_chip_info(handle, &info)
    guard asked >= 0 else { return body(asked, nil) }
    body(0, OpenChip(handle: handle, info: info))
  }
}

/// A chip while it is open: the kernel's or the simulated one.
struct OpenChip {
  private let handle: OpaquePointer?
  private let simulated: SimulatedChip?
  let info: ChipInfo

  init(simulated: SimulatedChip) {
    handle = nil
    self.simulated = simulated
    info = simulated.info
  }

  init(handle: OpaquePointer, info: cgpiod_chip_info) {
    self.handle = handle
    simulated = nil
    let name = ShortText(fromShim: info.name)
    var path = ShortText(Bytes("/dev/"))
    name.withBytes { _ = path.append($0) }
    self.info = ChipInfo(
      path: path, name: name, label: ShortText(fromShim: info.label), lineCount: Int(info.line_count))
  }

  func line(_ offset: Int) -> LineInfo? {
    if let simulated { return simulated.lineInfo(offset) }
    var line = cgpiod_line_info()
    guard let handle, cgpiod_line_info(handle, UInt32(offset), &line) >= 0 else { return nil }
    return LineInfo(
      offset: offset, name: ShortText(fromShim: line.name), consumer: ShortText(fromShim: line.consumer),
      isUsed: line.used != 0,
      isOutput: line.output != 0, isActiveLow: line.active_low != 0)
  }

  func address(_ offset: Int) -> ChipLine {
    if let simulated { return ChipLine(place: .simulated(simulated), chip: info.name, offset: offset) }
    return ChipLine(place: .kernel(path: info.path), chip: info.name, offset: offset)
  }
}

/// The state of a search: the candidates that each rule has found in the chips looked at so far.
private struct Search {
  let wanted: Bytes?
  /// Exactly the line asked for, by offset.
  let offset: Int?
  let name: FixedText<32>?
  /// The n of `GPIOn`.
  let number: Int?

  var chips = 0
  var found: ChipLine?
  var foundCount = 0
  var header: ChipLine?
  var headerCount = 0

  init(selector: LineSelector, chip: Bytes?) {
    // A path selects by opening; here it matches whatever was opened.
    wanted = chip.flatMap { $0.hasPrefix(Bytes("/")) ? nil : $0 }
    switch selector {
    case .name(let text):
      // 31 bytes are all that a kernel name has: a longer one is nobody's.
      name = text.count < 32 ? ShortText(text) : nil
      offset = nil
      number = Search.number(ofGPIO: text)
    case .number(let value) where chip != nil:
      name = nil
      offset = value
      number = nil
    case .number(let value):
      var text = ShortText(Bytes("GPIO"))
      if value >= 0 { text.append(decimal: UInt64(value)) }
      name = text
      offset = nil
      number = value
    }
  }

  mutating func visit(_ chip: OpenChip) {
    if let wanted, chip.info.label != wanted, chip.info.name != wanted { return }
    chips += 1
    let lineCount = chip.info.lineCount
    if let offset, offset >= 0, offset < lineCount { candidate(chip.address(offset)) }
    if let name {
      for offset in 0..<lineCount {
        guard let line = chip.line(offset) else { continue }
        if name.withBytes({ line.name == $0 }) { candidate(chip.address(offset)) }
      }
    }
    if let number, number >= 0, number < lineCount, Lines.isHeader(chip.info.label) {
      header = chip.address(number)
      headerCount += 1
    }
  }

  private mutating func candidate(_ address: ChipLine) {
    found = address
    foundCount += 1
  }

  func result() throws(LineError) -> ChipLine {
    guard foundCount <= 1, foundCount == 1 || headerCount <= 1 else {
      throw LineError(.ambiguous, .invalid)
    }
    if let found { return found }
    if let header { return header }
    guard chips > 0 else { throw LineError(.noChip, .noEntry) }
    throw LineError(.notFound, .noEntry)
  }

  private static func number(ofGPIO name: Bytes) -> Int? {
    guard name.hasPrefix(Bytes("GPIO")), name.count > 4, name.count <= 8 else { return nil }
    return name.from(4).wholeDecimal.map { Int($0) }
  }
}

/// The N of every /dev/gpiochipN that is a device and no symbolic link (one is a second name for the same chip).
private struct DeviceNumbers {
  static var max: Int { 1024 }
  private var bits = InlineArray<16, UInt64>(repeating: 0)

  func contains(_ number: Int) -> Bool { bits[number / 64] >> UInt64(number % 64) & 1 != 0 }

  /// 0 or -errno.
  mutating func scan() -> Int32 {
    Directory.forEach(Bytes("/dev")) { name, kind in
      guard kind != .link, name.hasPrefix(Bytes("gpiochip")), name.count > 8, name.count <= 11 + 1 else { return }
      guard let found = name.from(8).wholeDecimal, found < DeviceNumbers.max else { return }
      let number = Int(found)
      bits[number / 64] |= 1 << UInt64(number % 64)
    }
  }
}

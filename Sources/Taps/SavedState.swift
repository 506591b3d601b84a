public import Bounded

/// Named bytes that outlive the daemon, for whoever wants to find at the next start what this life has published.
public struct SavedEntry: Sendable, Equatable {
  public var name: [UInt8]
  public var value: [UInt8]

  public init(name: [UInt8], value: [UInt8]) {
    self.name = name
    self.value = value
  }
}

/// What one life of the daemon leaves to the next: meters, relays and entries, by name.
///
///     tapline-state 1
///     counter water 8205576
///     output heater on 12 3600000     cycles, milliseconds that it was on
///     level strip 3500                hundredths of a percent
///     entry homeassistant/device/cellar/config heater
///     crc32 6cbc0a26                  of all before it, as in zlib
///
/// A field's spaces, control bytes and % are written as %20. Whatever is not exactly this is damage, so that a file that
/// was cut or changed is never half believed.
public struct SavedState: Sendable {
  /// What one line says.
  struct Line: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
      case counter(pulses: UInt64)
      case output(isActive: Bool, cycleCount: UInt64, onMilliseconds: UInt64)
      case level(Int)
      case entry(value: [UInt8])
    }
    let kind: Kind
    let name: [UInt8]
  }
  private(set) var lines: [Line] = []

  public var lineCount: Int { lines.count }

  public var entries: [SavedEntry] {
    var entries: [SavedEntry] = []
    for line in lines {
      if case .entry(let value) = line.kind { entries.append(SavedEntry(name: line.name, value: value)) }
    }
    return entries
  }

  /// Largest file that is read. What taps may write is less.
  public static var bytesMax: Int { 4 << 20 }

  public init() {}

  /// Reads a file's bytes; at start only, as it allocates. Throws where it is damaged.
  public init(_ file: Bytes) throws(SavedStateDamage) {
    guard file.hasPrefix(SavedState.header) else { throw SavedStateDamage(text: "it is not of this version") }
    let end = file.count - SavedState.lastLineByteCount
    guard end >= SavedState.header.count else { throw SavedStateDamage(text: "it is cut short") }
    guard SavedState.hasLastLine(file, at: end) else { throw SavedStateDamage(text: "its checksum is not right") }
    var rest = file[SavedState.header.count..<end]
    while let lineEnd = rest.firstIndex(of: 10) {
      guard read(line: rest.first(lineEnd)) else { throw SavedStateDamage(text: "it has a line that means nothing") }
      rest = rest.from(lineEnd + 1)
    }
    guard rest.isEmpty else { throw SavedStateDamage(text: "it has a line that means nothing") }
  }

  static var header: Bytes { Bytes("tapline-state 1\n") }
  /// `crc32 ` and eight digits.
  static var lastLineByteCount: Int { 15 }

  private static func hasLastLine(_ file: Bytes, at end: Int) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: lastLineByteCount, alignment: 8) { room in
      var writer = ByteWriter(room)
      writer.writeLastLine(of: file.first(end))
      return writer.written == file.from(end)
    }
  }

  // Lines

  private mutating func read(line: Bytes) -> Bool {
    var fields = SavedFields(rest: line)
    guard let word = fields.next(), let name = SavedFields.text(fields.next()), !name.isEmpty else { return false }
    let kind: Line.Kind
    if word == Bytes("counter") {
      guard let pulses = SavedFields.number(fields.next()) else { return false }
      kind = .counter(pulses: pulses)
    } else if word == Bytes("output") {
      guard let level = fields.next(), level == Bytes("on") || level == Bytes("off"),
        let cycles = SavedFields.number(fields.next()), let milliseconds = SavedFields.number(fields.next())
      else { return false }
      kind = .output(isActive: level == Bytes("on"), cycleCount: cycles, onMilliseconds: milliseconds)
    } else if word == Bytes("level") {
      guard let level = SavedFields.number(fields.next()), level <= UInt64(LevelSettings.levelMax) else { return false }
      kind = .level(Int(level))
    } else if word == Bytes("entry") {
      guard let value = SavedFields.text(fields.next()) else { return false }
      kind = .entry(value: value)
    } else {
      return false
    }
    guard fields.isAtEnd else { return false }
    lines.append(Line(kind: kind, name: name))
    return true
  }

  /// The lines of taps that the configuration does not have: a tap that was taken out or misspelt may come back. They
  /// are kept as far as they fit in `unknownBytesMax`; the rest is counted.
  public func unknown(to settings: TapSettings) -> (state: SavedState, droppedCount: Int) {
    var unknown = SavedState()
    var left = SavedState.unknownBytesMax
    var droppedCount = 0
    for line in lines where !SavedState.isKnown(line, settings) {
      left -= SavedState.byteCount(line)
      if left >= 0 { unknown.lines.append(line) } else { droppedCount += 1 }
    }
    return (unknown, droppedCount)
  }

  private static func isKnown(_ line: Line, _ settings: TapSettings) -> Bool {
    switch line.kind {
    case .counter: return settings.counters.contains { $0.name == line.name }
    case .output: return settings.outputs.contains { $0.name == line.name }
    case .level: return settings.levels.contains { $0.name == line.name }
    case .entry: return settings.savedEntries.contains { $0.name == line.name }
    }
  }

  public mutating func forget(entryNamed name: [UInt8]) {
    lines.removeAll { line in
      guard case .entry = line.kind else { return false }
      return line.name == name
    }
  }
}

/// Why a state file is not believed, in words that follow its name.
public struct SavedStateDamage: Error {
  public let text: StaticString
}

/// The fields of a line, one space between two.
private struct SavedFields {
  /// nil after the last field.
  var rest: Bytes?

  var isAtEnd: Bool { rest == nil }

  mutating func next() -> Bytes? {
    guard let line = rest else { return nil }
    guard let end = line.firstIndex(of: 0x20) else {
      rest = nil
      return line
    }
    rest = line.from(end + 1)
    return line.first(end)
  }

  static func number(_ field: Bytes?) -> UInt64? {
    guard let field, !field.isEmpty, field[0] != UInt8(ascii: "0") || field.count == 1 else { return nil }
    var value: UInt64 = 0
    for index in 0..<field.count {
      guard field[index] >= 48, field[index] <= 57 else { return nil }
      let (tens, isLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, isLarger) = tens.addingReportingOverflow(UInt64(field[index] - 48))
      guard !isLarge, !isLarger else { return nil }
      value = sum
    }
    return value
  }

  /// With what was escaped put back.
  static func text(_ field: Bytes?) -> [UInt8]? {
    guard let field else { return nil }
    var text: [UInt8] = []
    text.reserveCapacity(field.count)
    var index = 0
    while index < field.count {
      var byte = field[index]
      if byte == UInt8(ascii: "%") {
        guard index + 2 < field.count, let high = digit(field[index + 1]), let low = digit(field[index + 2]) else {
          return nil
        }
        byte = high << 4 | low
        index += 2
      } else if SavedState.isEscaped(byte) {
        return nil
      }
      text.append(byte)
      index += 1
    }
    return text
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: return byte - 48
    case 97...102: return byte - 87
    default: return nil
    }
  }
}

// MARK: - Writing

extension SavedState {
  static func isEscaped(_ byte: UInt8) -> Bool { byte <= 0x20 || byte == 0x7F || byte == UInt8(ascii: "%") }

  /// What `writeSaved` of a field takes.
  static func byteCount(_ field: [UInt8]) -> Int { field.reduce(0) { $0 + (isEscaped($1) ? 3 : 1) } }

  /// `counter NAME PULSES`, `output NAME off CYCLES MS`, `level NAME LEVEL` and `entry NAME VALUE` with the longest numbers.
  private static func counterByteCount(_ name: [UInt8]) -> Int { 8 + byteCount(name) + 22 }
  private static func outputByteCount(_ name: [UInt8]) -> Int { 7 + byteCount(name) + 4 + 43 }
  private static func levelByteCount(_ name: [UInt8]) -> Int { 6 + byteCount(name) + 7 }
  private static func byteCount(_ entry: SavedEntry) -> Int {
    6 + byteCount(entry.name) + 1 + byteCount(entry.value) + 1
  }

  /// The most bytes written for taps and entries that the configuration does not have (any more).
  public static var unknownBytesMax: Int { 4096 }

  /// Longest file of these taps.
  public static func byteCountMax(_ settings: TapSettings) -> Int {
    var count = header.count + lastLineByteCount + unknownBytesMax
    for counter in settings.counters { count += counterByteCount(counter.name) }
    for output in settings.outputs { count += outputByteCount(output.name) }
    for level in settings.levels { count += levelByteCount(level.name) }
    for entry in settings.savedEntries { count += byteCount(entry) }
    return count
  }

  private static func byteCount(_ line: Line) -> Int {
    switch line.kind {
    case .counter: return counterByteCount(line.name)
    case .output: return outputByteCount(line.name)
    case .level: return levelByteCount(line.name)
    case .entry(let value): return byteCount(SavedEntry(name: line.name, value: value))
    }
  }

  /// The lines of what is here.
  public func write(into writer: inout ByteWriter) {
    for line in lines {
      switch line.kind {
      case .counter(let pulses): writer.write(savedCounter: line.name, pulses: pulses)
      case .output(let isActive, let cycles, let milliseconds):
        writer.write(savedOutput: line.name, isActive: isActive, cycleCount: cycles, onMilliseconds: milliseconds)
      case .level(let level): writer.write(savedLevel: line.name, level: level)
      case .entry(let value): writer.write(SavedEntry(name: line.name, value: value))
      }
    }
  }
}

extension ByteWriter {
  /// The first line of a state file.
  public mutating func beginSavedState() { write(SavedState.header) }

  mutating func write(savedCounter name: [UInt8], pulses: UInt64) {
    write("counter ")
    writeSaved(name)
    write(" ")
    writeDecimal(pulses)
    write("\n")
  }

  @inline(never) mutating func write(
    savedOutput name: [UInt8], isActive: Bool, cycleCount: UInt64, onMilliseconds: UInt64
  ) {
    write("output ")
    writeSaved(name)
    write(isActive ? " on " : " off ")
    writeDecimal(cycleCount)
    write(" ")
    writeDecimal(onMilliseconds)
    write("\n")
  }

  mutating func write(savedLevel name: [UInt8], level: Int) {
    write("level ")
    writeSaved(name)
    write(" ")
    writeDecimal(UInt64(level))
    write("\n")
  }

  @inline(never) public mutating func write(_ entry: SavedEntry) {
    write("entry ")
    writeSaved(entry.name)
    write(" ")
    writeSaved(entry.value)
    write("\n")
  }

  private mutating func writeSaved(_ field: [UInt8]) {
    for byte in field {
      if SavedState.isEscaped(byte) {
        write("%")
        writeHex(UInt32(byte), digits: 2)
      } else {
        write(byte)
      }
    }
  }

  /// The last line, for all that was written before.
  public mutating func endSavedState() { writeLastLine(of: written) }

  mutating func writeLastLine(of text: Bytes) {
    write("crc32 ")
    writeHex(SavedState.checksum(text), digits: 8)
    write("\n")
  }

  private mutating func writeHex(_ value: UInt32, digits: Int) {
    var shift = UInt32(digits) * 4
    while shift > 0 {
      shift -= 4
      let digit = UInt8(truncatingIfNeeded: value >> shift) & 15
      write(digit < 10 ? 48 + digit : 87 + digit)
    }
  }
}

extension SavedState {
  /// CRC-32 of IEEE 802.3, four bits a step.
  static func checksum(_ bytes: Bytes) -> UInt32 {
    var table = InlineArray<16, UInt32>(repeating: 0)
    for index in 0..<16 {
      var value = UInt32(index)
      for _ in 0..<4 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
      table[index] = value
    }
    var crc = UInt32.max
    for index in 0..<bytes.count {
      crc ^= UInt32(bytes[index])
      crc = crc >> 4 ^ table[Int(crc & 15)]
      crc = crc >> 4 ^ table[Int(crc & 15)]
    }
    return ~crc
  }
}

// MARK: - The table's part

extension TapTable {
  /// Goes on from what an earlier life left: totals, cycles and on-hours, and the levels for `initial: restore`. Once,
  /// before lines are requested.
  public func restore(_ saved: SavedState) {
    for line in saved.lines {
      switch line.kind {
      case .counter(let pulses):
        for index in 0..<counters.count where settings.counters[index].name == line.name {
          counters[index].restore(pulses: pulses)
        }
      case .output(let isActive, let cycles, let milliseconds):
        for index in 0..<outputs.count where settings.outputs[index].name == line.name {
          outputs[index].restoreFigures(cycleCount: cycles, onMilliseconds: milliseconds)
          outputs[index].restoreLevel(active: isActive)
        }
      case .level(let level):
        for index in 0..<levels.count where settings.levels[index].name == line.name {
          levels[index].restore(level: level)
        }
      case .entry: break
      }
    }
  }

  /// The lines of the table's taps for a state file.
  public func writeSaved(into writer: inout ByteWriter, at now: Instant) {
    for index in 0..<counters.count {
      writer.write(savedCounter: settings.counters[index].name, pulses: counters[index].pulses)
    }
    for index in 0..<outputs.count {
      writer.write(
        savedOutput: settings.outputs[index].name, isActive: outputs[index].savedActive,
        cycleCount: outputs[index].cycleCount, onMilliseconds: outputs[index].onMilliseconds(at: now))
    }
    for index in 0..<levels.count {
      writer.write(savedLevel: settings.levels[index].name, level: levels[index].savedLevel)
    }
  }
}

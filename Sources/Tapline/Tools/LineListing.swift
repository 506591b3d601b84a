import Bounded
import LinuxIO
public import TaplineConfiguration

/// What `tapline lines` prints: this machine's chips, or the simulated one, with their lines.
public struct LineListing {
  /// One table a chip; empty when there is no chip.
  public private(set) var text = Text()
  /// Why a chip could not be read, for people; nil when all were.
  public private(set) var problem: Text?

  /// - Parameter board: for header positions; a simulated one's chip takes the place of the machine's.
  public init(board: BoardProfile?) {
    let lines = board?.isSimulated == true ? Lines(simulated: SimulatedChip()) : Lines()
    var text = Text()
    var problem: Text?
    do throws(LinuxError) {
      try lines.forEachChip { chip in
        LineListing.add(chip, board, lines, &text, &problem)
      }
    } catch {
      problem = LineListing.words(for: error)
    }
    self.text = text
    self.problem = problem
  }

  private static func add(
    _ chip: ChipInfo, _ board: BoardProfile?, _ lines: Lines, _ text: inout Text, _ problem: inout Text?
  ) {
    let label = chip.label.array
    if text.count > 0 { text.endLine() }
    text.add(chip.name.array)
    text.add("  ")
    text.add(label)
    text.add("  ")
    text.add(chip.lineCount, of: "line")
    text.add("\n  LINE  NAME                  HEADER  DIRECTION  USED BY\n")
    do throws(LinuxError) {
      try lines.forEachLine(of: chip) { line in
        let name = line.name.array
        text.add(line.offset, width: 6)
        text.add("  ")
        text.add(name.isEmpty ? [UInt8(ascii: "-")] : name, width: 22)
        if let position = board?.headerPosition(line: name, chip: label, offset: line.offset) {
          text.add(position, width: 6)
        } else {
          text.add("     -")
        }
        text.add("  ")
        text.add(line.isOutput ? "output" : "input", width: 11)
        let consumer = line.consumer.array
        if line.isUsed { text.add(consumer.isEmpty ? [UInt8](ascii: "?") : consumer) } else { text.add("-") }
        if line.isUsed, let hint = LineListing.hint(consumer, name, label, line.offset, board) {
          text.add("  (")
          text.add(hint)
          text.add(")")
        }
        if line.isActiveLow { text.add(" (active low)") }
        text.endLine()
      }
    } catch {
      problem = words(for: error)
    }
  }

  /// Guesses what holds a line: by its consumer's name, or on the header by the usual function of its pin.
  private static func hint(
    _ consumer: [UInt8], _ name: [UInt8], _ label: [UInt8], _ offset: Int, _ board: BoardProfile?
  ) -> StaticString? {
    if let hint = consumer.lend({ LineHint.of(consumer: $0) }) { return hint }
    // "kernel" and no name at all are pins that the pin controller has given to something else.
    guard consumer.isEmpty || consumer.equals("kernel") || consumer.equals("pinctrl"),
      let position = board?.headerPosition(line: name, chip: label, offset: offset), let board
    else { return nil }
    return LineHint.of(headerLine: board.words(atHeader: position))
  }

  static func words(for error: LinuxError) -> Text {
    var text = Text("a GPIO chip cannot be read: ")
    text.add(error.text)
    if error == .notPermitted || error == .accessDenied { text.add("; is this user in the group gpio?") }
    return text
  }
}

extension FixedText {
  fileprivate var array: [UInt8] { withBytes { $0.array() } }
}

import Bounded
import MQTTWire
import Taps
import Testing

/// An input whose owner does as `InputTap` asks, and a line with a level. Times are milliseconds.
struct InputLine {
  let tap: TapList<InputTap>
  var level = false
  var sequence: UInt32 = 0
  /// Messages with their times: "20 button=ON", and of events the type and what is beside it.
  private(set) var told: [String] = []

  init(_ change: (inout InputSettings) -> Void) {
    var settings = input("button")
    change(&settings)
    tap = board(base: "b", inputs: [settings]).inputs
    note(tap[0].lineHealed(active: false, at: Instant(nanoseconds: 0).moment))
    told = []
  }

  mutating func note(_ update: TapUpdate) {
    for publication in [update.fault, update.state, update.event].compactMap({ $0 }) {
      let milliseconds = publication.wallNanoseconds / 1_000_000
      guard publication.topic.text.hasSuffix("/event") else {
        told.append("\(milliseconds) \(publication.topic.text.dropFirst(2))=\(publication.payload.text)")
        continue
      }
      #expect(!publication.retain && publication.isJSON)
      let fields = publication.payload.text.dropFirst().dropLast().split(separator: ",").map {
        $0.split(separator: "\"")
      }
      var text = "\(milliseconds) \(fields[0][2])"
      for field in fields.dropFirst().dropLast() { text += " \(field[0])\(field[1])" }
      #expect(fields.last?[0] == "ts")
      told.append(text)
    }
  }

  /// Edges at these times, each the other way, that are read together at the last one's time.
  mutating func edges(_ milliseconds: Int64...) {
    for at in milliseconds {
      level.toggle()
      sequence += 1
      edge(level, at, sequence)
    }
  }

  mutating func edge(_ isRising: Bool, _ milliseconds: Int64, _ sequence: UInt32?) {
    let at = Instant(milliseconds: milliseconds)
    while let update = tap[0].advance(to: at) { note(update) }
    note(
      tap[0].edgeReceived(
        LineEdge(at: Moment(at: at, wallNanoseconds: at.nanoseconds), isRising: isRising, sequence: sequence)))
  }

  /// Time goes on, with the level read whenever it is due.
  mutating func wait(until milliseconds: Int64) {
    let end = Instant(milliseconds: milliseconds)
    while tap[0].nextDeadline <= end {
      let now = tap[0].nextDeadline
      while let update = tap[0].advance(to: now) { note(update) }
      guard tap[0].levelIsDue(at: now) else { continue }
      note(tap[0].levelRead(active: level, at: Moment(at: now, wallNanoseconds: now.nanoseconds)))
    }
  }

  mutating func takeTold() -> [String] {
    defer { told = [] }
    return told
  }
}

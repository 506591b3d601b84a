import Bounded
public import TaplineConfiguration

/// What is wrong with files that a configuration names. Each line has the place where the configuration names the file:
/// `FILE:LINE:COLUMN: text`.
public struct FileReport {
  /// What keeps the server from starting, or a reload from changing anything.
  public private(set) var problems: [Text] = []
  /// What is used all the same.
  public private(set) var warnings: [Text] = []
  private let file: [UInt8]

  init(file: [UInt8]) { self.file = file }

  mutating func add(_ place: NotedPlace, _ text: Text) { problems.append(line(place, text)) }
  mutating func warn(_ place: NotedPlace, _ text: Text) { warnings.append(line(place, text)) }

  private func line(_ place: NotedPlace, _ text: Text) -> Text {
    var line = Text(file)
    if let place = place.place {
      line.add(":")
      line.add(place.line)
      line.add(":")
      line.add(place.column)
    }
    line.add(": ")
    line.add(text)
    return line
  }
}

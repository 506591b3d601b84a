/// Where something stands in a file: line and column from 1; a column counts characters.
public struct Place: Sendable, Equatable, Comparable {
  public var line: Int
  public var column: Int

  public init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  public static func < (left: Place, right: Place) -> Bool {
    left.line < right.line || (left.line == right.line && left.column < right.column)
  }
}

/// Where a setting stands in its file. That is no part of what the setting says, so all are equal.
package struct NotedPlace: Sendable, Equatable {
  /// Nil when the setting is in no file.
  package var place: Place?

  package static func == (left: NotedPlace, right: NotedPlace) -> Bool { true }
}

/// One thing that is wrong: `what is wrong; expected what; did you mean 'x'?`.
public struct ConfigurationError: Sendable, Equatable {
  /// Nil when the file as a whole is meant: it cannot be read.
  public let place: Place?
  public let text: [UInt8]
}

/// Everything that is wrong with one file, in the order of its lines, at most `listMax` of it.
public struct ConfigurationErrors: Error, Sendable {
  public static var listMax: Int { 20 }

  public let file: [UInt8]
  public let list: [ConfigurationError]
  /// Errors beyond the list.
  public let moreCount: Int
  /// What is wrong with other files that this one names.
  public var others: [ConfigurationErrors] = []

  /// One line an error, `FILE:LINE:COLUMN: text`, and one for how many more there are.
  public var text: Text {
    var text = Text()
    for line in lines {
      text.add(line)
      text.endLine()
    }
    return text
  }

  /// The lines of `text`, without their ends.
  public var lines: [Text] {
    var lines: [Text] = []
    for error in list {
      var text = Text()
      text.add(file)
      if let place = error.place {
        text.add(":")
        text.add(place.line)
        text.add(":")
        text.add(place.column)
      }
      text.add(": ")
      text.add(error.text)
      lines.append(text)
    }
    if moreCount > 0 {
      var text = Text()
      text.add(file)
      text.add(": and ")
      text.add(moreCount, of: "more error")
      lines.append(text)
    }
    for other in others { lines += other.lines }
    return lines
  }
}

/// Collects what is wrong with one file while it is read.
final class ErrorList {
  let file: [UInt8]
  private var list: [ConfigurationError] = []

  init(file: [UInt8]) { self.file = file }

  var isEmpty: Bool { list.isEmpty }
  var count: Int { list.count }

  func add(_ place: Place?, _ text: Text) {
    // A hostile file must not fill the memory with its errors.
    guard list.count < 10_000 else { return }
    list.append(ConfigurationError(place: place, text: text.bytes))
  }

  @inline(never) func add(_ place: Place?, _ text: StaticString) { add(place, Text(text)) }

  /// Throws what was added, if anything was.
  func check() throws(ConfigurationErrors) {
    guard !list.isEmpty else { return }
    // By insertion: few, nearly sorted, and equal places keep their order.
    var sorted: [ConfigurationError] = []
    for error in list.prefix(1000) {
      var index = sorted.count
      while index > 0, ErrorList.place(of: error) < ErrorList.place(of: sorted[index - 1]) { index -= 1 }
      sorted.insert(error, at: index)
    }
    let shown = sorted.prefix(ConfigurationErrors.listMax)
    throw ConfigurationErrors(file: file, list: [ConfigurationError](shown), moreCount: list.count - shown.count)
  }

  /// Throws what was added to any of them, file by file.
  static func check(_ lists: [ErrorList]) throws(ConfigurationErrors) {
    var thrown: ConfigurationErrors?
    for list in lists {
      do throws(ConfigurationErrors) {
        try list.check()
      } catch {
        if thrown == nil { thrown = error } else { thrown!.others.append(error) }
      }
    }
    if let thrown { throw thrown }
  }

  private static func place(of error: ConfigurationError) -> Place { error.place ?? Place(line: 0, column: 0) }
}

import Taps

/// One word of a choice and what it stands for.
struct Choice<Value> {
  let word: StaticString
  let value: Value

  init(_ word: StaticString, _ value: Value) {
    self.word = word
    self.value = value
  }
}

/// A mapping whose keys are known, while it is read. What is wrong goes to `errors`, and the key's default is
/// answered, so that one reading finds everything.
final class Section {
  let place: Place
  let errors: ErrorList
  private let entries: [Entry]

  /// Reports unknown keys, and a node that is no mapping; one without a value has no keys.
  /// - Parameter name: as in "unknown key 'x' in NAME".
  @inline(never) init(_ node: Node, _ name: StaticString, keys: [StaticString], errors: ErrorList) {
    place = node.place
    self.errors = errors
    entries = node.entries
    switch node.kind {
    case .nothing: break
    case .mapping: reportUnknown(name, keys)
    case .scalar, .sequence:
      var text = Text(name)
      text.add(" is ")
      text.add(described: node)
      text.add("; expected keys and values")
      text.addList(of: keys, before: ": ")
      errors.add(node.place, text)
    }
  }

  private func reportUnknown(_ name: StaticString, _ keys: [StaticString]) {
    for entry in entries where !keys.contains(where: { entry.key.equals($0) }) {
      var text = Text("unknown key ")
      text.add(quoted: entry.key)
      text.add(" in ")
      text.add(name)
      text.addList(of: keys, before: "; expected ")
      text.addSuggestion(for: entry.key, of: keys)
      errors.add(entry.place, text)
    }
  }

  func entry(_ key: StaticString) -> Entry? { entries.first { $0.key.equals(key) } }
  @inline(never) func has(_ key: StaticString) -> Bool { entry(key) != nil }
  /// The key's value's place, or the section's where there is no such key.
  func place(of key: StaticString) -> Place { entry(key)?.value.place ?? place }

  // Values

  func integer(_ key: StaticString, _ range: ClosedRange<Int>, default fallback: Int) -> Int {
    read(key, Section.expectation("a number", range)) { node in
      Values.integer(node.text).flatMap { range.contains($0) ? $0 : nil }
    } ?? fallback
  }

  func byteCount(_ key: StaticString, _ range: ClosedRange<Int>, default fallback: Int) -> Int {
    read(key, Section.expectation("bytes such as 4096, 64k or 1M,", range)) { node in
      Values.byteCount(node.text).flatMap { range.contains($0) ? $0 : nil }
    } ?? fallback
  }

  /// Milliseconds; `range` too.
  func duration(_ key: StaticString, _ range: ClosedRange<Int>, default fallback: Int) -> Int {
    read(key, Section.expectation(duration: range)) { node in
      Values.milliseconds(node.text).flatMap { range.contains($0) ? $0 : nil }
    } ?? fallback
  }

  /// Whole seconds; a number without a unit is seconds, too.
  func seconds(_ key: StaticString, _ range: ClosedRange<Int>, default fallback: Int) -> Int {
    read(key, Section.expectation("seconds such as 10, 10s, 5m or 7d,", range)) { node in
      guard let value = Values.integer(node.text) ?? Values.milliseconds(node.text).map({ $0 / 1000 }) else {
        return nil
      }
      return range.contains(value) ? value : nil
    } ?? fallback
  }

  func boolean(_ key: StaticString) -> Bool? {
    read(key, Text("true or false")) { Values.boolean($0.text) }
  }

  func decimal(_ key: StaticString) -> PlainDecimal? {
    read(key, Text("a decimal number such as 0.001")) { node in
      node.text.lend { text in try? PlainDecimal(parsing: text) }
    }
  }

  func octal(_ key: StaticString, _ range: ClosedRange<Int>, default fallback: Int) -> Int {
    read(key, Text("permission bits such as 660")) { node in
      Values.octal(node.text).flatMap { range.contains($0) ? $0 : nil }
    } ?? fallback
  }

  /// Words in lower case; the file may write them in either.
  func choice<Value>(_ key: StaticString, _ choices: [Choice<Value>], default fallback: Value) -> Value {
    var words: [StaticString] = []
    for choice in choices { words.append(choice.word) }
    var expected = Text()
    expected.addList(of: words, before: "")
    return choose(key, choices, words, expected) ?? fallback
  }

  /// One of more words than are listed: `expected` says which in a few.
  func choice<Value>(
    _ key: StaticString, _ choices: [Choice<Value>], _ expected: StaticString, default fallback: Value
  ) -> Value {
    var words: [StaticString] = []
    for choice in choices { words.append(choice.word) }
    return choose(key, choices, words, Text(expected)) ?? fallback
  }

  private func choose<Value>(
    _ key: StaticString, _ choices: [Choice<Value>], _ words: [StaticString], _ expected: Text
  ) -> Value? {
    read(key, expected, words: words) { node in
      choices.first { Values.equalsIgnoringCase(node.text, $0.word) }?.value
    }
  }

  /// Text of 1 to `byteCountMax` bytes without control characters.
  @inline(never) func word(_ key: StaticString, _ expected: StaticString, byteCountMax: Int = 255) -> [UInt8]? {
    read(key, Text(expected)) { node in
      let isFit = !node.text.isEmpty && node.text.count <= byteCountMax
      return isFit && node.text.allSatisfy { $0 >= 0x20 && $0 != 0x7F } ? node.text : nil
    }
  }

  /// An absolute path.
  func path(_ key: StaticString, byteCountMax: Int = 255) -> [UInt8]? {
    read(key, Text("a path that begins with /")) { node in
      let isPath = node.text.first == UInt8(ascii: "/") && node.text.count <= byteCountMax
      return isPath && node.text.allSatisfy { $0 >= 0x20 && $0 != 0x7F } ? node.text : nil
    }
  }

  /// A list's values; none where there is no such key.
  func items(_ key: StaticString, _ expected: StaticString) -> [Node] {
    guard let entry = entry(key) else { return [] }
    switch entry.value.kind {
    case .nothing: return []
    case .sequence: return entry.value.items
    case .scalar, .mapping:
      complain(entry, Text(expected))
      return []
    }
  }

  /// A mapping's entries, whose keys the user chooses; none where there is no such key.
  func members(_ key: StaticString, _ expected: StaticString) -> [Entry] {
    guard let entry = entry(key) else { return [] }
    switch entry.value.kind {
    case .nothing: return []
    case .mapping: return entry.value.entries
    case .scalar, .sequence:
      complain(entry, Text(expected))
      return []
    }
  }

  func complain(_ key: StaticString, _ expected: StaticString) {
    guard let entry = entry(key) else { return }
    complain(entry, Text(expected))
  }

  /// The key's value, nil where there is no such key or where it was complained about.
  private func read<Value>(
    _ key: StaticString, _ expected: Text, words: [StaticString] = [], _ parse: (Node) -> Value?
  ) -> Value? {
    guard let entry = entry(key) else { return nil }
    if entry.value.kind == .scalar, let value = parse(entry.value) { return value }
    complain(entry, expected, words: words)
    return nil
  }

  private func complain(_ entry: Entry, _ expected: Text, words: [StaticString] = []) {
    var text = Text()
    text.add(quoted: entry.key)
    text.add(entry.value.kind == .nothing ? " has " : " is ")
    text.add(described: entry.value)
    text.add("; expected ")
    text.add(expected)
    if entry.value.kind == .scalar { text.addSuggestion(for: entry.value.text, of: words) }
    errors.add(entry.value.kind == .nothing ? entry.place : entry.value.place, text)
  }

  // What is expected, in words

  private static func expectation(_ what: StaticString, _ range: ClosedRange<Int>) -> Text {
    var text = Text(what)
    text.add(" from ")
    text.add(range.lowerBound)
    text.add(" to ")
    text.add(range.upperBound)
    return text
  }

  private static func expectation(duration range: ClosedRange<Int>) -> Text {
    var text = Text("a time such as 500ms, 2s, 5m or 1h, from ")
    text.add(milliseconds: range.lowerBound)
    text.add(" to ")
    text.add(milliseconds: range.upperBound)
    return text
  }
}

extension Text {
  /// `500ms`, `2s`, `5m`, `1h` or `7d`: in the largest unit that is whole.
  mutating func add(milliseconds: Int) {
    let units: [(Int, StaticString)] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")]
    for (factor, unit) in units where milliseconds > 0 && milliseconds % factor == 0 {
      add(milliseconds / factor)
      add(unit)
      return
    }
    add(milliseconds)
    add("ms")
  }

  mutating func add(described node: Node) {
    switch node.kind {
    case .nothing: add("no value")
    case .scalar: add(quoted: node.text)
    case .mapping: add("a mapping")
    case .sequence: add("a list")
    }
  }

  /// `a, b or c` after `lead`; nothing for more than ten words.
  mutating func addList(of words: [StaticString], before lead: StaticString) {
    guard !words.isEmpty, words.count <= 10 else { return }
    add(lead)
    for (index, word) in words.enumerated() {
      if index > 0 { add(index == words.count - 1 ? " or " : ", ") }
      add(word)
    }
  }
}

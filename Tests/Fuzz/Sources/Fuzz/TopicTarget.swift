import Bounded
import MQTTWire

/// UTF-8, topic names, filters, shared filters and matching against models that split and compare.
///
/// Input: options, the filter's length, the filter, the name.
func fuzzTopics(_ input: inout Input) {
  let options = input.byte()
  var filter = input.take(Int(input.byte()))
  var name = input.rest()
  if options & 1 != 0 { filter = filter.flatMap(spelled) }
  if options & 2 != 0 { name = name.flatMap(spelled) }
  if options & 8 != 0 {
    name = name.map { edges[Int($0) % edges.count] }
    checkCharacters(name.prefix(40))
  }
  if options & 4 != 0 { filter = [UInt8]("$share/g/".utf8) + filter }

  checkText(filter)
  checkText(name)
  withLent(filter) { filterBytes in
    withLent(name) { nameBytes in
      if isValidFilter(filter), isValidName(name) {
        let matches = Topic.matches(filter: filterBytes, name: nameBytes)
        check(matches == topicMatches(filter: filter, name: name), "\(filter.hex) on \(name.hex): \(matches)")
      }
    }
  }
}

/// Few characters, so that filters and names often match.
private func spelled(_ byte: UInt8) -> [UInt8] {
  let alphabet = ["/", "/", "+", "#", "a", "b", "$", "é", "$share/", "abcdefgh", "/+", "/#", "+/", "a/", "\u{0}", "€"]
  return [UInt8](alphabet[Int(byte) % alphabet.count].utf8)
}

/// Bytes at which the rows of Unicode's Table 3-7 begin and end.
private let edges: [UInt8] = [
  0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1,
  0xF3,
  0xF4, 0xF5,
]

/// Whatever three bytes follow each other, alone and behind eight plain ones.
private func checkCharacters(_ text: ArraySlice<UInt8>) {
  for start in text.indices {
    let character = Array(text[start...].prefix(3 + start % 2))
    for text in [character, [UInt8](repeating: 0x41, count: 8) + character] {
      withLent(text) { check(UTF8Check.isValid($0) == isValidText(text), "UTF-8 \(text.hex)") }
    }
  }
}

private func checkText(_ text: [UInt8]) {
  withLent(text) { bytes in
    check(UTF8Check.isValid(bytes) == isValidText(text), "UTF-8 \(text.hex)")
    check(Topic.isValidName(bytes) == isValidName(text), "name \(text.hex)")
    check(Topic.isValidFilter(bytes) == isValidFilter(text), "filter \(text.hex)")
    let levels = levels(of: text)
    check(Topic.levelCount(bytes) == levels.count, "levels of \(text.hex)")
    var reader = LevelReader(bytes)
    var read: [[UInt8]] = []
    while let level = reader.next() { read.append(level.array()) }
    check(read == levels.map { Array($0) }, "levels of \(text.hex)")

    let shared = SharedFilter(bytes)
    let expected = sharedFilter(text)
    check((shared != nil) == (expected != nil), "shared \(text.hex)")
    if let shared, let expected {
      check(shared.group.array() == expected.group && shared.filter.array() == expected.filter, "shared \(text.hex)")
    }
  }
}

// MARK: - Models

func levels(of topic: [UInt8]) -> [ArraySlice<UInt8>] {
  topic.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
}

/// §1.5.4, by the standard library.
func isValidText(_ text: [UInt8]) -> Bool { !text.contains(0) && String(validating: text, as: UTF8.self) != nil }

func isValidName(_ name: [UInt8]) -> Bool {
  (1...65_535).contains(name.count) && isValidText(name)
    && !name.contains { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "#") }
}

/// §4.7.1.
func isValidFilter(_ filter: [UInt8]) -> Bool {
  guard (1...65_535).contains(filter.count), isValidText(filter) else { return false }
  let levels = levels(of: filter)
  for (index, level) in levels.enumerated() {
    if level.contains(UInt8(ascii: "#")), level.count > 1 || index + 1 < levels.count { return false }
    if level.contains(UInt8(ascii: "+")), level.count > 1 { return false }
  }
  return true
}

/// §4.7.1, §4.7.2, level by level.
func topicMatches(filter: [UInt8], name: [UInt8]) -> Bool {
  func matches(_ filter: ArraySlice<ArraySlice<UInt8>>, _ name: ArraySlice<ArraySlice<UInt8>>) -> Bool {
    guard let first = filter.first else { return name.isEmpty }
    if first.elementsEqual("#".utf8) { return true }
    guard let level = name.first else { return false }
    return (first.elementsEqual("+".utf8) || first == level) && matches(filter.dropFirst(), name.dropFirst())
  }
  if name.first == UInt8(ascii: "$"), filter.first == UInt8(ascii: "+") || filter.first == UInt8(ascii: "#") {
    return false
  }
  return matches(levels(of: filter)[...], levels(of: name)[...])
}

/// §4.8.2.
func sharedFilter(_ text: [UInt8]) -> (group: [UInt8], filter: [UInt8])? {
  let levels = levels(of: text)
  guard text.count <= 65_535, levels.count >= 3, levels[0].elementsEqual("$share".utf8) else { return nil }
  let group = Array(levels[1])
  let filter = Array(levels[2...].joined(separator: [UInt8(ascii: "/")]))
  guard isValidName(group), isValidFilter(filter) else { return nil }
  return (group, filter)
}

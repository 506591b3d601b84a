import Bounded
import CYAML
import MQTTWire

/// One value of a YAML file. All scalars are text as it was written: `ON`, `yes`, `0123` and `~` mean nothing
/// here, the reader of a key decides.
final class Node: Sendable {
  enum Kind: UInt8, Sendable {
    /// A plain scalar of no characters: nothing was written.
    case nothing
    case scalar
    case mapping
    case sequence
  }

  let kind: Kind
  /// The scalar's bytes in UTF-8.
  let text: [UInt8]
  /// A scalar in quotes.
  let isQuoted: Bool
  let place: Place
  /// A mapping's, in the file's order.
  let entries: [Entry]
  /// A sequence's.
  let items: [Node]

  init(
    kind: Kind, text: [UInt8] = [], isQuoted: Bool = false, place: Place, entries: [Entry] = [], items: [Node] = []
  ) {
    self.kind = kind
    self.text = text
    self.isQuoted = isQuoted
    self.place = place
    self.entries = entries
    self.items = items
  }
}

final class Entry: Sendable {
  let key: [UInt8]
  let place: Place
  let value: Node

  init(key: [UInt8], place: Place, value: Node) {
    self.key = key
    self.place = place
    self.value = value
  }
}

/// A YAML file as a tree: the part of YAML that a configuration needs. Anchors, aliases, tags, merge keys and
/// several documents are errors, and so is a key that is given twice.
///
/// Invariant: no node is deeper than `depthMax`; at most `nodesMax` nodes.
struct ConfigurationDocument {
  static var byteCountMax: Int { 1 << 20 }
  static var depthMax: Int { 16 }
  /// Bounds the search for duplicate keys, too, which compares each key of a mapping with those before it.
  static var nodesMax: Int { 16_384 }

  /// The top node; its kind is `nothing` for a file of comments only.
  let root: Node

  /// Syntax errors end the reading, as what follows them cannot be trusted; they are thrown with what was found
  /// before. Duplicate keys are added to `errors`.
  init(_ bytes: [UInt8], errors: ErrorList) throws(ConfigurationErrors) {
    guard bytes.count <= ConfigurationDocument.byteCountMax else {
      errors.add(nil, "the file is larger than 1 MiB")
      throw ConfigurationDocument.thrown(errors)
    }
    if let place = ConfigurationDocument.firstUnreadable(bytes) {
      errors.add(place, "not UTF-8 text")
      throw ConfigurationDocument.thrown(errors)
    }
    let root = bytes.withUnsafeBytes { buffer -> Node? in
      var builder = TreeBuilder(buffer, errors: errors)
      defer { builder.close() }
      return builder.root()
    }
    guard let root else { throw ConfigurationDocument.thrown(errors) }
    self.root = root
  }

  /// Where the first character is that is no UTF-8, or a control character; libyaml would say so, but not where.
  private static func firstUnreadable(_ bytes: [UInt8]) -> Place? {
    var place = Place(line: 1, column: 1)
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      let length = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4
      if byte == UInt8(ascii: "\n") {
        place = Place(line: place.line + 1, column: 0)
      } else if byte < 0x80 {
        let isBlank = byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
        if byte < 0x20 && !isBlank || byte == 0x7F { return place }
      } else {
        guard length <= bytes.count - index else { return place }
        let isCharacter = [UInt8](bytes[index..<(index + length)]).lend { UTF8Check.isValid($0) }
        guard isCharacter else { return place }
      }
      place.column += 1
      index += length
    }
    return nil
  }

  private static func thrown(_ errors: ErrorList) -> ConfigurationErrors {
    do throws(ConfigurationErrors) {
      try errors.check()
    } catch {
      return error
    }
    preconditionFailure("a syntax error without words")
  }
}

/// libyaml's events, one at a time, into nodes. Every function answers nil once an error was added.
private struct TreeBuilder {
  private let parser: OpaquePointer
  private var event = cyaml_event()
  private let errors: ErrorList
  private var nodeCount = 0

  init(_ buffer: UnsafeRawBufferPointer, errors: ErrorList) {
    guard let parser = cyaml_open(buffer.baseAddress, Int64(buffer.count)) else {
      preconditionFailure("no memory for a parser")
    }
    self.parser = parser
    self.errors = errors
  }

  func close() { cyaml_close(parser) }

  mutating func root() -> Node? {
    let type = cyaml_next(parser, &event)
    guard type != CYAML_STREAM_END.value else { return Node(kind: .nothing, place: Place(line: 1, column: 1)) }
    guard let root = node(depth: 1) else { return nil }
    guard cyaml_next(parser, &event) == CYAML_STREAM_END.value else {
      _ = refuse()
      return nil
    }
    return root
  }

  private var place: Place { Place(line: Int(event.line), column: Int(event.column)) }
  private var text: [UInt8] { [UInt8](UnsafeBufferPointer(start: event.text, count: Int(event.count))) }

  /// The node that begins with the event just read.
  private mutating func node(depth: Int) -> Node? {
    nodeCount += 1
    if event.anchored != 0 { return refuse("anchors (&name) are not supported; write the value where it is used") }
    if event.tagged != 0 { return refuse("tags (!name) are not supported; values need no type") }
    if nodeCount > ConfigurationDocument.nodesMax { return refuse("too many values in one file") }
    if depth > ConfigurationDocument.depthMax { return refuse("nested deeper than 16 levels") }
    switch event.type {
    case CYAML_SCALAR.value:
      let isNothing = event.count == 0 && event.quoted == 0
      return Node(kind: isNothing ? .nothing : .scalar, text: text, isQuoted: event.quoted != 0, place: place)
    case CYAML_MAPPING_START.value:
      return mapping(depth: depth)
    case CYAML_SEQUENCE_START.value:
      return sequence(depth: depth)
    default:
      return refuse()
    }
  }

  private mutating func mapping(depth: Int) -> Node? {
    let start = place
    var entries: [Entry] = []
    while true {
      let type = cyaml_next(parser, &event)
      if type == CYAML_MAPPING_END.value { return Node(kind: .mapping, place: start, entries: entries) }
      guard type == CYAML_SCALAR.value else {
        return type == CYAML_MAPPING_START.value || type == CYAML_SEQUENCE_START.value
          ? refuse("a key must be a word") : refuse()
      }
      if event.anchored != 0 || event.tagged != 0 { return refuse("a key must be a plain word") }
      let key = text
      let keyPlace = place
      if key.equals("<<") { return refuse("merge keys (<<) are not supported") }
      nodeCount += 1
      for other in entries where other.key == key {
        errors.add(keyPlace, TreeBuilder.duplicate(key, other.place))
        break
      }
      _ = cyaml_next(parser, &event)
      guard let value = self.node(depth: depth + 1) else { return nil }
      entries.append(Entry(key: key, place: keyPlace, value: value))
    }
  }

  private mutating func sequence(depth: Int) -> Node? {
    let start = place
    var items: [Node] = []
    while cyaml_next(parser, &event) != CYAML_SEQUENCE_END.value {
      guard let item = self.node(depth: depth + 1) else { return nil }
      items.append(item)
    }
    return Node(kind: .sequence, place: start, items: items)
  }

  private static func duplicate(_ key: [UInt8], _ first: Place) -> Text {
    var text = Text()
    text.add(quoted: key)
    text.add(" is given twice; first at line ")
    text.add(first.line)
    text.add(", column ")
    text.add(first.column)
    return text
  }

  private func refuse(_ words: StaticString) -> Node? {
    errors.add(place, words)
    return nil
  }

  /// An event that cannot stand here: libyaml's own complaint, or an alias.
  private func refuse() -> Node? {
    if event.type == CYAML_ALIAS.value {
      return refuse("aliases (*name) are not supported; write the value here (quote it if it begins with *)")
    }
    var problem = Text("not YAML: ")
    problem.add(text)
    errors.add(place, problem)
    return nil
  }
}

extension Int {
  /// An event type as the event carries it.
  fileprivate var value: Int32 { Int32(self) }
}

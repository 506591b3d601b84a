import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct JsonObjectTests {
  /// The outermost object's members as text, or the error; of an object and a list, that it is one.
  func read(_ text: String) -> String { read([UInt8](text.utf8)) }

  func read(_ text: [UInt8]) -> String {
    withLent(text) { bytes in
      var found: [String] = []
      do throws(JsonError) {
        var reader = try JsonObjectReader(bytes)
        while let member = try reader.next() {
          found.append("\(member.name.text)=\(JsonObjectTests.text(member.value))")
        }
        check(try reader.next() == nil)
        return found.joined(separator: " ")
      } catch {
        return "\(error)"
      }
    }
  }

  /// The value at the path, `-` where there is none, or the error.
  func value(_ path: String, _ text: String) -> String {
    withLent(text) { text in
      withLent(path) { path in
        do throws(JsonError) {
          return try JsonObjectReader.value(at: path, in: text).map { JsonObjectTests.text($0) } ?? "-"
        } catch {
          return "\(error)"
        }
      }
    }
  }

  static func text(_ value: JsonValue) -> String {
    switch value {
    case .string(let text): "'\(text.text)'"
    case .number(let text): text.text
    case .bool(let isTrue): "\(isTrue)"
    case .null: "null"
    case .object: "{}"
    case .list: "[]"
    }
  }

  @Test(arguments: [
    ("{}", ""), (" { } ", ""), (#"{"a":1}"#, "a=1"), (#"{"a":"b"}"#, "a='b'"), (#"{"":""}"#, "=''"),
    ("\t{ \"a\" : true ,\r\n\"b\":false,\"c\" : null}\n", "a=true b=false c=null"),
    (#"{"a":-0.5e+10,"b":0,"c":10E2,"d":1e-9}"#, "a=-0.5e+10 b=0 c=10E2 d=1e-9"),
    (#"{"ü":"€😀"}"#, "ü='€😀'"), (#"{"a":1,"a":2}"#, "a=1 a=2"), ("{\"a\":\"\u{7F}\"}", "a='\u{7F}'"),
    (#"{"a":{},"b":[],"c":1}"#, "a={} b=[] c=1"), (#"{"a":[[],[{}],{"x":[1]}],"c":1}"#, "a=[] c=1"),
    (#"{"a":{"b":{"c":1}, "d":[ ]},"e":{"a":2}}"#, "a={} e={}"),
    (#"{ "a" : [ 1 , "x" , true , null , { "b" : [ ] , "c" : { } } ] , "d" : 1 }"#, "a=[] d=1"),
    (#"{"name":"K\u00fcche","n":1}"#, "name='Küche' n=1"), (#"{"\u0061":1}"#, "a=1"),
  ]) func isRead(text: String, expected: String) {
    #expect(read(text) == expected)
  }

  @Test(arguments: [
    "", " ", "{", "}", "{}{}", "{},", "[]", "1", "\"a\"", "null", "{a:1}", "{'a':1}", #"{"a"}"#, #"{"a":}"#,
    #"{"a":1"#, #"{"a":1,}"#, "{,}", #"{"a" 1}"#, #"{"a":1 "b":2}"#, #"{"a":01}"#, #"{"a":+1}"#, #"{"a":.5}"#,
    #"{"a":1.}"#, #"{"a":1e}"#, #"{"a":-}"#, #"{"a":tru}"#, #"{"a":truee}"#, #"{"a":TRUE}"#, #"{"a":nul}"#,
    #"{"a":NaN}"#, #"{"a":"b}"#, "{\"a\":\"\n\"}", "{\"a\":\"\0\"}", #"{"a:1}"#, #"{"a":1}x"#, "\u{FEFF}{}",
    "{\"a\":1}\0", "{1:2}", "{\"a\":\u{A0}1}", "/**/{}", #"{"a":0x10}"#, #"{"a":1_000}"#,
    // What is nested is judged as strictly as the rest.
    #"{"a":{}"#, #"{"a":[}"#, #"{"a":{]}"#, #"{"a":[]]}"#, #"{"a":{}}}"#, #"{"a":[1,]}"#, #"{"a":[,1]}"#,
    #"{"a":[1 2]}"#, #"{"a":[1:2]}"#, #"{"a":["b":1]}"#, #"{"a":{1}}"#, #"{"a":{"b"}}"#, #"{"a":{"b":1,}}"#,
    #"{"a":{"b":01}}"#, #"{"a":[tru]}"#, #"{"a":["b]}"#, "{\"a\":[\"\t\"]}", #"{"a":[1]"b":2}"#, #"{"a":[]1}"#,
    "{\"a\":[\0]}", #"{"a":[1],}"#, #"{"a":{"b":1}{"c":2}}"#, #"{{}:1}"#, #"{[]}"#, #"{"a":[/**/]}"#,
    // §7: escapes.
    #"{"a":"\"}"#, #"{"a":"\x41"}"#, #"{"a":"\U0041"}"#, #"{"a":"\u"}"#, #"{"a":"\u004"}"#, #"{"a":"\u004g"}"#,
    #"{"a":"\u 041"}"#, #"{"a":"\u+041"}"#, #"{"a":"\'"}"#, #"{"a":"\0"}"#, #"{"\q":1}"#, #"{"a":\u0031}"#,
    #"{"a":"\ud83"}"#, "{\"a\":\"\\\n\"}", #"{"a":"\"#, #"{"a":"\u00"#,
  ]) func isMalformed(text: String) {
    #expect(read(text) == "malformed")
  }

  /// §8.1: UTF-8, in what is skipped, too.
  @Test(arguments: [[0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80]] as [[UInt8]])
  func isNotUTF8(bytes: [UInt8]) {
    #expect(read([UInt8](#"{""#.utf8) + bytes + [UInt8](#"":1}"#.utf8)) == "malformed")
    #expect(read([UInt8](#"{"a":[{"b":""#.utf8) + bytes + [UInt8](#""}]}"#.utf8)) == "malformed")
  }

  /// Characters are the same with escapes and without; a surrogate alone is none, and its string equals no text.
  @Test(
    arguments: [
      (#"K\u00fcche"#, "Küche"), (#"\"\\\/"#, "\"\\/"), (#"\b\f\n\r\t"#, "\u{8}\u{C}\n\r\t"),
      (#"\u0041\u007F"#, "A\u{7F}"),
      (#"\u0080\u07ff"#, "\u{80}\u{7FF}"), (#"\u0800\uFFFF"#, "\u{800}\u{FFFF}"), (#"\ud800\udc00"#, "\u{10000}"),
      (#"\uD83D\uDE00!"#, "😀!"), (#"\uDBFF\uDFFF"#, "\u{10FFFF}"), (#"\u0000"#, "\0"), (#"a\u00e9b"#, "aéb"),
      (#"\ud83d"#, nil), (#"\udE00"#, nil), (#"\ud83d\ud83d"#, nil), (#"\ud83d\n"#, nil), (#"\ud83dx"#, nil),
      (#"\ud83d\u0041"#, nil), (#"\ude00\ud83d"#, nil),
    ] as [(String, String?)]) func charactersOf(raw: String, expected: String?)
  {
    withLent(raw) { raw in
      let string = JsonString(raw)
      if let expected {
        #expect(string.lend { $0.array() } == [UInt8](expected.utf8))
        #expect(withLent(expected) { string == $0 })
        #expect(withLent("." + expected + ".") { string.end(in: $0, from: 1) } == expected.utf8.count + 1)
        #expect(!withLent(expected + "x") { string == $0 })
        #expect(!withLent(Array(expected.utf8.dropLast())) { string == $0 })
      } else {
        #expect(string.lend { UTF8Check.isValid($0) } == false)
      }
    }
    // Nothing is wrong with the JSON: it is skipped.
    #expect(value("n", #"{"name":"\#(raw)","\#(raw)":{"n":2},"n":1}"#) == "1")
  }

  @Test func aLongStringIsLentOnlyAsItStands() {
    let long = String(repeating: "x", count: 1000)
    #expect(withLent(long) { JsonString($0).lend { $0.count } } == 1000)
    #expect(withLent(#"\n"# + long) { JsonString($0).lend { $0.count } } == nil)
    #expect(withLent(#"\n"# + long.prefix(63)) { JsonString($0).lend { $0.count } } == 64)
    #expect(withLent(#"\n"# + long.prefix(64)) { JsonString($0).lend { $0.count } } == nil)
    #expect(withLent(#"\n"# + long) { raw in withLent("\n" + long) { JsonString(raw) == $0 } })
  }

  // MARK: Paths

  static let zigbee = #"""
    {"battery":100,"occupancy":true,"update":{"installed_version":-1,"latest_version":-1,"state":null},
     "color":{"x":0.3,"list":[{"y":1}],"deep":{"er":{"y":"Z"}}},"tags":[{"id":7}],"name":"K\u00fcche"}
    """#

  @Test(arguments: [
    ("battery", "100"), ("occupancy", "true"), ("update", "{}"), ("update.state", "null"),
    ("update.latest_version", "-1"), ("color.x", "0.3"), ("color.deep.er.y", "'Z'"), ("color.deep", "{}"),
    ("color.list", "[]"), ("tags", "[]"), ("name", "'Küche'"),
    // Not there: a name of another level, beyond a list or a value, a part of a name.
    ("state", "-"), ("x", "-"), ("y", "-"), ("er.y", "-"), ("id", "-"), ("tags.id", "-"), ("tags.0.id", "-"),
    ("color.list.y", "-"), ("battery.x", "-"), ("update.state.x", "-"), ("batter", "-"), ("battery2", "-"),
    ("update.", "-"), ("update.stat", "-"), ("update.states", "-"), ("updat.estate", "-"), (".update", "-"), ("", "-"),
  ]) func atAPath(path: String, expected: String) {
    #expect(value(path, JsonObjectTests.zigbee) == expected)
  }

  @Test(arguments: [
    // The last one counts.
    ("a", #"{"a":1,"a":2}"#, "2"), ("a", #"{"a":1,"a":null}"#, "null"), ("a.b", #"{"a":{"b":1,"b":2}}"#, "2"),
    ("a.b", #"{"a":{"b":1},"a":{"b":2}}"#, "2"), ("a.b", #"{"a":{"b":1},"a":{}}"#, "-"),
    ("a.b", #"{"a":{"b":1},"a":3}"#, "-"),
    ("a.b", #"{"a":3,"a":{"b":1}}"#, "1"), ("a.b", #"{"a":{"b":1},"c":{"b":2}}"#, "1"),
    ("a", #"{"a":1,"\u0061":2}"#, "2"),
    ("a.b", #"{"c":{"b":2,"a":{"b":3}},"a":{"b":1}}"#, "1"), ("a.b", #"{"a":{"c":{"b":2},"b":1,"d":{"b":4}}}"#, "1"),
    // A name may have a dot, and may be empty.
    ("a.b", #"{"a.b":1}"#, "1"), ("a.b.c", #"{"a.b":{"c":1}}"#, "1"), ("a.b.c", #"{"a":{"b.c":1}}"#, "1"),
    ("a.b", #"{"a.b":1,"a":{"b":2}}"#, "2"), ("a.", #"{"a.":1}"#, "1"), ("a.", #"{"a":{"":1}}"#, "1"),
    ("a..b", #"{"a":{"":{"b":1}}}"#, "1"),
    // Names with escapes are those of their characters.
    ("Küche.ein", #"{"K\u00fcche":{"\u0065in":1}}"#, "1"), ("a.b", #"{"a\u002eb":1}"#, "1"), ("\"", #"{"\"":1}"#, "1"),
    ("a", #"{"a\u0000":1}"#, "-"), ("a", #"{"a\ud800":1}"#, "-"),
    // The whole text is judged, also behind what was found.
    ("a", #"{"a":1,"b":[}"#, "malformed"), ("a", #"{"a":1"#, "malformed"), ("a", #"{"a":1}]"#, "malformed"),
    ("a", "[]", "malformed"),
  ]) func ofSeveral(path: String, text: String, expected: String) {
    #expect(value(path, text) == expected)
  }

  // MARK: Hostile texts

  @Test func depthIsBounded() {
    func nested(_ count: Int, _ open: String, _ close: String) -> String {
      #"{"a":"# + String(repeating: open, count: count) + "1" + String(repeating: close, count: count) + "}"
    }
    #expect(read(nested(15, "[", "]")) == "a=[]")
    #expect(read(nested(16, "[", "]")) == "tooDeep")
    #expect(read(nested(15, #"{"a":"#, "}")) == "a={}")
    #expect(read(nested(16, #"{"a":"#, "}")) == "tooDeep")
    #expect(value(String(repeating: "a.", count: 15) + "a", nested(15, #"{"a":"#, "}")) == "1")
    #expect(value(String(repeating: "a.", count: 16) + "a", nested(15, #"{"a":"#, "}")) == "-")
    for open in ["[", #"{"a":"#, #"[{"a":"#] { #expect(read(nested(10_000, open, "")) == "tooDeep") }
    #expect(read(String(repeating: "[", count: 10_000)) == "malformed")
    // Wide is not deep.
    #expect(read(#"{"a":["# + String(repeating: #"[{"b":[]}],"#, count: 10_000) + "1]}") == "a=[]")
  }

  /// Long ones, whole and cut: an answer, and no byte is looked at more than a few times.
  @Test(arguments: [
    "x", #"\n"#, #"\\"#, #"\""#, #"\u0041"#, #"\ud800"#, #"\ud83d\ude00"#, "ü", "😀", ".", "a.",
  ]) func longStrings(part: String) {
    let long = String(repeating: part, count: 65_536 / part.utf8.count)
    #expect(value("n", #"{"\#(long)":{"n":2},"a":"\#(long)","n":1}"#) == "1")
    #expect(value("n", #"{"n":1,"a":"\#(long)"#) == "malformed")
    #expect(value(long, #"{"\#(long)":1}"#) == (part.contains("\\") ? "-" : "1"))
    let repeated = String(repeating: #"{"a":""#, count: 10_000)
    #expect(value("a.a", repeated) == "malformed")
  }

  /// Cut short anywhere it is no object; nothing is read beyond its end.
  @Test(arguments: [
    #"{"state":"ON","for":-1.5e3,"x":true,"y":null}"#, #"{"a":[1,{"b":"\u00fc\n"},[]],"c":{"d":{}}}"#,
  ]) func everyCutIsMalformed(text: String) {
    let whole = [UInt8](text.utf8)
    #expect(read(whole) != "malformed")
    for count in 0..<whole.count { #expect(read(Array(whole[..<count])) == "malformed") }
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func randomTextNeverTraps(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let alphabet = [UInt8]("{}[]{}[]:,\"\"\\ab01.-+eEu dtfn\n\u{C3}\u{BC}".utf8) + [0, 0xFF]
    for _ in 0..<20_000 {
      let count = random.below(24)
      let text = [0x7B] + (0..<count).map { _ in alphabet[random.below(alphabet.count)] }
      _ = read(text)
      withLent(text) { text in _ = try? JsonObjectReader.value(at: Bytes("a.b"), in: text) }
    }
  }

  /// Objects of any shape, with names that collide, against the same as a tree; then with one byte changed.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func randomObjects(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<3000 {
      let tree = JsonTree.anyObject(depth: 1, &random)
      var text = [UInt8](tree.text(&random).utf8)
      for path in ["a", "b", "a.b", "a.a", "a.b.a", "ü", "ü.a", "b.ü.a.b"] {
        let expected = tree.find([UInt8](path.utf8)).map { $0.map(\.summary) ?? "-" } ?? "-"
        check(
          value(path, String(decoding: text, as: UTF8.self)) == expected,
          "\(path): \(String(decoding: text, as: UTF8.self))")
      }
      text[random.below(text.count)] = UInt8(truncatingIfNeeded: random.next())
      withLent(text) { text in _ = try? JsonObjectReader.value(at: Bytes("a.b"), in: text) }
    }
  }

  @Test func stringsAreEscaped() {
    let text = [UInt8]("a\"b\\c\u{01}\n\u{1F}ü".utf8)
    #expect(withLent(text) { text in written { $0.writeJsonString(text) } } == "\"a\\\"b\\\\c\\u0001\\u000a\\u001fü\"")
  }
}

extension JsonString {
  fileprivate var text: String { lend { $0.text } ?? "too long" }
}

/// A JSON value as a tree: what the reader is compared with.
private indirect enum JsonTree {
  case number(Int)
  case object([(name: String, value: JsonTree)])
  case list([JsonTree])

  static func anyObject(depth: Int, _ random: inout SeededGenerator) -> JsonTree {
    .object(
      (0..<random.below(5)).map { _ in
        (["a", "a", "b", "a.b", "ü", "", "c"][random.below(7)], any(depth: depth + 1, &random))
      })
  }

  private static func any(depth: Int, _ random: inout SeededGenerator) -> JsonTree {
    switch random.below(depth > 5 ? 1 : 4) {
    case 1, 2: anyObject(depth: depth, &random)
    case 3: .list((0..<random.below(4)).map { _ in any(depth: depth + 1, &random) })
    default: .number(random.below(1000))
    }
  }

  var summary: String {
    switch self {
    case .number(let number): String(number)
    case .object: "{}"
    case .list: "[]"
    }
  }

  /// With white space here and there, and some characters escaped.
  func text(_ random: inout SeededGenerator) -> String {
    func space() -> String { ["", "", "", " ", "\n\t"][random.below(5)] }
    switch self {
    case .number(let number): return String(number)
    case .list(let elements):
      var texts: [String] = []
      for element in elements { texts.append(space() + element.text(&random) + space()) }
      return "[" + space() + texts.joined(separator: ",") + "]"
    case .object(let members):
      var texts: [String] = []
      for (name, value) in members {
        var name = name
        if random.oneIn(3) { name = name.replacing("a", with: #"\u0061"#) }
        if random.oneIn(2) { name = name.replacing("ü", with: #"\u00FC"#) }
        texts.append(space() + "\"\(name)\"" + space() + ":" + space() + value.text(&random) + space())
      }
      return "{" + space() + texts.joined(separator: ",") + "}" + space()
    }
  }

  /// nil: no member here is on the path; nil inside: the last one that is leads to nothing.
  func find(_ path: [UInt8]) -> JsonTree?? {
    guard case .object(let members) = self else { return nil }
    var found: JsonTree??
    for (name, value) in members {
      let name = [UInt8](name.utf8)
      if name == path {
        found = .some(.some(value))
      } else if path.starts(with: name + [UInt8(ascii: ".")]) {
        found = .some(nil)
        if let deeper = value.find(Array(path[(name.count + 1)...])) { found = .some(deeper) }
      }
    }
    return found
  }
}

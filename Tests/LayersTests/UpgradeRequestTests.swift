import Bounded
import Layers
import Testing

/// What a head gives, as values.
enum UpgradeResult: Equatable {
  case incomplete
  case refused(UpgradeRefusal)
  case complete(Int, MQTTSubprotocol, origin: String?, forwardedFor: String?)
}

func upgrade(_ head: [UInt8], path: String = "/mqtt", origins: String = "") -> UpgradeResult {
  withLent(head) { head in
    withLent(path) { path in
      withLent(origins) { origins in
        switch UpgradeRequest.parse(head, path: path, origins: OriginList(origins)) {
        case .incomplete: .incomplete
        case .refused(let refusal): .refused(refusal)
        case .complete(let request):
          .complete(
            request.headByteCount, request.subprotocol, origin: request.origin.map { text($0.array()) },
            forwardedFor: request.forwardedFor.map { text($0.array()) })
        }
      }
    }
  }
}

/// The head of a good request with some of its lines replaced; nil leaves one out.
struct Head {
  var requestLine = "GET /mqtt HTTP/1.1"
  var host: String? = "Host: board.local:8080"
  var upgrade: String? = "Upgrade: websocket"
  var connection: String? = "Connection: Upgrade"
  var version: String? = "Sec-WebSocket-Version: 13"
  var key: String? = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
  var subprotocol: String? = "Sec-WebSocket-Protocol: mqtt"
  var more: [String] = []

  var bytes: [UInt8] {
    let lines = [requestLine] + [host, upgrade, connection, version, key, subprotocol].compactMap { $0 } + more
    return [UInt8]((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
  }

  init(_ change: (inout Head) -> Void = { _ in }) { change(&self) }
}

@Suite struct UpgradeRequestTests {
  struct Row {
    let name: String
    let head: [UInt8]
    /// nil: it is accepted.
    let refusal: UpgradeRefusal?
    let origins: String
  }

  private static func row(
    _ name: String, _ refusal: UpgradeRefusal?, origins: String = "", _ change: (inout Head) -> Void
  ) -> Row {
    Row(name: name, head: Head(change).bytes, refusal: refusal, origins: origins)
  }

  static let requestLines: [Row] = [
    row("the plainest", nil) { _ in },
    row("a query", nil) { $0.requestLine = "GET /mqtt?token=1?2 HTTP/1.1" },
    row("an empty query", nil) { $0.requestLine = "GET /mqtt? HTTP/1.1" },
    row("another path", .path) { $0.requestLine = "GET / HTTP/1.1" },
    row("a longer path", .path) { $0.requestLine = "GET /mqtt/ HTTP/1.1" },
    row("a path in capitals", .path) { $0.requestLine = "GET /MQTT HTTP/1.1" },
    row("a path with an escape", .path) { $0.requestLine = "GET /%6Dqtt HTTP/1.1" },
    row("an absolute target", .path) { $0.requestLine = "GET http://board/mqtt HTTP/1.1" },
    row("a fragment", .path) { $0.requestLine = "GET /mqtt#a HTTP/1.1" },
    row("POST", .method) { $0.requestLine = "POST /mqtt HTTP/1.1" },
    row("get", .method) { $0.requestLine = "get /mqtt HTTP/1.1" },
    row("OPTIONS of everything", .method) { $0.requestLine = "OPTIONS * HTTP/1.1" },
    row("HTTP/1.0", .httpVersion) { $0.requestLine = "GET /mqtt HTTP/1.0" },
    row("HTTP/2.0", .httpVersion) { $0.requestLine = "GET /mqtt HTTP/2.0" },
    row("HTTP/1.2", .httpVersion) { $0.requestLine = "GET /mqtt HTTP/1.2" },
    row("http/1.1", .malformed) { $0.requestLine = "GET /mqtt http/1.1" },
    row("HTTP/1,1", .malformed) { $0.requestLine = "GET /mqtt HTTP/1,1" },
    row("HTTP/x.1", .malformed) { $0.requestLine = "GET /mqtt HTTP/x.1" },
    row("HTTP/1.x", .malformed) { $0.requestLine = "GET /mqtt HTTP/1.x" },
    row("HTTP/1.10", .malformed) { $0.requestLine = "GET /mqtt HTTP/1.10" },
    row("HTTP/0.9", .malformed) { $0.requestLine = "GET /mqtt" },
    row("a blank at the end", .malformed) { $0.requestLine = "GET /mqtt HTTP/1.1 " },
    row("a blank at the start", .malformed) { $0.requestLine = " GET /mqtt HTTP/1.1" },
    row("two blanks", .malformed) { $0.requestLine = "GET  /mqtt HTTP/1.1" },
    row("a tab", .malformed) { $0.requestLine = "GET\t/mqtt HTTP/1.1" },
    row("no target", .malformed) { $0.requestLine = "GET  HTTP/1.1" },
    row("a method with a colon", .malformed) { $0.requestLine = "GE:T /mqtt HTTP/1.1" },
    row("a target beyond ASCII", .malformed) { $0.requestLine = "GET /é HTTP/1.1" },
    row("an empty line first", .malformed) { $0.requestLine = "\r\nGET /mqtt HTTP/1.1" },
    row("nothing", .malformed) { $0.requestLine = "" },
  ]

  static let headers: [Row] = [
    row("names in any case", nil) {
      $0.host = "hOST: a"
      $0.upgrade = "UPGRADE: WebSocket"
      $0.connection = "cONNECTION: upgrade"
      $0.version = "sec-websocket-version: 13"
      $0.key = "SEC-WEBSOCKET-KEY: AAAAAAAAAAAAAAAAAAAAAA=="
      $0.subprotocol = "sec-webSocket-protocol: mqtt"
    },
    row("no blank behind the colon", nil) { $0.host = "Host:a" },
    row("blanks and tabs around a value", nil) { $0.version = "Sec-WebSocket-Version: \t 13 \t" },
    row("lines of others", nil) { $0.more = ["User-Agent: x\ty (é)", "Cookie:", "A!#$%&'*+-.^_`|~9: 1"] },
    row("a blank before the colon", .malformed) { $0.more = ["A : 1"] },
    row("no name", .malformed) { $0.more = [": 1"] },
    row("no colon", .malformed) { $0.more = ["A"] },
    row("a name in parentheses", .malformed) { $0.more = ["(A): 1"] },
    row("a name beyond ASCII", .malformed) { $0.more = ["é: 1"] },
    row("a folded line", .malformed) { $0.more = ["A: 1", " 2"] },
    row("a line folded by a tab", .malformed) { $0.more = ["A: 1", "\t: 2"] },
    row("NUL", .malformed) { $0.more = ["A: \0"] },
    row("DEL", .malformed) { $0.more = ["A: \u{7F}"] },
    row("escape", .malformed) { $0.more = ["A: \u{1B}[1m"] },
    row("LF alone", .malformed) { $0.more = ["A: 1\nB: 2"] },
    row("CR alone", .malformed) { $0.more = ["A: 1\rB: 2"] },
    row("CR CR LF", .malformed) { $0.more = ["A: 1\r"] },
    row("no Host", .host) { $0.host = nil },
    row("Host twice", .host) { $0.more = ["host: board.local:8080"] },
    row("an empty Host", .host) { $0.host = "Host: " },
    row("two hosts", .host) { $0.host = "Host: a b" },
    row("no Upgrade", .notUpgrade) { $0.upgrade = nil },
    row("an upgrade to HTTP/2", .notUpgrade) { $0.upgrade = "Upgrade: h2c" },
    row("an upgrade to one of several", nil) { $0.upgrade = "Upgrade: h2c, ,WebSocket" },
    row("an upgrade to websockets", .notUpgrade) { $0.upgrade = "Upgrade: websockets" },
    row("no Connection", .connection) { $0.connection = nil },
    row("Connection: keep-alive", .connection) { $0.connection = "Connection: keep-alive" },
    row("as Firefox has it", nil) { $0.connection = "Connection: keep-alive, Upgrade" },
    row("Connection in two lines", nil) { $0.more = ["Connection: keep-alive"] },
    row("Connection: upgraded", .connection) { $0.connection = "Connection: upgraded" },
    row("no version", .webSocketVersion) { $0.version = nil },
    row("version 8", .webSocketVersion) { $0.version = "Sec-WebSocket-Version: 8" },
    row("version 013", .webSocketVersion) { $0.version = "Sec-WebSocket-Version: 013" },
    row("two versions", .webSocketVersion) { $0.version = "Sec-WebSocket-Version: 13, 8" },
    row("version 13 twice", .webSocketVersion) { $0.more = ["Sec-WebSocket-Version: 13"] },
    row("version 8, then 13", .webSocketVersion) {
      $0.version = "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Version: 13"
    },
    row("a body of 0 bytes", nil) { $0.more = ["Content-Length: 0"] },
    row("a body", .body) { $0.more = ["Content-Length: 10"] },
    row("a body of +0 bytes", .body) { $0.more = ["Content-Length: +0"] },
    row("a body of no length", .body) { $0.more = ["Content-Length:"] },
    row("a body, though also none", .body) { $0.more = ["Content-Length: 0", "Content-Length: 1"] },
    row("chunks", .body) { $0.more = ["Transfer-Encoding: chunked"] },
    row("no transfer encoding", .body) { $0.more = ["transfer-encoding: identity"] },
  ]

  static let keysAndOffers: [Row] = [
    row("no key", .key) { $0.key = nil },
    row("two keys", .key) { $0.more = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="] },
    row("an empty key", .key) { $0.key = "Sec-WebSocket-Key:" },
    row("15 bytes", .key) { $0.key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA" },
    row("17 bytes", .key) { $0.key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=" },
    row("18 bytes", .key) { $0.key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA" },
    row("padding too early", .key) { $0.key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA===" },
    row("a key without padding", .key) { $0.key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA" },
    row("a key with +/", nil) { $0.key = "Sec-WebSocket-Key: +/+/+/+/+/+/+/+/+/+/+/==" },
    row("a key of base64url", .key) { $0.key = "Sec-WebSocket-Key: -_AAAAAAAAAAAAAAAAAAAA==" },
    row("a key with a blank", .key) { $0.key = "Sec-WebSocket-Key: AAAAAAAAAA AAAAAAAAAAA==" },
    row("no subprotocol", .subprotocol) { $0.subprotocol = nil },
    row("an empty list", .subprotocol) { $0.subprotocol = "Sec-WebSocket-Protocol: , ," },
    row("other subprotocols", .subprotocol) { $0.subprotocol = "Sec-WebSocket-Protocol: chat, amqp" },
    row("MQTT in capitals", .subprotocol) { $0.subprotocol = "Sec-WebSocket-Protocol: MQTT" },
    row("mqttv5", .subprotocol) { $0.subprotocol = "Sec-WebSocket-Protocol: mqttv5" },
    row("one of several", nil) { $0.subprotocol = "Sec-WebSocket-Protocol: chat,,\tmqtt ,amqp" },
    row("in the second line", nil) {
      $0.subprotocol = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: amqp, mqtt"
    },
  ]

  private static let origins = "https://a.example http://board.local:8080 null"

  static let origin: [Row] = [
    row("none, as programs have it", nil, origins: origins) { _ in },
    row("the first", nil, origins: origins) { $0.more = ["Origin: https://a.example"] },
    row("the second", nil, origins: origins) { $0.more = ["Origin: http://board.local:8080"] },
    row("the last", nil, origins: origins) { $0.more = ["Origin: null"] },
    row("in capitals", nil, origins: origins) { $0.more = ["ORIGIN: HTTPS://A.Example"] },
    row("another scheme", .origin, origins: origins) { $0.more = ["Origin: http://a.example"] },
    row("another port", .origin, origins: origins) { $0.more = ["Origin: http://board.local:80"] },
    row("a port more", .origin, origins: origins) { $0.more = ["Origin: https://a.example:443"] },
    row("a longer host", .origin, origins: origins) { $0.more = ["Origin: https://a.example.org"] },
    row("a host before it", .origin, origins: origins) { $0.more = ["Origin: https://b.a.example"] },
    row("a shorter one", .origin, origins: origins) { $0.more = ["Origin: https://a.exampl"] },
    row("an empty one", .origin, origins: origins) { $0.more = ["Origin:"] },
    row("the list itself", .origin, origins: origins) { $0.more = ["Origin: \(origins)"] },
    row("twice", .severalOrigins, origins: origins) {
      $0.more = ["Origin: https://a.example", "Origin: https://a.example"]
    },
    row("an empty list", .origin) { $0.more = ["Origin: https://a.example"] },
    row("every origin", nil, origins: "*") { $0.more = ["Origin: https://c.example"] },
    row("every origin, and none said", .origin, origins: "*") { $0.more = ["Origin:"] },
    row("255 bytes", nil, origins: "*") { $0.more = ["Origin: \(String(repeating: "a", count: 255))"] },
    row("256 bytes", .origin, origins: "*") { $0.more = ["Origin: \(String(repeating: "a", count: 256))"] },
  ]

  static let rows = requestLines + headers + keysAndOffers + origin

  @Test(arguments: rows.indices) func eachRow(_ index: Int) {
    let row = UpgradeRequestTests.rows[index]
    let result = upgrade(row.head, origins: row.origins)
    if let refusal = row.refusal {
      #expect(result == .refused(refusal), "\(row.name)")
    } else if case .complete(let headByteCount, _, _, _) = result {
      #expect(headByteCount == row.head.count, "\(row.name)")
    } else {
      Issue.record("\(row.name): \(result)")
    }
    for more in [[UInt8(0)], frame(2, [1, 2, 3]), [UInt8](repeating: 0x0A, count: 3_000)] {
      #expect(upgrade(row.head + more, origins: row.origins) == result, "\(row.name): what follows counts")
    }
  }

  /// However the head arrives, it is incomplete and then one and the same; only what is malformed is told early.
  @Test(arguments: rows.indices) func everySplitPoint(_ index: Int) {
    let row = UpgradeRequestTests.rows[index]
    let result = upgrade(row.head, origins: row.origins)
    var early = UpgradeResult.incomplete
    for count in 0..<row.head.count {
      let part = upgrade(Array(row.head[..<count]), origins: row.origins)
      if part == early { continue }
      check(early == .incomplete && part == .refused(.malformed) && part == result, "\(row.name) cut at \(count)")
      early = part
    }
  }

  /// Any byte of a good head changed gives an answer, which is the same when the head is cut there.
  @Test func everyByteChanged() {
    let head = Head { $0.more = ["Origin: http://a", "X-Forwarded-For: 1.2.3.4"] }.bytes
    for place in head.indices {
      for value in [0, 0x09, 0x0A, 0x0D, 0x20, 0x2C, 0x3A, 0x41, 0x7F, 0x80, 0xFF, head[place] ^ 0x20] as [UInt8] {
        var changed = head
        changed[place] = value
        let result = upgrade(changed, origins: "http://a")
        let part = upgrade(Array(changed[...place]), origins: "http://a")
        check(part == .incomplete || part == result, "byte \(place) is \(value): \(part), then \(result)")
        // A good head stays good only where the byte means nothing.
        if value < 0x20, value != 0x09 {
          check(result == .refused(.malformed) || value == head[place], "byte \(place)")
        }
      }
    }
  }

  // MARK: What is found

  @Test func findsTheSubprotocol() {
    let rows: [(String, MQTTSubprotocol)] = [
      ("mqtt", .mqtt), ("mqttv3.1", .mqttV31), ("mqttv3.1, mqtt", .mqtt), ("mqtt, mqttv3.1", .mqtt),
      ("chat, mqttv3.1", .mqttV31), ("mqttv3.1\r\nSec-WebSocket-Protocol: mqtt", .mqtt),
    ]
    for (value, expected) in rows {
      let head = Head { $0.subprotocol = "Sec-WebSocket-Protocol: " + value }.bytes
      #expect(upgrade(head) == .complete(head.count, expected, origin: nil, forwardedFor: nil), "\(value)")
    }
  }

  @Test func findsOriginAndForwardedFor() {
    let rows: [([String], String?)] = [
      ([], nil), (["X-Forwarded-For: 192.0.2.7"], "192.0.2.7"),
      (["X-Forwarded-For: 10.0.0.1, 192.0.2.7 "], "192.0.2.7"),
      (["x-forwarded-for: 10.0.0.1", "X-FORWARDED-FOR: 192.0.2.7,2001:db8::7"], "2001:db8::7"),
      (["X-Forwarded-For: 192.0.2.7, ,"], "192.0.2.7"), (["X-Forwarded-For:"], nil),
      (["X-Forwarded-For: unknown"], "unknown"),
    ]
    for (lines, expected) in rows {
      let head = Head { $0.more = ["Origin: http://a"] + lines }.bytes
      let result = upgrade(head, origins: "http://a")
      #expect(result == .complete(head.count, .mqtt, origin: "http://a", forwardedFor: expected), "\(lines)")
    }
  }

  // MARK: Bounds

  @Test func the2048thByteMayEndTheHead() {
    let rest = UpgradeRequest.headByteCountMax - Head().bytes.count
    for (more, result) in [
      (0, UpgradeResult.complete(2048, .mqtt, origin: nil, forwardedFor: nil)), (1, .refused(.tooLarge)),
      (2, .refused(.tooLarge)), (4, .refused(.tooLarge)),
    ] {
      let head = Head { $0.more = ["A: \(String(repeating: "a", count: rest - 5 + more))"] }.bytes
      #expect(head.count == 2048 + more)
      #expect(upgrade(head) == result)
      #expect(upgrade(Array(head[..<2047])) == .incomplete)
    }
    #expect(upgrade([UInt8](repeating: 0x41, count: 2047)) == .incomplete)
    for count in [2048, 65_536] {
      #expect(upgrade([UInt8](repeating: 0x41, count: count)) == .refused(.tooLarge))
    }
  }

  @Test func fortyEightLinesMayBe() {
    for (count, isGood) in [(48, true), (49, false), (60, false)] {
      let head = Head { $0.more = (0..<count - 6).map { "A\($0): 1" } }.bytes
      let good = UpgradeResult.complete(head.count, .mqtt, origin: nil, forwardedFor: nil)
      #expect(upgrade(head) == (isGood ? good : .refused(.tooLarge)))
    }
  }

  /// Of two mistakes what is malformed wins, then the first one that was read, then what is missing.
  @Test func oneOfSeveralMistakes() {
    #expect(upgrade(Head { $0.requestLine = "POST / HTTP/1.0" }.bytes) == .refused(.method))
    #expect(upgrade(Head { $0.requestLine = "GET / HTTP/1.0" }.bytes) == .refused(.httpVersion))
    let both = Head {
      $0.requestLine = "GET / HTTP/1.1"
      $0.more = ["A"]
    }
    #expect(upgrade(both.bytes) == .refused(.malformed))
    let browser = Head {
      $0.upgrade = nil
      $0.connection = "Connection: keep-alive"
      $0.version = nil
      $0.key = nil
      $0.subprotocol = nil
    }
    #expect(upgrade(browser.bytes) == .refused(.notUpgrade))
  }

  /// Random lines in random order, damaged now and then: cut anywhere, the answer is that of the whole.
  @Test func seededRun() {
    var random = SeededGenerator(seed: 0x1177)
    var complete = 0
    var refused = 0
    for _ in 0..<2_000 {
      let row = UpgradeRequestTests.rows[random.below(UpgradeRequestTests.rows.count)]
      var head =
        random.oneIn(2) ? row.head : Head { $0.more = ["Origin: https://a.example", "A: \(random.byte())"] }.bytes
      if random.oneIn(3) { head[random.below(head.count)] = random.byte() }
      head += random.bytes(random.below(20))
      let result = upgrade(head, origins: UpgradeRequestTests.origins)
      let part = upgrade(Array(head[..<random.below(head.count)]), origins: UpgradeRequestTests.origins)
      check(part == .incomplete || part == result, "\(head): \(part), then \(result)")
      switch result {
      case .complete: complete += 1
      case .refused: refused += 1
      case .incomplete: break
      }
    }
    #expect(complete > 300 && refused > 300)
  }
}

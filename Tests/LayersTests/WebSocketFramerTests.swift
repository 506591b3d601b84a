import Bounded
import Layers
import Testing

@Suite struct WebSocketFramerTests {
  struct Row {
    let name: String
    let stream: [UInt8]
    let events: [WebSocketEvent]
  }

  static let counting = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
  static let longPing = [UInt8](repeating: 0x41, count: 125)

  /// RFC 6455 §5.7 and the borders of the three forms of a length.
  static let good: [Row] = [
    Row(
      name: "the RFC's masked Hello, as binary",
      stream: [0x82, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58],
      events: [.payload([UInt8]("Hello".utf8))]),
    Row(
      name: "the RFC's masked pong",
      stream: [0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58], events: [.pong]),
    Row(name: "no payload", stream: frame(2, []), events: []),
    Row(name: "125 bytes", stream: frame(2, Array(counting[..<125])), events: [.payload(Array(counting[..<125]))]),
    Row(name: "126 bytes", stream: frame(2, Array(counting[..<126])), events: [.payload(Array(counting[..<126]))]),
    Row(
      name: "three fragments",
      stream: all(
        frame(2, [1, 2], isFinal: false), frame(0, [3], isFinal: false, key: [9, 8, 7, 6]), frame(0, [4, 5])),
      events: [.payload([1, 2, 3, 4, 5])]),
    Row(
      name: "empty fragments",
      stream: all(
        frame(2, [], isFinal: false), frame(0, [], isFinal: false), frame(0, [7], isFinal: false), frame(0, []),
        frame(2, [8])),
      events: [.payload([7, 8])]),
    Row(
      name: "control frames between fragments",
      stream: all(frame(2, [1], isFinal: false), frame(9, longPing), frame(10, []), frame(0, [2]), frame(9, [])),
      events: [.payload([1]), .ping(longPing), .pong, .payload([2]), .ping([])]),
    Row(name: "a close with its code", stream: all(frame(8, [0x03, 0xE8]), [0xFF, 0xFF]), events: [.close(1000)]),
    Row(
      name: "a close with a reason", stream: frame(8, all([0x0F, 0xA0], Array(longPing[..<123]))),
      events: [.close(4000)]),
    Row(name: "a close without a code", stream: frame(8, []), events: [.close(nil)]),
    Row(
      name: "a close in a message", stream: all(frame(2, [1], isFinal: false), frame(8, [])),
      events: [.payload([1]), .close(nil)]),
  ]

  private static func all(_ parts: [UInt8]...) -> [UInt8] { parts.flatMap { $0 } }

  /// A header with a length of 64 bits.
  private static func third(_ length: Int) -> [UInt8] {
    all([0x82, 0xFF], bigEndian(length, byteCount: 8), [1, 2, 3, 4])
  }

  private static func failing(_ name: String, _ stream: [UInt8], _ code: UInt16 = 1002) -> Row {
    Row(name: name, stream: stream, events: [.failure(code)])
  }

  static let bad: [Row] = [
    failing("RSV1", [0xC2]), failing("RSV2", [0xA2]), failing("RSV3", [0x92]), failing("RSV1 of a ping", [0xC9]),
    failing("no mask", [0x82, 0x05]), failing("no mask, no payload", [0x82, 0x00]),
    failing("an unmasked ping", [0x89, 0x00]),
    failing("text", [0x81], 1003), failing("a fragment of text", [0x01], 1003), failing("RSV1 of text", [0xC1]),
    failing("opcode 3", [0x83]), failing("opcode 4", [0x84]), failing("opcode 5", [0x85]), failing("opcode 6", [0x86]),
    failing("opcode 7", [0x87]), failing("opcode 11", [0x8B]), failing("opcode 12", [0x8C]),
    failing("opcode 13", [0x8D]),
    failing("opcode 14", [0x8E]), failing("opcode 15", [0x8F]),
    failing("a fragmented close", [0x08]), failing("a fragmented ping", [0x09]), failing("a fragmented pong", [0x0A]),
    failing("a ping of 126 bytes", [0x89, 0xFE]), failing("a ping of 65,536 bytes", [0x89, 0xFF]),
    failing("a close of 126 bytes", [0x88, 0xFE]),
    failing("a continuation of nothing", [0x80]), failing("a continuation of nothing, to be continued", [0x00]),
    failing("125 bytes in the second form", [0x82, 0xFE, 0x00, 0x7D, 1, 2, 3, 4]),
    failing("65,535 bytes in the third form", third(65_535)),
    failing("0 bytes in the third form", third(0)),
    failing("2^32 bytes", third(1 << 32)),
    failing("2^40 and 65,536 bytes", third(0x100_0001_0000)),
    failing("a length with its highest bit", [0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]),
    failing("half a close code", frame(8, [0x03])),
    failing("close code 0", frame(8, [0, 0])), failing("close code 999", frame(8, [0x03, 0xE7])),
    failing("close code 1004", frame(8, [0x03, 0xEC])), failing("close code 1005", frame(8, [0x03, 0xED])),
    failing("close code 1006", frame(8, [0x03, 0xEE])), failing("close code 1015", frame(8, [0x03, 0xF7])),
    failing("close code 2999", frame(8, [0x0B, 0xB7])), failing("close code 5000", frame(8, [0x13, 0x88])),
  ]

  static let badInMessages: [Row] = [
    Row(
      name: "a new message in a message", stream: all(frame(2, [1], isFinal: false), [0x82]),
      events: [.payload([1]), .failure(1002)]),
    Row(
      name: "text in a message", stream: all(frame(2, [1], isFinal: false), [0x81]),
      events: [.payload([1]), .failure(1002)]),
    Row(
      name: "a continuation behind the last fragment",
      stream: all(frame(2, [1], isFinal: false), frame(0, [2]), [0x80]), events: [.payload([1, 2]), .failure(1002)]),
    Row(
      name: "a continuation of a whole message", stream: all(frame(2, [1]), [0x80]),
      events: [.payload([1]), .failure(1002)]),
  ]

  static let rows = good + bad + badInMessages

  @Test(arguments: rows.indices) func eachRow(_ index: Int) {
    let row = WebSocketFramerTests.rows[index]
    for sizes in [[row.stream.count], [1]] {
      let feed = WebSocketFeed.run(row.stream, sizes: sizes)
      #expect(feed.events == row.events, "\(row.name), pieces of \(sizes)")
      #expect(feed.problem == nil, "\(row.name)")
      if case .failure = row.events.last { continue }
      #expect(feed.kept.isEmpty, "\(row.name)")
    }
    #expect(modelEvents(row.stream) == row.events, "the model: \(row.name)")
  }

  @Test(arguments: rows.indices) func everySplitPoint(_ index: Int) {
    let row = WebSocketFramerTests.rows[index]
    for cut in 0...row.stream.count {
      var feed = WebSocketFeed()
      feed.feed(Array(row.stream[..<cut]))
      #expect(feed.events == modelEvents(Array(row.stream[..<cut])), "\(row.name) cut at \(cut)")
      feed.feed(Array(row.stream[cut...]))
      #expect(feed.events == row.events, "\(row.name) cut at \(cut)")
      #expect(feed.problem == nil)
    }
  }

  /// A good stream with any bit changed: what the model says, and no trap.
  @Test(arguments: good.indices) func everyBitChanged(_ index: Int) {
    let stream = WebSocketFramerTests.good[index].stream
    for place in 0..<min(stream.count, 60) {
      for bit in UInt8(0)..<8 {
        var changed = stream
        changed[place] ^= 1 << bit
        let feed = WebSocketFeed.run(changed, sizes: [changed.count])
        check(feed.events == modelEvents(changed) && feed.problem == nil, "bit \(bit) of byte \(place)")
      }
    }
  }

  // MARK: What the caller sees

  @Test func allZerosIsTheStart() {
    #expect(MemoryLayout<WebSocketFramer>.size <= 16)
    withUnsafeBytes(of: WebSocketFramer()) { #expect($0.allSatisfy { $0 == 0 }) }
  }

  @Test func payloadIsUnmaskedWhereItLies() {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 11, alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: WebSocketFramerTests.good[0].stream)
    var framer = WebSocketFramer()
    var input = MutableBytes(memory)
    guard case .payload(let bytes) = framer.next(&input) else { return check(false) }
    #expect(bytes.isWithin(MutableBytes(memory).bytes))
    #expect(bytes.array() == Array(memory[6...]))
    #expect(input.isEmpty)
  }

  /// A header is awaited byte by byte, and how much is needed is known with its second byte.
  @Test func asksForWhatIsMissing() {
    let rows: [(stream: [UInt8], awaited: [Int])] = [
      (frame(2, [1]), [2, 2, 6, 6, 6, 6]),
      (frame(2, [UInt8](repeating: 0, count: 126)), [2, 2, 8, 8, 8, 8, 8, 8]),
      (frame(2, [UInt8](repeating: 0, count: 65_536)), [2, 2] + [Int](repeating: 14, count: 12)),
      (frame(9, [1, 2, 3]), [2, 2, 9, 9, 9, 9, 9, 9, 9]),
      (frame(9, WebSocketFramerTests.longPing), [2, 2] + [Int](repeating: 131, count: 129)),
    ]
    for row in rows {
      for (count, awaited) in row.awaited.enumerated() {
        var bytes = Array(row.stream[..<count])
        bytes.withUnsafeMutableBytes { memory in
          var framer = WebSocketFramer()
          var input =
            count == 0 ? MutableBytes(UnsafeMutableRawPointer(bitPattern: 8)!, count: 0) : MutableBytes(memory)
          guard case .needsInput(let byteCount) = framer.next(&input) else { return check(false, "\(count)") }
          #expect(byteCount == awaited)
          #expect(input.count == count)
          #expect(!framer.isPartial)
        }
        #expect(bytes == Array(row.stream[..<count]))  // nothing is unmasked
      }
    }
    #expect(WebSocketFramer.keptByteCountMax == 130)
  }

  @Test func isPartialInPayloadAndInMessages() {
    var feed = WebSocketFeed()
    #expect(!feed.framer.isPartial)
    feed.feed(Array(frame(2, [1, 2, 3]).dropLast()))
    #expect(feed.framer.isPartial)
    feed.feed([0])
    #expect(!feed.framer.isPartial)
    feed.feed(frame(2, [1], isFinal: false))
    #expect(feed.framer.isPartial)
    feed.feed(frame(9, []))
    #expect(feed.framer.isPartial)
    feed.feed(frame(0, []))
    #expect(!feed.framer.isPartial)
  }

  @Test func afterACloseAllIsDropped() {
    var feed = WebSocketFeed()
    feed.feed(frame(8, []) + frame(2, [1]))
    feed.feed(frame(9, [1]))
    feed.feed([0xFF])
    #expect(feed.events == [.close(nil)])
    #expect(feed.kept.isEmpty)
  }

  @Test func afterAFailureEveryCallFails() {
    var feed = WebSocketFeed()
    feed.feed(frame(2, [1]) + frame(1, [2]))
    let stepCount = feed.stepCount
    feed.kept = []
    feed.feed(frame(2, [3]))
    #expect(feed.events == [.payload([1]), .failure(1003)])
    #expect(feed.stepCount == stepCount + 1)
  }

  /// The caller can count: each empty frame is a step.
  @Test func aFloodIsAsManySteps() {
    for opcode in [UInt8(2), 9, 10] {
      var feed = WebSocketFeed()
      feed.feed((0..<1_000).flatMap { _ in frame(opcode, []) })
      #expect(feed.stepCount == 1_000)
      #expect(feed.problem == nil)
    }
  }

  /// 2^32 - 1 bytes are the longest payload; what is there of it passes.
  @Test func theLongestPayloadPasses() {
    var feed = WebSocketFeed()
    feed.feed([0x82, 0xFF] + bigEndian(0xFFFF_FFFF, byteCount: 8) + [1, 2, 3, 4])
    #expect(feed.events == [])
    for byte in UInt8(1)...6 { feed.feed([byte]) }
    #expect(feed.events == [.payload([0, 0, 0, 0, 4, 4])])
    #expect(feed.framer.isPartial)
  }

  // MARK: Against the model

  /// Random messages of random frames with random keys, control frames in between, now and then something wrong; in random
  /// pieces.
  @Test(arguments: 0..<4) func againstAModel(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(0x3E50 + seed))
    var failures = 0
    var closes = 0
    for _ in 0..<150 {
      let stream = randomStream(&random)
      let expected = modelEvents(stream)
      let largest = [1, 3, 9, 140, 5_000][random.below(5)]
      let sizes = (0..<16).map { _ in 1 + random.below(largest) }
      let feed = WebSocketFeed.run(stream, sizes: sizes)
      check(feed.events == expected, "\(stream) in \(sizes)")
      check(feed.problem == nil, "\(feed.problem ?? "")")
      switch expected.last {
      case .failure: failures += 1
      case .close: closes += 1
      case .payload, .ping, .pong, nil: break
      }
    }
    #expect(failures > 10 && closes > 10 && failures + closes < 140)
  }

  private func randomStream(_ random: inout SeededGenerator) -> [UInt8] {
    var stream: [UInt8] = []
    for _ in 0..<(1 + random.below(5)) {
      let fragments = 1 + random.below(4)
      for fragment in 0..<fragments {
        if random.oneIn(3) {
          stream += frame(random.oneIn(2) ? 9 : 10, random.bytes(random.below(126)), key: random.bytes(4))
        }
        let size = [0, 1, 7, 125, 126, 127, 300, 2_000][random.below(8)]
        stream += frame(
          fragment == 0 ? 2 : 0, random.bytes(size), isFinal: fragment + 1 == fragments, key: random.bytes(4))
      }
      switch random.below(12) {
      case 0: stream += frame(8, random.oneIn(2) ? [] : [UInt8(random.below(20)), random.byte(), 0x41])
      case 1: stream += random.bytes(1 + random.below(20))
      case 2: stream[random.below(stream.count)] ^= 1 << UInt8(random.below(8))
      default: break
      }
    }
    if random.oneIn(3) { stream.removeLast(random.below(stream.count)) }
    return stream
  }

  /// 65,535 and 65,536 bytes, on either side of the third form.
  @Test func longFrames() {
    for count in [65_535, 65_536] {
      let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      for sizes in [[count + 20], [1_460], [7, 4_099]] {
        let feed = WebSocketFeed.run(frame(2, payload) + frame(9, [1]), sizes: sizes)
        check(feed.events == [.payload(payload), .ping([1])], "\(count) in \(sizes)")
      }
    }
  }
}

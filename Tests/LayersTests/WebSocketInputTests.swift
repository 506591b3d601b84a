import Bounded
import Layers
import Testing

/// Reads of a connection, and what comes of them.
struct WebSocketReads {
  var input = WebSocketInput()
  var events: [WebSocketEvent] = []
  var frameCount = 0

  /// One read, in memory of exactly its size.
  mutating func read(_ piece: [UInt8]) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(piece.count, 1), alignment: 1)
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: WebSocketInput.scratchByteCount, alignment: 1)
    defer {
      memory.deallocate()
      scratch.deallocate()
    }
    memory.copyBytes(from: piece)
    scratch.initializeMemory(as: UInt8.self, repeating: 0xA5)
    var pings: [WebSocketEvent] = []
    let all = MutableBytes(memory).first(piece.count)
    let arrival = input.take(all, scratch: MutableBytes(scratch)) { pings.append(.ping($0.array())) }
    #expect(arrival.payload.isEmpty || arrival.payload.isWithin(all.bytes))
    events += pings  // before the payload, as order among them means nothing
    events.add(payload: arrival.payload.array())
    frameCount += arrival.frameCount
    switch arrival.end {
    case .close(let code): events.append(.close(code?.rawValue))
    case .failure(let code): events.append(.failure(code.rawValue))
    case nil: break
    }
  }

  static func run(_ stream: [UInt8], sizes: [Int]) -> WebSocketReads {
    var reads = WebSocketReads()
    var rest = stream[...]
    var turn = 0
    while !rest.isEmpty {
      let size = max(1, sizes[turn % sizes.count])
      turn += 1
      reads.read(Array(rest.prefix(size)))
      if case .failure = reads.events.last { break }
      rest = rest.dropFirst(size)
    }
    return reads
  }
}

/// Payload, pings and the end of a connection, each in their order.
struct WebSocketSummary: Equatable {
  var payload: [UInt8] = []
  var pings: [[UInt8]] = []
  var end: WebSocketEvent?

  init(_ events: [WebSocketEvent]) {
    for event in events {
      switch event {
      case .payload(let bytes): payload += bytes
      case .ping(let bytes): pings.append(bytes)
      case .pong: break
      case .close, .failure: if end == nil { end = event }
      }
    }
  }
}

@Suite("Reads of a WebSocket connection") struct WebSocketInputTests {
  /// What the framer's tests have, read whole, byte by byte, and cut in two at every place.
  @Test(arguments: WebSocketFramerTests.rows.indices) func everySplit(_ index: Int) {
    let row = WebSocketFramerTests.rows[index]
    let expected = WebSocketSummary(row.events)
    for sizes in [[row.stream.count], [1], [2, 3], [7]] {
      #expect(
        WebSocketSummary(WebSocketReads.run(row.stream, sizes: sizes).events) == expected, "\(row.name), \(sizes)")
    }
    for cut in 1..<max(2, row.stream.count) {
      let found = WebSocketSummary(WebSocketReads.run(row.stream, sizes: [cut, row.stream.count]).events)
      check(found == expected, "\(row.name) cut at \(cut)")
    }
  }

  /// The payload of all frames of one read lies in one piece, from where the first one was.
  @Test func payloadIsInOnePiece() {
    var reads = WebSocketReads()
    reads.read(frame(2, [1, 2]) + frame(9, [9]) + frame(2, []) + frame(2, [3], isFinal: false) + frame(0, [4, 5]))
    #expect(reads.events == [.ping([9]), .payload([1, 2, 3, 4, 5])])
    #expect(reads.frameCount == 5)
  }

  @Test func allZerosIsTheStart() {
    withUnsafeBytes(of: WebSocketInput()) { #expect($0.allSatisfy { $0 == 0 }) }
  }

  /// Random messages in random reads.
  @Test(arguments: 0..<4) func againstAModel(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(0x1590 + seed))
    for _ in 0..<200 {
      var stream: [UInt8] = []
      for _ in 0..<1 + random.below(6) {
        let size = [0, 1, 5, 125, 126, 200, 3_000][random.below(7)]
        let isFinal = random.oneIn(2)
        stream += frame(2, random.bytes(size), isFinal: isFinal, key: random.bytes(4))
        if random.oneIn(2) { stream += frame(random.oneIn(3) ? 10 : 9, random.bytes(random.below(126))) }
        if !isFinal { stream += frame(0, random.bytes(random.below(300)), key: random.bytes(4)) }
      }
      if random.oneIn(4) { stream += frame(8, []) }
      if random.oneIn(4) { stream[random.below(stream.count)] ^= 1 << UInt8(random.below(8)) }
      let largest = [1, 4, 140, 2_000][random.below(4)]
      let sizes = (0..<16).map { _ in 1 + random.below(largest) }
      let found = WebSocketSummary(WebSocketReads.run(stream, sizes: sizes).events)
      check(found == WebSocketSummary(modelEvents(stream)), "\(stream) in \(sizes)")
    }
  }
}

import Bounded
import MQTTWire
import Testing

/// A framer and its caller: feeds chunks, keeps parts and what comes out.
private struct Feed {
  var framer: PacketFramer
  var packets: [[UInt8]] = []
  var failure: WireError?
  /// Packets whose body lay in the input, and those that were put together of parts.
  var inPlaceCount = 0
  var copiedCount = 0
  /// Of the packet under way.
  var parts: [UInt8] = []

  init(max: Int, _ policy: FramerPolicy, _ version: ProtocolVersion? = .v5) {
    framer = PacketFramer(packetBytesMax: max, policy: policy)
    framer.version = version
  }

  mutating func feed(_ chunk: [UInt8]) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Swift.max(chunk.count, 1), alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: chunk)
    var input = Bytes(UnsafeRawBufferPointer(rebasing: memory[..<chunk.count]))
    while true {
      switch framer.next(&input) {
      case .packet(let header, let body):
        add(header, body.array())
        let address = UInt(bitPattern: body.buffer.baseAddress)
        let start = UInt(bitPattern: memory.baseAddress)
        if address >= start, address <= start + UInt(chunk.count) { inPlaceCount += 1 }
        #expect(parts.isEmpty)
      case .part(let part):
        #expect(!part.isEmpty)
        parts += part.array()
      case .assembled(let header, let last):
        #expect(!last.isEmpty)
        parts += last.array()
        #expect(parts.count == header.remainingLength)
        add(header, parts)
        copiedCount += 1
        parts = []
      case .needsInput:
        #expect(input.isEmpty)
        return
      case .failure(let error):
        failure = error
        return
      }
    }
  }

  private mutating func add(_ header: FixedHeader, _ body: [UInt8]) {
    packets.append([header.type.rawValue << 4 | header.flags] + vbi(header.remainingLength) + body)
  }
}

/// What a framer should make of a whole stream, read naively from one position to the next; packets have their shortest
/// Remaining Length.
private func model(
  _ stream: [UInt8], max: Int, _ policy: FramerPolicy, _ version: ProtocolVersion? = .v5
) -> (packets: [[UInt8]], skipped: Int, failure: WireError?) {
  var packets: [[UInt8]] = []
  var skipped = 0
  var start = 0
  while start < stream.count {
    switch modelHeader(stream[start...], max: max, version) {
    case .success(nil): return (packets, skipped, nil)
    case .success(let (headerByteCount, length)?):
      let end = start + headerByteCount + length
      guard end <= stream.count else { return (packets, skipped, nil) }
      packets.append([stream[start]] + vbi(length) + stream[(start + headerByteCount)..<end])
      start = end
    case .failure(let error):
      if policy == .disconnect { return (packets, skipped, error) }
      skipped += 1
      start += 1
    }
  }
  return (packets, skipped, nil)
}

/// The bytes of the header and of the body; nil while the header is incomplete.
private func modelHeader(
  _ bytes: ArraySlice<UInt8>, max: Int, _ version: ProtocolVersion?
) -> Result<(headerByteCount: Int, length: Int)?, WireError> {
  let first = bytes.first!
  let flags: [UInt8]
  switch first >> 4 {
  case 0: flags = []
  case 3: flags = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13]
  case 6, 8, 10: flags = [2]
  default: flags = [0]
  }
  guard flags.contains(first & 15) else { return .failure(.malformedPacket) }
  var digits: [UInt8] = []
  for byte in bytes.dropFirst() {
    digits.append(byte)
    if byte < 128 || digits.count == 4 { break }
  }
  guard let last = digits.last else { return .success(nil) }
  if last >= 128 { return digits.count == 4 ? .failure(.malformedPacket) : .success(nil) }
  let length = digits.reversed().reduce(0) { $0 * 128 + Int($1 % 128) }
  if version == .v5, first >> 4 != 1, vbi(length) != digits { return .failure(.malformedPacket) }
  let shortest: [Int] = [0, 12, 2, first & 6 == 0 ? 2 : 4, 2, 2, 2, 2, 2, 3, 2, 2, 0, 0, 0, 0]
  let isPing = first >> 4 == 12 || first >> 4 == 13
  guard length >= shortest[Int(first >> 4)], !isPing || length == 0 else { return .failure(.malformedPacket) }
  return 1 + digits.count + length > max ? .failure(.packetTooLarge) : .success((1 + digits.count, length))
}

private let long = packet(0x30, string("long"), [UInt8](repeating: 0x55, count: 20_000))
private let goodStream = (Good.all.map(\.bytes) + [packet(0x30, string("t"), [UInt8](repeating: 1, count: 200))])

@Suite struct FramerTests {
  @Test func aStreamThatArrivesWholeIsNeverCopied() {
    var feed = Feed(max: 1_000, .disconnect)
    feed.feed(goodStream.flatMap { $0 })
    #expect(feed.packets == goodStream)
    #expect(feed.copiedCount == 0)
    #expect(feed.parts.isEmpty)
    #expect(!feed.framer.isPartial)
  }

  @Test(arguments: [FramerPolicy.disconnect, .resync]) func everySplitPoint(_ policy: FramerPolicy) {
    let stream = goodStream.flatMap { $0 }
    for cut in 0...stream.count {
      var feed = Feed(max: 1_000, policy)
      feed.feed(Array(stream[..<cut]))
      feed.feed(Array(stream[cut...]))
      if feed.packets != goodStream { Issue.record("cut at \(cut)") }
      #expect(feed.copiedCount <= 1)  // at most the packet that was cut
      #expect(feed.framer.skippedByteCount == 0)
      #expect(!feed.framer.isPartial && feed.parts.isEmpty)
    }
  }

  @Test(arguments: [FramerPolicy.disconnect, .resync]) func oneByteAtATime(_ policy: FramerPolicy) {
    let packets = goodStream + [long]
    var feed = Feed(max: 30_000, policy)
    for byte in packets.joined() { feed.feed([byte]) }
    #expect(feed.packets == packets)
    #expect(!feed.framer.isPartial)
  }

  // MARK: The bound

  @Test func theBoundIsJudgedFromTheHeader() {
    let body = [UInt8](repeating: 0, count: 200)
    let whole = packet(0x30, string("t"), body)
    for (max, isGood) in [(whole.count, true), (whole.count - 1, false)] {
      var feed = Feed(max: max, .disconnect)
      feed.feed(Array(whole[..<3]))  // the header alone
      #expect(feed.failure == (isGood ? nil : .packetTooLarge))
      feed.feed(Array(whole[3...]))
      #expect(feed.packets == (isGood ? [whole] : []))
      #expect(feed.parts.isEmpty)
    }
  }

  @Test func theBoundMayChangeBetweenPackets() {
    var feed = Feed(max: 10, .disconnect)
    feed.feed([0xC0, 0])
    feed.framer.packetBytesMax = 30_000
    feed.feed(long)
    #expect(feed.packets.count == 2)
    feed.framer.packetBytesMax = 2
    feed.feed([0xC0, 0, 0x40, 2])
    #expect(feed.packets.count == 3)
    #expect(feed.failure == .packetTooLarge)
  }

  @Test func theBoundIsOnWhileResynchronising() {
    var feed = Feed(max: 100, .resync)
    feed.feed([0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0xC0, 0x00])
    #expect(feed.packets == [[0xC0, 0]])
    #expect(feed.framer.skippedByteCount == 5)
    #expect(feed.parts.isEmpty)
  }

  // MARK: Malformed headers

  @Test(
    arguments: [
      [0x00], [0x11], [0x2F], [0x36], [0x38], [0x60], [0x80], [0xA0], [0xC1], [0xF8], [0xC0, 0x01], [0x40, 0x01],
      [0x10, 0x0B], [0x30, 0x01], [0x32, 0x03], [0x90, 0x02], [0x30, 0x80, 0x00], [0x30, 0x82, 0x80, 0x00],
      [0x30, 0xFF, 0xFF, 0xFF, 0xFF],
    ] as [[UInt8]]) func malformedHeaders(_ bytes: [UInt8])
  {
    for chunks in [[bytes], bytes.map { [$0] }] {
      var feed = Feed(max: 1_000, .disconnect)
      feed.feed([0xC0, 0x00])
      for chunk in chunks { feed.feed(chunk) }
      #expect(feed.failure == .malformedPacket)
      #expect(feed.packets == [[0xC0, 0]])
      feed.failure = nil
      feed.feed([0xC0, 0x00])
      #expect(feed.failure == .malformedPacket)  // for good
      #expect(feed.packets.count == 1)
    }
  }

  /// §1.5.5-1 is MQTT 5's alone. Of a CONNECT the version is not known yet.
  @Test func remainingLengthMayBeLongerThanNeededBeforeMQTT5() {
    let connect = packet(0x10, string("MQTT"), [4, 2], u16(60), string("a"))
    let publish = packet(0x30, string("t"), [1])
    for (name, whole) in [("CONNECT", connect), ("PUBLISH", publish), ("PINGREQ", [0xC0, 0])] {
      for zeros in 0...3 {
        let padding = zeros == 0 ? [whole[1]] : [whole[1] | 0x80] + [UInt8](repeating: 0x80, count: zeros - 1) + [0]
        let bytes = [whole[0]] + padding + whole[2...]
        for version in [nil, ProtocolVersion.v311, .v5] {
          let isGood = zeros == 0 || version != .v5 || name == "CONNECT"
          for chunks in [[bytes], bytes.map { [$0] }] {
            var feed = Feed(max: 100, .disconnect, version)
            for chunk in chunks { feed.feed(chunk) }
            #expect(feed.packets == (isGood ? [whole] : []), "\(name) \(zeros)")
            #expect(feed.failure == (isGood ? nil : .malformedPacket), "\(name) \(zeros)")
          }
        }
      }
    }
    for version in [nil, ProtocolVersion.v311, .v5] {
      var feed = Feed(max: 100, .disconnect, version)
      feed.feed([0x30, 0x84, 0x80, 0x80, 0x80, 0x00])  // a fifth byte
      #expect(feed.failure == .malformedPacket)
    }
  }

  // MARK: Resynchronising

  /// Bytes that start no packet, in front of one.
  @Test func garbageIsSkippedAndCounted() {
    let starts = (0...255).filter { first in
      if case .failure = modelHeader([UInt8(first)], max: 100, .v5) { return true }
      return false
    }.map { UInt8($0) }
    var random = SeededGenerator(seed: 0x5E)
    for count in 0..<300 {
      var feed = Feed(max: 100, .resync)
      let garbage = (0..<count).map { _ in starts[random.below(starts.count)] }
      var rest = (garbage + packet(0x30, string("a"), [1]))[...]
      while !rest.isEmpty {
        let size = min(rest.count, 1 + random.below(7))
        feed.feed(Array(rest.prefix(size)))
        rest = rest.dropFirst(size)
      }
      #expect(feed.packets == [packet(0x30, string("a"), [1])])
      #expect(feed.framer.skippedByteCount == UInt32(count))
    }
  }

  /// A candidate that fails late gives its bytes back: a packet may start inside of it.
  @Test func bytesOfAFailedCandidateAreLookedAtAgain() {
    let streams: [[UInt8]] = [
      [0x30, 0xC0, 0x00], [0x30, 0x80, 0xE0, 0x00], [0x30, 0x80, 0x80, 0xD0, 0x00], [0x40, 0xC0, 0x00],
      [0x30, 0x80, 0x80, 0x80, 0xC0, 0x00],
    ]
    for stream in streams {
      for size in 1...5 {
        var feed = Feed(max: 100, .resync)
        var rest = stream[...]
        while !rest.isEmpty {
          feed.feed(Array(rest.prefix(size)))
          rest = rest.dropFirst(size)
        }
        let expected = model(stream, max: 100, .resync)
        #expect(feed.packets == expected.packets)
        #expect(feed.framer.skippedByteCount == UInt32(expected.skipped))
      }
    }
  }

  /// Streams of packets, damaged packets and noise, in random pieces, against the model.
  @Test(arguments: [FramerPolicy.disconnect, .resync]) func againstAModel(_ policy: FramerPolicy) {
    var random = SeededGenerator(seed: policy == .resync ? 71 : 70)
    let plausible: [UInt8] = [0x10, 0x20, 0x30, 0x32, 0x40, 0x62, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0]
    var skipped = 0
    for _ in 0..<5_000 {
      var stream: [UInt8] = []
      for _ in 0..<(1 + random.below(6)) {
        switch random.below(policy == .resync ? 4 : 8) {
        case 0: stream += random.bytes(random.below(12))
        case 1: stream += (0..<random.below(8)).map { _ in random.below(2) == 0 ? 0x80 : plausible[random.below(14)] }
        case 2:
          var damaged = goodStream[random.below(goodStream.count)]
          damaged[random.below(damaged.count)] = random.byte()
          stream += damaged.prefix(1 + random.below(damaged.count))
        default: stream += goodStream[random.below(goodStream.count)]
        }
      }
      let max = [2, 5, 20, 100, 1_000][random.below(5)]
      let version = [nil, ProtocolVersion.v311, .v5][random.below(3)]
      var feed = Feed(max: max, policy, version)
      var rest = stream[...]
      while !rest.isEmpty, feed.failure == nil {
        let size = min(rest.count, 1 + random.below(random.below(3) == 0 ? 60 : 6))
        feed.feed(Array(rest.prefix(size)))
        rest = rest.dropFirst(size)
      }
      let expected = model(stream, max: max, policy, version)
      if feed.packets != expected.packets || feed.failure != expected.failure
        || feed.framer.skippedByteCount != UInt32(expected.skipped)
      {
        Issue.record("\(stream.hex) max \(max)")
      }
      skipped += expected.skipped
    }
    #expect((skipped > 0) == (policy == .resync))
  }

  /// 256 KiB of garbage, whole and byte by byte: a framer that goes back over it would not end in time.
  @Test(
    .timeLimit(.minutes(1)),
    arguments: [[0x00], [0x80], [0xFF], [0x30, 0xFF, 0xFF, 0xFF], [0x30, 0x80, 0x80, 0x80], [0x82]] as [[UInt8]])
  func garbageTakesLinearTime(_ pattern: [UInt8]) {
    let byteCount = 1 << 18
    let garbage = [UInt8]((0..<byteCount).map { pattern[$0 % pattern.count] })
    for chunkByteCount in [byteCount, 1] {
      withLent(garbage) { garbage in
        var framer = PacketFramer(packetBytesMax: byteCount, policy: .resync)
        var start = 0
        while start < byteCount {
          var input = garbage[start..<(start + chunkByteCount)]
          guard case .needsInput = framer.next(&input), input.isEmpty else {
            Issue.record("a packet in garbage")
            return
          }
          start += chunkByteCount
        }
        #expect(byteCount - Int(framer.skippedByteCount) < 5)
      }
    }
  }
}

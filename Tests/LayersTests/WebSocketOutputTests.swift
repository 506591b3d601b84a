import Bounded
import Layers
import Testing

/// A connection's writes to a transport that takes as many bytes as it likes.
private struct Writes {
  var output = WebSocketOutput()
  /// MQTT's bytes that wait.
  var outbox: [UInt8] = []
  var wire: [UInt8] = []

  /// One write of which the transport takes `count` bytes at most. False: there was nothing to write.
  mutating func write(taking count: Int) -> Bool {
    var payloadCount = 0
    let front = written(capacity: WebSocketOutput.frontByteCountMax) {
      payloadCount = output.front(payloadByteCount: outbox.count, into: &$0)
    }!
    let all = front + outbox[..<payloadCount]
    if all.isEmpty { return false }
    let taken = min(count, all.count)
    wire += all[..<taken]
    let sent = output.sent(taken, payloadByteCount: payloadCount)
    #expect(sent == max(0, taken - front.count))
    outbox.removeFirst(sent)
    return true
  }

  mutating func writeAll(taking count: Int = .max) { while write(taking: count) {} }
}

/// A server's frames, read off a whole stream: opcode and payload of each; nil: it is cut or wrong.
private func serverFrames(_ stream: [UInt8]) -> [(opcode: UInt8, payload: [UInt8])]? {
  var frames: [(UInt8, [UInt8])] = []
  var rest = stream[...]
  while let first = rest.popFirst() {
    guard first & 0xF0 == 0x80, let short = rest.popFirst(), short < 127 else { return nil }
    var count = Int(short)
    if short == 126 {
      guard rest.count >= 2 else { return nil }
      count = Int(rest.popFirst()!) * 256 + Int(rest.popFirst()!)
      guard count > 125 else { return nil }
    }
    guard rest.count >= count else { return nil }
    frames.append((first & 0x0F, Array(rest.prefix(count))))
    rest = rest.dropFirst(count)
  }
  return frames
}

@Suite("Writes of a WebSocket connection") struct WebSocketOutputTests {
  /// Every length around the borders of headers, with a transport that takes few bytes at a time.
  @Test(arguments: [1, 2, 124, 125, 126, 127, 255, 256, 1000, 65_534, 65_535, 65_536, 70_000, 200_000])
  func payloadComesOutAsItWent(_ count: Int) {
    let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    for taken in [1, 2, 3, 4, 5, 1000, 65_539, Int.max] where taken > 5 || count < 2000 {
      var writes = Writes()
      writes.outbox = payload
      writes.writeAll(taking: taken)
      let frames = serverFrames(writes.wire)
      #expect(frames?.allSatisfy { $0.opcode == 2 && !$0.payload.isEmpty } == true)
      #expect(frames?.flatMap { $0.payload } == payload)
      #expect(frames?.count == (count + 65_534) / 65_535)
      #expect(writes.output.isAtBorder && writes.output.isEmpty)
    }
  }

  /// A control frame waits for the border, wherever the transport stops.
  @Test func aPongDoesNotCutAFrame() {
    let payload = [UInt8](repeating: 7, count: 130)
    for stop in 0...140 {
      var writes = Writes()
      writes.outbox = payload
      if stop > 0 { _ = writes.write(taking: stop) }
      withLent([1, 2, 3]) { writes.output.pong($0) }
      writes.outbox += [9]  // too late for the frame that is under way
      writes.writeAll(taking: 3)
      let frames = serverFrames(writes.wire)
      check(frames?.filter { $0.opcode == 10 }.map { $0.payload } == [[1, 2, 3]], "stopped at \(stop)")
      check(frames?.filter { $0.opcode == 2 }.flatMap { $0.payload } == payload + [9], "stopped at \(stop)")
    }
  }

  /// Only the last ping of those that wait is answered; one whose pong has begun is finished.
  @Test func theLastPingIsAnswered() {
    let long = [UInt8](repeating: 1, count: 125)
    for begun in 0...127 {
      var writes = Writes()
      withLent(long) { writes.output.pong($0) }
      if begun > 0 { _ = writes.write(taking: begun) }
      for count in [0, 125] {
        withLent([UInt8](repeating: 2, count: count)) { writes.output.pong($0) }
      }
      writes.output.close(.normal)
      writes.writeAll(taking: 1)
      let frames = serverFrames(writes.wire)
      let expected = (begun > 0 ? [long] : []) + [[UInt8](repeating: 2, count: 125), [3, 0xE8]]
      check(frames?.map { $0.payload } == expected, "\(begun) bytes were taken")
    }
  }

  /// The answer, a pong and a close fit even if nothing is taken, and no frame follows the close.
  @Test func nothingFollowsAClose() {
    var writes = Writes()
    let answer = [UInt8](repeating: 0x41, count: UpgradeRequest.answerByteCountMax)
    withLent(answer) { writes.output.answer($0) }
    withLent([UInt8](repeating: 5, count: 125)) { writes.output.pong($0) }
    writes.output.close(nil)
    writes.output.close(.protocolError)
    withLent([1]) { writes.output.pong($0) }
    writes.outbox = [1, 2, 3]
    writes.writeAll(taking: 50)
    #expect(Array(writes.wire.prefix(answer.count)) == answer)
    let frames = serverFrames(Array(writes.wire.dropFirst(answer.count)))
    #expect(frames?.map { $0.opcode } == [10, 8])
    #expect(frames?.last?.payload == [])
    #expect(writes.outbox == [1, 2, 3])
    #expect(writes.output.isEmpty && writes.output.isClosing)
    #expect(UpgradeRefusal.answerByteCountMax <= WebSocketOutput.ownByteCountMax)
  }

  @Test func allZerosIsTheStart() {
    withUnsafeBytes(of: WebSocketOutput()) { #expect($0.allSatisfy { $0 == 0 }) }
  }

  /// Payload, pings and a close at random times, taken in random pieces.
  @Test(arguments: 0..<4) func againstAModel(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(0x0D75 + seed))
    for _ in 0..<200 {
      var writes = Writes()
      var payload: [UInt8] = []
      var pings: [[UInt8]] = []
      for _ in 0..<1 + random.below(40) {
        switch random.below(4) {
        case 0:
          let more = random.bytes([1, 125, 126, 400][random.below(4)])
          payload += more
          writes.outbox += more
        case 1:
          let ping = random.bytes(random.below(126))
          pings.append(ping)
          withLent(ping) { writes.output.pong($0) }
        default:
          _ = writes.write(taking: [1, 2, 3, 100, 1000][random.below(5)])
        }
      }
      writes.writeAll(taking: 1 + random.below(300))
      let frames = serverFrames(writes.wire)
      check(frames?.filter { $0.opcode == 2 }.flatMap { $0.payload } == payload, "payload")
      let pongs = frames?.filter { $0.opcode == 10 }.map { $0.payload } ?? []
      check(pongs.last == pings.last, "the last ping")
      var left = pings[...]
      for pong in pongs {
        guard let place = left.firstIndex(of: pong) else { return check(false, "a pong without its ping") }
        left = left[(place + 1)...]
      }
    }
  }
}

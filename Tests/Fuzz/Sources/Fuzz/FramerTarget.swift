import Bounded
import MQTTWire

/// Any bytes, cut anywhere, under both policies, of each version: the packets are those of a naive model, whatever the cuts, and
/// every byte is part of a packet, skipped, or held as the start of one.
///
/// Input: options, packetBytesMax, the number of cuts, the cuts (taken round and round), the stream.
func fuzzFramer(_ input: inout Input) {
  let options = input.byte()
  let policy: FramerPolicy = options & 1 == 0 ? .disconnect : .resync
  let version: ProtocolVersion? = [.v5, nil, .v311, .v5][Int(options >> 1 & 3)]
  let packetBytesMax = [2, 16, 100, 1000, 70_000, 3_000_000][input.below(6)]
  let cuts = input.take(input.below(9)).map { Int($0) }
  let stream = input.rest()

  let expected = FramerModel(stream, policy, packetBytesMax, version)
  for cuts in [[stream.count], [stream.count < 200 ? 1 : 61], cuts] {
    let seen = FramerRun(stream, cuts: cuts, policy, packetBytesMax, version)
    check(seen.packets == expected.packets, "packets \(seen.packets) instead of \(expected.packets)")
    check(seen.hasFailed == expected.hasFailed, "failure")
    if expected.hasFailed { continue }
    check(seen.skipped == expected.skipped, "\(seen.skipped) skipped instead of \(expected.skipped)")
    check(seen.isPartial == (expected.heldCount > 0), "partial")
    let counted = expected.skipped + expected.packets.reduce(0) { $0 + $1.byteCount } + expected.heldCount
    check(counted == stream.count, "\(counted) bytes of \(stream.count)")
  }
}

/// Where a packet stands in the stream and what is in it.
struct FramedPacket: Equatable {
  let first: UInt8
  let byteCount: Int
  let body: [UInt8]
}

/// The framer with a stream cut into pieces, each in memory of exactly its size.
private struct FramerRun {
  var packets: [FramedPacket] = []
  var hasFailed = false
  var skipped = 0
  var isPartial = false

  init(
    _ stream: [UInt8], cuts: [Int], _ policy: FramerPolicy, _ packetBytesMax: Int, _ version: ProtocolVersion?
  ) {
    var framer = PacketFramer(packetBytesMax: packetBytesMax, policy: policy)
    framer.version = version
    var parts: [UInt8] = []
    var start = 0
    var turn = 0
    while start < stream.count, !hasFailed {
      let end = min(stream.count, start + (cuts.isEmpty ? stream.count : cuts[turn % cuts.count]))
      turn += 1
      let size = turn > stream.count ? stream.count : end  // cuts of nothing but 0
      withLent(Array(stream[start..<size])) { piece in
        var piece = piece
        var isDone = false
        while !isDone {
          switch framer.next(&piece) {
          case .packet(let header, let body):
            check(parts.isEmpty, "parts of another packet")
            add(header, body.array())
          case .part(let part):
            check(!part.isEmpty, "an empty part")
            parts += part.array()
            check(parts.count <= packetBytesMax, "more parts than a packet has")
          case .assembled(let header, let last):
            check(!last.isEmpty, "an empty part")
            parts += last.array()
            check(parts.count == header.remainingLength, "parts of another length")
            add(header, parts)
            parts = []
          case .needsInput:
            check(piece.isEmpty, "input is left")
            isDone = true
          case .failure:
            hasFailed = true
            isDone = true
          }
        }
      }
      start = size
    }
    skipped = Int(framer.skippedByteCount)
    isPartial = framer.isPartial
    check(parts.isEmpty || isPartial, "parts are left")
  }

  private mutating func add(_ header: FixedHeader, _ body: [UInt8]) {
    packets.append(
      FramedPacket(first: header.type.rawValue << 4 | header.flags, byteCount: header.packetByteCount, body: body))
  }
}

/// §2.1 read off the whole stream, byte by byte.
private struct FramerModel {
  var packets: [FramedPacket] = []
  var hasFailed = false
  var skipped = 0
  var heldCount = 0

  init(_ stream: [UInt8], _ policy: FramerPolicy, _ packetBytesMax: Int, _ version: ProtocolVersion?) {
    var start = 0
    while start < stream.count {
      switch FramerModel.header(stream[start...], packetBytesMax, version) {
      case .bad:
        if policy == .disconnect {
          hasFailed = true
          return
        }
        skipped += 1
        start += 1
      case .incomplete:
        heldCount = stream.count - start
        return
      case .good(let headerByteCount, let length):
        let body = start + headerByteCount
        guard body + length <= stream.count else {
          heldCount = stream.count - start
          return
        }
        packets.append(
          FramedPacket(
            first: stream[start], byteCount: headerByteCount + length, body: Array(stream[body..<(body + length)])))
        start = body + length
      }
    }
  }

  private enum Header {
    case bad
    case incomplete
    case good(headerByteCount: Int, length: Int)
  }

  private static func header(
    _ bytes: ArraySlice<UInt8>, _ packetBytesMax: Int, _ version: ProtocolVersion?
  ) -> Header {
    let type = bytes.first! >> 4
    let flags = bytes.first! & 15
    switch type {
    case 0: return .bad
    case 3: if flags & 6 == 6 || flags & 0b1110 == 0b1000 { return .bad }
    case 6, 8, 10: if flags != 2 { return .bad }
    default: if flags != 0 { return .bad }
    }
    let digits = bytes.dropFirst().prefix(4)
    guard let last = digits.firstIndex(where: { $0 < 128 }) else { return digits.count == 4 ? .bad : .incomplete }
    let used = digits[digits.startIndex...last]
    if used.count > 1, used.last == 0, version == .v5, type != 1 { return .bad }
    let length = used.reversed().reduce(0) { $0 * 128 + Int($1 & 127) }
    let shortest: [UInt8: Int] = [1: 12, 2: 2, 3: flags & 6 == 0 ? 2 : 4, 9: 3, 12: 0, 13: 0, 14: 0, 15: 0]
    if length < shortest[type] ?? 2 { return .bad }
    if length > 0, type == 12 || type == 13 { return .bad }
    if 1 + used.count + length > packetBytesMax { return .bad }
    return .good(headerByteCount: 1 + used.count, length: length)
  }
}

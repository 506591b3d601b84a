import Bounded
import Layers

/// What a stream of frames has brought. Payload that follows payload is one event.
enum WebSocketEvent: Equatable {
  case payload([UInt8])
  case ping([UInt8])
  case pong
  case close(UInt16?)
  case failure(UInt16)
}

extension [WebSocketEvent] {
  mutating func add(payload: [UInt8]) {
    if case .payload(let before) = last {
      self[count - 1] = .payload(before + payload)
    } else if !payload.isEmpty {
      append(.payload(payload))
    }
  }
}

/// A framer and its caller: feeds pieces in memory of exactly their size, keeps what the framer leaves, and notes what
/// comes out.
struct WebSocketFeed {
  var framer = WebSocketFramer()
  var events: [WebSocketEvent] = []
  var kept: [UInt8] = []
  /// Steps of frames and payload.
  var stepCount = 0
  /// What the framer may never do.
  var problem: String?

  mutating func feed(_ piece: [UInt8]) {
    let all = kept + piece
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(all.count, 1), alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: all)
    var input = MutableBytes(memory).first(all.count)
    while true {
      let before = input.count
      let step = framer.next(&input)
      if case .needsInput(let byteCount) = step {
        if byteCount <= input.count { problem = "\(byteCount) bytes wanted of \(input.count)" }
        if input.count > WebSocketFramer.keptByteCountMax { problem = "\(input.count) bytes kept" }
        break
      }
      stepCount += 1
      if case .failure(let code) = step {
        if events.last != .failure(code.rawValue) { events.append(.failure(code.rawValue)) }
        break
      }
      if input.count >= before { problem = "nothing consumed" }
      switch step {
      case .payload(let bytes): events.add(payload: bytes.array())
      case .ping(let bytes): events.append(.ping(bytes.array()))
      case .pong: events.append(.pong)
      case .close(let code): events.append(.close(code?.rawValue))
      case .needsInput, .failure: break
      }
    }
    kept = input.bytes.array()
  }

  /// A whole stream in pieces of these sizes, taken round and round.
  static func run(_ stream: [UInt8], sizes: [Int]) -> WebSocketFeed {
    var feed = WebSocketFeed()
    var rest = stream[...]
    var turn = 0
    while !rest.isEmpty, feed.problem == nil {
      let size = max(1, sizes[turn % sizes.count])
      turn += 1
      feed.feed(Array(rest.prefix(size)))
      rest = rest.dropFirst(size)
    }
    return feed
  }
}

/// RFC 6455 §5 read off a whole stream, frame by frame.
func modelEvents(_ stream: [UInt8]) -> [WebSocketEvent] {
  var events: [WebSocketEvent] = []
  var rest = stream[...]
  var isInMessage = false
  while let first = rest.first {
    let opcode = first % 16
    let isFinal = first >= 128
    let isControl = opcode >= 8
    if first / 16 % 8 != 0 || (3...7).contains(opcode) || opcode > 10 { return events + [.failure(1002)] }
    if isControl, !isFinal { return events + [.failure(1002)] }
    if !isControl, (opcode == 0) != isInMessage { return events + [.failure(1002)] }
    if opcode == 1 { return events + [.failure(1003)] }

    guard let second = rest.dropFirst().first else { return events }
    if second < 128 || isControl && second > 128 + 125 { return events + [.failure(1002)] }
    let extra = second == 254 ? 2 : second == 255 ? 8 : 0
    let header = rest.prefix(2 + extra + 4)
    guard header.count == 6 + extra else { return events }
    var length = Int(second) - 128
    if extra > 0 {
      let number = header.dropFirst(2).prefix(extra)
      if extra == 8, number.prefix(4).contains(where: { $0 != 0 }) { return events + [.failure(1002)] }
      length = number.reduce(0) { $0 * 256 + Int($1) }
      if length < (extra == 2 ? 126 : 65_536) { return events + [.failure(1002)] }
    }
    let key = Array(header.suffix(4))
    let payload = Array(rest.dropFirst(header.count).prefix(length)).enumerated().map { $1 ^ key[$0 % 4] }
    rest = rest.dropFirst(header.count + payload.count)
    if isControl {
      guard payload.count == length else { return events }
      switch opcode {
      case 9: events.append(.ping(payload))
      case 10: events.append(.pong)
      default: return events + [modelClose(payload)]
      }
    } else {
      isInMessage = !isFinal
      events.add(payload: payload)
    }
  }
  return events
}

private func modelClose(_ payload: [UInt8]) -> WebSocketEvent {
  if payload.isEmpty { return .close(nil) }
  if payload.count == 1 { return .failure(1002) }
  let code = Int(payload[0]) * 256 + Int(payload[1])
  let registered = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
  return registered.contains(code) || (3000...4999).contains(code) ? .close(UInt16(code)) : .failure(1002)
}

/// A client's frame.
func frame(
  _ opcode: UInt8, _ payload: [UInt8], isFinal: Bool = true, key: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]
) -> [UInt8] {
  let count = payload.count
  var bytes: [UInt8] = [isFinal ? 0x80 | opcode : opcode]
  if count < 126 {
    bytes.append(0x80 | UInt8(count))
  } else if count < 65_536 {
    bytes.append(0xFE)
    bytes += bigEndian(count, byteCount: 2)
  } else {
    bytes.append(0xFF)
    bytes += bigEndian(count, byteCount: 8)
  }
  return bytes + key + payload.enumerated().map { $1 ^ key[$0 % 4] }
}

func bigEndian(_ value: Int, byteCount: Int) -> [UInt8] {
  (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> (8 * (byteCount - 1 - $0))) }
}

public import Bounded

/// Finds a client's packets on a line that loses, flips and inserts bytes, as a UART does. Raw MQTT has no checksum, so
/// that a packet arrived whole is shown by its neighbours:
///
///   quiet │ CONNECT │ quiet │ PUBLISH │ PUBLISH │ PINGREQ │ quiet
///                   ▲                 ▲         ▲         ▲
///                   a packet is handed over when the line is quiet right behind it, or when what follows right
///                   behind it is a packet, too
///
/// A *burst* is what comes between two gaps. A packet must be one that a client may send, and must decode. Where a burst
/// holds anything else, nothing more of it is handed over: not the packet before, which a lost or inserted byte may
/// have shifted, and nothing behind, since bytes inside of a message can look like a packet. All of that is counted as
/// skipped. Whoever sent it does so again, as nothing of it was acknowledged. A client that never pauses would wait for
/// ever, so after `patience` skipped bytes a packet is looked for byte by byte; there it takes another packet right behind it.
///
/// The caller says when the line is quiet, and has no clock in here.
///
/// Invariant: 0 <= start <= end <= count <= capacity; start..<end is a packet that waits for what follows it, or empty.
public struct BurstFramer: ~Copyable {
  private enum Phase: BitwiseCopyable {
    /// Every byte since the last gap was a packet's, as far as one can see.
    case exact
    /// Skips all up to the next gap, or up to `patience`.
    case doubtful
    /// Skips byte by byte up to the next packet with another one behind it.
    case searching
  }

  /// Bytes of a doubtful burst after which a packet is looked for in it: a tenth of a second at 115200 baud.
  public static var patience: Int { 1024 }

  private let memory: Scratch
  private let packetBytesMax: Int
  private var marks = MarkReader()
  private var count = 0
  private var start = 0
  private var end = 0
  private var phase = Phase.exact
  private var isQuiet = false
  private var doubtfulByteCount = 0
  /// The version of the CONNECT that was handed over last; nil: nothing but CONNECT is awaited.
  private var version: ProtocolVersion?
  /// The same, with the packet that waits.
  private var versionAhead: ProtocolVersion?
  /// Bytes that were handed over in no packet.
  public private(set) var skippedByteCount: UInt64 = 0

  /// - Parameter packetBytesMax: largest packet, 2 or more. Two of them have room.
  public init(packetBytesMax: Int, name: StaticString, in reservation: inout Reservation) {
    precondition(packetBytesMax >= 2)
    memory = Scratch(byteCount: 2 * packetBytesMax, name: name, in: &reservation)
    self.packetBytesMax = packetBytesMax
  }

  /// Whether a gap would change anything.
  public var awaitsQuiet: Bool { count > start || phase != .exact }

  /// Takes bytes from the line, with the kernel's marks (`MarkReader`), as many as there is room for; `input` is advanced over them. `next` must have answered nil
  /// since the last call, so there is always room for some.
  public mutating func receive(_ input: inout Bytes) {
    isQuiet = false
    let room = makeRoom()
    precondition(room > 0)
    let bytes = input.first(min(room, input.count))
    input = input.from(bytes.count)
    var index = 0
    while index < bytes.count {
      switch marks.next(bytes[index]) {
      case .nothing: break
      case .byte(let byte): append(byte)
      case .error: doubt(skipping: 1)
      }
      index &+= 1
    }
  }

  /// The line has been quiet for long enough that what comes next begins a packet. Call `next` afterwards.
  public mutating func quiet() {
    isQuiet = true
    marks = MarkReader()
  }

  /// The line was opened anew: what it had begun is not going on, and a client begins with CONNECT.
  public mutating func reset() {
    skip(count - start)
    begin()
    marks = MarkReader()
    version = nil
    versionAhead = nil
  }

  /// Counts a packet that was handed over and that nobody wanted.
  public mutating func countUnwanted(_ packet: Bytes) { skippedByteCount &+= UInt64(packet.count) }

  /// The next packet, whole; valid until the next call of `receive`.
  public mutating func next() -> Bytes? {
    while true {
      if phase == .doubtful {
        guard isQuiet else { return nil }
        begin()
        return nil
      }
      switch look(at: end) {
      case .packet(let byteCount, let connectVersion):
        let packet = written[start..<end]
        let isFirst = packet.isEmpty
        start = end
        end += byteCount
        version = versionAhead
        if let connectVersion { versionAhead = connectVersion }
        if isFirst { continue }
        phase = .exact
        return packet
      case .incomplete:
        guard isQuiet else { return nil }
        // A packet that ends at the gap; while searching that shows nothing.
        let packet = written[start..<end]
        guard end == count, phase == .exact else {
          doubt(skipping: 0)
          continue
        }
        version = versionAhead
        begin()
        return packet.isEmpty ? nil : packet
      case .bad:
        if phase == .searching { skipOne() } else { doubt(skipping: 0) }
      }
    }
  }

  // MARK: Bytes

  private var written: Bytes { Bytes(UnsafeRawBufferPointer(memory.buffer)).first(count) }

  private mutating func append(_ byte: UInt8) {
    guard phase != .doubtful else { return countDoubtful(1) }
    memory.buffer[count] = byte
    count += 1
  }

  /// Moves what is held to the start; how many bytes have room behind it.
  private mutating func makeRoom() -> Int {
    if start > 0 {
      memory.buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory.buffer[start..<count]))
      count -= start
      end -= start
      start = 0
    }
    return memory.capacity - count
  }

  private mutating func skip(_ byteCount: Int) { skippedByteCount &+= UInt64(byteCount) }

  /// Waits for packets with nothing held.
  private mutating func begin() {
    count = 0
    start = 0
    end = 0
    phase = .exact
    doubtfulByteCount = 0
  }

  /// Nothing more of this burst is handed over.
  private mutating func doubt(skipping more: Int) {
    let held = count - start
    begin()
    phase = .doubtful
    versionAhead = version
    countDoubtful(held + more)
  }

  private mutating func countDoubtful(_ byteCount: Int) {
    skip(byteCount)
    doubtfulByteCount += byteCount
    if doubtfulByteCount >= BurstFramer.patience, !isQuiet { phase = .searching }
  }

  /// A candidate that was none, and its first byte with it; the others are looked at again.
  private mutating func skipOne() {
    skip(1)
    start += 1
    end = start
    versionAhead = version
  }

  // MARK: Packets

  private enum Look {
    /// Its bytes, and a CONNECT's version.
    case packet(Int, ProtocolVersion?)
    case incomplete
    case bad
  }

  private func look(at place: Int) -> Look {
    let rest = written.from(place)
    var word: UInt64 = 0
    let headCount = min(5, rest.count)
    guard headCount > 0 else { return .incomplete }
    var index = 0
    while index < headCount {
      word |= UInt64(rest[index]) &<< UInt64(index &* 8)
      index &+= 1
    }
    switch FixedHeader.judge(word, count: headCount, packetBytesMax: packetBytesMax, version: versionAhead) {
    case .incomplete:
      // What cannot begin a packet is known by its first byte.
      guard let type = PacketType(rawValue: rest[0] >> 4), isAwaited(type) else { return .bad }
      return .incomplete
    case .bad:
      return .bad
    case .complete(let header):
      guard isAwaited(header.type) else { return .bad }
      guard rest.count >= header.packetByteCount else { return .incomplete }
      let body = rest[header.headerByteCount..<header.packetByteCount]
      if header.type == .connect {
        guard let connect = try? Connect(body: body, flags: header.flags, isShortest: header.isShortest) else {
          return .bad
        }
        return .packet(header.packetByteCount, connect.version)
      }
      return header.decodes(body, version: versionAhead!) ? .packet(header.packetByteCount, nil) : .bad
    }
  }

  /// Whether a client may send it now.
  private func isAwaited(_ type: PacketType) -> Bool {
    switch type {
    case .connect: true
    case .publish, .pubAck, .pubRec, .pubRel, .pubComp, .subscribe, .unsubscribe, .pingReq, .disconnect:
      versionAhead != nil
    case .auth: versionAhead == .v5
    case .connAck, .subAck, .unsubAck, .pingResp: false
    }
  }
}

extension FixedHeader {
  /// Whether these bytes are the body of such a packet, from a client and not a CONNECT.
  func decodes(_ body: Bytes, version: ProtocolVersion) -> Bool {
    do throws(WireError) {
      switch type {
      case .publish: _ = try Publish(body: body, flags: flags, version: version, from: .client)
      case .pubAck, .pubRec, .pubRel, .pubComp: _ = try Ack(type: type, body: body, flags: flags, version: version)
      case .subscribe: _ = try Subscribe(body: body, flags: flags, version: version)
      case .unsubscribe: _ = try Unsubscribe(body: body, flags: flags, version: version)
      case .disconnect: _ = try Disconnect(body: body, flags: flags, version: version)
      case .auth: _ = try Auth(body: body, flags: flags, version: version)
      case .pingReq: return body.isEmpty
      case .connect, .connAck, .subAck, .unsubAck, .pingResp: return false
      }
      return true
    } catch {
      return false
    }
  }
}

/// The kernel's marks of bytes that came with a wrong parity bit or without a stop bit, and of breaks (termios(3),
/// PARMRK)  ┌──────────┬─────────────────┬───────────────────────┐
///          │ any byte │ 0xFF 0xFF: 0xFF │ 0xFF 0x00 byte: wrong │
///          └──────────┴─────────────────┴───────────────────────┘
struct MarkReader: BitwiseCopyable {
  enum Found: Equatable {
    case nothing
    case byte(UInt8)
    case error
  }

  /// 0xFF bytes and zeros of a mark that is under way: 0, 1 or 2.
  private var held: UInt8 = 0

  mutating func next(_ byte: UInt8) -> Found {
    switch held {
    case 0:
      guard byte == 0xFF else { return .byte(byte) }
      held = 1
      return .nothing
    case 1:
      held = byte == 0 ? 2 : 0
      if byte == 0 { return .nothing }
      return byte == 0xFF ? .byte(0xFF) : .error  // no mark of the kernel's
    default:
      held = 0
      return .error
    }
  }
}

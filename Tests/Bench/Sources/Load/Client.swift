import CBench

/// One MQTT 3.1.1 client: what it wants to write, what has come, and whether that was complete and in order.
/// A message's payload begins with its publisher and its number, 32 bits each; numbers begin at 0.
final class Client {
  let fd: Int32
  /// What its publishers are called in payloads: `expected` has one number for each.
  private var expected: UnsafeMutablePointer<UInt32>?
  private var publisherCount = 0
  private var payloadBytes = 0

  private var held = Buffer()
  private var out = Buffer()
  private(set) var isOpen = true

  private(set) var connAcks = 0
  private(set) var subAcks = 0
  /// PUBLISH packets that have come.
  private(set) var delivered = 0
  /// PUBACK and PUBCOMP packets that have come: messages whose sending is over.
  private(set) var acknowledged = 0

  private(set) var missing = 0
  private(set) var repeated = 0
  /// Packets that make no sense here: another size, another publisher, an unknown type.
  private(set) var strange = 0

  init(fd: Int32) {
    self.fd = fd
  }

  /// From here on it checks messages of publishers `0..<count`, each of `payloadBytes`.
  func expect(publishers count: Int, payloadBytes: Int) {
    expected = .allocate(capacity: count)
    expected?.initialize(repeating: 0, count: count)
    publisherCount = count
    self.payloadBytes = payloadBytes
  }

  /// Number of the next message of `publisher`: how many have come, and those that went missing before them.
  func next(of publisher: Int) -> UInt32 { expected.map { $0[publisher] } ?? 0 }

  // MARK: Writing

  func write(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { write($0.baseAddress!, $0.count) }
  }

  /// At once if nothing waits, and what the kernel does not take later.
  func write(_ bytes: UnsafeRawPointer, _ count: Int) {
    var written = 0
    if out.count == 0, isOpen { written = max(Int(cbench_write(fd, bytes, Int64(count))), 0) }
    if written < count { out.append(bytes + written, count - written) }
  }

  func flush() {
    guard out.count > 0, isOpen else { return }
    let written = Int(cbench_write(fd, out.bytes, Int64(out.count)))
    if written > 0 { out.drop(written) }
  }

  func close() {
    guard isOpen else { return }
    isOpen = false
    cbench_close(fd)
  }

  // MARK: Reading

  /// Everything the socket has. `space` is lent for it.
  func read(_ space: UnsafeMutableRawPointer, _ capacity: Int) {
    while isOpen {
      if held.count > 0 { space.copyMemory(from: held.bytes, byteCount: held.count) }
      let asked = capacity - held.count
      let got = Int(cbench_read(fd, space + held.count, Int64(asked)))
      if got == 0 || (got < 0 && got != -11) { return close() }  // 11: EAGAIN
      guard got > 0 else { return }
      let count = held.count + got
      let taken = take(UnsafePointer(space.assumingMemoryBound(to: UInt8.self)), count)
      held.drop(held.count)
      if taken < count { held.append(space + taken, count - taken) }
      if got < asked { return }
    }
  }

  /// Bytes taken: whole packets.
  private func take(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
    var at = 0
    while count - at >= 2 {
      var length = Int(bytes[at + 1] & 127)
      var header = 2
      while bytes[at + header - 1] & 128 != 0 {
        if at + header == count { return at }
        length |= Int(bytes[at + header] & 127) << (7 * (header - 1))
        header += 1
      }
      if count - at < header + length { break }
      let body = bytes + at + header
      let first = bytes[at]
      switch first >> 4 {
      case 3: message(body, length, qos: first >> 1 & 3)
      case 4, 7: acknowledged += 1
      case 5: answer(0x62, body[0], body[1])
      case 6: answer(0x70, body[0], body[1])
      case 2:
        connAcks += 1
        if body[1] != 0 { strange += 1 }
      case 9:
        subAcks += 1
        for index in 2..<length where body[index] > 2 { strange += 1 }
      default: strange += 1
      }
      at += header + length
    }
    return at
  }

  private func message(_ body: UnsafePointer<UInt8>, _ length: Int, qos: UInt8) {
    delivered += 1
    var payload = 2 + Int(body[0]) << 8 + Int(body[1])
    if qos > 0 {
      answer(qos == 1 ? 0x40 : 0x50, body[payload], body[payload + 1])
      payload += 2
    }
    guard let expected else { return }
    let numbers = UnsafeRawPointer(body + payload)
    guard length - payload == payloadBytes else {
      strange += 1
      return
    }
    let publisher = Int(numbers.loadUnaligned(as: UInt32.self))
    let number = numbers.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
    guard publisher < publisherCount else {
      strange += 1
      return
    }
    let next = expected[publisher]
    if number == next {
      expected[publisher] = next &+ 1
    } else if number < next {
      repeated += 1  // or late, after its successor
    } else {
      missing += Int(number - next)
      expected[publisher] = number &+ 1
    }
  }

  private func answer(_ type: UInt8, _ high: UInt8, _ low: UInt8) {
    out.append(type, 2, high, low)
  }
}

/// Bytes at the front taken, at the end added.
/// Invariant: 0 <= start <= end <= capacity.
struct Buffer {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var start = 0
  private var end = 0

  var count: Int { end - start }
  var bytes: UnsafeRawPointer { UnsafeRawPointer(base! + start) }

  mutating func append(_ bytes: UnsafeRawPointer, _ count: Int) {
    reserve(count)
    (base! + end).copyMemory(from: bytes, byteCount: count)
    end += count
  }

  mutating func append(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    reserve(4)
    let packed = UInt32(a) | UInt32(b) << 8 | UInt32(c) << 16 | UInt32(d) << 24
    (base! + end).storeBytes(of: packed.littleEndian, as: UInt32.self)
    end += 4
  }

  mutating func drop(_ count: Int) {
    start += count
    if start == end {
      start = 0
      end = 0
    }
  }

  private mutating func reserve(_ count: Int) {
    if end + count <= capacity { return }
    let larger = max(256, 2 * (self.count + count))
    let new = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    let kept = self.count
    if let base {
      new.copyMemory(from: base + start, byteCount: kept)
      base.deallocate()
    }
    base = new
    capacity = larger
    start = 0
    end = kept
  }
}

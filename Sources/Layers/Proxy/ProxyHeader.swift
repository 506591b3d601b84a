public import Bounded

/// The header by which a proxy says whose connection it passes on (HAProxy's PROXY protocol, versions 1 and 2).
public struct ProxyHeader: BitwiseCopyable, Sendable {
  public enum Outcome {
    case incomplete
    case refused
    case complete(ProxyHeader)
  }

  /// Of version 1, with the end of its line (§2.1).
  public static var textByteCountMax: Int { 107 }
  /// Of version 2. A proxy may fill 64 KiB; what a few certificates' fields take is taken.
  public static var byteCountMax: Int { 2048 }

  /// The bytes after these are the client's.
  public let byteCount: Int
  /// Where the client is; nil: the proxy speaks for itself, does not know, or was reached by a socket without an address.
  public let source: NumericAddress?
  /// Of `source`; else 0.
  public let sourcePort: UInt16

  /// Parses the header at the start of `bytes`. What is wrong is refused as soon as it is there.
  @_optimize(size) public static func parse(_ bytes: Bytes) -> Outcome {
    switch FirstBytes.judge(bytes) {
    case nil: .incomplete
    case .proxyV1: parseText(bytes)
    case .proxyV2: parseBinary(bytes)
    case .tls, .http, .mqtt, .other: .refused
    }
  }

  // MARK: Version 1

  /// `PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883`, CR and LF; of `PROXY UNKNOWN` the rest is ignored.
  @_optimize(size) private static func parseText(_ bytes: Bytes) -> Outcome {
    let limit = min(bytes.count, textByteCountMax)
    let start = FirstBytes.proxyV1Start.utf8CodeUnitCount
    var end = start
    while end < limit, bytes[end] != 0x0D, bytes[end] != 0x0A { end += 1 }
    guard end + 1 < limit else {
      let isOpen = bytes.count < textByteCountMax && (end == limit || bytes[end] == 0x0D)
      return isOpen ? .incomplete : .refused
    }
    guard bytes[end] == 0x0D, bytes[end + 1] == 0x0A else { return .refused }

    var words = WordReader(bytes[start..<end])
    let family = words.next()
    if family == Bytes("UNKNOWN") {
      return .complete(ProxyHeader(byteCount: end + 2, source: nil, sourcePort: 0))
    }
    let isIPv6 = family == Bytes("TCP6")
    guard isIPv6 || family == Bytes("TCP4"), let source = NumericAddress(words.next(), isIPv6: isIPv6),
      NumericAddress(words.next(), isIPv6: isIPv6) != nil, let port = readPort(words.next()),
      readPort(words.next()) != nil,
      words.isAtEnd
    else { return .refused }
    return .complete(ProxyHeader(byteCount: end + 2, source: source, sourcePort: port))
  }

  /// 0...65535 without leading zeros.
  private static func readPort(_ text: Bytes) -> UInt16? {
    guard (1...5).contains(text.count), text[0] != 0x30 || text.count == 1 else { return nil }
    var value = 0
    for index in 0..<text.count {
      guard (0x30...0x39).contains(text[index]) else { return nil }
      value = value * 10 + Int(text[index] - 0x30)
    }
    return UInt16(exactly: value)
  }

  /// Words with one blank between two; a blank too many is an empty word.
  private struct WordReader {
    private var rest: Bytes
    private(set) var isAtEnd = false

    init(_ text: Bytes) { rest = text }

    /// Empty at the end, too.
    mutating func next() -> Bytes {
      let blank = rest.firstIndex(of: 0x20)
      let word = rest.first(blank ?? rest.count)
      isAtEnd = blank == nil
      rest = rest.from(blank.map { $0 + 1 } ?? rest.count)
      return word
    }
  }

  // MARK: Version 2

  /// ┌───────────┬────────────────────┬──────────────────────────┬────────────┬───────────┬──────────────────────────┐
  /// │ signature │ version 2, command │ family u4, transport u4  │ length u16 │ addresses │ type u8, length u16, ... │
  /// │ 12 bytes  │ 0 LOCAL, 1 PROXY   │ 0 none, 1 IPv4, 2, 3     │            │           │ any number of them       │
  /// └───────────┴────────────────────┴──────────────────────────┴────────────┴───────────┴──────────────────────────┘
  ///   IPv4: source u32, destination u32, ports u16 u16; IPv6: 16 bytes each, ports; Unix: 108 bytes each
  @_optimize(size) private static func parseBinary(_ bytes: Bytes) -> Outcome {
    guard bytes.count > 12 else { return .incomplete }
    let isLocal = bytes[12] == 0x20
    guard isLocal || bytes[12] == 0x21 else { return .refused }
    guard bytes.count > 13 else { return .incomplete }
    let kind = bytes[13]
    let addressByteCount: Int
    switch kind {
    case 0x00: addressByteCount = 0
    case 0x11: addressByteCount = 12
    case 0x21: addressByteCount = 36
    case 0x31: addressByteCount = 216
    default:  // datagrams, and what is reserved
      guard isLocal else { return .refused }
      addressByteCount = 0
    }
    guard bytes.count >= 16 else { return .incomplete }
    let length = Int(bytes[14]) << 8 | Int(bytes[15])
    let isOpaque = isLocal || kind == 0x00  // of these nothing behind the length means anything (§2.2)
    guard 16 + length <= byteCountMax, isOpaque || length >= addressByteCount else { return .refused }
    guard bytes.count >= 16 + length else { return .incomplete }
    let body = bytes[16..<(16 + length)]
    guard isOpaque || areFields(body.from(addressByteCount)) else { return .refused }
    guard !isOpaque, kind != 0x31 else {
      return .complete(ProxyHeader(byteCount: 16 + length, source: nil, sourcePort: 0))
    }
    let source = NumericAddress(binary: body, isIPv6: kind == 0x21)
    let port = 2 * source.byteCount
    return .complete(
      ProxyHeader(
        byteCount: 16 + length, source: source, sourcePort: UInt16(body[port]) << 8 | UInt16(body[port + 1])))
  }

  /// Whether fields of a type and a length fill these bytes.
  private static func areFields(_ bytes: Bytes) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      guard rest.count >= 3 else { return false }
      let end = 3 + (Int(rest[1]) << 8 | Int(rest[2]))
      guard rest.count >= end else { return false }
      rest = rest.from(end)
    }
    return true
  }
}

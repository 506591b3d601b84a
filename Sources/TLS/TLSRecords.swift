import Bounded

/// Why a connection has failed.
public enum TLSFault: UInt8, Error, BitwiseCopyable, Sendable {
  /// The first bytes are no TLS: plain MQTT or HTTP on the port, for example.
  case notTLS
  /// A record of no known type or version, or without content.
  case badRecord
  /// A record over 16 KiB.
  case recordTooLong
  /// More than `TLSConnection.handshakeBytesMax` before the handshake was done.
  case handshakeTooLong
  /// The client wants another handshake.
  case renegotiation
  /// Too many records without content: empty ones, KeyUpdate, alerts.
  case flood
  /// OpenSSL's verdict on what the peer has sent.
  case violation
  /// The peer has ended it with an alert: it does not trust the certificate, for example.
  case alert
  /// The peer's certificate is missing or refused.
  case certificate
  /// The arena was full.
  case noMemory
}

/// What the bytes that have arrived are.
public enum TLSFraming: BitwiseCopyable, Sendable {
  /// So many bytes at the beginning are whole records, 1 or more.
  case records(byteCount: Int)
  /// The record that begins is incomplete: so many bytes are needed from its beginning on.
  case needs(byteCount: Int)
  case failure(TLSFault)
}

/// Cuts a byte stream into TLS records by their headers. OpenSSL gets whole records only: for 5 bytes of one it would hold
/// 16.7 KiB until the rest comes.
///
///     ┌──────┬─────────────┬────────────┬─────────┐ type: 20 ChangeCipherSpec, 21 alert, 22 handshake, 23 data
///     │ type │ version u16 │ length u16 │ content │ version: 0x0301...0x0304 (RFC 8446, section 5.1)
///     └──────┴─────────────┴────────────┴─────────┘
struct TLSRecords: BitwiseCopyable {
  static var headerBytes: Int { 5 }
  /// 16 KiB, and what TLS 1.2 allows beside it (RFC 5246, section 6.2.3).
  static var contentBytesMax: Int { 16384 + 2048 }

  /// Whether the handshake is done.
  var isOpen = false
  let isServer: Bool
  /// Bytes of records that were taken before the handshake was done.
  private(set) var handshakeByteCount: UInt32 = 0

  init(isServer: Bool) { self.isServer = isServer }

  /// The first record in `input`.
  func first(_ input: Bytes) -> TLSFraming {
    if let fault = judge(input) { return .failure(fault) }
    guard input.count >= TLSRecords.headerBytes else { return .needs(byteCount: TLSRecords.headerBytes) }
    let byteCount = TLSRecords.headerBytes + TLSRecords.length(input)
    return input.count < byteCount ? .needs(byteCount: byteCount) : .records(byteCount: byteCount)
  }

  /// All whole records at the beginning of `input`; what is wrong behind them is found when it comes first.
  func all(_ input: Bytes) -> TLSFraming {
    var ahead = self
    var byteCount = 0
    while true {
      let next = ahead.first(input.from(byteCount))
      guard case .records(let recordBytes) = next else { return byteCount > 0 ? .records(byteCount: byteCount) : next }
      byteCount += recordBytes
      ahead.took(recordBytes)
    }
  }

  mutating func took(_ byteCount: Int) {
    if !isOpen { handshakeByteCount += UInt32(byteCount) }
  }

  private static func length(_ header: Bytes) -> Int { Int(header[3]) << 8 | Int(header[4]) }

  /// What is wrong with as much of a header as is there.
  private func judge(_ input: Bytes) -> TLSFault? {
    let isFirst = !isOpen && handshakeByteCount == 0
    if input.count >= 1, let fault = judge(type: input[0], isFirst: isFirst) { return fault }
    if input.count >= 2, input[1] != 3 { return isFirst ? .notTLS : .badRecord }
    if input.count >= 3, input[2] > 4 { return isFirst ? .notTLS : .badRecord }
    guard input.count >= TLSRecords.headerBytes else { return nil }
    let length = TLSRecords.length(input)
    if length == 0 { return .badRecord }
    if length > (isFirst ? 16384 : TLSRecords.contentBytesMax) { return .recordTooLong }
    if !isOpen, Int(handshakeByteCount) + TLSRecords.headerBytes + length > TLSConnection.handshakeBytesMax {
      return .handshakeTooLong
    }
    return nil
  }

  private func judge(type: UInt8, isFirst: Bool) -> TLSFault? {
    switch type {
    case 22: return isOpen ? .renegotiation : nil
    case 21: return isFirst && isServer ? .notTLS : nil
    case 20, 23: return isFirst ? .notTLS : type == 20 && isOpen ? .badRecord : nil
    default: return isFirst ? .notTLS : .badRecord
    }
  }
}

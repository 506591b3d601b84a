import Bounded
import Testing

@testable import TLS

/// Record headers (RFC 8446, section 5.1), without OpenSSL.
@Suite struct RecordTests {
  struct Row: CustomTestStringConvertible {
    let bytes: [UInt8]
    let expected: String
    var testDescription: String { "\(bytes.prefix(8)): \(expected)" }
  }

  /// The first bytes that a listener gets.
  static let first = [
    Row(bytes: [], expected: "needs 5"),
    Row(bytes: [22], expected: "needs 5"),
    Row(bytes: [22, 3, 1, 0], expected: "needs 5"),
    Row(bytes: [22, 3, 1, 0, 2], expected: "needs 7"),
    Row(bytes: [22, 3, 1, 0, 2, 9], expected: "needs 7"),
    Row(bytes: [22, 3, 1, 0, 2, 9, 9], expected: "records 7"),
    Row(bytes: [22, 3, 1, 0, 2, 9, 9, 22], expected: "records 7"),
    Row(bytes: [22, 3, 1, 0, 2, 9, 9, 22, 3, 3, 0, 1, 0], expected: "records 13"),
    // What is wrong behind a record is found once that is taken.
    Row(bytes: [22, 3, 1, 0, 2, 9, 9, 99], expected: "records 7"),
    Row(bytes: [22, 3, 1, 0x40, 0], expected: "needs 16389"),
    Row(bytes: [22, 3, 1, 0x40, 1], expected: "recordTooLong"),
    Row(bytes: [22, 3, 1, 0, 0], expected: "badRecord"),
    Row(bytes: [22, 3, 5], expected: "notTLS"),
    Row(bytes: [22, 2], expected: "notTLS"),
    Row(bytes: [23], expected: "notTLS"),
    Row(bytes: [21], expected: "notTLS"),
    Row(bytes: [20], expected: "notTLS"),
    Row(bytes: [0x80, 0x2E, 1], expected: "notTLS"),  // SSL 2
    Row(bytes: [0x10], expected: "notTLS"),  // CONNECT
    Row(bytes: Array("GET / HTTP/1.1\r\n".utf8), expected: "notTLS"),
    Row(bytes: [0], expected: "notTLS"),
  ]

  @Test(arguments: first) func theFirstBytesTell(_ row: Row) {
    #expect(RecordTests.answer(TLSRecords(isServer: true), row.bytes) == row.expected)
  }

  /// Every first byte but one is refused before a second one has come.
  @Test func nothingButAHandshakeBegins() {
    for byte in UInt8.min...UInt8.max {
      let expected = byte == 22 ? "needs 5" : "notTLS"
      #expect(RecordTests.answer(TLSRecords(isServer: true), [byte]) == expected)
    }
  }

  static let open = [
    Row(bytes: [23, 3, 3, 0, 1, 0], expected: "records 6"),
    Row(bytes: [21, 3, 3, 0, 1, 0], expected: "records 6"),
    Row(bytes: [22], expected: "renegotiation"),
    Row(bytes: [20], expected: "badRecord"),
    Row(bytes: [24], expected: "badRecord"),
    Row(bytes: [23, 4], expected: "badRecord"),
    Row(bytes: [23, 3, 3, 0x48, 0], expected: "needs 18437"),
    Row(bytes: [23, 3, 3, 0x48, 1], expected: "recordTooLong"),
    Row(bytes: [23, 3, 3, 0, 0], expected: "badRecord"),
  ]

  @Test(arguments: open) func anOpenConnectionHasDataAndAlerts(_ row: Row) {
    var records = TLSRecords(isServer: true)
    records.took(300)
    records.isOpen = true
    #expect(RecordTests.answer(records, row.bytes) == row.expected)
  }

  /// 32 KiB with the headers, and not one byte more; it is the header that tells.
  @Test func handshakesAreBounded() {
    var records = TLSRecords(isServer: true)
    records.took(16389)
    let left = TLSConnection.handshakeBytesMax - 16389 - 5
    let fitting: [UInt8] = [22, 3, 3, UInt8(left >> 8), UInt8(left & 255)]
    #expect(RecordTests.answer(records, fitting) == "needs \(left + 5)")
    let over: [UInt8] = [22, 3, 3, UInt8((left + 1) >> 8), UInt8((left + 1) & 255)]
    #expect(RecordTests.answer(records, over) == "handshakeTooLong")
  }

  /// A server may refuse a client with its first record.
  @Test func anAlertMayComeFirstFromAServer() {
    #expect(RecordTests.answer(TLSRecords(isServer: false), [21, 3, 3, 0, 2, 2, 40]) == "records 7")
    #expect(RecordTests.answer(TLSRecords(isServer: false), [23]) == "notTLS")
  }

  static func answer(_ records: TLSRecords, _ bytes: [UInt8]) -> String {
    bytes.withUnsafeBytes { buffer in
      switch records.all(Bytes(buffer)) {
      case .records(let byteCount): return "records \(byteCount)"
      case .needs(let byteCount): return "needs \(byteCount)"
      case .failure(let fault): return "\(fault)"
      }
    }
  }
}

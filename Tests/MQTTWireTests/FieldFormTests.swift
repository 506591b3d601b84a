import Bounded
import MQTTWire
import Testing

/// §1.5: the forms that fields have.
@Suite struct FieldFormTests {
  struct VBICase: Sendable {
    let value: Int
    let bytes: [UInt8]
  }

  /// §1.5.5, Table 1-1: first and last value of each length.
  static let vbiCases = [
    VBICase(value: 0, bytes: [0x00]),
    VBICase(value: 127, bytes: [0x7F]),
    VBICase(value: 128, bytes: [0x80, 0x01]),
    VBICase(value: 16_383, bytes: [0xFF, 0x7F]),
    VBICase(value: 16_384, bytes: [0x80, 0x80, 0x01]),
    VBICase(value: 2_097_151, bytes: [0xFF, 0xFF, 0x7F]),
    VBICase(value: 2_097_152, bytes: [0x80, 0x80, 0x80, 0x01]),
    VBICase(value: 268_435_455, bytes: [0xFF, 0xFF, 0xFF, 0x7F]),
  ]

  @Test(arguments: vbiCases) func variableByteInteger(_ row: VBICase) throws {
    #expect(written { $0.writeVariableByteInteger(row.value) } == row.bytes)
    #expect(ByteWriter.variableByteIntegerByteCount(row.value) == row.bytes.count)
    var reader = ByteReader(lent(row.bytes + [0xAA]))
    #expect(try reader.readVariableByteInteger() == row.value)
    #expect(reader.remaining == 1)
    for cut in 0..<row.bytes.count {
      var short = ByteReader(lent(Array(row.bytes[..<cut])))
      #expect(throws: WireError.malformedPacket) { try short.readVariableByteInteger() }
    }
  }

  @Test(
    arguments: [
      [0x80, 0x00], [0xFF, 0x00], [0x80, 0x80, 0x00], [0x80, 0x80, 0x80, 0x00], [0x80, 0x80, 0x80, 0x80],
      [0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    ] as [[UInt8]]) func variableByteIntegerTooLong(_ bytes: [UInt8])
  {
    var reader = ByteReader(lent(bytes))
    #expect(throws: WireError.malformedPacket) { try reader.readVariableByteInteger() }
  }

  @Test func variableByteIntegersRoundTrip() throws {
    var random = SeededGenerator(seed: 155)
    for _ in 0..<2_000 {
      let value = random.below(1 << (1 + random.below(28)))
      let bytes = written { $0.writeVariableByteInteger(value) }!
      let read = withLent(bytes) { bytes in
        var reader = ByteReader(bytes)
        return try? reader.readVariableByteInteger()
      }
      #expect(read == UInt32(value))
      #expect(bytes == vbi(value))
    }
  }

  @Test func integersAreBigEndian() throws {
    var reader = ByteReader(lent([0x12, 0x34, 0x89, 0xAB, 0xCD, 0xEF, 0x01]))
    #expect(try reader.readUInt16() == 0x1234)
    #expect(try reader.readUInt32() == 0x89AB_CDEF)
    #expect(throws: WireError.malformedPacket) { try reader.readUInt16() }
    #expect(try reader.readByte() == 1)
    #expect(throws: WireError.malformedPacket) { try reader.readByte() }
    #expect(reader.isAtEnd)
  }

  // MARK: UTF-8 (§1.5.4)

  static let goodText: [[UInt8]] = [
    [], [0x41], [0x01], [0x7F], [0xC2, 0x80], [0xDF, 0xBF], [0xE0, 0xA0, 0x80], [0xED, 0x9F, 0xBF],
    [0xEE, 0x80, 0x80], [0xEF, 0xBB, 0xBF], [0xEF, 0xBF, 0xBF], [0xF0, 0x90, 0x80, 0x80], [0xF4, 0x8F, 0xBF, 0xBF],
    [0x41, 0xF0, 0xAA, 0x9B, 0x94],  // the standard's example, "A𪛔"
  ]

  static let badText: [[UInt8]] = [
    [0x00], [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC2], [0xC2, 0x41], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
    [0xE1, 0x80], [0xE1, 0x80, 0x41], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80],
    [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x90, 0x80], [0xF0, 0x90, 0x80, 0x41], [0xF4, 0x90, 0x80, 0x80],
    [0xF5, 0x80, 0x80, 0x80], [0xFE], [0xFF],
  ]

  /// Each row alone and at every place among the eight bytes that are judged at once.
  @Test func utf8Table() {
    for before in 0..<18 {
      for after in 0..<10 {
        func framed(_ row: [UInt8]) -> [UInt8] {
          [UInt8](repeating: 0x61, count: before) + row + [UInt8](repeating: 0x7A, count: after)
        }
        for row in FieldFormTests.goodText {
          let isValid = withLent(framed(row)) { UTF8Check.isValid($0) }
          #expect(isValid, "\(framed(row).hex)")
        }
        for row in FieldFormTests.badText {
          let isValid = withLent(framed(row)) { UTF8Check.isValid($0) }
          #expect(!isValid, "\(framed(row).hex)")
        }
      }
    }
  }

  /// Against Swift's own validation.
  @Test func utf8AgainstAModel() {
    var random = SeededGenerator(seed: 154)
    let pieces = FieldFormTests.goodText + FieldFormTests.badText + [[0x61], [0x62, 0x63], [0x64, 0x65, 0x66]]
    for iteration in 0..<50_000 {
      var text: [UInt8] = []
      for _ in 0..<random.below(8) {
        text += iteration % 4 == 0 ? random.bytes(1) : pieces[random.below(iteration % 2 == 0 ? 14 : pieces.count)]
      }
      let isValid = withLent(text) { UTF8Check.isValid($0) }
      let model = String(validating: text, as: UTF8.self) != nil && !text.contains(0)
      if isValid != model { Issue.record("\(text.hex)") }
    }
  }
}

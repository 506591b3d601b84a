import Bounded
import COpenSSL
import Testing

@testable import TLS

extension LibraryTests {
  /// What certificates say of their owners.
  @Suite struct NameTests {
    struct Row: CustomTestStringConvertible {
      let name: String
      let expected: String
      let subject: [NameString]
      /// What OpenSSL 3.5 says: it does not read a certificate with broken UTF-8.
      let newer: String
      init(_ name: String, _ subject: [NameString], _ expected: String, newer: String? = nil) {
        self.name = name
        self.subject = subject
        self.expected = expected
        self.newer = newer ?? expected
      }
      var testDescription: String { name }
    }

    static let rows = [
      Row("plain", [NameString("boiler")], "boiler"),
      Row("space", [NameString("boiler room")], "boiler room"),
      Row("UTF-8", [NameString("Küche")], "Küche"),
      Row("PrintableString", [NameString(tag: 0x13, Array("boiler".utf8))], "boiler"),
      Row("IA5String", [NameString(tag: 0x16, Array("boiler@home".utf8))], "boiler@home"),
      Row("none", [], "none"),
      Row("two", [NameString("boiler"), NameString("oven")], "several"),
      Row("NUL within", [NameString("boiler\0oven")], "forbidden"),
      Row("NUL at the end", [NameString("boiler\0")], "forbidden"),
      Row("newline", [NameString("boiler\n")], "forbidden"),
      Row("DEL", [NameString("boiler\u{7F}")], "forbidden"),
      Row("C1 control", [NameString("boiler\u{85}")], "forbidden"),
      Row("hash", [NameString("#")], "forbidden"),
      Row("plus", [NameString("a+b")], "forbidden"),
      Row("slash", [NameString("a/b")], "forbidden"),
      Row("UTF-8 cut", [NameString(tag: 0x0C, [0x61, 0xC3])], "encoding", newer: "unreadable"),
      Row("UTF-8 too long a form", [NameString(tag: 0x0C, [0xC0, 0xAF])], "encoding", newer: "unreadable"),
      Row("surrogate", [NameString(tag: 0x0C, [0xED, 0xA0, 0x80])], "encoding", newer: "unreadable"),
      Row("Latin 1 as IA5String", [NameString(tag: 0x16, [0x61, 0xFC])], "encoding"),
      Row("BMPString", [NameString(tag: 0x1E, [0, 0x61, 0, 0x62])], "encoding"),
      Row("T61String", [NameString(tag: 0x14, Array("boiler".utf8))], "encoding"),
      Row("256 bytes", [NameString(String(repeating: "a", count: 256))], String(repeating: "a", count: 256)),
      Row("257 bytes", [NameString(String(repeating: "a", count: 257))], "tooLong"),
      Row("12 kB", [NameString(String(repeating: "a", count: 12_000))], "tooLong"),
    ]

    @Test(arguments: rows) func commonName(_ row: Row) {
      let family = Family.shared
      let client = family.own.certificate(row.subject, family.clientKey)
      let found = NameTests.ofClient(client, .commonName)
      #expect(found == row.expected || found == row.newer)
    }

    struct Alternatives: CustomTestStringConvertible {
      let name: String
      let expected: String
      let entries: [(UInt8, [UInt8])]
      init(_ name: String, _ entries: [(UInt8, [UInt8])], _ expected: String) {
        self.name = name
        self.entries = entries
        self.expected = expected
      }
      var testDescription: String { name }
    }

    static let alternatives = [
      Alternatives("DNS", [(2, Array("boiler.home".utf8))], "boiler.home"),
      Alternatives("the first DNS", [(2, Array("a.home".utf8)), (2, Array("b.home".utf8))], "a.home"),
      Alternatives("mail and DNS", [(1, Array("a@home".utf8)), (2, Array("b.home".utf8))], "b.home"),
      Alternatives("mail", [(1, Array("a@home".utf8))], "none"),
      Alternatives("NUL", [(2, Array("boiler\0.home".utf8))], "forbidden"),
      Alternatives("the first is wrong", [(2, Array("a/b".utf8)), (2, Array("b.home".utf8))], "forbidden"),
      Alternatives("not ASCII", [(2, Array("küche.home".utf8))], "encoding"),
      Alternatives("empty", [(2, [])], "none"),
      Alternatives("long", [(2, [UInt8](repeating: 0x61, count: 257))], "tooLong"),
    ]

    @Test(arguments: alternatives) func dnsName(_ row: Alternatives) {
      let family = Family.shared
      let how = Certificate(extensions: Certificate.alternatives(row.entries))
      let client = family.own.certificate([NameString("boiler")], family.clientKey, how)
      #expect(NameTests.ofClient(client, .dnsName) == row.expected)
      #expect(NameTests.ofClient(client, .commonName) == "boiler")
    }

    @Test func noAlternatives() { #expect(NameTests.ofClient(Family.shared.client, .dnsName) == "none") }

    /// Every byte in a name, against what UTF-8 and the rules say.
    @Test func everyByte() {
      for byte in UInt8.min...UInt8.max {
        let isForbidden = byte < 0x20 || byte == 0x7F || [UInt8]("#+/".utf8).contains(byte)
        let expected = byte >= 0x80 ? COPENSSL_NAME_ENCODING : isForbidden ? COPENSSL_NAME_FORBIDDEN : 0
        for bytes in [[byte], [0x61, byte], [0x61, byte, 0x61]] {
          #expect(Int(copenssl_judge_name(bytes, Int64(bytes.count))) == expected, "\(bytes)")
        }
      }
      #expect(Int(copenssl_judge_name([0x61], 0)) == COPENSSL_NAME_NONE)
    }

    /// Strict UTF-8 is what the standard library takes without a repair.
    @Test func seededBytes() {
      var random = SeededGenerator(seed: 4)
      for _ in 0..<20_000 {
        let bytes = (0..<(1 + random.below(4))).map { _ in random.oneIn(2) ? random.byte() | 0x80 : 0x61 }
        let isText = String(validating: bytes, as: UTF8.self) != nil
        let verdict = Int(copenssl_judge_name(bytes, Int64(bytes.count)))
        guard verdict != COPENSSL_NAME_FORBIDDEN else { continue }  // a control character before the end
        #expect((verdict != COPENSSL_NAME_ENCODING) == isText, "\(bytes)")
      }
    }

    static func ofClient(_ certificate: [UInt8], _ kind: TLSName) -> String {
      let client = TLSSettings.client { $0.own(certificate, Family.shared.clientKey) }
      do throws(TLSContextError) { try TLSContext(client, LibraryTests.library).free() } catch {
        return "\(error.problem)"
      }
      return Pair.with(.server { $0.asks(.required) }, client) { pair in
        guard pair.server.isOpen else { return text(pair.server.connection.reason) }
        return name(pair.server, kind)
      }
    }

    static func name(_ end: End, _ kind: TLSName) -> String {
      var failed: TLSNameError?
      let name = written { writer in
        do throws(TLSNameError) { try end.connection.identity(kind, into: &writer) } catch { failed = error }
      }
      return failed.map { "\($0)" } ?? name
    }
  }
}

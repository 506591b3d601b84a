import Bounded
import Foundation
import LinuxIO
import TLS
import TaplineConfiguration
import Testing

@testable import Tapline

@Suite("tapline cert knows names, and what it refuses before it does anything") struct CertificateToolTests {
  private func text(_ text: Text) -> String { String(decoding: text.bytes, as: UTF8.self) }
  private func bytes(_ text: String) -> [UInt8] { [UInt8](text.utf8) }
  private func address(_ text: String) -> IPAddress { bytes(text).lend { IPAddress($0)! } }
  private func list(_ names: CertificateNames) -> String { self.text(CertificateNames.list(names.all)) }

  static let names: [(String, String?)] = [
    ("board", "board"), ("Board.Example", "board.example"), ("my_board-2", "my_board-2"),
    ("*.example.org", "*.example.org"),
    ("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7"), ("::1", "::1"), ("127.0.0.1", "127.0.0.1"),
    ("2001:DB8:0:0::7", "2001:db8::7"), ("xn--kche-0ra", "xn--kche-0ra"),
    (String(repeating: "a", count: 63), String(repeating: "a", count: 63)),
    ("", nil), (".", nil), ("a..b", nil), ("board.", nil), (".board", nil), ("-a", nil), ("a-", nil), ("a.-b", nil),
    ("küche", nil), ("a b", nil), ("a,DNS:b", nil), ("a\0b", nil), ("a\n", nil), ("a/b", nil), ("*", nil),
    ("*.local", nil),
    ("a.*.example.org", nil), ("*a.example.org", nil), ("192.0.2", nil), ("192.0.2.256", nil), ("192.0.2.7.1", nil),
    ("2001:db8::7::", nil), ("fe80::1", nil), ("fe80::1%eth0", nil), ("0.0.0.0", nil), ("::", nil), ("224.0.0.1", nil),
    ("255.255.255.255", nil), ("ff02::1", nil), (String(repeating: "a", count: 64), nil),
    (String(repeating: "a.", count: 126) + "a", String(repeating: "a.", count: 126) + "a"),
    (String(repeating: "a.", count: 127) + "a", nil),
  ]

  @Test func typedNames() {
    for (typed, expected) in Self.names {
      let name = CertificateNames.name(bytes(typed))
      #expect(name.map { text(CertificateNames.text($0)) } == expected, "\(typed)")
    }
  }

  @Test func aMachineHasItsNamesAndAddresses() {
    let addresses = ["127.0.0.1", "192.0.2.7", "::1", "fe80::1", "2001:db8::7", "192.0.2.7"].map(address)
    #expect(
      list(CertificateNames(hostName: bytes("Board"), addresses: addresses))
        == "board, board.local, localhost, 127.0.0.1, 192.0.2.7, ::1, 2001:db8::7")
    let rows = [
      ("board.example.org", "board.example.org, board, board.local, localhost"), ("localhost", "localhost"),
      ("", "localhost"),
      ("not a name", "localhost"), ("(none)", "localhost"), ("10", "localhost"),
    ]
    for (hostName, expected) in rows {
      #expect(list(CertificateNames(hostName: bytes(hostName), addresses: [])) == expected, "\(hostName)")
    }
  }

  @Test func thereAreNoMoreThan64Names() {
    var names = CertificateNames([])
    let rows = (0..<64).map { ($0, true) } + [(63, true), (64, false)]
    for (number, isTaken) in rows {
      let answer = names.add(TLSServerName(dnsName: bytes("host\(number)")))
      #expect(answer == isTaken, "host\(number)")
    }
    #expect(names.all.count == 64)
  }

  @Test func theNameThatIsRecommended() {
    let rows: [([String], String?)] = [
      (["board", "board.local", "x.local"], "board.local"), (["board", "192.0.2.7"], "board"), ([".local"], nil),
      ([], nil),
    ]
    for (names, expected) in rows {
      let all = CertificateNames(names.compactMap { CertificateNames.name(bytes($0)) })
      #expect(all.best.map { text(CertificateNames.text($0)) } == expected, "\(names)")
    }
  }

  static let clients: [(String, String?)] = [
    ("kitchen", nil), ("wall display", nil), ("küche", nil), ("a.b", nil), ("-x", nil), ("cas", nil),
    (String(repeating: "é", count: 64), nil), (String(repeating: "é", count: 65), "64 characters"),
    (String(repeating: "a", count: 65), "64 characters"), (String(repeating: "𝄞", count: 51), "200 bytes"),
    ("", "is empty"), ("a:b", "has a colon"), ("a/b", "has a /, + or #"), ("../ca", "has a /, + or #"),
    ("a+b", "has a /, + or #"),
    ("a#b", "has a /, + or #"), ("#a", "begins with #"), ("a\n", "control character"), ("a\u{85}", "control character"),
    (" a", "blank"), ("a ", "blank"), (".a", "full stop"), (".", "full stop"), ("..", "full stop"),
    ("ca", "other files"),
    ("CA", "other files"), ("Server", "other files"),
  ]

  @Test func clientNames() {
    for (name, said) in Self.clients {
      let problem = ClientName.problem(bytes(name)).map { text($0) }
      #expect(said.map { problem?.contains($0) == true } ?? (problem == nil), "\(name): \(problem ?? "taken")")
    }
    #expect(ClientName.problem([0x61, 0xFF]).map { text($0) } == "the user name is not UTF-8 text")
  }

  /// What the tool says before it loads OpenSSL.
  private func problem(_ seconds: Int64 = 1_796_083_200, _ change: (inout CertificateWish) -> Void = { _ in })
    -> String?
  {
    var wish = CertificateWish()
    wish.directory = bytes(NSTemporaryDirectory())
    change(&wish)
    let machine = CertificateMachine(hostName: bytes("board"), addresses: [], seconds: seconds)
    do throws(CertificateTool.Problem) {
      _ = try CertificateTool(wish, on: machine)
      return nil
    } catch {
      return text(error.text)
    }
  }

  @Test func aClockThatWasNotSetIsRefused() {
    let said = "; set it first (timedatectl, or date -s), because a certificate says from when until when it is valid"
    #expect(problem(0) == "this machine's clock says 1970-01-01" + said)
    #expect(problem(1_704_067_199) == "this machine's clock says 2023-12-31" + said)
    #expect(problem(-1)?.hasPrefix("this machine's clock says 1969-12-31") == true)
    #expect(problem(1_704_067_200) == nil)
  }

  @Test func wrongWordsAreNamed() {
    let rows: [(change: (inout CertificateWish) -> Void, start: String?)] = [
      ({ _ in }, nil),
      (
        { $0.names = [bytes("board"), bytes("192.0.2.256")] },
        "option --name is '192.0.2.256': expected a DNS name such as board.example, or an address such as 192.0.2.7"
      ),
      ({ $0.clients = [bytes("kitchen"), bytes("ca")] }, "option --client is 'ca': ca and server are"),
      ({ $0.group = bytes("no such group") }, "option --group is 'no such group': expected a group of this machine"),
      ({ $0.group = bytes("root") }, nil),
      ({ $0.group = bytes("4711") }, nil),
      ({ $0.group = bytes("-1") }, "option --group is '-1': "),
      ({ $0.directory = bytes("/none/at/all") }, "/none/at/all: there is no such directory; make it with mkdir"),
      ({ $0.directory = bytes("/dev/null") }, "/dev/null: this is no directory"),
      ({ $0.directory = bytes("") }, ": there is no such directory; make it with mkdir"),
    ]
    for (index, row) in rows.enumerated() {
      let said = problem(1_796_083_200, row.change)
      #expect((said == nil) == (row.start == nil), "row \(index)")
      #expect(said?.hasPrefix(row.start ?? "") ?? true, "row \(index): \(said ?? "")")
    }
  }

  @Test func pathsForYAMLAndShells() {
    let rows = [
      ("/etc/tapline/ca.crt", "/etc/tapline/ca.crt", "/etc/tapline/ca.crt"), ("/a b/c", "\"/a b/c\"", "'/a b/c'"),
      ("/a'b", "\"/a'b\"", "'/a'\\''b'"), ("/a\"b\\c", "\"/a\\\"b\\\\c\"", "'/a\"b\\c'"),
      ("/$HOME", "\"/$HOME\"", "'/$HOME'"),
      ("/ü: #", "\"/ü: #\"", "'/ü: #'"),
    ]
    for (path, yaml, shell) in rows {
      #expect(text(CertificateReport.yaml(bytes(path))) == yaml)
      #expect(text(CertificateReport.shell(bytes(path))) == shell)
    }
  }

  @Test func dates() {
    let rows: [(Int64, String)] = [
      (0, "1970-01-01"), (1_796_083_200, "2026-12-01"), (1_796_083_199, "2026-11-30"), (.max, "2255-03-14"),
      (.min, "1684-10-19"),
    ]
    for (seconds, date) in rows { #expect(text(CertificateReport.date(seconds)) == date) }
  }
}

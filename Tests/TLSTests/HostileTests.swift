import Bounded
import Testing

@testable import TLS

extension LibraryTests {
  /// What a peer may send instead of a handshake, or after it.
  @Suite struct HostileTests {
    struct Row: CustomTestStringConvertible {
      let name: String
      let bytes: [UInt8]
      let fault: TLSFault
      /// What OpenSSL 3.5 says.
      var newer: TLSFault?
      var testDescription: String { name }
    }

    static let first = [
      Row(name: "MQTT", bytes: [0x10, 12, 0, 4] + Array("MQTT".utf8) + [4, 2, 0, 60, 0, 0], fault: .notTLS),
      Row(name: "HTTP", bytes: Array("GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n".utf8), fault: .notTLS),
      Row(name: "noise", bytes: [0xA7, 0x11, 0x93, 0x02], fault: .notTLS),
      Row(name: "no ClientHello", bytes: record(22, [2, 0, 0, 1, 0]), fault: .violation),
      Row(name: "broken ClientHello", bytes: record(22, [1, 0, 0, 4, 3, 3, 0, 0]), fault: .violation),
      Row(
        name: "an alert after nothing", bytes: record(22, [1]) + record(21, [2, 40]), fault: .alert, newer: .violation),
      Row(name: "data after nothing", bytes: record(22, [1]) + record(23, [1, 2, 3]), fault: .violation),
      Row(
        name: "ClientHello of 33 KB",
        bytes: record(22, [1, 0, 0x81, 0] + [UInt8](repeating: 0, count: 16380))
          + record(22, [UInt8](repeating: 0, count: 16384)) + [22, 3, 3, 1, 0],
        fault: .handshakeTooLong),
      Row(
        name: "ClientHello that announces 135 KB", bytes: record(22, [1, 0x02, 0x10, 0, 3, 3]) + record(22, [0]),
        fault: .violation),
    ]

    @Test(arguments: first) func isRefused(_ row: Row) {
      let context = TLSSettings.server().context()
      var used = 0
      for round in 0..<2 {
        if round == 1 { used = LibraryTests.usedAtRest }  // the first one fetches what is needed later
        var end = End(TLSConnection(context)!)
        end.inbox = row.bytes
        _ = end.take()
        #expect(end.fault == row.fault || end.fault == row.newer ?? row.fault, "\(text(end.connection.reason))")
        #expect(end.connection.state == .failed)
        end.connection.free()
      }
      #expect(LibraryTests.usedAtRest == used)
      context.free()
    }

    /// After a failure everything is refused.
    @Test func failuresAreForGood() {
      let context = TLSSettings.server().context()
      var end = End(TLSConnection(context)!)
      end.inbox = [0x10]
      _ = end.take()
      end.fault = nil
      end.inbox = record(22, [1])
      _ = end.take()
      #expect(end.fault == .violation && end.inbox.count == 6)
      end.connection.free()
      context.free()
    }

    @Test(arguments: [TLSVersion.tls12, .tls13]) func renegotiationIsRefused(_ version: TLSVersion) {
      Pair.with(.server(), .client { $0.maximumVersion = version }) { pair in
        pair.server.inbox += record(22, [1, 0, 0, 0])
        _ = pair.server.take()
        #expect(pair.server.fault == .renegotiation)
      }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13]) func changedBytesAreRefused(_ version: TLSVersion) {
      for place in [5, 12, 20, -1] {
        Pair.with(.server(), .client { $0.maximumVersion = version }) { pair in
          var sent = pair.client.send([1, 2, 3, 4])
          sent[place < 0 ? sent.count - 1 : place] ^= 1
          pair.server.inbox += sent
          _ = pair.server.take()
          #expect(pair.server.fault == .violation && pair.server.received.isEmpty)
        }
      }
    }

    /// A record may come once.
    @Test func repeatedRecordsAreRefused() {
      Pair.with { pair in
        let sent = pair.client.send([1])
        pair.server.inbox += sent + sent
        _ = pair.server.take()
        #expect(pair.server.fault == .violation && pair.server.received == [1])
      }
    }

    @Test func newKeysAreTaken() {
      Pair.with { pair in
        for round in UInt8(0)..<5 {
          pair.server.inbox += pair.client.updateKeys() + pair.client.send([round])
          pair.run()
          pair.client.inbox += pair.server.send([round])
          pair.run()
        }
        #expect(pair.server.received == [0, 1, 2, 3, 4] && pair.client.received == [0, 1, 2, 3, 4])
      }
    }

    /// So many records without content are taken for a KiB with it, and no more.
    @Test func keyUpdatesAreBounded() {
      Pair.with { pair in
        var updates = 0
        while pair.server.fault == nil, updates < 1000 {
          pair.server.inbox += pair.client.updateKeys() + pair.client.send([1])
          pair.run()
          updates += 1
        }
        #expect(updates == TLSConnection.barrenRecordsMax + 1)
        #expect(pair.server.fault == .flood)
      }
    }

    @Test func contentMakesUpForKeyUpdates() {
      Pair.with { pair in
        for _ in 0..<4 {
          for _ in 0..<TLSConnection.barrenRecordsMax { pair.server.inbox += pair.client.updateKeys() }
          pair.server.inbox += pair.client.send([UInt8](repeating: 1, count: 1024))
          pair.run()
          pair.client.inbox += pair.server.send([UInt8](repeating: 1, count: 1024))
          pair.run()
        }
        #expect(pair.server.isOpen && pair.server.received.count == 4096)
      }
    }

    /// The client ends at every byte: it is not let in before its last one, and leaves nothing behind.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func handshakesCutAtEveryByte(_ version: TLSVersion) {
      let server = TLSSettings.server { $0.asks(.required) }.context()
      let client = TLSSettings.client {
        $0.own(Family.shared.client, Family.shared.clientKey)
        $0.maximumVersion = version
      }.context()
      // Whole once, for what is fetched then.
      let total = HostileTests.run(server, client, cutAt: .max).given
      let used = LibraryTests.usedAtRest
      var cut = 0
      while cut < total - 16 {  // signatures differ by some bytes from run to run
        let (isOpen, _) = HostileTests.run(server, client, cutAt: cut)
        #expect(!isOpen, "cut at \(cut)")
        #expect(LibraryTests.usedAtRest == used, "cut at \(cut)")
        cut += 1
      }
      #expect(cut > 500)
      server.free()
      client.free()
    }

    /// A handshake of which the server gets so many bytes.
    static func run(_ server: TLSContext, _ client: TLSContext, cutAt end: Int) -> (isOpen: Bool, given: Int) {
      var pair = Pair(server, client)!
      var given = 0
      while !pair.server.inbox.isEmpty {
        let fitting = min(pair.server.inbox.count, end - given)
        pair.server.inbox.removeLast(pair.server.inbox.count - fitting)
        given += fitting
        pair.client.inbox += pair.server.take()
        let more = pair.client.take()
        if given == end || more.isEmpty { break }
        pair.server.inbox += more
      }
      let isOpen = pair.server.isOpen
      pair.free()
      return (isOpen, given)
    }
  }
}

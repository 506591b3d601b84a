import Bounded
import Testing

@testable import TLS

extension LibraryTests {
  @Suite struct HandshakeTests {
    @Test func theLibraryIsVersion3() {
      #expect(text(LibraryTests.library.version).hasPrefix("3."))
    }

    struct Row: CustomTestStringConvertible {
      let server: TLSVersion?, minimum: TLSVersion, client: TLSVersion?, expected: TLSVersion?
      var testDescription: String { "\(minimum)...\(String(describing: server)) and \(String(describing: client))" }
    }

    static let rows = [
      Row(server: nil, minimum: .tls12, client: nil, expected: .tls13),
      Row(server: nil, minimum: .tls12, client: .tls12, expected: .tls12),
      Row(server: .tls12, minimum: .tls12, client: nil, expected: .tls12),
      Row(server: nil, minimum: .tls13, client: nil, expected: .tls13),
      Row(server: nil, minimum: .tls13, client: .tls12, expected: nil),
    ]

    @Test(arguments: rows, [false, true]) func versionsAndKeys(_ row: Row, rsa: Bool) {
      let server = TLSSettings.server {
        if rsa { $0.own(Family.shared.rsaServer, Family.shared.rsaKey) }
        $0.minimumVersion = row.minimum
        $0.maximumVersion = row.server
      }
      Pair.with(server, .client { $0.maximumVersion = row.client }) { pair in
        #expect(pair.server.isOpen == (row.expected != nil))
        #expect(pair.client.isOpen == (row.expected != nil))
        #expect(pair.server.connection.version == row.expected)
        if row.expected == nil {
          #expect(pair.server.fault == .violation)
          #expect(text(pair.server.connection.reason) == "unsupported protocol")
          #expect(pair.client.fault == .alert)
        }
      }
    }

    /// A client that knows another authority says so.
    @Test func clientsThatDoNotTrustTheListenerSaySo() {
      let stranger = Family.shared.stranger
      Pair.with(.server(), .client { $0.authorities = kept(stranger.itself()) }) { pair in
        #expect(pair.client.fault == .certificate)
        #expect(pair.server.fault == .alert)
        #expect(text(pair.server.connection.reason).contains("unknown ca"))
      }
    }

    static let sizes = [0, 1, 4095, 4096, 4097, 16384, 100 * 1024]

    @Test(arguments: [TLSVersion.tls12, .tls13], sizes) func dataGoesBothWays(_ version: TLSVersion, _ size: Int) {
      Pair.with(.server(), .client { $0.maximumVersion = version }) { pair in
        let there = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let back = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 11) }
        pair.server.inbox += pair.client.send(there)
        pair.client.inbox += pair.server.send(back)
        pair.run()
        #expect(pair.server.received == there)
        #expect(pair.client.received == back)
        #expect(pair.server.isOpen && pair.client.isOpen)
      }
    }

    /// Records have 4 KiB of plaintext at most, and never more than 64 bytes beside it.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func recordsAreSmall(_ version: TLSVersion) {
      Pair.with(.server(), .client { $0.maximumVersion = version }) { pair in
        let sent = records(pair.server.send([UInt8](repeating: 1, count: 10_000)))
        #expect(sent.count == 3)
        for (record, plaintext) in zip(sent, [4096, 4096, 10_000 - 8192]) {
          #expect(record.count > plaintext && record.count <= plaintext + TLSConnection.recordOverhead)
        }
      }
    }

    /// Whatever room each call gives, the same arrives.
    @Test(arguments: [1, 7, 100, 5000], [1, 64, 100, 400, 20480]) func smallRoomIsEnough(plaintext: Int, output: Int) {
      let contexts = (TLSSettings.server().context(), TLSSettings.client().context())
      var pair = Pair(contexts.0, contexts.1)!
      pair.server.plaintextRoom = plaintext
      pair.server.outputRoom = output
      pair.run()
      #expect(pair.server.isOpen && pair.client.isOpen)
      pair.server.outputRoom = max(output, TLSConnection.recordOverhead)
      let bytes = [UInt8]((0..<3000).map { UInt8(truncatingIfNeeded: $0) })
      pair.server.inbox += pair.client.send(bytes)
      pair.run()
      #expect(pair.server.received == bytes)
      pair.server.outputRoom = max(output, 400)
      pair.client.inbox += pair.server.send(bytes)
      pair.run()
      #expect(pair.client.received == bytes)
      pair.free()
      contexts.0.free()
      contexts.1.free()
    }

    /// Answers for bytes of a record that has not come whole, and none of them changes what is lent.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func bytesMayComeOneByOne(_ version: TLSVersion) {
      let contexts = (TLSSettings.server().context(), TLSSettings.client { $0.maximumVersion = version }.context())
      var pair = Pair(contexts.0, contexts.1)!
      for _ in 0..<4 where !(pair.server.isOpen && pair.client.isOpen) {
        let bytes = pair.server.inbox
        pair.server.inbox = []
        var answer: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
          let before = LibraryTests.used
          pair.server.inbox.append(byte)
          let isWhole = records(pair.server.inbox).contains {
            $0.count > 5 && $0.count == 5 + Int($0[3]) << 8 + Int($0[4])
          }
          answer += pair.server.take()
          if !isWhole { #expect(LibraryTests.used == before, "byte \(index)") }
        }
        pair.client.inbox += answer
        pair.server.inbox += pair.client.take()
      }
      #expect(pair.server.isOpen && pair.client.isOpen)
      // The server may go on speaking while it waits for the rest of a record.
      let record = pair.client.send([1, 2, 3])
      pair.server.inbox += record.dropLast()
      #expect(pair.server.take().isEmpty && pair.server.received.isEmpty)
      pair.client.inbox += pair.server.send([9])
      #expect(pair.client.take().isEmpty && pair.client.received == [9])
      pair.server.inbox += record.suffix(1)
      #expect(pair.server.take().isEmpty && pair.server.received == [1, 2, 3])
      pair.free()
      contexts.0.free()
      contexts.1.free()
    }

    /// A ClientHello may come in records of one byte each.
    @Test func recordsMayHaveOneByte() {
      let contexts = (TLSSettings.server().context(), TLSSettings.client().context())
      var pair = Pair(contexts.0, contexts.1)!
      let hello = pair.server.inbox
      pair.server.inbox = hello.dropFirst(5).flatMap { record(22, [$0]) }
      pair.run()
      #expect(pair.server.isOpen && pair.client.isOpen)
      pair.free()
      contexts.0.free()
      contexts.1.free()
    }

    @Test(arguments: [TLSVersion.tls12, .tls13]) func closeNotifyEndsEachWayAlone(_ version: TLSVersion) {
      Pair.with(.server(), .client { $0.maximumVersion = version }) { pair in
        pair.server.inbox += pair.client.send([1, 2]) + pair.client.close()
        #expect(pair.client.connection.state == .closing)
        #expect(pair.server.take().isEmpty)
        #expect(pair.server.received == [1, 2] && pair.server.hasEnded)
        #expect(pair.server.connection.state == .halfClosed)
        pair.client.inbox += pair.server.send([3]) + pair.server.close()  // half-closed: this way is still there
        #expect(pair.server.connection.state == .closed)
        #expect(pair.client.take().isEmpty)
        #expect(pair.client.received == [3] && pair.client.hasEnded)
        #expect(pair.client.connection.state == .closed)
      }
    }

    /// A new context is for new connections; those that are there keep the old one until they are gone.
    @Test func reloadLeavesConnectionsAlone() {
      let client = TLSSettings.client().context()
      let old = TLSSettings.server().context()
      var before = Pair(old, client)!
      before.run()
      old.free()
      let new = TLSSettings.server { $0.own(Family.shared.rsaServer, Family.shared.rsaKey) }.context()
      var after = Pair(new, client)!
      after.run()
      #expect(after.server.isOpen)
      before.server.inbox += before.client.send([5])
      before.run()
      #expect(before.server.received == [5])
      before.free()
      after.free()
      new.free()
      client.free()
    }
  }
}

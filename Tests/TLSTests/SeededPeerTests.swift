import Bounded
import Testing

@testable import TLS

extension LibraryTests {
  /// Peers that change what they send at random places, with a socket that takes the answers in pieces of any size. Seeded.
  @Suite struct SeededPeerTests {
    enum Change: Int, CaseIterable {
      case flip
      case insert
      case drop
      case double

      func apply(to bytes: inout [UInt8], at place: Int, _ random: inout SeededGenerator) {
        switch self {
        case .flip: bytes[place] ^= 1 << UInt8(random.below(8))
        case .insert: bytes.insert(random.byte(), at: place)
        case .drop: bytes.remove(at: place)
        case .double: bytes.insert(contentsOf: bytes[place...].prefix(40), at: place)
        }
      }
    }

    /// A handshake with one change does not let the client in, whichever side gets it, and leaves nothing behind.
    @Test(arguments: [TLSVersion.tls12, .tls13], [false, true]) func changedHandshakes(
      _ version: TLSVersion, forClient: Bool
    ) {
      let server = TLSSettings.server { $0.asks(.required) }.context()
      let client = TLSSettings.client {
        $0.own(Family.shared.client, Family.shared.clientKey)
        $0.maximumVersion = version
      }.context()
      var used = 0
      for round in 0..<2 {
        var random = SeededGenerator(seed: 8)
        for number in 0..<100 {
          var pair = Pair(server, client)!
          pair.server.outputRoom = [7, 64, 500, 20480][random.below(4)]
          pair.client.outputRoom = [7, 64, 500, 20480][random.below(4)]
          let change = Change(rawValue: number % 4)!
          let hasChanged = SeededPeerTests.run(&pair, change, at: random.below(2400), forClient: forClient, &random)
          // What follows the last byte of a handshake is no part of it.
          if hasChanged, change == .flip {
            #expect(!(pair.server.isOpen && pair.client.isOpen), "handshake \(number)")
          }
          SeededPeerTests.speak(&pair.server)
          SeededPeerTests.speak(&pair.client)
          pair.free()
        }
        if round == 0 { used = LibraryTests.usedAtRest }  // what errors fetch at the first one
      }
      #expect(LibraryTests.usedAtRest == used)
      server.free()
      client.free()
    }

    /// Carries bytes until nothing moves, with a change at `place` of those for one side.
    /// - Returns: whether so many came, and they differ in more than the version in the header of a ClientHello or
    ///   ServerHello, which nobody looks at.
    static func run(
      _ pair: inout Pair, _ change: Change, at place: Int, forClient: Bool, _ random: inout SeededGenerator
    ) -> Bool {
      var carried = 0
      var hasChanged = false
      func carry(_ bytes: [UInt8]) -> [UInt8] {
        defer { carried += bytes.count }
        guard !hasChanged, place >= carried, place - carried < bytes.count else { return bytes }
        hasChanged = true
        var changed = bytes
        change.apply(to: &changed, at: place - carried, &random)
        return changed
      }
      if !forClient { pair.server.inbox = carry(pair.server.inbox) }
      var moved = true
      while moved {
        let answer = pair.server.take()
        pair.client.inbox += forClient ? carry(answer) : answer
        let more = pair.client.take()
        pair.server.inbox += forClient ? more : carry(more)
        moved = !answer.isEmpty || !more.isEmpty
      }
      return hasChanged && place > 2
    }

    /// What a loop that has not looked at the state may still do.
    static func speak(_ end: inout End) {
      guard end.connection.state != .handshaking else { return }
      end.outputRoom = 400
      let hasFailed = end.connection.state == .failed
      end.fault = nil
      _ = end.send([1, 2, 3])
      #expect((end.fault != nil) == hasFailed)
      end.fault = nil
      _ = end.close()
      #expect((end.fault != nil) == hasFailed)
    }

    /// Records of an open connection, some of them changed, dropped, repeated or invented: only what was sent arrives, in
    /// order, and the first wrong record ends it.
    @Test(arguments: [TLSVersion.tls12, .tls13], [UInt64](1...3)) func changedRecords(
      _ version: TLSVersion, seed: UInt64
    ) {
      var random = SeededGenerator(seed: seed)
      var failures = 0
      for _ in 0..<60 {
        Pair.with(.server(), .client { $0.maximumVersion = version }) { pair in
          pair.server.outputRoom = 64 + random.below(40)
          pair.server.plaintextRoom = 1 + random.below(50)
          var sent: [UInt8] = []
          for _ in 0..<6 {
            let bytes = random.bytes(1 + random.below(120))
            var records = pair.client.send(bytes)
            sent += bytes
            switch random.below(8) {
            case 0...3: Change(rawValue: random.below(4))!.apply(to: &records, at: random.below(records.count), &random)
            case 4: records = record(20 + UInt8(random.below(5)), random.bytes(random.below(60))) + records
            default: break
            }
            pair.server.inbox += records
            while !pair.server.inbox.isEmpty, pair.server.fault == nil, !pair.server.hasEnded {
              let before = pair.server.inbox.count
              _ = pair.server.take()
              if pair.server.inbox.count == before { break }
            }
          }
          #expect(sent.starts(with: pair.server.received))
          if pair.server.fault != nil { failures += 1 }
          SeededPeerTests.speak(&pair.server)
        }
      }
      #expect(failures > 30)
    }

    /// A flight that the output has no room for is kept and comes with the calls that follow, without further input.
    @Test(arguments: [1, 10, 64, 1000]) func flightsComeInPieces(_ room: Int) {
      let contexts = (TLSSettings.server().context(), TLSSettings.client().context())
      var pair = Pair(contexts.0, contexts.1)!
      pair.server.outputRoom = room
      var flight: [UInt8] = []
      var calls = 0
      while true {
        let step = pair.server.receive()
        flight += step.output
        #expect(step.output.count <= room)
        guard case .needsOutput = step.event else { break }
        #expect(pair.server.connection.hasMoreOutput && pair.server.inbox.isEmpty)
        calls += 1
      }
      #expect(!pair.server.connection.hasMoreOutput)
      #expect(calls >= flight.count / room - 1 && flight.count > 1000 - 400)
      #expect(records(flight).flatMap { $0 } == flight)
      pair.client.inbox = flight
      pair.run()
      #expect(pair.server.isOpen && pair.client.isOpen)
      pair.free()
      contexts.0.free()
      contexts.1.free()
    }

    /// Neither close_notify nor plaintext is cut: without room for a record nothing is written.
    @Test func withoutRoomNothingIsWritten() {
      Pair.with { pair in
        for room in 0..<TLSConnection.recordOverhead {
          pair.server.outputRoom = room
          #expect(pair.server.close().isEmpty && pair.server.isOpen && pair.server.fault == nil)
          let step = [UInt8]([1, 2, 3]).withUnsafeBytes { bytes in
            withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { output in
              pair.server.connection.send(
                Bytes(bytes), output: UnsafeMutableRawBufferPointer(rebasing: output.prefix(room)))
            }
          }
          #expect(step.produced == 0 && step.plaintext == 0)
        }
        pair.server.outputRoom = TLSConnection.recordOverhead
        pair.client.inbox = pair.server.close()
        #expect(pair.client.take().isEmpty && pair.client.hasEnded)
      }
    }
  }
}

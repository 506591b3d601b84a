import Bounded
import COpenSSL
import Testing

@testable import TLS

extension LibraryTests {
  /// Certificates that a client sends beside its own.
  @Suite struct ChainTests {
    /// A certificate that nobody has asked for, as small as the library lets a client send it.
    private static let small: [UInt8] = {
      let name = Authority.name([NameString("x")])
      let tbs = DER.sequence(
        DER.explicit(0, DER.number(2)), DER.number(1), Key.algorithm, name,
        DER.sequence(DER.time("200101000000Z"), DER.time("491231235959Z")), name, Family.shared.clientKey.publicKey)
      return DER.pem("CERTIFICATE", DER.sequence(tbs, Key.algorithm, DER.bits([0])))
    }()

    static func client(_ count: Int, of certificate: [UInt8] = small, _ version: TLSVersion) -> TLSContext {
      TLSSettings.client { settings in
        var all = Family.shared.client
        for _ in 0..<count { all += certificate }
        settings.own(all, Family.shared.clientKey)
        settings.maximumVersion = version
      }.context()
    }

    /// A listener that has shaken hands before, as one has that is rehearsed.
    private static func listener(
      _ how: TLSClientCertificate, _ version: TLSVersion, _ change: (inout TLSSettings) -> Void = { _ in }
    ) -> TLSContext {
      let server = TLSSettings.server {
        $0.asks(how)
        change(&$0)
      }.context()
      let client = ChainTests.client(1, version)
      for _ in 0..<2 {
        var pair = Pair(server, client)!
        pair.run()
        pair.free()
      }
      client.free()
      return server
    }

    /// The server's end of a handshake, when it has let the client in; the client is gone.
    private static func served(_ server: TLSContext, _ client: TLSContext) -> TLSConnection? {
      guard var pair = Pair(server, client, isBounded: true) else { return nil }
      pair.run()
      pair.client.connection.free()
      if pair.server.isOpen, NameTests.name(pair.server, .commonName) == "boiler" { return pair.server.connection }
      pair.server.connection.free()
      return nil
    }

    /// How many small certificates a client may send, at most.
    private static func largest(_ server: TLSContext, _ version: TLSVersion) -> Int {
      var count = 96
      while count > 0 {
        let context = client(count, version)
        defer { context.free() }
        if let connection = served(server, context) {
          connection.free()
          return count
        }
        count -= 4
      }
      return 0
    }

    /// In the memory of the plan, with the largest chain that is let in, as many clients are served as the plan is for.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func asManyAreServedAsThePlanIsFor(_ version: TLSVersion) {
      let connections = 64
      let server = ChainTests.listener(.optional, version)
      let count = ChainTests.largest(server, version)
      #expect(count >= 8)
      let client = ChainTests.client(count, version)
      let used = LibraryTests.usedAtRest
      ChainTests.served(server, client)?.free()  // what the thread keeps
      let gauge = LibraryTests.library.gauge
      let planned = connections * TLSLibrary.connectionBytes(verifiesClients: true) + 4 * TLSLibrary.handshakeBytes
      let ballast = copenssl_arena_take(copenssl_arena(), gauge.capacity - gauge.used - planned)
      #expect(ballast != nil)
      var open: [TLSConnection] = []
      for _ in 0..<connections { if let connection = ChainTests.served(server, client) { open.append(connection) } }
      #expect(open.count == connections, "with \(count) certificates more")
      for connection in open { connection.free() }
      copenssl_arena_give_back(copenssl_arena(), ballast)
      #expect(LibraryTests.usedAtRest == used)
      server.free()
      client.free()
    }

    /// Whatever chain a client shows, its end of the server has no more than the plan's bytes once it is open.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func noChainTakesMoreThanThePlan(_ version: TLSVersion) {
      let server = ChainTests.listener(.optional, version)
      for count in [0, 0, 1, 2, 4, 8, 16, 32, 48, 64, 72, 80, 96] {
        let client = ChainTests.client(count, version)
        if let connection = ChainTests.served(server, client) {
          let used = LibraryTests.used
          connection.free()
          let takes = used - LibraryTests.used
          #expect(takes <= TLSLibrary.connectionBytes(verifiesClients: true), "\(count) more: \(takes)")
        }
        client.free()
      }
      server.free()
    }

    /// An authority's certificate as large as usual ones with RSA keys.
    private static var authority: [UInt8] {
      let family = Family.shared
      let how = Certificate(extensions: Certificate.authority + Certificate.ballast(700))
      return family.stranger.certificate([NameString("an authority")], family.rsaKey, how)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13]) func usualChainsAreLetIn(_ version: TLSVersion) {
      let server = ChainTests.listener(.required, version)
      let client = ChainTests.client(4, of: ChainTests.authority, version)
      let connection = ChainTests.served(server, client)
      #expect(connection != nil)
      connection?.free()
      server.free()
      client.free()
    }

    /// The listener's own chain has its room: the second is as long as this library's clients take.
    @Test(arguments: [TLSVersion.tls12, .tls13], [4, 11]) func ownChainsFit(_ version: TLSVersion, _ count: Int) {
      let server = ChainTests.listener(.required, version) { settings in
        var all = Family.shared.server
        let authority = ChainTests.authority
        for _ in 0..<count { all += authority }
        settings.own(all, Family.shared.serverKey)
      }
      let client = ChainTests.client(0, version)
      let connection = ChainTests.served(server, client)
      #expect(connection != nil)
      connection?.free()
      server.free()
      client.free()
    }

    /// A client's own certificate is kept, so it has to fit an open connection.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func aLargeCertificateIsRefusedAndSaysWhy(_ version: TLSVersion) {
      let server = ChainTests.listener(.optional, version)
      let family = Family.shared
      let client = TLSSettings.client {
        let how = Certificate(extensions: Certificate.ballast(15_000))
        $0.own(family.own.certificate([NameString("boiler")], family.clientKey, how), family.clientKey)
        $0.maximumVersion = version
      }.context()
      let used = LibraryTests.usedAtRest
      let refused = LibraryTests.library.gauge.refused
      var pair = Pair(server, client, isBounded: true)!
      pair.run()
      #expect(!pair.server.isOpen && pair.server.fault == .noMemory)
      #expect(text(pair.server.connection.reason) == "the handshake takes more memory than a connection has")
      pair.free()
      #expect(LibraryTests.usedAtRest == used && LibraryTests.library.gauge.refused == refused)
      server.free()
      client.free()
    }
  }
}

import Bounded
import COpenSSL
import Glibc
import Testing

@testable import TLS

/// Refuses allocations in turn: every seventh, or each with TAPLINE_EVERY_REFUSAL=1 in the environment (`make tls-test-long`).
enum Refusals {
  static let step = getenv("TAPLINE_EVERY_REFUSAL") == nil ? 7 : 1

  /// Runs `body` with the first request of the arena refused, then with a later one, until it makes no more requests. What
  /// is lent must be the same after each.
  /// - Returns: how many requests there were, up to a step more, and how often `body` has answered that it failed, times the
  ///   step.
  static func run(_ body: () -> Bool) -> (requests: Int, failures: Int) {
    var failures = 0
    var number = 1
    while true {
      let used = LibraryTests.usedAtRest
      let refused = LibraryTests.library.gauge.refused
      copenssl_arena_refuse(copenssl_arena(), UInt64(number))
      let hasFailed = body()
      copenssl_arena_refuse(copenssl_arena(), 0)
      let after = LibraryTests.usedAtRest
      #expect(after == used, "request \(number)")
      if LibraryTests.library.gauge.refused == refused { return (number - 1, failures) }
      if hasFailed { failures += step }
      number += step
    }
  }
}

extension LibraryTests {
  @Suite struct MemoryTests {
    /// A thousand connections with a client certificate leave the arena as it was, to the byte.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func connectionsGiveEverythingBack(_ version: TLSVersion) {
      let server = TLSSettings.server { $0.asks(.required) }.context()
      let client = TLSSettings.client {
        $0.own(Family.shared.client, Family.shared.clientKey)
        $0.maximumVersion = version
      }.context()
      var used = 0
      for number in 0...1000 {
        var pair = Pair(server, client)!
        pair.run()
        pair.server.inbox += pair.client.send([1, 2, 3])
        pair.client.inbox += pair.server.send([4])
        pair.run()
        #expect(pair.server.received == [1, 2, 3] && pair.client.received == [4])
        if number % 2 == 0 { _ = pair.server.close() }
        pair.free()
        if number == 0 { used = LibraryTests.used }  // what is fetched at the first one
        #expect(LibraryTests.used == used, "connection \(number)")
      }
      server.free()
      client.free()
    }

    /// An idle connection and one that shakes hands take what the plan says.
    @Test(arguments: [TLSVersion.tls12, .tls13], [false, true])
    func connectionsStayWithinThePlan(_ version: TLSVersion, verifiesClients: Bool) {
      let server = TLSSettings.server { if verifiesClients { $0.asks(.required) } }.context()
      let client = TLSSettings.client {
        $0.own(Family.shared.client, Family.shared.clientKey)
        $0.maximumVersion = version
      }.context()
      for _ in 0..<2 {
        var pair = Pair(server, client)!
        pair.run()
        pair.free()
      }
      var pair = Pair(server, client)!
      pair.run()
      let both = LibraryTests.used
      pair.client.connection.free()
      let clientTakes = both - LibraryTests.used
      pair.server.connection.free()
      let serverTakes = both - clientTakes - LibraryTests.used
      #expect(
        serverTakes > 4096 && serverTakes <= TLSLibrary.connectionBytes(verifiesClients: verifiesClients),
        "\(serverTakes)")
      server.free()
      client.free()
    }

    /// What a reload makes while clients are served: a context, and a handshake of it with itself.
    @Test(arguments: [false, true]) func aReloadStaysWithinThePlan(rsa: Bool) throws {
      let settings = TLSSettings.server {
        if rsa { $0.own(Family.shared.rsaServer, Family.shared.rsaKey) }
        $0.asks(.required)
        $0.revocations = kept(Family.shared.own.revocations([3, 4, 5]))
      }
      for _ in 0..<2 {
        let context = settings.context()
        try context.rehearse(settings, LibraryTests.library)
        context.free()
      }
      let before = LibraryTests.usedAtRest
      let context = settings.context()
      let takes = LibraryTests.usedAtRest - before
      #expect(takes > 4096 && takes <= TLSLibrary.contextBytes, "\(takes)")
      copenssl_arena_forget_peak(copenssl_arena())
      try context.rehearse(settings, LibraryTests.library)
      let rehearsal = Int(copenssl_arena_figures(copenssl_arena()).peak) - before - takes
      #expect(rehearsal > 16_384 && rehearsal <= TLSLibrary.rehearsalBytes, "\(rehearsal)")
      context.free()
      #expect(LibraryTests.usedAtRest == before)
    }

    /// The server's end alone, with every allocation refused in turn: a client that may come in comes in or gets an error,
    /// and nothing is left.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func everyRefusedAllocationIsAnError(_ version: TLSVersion) {
      let server = TLSSettings.server { $0.asks(.required) }.context()
      let client = TLSSettings.client {
        $0.own(Family.shared.client, Family.shared.clientKey)
        $0.maximumVersion = version
      }.context()
      for _ in 0..<3 { _ = MemoryTests.shakeHands(server, client) }
      let (requests, failures) = Refusals.run { !MemoryTests.shakeHands(server, client) }
      #expect(requests > 500)
      #expect(failures > requests / 4)
      #expect(MemoryTests.shakeHands(server, client))
      server.free()
      client.free()
    }

    /// With no certificate, or a stranger's, nobody is let in whichever allocation fails.
    @Test(arguments: [false, true]) func nobodyComesInThroughARefusal(withCertificate: Bool) {
      let family = Family.shared
      let server = TLSSettings.server { $0.asks(.required) }.context()
      let client = TLSSettings.client {
        guard withCertificate else { return }
        $0.own(family.stranger.certificate([NameString("boiler")], family.clientKey), family.clientKey)
      }.context()
      for _ in 0..<3 { _ = MemoryTests.shakeHands(server, client) }
      let (requests, failures) = Refusals.run { !MemoryTests.shakeHands(server, client) }
      #expect(requests > 300)
      #expect(failures == requests)
      server.free()
      client.free()
    }

    /// Whether the server has let the client in, and knows who it is.
    static func shakeHands(_ server: TLSContext, _ client: TLSContext) -> Bool {
      guard var pair = Pair(server, client) else { return false }
      pair.run()
      let isOpen = pair.server.isOpen && NameTests.name(pair.server, .commonName) == "boiler"
      if pair.server.isOpen && !isOpen { Issue.record("let in as nobody") }
      pair.free()
      return isOpen
    }

    @Test func thePlanIsTheSumOfItsParts() {
      var plan = TLSPlan(listeners: 2, connections: 10, handshakes: 3, verifiesClients: true)
      #expect(plan.contextBytes == (5 * 34 + 192) << 10)
      #expect(plan.arenaBytes == (768 + 362 + 360 + 240) << 10)
      plan.verifiesClients = false
      #expect(plan.arenaBytes == (768 + 362 + 240 + 240) << 10)
    }
  }
}

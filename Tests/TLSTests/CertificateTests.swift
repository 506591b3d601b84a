import Bounded
import COpenSSL
import Testing

@testable import TLS

extension LibraryTests {
  /// Certificates that the library makes, by the library's own verification.
  @Suite struct CertificateTests {
    static let library = LibraryTests.library
    /// 2026-12-01T00:00:00Z.
    static let now: Int64 = 1_796_083_200
    static let from = now - 86_400
    static let until = now + 86_400 * 700

    /// An authority, or a certificate that it has signed, with its key.
    final class Holder {
      let certificate: TLSCertificate
      let key: TLSKey

      init(
        _ use: TLSCertificateUse, _ name: String, by authority: Holder? = nil, names: [TLSServerName] = [],
        from: Int64 = CertificateTests.from, until: Int64 = CertificateTests.until
      ) {
        key = TLSKey(library)!
        var order = TLSCertificateOrder(use, commonName: Array(name.utf8), from: from, until: until)
        order.names = names
        certificate = try! TLSCertificate(
          order, key: key, authority: authority?.certificate, authorityKey: authority?.key ?? key, library)
      }
    }

    static let names = [
      dns("board"), dns("board.local"), TLSServerName(address: [192, 0, 2, 7]),
      TLSServerName(address: [0x20, 1, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [7]), dns("*.example.org"),
    ]

    static func dns(_ text: String) -> TLSServerName { TLSServerName(dnsName: Array(text.utf8)) }

    /// What OpenSSL says against a certificate, by all rules; nil: nothing.
    static func problem(
      _ holder: Holder, _ use: TLSCertificateUse, by authority: Holder, at time: Int64 = now
    ) -> String? {
      holder.certificate.problem(of: use, by: authority.certificate, at: time, strictly: true).map { text($0) }
    }

    @Test func eachIsTakenForItsUseAndNoOther() {
      let own = Holder(.authority, "Home")
      let stranger = Holder(.authority, "Home")
      let server = Holder(.server, "board", by: own, names: CertificateTests.names)
      let client = Holder(.client, "kitchen", by: own)
      #expect(CertificateTests.problem(own, .authority, by: own) == nil)
      #expect(CertificateTests.problem(server, .server, by: own) == nil)
      #expect(CertificateTests.problem(client, .client, by: own) == nil)

      for (holder, use) in [(server, TLSCertificateUse.client), (client, .server), (own, .server), (own, .client)] {
        #expect(CertificateTests.problem(holder, use, by: own)?.contains("purpose") == true, "\(use)")
      }
      for holder in [server, client] {
        #expect(CertificateTests.problem(holder, .authority, by: own) == "it is not the certificate of an authority")
      }
      // Of the same name, with another key.
      for (holder, use) in [(server, TLSCertificateUse.server), (client, .client), (own, .authority)] {
        #expect(CertificateTests.problem(holder, use, by: stranger) != nil, "\(use)")
      }
      // A holder of a certificate is no authority.
      let forged = Holder(.client, "kitchen", by: client)
      #expect(CertificateTests.problem(forged, .client, by: client) != nil)
      #expect(CertificateTests.problem(forged, .client, by: own) != nil)
    }

    @Test func theFirstAndTheLastSecondCount() {
      let own = Holder(.authority, "Home", until: CertificateTests.until + 10)
      let client = Holder(.client, "kitchen", by: own)
      let rows: [(Int64, String?)] = [
        (CertificateTests.from - 1, "certificate is not yet valid"), (CertificateTests.from, nil),
        (CertificateTests.until - 1, nil), (CertificateTests.until, "certificate has expired"),  // OpenSSL's own rule
      ]
      for (time, expected) in rows {
        #expect(CertificateTests.problem(client, .client, by: own, at: time) == expected, "\(time)")
      }
      #expect(client.certificate.until == CertificateTests.until)
      #expect(own.certificate.until == CertificateTests.until + 10)
      // 2050 and later have another form in a certificate (RFC 5280, section 4.1.2.5).
      let late = Holder(.authority, "Home", until: 2_600_000_000)
      #expect(late.certificate.until == 2_600_000_000)
      #expect(CertificateTests.problem(late, .authority, by: late, at: 2_599_999_999) == nil)
    }

    @Test func namesAreThoseOrdered() {
      let own = Holder(.authority, "Home")
      let server = Holder(.server, "board.example", by: own, names: CertificateTests.names).certificate
      #expect(server.names == CertificateTests.names)
      for name in CertificateTests.names.dropLast() { #expect(server.has(name), "\(name)") }
      #expect(server.has(CertificateTests.dns("BOARD.local")) && server.has(CertificateTests.dns("a.example.org")))
      let others = [
        "board.example", "boar", "boards", "local", "a.board.local", "example.org", "a.b.example.org", "192.0.2.7",
      ]
      for name in others { #expect(!server.has(CertificateTests.dns(name)), "\(name)") }
      for last: UInt8 in [6, 8] { #expect(!server.has(TLSServerName(address: [192, 0, 2, last]))) }
      #expect(own.certificate.names.isEmpty && !own.certificate.has(CertificateTests.dns("Home")))
      let many = (0..<64).map { CertificateTests.dns("host-\($0).example") }
      #expect(Holder(.server, "many", by: own, names: many).certificate.names == many)
    }

    @Test func whatIsWrittenIsReadAgain() throws {
      let own = Holder(.authority, "Home")
      let client = Holder(.client, "Küche", by: own)
      let other = Holder(.client, "kitchen", by: own)
      let pem = try #require(client.certificate.pem)
      let keyPEM = try #require(client.key.pem)
      #expect(String(decoding: keyPEM, as: UTF8.self).hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
      let certificate = try TLSCertificate(pem: kept(pem), CertificateTests.library)
      let key = try TLSKey(pem: kept(keyPEM), CertificateTests.library)
      #expect(certificate.pem == pem && key.pem == keyPEM)
      #expect(certificate.fits(key) && certificate.fits(client.key) && !certificate.fits(other.key))
      #expect(certificate.problem(of: .client, by: own.certificate, at: CertificateTests.now, strictly: true) == nil)
      #expect(client.key.pem != other.key.pem)
    }

    /// Cut at every length, and one bit changed in every fifth byte: refused, or not what the authority has signed.
    @Test func brokenFilesAreRefused() throws {
      let own = Holder(.authority, "Home")
      let client = Holder(.client, "kitchen", by: own)
      let pem = try #require(client.certificate.pem)
      let keyPEM = try #require(client.key.pem)
      for count in 0..<(pem.count - 1) {  // the last one ends a line, which may do without
        #expect(throws: TLSContextError.self, "\(count)") { try certificate(Array(pem.prefix(count))) }
      }
      for count in 0..<(keyPEM.count - 1) {
        #expect(throws: TLSContextError.self, "\(count)") { try key(Array(keyPEM.prefix(count))) }
      }
      for index in stride(from: 0, to: pem.count, by: 5) {
        var changed = pem
        changed[index] ^= 2
        guard let read = try? certificate(changed), read.pem != pem else { continue }  // such as a line's end
        let problem = read.problem(of: .client, by: own.certificate, at: CertificateTests.now, strictly: true)
        #expect(problem != nil, "\(index)")
      }
      let rows: [(String, TLSContextError.Problem, TLSContextError.Problem)] = [
        ("", .empty, .empty), ("hello\n", .empty, .empty),
        ("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", .unreadable, .empty),
        ("-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n", .empty, .unreadable),
        (String(decoding: Family.shared.serverKey.encrypted(), as: UTF8.self), .empty, .encrypted),
      ]
      for (content, ofCertificate, ofKey) in rows {
        do throws(TLSContextError) {
          _ = try certificate(Array(content.utf8))
          Issue.record("\(content)")
        } catch { #expect(error.problem == ofCertificate && error.file == .certificates, "\(content)") }
        do throws(TLSContextError) {
          _ = try key(Array(content.utf8))
          Issue.record("\(content)")
        } catch { #expect(error.problem == ofKey && error.file == .key, "\(content)") }
      }
    }

    private func certificate(_ pem: [UInt8]) throws(TLSContextError) -> TLSCertificate {
      try TLSCertificate(pem: kept(pem), CertificateTests.library)
    }

    private func key(_ pem: [UInt8]) throws(TLSContextError) -> TLSKey {
      try TLSKey(pem: kept(pem), CertificateTests.library)
    }

    /// A listener and a client with such certificates speak, and the client is who its certificate says, by both rules.
    @Test func listenersAndClientsTakeThem() throws {
      // A handshake goes by the wall clock.
      let own = Holder(.authority, "Home", from: 0, until: 2_600_000_000)
      let server = Holder(
        .server, "board", by: own, names: CertificateTests.names, from: 0, until: 2_600_000_000)
      let client = Holder(
        .client, "kitchen", by: own, names: [CertificateTests.dns("kitchen")], from: 0, until: 2_600_000_000)
      var listener = TLSSettings()
      listener.certificates = kept(try #require(server.certificate.pem))
      listener.key = kept(try #require(server.key.pem))
      listener.authorities = kept(try #require(own.certificate.pem))
      listener.clientCertificate = .required
      var peer = TLSSettings()
      peer.isClient = true
      peer.authorities = listener.authorities
      peer.certificates = kept(try #require(client.certificate.pem))
      peer.key = kept(try #require(client.key.pem))
      Pair.with(listener, peer) { pair in
        #expect(pair.server.isOpen && pair.client.isOpen, "\(text(pair.server.connection.reason))")
        guard pair.server.isOpen else { return }
        #expect(NameTests.name(pair.server, .commonName) == "kitchen")
        #expect(NameTests.name(pair.server, .dnsName) == "kitchen")
      }
      // A server's certificate makes no client.
      peer.certificates = listener.certificates
      peer.key = listener.key
      Pair.with(listener, peer) { pair in #expect(!pair.server.isOpen) }
    }

    /// Whatever request is refused: nothing is made, and nothing is left behind.
    @Test func withoutMemoryNothingIsMade() {
      let own = Holder(.authority, "Home")
      for _ in 0..<2 {  // what is fetched once
        let server = Holder(.server, "board", by: own, names: CertificateTests.names)
        #expect(CertificateTests.problem(server, .server, by: own) == nil && server.certificate.pem != nil)
        #expect(server.key.pem != nil)
      }
      let (requests, failures) = Refusals.run {
        guard let key = TLSKey(CertificateTests.library), key.pem != nil else { return true }
        var order = TLSCertificateOrder(
          .server, commonName: Array("board".utf8), from: CertificateTests.from, until: CertificateTests.until)
        order.names = CertificateTests.names
        guard
          let made = try? TLSCertificate(
            order, key: key, authority: own.certificate, authorityKey: own.key, CertificateTests.library)
        else { return true }
        return made.pem == nil
          || made.problem(of: .server, by: own.certificate, at: CertificateTests.now, strictly: true) != nil
      }
      #expect(requests > 100 && failures > 50)
    }
  }
}

import Bounded
import Testing

@testable import TLS

extension LibraryTests {
  @Suite struct ClientCertificateTests {
    struct Row: CustomTestStringConvertible {
      let name: String
      /// Who is let in where a certificate is optional, and where it is required.
      let optional: Bool
      let required: Bool
      var reason = ""
      var cause = TLSFault.certificate
      let client: @Sendable (inout TLSSettings) -> Void
      var server: @Sendable (inout TLSSettings) -> Void = { _ in }
      var testDescription: String { name }
    }

    static let family = Family.shared

    /// By the authority, for the client's key.
    static func signed(_ how: Certificate) -> @Sendable (inout TLSSettings) -> Void {
      { $0.own(family.own.certificate([NameString("boiler")], family.clientKey, how), family.clientKey) }
    }

    static let good: @Sendable (inout TLSSettings) -> Void = { $0.own(family.client, family.clientKey) }

    static let rows = [
      Row(name: "good", optional: true, required: true, client: good),
      Row(
        name: "none", optional: true, required: false, reason: "peer did not return a certificate", client: { _ in }),
      Row(
        name: "self-signed", optional: false, required: false, reason: "self-signed certificate",
        client: {
          let own = Authority(name: [NameString("boiler")], key: family.clientKey)
          $0.own(own.certificate(own.name, family.clientKey), family.clientKey)
        }),
      Row(
        name: "by another authority", optional: false, required: false,
        reason: "unable to get local issuer certificate",
        client: {
          $0.own(family.stranger.certificate([NameString("boiler")], family.clientKey), family.clientKey)
        }),
      Row(
        name: "by another authority of the same name", optional: false, required: false,
        reason: "certificate signature failure",
        client: {
          let impostor = Authority(name: family.own.name, key: family.otherKey)
          $0.own(impostor.certificate([NameString("boiler")], family.clientKey), family.clientKey)
        }),
      Row(
        name: "by a client", optional: false, required: false, reason: "invalid CA certificate",
        client: {
          let boiler = Authority(name: [NameString("boiler")], key: family.clientKey)
          $0.own(boiler.certificate([NameString("oven")], family.otherKey) + family.client, family.otherKey)
        }),
      Row(
        name: "expired", optional: false, required: false, reason: "certificate has expired",
        client: signed(Certificate(until: "210101000000Z"))),
      Row(
        name: "not yet valid", optional: false, required: false, reason: "certificate is not yet valid",
        client: signed(Certificate(from: "480101000000Z"))),
      Row(
        name: "for servers", optional: false, required: false, reason: "unsuitable certificate purpose",
        client: signed(Certificate(extensions: Certificate.usage(1)))),
      Row(
        name: "for clients", optional: true, required: true,
        client: signed(Certificate(extensions: Certificate.usage(2)))),
      Row(
        name: "revoked", optional: false, required: false, reason: "certificate revoked", client: good,
        server: { $0.revocations = kept(family.own.revocations([3, 7])) }),
      Row(
        name: "another is revoked", optional: true, required: true, client: good,
        server: { $0.revocations = kept(family.own.revocations([3, 8])) }),
      Row(
        name: "revocations expired", optional: false, required: false, reason: "CRL has expired", client: good,
        server: { $0.revocations = kept(family.own.revocations([], until: "210101000000Z")) }),
      Row(
        name: "none and revocations expired", optional: true, required: false,
        reason: "peer did not return a certificate", client: { _ in },
        server: { $0.revocations = kept(family.own.revocations([], until: "210101000000Z")) }),
      Row(
        name: "revocations of another authority", optional: false, required: false,
        reason: "unable to get certificate CRL", client: good,
        server: { $0.revocations = kept(family.stranger.revocations([])) }),
      Row(name: "chain of 3", optional: true, required: true, client: chain(3)),
      Row(
        name: "chain of 20", optional: false, required: false, reason: "certificate chain too long", client: chain(20)),
      Row(
        name: "17 kB", optional: false, required: false, reason: "excessive message size", cause: .violation,
        client: signed(Certificate(extensions: Certificate.ballast(17_000)))),
    ]

    /// A client's certificate below so many authorities, each signed by the one before.
    static func chain(_ count: Int) -> @Sendable (inout TLSSettings) -> Void {
      {
        var chain: [UInt8] = []
        var above = family.own
        for number in 1..<count {
          let name = [NameString("intermediate \(number)")]
          chain = above.certificate(name, family.otherKey, Certificate(extensions: Certificate.authority)) + chain
          above = Authority(name: name, key: family.otherKey)
        }
        $0.own(above.certificate([NameString("boiler")], family.clientKey) + chain, family.clientKey)
      }
    }

    @Test(arguments: rows, [TLSVersion.tls12, .tls13]) func whoIsLetIn(_ row: Row, _ version: TLSVersion) {
      for (how, isLetIn) in [(TLSClientCertificate.optional, row.optional), (.required, row.required)] {
        let server = TLSSettings.server {
          $0.asks(how)
          row.server(&$0)
        }
        let client = TLSSettings.client {
          $0.maximumVersion = version
          row.client(&$0)
        }
        Pair.with(server, client) { pair in
          #expect(pair.server.isOpen == isLetIn, "\(text(pair.server.connection.reason))")
          if !isLetIn {
            #expect(pair.server.fault == row.cause)
            #expect(text(pair.server.connection.reason) == row.reason)
            #expect(pair.client.fault == .alert)
          }
        }
      }
    }

    /// 64 kB and more are over before OpenSSL looks at them.
    @Test(arguments: [TLSVersion.tls12, .tls13]) func hugeCertificatesAreNotRead(_ version: TLSVersion) {
      let client = TLSSettings.client {
        $0.maximumVersion = version
        ClientCertificateTests.signed(Certificate(extensions: Certificate.ballast(64_000)))(&$0)
      }
      Pair.with(.server { $0.asks(.required) }, client) { pair in
        #expect(!pair.server.isOpen)
        #expect(pair.server.fault == .handshakeTooLong || pair.server.fault == .violation)
      }
    }

    /// Where nobody is asked, a client's certificate is not looked at, and names nobody.
    @Test func nobodyIsAsked() {
      Pair.with(.server(), .client(ClientCertificateTests.good)) { pair in
        #expect(pair.server.isOpen)
        #expect(NameTests.name(pair.server, .commonName) == "noCertificate")
      }
    }

    /// A client without a certificate on a listener where it is optional is nobody.
    @Test func noCertificateIsNobody() {
      Pair.with(.server { $0.asks(.optional) }, .client()) { pair in
        #expect(pair.server.isOpen)
        #expect(NameTests.name(pair.server, .commonName) == "noCertificate")
        #expect(NameTests.name(pair.server, .dnsName) == "noCertificate")
      }
    }
  }
}

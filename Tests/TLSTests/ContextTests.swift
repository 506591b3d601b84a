import Bounded
import Testing

@testable import TLS

extension LibraryTests {
  @Suite struct ContextTests {
    struct Row: CustomTestStringConvertible {
      let name: String
      let file: TLSFile
      let problem: TLSContextError.Problem
      let change: @Sendable (inout TLSSettings) -> Void
      var testDescription: String { name }
    }

    static let family = Family.shared

    static let wrong = [
      Row(name: "no certificates", file: .certificates, problem: .empty) { $0.certificates = .empty },
      Row(name: "no PEM", file: .certificates, problem: .empty) { $0.certificates = Bytes("hello\n") },
      Row(name: "a key for a certificate", file: .certificates, problem: .empty) {
        $0.certificates = kept(family.serverKey.pem)
      },
      Row(name: "certificate without end", file: .certificates, problem: .unreadable) {
        $0.certificates = kept(family.server.dropLast(40))
      },
      Row(name: "second certificate without end", file: .certificates, problem: .unreadable) {
        $0.certificates = kept(family.server + family.authority.dropLast(40))
      },
      Row(name: "no base64", file: .certificates, problem: .unreadable) {
        $0.certificates = Bytes("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n")
      },
      Row(name: "no certificate in the base64", file: .certificates, problem: .unreadable) {
        $0.certificates = kept(DER.pem("CERTIFICATE", [0x30, 3, 2, 1, 5]))
      },
      Row(name: "no key", file: .key, problem: .empty) { $0.key = .empty },
      Row(name: "a certificate for a key", file: .key, problem: .empty) { $0.key = kept(family.server) },
      Row(name: "key without end", file: .key, problem: .unreadable) {
        $0.key = kept(family.serverKey.pem.dropLast(40))
      },
      Row(name: "encrypted key", file: .key, problem: .encrypted) { $0.key = kept(family.serverKey.encrypted()) },
      Row(name: "another's key", file: .key, problem: .mismatch) { $0.key = kept(family.clientKey.pem) },
      Row(name: "a key of another kind", file: .key, problem: .mismatch) { $0.key = kept(family.rsaKey.pem) },
      Row(name: "the authority's certificate first", file: .key, problem: .mismatch) {
        $0.certificates = kept(family.authority + family.server)
      },
      Row(name: "empty file of authorities", file: .authorities, problem: .empty) { $0.authorities = .empty },
      Row(name: "no authority", file: .authorities, problem: .empty) { $0.authorities = kept(family.serverKey.pem) },
      Row(name: "broken authority", file: .authorities, problem: .unreadable) {
        $0.authorities = kept(family.authority.dropLast(40))
      },
      Row(name: "clients without authority", file: .authorities, problem: .missing) {
        $0.clientCertificate = .optional
      },
      Row(name: "revocations without authority", file: .authorities, problem: .missing) {
        $0.revocations = kept(family.own.revocations([]))
      },
      Row(name: "no revocations", file: .revocations, problem: .empty) {
        $0.asks(.required)
        $0.revocations = kept(family.authority)
      },
      Row(name: "broken revocations", file: .revocations, problem: .unreadable) {
        $0.asks(.required)
        $0.revocations = kept(family.own.revocations([7]).dropLast(40))
      },
    ]

    /// The error names the file and why, and leaves nothing behind.
    @Test(arguments: wrong) func wrongFilesAreNamed(_ row: Row) {
      let settings = TLSSettings.server(row.change)
      var used = 0
      for round in 0..<2 {
        if round == 1 { used = LibraryTests.usedAtRest }  // the first one fetches what is needed later
        do throws(TLSContextError) {
          try TLSContext(settings, LibraryTests.library).free()
          Issue.record("it was taken")
        } catch {
          #expect(error.file == row.file && error.problem == row.problem, "\(text(error.reason))")
          #expect(written { error.write(into: &$0) }.count > 15)
        }
      }
      #expect(LibraryTests.usedAtRest == used)
    }

    @Test func aKeyThatDoesNotFitIsToldInWords() {
      do throws(TLSContextError) {
        try TLSContext(.server { $0.key = kept(Family.shared.clientKey.pem) }, LibraryTests.library).free()
        Issue.record("it was taken")
      } catch {
        #expect(written { error.write(into: &$0) } == "is not the key of the certificate (key values mismatch)")
      }
    }

    struct Warning: CustomTestStringConvertible {
      let name: String
      let expected: TLSWarnings
      let change: @Sendable (inout TLSSettings) -> Void
      var testDescription: String { name }
    }

    static let warned = [
      Warning(name: "all valid", expected: []) { $0.asks(.required) },
      Warning(name: "expired", expected: .certificateExpired) {
        $0.own(family.own.certificate([NameString("a")], family.serverKey, expired), family.serverKey)
      },
      Warning(name: "early", expected: .certificateEarly) {
        $0.own(family.own.certificate([NameString("a")], family.serverKey, early), family.serverKey)
      },
      Warning(name: "expired authority", expected: .authorityExpired) {
        $0.asks(.required)
        var how = expired
        how.extensions = Certificate.authority
        $0.authorities = kept(family.own.certificate(family.own.name, family.ownKey, how))
      },
      Warning(name: "expired revocations", expected: .revocationsExpired) {
        $0.asks(.required)
        $0.revocations = kept(family.own.revocations([], until: "210101000000Z"))
      },
    ]
    static var expired: Certificate { Certificate(until: "210101000000Z") }
    static var early: Certificate { Certificate(from: "480101000000Z") }

    @Test(arguments: warned) func whatIsUsedAllTheSameIsWarnedOf(_ row: Warning) {
      let context = TLSSettings.server(row.change).context()
      #expect(context.warnings == row.expected)
      context.free()
    }

    /// The arena is full at each place in turn: an error that says so, and nothing left. OpenSSL alone would make contexts
    /// that lack a part.
    @Test func everyRefusedAllocationIsAnError() {
      let settings = TLSSettings.server {
        $0.asks(.required)
        $0.revocations = kept(Family.shared.own.revocations([3]))
      }
      for _ in 0..<2 { settings.context().free() }
      let (requests, failures) = Refusals.run {
        let refused = LibraryTests.library.gauge.refused
        do throws(TLSContextError) {
          let context = try TLSContext(settings, LibraryTests.library)
          #expect(LibraryTests.library.gauge.refused == refused)
          context.free()  // which may ask for memory too, and does without
          return false
        } catch {
          #expect(error.problem == .noMemory)
          return true
        }
      }
      #expect(requests > 1000)
      #expect(failures > requests - 20 * Refusals.step, "\(failures) of \(requests)")
    }

    @Test func aListenerShakesHandsWithItself() throws {
      for how in [TLSClientCertificate.none, .required] {
        for rsa in [false, true] {
          let settings = TLSSettings.server {
            if rsa { $0.own(Family.shared.rsaServer, Family.shared.rsaKey) }
            if how != .none { $0.asks(how) }
          }
          let context = settings.context()
          defer { context.free() }
          try context.rehearse(settings, LibraryTests.library)
          #expect(LibraryTests.library.isWithinPlan(contexts: 2))
        }
      }
    }

    /// A certificate for servers only is no client's: that is not the listener's fault.
    @Test func aListenerNeedNotBeAClient() throws {
      let family = Family.shared
      let settings = TLSSettings.server {
        let how = Certificate(extensions: Certificate.usage(1))
        $0.own(family.own.certificate([NameString("a")], family.serverKey, how), family.serverKey)
        $0.asks(.required)
      }
      let context = settings.context()
      defer { context.free() }
      try context.rehearse(settings, LibraryTests.library)
    }

    /// A chain that does not fit the output of a handshake is found before the first client is.
    @Test func aChainThatIsTooLongIsFoundAtStart() {
      let family = Family.shared
      let settings = TLSSettings.server {
        let how = Certificate(extensions: Certificate.ballast(30_000))
        $0.own(family.own.certificate([NameString("a")], family.serverKey, how), family.serverKey)
      }
      let context = settings.context()
      defer { context.free() }
      #expect(throws: TLSRehearsalError.self) { try context.rehearse(settings, LibraryTests.library) }
    }
  }
}

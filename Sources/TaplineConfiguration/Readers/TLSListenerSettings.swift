public import TLS

/// `tls:` of a listener.
public struct TLSListenerSettings: Sendable, Equatable {
  /// Paths of PEM files: the own certificate and those that lead to its authority, and its key.
  public var certificate: [UInt8] = []
  public var key: [UInt8] = []
  /// The authorities of clients' certificates.
  public var ca: [UInt8]?
  /// What they have revoked.
  public var crl: [UInt8]?
  public var clientCertificate = TLSClientCertificate.none
  public var verifiesClients: Bool { clientCertificate != .none }
  /// Where a client's name is in its certificate.
  public var identity = TLSName.commonName
  public var minimum = TLSVersion.tls12
  /// Where the file names them.
  package var places = TLSPlaces()

  public init() {}
}

/// Where a configuration names the files of `tls`.
package struct TLSPlaces: Sendable, Equatable {
  package var certificate = NotedPlace()
  package var key = NotedPlace()
  package var ca = NotedPlace()
  package var crl = NotedPlace()
}

extension TLSListenerSettings {
  static var keys: [StaticString] {
    ["certificate", "key", "ca", "crl", "client_certificate", "identity", "minimum"]
  }

  /// nil: the listener has no `tls`.
  static func read(_ listener: Section) -> TLSListenerSettings? {
    guard let entry = listener.entry("tls") else { return nil }
    let section = Section(entry.value, "tls", keys: keys, errors: listener.errors)
    var settings = TLSListenerSettings()
    settings.certificate = needed("certificate", section)
    settings.key = needed("key", section)
    settings.ca = section.path("ca")
    settings.crl = section.path("crl")
    settings.clientCertificate = section.choice(
      "client_certificate",
      [Choice("none", TLSClientCertificate.none), Choice("optional", .optional), Choice("required", .required)],
      default: .none)
    settings.identity = section.choice(
      "identity", [Choice("cn", TLSName.commonName), Choice("san", .dnsName)], default: .commonName)
    settings.minimum = section.choice(
      "minimum", [Choice("1.2", TLSVersion.tls12), Choice("1.3", .tls13)], default: .tls12)
    settings.places.certificate.place = section.place(of: "certificate")
    settings.places.key.place = section.place(of: "key")
    settings.places.ca.place = section.place(of: "ca")
    settings.places.crl.place = section.place(of: "crl")
    settings.judge(section)
    return settings
  }

  private static func needed(_ key: StaticString, _ section: Section) -> [UInt8] {
    if !section.has(key) {
      var text = Text("'tls' without ")
      text.add(quoted: key)
      text.add("; expected the path of a PEM file")
      section.errors.add(section.place, text)
    }
    return section.path(key) ?? []
  }

  private func judge(_ section: Section) {
    if clientCertificate == .none {
      for key: StaticString in ["ca", "crl", "identity"] where section.has(key) {
        var text = Text()
        text.add(quoted: key)
        text.add(" is for the certificates of clients; expected 'client_certificate: required' or optional beside it")
        section.errors.add(section.place(of: key), text)
      }
    } else if !section.has("ca") {
      section.errors.add(
        section.place(of: "client_certificate"),
        "'client_certificate' without 'ca'; expected the path of a PEM file with the authorities of clients")
    }
  }
}

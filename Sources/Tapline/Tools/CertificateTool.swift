import Bounded
public import LinuxIO
import TLS
public import TaplineConfiguration

/// What `tapline cert` is asked for.
public struct CertificateWish {
  public var directory = [UInt8](ascii: ".")
  /// DNS names and addresses of the server, beside those that this machine has.
  public var names: [[UInt8]] = []
  /// User names of clients.
  public var clients: [[UInt8]] = []
  /// Makes anew what is there: the certificates of `clients`, or without any the server's. Keys stay.
  public var renews = false
  /// How long a certificate is valid.
  public var days = CertificateTool.daysDefault
  /// Who may read the server's key beside its owner: a group's name or number.
  public var group: [UInt8]?

  public init() {}
}

/// Of which machine and at which time certificates are made.
public struct CertificateMachine {
  public var hostName: [UInt8]
  public var addresses: [IPAddress]
  /// Seconds since 1970, by the wall clock.
  public var seconds: Int64

  public init(hostName: [UInt8], addresses: [IPAddress], seconds: Int64) {
    self.hostName = hostName
    self.addresses = addresses
    self.seconds = seconds
  }

  /// This machine, now. Where the kernel does not tell the addresses, there are none.
  public static var here: CertificateMachine {
    CertificateMachine(
      hostName: Process.hostName().withBytes { $0.array() }, addresses: (try? IPAddress.ofThisMachine()) ?? [],
      seconds: Clock.wallNanoseconds() / 1_000_000_000)
  }
}

/// `tapline cert`: a small authority, a certificate for this machine's server, and certificates for clients. Makes what is
/// missing in a directory and keeps what is there. Loads OpenSSL, so it runs once in a process.
public struct CertificateTool {
  /// What went wrong, for people: the file and the remedy.
  public struct Problem: Error {
    public let text: Text
  }

  /// The most that Apple's systems allow a server's certificate.
  public static var serverDaysMax: Int { 825 }
  public static var daysDefault: Int { serverDaysMax }
  /// The authority's life: ten years. What it signs ends with it.
  public static var authorityDays: Int { 3653 }

  private static var secondsADay: Int64 { 86_400 }
  /// 2024-01-01: no clock that was set says less.
  private static var secondsMin: Int64 { 1_704_067_200 }
  /// The rest of a certificate's life in which the report says that it ends soon.
  private static var soonSeconds: Int64 { 30 * secondsADay }
  /// OpenSSL's memory: what it takes at rest, and twice as much.
  private static var arenaBytes: Int { 2 << 20 }

  private let wish: CertificateWish
  private let machine: CertificateMachine
  private let folder: [UInt8]
  private let group: UInt32?
  private let typedNames: [TLSServerName]
  private var report = CertificateReport()

  /// Checks everything that needs no OpenSSL. Writes nothing.
  public init(_ wish: CertificateWish, on machine: CertificateMachine) throws(Problem) {
    self.wish = wish
    self.machine = machine
    guard machine.seconds >= CertificateTool.secondsMin else {
      var text = Text("this machine's clock says ")
      text.add(CertificateReport.date(machine.seconds))
      text.add("; set it first (timedatectl, or date -s), because a certificate says from when until when it is valid")
      throw Problem(text: text)
    }
    for client in wish.clients {
      if let problem = ClientName.problem(client) { throw CertificateTool.problem(option: "--client", client, problem) }
    }
    var names: [TLSServerName] = []
    for word in wish.names {
      guard let name = CertificateNames.name(word) else {
        let expected = Text("expected a DNS name such as board.example, or an address such as 192.0.2.7")
        throw CertificateTool.problem(option: "--name", word, expected)
      }
      names.append(name)
    }
    typedNames = names
    if let wanted = wish.group {
      guard let gid = UserFiles.gid(wanted) else {
        throw CertificateTool.problem(option: "--group", wanted, Text("expected a group of this machine"))
      }
      group = gid
    } else {
      group = nil
    }
    do throws(LinuxError) {
      folder = try wish.directory.lend { path throws(LinuxError) in try Files.directory(path) }
    } catch {
      switch error {
      case .noEntry:
        throw CertificateTool.problem(wish.directory, Text("there is no such directory; make it with mkdir"))
      case .notDirectory: throw CertificateTool.problem(wish.directory, Text("this is no directory"))
      default: throw CertificateTool.problem(wish.directory, "the directory cannot be read: ", error)
      }
    }
  }

  /// What was made and kept so far, and after success what comes next.
  public var text: Text { report.text }

  /// Makes what is missing. What was made before a problem stays, and the next run goes on from there.
  public mutating func run() throws(Problem) {
    let library = try CertificateTool.load()
    var authority = try CertificateFiles([UInt8](ascii: "ca"), in: folder, library)
    var server = try CertificateFiles([UInt8](ascii: "server"), in: folder, library)
    var clients: [CertificateFiles] = []
    for client in wish.clients { clients.append(try CertificateFiles(client, in: folder, library)) }
    try settle(&authority, library)
    try settleServer(&server, authority, library)
    for index in 0..<clients.count { try settleClient(&clients[index], wish.clients[index], authority, library) }
    let best = CertificateNames(server.certificate?.names ?? []).best
    report.addNextSteps(authority: authority, server: server, client: clients.last, best: best)
  }

  // The three kinds

  private mutating func settle(_ files: inout CertificateFiles, _ library: TLSLibrary) throws(Problem) {
    if let certificate = files.certificate {
      report.add(isMade: false, files.certificatePath, validity(certificate))
      if files.key != nil { report.add(isMade: false, files.keyPath, Text()) }
      noteOpenKey(files)
      return
    }
    let (key, isNew) = try files.makeKey(library)
    report.add(
      isMade: isNew, files.keyPath,
      Text("who has it can make certificates; keep a copy elsewhere, best take it off this machine"))
    noteOpenKey(files)
    var name = Text("Tapline CA")
    let host = Text(machine.hostName)
    if host.count <= 48, CertificateNames.isDNSName(host.bytes, mayBeWildcard: false) {
      name.add(" of ")
      name.add(host)
    }
    let order = TLSCertificateOrder(
      .authority, commonName: name.bytes, from: from, until: from + seconds(CertificateTool.authorityDays))
    try write(order, &files, key: key, by: nil, library)
    var words = validity(files.certificate!)
    words.add("; every client needs a copy")
    report.add(isMade: true, files.certificatePath, words)
  }

  private mutating func settleServer(
    _ files: inout CertificateFiles, _ authority: CertificateFiles, _ library: TLSLibrary
  ) throws(Problem) {
    let own = CertificateNames(hostName: machine.hostName, addresses: machine.addresses)
    let renews = wish.renews && wish.clients.isEmpty
    if let old = files.certificate, !renews {
      try demandKey(files)
      let names = old.names
      let missing = typedNames.filter { !names.contains($0) && !old.has($0) }  // a wildcard is no name that it has
      if !missing.isEmpty {
        var text = Text("the certificate is there already, without ")
        text.add(CertificateNames.list(missing))
        text.add("; --renew makes it anew with that in it")
        throw CertificateTool.problem(files.certificatePath, text)
      }
      report.add(isMade: false, files.certificatePath, serverWords(old))
      noteState(old, .server, authority)
      let unknown = own.all.filter { !old.has($0) }
      if !unknown.isEmpty {
        var text = Text("without ")
        text.add(CertificateNames.list(unknown))
        text.add(", by which clients may find this machine now; --renew makes it anew with that in it")
        report.note(text)
      }
      report.add(isMade: false, files.keyPath, Text())
    } else {
      var names = own
      for name in typedNames + (files.certificate?.names ?? []) where !names.add(name) {
        var text = Text("there are more than ")
        text.add(CertificateNames.countMax, of: "name")
        text.add("; remove the file, and its old names are gone")
        throw CertificateTool.problem(files.certificatePath, text)
      }
      if files.certificate != nil { try demandKey(files) }
      try demandSigner(authority, for: files)
      let (key, isNew) = try files.makeKey(library)
      report.add(isMade: isNew, files.keyPath, Text())
      var order = TLSCertificateOrder(
        .server, commonName: CertificateTool.commonName(names), from: from,
        until: end(days: min(wish.days, CertificateTool.serverDaysMax), authority))
      order.names = names.all
      try write(order, &files, key: key, by: authority, library)
      report.add(isMade: true, files.certificatePath, serverWords(files.certificate!))
    }
    if let group {
      try files.shareKey(withGroup: group)
    } else if Process.uid == 0, !files.isKeyShared {
      report.note(Text("only root may read the server's key; --group tapline lets the package's service read it, too"))
    }
    if group == nil { noteOpenKey(files) }
  }

  private mutating func settleClient(
    _ files: inout CertificateFiles, _ name: [UInt8], _ authority: CertificateFiles, _ library: TLSLibrary
  ) throws(Problem) {
    if let old = files.certificate, !wish.renews {
      report.add(isMade: false, files.certificatePath, validity(old))
      noteState(old, .client, authority)
      if files.key != nil { report.add(isMade: false, files.keyPath, Text()) }
      noteOpenKey(files)
      return
    }
    if files.certificate != nil { try demandKey(files) }
    try demandSigner(authority, for: files)
    let (key, isNew) = try files.makeKey(library)
    report.add(isMade: isNew, files.keyPath, Text())
    noteOpenKey(files)
    var order = TLSCertificateOrder(.client, commonName: name, from: from, until: end(days: wish.days, authority))
    if CertificateNames.isDNSName(name, mayBeWildcard: false) { order.names = [TLSServerName(dnsName: name)] }
    try write(order, &files, key: key, by: authority, library)
    var words = validity(files.certificate!)
    words.add("; its client is user ")
    words.add(quoted: name)
    report.add(isMade: true, files.certificatePath, words)
  }

  // Making

  private func write(
    _ order: TLSCertificateOrder, _ files: inout CertificateFiles, key: TLSKey, by authority: CertificateFiles?,
    _ library: TLSLibrary
  ) throws(Problem) {
    let made: TLSCertificate
    do throws(TLSCertificate.Refusal) {
      made = try TLSCertificate(
        order, key: key, authority: authority?.certificate, authorityKey: authority?.key ?? key, library)
    } catch {
      var text = Text("OpenSSL does not make the certificate: ")
      text.add(error.reason)
      throw CertificateTool.problem(files.certificatePath, text)
    }
    let signer = authority?.certificate ?? made
    if let reason = made.problem(of: order.use, by: signer, at: machine.seconds, strictly: false) {
      var text = Text("the authority signs what nobody would take: ")
      text.add(reason)
      throw CertificateTool.problem(authority?.certificatePath ?? files.certificatePath, text)
    }
    try files.replace(made)
  }

  /// The authority must have its key, and its certificate must be valid.
  private func demandSigner(_ authority: CertificateFiles, for files: CertificateFiles) throws(Problem) {
    let certificate = authority.certificate!
    guard authority.key != nil else {
      var text = Text("the file is not there, and ")
      text.add(files.certificatePath)
      text.add(" cannot be signed without it; bring it back for as long as this command runs")
      throw CertificateTool.problem(authority.keyPath, text)
    }
    if let reason = certificate.problem(of: .authority, by: certificate, at: machine.seconds, strictly: false) {
      var text = Text("nothing can be signed with it: ")
      text.add(reason)
      text.add("; move what is in the directory elsewhere and run this again; clients then need the new ca.crt")
      throw CertificateTool.problem(authority.certificatePath, text)
    }
  }

  private func demandKey(_ files: CertificateFiles) throws(Problem) {
    guard files.key == nil else { return }
    var text = Text("the file is not there, but its certificate is; bring it back, or remove ")
    text.add(files.certificatePath)
    text.add(" to have both made anew")
    throw CertificateTool.problem(files.keyPath, text)
  }

  /// From a day ago, as the clocks of clients differ.
  private var from: Int64 { machine.seconds - CertificateTool.secondsADay }

  private func seconds(_ days: Int) -> Int64 { Int64(days) * CertificateTool.secondsADay - 1 }

  /// The last second of a certificate, which does not outlive its authority.
  private func end(days: Int, _ authority: CertificateFiles) -> Int64 {
    min(from + seconds(days), authority.certificate?.until ?? .max)
  }

  /// The first name that a common name can hold.
  private static func commonName(_ names: CertificateNames) -> [UInt8] {
    for name in names.all where name.bytes.count <= 64 && !name.isAddress { return name.bytes }
    return [UInt8](ascii: "localhost")
  }

  private static func load() throws(Problem) -> TLSLibrary {
    let memory: MappedMemory
    do throws(LinuxError) {
      memory = try MappedMemory(byteCount: arenaBytes)
    } catch {
      var text = Text("no memory for OpenSSL: ")
      text.add(error.text)
      throw Problem(text: text)
    }
    do throws(TLSLoadError) {
      return try TLSLibrary(arena: memory.buffer)
    } catch {
      throw Problem(text: CertificateReport.written { error.write(into: &$0) })
    }
  }

  // What is said

  private func validity(_ certificate: TLSCertificate) -> Text {
    guard let until = certificate.until else { return Text("until nobody knows when") }
    var text = Text("until ")
    text.add(CertificateReport.date(until))
    return text
  }

  private func serverWords(_ certificate: TLSCertificate) -> Text {
    var text = validity(certificate)
    text.add(", for ")
    text.add(CertificateNames.list(certificate.names))
    return text
  }

  /// What speaks against a certificate that is kept.
  private mutating func noteState(
    _ certificate: TLSCertificate, _ use: TLSCertificateUse, _ authority: CertificateFiles
  ) {
    if let reason = certificate.problem(of: use, by: authority.certificate!, at: machine.seconds, strictly: false) {
      var text = Text("who trusts ca.crt does not take it: ")
      text.add(reason)
      text.add("; --renew makes it anew")
      report.note(text)
    } else if let until = certificate.until, until - machine.seconds < CertificateTool.soonSeconds {
      report.note(Text("it ends within 30 days; --renew makes it anew"))
    }
  }

  private mutating func noteOpenKey(_ files: CertificateFiles) {
    guard files.isKeyOpen else { return }
    var text = Text("any user of this machine may read ")
    text.add(files.keyPath)
    text.add("; chmod o= ends that")
    report.note(text)
  }

  /// `FILE: what is wrong`.
  static func problem(_ path: [UInt8], _ words: Text) -> Problem {
    var text = Text(path)
    text.add(": ")
    text.add(words)
    return Problem(text: text)
  }

  /// `FILE: the file cannot be written: Permission denied; ...`
  @inline(never) static func problem(_ path: [UInt8], _ words: StaticString, _ error: LinuxError) -> Problem {
    var text = Text(words)
    text.add(error.text)
    switch error {
    case .accessDenied, .notPermitted, .readOnlyFileSystem:
      text.add("; run this as root (sudo), or name a directory of yours with -d")
    case .nameTooLong: text.add("; a path has 507 bytes at most")
    default: break
    }
    return problem(path, text)
  }

  /// `option --name is 'x': what is wrong`.
  @inline(never) private static func problem(option: StaticString, _ value: [UInt8], _ words: Text) -> Problem {
    var text = Text("option ")
    text.add(option)
    text.add(" is ")
    text.add(quoted: value)
    text.add(": ")
    text.add(words)
    return Problem(text: text)
  }
}

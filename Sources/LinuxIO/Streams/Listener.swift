public import Bounded
import CLinux

/// Where a connection comes from.
public struct PeerAddress: BitwiseCopyable, Sendable {
  public enum Family: BitwiseCopyable, Sendable { case unix, ipv4, ipv6, serial }

  /// 4 or 16 bytes, most significant first; of a unix socket the 4 of who connected it, nobody having the highest number.
  public let ip: InlineArray<16, UInt8>
  public let port: UInt16
  public let family: Family  // last: so it takes 19 bytes

  init(_ address: clinux_address, uid: UInt32?) {
    let family: Family =
      switch address.family {
      case Int32(CLINUX_IPV4): .ipv4
      case Int32(CLINUX_IPV6): .ipv6
      default: .unix
      }
    self.init(address, uid: uid, family: family, port: address.port)
  }

  private init(_ address: clinux_address, uid: UInt32?, family: Family, port: UInt16) {
    self.family = family
    self.port = port
    var ip = InlineArray<16, UInt8>(repeating: 0)
    if family == .unix {
      for index in 0..<4 { ip[index] = UInt8(truncatingIfNeeded: (uid ?? .max) >> UInt32(24 - 8 * index)) }
    } else {
      withUnsafeBytes(of: address.ip) { for index in 0..<16 { ip[index] = $0[index] } }
    }
    self.ip = ip
  }

  /// Of a connected socket; of any other descriptor a unix socket's that nobody connected.
  public init(of fd: Int32) {
    var address = clinux_address()
    if clinux_peer_address(fd, &address) < 0 { address.family = Int32(CLINUX_UNIX) }
    let isUnix = address.family == Int32(CLINUX_UNIX)
    self.init(address, uid: isUnix ? Listener.peerUID(fd) : nil)
  }

  /// A serial line, whose number is in `port`.
  public init(serialLine number: Int) {
    self.init(clinux_address(), uid: nil, family: .serial, port: UInt16(number))
  }

  /// Who connected a unix socket (SO_PEERCRED).
  public var uid: UInt32? {
    guard family == .unix else { return nil }
    var uid: UInt32 = 0
    for index in 0..<4 { uid = uid << 8 | UInt32(ip[index]) }
    return uid == .max ? nil : uid
  }

  public var isUnix: Bool { family == .unix }

  /// 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104: this machine.
  public var isLoopback: Bool {
    switch family {
    case .unix, .serial: return false
    case .ipv4: return ip[0] == 127
    case .ipv6:
      for index in 0..<10 where ip[index] != 0 { return false }
      if ip[10] == 0xFF && ip[11] == 0xFF { return ip[12] == 127 }
      for index in 10..<15 where ip[index] != 0 { return false }
      return ip[15] == 1
    }
  }

  /// `192.0.2.7:40123`, `[2001:db8::7]:40123`, `unix uid 1000` or `serial line 0`; `192.0.2.7` or `2001:db8::7` without the port.
  public func write(to writer: inout ByteWriter, withPort: Bool = true) {
    if family == .serial {
      writer.write("serial line ")
      writer.writeDecimal(UInt64(port))
      return
    }
    guard family != .unix else {
      writer.write("unix uid ")
      if let uid { writer.writeDecimal(UInt64(uid)) } else { writer.write("unknown") }
      return
    }
    var address = clinux_address()
    address.family = Int32(family == .ipv4 ? CLINUX_IPV4 : CLINUX_IPV6)
    withUnsafeMutableBytes(of: &address.ip) { for index in 0..<16 { $0[index] = ip[index] } }
    if family == .ipv6, withPort { writer.write("[") }
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 48) { text in
      guard clinux_format_ip(&address, text.baseAddress!, text.count) == 0 else { return }
      writer.write(bytes(fromCString: text.baseAddress!))
    }
    guard withPort else { return }
    writer.write(family == .ipv6 ? "]:" : ":")
    writer.writeDecimal(UInt64(port))
  }
}

public enum AcceptResult: Sendable {
  /// A nonblocking socket, with TCP_NODELAY unless it is unix.
  case connection(fd: Int32, peer: PeerAddress)
  case wouldBlock
  /// EMFILE and ENOMEM among them: the connection still waits, so the listener stays readable.
  case failed(LinuxError)
}

/// A listening socket, nonblocking. A handle: whoever made it closes it once.
public struct Listener: Sendable {
  public let fd: Int32
  public let isUnix: Bool
  /// The service manager's: its socket file is not ours to remove.
  public var isPassed = false

  /// Listens on a numeric IPv4 or IPv6 address (no names; EINVAL otherwise). Port 0 lets the kernel choose. An IPv6
  /// listener takes no IPv4 clients, whatever the system's default, so that `::` and `0.0.0.0` can be listened on
  /// together.
  public static func tcp(address text: Bytes, port: UInt16, backlog: Int) throws(LinuxError) -> Listener {
    var address = try parse(text)
    address.port = port
    let fd = try check(clinux_stream_socket(address.family))
    do throws(LinuxError) {
      try check(clinux_set_option(fd, Int32(CLINUX_REUSE_ADDRESS), 1))
      // Its connections inherit it: a peer without keep alive of its own that is gone is found out after all.
      try check(clinux_set_option(fd, Int32(CLINUX_KEEP_ALIVE), 1))
      if address.family == Int32(CLINUX_IPV6) { try check(clinux_set_option(fd, Int32(CLINUX_V6_ONLY), 1)) }
      try check(clinux_bind(fd, &address))
      try check(clinux_listen(fd, Int32(backlog)))
    } catch {
      _ = clinux_close(fd)
      throw error
    }
    return Listener(fd: fd, isUnix: false)
  }

  /// Listens on a socket file with permission bits `mode`. A socket file that nobody listens on is replaced; one with a
  /// listener, or a file that is no socket, is EADDRINUSE.
  public static func unix(path: Bytes, mode: UInt32, backlog: Int) throws(LinuxError) -> Listener {
    var address = try unixAddress(path)
    try removeStale(path, &address)
    let fd = try check(clinux_stream_socket(Int32(CLINUX_UNIX)))
    do throws(LinuxError) {
      try check(clinux_bind(fd, &address))
      // Nobody can connect before listen, so the mode is right from the first client on.
      try check(withPath(path) { clinux_chmod($0, mode) })
      try check(clinux_listen(fd, Int32(backlog)))
    } catch {
      _ = clinux_close(fd)
      throw error
    }
    return Listener(fd: fd, isUnix: true)
  }

  /// The next connection. Connections that were given up while they waited are skipped, at most 16 a call.
  public func accept() -> AcceptResult {
    for _ in 0..<16 {
      var address = clinux_address()
      let accepted = clinux_accept(fd, &address)
      guard accepted >= 0 else {
        if accepted == -Int32(CLINUX_EAGAIN) { return .wouldBlock }
        if accepted == -Int32(CLINUX_EINTR) || accepted == -Int32(CLINUX_ECONNABORTED) { continue }
        return .failed(LinuxError(errno: -accepted))
      }
      guard isUnix else {
        _ = clinux_set_option(accepted, Int32(CLINUX_NO_DELAY), 1)
        return .connection(fd: accepted, peer: PeerAddress(address, uid: nil))
      }
      address.family = Int32(CLINUX_UNIX)
      return .connection(fd: accepted, peer: PeerAddress(address, uid: Listener.peerUID(accepted)))
    }
    return .wouldBlock
  }

  /// The port that the kernel chose, or was told; 0 for unix.
  public var port: UInt16 {
    var address = clinux_address()
    return clinux_local_address(fd, &address) == 0 ? address.port : 0
  }

  /// Stops listening. A unix listener's file is removed with `unlink`.
  public func close() { _ = clinux_close(fd) }

  public static func unlink(_ path: Bytes) { _ = withPath(path) { clinux_unlink($0) } }

  fileprivate static func peerUID(_ fd: Int32) -> UInt32? {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var pid: Int32 = 0
    return clinux_peer_credentials(fd, &uid, &gid, &pid) == 0 ? uid : nil
  }

  static func parse(_ text: Bytes) throws(LinuxError) -> clinux_address {
    for family in [Int32(CLINUX_IPV4), Int32(CLINUX_IPV6)] {
      var address = clinux_address()
      address.family = family
      let result = withPath(text) { clinux_parse_ip($0, &address) }
      if result == 1 { return address }
    }
    throw LinuxError(errno: Int32(CLINUX_EINVAL))
  }

  private static func removeStale(_ path: Bytes, _ address: inout clinux_address) throws(LinuxError) {
    let isSocket = withPath(path) { clinux_is_socket($0) }
    if isSocket == -Int32(CLINUX_ENOENT) { return }
    guard try check(isSocket) == 1 else { throw LinuxError(errno: Int32(CLINUX_EADDRINUSE)) }
    let probe = try check(clinux_stream_socket(Int32(CLINUX_UNIX)))
    let answer = clinux_connect(probe, &address)
    _ = clinux_close(probe)
    guard answer == -Int32(CLINUX_ECONNREFUSED) else { throw LinuxError(errno: Int32(CLINUX_EADDRINUSE)) }
    try check(withPath(path) { clinux_unlink($0) })
  }
}

/// The address of a socket file, or, with `@` first, of an abstract name. ENAMETOOLONG over 107 bytes, EINVAL when
/// empty.
func unixAddress(_ path: Bytes) throws(LinuxError) -> clinux_address {
  guard !path.isEmpty, !path.contains(0) else { throw LinuxError(errno: Int32(CLINUX_EINVAL)) }
  guard path.count <= 107 else { throw LinuxError(errno: Int32(CLINUX_ENAMETOOLONG)) }
  var address = clinux_address()
  address.family = Int32(CLINUX_UNIX)
  address.path_count = UInt16(path.count)
  withUnsafeMutableBytes(of: &address.path) {
    $0.copyMemory(from: path.buffer)
    if path[0] == UInt8(ascii: "@") { $0[0] = 0 }
  }
  return address
}

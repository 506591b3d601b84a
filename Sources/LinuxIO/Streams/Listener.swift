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

  /// Reads the peer of a connected socket. Any other descriptor counts as a unix socket without a known user.
  public init(of fd: Int32) {
    var address = clinux_address()
    if clinux_peer_address(fd, &address) < 0 { address.family = Int32(CLINUX_UNIX) }
    let isUnix = address.family == Int32(CLINUX_UNIX)
    self.init(address, uid: isUnix ? Listener.peerUID(fd) : nil)
  }

  /// The address of a client that a proxy tells of: the first 4 of `ip`, or all 16.
  public init(ip: InlineArray<16, UInt8>, isIPv6: Bool, port: UInt16) {
    self.ip = ip
    self.port = port
    family = isIPv6 ? .ipv6 : .ipv4
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
    case .unix, .serial: false
    case .ipv4, .ipv6: IPAddress(ip, isIPv6: family == .ipv6).isLoopback
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
    if family == .ipv6, withPort { writer.write("[") }
    IPAddress(ip, isIPv6: family == .ipv6).write(to: &writer)
    guard withPort else { return }
    writer.write(family == .ipv6 ? "]:" : ":")
    writer.writeDecimal(UInt64(port))
  }
}

public enum AcceptResult: Sendable {
  /// A nonblocking socket, with TCP_NODELAY unless it is unix.
  case connection(fd: Int32, peer: PeerAddress)
  case wouldBlock
  /// The connection still waits, so the listener stays readable: of EMFILE, ENFILE, ENOBUFS and ENOMEM, until there is room
  /// again.
  case failed(LinuxError)
}

/// A listening socket, nonblocking. A handle: whoever made it closes it once.
public struct Listener: Sendable {
  public let fd: Int32
  public let isUnix: Bool
  /// The socket file that was made for it; nil: there is none, or it is the service manager's.
  private let file: SocketFile?
  /// The service manager has made it, and listens on it too.
  public let isPassed: Bool

  init(fd: Int32, isUnix: Bool, file: SocketFile? = nil, isPassed: Bool = false) {
    self.fd = fd
    self.isUnix = isUnix
    self.file = file
    self.isPassed = isPassed
  }

  /// Listens on a numeric IPv4 or IPv6 address (no names; EINVAL otherwise). Port 0 lets the kernel choose. An IPv6
  /// listener takes no IPv4 clients, whatever the system's default, so that `::` and `0.0.0.0` can be listened on
  /// together.
  /// - Parameter deadPeerSeconds: see `Transport.notice`; 2 or more.
  public static func tcp(
    address text: Bytes, port: UInt16, backlog: Int, deadPeerSeconds: Int = 60
  ) throws(LinuxError) -> Listener {
    guard var address = IPAddress(text)?.kernel else { throw LinuxError.invalid }
    address.port = port
    let fd = try check(clinux_stream_socket(address.family))
    do throws(LinuxError) {
      try check(clinux_set_option(fd, Int32(CLINUX_REUSE_ADDRESS), 1))
      try Transport.noticeDeadPeer(fd, withinSeconds: deadPeerSeconds)  // its connections inherit it
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
  /// listener, or what is no socket, a link too, is EADDRINUSE. A path that begins with `@` is an abstract name: there is no
  /// file, and `mode` means nothing.
  public static func unix(path: Bytes, mode: UInt32, backlog: Int) throws(LinuxError) -> Listener {
    var address = try unixAddress(path)
    let isFile = path[0] != UInt8(ascii: "@")
    if isFile { try removeStale(path, &address) }
    let fd = try check(clinux_stream_socket(Int32(CLINUX_UNIX)))
    do throws(LinuxError) {
      try check(clinux_bind(fd, &address))
      let file = isFile ? try SocketFile.find(path) : nil
      // Nobody can connect before it listens.
      if isFile { try check(withPath(path) { clinux_set_file_permissions($0, mode) }) }
      try check(clinux_listen(fd, Int32(backlog)))
      return Listener(fd: fd, isUnix: true, file: file)
    } catch {
      _ = clinux_close(fd)
      throw error
    }
  }

  /// The next connection. Connections that have failed while they waited are skipped, at most 16 a call.
  public func accept() -> AcceptResult {
    var forbiddenCount = 0
    for _ in 0..<16 {
      var address = clinux_address()
      let accepted = clinux_accept(fd, &address)
      guard accepted >= 0 else {
        if accepted == -Int32(CLINUX_EAGAIN) { return .wouldBlock }
        guard Listener.isSkipped(-accepted) else { return .failed(LinuxError(errno: -accepted)) }
        if accepted == -Int32(CLINUX_EPERM) { forbiddenCount += 1 }
        continue
      }
      guard isUnix else {
        _ = clinux_set_option(accepted, Int32(CLINUX_NO_DELAY), 1)
        return .connection(fd: accepted, peer: PeerAddress(address, uid: nil))
      }
      address.family = Int32(CLINUX_UNIX)
      return .connection(fd: accepted, peer: PeerAddress(address, uid: Listener.peerUID(accepted)))
    }
    // A security module that forbids them all leaves each where it was.
    return forbiddenCount == 16 ? .failed(.notPermitted) : .wouldBlock
  }

  /// Errors of accept(2) that concern the one connection that it has taken from the queue, most of them the network's: "treat
  /// them like EAGAIN by retrying" (accept(2), Error handling). EPERM is a firewall's.
  static func isSkipped(_ errno: Int32) -> Bool {
    switch Int(errno) {
    case Int(CLINUX_EINTR), Int(CLINUX_ECONNABORTED), Int(CLINUX_EPERM), Int(CLINUX_EPROTO), Int(CLINUX_ENOPROTOOPT),
      Int(CLINUX_EOPNOTSUPP), Int(CLINUX_ENETDOWN), Int(CLINUX_ENETUNREACH), Int(CLINUX_EHOSTDOWN),
      Int(CLINUX_EHOSTUNREACH), Int(CLINUX_ENONET), Int(CLINUX_ETIMEDOUT):
      true
    default: false
    }
  }

  /// The port that the kernel chose, or was told; 0 for unix.
  public var port: UInt16 {
    var address = clinux_address()
    return clinux_local_address(fd, &address) == 0 ? address.port : 0
  }

  /// Stops listening. The socket file stays.
  public func close() { _ = clinux_close(fd) }

  /// Removes the socket file, if it is still the one that was made for this listener. Before `close`, as the kernel may give
  /// its number to the next one afterwards.
  public func removeFile(at path: Bytes) {
    guard let file, (try? SocketFile.find(path)) == file else { return }
    _ = withPath(path) { clinux_unlink($0) }
  }

  /// Gives the socket file other permission bits, if it is still the one that was made for this listener.
  public func setMode(_ mode: UInt32, at path: Bytes) {
    guard let file, (try? SocketFile.find(path)) == file else { return }
    _ = withPath(path) { clinux_set_file_permissions($0, mode) }
  }

  fileprivate static func peerUID(_ fd: Int32) -> UInt32? {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var pid: Int32 = 0
    return clinux_peer_credentials(fd, &uid, &gid, &pid) == 0 ? uid : nil
  }

  private static func removeStale(_ path: Bytes, _ address: inout clinux_address) throws(LinuxError) {
    guard let file = try SocketFile.find(path) else { return }
    let probe = try check(clinux_stream_socket(Int32(CLINUX_UNIX)))
    let answer = clinux_connect(probe, &address)
    _ = clinux_close(probe)
    guard answer == -Int32(CLINUX_ECONNREFUSED), try SocketFile.find(path) == file else {
      throw LinuxError.addressInUse
    }
    try check(withPath(path) { clinux_unlink($0) })
  }
}

/// Which of all files a socket file is.
struct SocketFile: BitwiseCopyable, Equatable, Sendable {
  private let device: UInt64
  private let inode: UInt64

  /// The one at this path, nil where there is nothing. EADDRINUSE where there is something else, a link too.
  static func find(_ path: Bytes) throws(LinuxError) -> SocketFile? {
    var device: UInt64 = 0
    var inode: UInt64 = 0
    let isSocket = withPath(path) { clinux_socket_file($0, &device, &inode) }
    if isSocket == -Int32(CLINUX_ENOENT) { return nil }
    guard try check(isSocket) == 1 else { throw LinuxError.addressInUse }
    return SocketFile(device: device, inode: inode)
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

import Bounded
import CLinux
import Glibc
import Testing

@testable import LinuxIO

@Suite struct SocketTests {
  /// A client's socket, connected or on its way.
  func connect(family: Int32, port: UInt16) -> Int32 {
    var address = clinux_address()
    address.family = family
    address.port = port
    precondition(clinux_parse_ip(family == Int32(CLINUX_IPV4) ? "127.0.0.1" : "::1", &address) == 1)
    let fd = clinux_stream_socket(family)
    let answer = clinux_connect(fd, &address)
    precondition(answer == 0 || answer == -EINPROGRESS)
    return fd
  }

  func connect(path: String) -> Int32 {
    withBytes(path) { path in
      var address = try! unixAddress(path)
      let fd = clinux_stream_socket(Int32(CLINUX_UNIX))
      let answer = clinux_connect(fd, &address)
      guard answer == 0 else {
        Transport.close(fd)
        return answer
      }
      return fd
    }
  }

  func accept(_ listener: Listener) throws -> (Int32, PeerAddress) {
    let poller = try Poller(eventsMax: 1)
    try poller.add(listener.fd, token: 0, interest: .read)
    try #require(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    guard case .connection(let fd, let peer) = listener.accept() else { throw LinuxError(errno: EPROTO) }
    return (fd, peer)
  }

  @Test(arguments: [("127.0.0.1", Int32(CLINUX_IPV4), "127.0.0.1:"), ("::1", Int32(CLINUX_IPV6), "[::1]:")])
  func tcpCarriesBytesBothWays(address: String, family: Int32, shown: String) throws {
    let listener = try withBytes(address) { try Listener.tcp(address: $0, port: 0, backlog: 4) }
    #expect(listener.port != 0)
    guard case .wouldBlock = listener.accept() else { throw LinuxError(errno: EPROTO) }
    let client = connect(family: family, port: listener.port)
    let (fd, peer) = try accept(listener)
    #expect(peer.isLoopback && !peer.isUnix && peer.uid == nil)
    #expect(written { peer.write(to: &$0) } == "\(shown)\(peer.port)")
    var noDelay: Int32 = 0
    var length = socklen_t(4)
    #expect(getsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &noDelay, &length) == 0 && noDelay != 0)
    #expect(fcntl(fd, F_GETFL) & O_NONBLOCK != 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC != 0)

    #expect(readText(fd) == "<would block>")
    #expect(write("ping", to: client) == 4)
    #expect(readText(fd) == "ping")
    #expect(write("pong", to: fd) == 4)
    #expect(readText(client) == "pong")
    Transport.shutdown(client)
    #expect(readText(fd) == "<closed>")
    for fd in [fd, client] { Transport.close(fd) }
    listener.close()
  }

  @Test(arguments: ["", "localhost", "1.2.3", "127.0.0.1 ", "::g", "256.0.0.1"])
  func onlyNumericAddressesAreTaken(address: String) {
    #expect(errno { _ = try withBytes(address) { try Listener.tcp(address: $0, port: 0, backlog: 1) } } == EINVAL)
  }

  @Test func aPortInUseIsRefused() throws {
    let first = try Listener.tcp(address: Bytes("127.0.0.1"), port: 0, backlog: 1)
    #expect(errno { _ = try Listener.tcp(address: Bytes("127.0.0.1"), port: first.port, backlog: 1) } == EADDRINUSE)
    first.close()
    let again = try Listener.tcp(address: Bytes("127.0.0.1"), port: first.port, backlog: 1)
    again.close()
  }

  @Test func anyAddressOfBothFamiliesOnOnePort() throws {
    let six = try Listener.tcp(address: Bytes("::"), port: 0, backlog: 1)
    let four = try Listener.tcp(address: Bytes("0.0.0.0"), port: six.port, backlog: 1)
    six.close()
    four.close()
  }

  /// RFC 1122 §3.2.1.3, RFC 4291 §2.5.3, §2.5.5.2.
  @Test(arguments: [
    ("127.0.0.1", true), ("127.255.0.9", true), ("128.0.0.1", false), ("192.0.2.1", false), ("::1", true),
    ("::2", false),
    ("::ffff:127.0.0.1", true), ("::ffff:192.0.2.1", false), ("2001:db8::1", false), ("::", false),
  ])
  func loopbackAddressesAreKnown(text: String, isLoopback: Bool) {
    var address = clinux_address()
    address.family = Int32(text.contains(":") ? CLINUX_IPV6 : CLINUX_IPV4)
    #expect(clinux_parse_ip(text, &address) == 1)
    #expect(PeerAddress(address, uid: nil).isLoopback == isLoopback)
  }

  @Test func unixSocketsKnowTheirPeersAndTheirMode() throws {
    let directory = TemporaryDirectory()
    let path = directory.path + "/s"
    let listener = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) }
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    let client = connect(path: path)
    let (fd, peer) = try accept(listener)
    #expect(peer.isUnix && !peer.isLoopback && peer.uid == getuid())
    #expect(written { peer.write(to: &$0) } == "unix uid \(getuid())")
    #expect(write("x", to: client) == 1)
    #expect(readText(fd) == "x")
    for fd in [fd, client, listener.fd] { Transport.close(fd) }
  }

  @Test func aStaleUnixSocketIsReplacedAndALiveOneIsNot() throws {
    let directory = TemporaryDirectory()
    let path = directory.path + "/s"
    let live = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) }
    #expect(errno { _ = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) } } == EADDRINUSE)
    live.close()  // leaves the file
    let next = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) }
    let client = connect(path: path)
    #expect(client >= 0)
    next.close()
    Transport.close(client)
  }

  @Test func aFileThatIsNoSocketIsLeftAlone() throws {
    let directory = TemporaryDirectory()
    directory.file("s", "precious")
    let path = directory.path + "/s"
    #expect(errno { _ = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) } } == EADDRINUSE)
    #expect(try withBytes(path) { try Files.read($0, bytesMax: 100) } == Array("precious".utf8))
  }

  @Test func aUnixPathThatDoesNotFitIsRefused() {
    let long = "/run/" + String(repeating: "x", count: 103)
    #expect(errno { _ = try withBytes(long) { try Listener.unix(path: $0, mode: 0o600, backlog: 1) } } == ENAMETOOLONG)
    #expect(errno { _ = try withBytes("") { try Listener.unix(path: $0, mode: 0o600, backlog: 1) } } == EINVAL)
  }

  @Test func gatheredPartsArriveInOrder() throws {
    let (near, far) = try Transport.pair()
    withBytes("ab") { first in
      withBytes("cde") { second in
        [first, .empty, second].withUnsafeBufferPointer { parts in
          guard case .bytes(5) = Transport.write(near, parts) else {
            Issue.record("not written")
            return
          }
        }
      }
    }
    #expect(readText(far) == "abcde")
    for fd in [near, far] { Transport.close(fd) }
  }

  @Test func aFullSocketTakesAPartAndThenNothing() throws {
    let (near, far) = try Transport.pair()
    let much = [UInt8](repeating: 7, count: 1 << 20)
    much.withUnsafeBytes { much in
      var total = 0
      loop: while true {
        switch Transport.write(near, Bytes(much)) {
        case .bytes(let count): total += count
        case .wouldBlock: break loop
        case .closed, .failed:
          Issue.record("a full socket is neither closed nor failed")
          break loop
        }
      }
      #expect(total > 0 && total < much.count)
    }
    for fd in [near, far] { Transport.close(fd) }
  }

  @Test func writingToAPeerThatIsGoneIsClosed() throws {
    #expect(clinux_signal_ignore(Int32(CLINUX_SIGPIPE)) == 0)
    let (near, far) = try Transport.pair()
    Transport.close(far)
    guard case .closed = withBytes("x", { Transport.write(near, $0) }) else {
      Issue.record("not closed")
      return
    }
    Transport.close(near)
  }
}

/// sd_listen_fds(3)
struct PassedSocketsTests {
  private func passed(firstFD: Int32 = 3, count: String?, pid: String?) -> PassedSockets {
    withBytes(count ?? "") { count in
      withBytes(pid ?? "") { pid in
        PassedSockets(firstFD: firstFD, count: count.isEmpty ? nil : count, pid: pid.isEmpty ? nil : pid)
      }
    }
  }

  @Test func onlySocketsForThisProcessCount() throws {
    let pid = "\(getpid())"
    #expect(passed(count: "2", pid: pid).leftCount == 2)
    #expect(passed(count: "64", pid: pid).leftCount == 64)
    #expect(passed(count: "99999", pid: pid).leftCount == 64)
    for count in [nil, "0", "-1", "x"] { #expect(passed(count: count, pid: pid).leftCount == 0) }
    for pid in [nil, "1", "x"] { #expect(passed(count: "2", pid: pid).leftCount == 0) }
  }

  @Test func oneIsTakenOnceForItsOwnAddress() throws {
    let made = try Listener.tcp(address: Bytes("127.0.0.1"), port: 0, backlog: 1)
    var sockets = passed(firstFD: made.fd, count: "1", pid: "\(getpid())")
    let wrong = [
      sockets.tcp(address: Bytes("127.0.0.2"), port: made.port),
      sockets.tcp(address: Bytes("127.0.0.1"), port: made.port &+ 1),
      sockets.tcp(address: Bytes("localhost"), port: made.port),
      sockets.unix(path: Bytes("@tapline-of-nobody")),
    ]
    for listener in wrong { #expect(listener == nil) }
    #expect(sockets.leftCount == 1)
    let found = sockets.tcp(address: Bytes("127.0.0.1"), port: made.port)
    let taken = try #require(found)
    #expect(taken.fd == made.fd && taken.isPassed && !taken.isUnix && !made.isPassed)
    #expect(sockets.leftCount == 0)
    let again = sockets.tcp(address: Bytes("127.0.0.1"), port: made.port)
    #expect(again == nil)
    made.close()
  }

  /// A client that the service manager has accepted; a listener is none, and neither is a socket that is not connected.
  @Test func aConnectedSocketIsAConnection() throws {
    let pid = "\(getpid())"
    let (near, far) = try Transport.pair()
    var sockets = passed(firstFD: near, count: "1", pid: pid)
    let found = sockets.connection()
    #expect(found == near && sockets.leftCount == 0)
    let again = sockets.connection()
    #expect(again == nil)
    let made = try Listener.tcp(address: Bytes("127.0.0.1"), port: 0, backlog: 1)
    let datagram = clinux_datagram_socket()
    for fd in [made.fd, datagram, clinux_stream_socket(Int32(CLINUX_IPV4))] {
      var others = passed(firstFD: fd, count: "1", pid: pid)
      let none = others.connection()
      #expect(none == nil && others.leftCount == 1)
      Transport.close(fd)
    }
    for fd in [near, far] { Transport.close(fd) }
  }
}

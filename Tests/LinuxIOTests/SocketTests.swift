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

  /// Bytes that were peeked at are taken off without another copy, and what lies behind them stays.
  @Test func tcpDiscardsBytesThatWereRead() throws {
    let listener = try withBytes("127.0.0.1") { try Listener.tcp(address: $0, port: 0, backlog: 4) }
    let client = connect(family: Int32(CLINUX_IPV4), port: listener.port)
    let (fd, _) = try accept(listener)
    #expect(write("0123456789", to: client) == 10)
    var buffer = [UInt8](repeating: UInt8(ascii: "x"), count: 4)
    func read(_ kind: Transport.ReadKind) -> Int? {
      buffer.withUnsafeMutableBytes { buffer in
        guard case .bytes(let count) = Transport.read(fd, into: buffer, kind) else { return nil }
        return count
      }
    }
    let poller = try Poller(eventsMax: 1)
    try poller.add(fd, token: 0, interest: .read)
    try #require(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    #expect(read(.discarding) == 4)
    #expect(buffer == Array("xxxx".utf8))
    for _ in 0..<2 { #expect(read(.peeking) == 4 && buffer == Array("4567".utf8)) }
    #expect(read(.discarding) == 4)
    #expect(readText(fd) == "89")
    #expect(read(.discarding) == nil)
    Transport.close(client)
    Transport.close(fd)
    listener.close()
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
  }

  @Test func aPortIsFreeOnceItIsClosed() throws {
    try onFreePorts {
      let first = try Listener.tcp(address: Bytes("127.0.0.1"), port: 0, backlog: 1)
      first.close()
      let again = try Listener.tcp(address: Bytes("127.0.0.1"), port: first.port, backlog: 1)
      again.close()
    }
  }

  @Test func anyAddressOfBothFamiliesOnOnePort() throws {
    try onFreePorts {
      let six = try Listener.tcp(address: Bytes("::"), port: 0, backlog: 1)
      defer { six.close() }
      let four = try Listener.tcp(address: Bytes("0.0.0.0"), port: six.port, backlog: 1)
      four.close()
    }
  }

  /// Half of the time silent, then probes; and as long for bytes that are not acknowledged (tcp(7)).
  @Test(arguments: [(60, 30, 10, 3), (5, 2, 1, 3), (10, 5, 1, 5), (3600, 1800, 600, 3)])
  func connectionsInheritWhenADeadPeerIsNoticed(seconds: Int, idle: Int32, interval: Int32, count: Int32) throws {
    let listener = try Listener.tcp(address: Bytes("127.0.0.1"), port: 0, backlog: 1, deadPeerSeconds: seconds)
    let client = connect(family: Int32(CLINUX_IPV4), port: listener.port)
    let (fd, _) = try accept(listener)
    func option(_ level: Int32, _ name: Int32) -> Int32 {
      var value: Int32 = -1
      var length = socklen_t(4)
      #expect(getsockopt(fd, level, name, &value, &length) == 0)
      return value
    }
    let tcp = Int32(IPPROTO_TCP)
    #expect(option(SOL_SOCKET, SO_KEEPALIVE) == 1)
    #expect(option(tcp, TCP_KEEPIDLE) == idle && option(tcp, TCP_KEEPINTVL) == interval)
    #expect(option(tcp, TCP_KEEPCNT) == count && option(tcp, TCP_USER_TIMEOUT) == Int32(seconds) * 1000)
    #expect(Int(idle + interval * count) <= seconds)
    for fd in [fd, client] { Transport.close(fd) }
    listener.close()
  }

  @Test func aUnixSocketHasNoSuchTimes() throws {
    let (near, far) = try Transport.pair()
    #expect(errno { try Transport.noticeDeadPeer(near, withinSeconds: 60) } == EOPNOTSUPP)
    for fd in [near, far] { Transport.close(fd) }
  }

  /// accept(2): what befell a connection that waited is skipped; lack of room, and a socket that is none, make the listener
  /// pause.
  @Test func errorsOfOneConnectionAreSkipped() {
    let skipped = [
      ECONNABORTED, EINTR, EPERM, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH,
      ENONET,
      ETIMEDOUT,
    ]
    for error in skipped { #expect(Listener.isSkipped(error), "\(error)") }
    for error in [EMFILE, ENFILE, ENOBUFS, ENOMEM, EBADF, EINVAL, ENOTSOCK, EFAULT] {
      #expect(!Listener.isSkipped(error), "\(error)")
    }
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

  /// From the moment it is there; the umask is what it was before. It is the whole process's, and other tests make sockets
  /// at the same time: so this one has a process of its own.
  @Test func theModeIsExact() async {
    await #expect(processExitsWith: .success) {
      for mode: UInt32 in [0, 0o600, 0o660, 0o777] {
        let directory = TemporaryDirectory()
        umask(0o027)
        let path = directory.path + "/s"
        let listener = try withBytes(path) { try Listener.unix(path: $0, mode: mode, backlog: 4) }
        var status = stat()
        precondition(stat(path, &status) == 0 && status.st_mode & 0o777 == mode)
        precondition(umask(0o027) == 0o027)
        listener.close()
      }
    }
  }

  @Test func anAbstractNameHasNoFile() throws {
    let name = "@tapline-test-\(getpid())"
    let listener = try withBytes(name) { try Listener.unix(path: $0, mode: 0o660, backlog: 4) }
    let client = connect(path: name)
    let (fd, peer) = try accept(listener)
    #expect(peer.isUnix && peer.uid == getuid())
    #expect(errno { _ = try withBytes(name) { try Listener.unix(path: $0, mode: 0o660, backlog: 4) } } == EADDRINUSE)
    withBytes(name) { listener.removeFile(at: $0) }
    for fd in [fd, client, listener.fd] { Transport.close(fd) }
    let again = try withBytes(name) { try Listener.unix(path: $0, mode: 0o660, backlog: 4) }
    again.close()
  }

  @Test func aListenerRemovesItsOwnFileOnly() throws {
    let directory = TemporaryDirectory()
    let path = directory.path + "/s"
    let first = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) }
    #expect(unlink(path) == 0)
    let second = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) }
    withBytes(path) { first.removeFile(at: $0) }
    first.close()
    let client = connect(path: path)
    #expect(client >= 0)
    withBytes(path) { second.removeFile(at: $0) }
    second.close()
    #expect(access(path, F_OK) == -1)
    Transport.close(client)
    // What is no socket stays, too.
    let third = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 4) }
    #expect(unlink(path) == 0)
    directory.file("s", "precious")
    withBytes(path) { third.removeFile(at: $0) }
    third.close()
    #expect(access(path, F_OK) == 0)
  }

  /// Whoever may write to the directory may put a link there: nothing of what it points to changes.
  @Test func aLinkIsNotFollowed() throws {
    let directory = TemporaryDirectory()
    directory.file("precious", "precious")
    let precious = directory.path + "/precious"
    #expect(chmod(precious, 0o600) == 0)
    for (name, target) in [("dangling", "nothing"), ("file", "precious"), ("socket", "s")] {
      let path = directory.path + "/" + name
      #expect(symlink(directory.path + "/" + target, path) == 0)
      #expect(errno { _ = try withBytes(path) { try Listener.unix(path: $0, mode: 0o666, backlog: 4) } } == EADDRINUSE)
    }
    var status = stat()
    #expect(stat(precious, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(access(directory.path + "/nothing", F_OK) == -1)
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
    #expect(taken.fd == made.fd && !taken.isUnix)
    #expect(sockets.leftCount == 0)
    let again = sockets.tcp(address: Bytes("127.0.0.1"), port: made.port)
    #expect(again == nil)
    #expect(taken.isPassed && !made.isPassed)
    sockets.giveBack(taken)
    #expect(sockets.leftCount == 1)
    let once = sockets.tcp(address: Bytes("127.0.0.1"), port: made.port)
    #expect(once?.fd == made.fd)
    made.close()
  }

  /// A socket file that the service manager has made is its own to remove.
  @Test func thePassedSocketsFileStays() throws {
    let directory = TemporaryDirectory()
    let path = directory.path + "/s"
    let made = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 1) }
    var sockets = passed(firstFD: made.fd, count: "1", pid: "\(getpid())")
    let found = withBytes(path) { sockets.unix(path: $0) }
    let taken = try #require(found)
    withBytes(path) { taken.removeFile(at: $0) }
    #expect(access(path, F_OK) == 0)
    taken.close()
  }

  /// One that has the address and does not listen would be polled for ever.
  @Test func aSocketThatDoesNotListenIsNoListener() throws {
    let fd = clinux_stream_socket(Int32(CLINUX_IPV4))
    var address = try #require(IPAddress(Bytes("127.0.0.1"))).kernel
    #expect(clinux_bind(fd, &address) == 0 && clinux_local_address(fd, &address) == 0)
    var sockets = passed(firstFD: fd, count: "1", pid: "\(getpid())")
    let found = sockets.tcp(address: Bytes("127.0.0.1"), port: address.port)
    #expect(found == nil && sockets.leftCount == 1)
    Transport.close(fd)
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

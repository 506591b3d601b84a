import CBench

/// All clients, and the one loop that turns them.
final class Loop {
  let port: Int32
  private let epoll = cbench_epoll()
  private(set) var clients: [Client] = []
  private let space = UnsafeMutableRawPointer.allocate(byteCount: Loop.spaceBytes, alignment: 4096)
  private let ready = UnsafeMutablePointer<Int32>.allocate(capacity: 1024)

  private static var spaceBytes: Int { 1 << 20 }

  init(port: Int32) {
    self.port = port
  }

  /// A client whose CONNECT is under way.
  func add(_ id: String, waits: Bool = true) -> Client {
    var fd = waits ? cbench_connect(port) : cbench_connect_begin(port)
    // The listener's queue is full: somebody else's turn.
    while fd == -11 || fd == -99 { fd = cbench_connect(port) }
    guard fd >= 0 else { fail("cannot connect: error \(-fd)") }
    let client = Client(fd: fd)
    clients.append(client)
    client.write(Packets.connect(id))
    guard cbench_add(epoll, fd, Int32(clients.count - 1)) == 0 else { fail("cannot poll") }
    return client
  }

  /// Clients with their CONNACK, made 16 at a time: no broker's queue of new connections overflows.
  func connect(_ count: Int, _ prefix: String) -> [Client] {
    var made: [Client] = []
    while made.count < count {
      let some = (made.count..<min(made.count + 16, count)).map { add("\(prefix)\($0)") }
      until("CONNACK") { some.allSatisfy { $0.connAcks == 1 } }
      made += some
    }
    return made
  }

  func subscribe(_ client: Client, _ filters: [String], qos: UInt8 = 0) {
    let before = client.subAcks
    client.write(Packets.subscribe(filters, qos: qos))
    until("SUBACK") { client.subAcks > before }
  }

  /// Waits at most `milliseconds` for something, reads all of it and writes what waits. False: nothing came.
  @discardableResult
  func turn(_ milliseconds: Int32 = 100) -> Bool {
    let count = Int(cbench_wait(epoll, ready, milliseconds))
    for index in 0..<count {
      let client = clients[Int(ready[index])]
      client.read(space, Loop.spaceBytes)
      client.flush()
    }
    return count > 0
  }

  /// Turns until it holds; fails after 10 s, or when a client is thrown out.
  func until(_ what: String, _ condition: () -> Bool) {
    let end = cbench_now() + 10_000_000_000
    while !condition() {
      turn()
      if cbench_now() > end { fail("no \(what) within 10 s") }
    }
  }
}

func fail(_ what: String) -> Never {
  print("{\"failed\":\"\(what)\"}")
  runningBroker?.stop()
  exitNow(1)
}

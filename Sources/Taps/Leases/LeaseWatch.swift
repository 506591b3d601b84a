public import Bounded

/// Watches the client to whose connection an output or a level is bound.
///
/// Invariant: without a lease, and while the client is connected, `deadline` is `never`.
struct LeaseWatch: BitwiseCopyable {
  /// nil: there is no lease.
  private let graceNanoseconds: Int64?
  private var isClientHere = false
  /// The end of the grace time, `never` when it does not run.
  private(set) var deadline = Instant.never

  /// A client that is not there at start has the grace time to come.
  init(graceNanoseconds: Int64?, at now: Instant) {
    self.graceNanoseconds = graceNanoseconds
    if let graceNanoseconds { deadline = now.adding(nanoseconds: graceNanoseconds) }
  }

  mutating func clientConnected() {
    isClientHere = true
    deadline = .never
  }

  mutating func clientLost() {
    isClientHere = false
    deadline = .never
  }

  /// Starts the grace time if the client is away and the time does not run. Call it when something is driven that the
  /// lease would end: nobody's command lasts longer than that without the client.
  mutating func start(at now: Instant) {
    guard let graceNanoseconds, !isClientHere, deadline == .never else { return }
    deadline = now.adding(nanoseconds: graceNanoseconds)
  }

  /// Whether the grace time has ended; true once.
  mutating func takeDue(at now: Instant) -> Bool {
    guard deadline <= now else { return false }
    deadline = .never
    return true
  }
}

extension TapTable {
  /// Longest keep alive in seconds with which this client holds its leases, the shortest of them; nil: it has none, or they ask
  /// for none.
  public func longestKeepAlive(of client: Bytes) -> UInt16? {
    guard hasLeases else { return nil }
    var longest: UInt16?
    for output in settings.outputs where isClient(client, output.lease?.client) {
      if let own = output.lease?.keepAliveSecondsMax { longest = min(longest ?? own, own) }
    }
    for level in settings.levels where isClient(client, level.lease?.client) {
      if let own = level.lease?.keepAliveSecondsMax { longest = min(longest ?? own, own) }
    }
    return longest
  }

  /// Whether a client with this keep alive, 0 being none, holds its leases: its silence is noticed in time.
  public func holdsLeases(_ client: Bytes, keepAliveSeconds: UInt16) -> Bool {
    guard let longest = longestKeepAlive(of: client) else { return true }
    return keepAliveSeconds > 0 && keepAliveSeconds <= longest
  }

  /// This client has a connection.
  public func clientConnected(_ client: Bytes) {
    guard hasLeases else { return }
    for index in 0..<outputs.count where isClient(client, settings.outputs[index].lease?.client) {
      outputs[index].clientConnected()
    }
    for index in 0..<levels.count where isClient(client, settings.levels[index].lease?.client) {
      levels[index].clientConnected()
    }
  }

  /// This client's last connection has ended, in whatever way.
  public func clientLost(_ client: Bytes, at now: Instant) {
    guard hasLeases else { return }
    for index in 0..<outputs.count where isClient(client, settings.outputs[index].lease?.client) {
      outputs[index].clientLost(at: now)
      wake(at: outputs[index].nextDeadline)
    }
    for index in 0..<levels.count where isClient(client, settings.levels[index].lease?.client) {
      levels[index].clientLost(at: now)
    }
  }

  private func isClient(_ client: Bytes, _ holder: [UInt8]?) -> Bool {
    holder?.withUnsafeBytes { Bytes($0) == client } ?? false
  }
}

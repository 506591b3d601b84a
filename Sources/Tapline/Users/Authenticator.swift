import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration

/// Decides who a client is. It has no thread, no descriptor and no clock: passwords are checked by whoever asks for the next
/// login, on a lane or in a test.
final class Authenticator {
  let sizes: UserSizes
  let hasPasswords: Bool
  /// In force.
  var tables: UserTables
  let queue: LoginQueue
  private var rates: LoginRates
  private(set) var figures = LoginFigures()
  /// Counts changes of `tables`.
  private(set) var epoch: UInt32 = 0
  /// After a reload sessions are judged again. Until all are, no password is checked: a client that came in with the new one
  /// would be taken for one that came in with the old one.
  var isPaused = false
  private var told = LoginsTold()
  private let outcasts: FixedArray<GivenWay>
  private var outcastCount = 0

  /// A login that has given its place to another address.
  struct GivenWay: BitwiseCopyable {
    var serial: LinkSerial
    var transport: UInt32
  }

  private struct LoginsTold {
    var refused: UInt64 = 0
    var quietUntil = Instant(nanoseconds: 0)
  }

  init(_ users: UserSettings, key: HashKey, in reservation: inout Reservation) {
    sizes = users.sizes
    hasPasswords = users.passwordFile != nil
    tables = UserTables(sizes, in: &reservation)
    queue = LoginQueue(sizes, in: &reservation)
    rates = LoginRates(isUsed: hasPasswords, key: key, in: &reservation)
    // Each read of a turn brings one CONNECT at most, and they are told once in a turn.
    outcasts = FixedArray(
      count: hasPasswords ? Streams.readsMax : 0, name: "  logins that gave way", in: &reservation)
  }

  /// What a client is told, and why, for the log.
  enum Decision {
    case verdict(Verdict)
    case refused(ReasonCode, Cause)
    /// Its password is checked first.
    case later
  }

  enum Cause { case noPassword, badName, badPassword, tooOften, noRoom, addressNoRoom }

  /// Judges a CONNECT. The identity in the verdict is valid until the tables change.
  /// - Parameters:
  ///   - certificateName: whom the client's certificate names, which beats all that CONNECT says; nil: nobody.
  ///   - uid: who connected a unix socket; nil for other streams.
  ///   - isOpen: whether a transport is still there; logins of others make room.
  func judge(
    _ credentials: Credentials, certificateName: Bytes? = nil, uid: UInt32?, from source: SourceAddress,
    isOpen: (UInt32) -> Bool
  ) -> Decision {
    if let certificateName {
      guard certificateName.count <= sizes.nameBytes else { return refuse(.badUserNameOrPassword, .badName) }
      return accept(certificateName)
    }
    if let uid {
      let name = tables.name(ofUser: uid)
      if !name.isEmpty { return accept(name) }
    }
    guard let name = credentials.userName else {
      guard credentials.password == nil else { return refuse(.badUserNameOrPassword, .badName) }
      if credentials.allowsAnonymous { return accept(.empty) }
      figures.denied &+= 1
      return .verdict(.refuse(.notAuthorized))
    }
    guard !name.isEmpty, name.count <= sizes.nameBytes else { return refuse(.badUserNameOrPassword, .badName) }
    guard hasPasswords, let password = credentials.password else { return refuse(.badUserNameOrPassword, .noPassword) }
    guard password.count <= LoginQueue.passwordBytesMax else { return refuse(.badUserNameOrPassword, .badPassword) }
    guard rates.allows(name, from: source, at: credentials.now) else {
      return refuse(.connectionRateExceeded, .tooOften)
    }
    if queue.count == queue.capacity { dropEnded(isOpen) }
    while true {
      switch queue.add(
        credentials.serial, transport: credentials.transport, from: source, name: name, password: password)
      {
      case nil: return .later
      case .full?: guard makeRoom(for: source) else { return refuse(.quotaExceeded, .noRoom) }
      case .addressFull?: return refuse(.quotaExceeded, .addressNoRoom)
      }
    }
  }

  /// Ends a login of an address that has more of them than `source`; it is told when `nextGivenWay` names it.
  private func makeRoom(for source: SourceAddress) -> Bool {
    guard outcastCount < outcasts.count, let place = queue.givesWay(to: source) else { return false }
    outcasts[outcastCount] = GivenWay(serial: queue[place].serial, transport: queue[place].transport)
    outcastCount += 1
    figures.refused &+= 1
    queue.end(place)
    return true
  }

  /// A login that has given way and is to be refused with 0x97; nil: there is none.
  func nextGivenWay() -> GivenWay? {
    guard outcastCount > 0 else { return nil }
    outcastCount -= 1
    return outcasts[outcastCount]
  }

  private func accept(_ name: Bytes) -> Decision {
    .verdict(.accept(Identity(userName: name, role: tables.role(of: name))))
  }

  private func refuse(_ reason: ReasonCode, _ cause: Cause) -> Decision {
    switch cause {
    case .noPassword, .badName, .badPassword: figures.denied &+= 1
    case .tooOften, .noRoom, .addressNoRoom: figures.refused &+= 1
    }
    return .refused(reason, cause)
  }

  // MARK: Passwords

  /// The login whose password is to be checked now; nil: none.
  func nextCheck(isOpen: (UInt32) -> Bool) -> Int? {
    guard !isPaused else { return nil }
    while let place = queue.next() {
      guard isOpen(queue[place].transport) else {
        queue.end(place)
        continue
      }
      queue.begin(place, tables.entry(of: queue.name(at: place)), epoch: epoch)
      return place
    }
    return nil
  }

  /// A login's password was checked. nil: not against what is in force now, so it waits again. After any other answer, tell
  /// the broker and call `queue.end`.
  func checked(_ place: Int, isRight: Bool, at now: Instant) -> Verdict? {
    guard queue[place].epoch == epoch else {
      queue.wait(place)
      return nil
    }
    let name = queue.name(at: place)
    guard isRight else {
      rates.failed(name, from: queue[place].source, at: now)
      figures.denied &+= 1
      return .refuse(.badUserNameOrPassword)
    }
    figures.accepted &+= 1
    return .accept(Identity(userName: name, role: tables.role(of: name)))
  }

  /// Other tables are in force from here on.
  func tablesChanged() { epoch &+= 1 }

  private func dropEnded(_ isOpen: (UInt32) -> Bool) {
    for place in 0..<queue.capacity where queue.isWaiting(place) && !isOpen(queue[place].transport) { queue.end(place) }
  }

  // MARK: Figures

  /// Visits the numbers of logins: topic under $SYS, and value.
  func visitFigures(_ visit: (StaticString, UInt64) -> Void) {
    visit("$SYS/tapline/logins/waiting", UInt64(queue.count))
    visit("$SYS/tapline/logins/accepted", figures.accepted)
    visit("$SYS/tapline/logins/denied", figures.denied)
    visit("$SYS/tapline/logins/refused", figures.refused)
  }

  /// How many were refused for lack of room since the log was told, if it is time to tell: once a minute.
  func takeRefused(at now: Instant) -> UInt64? {
    guard told.quietUntil <= now, figures.refused != told.refused else { return nil }
    let count = figures.refused &- told.refused
    told = LoginsTold(refused: figures.refused, quietUntil: now.adding(seconds: 60))
    return count
  }
}

/// Logins with a password since the start, and anonymous clients that were denied.
struct LoginFigures: BitwiseCopyable {
  var accepted: UInt64 = 0
  /// By their name or password, or for having none.
  var denied: UInt64 = 0
  /// For lack of room, or as their password was wrong too often.
  var refused: UInt64 = 0
}

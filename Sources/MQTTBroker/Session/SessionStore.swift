import Bounded
import MQTTWire

/// What the broker keeps for a client beyond its connection (§4.1). Sessions are numerous, so no field requires 8-byte
/// alignment. `SessionStore` changes what stands here; the five parts named after a store are that store's.
public struct Session: BitwiseCopyable {
  fileprivate let hash: UInt32
  let clientID: Body
  /// Null while the client is away.
  fileprivate(set) var connection: ConnectionID = .null
  var subscriptions = SubscriptionList()
  var outgoing = Outgoing()
  var match = SessionMatch()
  var incoming = IncomingIDs()
  var holdings = Holdings()
  var sureUse = SureUse()
  private var storedWindow: UInt16 = 0
  fileprivate(set) var expirySeconds: UInt32 = 0
  fileprivate(set) var will: Handle<Message> = .null
  fileprivate(set) var willDelaySeconds: UInt32 = 0
  private var packedLostAt = PackedInstant(.never)
  var takeovers = Takeovers()
  fileprivate(set) var droppedCount: UInt32 = 0
  fileprivate(set) var version: ProtocolVersion
  /// Whose the session is, for as long as it lasts: its user's role, the bytes of the user's name, and whether the user is
  /// gone.
  fileprivate var role: Role = 0
  fileprivate var userNameByteCount: UInt8 = 0
  fileprivate var isRevoked = false

  fileprivate init(hash: UInt32, clientID: Body, version: ProtocolVersion) {
    self.hash = hash
    self.clientID = clientID
    self.version = version
  }

  /// Unacknowledged messages this client takes: the smaller of its Receive Maximum and ours; 0 while it is away.
  fileprivate(set) var window: Int {
    @inline(__always) get { Int(storedWindow) }
    set { storedWindow = UInt16(newValue) }
  }
  /// When its connection ended; never while it is connected.
  fileprivate(set) var lostAt: Instant {
    get { packedLostAt.instant }
    set { packedLostAt = PackedInstant(newValue) }
  }
  /// Never while it is connected.
  var expiresAt: Instant { lostAt == .never ? .never : lostAt.adding(seconds: Int64(expirySeconds)) }
  /// Never while it is connected, or without a Will.
  var willAt: Instant {
    lostAt == .never || will.isNull ? .never : lostAt.adding(seconds: Int64(willDelaySeconds))
  }
}

/// Sessions by client identifier.
///
/// Invariant: a session is in the index under its identifier, which no other session has; it owns the identifier's cells
/// and its Will, and has a place for its user's name; free identifier cells are at least the sessions that are not lent; a session has a connection or a moment
/// at which it lost it.
struct SessionStore: ~Copyable {
  private var sessions: Slab<Session>
  private(set) var index: HashIndex
  private(set) var clientIDs: BlockPool  // each session is sure of one cell
  private let clientIDScratch: Scratch  // one that does not lie in one piece
  private let keys: BrokerKeys
  /// A place for each session, none without users.
  private let userNames: Scratch
  let userNameBytes: Int
  private var assignedCount: UInt64 = 0

  @_optimize(size) init(
    limits: Limits, keys: BrokerKeys, userNameBytes: Int = 0, in reservation: inout Reservation
  ) {
    precondition((0...255).contains(userNameBytes))
    sessions = Slab(capacity: limits.sessionsMax, name: "sessions", in: &reservation)
    index = HashIndex(capacity: limits.sessionsMax, name: "  index", in: &reservation)
    clientIDs = BlockPool(
      blockCount: limits.sessionsMax + limits.clientIDCellsMax, blockBytes: 32, name: "client id cells",
      in: &reservation)
    clientIDScratch = Scratch(byteCount: limits.clientIDBytesMax, name: "scratch: client id", in: &reservation)
    userNames = Scratch(byteCount: limits.sessionsMax * userNameBytes, name: "user names", in: &reservation)
    self.keys = keys
    self.userNameBytes = userNameBytes
  }

  /// Changed from outside only in a store's own part of it.
  subscript(session: Handle<Session>) -> Session {
    @inline(__always) unsafeAddress { UnsafePointer(sessions.address(session)) }
    @inline(__always) nonmutating unsafeMutableAddress { sessions.address(session) }
  }

  @inline(__always) func address(_ session: Handle<Session>) -> UnsafeMutablePointer<Session> {
    sessions.address(session)
  }

  var gauge: Gauge { sessions.gauge }
  func isLent(_ session: Handle<Session>) -> Bool { sessions.isLent(session) }
  func handle(at index: Int) -> Handle<Session>? { sessions.handle(at: index) }
  func visit(_ body: (UnsafeMutablePointer<Session>) -> Void) { sessions.visit(body) }

  // MARK: Client identifiers

  private func hash(_ clientID: Bytes) -> UInt32 { UInt32(truncatingIfNeeded: keys.names.hash(clientID)) }

  func find(_ clientID: Bytes) -> Handle<Session>? {
    index.find(hash: hash(clientID)) { index in
      sessions.handle(at: index).map { clientIDs.isEqual(sessions[$0].clientID, to: clientID) } ?? false
    }.flatMap { sessions.handle(at: $0) }
  }

  /// A session's client identifier; valid until another one is asked for.
  func clientID(_ session: Handle<Session>) -> Bytes {
    let body = sessions[session].clientID
    var cursor = clientIDs.cursor(body)
    let first = clientIDs.read(&cursor, most: .max)
    guard cursor.remaining > 0 else { return first }
    var writer = clientIDScratch.writer()
    clientIDs.copy(body, from: 0, byteCount: body.byteCount, into: &writer)
    return writer.written
  }

  /// Writes `tapline-` and 16 hexadecimal digits, which no session has as its identifier. They tell nothing of others that
  /// were or will be assigned.
  mutating func assignClientID(into writer: inout ByteWriter) {
    repeat {
      assignedCount += 1
      let value = keys.identifiers.random(assignedCount)
      writer.truncate(to: 0)
      writer.write("tapline-")
      var shift: UInt64 = 64
      while shift > 0 {
        shift -= 4
        let digit = UInt8((value >> shift) & 15)
        writer.write(digit < 10 ? 48 + digit : 87 + digit)
      }
    } while find(writer.written) != nil
  }

  // MARK: Beginning and end

  /// Whether there is room for a session and a client identifier of so many bytes.
  func hasPlace(for clientIDByteCount: Int) -> Bool {
    sessions.hasRoom && clientIDs.hasRoom(for: clientIDByteCount, keepingFree: sessions.gauge.free - 1)
  }

  /// Whether there is such a place when all sessions without a client have ended. One with a short identifier leaves
  /// nothing for a long one: its cell is kept for the session that may come in its place.
  @_optimize(size) func wouldHavePlace(for clientIDByteCount: Int) -> Bool {
    var places = sessions.gauge.free
    var cells = clientIDs.gauge.free - sessions.gauge.free + 1
    for index in 0..<sessions.capacity {
      guard let session = sessions.handle(at: index), sessions[session].connection.isNull else { continue }
      places += 1
      cells += cellCount(session) - 1
    }
    return places > 0 && clientIDs.blockCount(for: clientIDByteCount) <= cells
  }

  /// The session that has been without its client for longest, of those that make such a place: where cells are missing,
  /// of those with more than one. Nil: there is none.
  @_optimize(size) func longestAway(for clientIDByteCount: Int) -> Handle<Session>? {
    let lacksCells =
      clientIDs.blockCount(for: clientIDByteCount) > clientIDs.gauge.free - sessions.gauge.free + 1
    var longest = Handle<Session>.null
    for index in 0..<sessions.capacity {
      guard let session = sessions.handle(at: index), sessions[session].connection.isNull else { continue }
      if lacksCells, cellCount(session) == 1 { continue }
      if longest.isNull || sessions[session].lostAt < sessions[longest].lostAt { longest = session }
    }
    return longest.isNull ? nil : longest
  }

  private func cellCount(_ session: Handle<Session>) -> Int {
    clientIDs.blockCount(for: sessions[session].clientID.byteCount)
  }

  /// For a session and its client identifier; `false` is counted.
  mutating func hasRoom(for clientID: Bytes) -> Bool {
    guard sessions.hasRoom else {
      sessions.gauge.refused &+= 1
      return false
    }
    // Each session that is not there yet is sure of a cell.
    guard clientIDs.hasRoom(for: clientID.count, keepingFree: sessions.gauge.free - 1) else {
      clientIDs.gauge.refused &+= 1
      return false
    }
    return true
  }

  mutating func begin(_ clientID: Bytes, version: ProtocolVersion) -> Handle<Session>? {
    let hash = hash(clientID)
    guard sessions.hasRoom, let body = clientIDs.lend(byteCount: clientID.count, keepingFree: sessions.gauge.free - 1)
    else { return nil }
    var cursor = clientIDs.cursor(body)
    clientIDs.write(clientID, at: &cursor)
    let handle = sessions.lend(Session(hash: hash, clientID: body, version: version))!  // the room was seen above
    index.insert(handle.index, hash: hash)
    return handle
  }

  /// Forgets a session that owns nothing any more.
  mutating func end(_ session: Handle<Session>) {
    let entry = sessions[session]
    precondition(entry.subscriptions.count == 0 && entry.outgoing.queued.count == 0 && entry.incoming.count == 0)
    precondition(entry.will.isNull && entry.outgoing.inflight.count == 0)
    index.remove(session.index, hash: entry.hash, from: sessions) { $0.hash }
    clientIDs.release(entry.clientID)
    sessions.giveBack(session)
  }

  // MARK: Identity

  /// The name of the session's user; empty: anonymous.
  @inline(__always) func userName(_ session: Handle<Session>) -> Bytes {
    let byteCount = Int(sessions[session].userNameByteCount)
    return byteCount == 0 ? .empty : userNamePlace(session).first(byteCount)
  }

  private func userNamePlace(_ session: Handle<Session>) -> Bytes {
    let start = session.index * userNameBytes
    return Bytes(UnsafeRawBufferPointer(userNames.buffer))[start..<start + userNameBytes]
  }

  /// What rules go by.
  func member(_ session: Handle<Session>) -> Member {
    let entry = sessions.address(session)
    return Member(
      role: entry.pointee.role, isAnonymous: entry.pointee.userNameByteCount == 0, isRevoked: entry.pointee.isRevoked)
  }

  /// Whether the session is this client's: nobody else may resume it, take it over, or end it.
  func isOf(_ identity: Identity, _ session: Handle<Session>) -> Bool { userName(session) == identity.userName }

  /// Its client has connected with this identity, of which the name is no longer than there is room for.
  func setIdentity(_ session: Handle<Session>, _ identity: Identity) {
    let byteCount = identity.userName.count
    precondition(byteCount <= userNameBytes)
    if byteCount > 0 {
      let start = session.index * userNameBytes
      UnsafeMutableRawBufferPointer(rebasing: userNames.buffer[start..<start + byteCount])
        .copyMemory(from: identity.userName.buffer)
    }
    sessions[session].userNameByteCount = UInt8(byteCount)
    setRole(session, identity.role)
  }

  /// - Parameter role: nil: the user is gone.
  func setRole(_ session: Handle<Session>, _ role: Role?) {
    sessions[session].role = role ?? 0
    sessions[session].isRevoked = role == nil
  }

  // MARK: The connection

  /// Its client is here, with these wishes for the time after.
  /// - Parameters:
  ///   - window: unacknowledged messages that the client takes.
  ///   - will: stored, with one owner, which is the session from now on; null: none. An earlier one was taken.
  mutating func connect(
    _ session: Handle<Session>, on id: ConnectionID, version: ProtocolVersion, expirySeconds: UInt32, window: Int,
    will: Handle<Message>, willDelaySeconds: UInt32
  ) {
    precondition(sessions[session].will.isNull)
    sessions[session].connection = id
    sessions[session].version = version
    sessions[session].expirySeconds = expirySeconds
    sessions[session].lostAt = .never
    sessions[session].will = will
    sessions[session].willDelaySeconds = willDelaySeconds
    sessions[session].window = window
  }

  /// Its connection is gone; from now on its expiry and the delay of its Will count.
  mutating func disconnect(_ session: Handle<Session>, at now: Instant) {
    sessions[session].connection = .null
    sessions[session].window = 0
    sessions[session].lostAt = now
  }

  /// DISCONNECT may change the expiry (§3.14.2.2.2).
  func setExpiry(_ session: Handle<Session>, seconds: UInt32) { sessions[session].expirySeconds = seconds }

  /// Its Will, which is the caller's to release from now on; null: none.
  func takeWill(_ session: Handle<Session>) -> Handle<Message> {
    let will = sessions[session].will
    sessions[session].will = .null
    return will
  }

  /// A message for it was lost. The count stays at its highest.
  func countDropped(_ session: Handle<Session>) {
    if sessions[session].droppedCount < .max { sessions[session].droppedCount += 1 }
  }

  /// How well it can take a message now: 3: connected with an open window; 2: connected; 1: it waits for its client.
  func readiness(_ session: Handle<Session>) -> Int {
    let entry = sessions.address(session)
    if entry.pointee.connection.isNull { return 1 }
    let isOpen =
      entry.pointee.outgoing.queued.count == 0
      && entry.pointee.outgoing.inflight.count < entry.pointee.window
    return isOpen ? 3 : 2
  }
}

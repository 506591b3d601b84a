import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// What an embedding program may be slow at: verdicts on CONNECT, and a journal that reaches its medium. Each on some days
/// only; drawn apart from the rest, so that other days stay as they were.
final class SimulatedWaiting {
  struct Parked {
    let line: Line
    let serial: LinkSerial
    let cause: Cause
  }
  let hasLateVerdicts: Bool
  let keepsJournal: Bool
  var random: SeededGenerator
  /// Of the CONNECT that was judged last.
  private var lastAsked: LinkSerial?
  var parked: [Parked] = []
  /// Answered, or gone: a further verdict changes nothing.
  var old: [LinkSerial] = []
  var written: UInt64 = 0
  var stored: UInt64 = 0

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed &+ 2000)
    hasLateVerdicts = random.oneIn(2)
    keepsJournal = random.oneIn(2)
  }

  func judge(_ credentials: Credentials) -> Verdict? {
    lastAsked = credentials.serial
    if random.oneIn(2) { return nil }
    return verdict(allowsAnonymous: credentials.allowsAnonymous)
  }

  func verdict(allowsAnonymous: Bool) -> Verdict {
    allowsAnonymous ? .accept(.anonymous) : .refuse(random.oneIn(2) ? .notAuthorized : .badUserNameOrPassword)
  }

  func park(_ line: Line, _ connect: Connect, _ limits: Limits) {
    let cause = Cause.connect(
      clientID: connect.clientID.array(), cleanStart: connect.cleanStart,
      expirySeconds: min(connect.sessionExpirySeconds, UInt32(limits.sessionExpirySecondsMax)),
      isTrusted: line.client.isHonest)
    parked.append(Parked(line: line, serial: lastAsked!, cause: cause))
  }
}

extension Simulation {
  /// Some of those that wait go on.
  func stepWaiting() {
    if waiting.keepsJournal, waiting.random.oneIn(2) {
      waiting.written += UInt64(1 + waiting.random.below(3))
      broker.journaled(upTo: waiting.written)
    }
    if waiting.keepsJournal, waiting.random.oneIn(4) {
      store(upTo: waiting.stored + UInt64(waiting.random.below(Int(waiting.written - waiting.stored) + 1)))
    }
    if !waiting.parked.isEmpty, waiting.random.oneIn(3) { answer(waiting.random.below(waiting.parked.count)) }
    if !waiting.old.isEmpty, waiting.random.oneIn(9) {
      let serial = waiting.old[waiting.random.below(waiting.old.count)]
      event(.other) { broker.answered(serial, .accept(.anonymous), at: now) }
      audit()
    }
  }

  private func store(upTo position: UInt64) {
    waiting.stored = position
    event(.other) { broker.stored(upTo: position) }
    audit()
  }

  /// One that has ended is answered too, and it changes nothing.
  private func answer(_ index: Int) {
    let entry = waiting.parked.remove(at: index)
    waiting.old.append(entry.serial)
    let isHere = entry.line.isOpen && !broker.isClosing(entry.line.id)
    let verdict = waiting.verdict(
      allowsAnonymous: !isHere || broker.connections[entry.line.id].allowsAnonymous)
    event(isHere ? entry.cause : .other) { broker.answered(entry.serial, verdict, at: now) }
    if isHere, !broker.isClosing(entry.line.id) { welcome(entry.line) }
    audit()
  }

  /// Nobody waits any more, and nobody will.
  func endWaiting() {
    while failure == nil, !waiting.parked.isEmpty { answer(0) }
    broker.onCredentials = { $0.allowsAnonymous ? .accept(.anonymous) : .refuse(.notAuthorized) }
    if waiting.keepsJournal, failure == nil { store(upTo: waiting.written) }
  }

  /// Whether what this connection owes or is owed may have to wait for a verdict or the journal.
  func mayWait(_ line: Line) -> Bool {
    let link = broker.connections[line.id]
    return link.state == .awaitingVerdict || link.acks.count > 0 || broker.acks.isFull
  }
}

extension Line {
  /// Puts the first answer that is of the same kind first: acknowledgements of messages are in order among themselves, and
  /// so are the others.
  func bringForward(_ type: PacketType) {
    func isAck(_ type: PacketType) -> Bool { type == .pubAck || type == .pubRec || type == .pubComp }
    let found = answers[answersStart...].firstIndex { isAck($0.type) == isAck(type) }
    if let found { answers.insert(answers.remove(at: found), at: answersStart) }
  }
}

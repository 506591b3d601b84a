public import Bounded
public import MQTTWire

/// Who asks to be let in: a CONNECT's client, before anything is decided. The bytes are borrowed for the call.
public struct Credentials {
  /// Empty: the broker will assign one.
  public let clientID: Bytes
  public let userName: Bytes?
  public let password: Bytes?
  public let version: ProtocolVersion
  /// Whether the listener lets clients in without a user name.
  public let allowsAnonymous: Bool
  /// Names the connection for a verdict that comes later.
  public let serial: LinkSerial
  /// What carries the connection, as `Broker.attach` was told.
  public let transport: UInt32
  public let now: Instant
}

/// Whether a client may connect.
public enum Verdict: BitwiseCopyable {
  /// Whose a session it begins is, or may resume or take over.
  case accept(Identity)
  /// The CONNACK says this (§3.2.2.2).
  case refuse(ReasonCode)
}

/// Judges a CONNECT. `nil`: later, by `Broker.answered`. It must not call the broker.
public typealias CredentialsHandler = (Credentials) -> Verdict?

/// CONNECT that waits for its verdict (§3.1.4: the server may ask others before it answers).
///
/// Its bytes wait in the connection's chain of blocks for packets in part, and input behind them too; the connection is
/// not read. Nothing of it is decided: limits, takeover, Will and session are looked at when the verdict is there. The time
/// for CONNECT goes on: without a verdict the connection is closed as one that never sent a CONNECT.
extension Broker {
  /// The verdict on a CONNECT for which `onCredentials` had none. Ignored when the connection has ended, or has had its
  /// verdict; a later connection in its place has another serial.
  ///
  /// As with `detach`, a Will of a connection that is taken over may run taps. Call `receive` without input when
  /// `nextReady` names a connection that `holdsInput`.
  public mutating func answered(_ serial: LinkSerial, _ verdict: Verdict, at now: Instant) {
    guard let id = link(serial), connections[id].state == .awaitingVerdict else { return }
    let (body, held) = takeHeld(id)
    var input = held
    hold(&input, of: id, at: now)  // its blocks have just come back
    connections[id].lastReceived = now  // while it waited it could say nothing
    guard let connect = decodeConnect(body, on: id, at: now) else { return }
    decide(connect, verdict, on: id, at: now)
    outboxes.markReady(id)
  }

  /// The connection with this serial, if it has not ended.
  func link(_ serial: LinkSerial) -> ConnectionID? {
    guard serial.place < limits.connectionsMax, let id = connections.handle(at: serial.place),
      connections[id].serial == serial
    else { return nil }
    return id
  }

  func ask(_ connect: Connect, on id: ConnectionID, at now: Instant) -> Verdict? {
    onCredentials(
      Credentials(
        clientID: connect.clientID, userName: connect.userName, password: connect.password, version: connect.version,
        allowsAnonymous: connections[id].allowsAnonymous, serial: connections[id].serial,
        transport: connections[id].transport, now: now))
  }

  /// Keeps a CONNECT until its verdict comes; without blocks for it, it is refused.
  mutating func park(_ body: Bytes, on id: ConnectionID, at now: Instant) {
    guard partials.append(body, to: &connections[id].partial) else {
      partials.gauge.dropped &+= 1
      limitHit(.partialBlocks, on: id)
      refuse(id, .quotaExceeded, at: now)
      return
    }
    connections[id].park()
  }
}

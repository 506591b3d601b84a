import Bounded
import MQTTBroker
import TaplineConfiguration

/// Passwords that wait to be checked: a fixed number of places in all, and of each address. One is checked at a time, and
/// addresses take turns: whoever sends many waits for their own, and others pass them. When all places are taken, the
/// address with the most that wait gives one up for an address that has fewer.
///
/// Each login has a number of its turn: one more than the last of its address, and than that of the login that was begun
/// last. The least number is next (start-time fair queueing, with one check as the unit).
///
/// Passwords lie in places of fixed size, and are wiped when their login is over.
///
/// Invariant: a place is free exactly when its state is `.free`; then its password is all zero. `waitingOfAddress` of a login
/// that waits is the number of those that wait with its address.
final class LoginQueue: @unchecked Sendable {
  /// A longer password is refused: as many bytes as a person can be asked for.
  static var passwordBytesMax: Int { 255 }

  enum State: UInt8, BitwiseCopyable {
    case free = 0
    case waiting, checking
  }

  struct Login: BitwiseCopyable {
    var serial: LinkSerial
    var transport: UInt32
    fileprivate var turn: UInt64
    fileprivate var arrival: UInt64
    fileprivate(set) var state: State
    var source: SourceAddress
    fileprivate var nameCount: UInt8
    fileprivate var passwordCount: UInt8
    /// Of a login that waits: how many of its address do, with itself.
    fileprivate var waitingOfAddress: UInt16
    /// Of the tables from which `entry` is.
    var epoch: UInt32
    var entry: PasswordEntry
  }

  enum Refusal { case full, addressFull }

  private let logins: FixedArray<Login>
  private let bytes: Scratch
  private let nameBytesMax: Int
  private let perAddressMax: Int
  private var arrivals: UInt64 = 0
  private var currentTurn: UInt64 = 0
  private(set) var count = 0

  init(_ sizes: UserSizes, in reservation: inout Reservation) {
    logins = FixedArray(count: sizes.logins, name: "logins", in: &reservation)
    nameBytesMax = sizes.nameBytes
    perAddressMax = sizes.loginsPerAddress
    bytes = Scratch(
      byteCount: sizes.logins * (sizes.nameBytes + LoginQueue.passwordBytesMax), name: "  names and passwords",
      in: &reservation)
  }

  var capacity: Int { logins.count }

  // MARK: The loop's side

  subscript(place: Int) -> Login { logins[place] }

  /// Takes a login in; nil when it waits now.
  /// - Parameters:
  ///   - name: as long as the longest, at most.
  ///   - password: of `passwordBytesMax` bytes at most.
  func add(
    _ serial: LinkSerial, transport: UInt32, from source: SourceAddress, name: Bytes, password: Bytes
  ) -> Refusal? {
    precondition(name.count <= nameBytesMax && password.count <= LoginQueue.passwordBytesMax)
    var free: Int?
    var ofAddress = 0
    var turn = currentTurn + 1
    for place in 0..<capacity {
      if logins[place].state == .free {
        free = free ?? place
      } else if logins[place].source == source {
        ofAddress += 1
        turn = max(turn, logins[place].turn + 1)
      }
    }
    guard ofAddress < perAddressMax else { return .addressFull }
    guard let free else { return .full }
    arrivals += 1
    logins[free].serial = serial
    logins[free].transport = transport
    logins[free].turn = turn
    logins[free].arrival = arrivals
    logins[free].source = source
    logins[free].nameCount = UInt8(name.count)
    logins[free].passwordCount = UInt8(password.count)
    let memory = memory(of: free)
    memory.copyBytes(from: name.buffer)
    UnsafeMutableRawBufferPointer(rebasing: memory[nameBytesMax...]).copyBytes(from: password.buffer)
    logins[free].state = .waiting
    recount(source)
    count += 1
    return nil
  }

  /// The newest login of the address with the most that wait, if `source` has at least two fewer; nil: nobody gives way. So an
  /// address keeps one that waits, and two addresses do not take a place from each other in turn.
  func givesWay(to source: SourceAddress) -> Int? {
    var own = 0
    var best: Int?
    for place in 0..<capacity where isWaiting(place) {
      if logins[place].source == source { own = Int(logins[place].waitingOfAddress) }
      guard let other = best else {
        best = place
        continue
      }
      let (most, count) = (logins[other].waitingOfAddress, logins[place].waitingOfAddress)
      if count > most || count == most && logins[place].arrival > logins[other].arrival { best = place }
    }
    guard let best, Int(logins[best].waitingOfAddress) >= own + 2 else { return nil }
    return best
  }

  /// After a login of the address has begun to wait or does not wait any more.
  private func recount(_ source: SourceAddress) {
    var count: UInt16 = 0
    for place in 0..<capacity where isWaiting(place) && logins[place].source == source { count += 1 }
    for place in 0..<capacity where isWaiting(place) && logins[place].source == source {
      logins[place].waitingOfAddress = count
    }
  }

  /// The login that is checked next, if one waits. It is the lane's until `end` or `wait`.
  func next() -> Int? {
    var best: Int?
    for place in 0..<capacity where logins[place].state == .waiting {
      guard let other = best else {
        best = place
        continue
      }
      let (own, others) = (logins[place], logins[other])
      if own.turn < others.turn || own.turn == others.turn && own.arrival < others.arrival { best = place }
    }
    return best
  }

  /// A login begins to be checked against `entry`.
  func begin(_ place: Int, _ entry: PasswordEntry, epoch: UInt32) {
    precondition(logins[place].state == .waiting)
    currentTurn = max(currentTurn, logins[place].turn)
    logins[place].entry = entry
    logins[place].epoch = epoch
    logins[place].state = .checking
    recount(logins[place].source)
  }

  /// What it was checked against is not in force any more: it waits again, at the same turn.
  func wait(_ place: Int) {
    precondition(logins[place].state == .checking)
    logins[place].state = .waiting
    recount(logins[place].source)
  }

  /// A login is over: its password is wiped.
  func end(_ place: Int) {
    precondition(logins[place].state != .free)
    memory(of: place).initializeMemory(as: UInt8.self, repeating: 0)
    logins[place].state = .free
    recount(logins[place].source)
    count -= 1
  }

  func isWaiting(_ place: Int) -> Bool { logins[place].state == .waiting }

  func name(at place: Int) -> Bytes {
    Bytes(UnsafeRawBufferPointer(rebasing: memory(of: place)[..<Int(logins[place].nameCount)]))
  }

  // MARK: The lane's side

  /// Whether the password is the user's; slow. Only of a place that is being checked.
  func check(_ place: Int) -> Bool {
    let memory = memory(of: place)
    let password = memory[nameBytesMax..<(nameBytesMax + Int(logins[place].passwordCount))]
    return logins[place].entry.matches(Bytes(UnsafeRawBufferPointer(rebasing: password)))
  }

  private func memory(of place: Int) -> UnsafeMutableRawBufferPointer {
    let byteCount = nameBytesMax + LoginQueue.passwordBytesMax
    return UnsafeMutableRawBufferPointer(rebasing: bytes.buffer[(place * byteCount)..<((place + 1) * byteCount)])
  }
}

public import Bounded

/// Users and what their passwords are compared with, in reserved memory. A reload fills a second table of the same size
/// and then changes places with the first, so that a file with an error changes nothing.
///
/// Invariant: the first `count` rows have names that differ, each in its row of `names` and in the index.
public struct PasswordTable: ~Copyable {
  private struct Row: BitwiseCopyable {
    var entry: PasswordEntry
    var nameByteCount: UInt8
    /// Where the user stands in the file.
    var line: UInt32
  }

  private let rows: FixedArray<Row>
  private let names: Scratch
  private var index: HashIndex
  public let nameBytesMax: Int
  public private(set) var count = 0
  /// The row whose passwords take the longest to compare.
  private var costliest: Int?

  /// - Parameter nameBytesMax: of a user name, 1...255.
  public init(
    capacity: Int, nameBytesMax: Int = UserName.byteCountDefault, in reservation: inout Reservation
  ) {
    precondition(nameBytesMax >= 1 && nameBytesMax <= UserName.byteCountMax)
    rows = FixedArray(count: capacity, name: "users", in: &reservation)
    names = Scratch(byteCount: capacity * nameBytesMax, name: "  names", in: &reservation)
    index = HashIndex(capacity: capacity, name: "  index", in: &reservation)
    self.nameBytesMax = nameBytesMax
  }

  public var capacity: Int { rows.count }

  /// The user's entry; nil when there is no such user.
  public func find(_ name: Bytes) -> PasswordEntry? { place(of: name).map { rows[$0].entry } }

  /// An entry for unknown users: no password matches it, and the comparison takes as long as that of the costliest user.
  /// A user with fewer iterations is answered sooner and so can be told from an unknown one: one file should have one number.
  public var decoy: PasswordEntry {
    guard let costliest else { return .decoy(.pbkdf2, iterations: UInt32(PasswordEntry.iterationsOfNobody)) }
    return .decoy(rows[costliest].entry.scheme, iterations: rows[costliest].entry.iterations)
  }

  /// The name at a place from 0 up to `count`, in the file's order.
  public func name(at place: Int) -> Bytes {
    precondition(place >= 0 && place < count)
    let start = place * nameBytesMax
    let end = start + Int(rows[place].nameByteCount)
    return Bytes(UnsafeRawBufferPointer(rebasing: names.buffer[start..<end]))
  }

  public mutating func removeAll() {
    index.removeAll()
    count = 0
    costliest = nil
  }

  /// Replaces the users by those of a password file, without allocating.
  /// - Parameters:
  ///   - iterationsMax: a password with more is refused, as each guess at it would cost the board as much.
  ///   - report: called with each thing that is wrong, in the order of the lines, one a line at most.
  /// - Returns: false when something is wrong: the table is empty then.
  public mutating func fill(
    from file: Bytes, iterationsMax: Int = PasswordEntry.iterationsMaxDefault, report: (PasswordFileError) -> Void
  ) -> Bool {
    removeAll()
    var isGood = true
    var lines = PasswordLines(file)
    while let line = lines.next() {
      do throws(PasswordFileError) {
        guard let user = try PasswordLine(line, nameBytesMax: nameBytesMax, iterationsMax: iterationsMax) else {
          continue
        }
        try add(user, line.number)
      } catch {
        isGood = false
        report(error)
        // One error stands for all users beyond the limit.
        if error.problem == .tooManyUsers(max: capacity) { break }
      }
    }
    if !isGood { removeAll() }
    return isGood
  }

  private mutating func add(_ user: PasswordLine, _ line: Int) throws(PasswordFileError) {
    if let first = place(of: user.name) {
      throw PasswordFileError(line: line, .duplicate(firstLine: Int(rows[first].line)))
    }
    guard count < capacity else { throw PasswordFileError(line: line, .tooManyUsers(max: capacity)) }
    let row = count
    rows[row] = Row(entry: user.entry, nameByteCount: UInt8(user.name.count), line: UInt32(clamping: line))
    let start = row * nameBytesMax
    let nameRow = names.buffer[start..<(start + nameBytesMax)]
    UnsafeMutableRawBufferPointer(rebasing: nameRow).copyMemory(from: user.name.buffer)
    index.insert(row, hash: PasswordTable.hash(user.name))
    count += 1
    let costsMost = costliest.map { user.entry.costsMore(than: rows[$0].entry) } ?? true
    if costsMost { costliest = row }
  }

  private func place(of name: Bytes) -> Int? {
    index.find(hash: PasswordTable.hash(name)) { self.name(at: $0) == name }
  }

  /// The names in the table are the administrator's, not a peer's, so the hash needs no key.
  private static func hash(_ name: Bytes) -> UInt32 { name.quickHash(seed: 0) }
}

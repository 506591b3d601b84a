/// A fixed table of short texts for each owner; all rows are empty when an owner is lent. The texts lie in a shared
/// pool of 64-byte cells, since room for the longest text in every row would mostly be unused. Each owner is sure of
/// one cell for each of its first rows, and of its part of half of the shared cells. Its further rows are optional:
/// they take neither a cell that an owner is sure of nor the rest of that half.
///
/// Invariant: an owner's count is the cells of its rows that are not optional; free cells are at least what all owners,
/// lent or not, are short of their sure ones.
public struct SharedTexts: ~Copyable {
  public struct Owner: BitwiseCopyable {
    fileprivate(set) var cellCount: UInt32 = 0
  }
  private(set) var owners: Slab<Owner>
  let rows: FixedArray<Body>
  private(set) var cells: BlockPool
  private let rowsPerOwner: Int
  private let sureRows: Int
  /// Cells that each owner is sure of.
  let sureCells: Int
  /// Free cells that owners are sure of.
  private(set) var keptBack: Int
  private let keptFromOptional: Int

  public init(
    ownerCount: Int, sureRows: Int, optionalRows: Int, sharedCells: Int, name: StaticString,
    in reservation: inout Reservation
  ) {
    rowsPerOwner = sureRows + optionalRows
    owners = Slab(capacity: ownerCount, name: name, in: &reservation)
    rows = FixedArray(count: ownerCount * rowsPerOwner, name: "  rows", in: &reservation)
    cells = BlockPool(
      blockCount: ownerCount * sureRows + sharedCells, blockBytes: 64, name: "  cells", in: &reservation)
    self.sureRows = sureRows
    sureCells = sureRows + (ownerCount > 0 ? sharedCells / (2 * ownerCount) : 0)
    keptBack = ownerCount * sureCells
    keptFromOptional = sharedCells / 2 - ownerCount * (sureCells - sureRows)
  }

  public var gauge: Gauge { owners.gauge }
  public var cellsGauge: Gauge { cells.gauge }

  /// `nil`, counted as refused, when all are lent.
  public mutating func lend() -> Handle<Owner>? { owners.lend(Owner()) }

  /// Its rows are empty then.
  public mutating func giveBack(_ owner: Handle<Owner>) {
    var row = 0
    while row < rowsPerOwner {
      clear(row, of: owner)
      row += 1
    }
    owners.giveBack(owner)
  }

  public func byteCount(_ row: Int, of owner: Handle<Owner>) -> Int { rows[place(row, owner)].byteCount }

  public func isEqual(_ row: Int, of owner: Handle<Owner>, to text: Bytes) -> Bool {
    cells.isEqual(rows[place(row, owner)], to: text)
  }

  public func copy(_ row: Int, of owner: Handle<Owner>, into writer: inout ByteWriter) {
    let body = rows[place(row, owner)]
    if !body.isNull { cells.copy(body, from: 0, byteCount: body.byteCount, into: &writer) }
  }

  /// `false`, counted as refused, when the cells do not suffice; the row is empty then.
  public mutating func set(_ row: Int, of owner: Handle<Owner>, to text: Bytes) -> Bool {
    clear(row, of: owner)
    guard !text.isEmpty else { return true }
    let kept = keptFree(for: text.count, row, of: owner)
    guard let body = cells.lend(byteCount: text.count, keepingFree: kept) else { return false }
    var cursor = cells.cursor(body)
    cells.write(text, at: &cursor)
    rows[place(row, owner)] = body
    if row < sureRows { count(owner, cells.blockCount(for: text.count)) }
    return true
  }

  /// Whether `set` would find room for so many bytes in a row that is empty.
  public func hasRoom(for byteCount: Int, _ row: Int, of owner: Handle<Owner>) -> Bool {
    cells.hasRoom(for: byteCount, keepingFree: keptFree(for: byteCount, row, of: owner))
  }

  private func keptFree(for byteCount: Int, _ row: Int, of owner: Handle<Owner>) -> Int {
    guard row < sureRows else { return keptBack + keptFromOptional }
    return keptBack - min(cells.blockCount(for: byteCount), max(0, sureCells - Int(owners[owner].cellCount)))
  }

  public mutating func clear(_ row: Int, of owner: Handle<Owner>) {
    let body = rows[place(row, owner)]
    guard !body.isNull else { return }
    if row < sureRows { count(owner, -cells.blockCount(for: body.byteCount)) }
    cells.release(body)
    rows[place(row, owner)] = .null
  }

  private mutating func count(_ owner: Handle<Owner>, _ change: Int) {
    let before = max(0, sureCells - Int(owners[owner].cellCount))
    owners[owner].cellCount = UInt32(Int(owners[owner].cellCount) + change)
    keptBack += max(0, sureCells - Int(owners[owner].cellCount)) - before
  }

  private func place(_ row: Int, _ owner: Handle<Owner>) -> Int {
    precondition(row >= 0 && row < rowsPerOwner)
    precondition(owners.isLent(owner))
    return owner.index * rowsPerOwner + row
  }
}

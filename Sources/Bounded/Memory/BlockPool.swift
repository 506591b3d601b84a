/// A body's place in a `BlockPool`: its first block and its length. All zero is no body.
public struct Body: BitwiseCopyable, Equatable {
  @usableFromInline let head: UInt32  // block index + 1
  @usableFromInline let length: UInt32

  @inlinable init(head: UInt32, length: UInt32) {
    self.head = head
    self.length = length
  }
  /// The body as a number, for an entry that packs it with other things: the length is in the upper half.
  @inlinable public var bits: UInt64 { UInt64(length) &<< 32 | UInt64(head) }
  @inlinable public init(bits: UInt64) {
    self.init(head: UInt32(truncatingIfNeeded: bits), length: UInt32(truncatingIfNeeded: bits &>> 32))
  }

  @inlinable public static var null: Body { Body(head: 0, length: 0) }
  @inlinable public var isNull: Bool { head == 0 }
  @inlinable public var byteCount: Int { Int(length) }
}

/// Bytes in blocks of one size, chained; a body is stored once and counted, whatever the number of owners. Blocks of a
/// body that follow each other in memory are read and written as one piece.
///
/// Invariant: every block is free or in exactly one chain; a head block's count is twice its references, and 1 more while its
/// lender has it; `referencedCount` is the blocks of bodies with references; no word of `taken` before `lowest` has a free
/// block.
public struct BlockPool: ~Copyable {
  public let blockBytes: Int
  @usableFromInline let base: UnsafeMutableRawPointer
  @usableFromInline let links: UnsafeMutablePointer<UInt32>  // next block + 1 in a chain
  let owners: UnsafeMutablePointer<UInt32>  // of bodies, by head block: 2 a reference, 1 the lender; for others a mark
  /// A bit for each block. The lowest free ones are lent first, so that those of a body mostly follow each other, in
  /// whatever order they came back.
  private let taken: UnsafeMutablePointer<UInt64>
  private var lowest = 0
  public var gauge: Gauge
  /// Blocks of bodies that queues refer to, whoever else has them.
  public private(set) var referencedCount = 0
  private let pinned = Pinned()

  @inline(never) @_optimize(size) public init(
    blockCount: Int, blockBytes: Int, name: StaticString, in reservation: inout Reservation
  ) {
    precondition(blockBytes >= 32 && blockBytes % 32 == 0)
    precondition(blockCount <= Reservation.entriesMax)
    self.blockBytes = blockBytes
    base = UnsafeMutableRawPointer(
      reservation.take(BlockLine.self, count: blockCount * (blockBytes / 32), name: name))
    links = reservation.take(UInt32.self, count: blockCount, name: "  links")
    owners = reservation.take(UInt32.self, count: blockCount, name: "  owners")
    taken = reservation.take(UInt64.self, count: (blockCount + 63) / 64, name: "  bit map")
    gauge = Gauge(capacity: blockCount)
  }

  /// 32 bytes, of which every block is a multiple.
  private struct BlockLine: BitwiseCopyable {
    var words: (UInt64, UInt64, UInt64, UInt64)
  }

  // MARK: Blocks

  mutating func lendBlock() -> UInt32? {
    guard gauge.free > 0 else { return nil }
    while taken[lowest] == .max { lowest &+= 1 }
    let bit = (~taken[lowest]).trailingZeroBitCount
    taken[lowest] |= 1 &<< UInt64(bit)
    let position = lowest &* 64 &+ bit
    gauge.lent()
    links[position] = 0
    return UInt32(truncatingIfNeeded: position &+ 1)
  }

  mutating func giveBackBlock(_ block: UInt32) {
    let position = index(block)
    let word = position &>> 6
    let bit: UInt64 = 1 &<< UInt64(position & 63)
    precondition(taken[word] & bit != 0)
    taken[word] &= ~bit
    if word < lowest { lowest = word }
    gauge.givenBack()
  }

  /// A block's memory and the word beside it, which is the lender's where no body begins.
  @inline(__always) func place(
    _ block: UInt32
  ) -> (memory: UnsafeMutableRawPointer, mark: UnsafeMutablePointer<UInt32>) {
    let index = index(block)
    return (base + index &* blockBytes, owners + index)
  }

  @inline(__always) func next(_ block: UInt32) -> UInt32 { links[index(block)] }
  @inline(__always) func setNext(_ block: UInt32, to next: UInt32) { links[index(block)] = next }
  @inlinable @inline(__always) func memory(_ block: UInt32) -> UnsafeMutableRawPointer {
    base + index(block) &* blockBytes
  }

  @inlinable @inline(__always) func index(_ block: UInt32) -> Int {
    precondition(block != 0 && Int(block) <= gauge.capacity)
    return Int(block) &- 1
  }

  // MARK: Bodies

  @inlinable @inline(__always) public func blockCount(for byteCount: Int) -> Int {
    byteCount <= blockBytes && byteCount > 0 ? 1 : (byteCount + blockBytes - 1) / blockBytes  // most need one
  }

  /// Whether `byteCount` bytes can be stored with `keepingFree` blocks left over for a higher class.
  @inlinable @inline(__always) public func hasRoom(for byteCount: Int, keepingFree: Int) -> Bool {
    blockCount(for: byteCount) <= gauge.free - keepingFree
  }

  /// Lends blocks for 1 byte or more, with one owner; `nil`, counted as refused, when they do not suffice.
  public mutating func lend(byteCount: Int, keepingFree: Int) -> Body? {
    precondition(byteCount > 0)
    let needed = blockCount(for: byteCount)
    guard needed <= gauge.free - keepingFree else {
      gauge.refused &+= 1
      return nil
    }
    let head = lendBlock()!  // counted above
    var tail = head
    var missing = needed - 1
    while missing > 0 {
      let block = lendBlock()!
      links[index(tail)] = block
      tail = block
      missing -= 1
    }
    owners[index(head)] = 1
    return Body(head: head, length: UInt32(byteCount))
  }

  /// Adds a reference, which keeps the body when its lender gives it up.
  public mutating func refer(to body: Body) {
    let head = index(body.head)
    precondition(owners[head] > 0)
    if owners[head] == 1 { referencedCount += blockCount(for: body.byteCount) }
    owners[head] += 2
  }

  /// Takes a reference away.
  public mutating func unrefer(_ body: Body) {
    let head = index(body.head)
    precondition(owners[head] > 1)
    owners[head] -= 2
    guard owners[head] <= 1 else { return }
    referencedCount -= blockCount(for: body.byteCount)
    if owners[head] == 0 { giveBackChain(from: body.head) }
  }

  public func isReferenced(_ body: Body) -> Bool { owners[index(body.head)] > 1 }

  /// The lender gives it up; without references its blocks are free.
  public mutating func release(_ body: Body) {
    let head = index(body.head)
    precondition(owners[head] & 1 == 1)
    owners[head] -= 1
    if owners[head] == 0 { giveBackChain(from: body.head) }
  }

  mutating func giveBackChain(from head: UInt32) {
    var block = head
    while block != 0 {
      let following = next(block)
      giveBackBlock(block)
      block = following
    }
  }

  /// A place in a body from which bytes are read or written in order.
  public struct Cursor: BitwiseCopyable {
    @usableFromInline var block: UInt32
    @usableFromInline var offset: Int  // in the block
    @usableFromInline var missing: Int

    @inlinable init(block: UInt32, offset: Int, missing: Int) {
      self.block = block
      self.offset = offset
      self.missing = missing
    }

    /// Bytes to the end of the body.
    @inlinable public var remaining: Int { missing }
  }

  @inlinable public func cursor(_ body: Body, at position: Int = 0) -> Cursor {
    precondition(position >= 0 && position <= body.byteCount)
    var cursor = Cursor(block: body.head, offset: position, missing: body.byteCount - position)
    while cursor.offset >= blockBytes && cursor.remaining > 0 {
      cursor.block = links[index(cursor.block)]
      cursor.offset -= blockBytes
    }
    return cursor
  }

  /// Stores `bytes` at the cursor; they must fit in the body.
  @inlinable public func write(_ bytes: Bytes, at cursor: inout Cursor) {
    precondition(bytes.count <= cursor.remaining)
    guard bytes.count > blockBytes &- cursor.offset else {
      guard !bytes.isEmpty else { return }
      let place = memory(cursor.block) + cursor.offset
      UnsafeMutableRawBufferPointer(start: place, count: bytes.count).copyMemory(from: bytes.buffer)
      cursor.offset &+= bytes.count
      cursor.missing &-= bytes.count
      return
    }
    writePieces(bytes, at: &cursor)
  }

  @usableFromInline @inline(never) func writePieces(_ bytes: Bytes, at cursor: inout Cursor) {
    var written = 0
    while written < bytes.count {
      let part = advance(&cursor, most: bytes.count - written)
      part.copyMemory(from: bytes[written..<(written + part.count)].buffer)
      written += part.count
    }
  }

  /// The next bytes that lie in one piece, at most `most`; empty at the end.
  @inlinable public func read(_ cursor: inout Cursor, most: Int) -> Bytes {
    guard cursor.remaining > 0, most > 0 else { return .empty }
    return Bytes(UnsafeRawBufferPointer(advance(&cursor, most: most)))
  }

  /// Copies `byteCount` bytes of the body from `position` on.
  public func copy(_ body: Body, from position: Int, byteCount: Int, into writer: inout ByteWriter) {
    var cursor = cursor(body, at: position)
    var missing = byteCount
    while missing > 0 {
      let part = read(&cursor, most: missing)
      precondition(!part.isEmpty)
      writer.write(part)
      missing -= part.count
    }
  }

  /// Whether a body's bytes, of which a null one has none, are these.
  public func isEqual(_ body: Body, to bytes: Bytes) -> Bool {
    guard body.byteCount == bytes.count else { return false }
    var cursor = cursor(body)
    var rest = bytes
    while !rest.isEmpty {
      let part = read(&cursor, most: rest.count)
      guard rest.hasPrefix(part) else { return false }
      rest = rest.from(part.count)
    }
    return true
  }

  @inlinable func advance(_ cursor: inout Cursor, most: Int) -> UnsafeMutableRawBufferPointer {
    let wanted = min(most, cursor.remaining)
    guard wanted <= blockBytes &- cursor.offset else { return advancePieces(&cursor, wanted) }
    let start = memory(cursor.block) + cursor.offset
    cursor.offset &+= wanted
    cursor.missing &-= wanted
    return UnsafeMutableRawBufferPointer(start: start, count: wanted)
  }

  /// More than what is left of the block.
  @usableFromInline @inline(never) func advancePieces(
    _ cursor: inout Cursor, _ wanted: Int
  ) -> UnsafeMutableRawBufferPointer {
    if cursor.offset == blockBytes {
      cursor.block = links[index(cursor.block)]
      cursor.offset = 0
    }
    let start = memory(cursor.block) + cursor.offset
    var room = blockBytes &- cursor.offset
    while room < wanted {
      let following = links[index(cursor.block)]
      guard following == cursor.block &+ 1 else { break }
      cursor.block = following
      room &+= blockBytes
    }
    let byteCount = min(wanted, room)
    cursor.offset = blockBytes &- (room &- byteCount)
    cursor.missing &-= byteCount
    return UnsafeMutableRawBufferPointer(start: start, count: byteCount)
  }

  // MARK: Chains

  /// Puts `bytes` at the end; `false`, counted as refused, when the blocks do not suffice, and nothing is changed.
  public mutating func append(_ bytes: Bytes, to chain: inout BlockChain) -> Bool {
    let room = blockCount(for: chain.byteCount) * blockBytes - chain.byteCount
    guard bytes.count <= room || blockCount(for: bytes.count - room) <= gauge.free else {
      gauge.refused &+= 1
      return false
    }
    var rest = bytes
    while !rest.isEmpty {
      let offset = chain.byteCount % blockBytes
      if offset == 0 {
        let block = lendBlock()!  // counted above
        if chain.tail == 0 { chain.head = block } else { setNext(chain.tail, to: block) }
        chain.tail = block
      }
      let part = rest.first(min(rest.count, blockBytes - offset))
      (memory(chain.tail) + offset).copyMemory(from: part.buffer.baseAddress!, byteCount: part.count)
      chain.length += UInt32(part.count)
      rest = rest.from(part.count)
    }
    return true
  }

  public func copy(_ chain: BlockChain, into writer: inout ByteWriter) {
    var block = chain.head
    var missing = chain.byteCount
    while missing > 0 {
      let byteCount = min(missing, blockBytes)
      writer.write(Bytes(memory(block), count: byteCount))
      missing -= byteCount
      block = next(block)
    }
  }

  /// Empties the chain.
  public mutating func clear(_ chain: inout BlockChain) {
    giveBackChain(from: chain.head)
    chain = BlockChain()
  }
}

/// Bytes that grow at the end, in blocks of a `BlockPool` and of one owner. Empty it has no block.
public struct BlockChain: BitwiseCopyable {
  var head: UInt32 = 0
  var tail: UInt32 = 0
  var length: UInt32 = 0

  public init() {}
  public var isEmpty: Bool { length == 0 }
  public var byteCount: Int { Int(length) }
}

/// The chunks of all byte queues. For each queue some are kept back. Its floor is the first chunks that it takes, whatever
/// it sends, so stuck readers cannot leave another queue without them. Its reserved chunk takes control packets only, so
/// they find room however much data waits. Control packets share the other chunks while there are any and then take the
/// reserved one; while a queue holds its reserved chunk, it takes no data. Chunks of one queue are mostly adjacent in
/// memory and leave as one piece.
///
/// One queue at a time may end with lent bytes, which lie where they were read: they are written from there, or
/// copied by `settle` before that memory is used for something else.
///
/// Invariant: free chunks >= queues that do not hold their reserved chunk + what the queues have not taken of their floors
/// + chunks that the lent bytes would take beyond that.
public struct ByteQueuePool: ~Copyable {
  public enum Use: BitwiseCopyable { case data, control }

  private(set) var chunks: BlockPool
  let queueCount: Int
  /// Chunks that each queue is sure of, beside its reserved one: at least one. All floors together leave half of the shared
  /// chunks, and as many as one queue may hold.
  public let floor: Int
  /// Chunks that are nobody's floor, how many of them queues hold, and with how many little is left.
  private let openCount: Int
  private(set) var openHeld = 0
  private let tightFrom: Int
  private(set) var lent = Bytes.empty
  /// Chunks that the lent bytes would take.
  public var lentChunks: Int { lent.isEmpty ? 0 : chunkCount(for: lent.count) }
  /// Chunks one queue may hold for data.
  public let chunksPerQueueMax: Int

  /// Bytes that a chunk may have: `ChunkState` has 15 bits for a place in it.
  public static var chunkBytesRange: ClosedRange<Int> { 64...32_704 }

  public init(
    queueCount: Int, sharedChunkCount: Int, chunkBytes: Int, chunksPerQueueMax: Int, name: StaticString,
    in reservation: inout Reservation
  ) {
    precondition(ByteQueuePool.chunkBytesRange.contains(chunkBytes))
    chunks = BlockPool(
      blockCount: 2 * queueCount + sharedChunkCount, blockBytes: chunkBytes, name: name, in: &reservation)
    self.queueCount = queueCount
    let spare = min(sharedChunkCount / 2, max(0, sharedChunkCount - chunksPerQueueMax))
    floor = min(chunksPerQueueMax, 1 + spare / queueCount)
    openCount = 2 * queueCount + sharedChunkCount - (1 + floor) * queueCount
    tightFrom = openCount - openCount / 4
    self.chunksPerQueueMax = chunksPerQueueMax
  }

  public var gauge: Gauge { chunks.gauge }
  /// Bytes that one chunk carries.
  @inline(__always) public var chunkCapacity: Int { chunks.blockBytes }

  // MARK: Room

  /// Whether `queue` may take the chunks for `byteCount` copied bytes and for `references` bodies that are not copied. After
  /// `true`, appending just these to it does not fail.
  public func hasRoom(_ queue: ByteQueue, for byteCount: Int, references: Int = 0, use: Use) -> Bool {
    let missing = byteCount - tailRoom(queue, use: use)
    var needed = references
    if missing > 0 { needed += chunkCount(for: missing) }
    if byteCount > 0 { needed += references }  // bytes behind each reference start a chunk
    if !queue.holdsReserve, needed <= floorRoom(queue) { return true }
    switch use {
    case .data: return !queue.holdsReserve && needed <= sharedRoom(queue)
    case .control: return needed <= sharedRoom(queue) + (queue.holdsReserve ? 0 : 1)
    }
  }

  /// Whether a control packet of `byteCount` bytes, at most a chunk, finds room in `queue` later, whatever data this queue or
  /// another takes before.
  public func promisesControl(_ queue: ByteQueue, _ byteCount: Int) -> Bool {
    !queue.holdsReserve || tailRoom(queue, use: .control) >= byteCount
  }

  /// Chunks that are kept back, of those that are free.
  var keptBackCount: Int { (1 + floor) * queueCount - (chunks.gauge.used - openHeld) }

  /// Whether less than a quarter of the chunks that are nobody's floor is free. A queue that has used up its floor may then
  /// find no room for many more bytes until it is flushed.
  @inline(__always) public var isTight: Bool { openHeld > tightFrom }

  /// Chunks of its floor that `queue` has not taken. 0 while it ends with lent bytes: chunks for these come first.
  @inline(__always) private func floorRoom(_ queue: ByteQueue) -> Int {
    queue.holdsLent ? 0 : max(0, floor - ByteQueuePool.ordinaryCount(queue))
  }

  /// Chunks that `queue` may take beside its reserved one: its floor, and of the others all, or when another queue has some
  /// of them no more than it would leave free.
  private func sharedRoom(_ queue: ByteQueue) -> Int {
    let promised = queue.holdsLent ? lentChunks : 0
    let ordinary = ByteQueuePool.ordinaryCount(queue)
    let beyond = max(0, ordinary + promised - floor)
    let open = max(0, openCount - openHeld - lentChunks)
    let isAlone = openHeld == max(0, ordinary - floor)
    let free = isAlone ? open : (open - beyond) / 2
    let ofFloor = max(0, floor - ordinary - promised)
    return max(0, min(chunksPerQueueMax - queue.chunkCount - promised, ofFloor + max(0, free)))
  }

  /// Whether `chunksPerQueueMax` bounds what `queue` may take, rather than what the other queues leave free.
  public func isBoundByItself(_ queue: ByteQueue) -> Bool {
    queue.chunkCount + (queue.holdsLent ? lentChunks : 0) + sharedRoom(queue) >= chunksPerQueueMax
  }

  /// Chunks that are not the reserved one.
  private static func ordinaryCount(_ queue: ByteQueue) -> Int { queue.chunkCount - (queue.holdsReserve ? 1 : 0) }

  private func chunkCount(for byteCount: Int) -> Int { (byteCount + chunkCapacity - 1) / chunkCapacity }

  private func tailRoom(_ queue: ByteQueue, use: Use) -> Int {
    guard queue.tail != 0, !queue.holdsLent else { return 0 }
    let state = state(queue.tail)
    return state.isReference || state.isReserve && use == .data ? 0 : chunkCapacity - state.end
  }

  // MARK: Appending

  /// Copies `bytes` to the end; all or nothing.
  /// - Parameter isPromised: they are a part of what `hasRoom` was asked for.
  public mutating func append(
    _ bytes: Bytes, to queue: inout ByteQueue, use: Use, isPromised: Bool = false
  ) -> Bool {
    if appendToTail(bytes, &queue, use: use) { return true }
    guard isPromised || hasRoom(queue, for: bytes.count, use: use) else {
      chunks.gauge.refused &+= 1
      return false
    }
    if queue.holdsLent { settle(&queue) }
    copy(bytes, to: &queue, use: use)
    return true
  }

  /// Copies `bytes` into the queue's last chunk, as most packets find room there. `false`: they do not fit, and nothing is
  /// changed.
  @inline(__always) private func appendToTail(_ bytes: Bytes, _ queue: inout ByteQueue, use: Use) -> Bool {
    guard queue.tail != 0, !queue.holdsLent, use == .control || !queue.holdsReserve else { return false }
    let tail = chunks.place(queue.tail)
    var state = ChunkState(word: tail.mark.pointee)
    guard !state.isReference, bytes.count <= chunkCapacity &- state.end else { return false }
    UnsafeMutableRawBufferPointer(start: tail.memory + state.end, count: bytes.count).copyMemory(from: bytes.buffer)
    state.advance(end: bytes.count)
    tail.mark.pointee = state.word
    queue.count(bytes: bytes.count)
    return true
  }

  /// The room was seen.
  private mutating func copy(_ bytes: Bytes, to queue: inout ByteQueue, use: Use) {
    let room = tailRoom(queue, use: use)
    var rest = room > 0 ? copyToTail(bytes, queue, room: room) : bytes
    while !rest.isEmpty {
      addChunk(to: &queue, use: use, isReference: false)
      rest = copyToTail(rest, queue, room: chunkCapacity)
    }
    queue.count(bytes: bytes.count)
  }

  /// Copies what of `bytes` there is room for and answers the others; they are counted by the caller.
  @inline(__always) private func copyToTail(_ bytes: Bytes, _ queue: ByteQueue, room: Int) -> Bytes {
    let part = bytes.first(min(room, bytes.count))
    let tail = chunks.place(queue.tail)
    var state = ChunkState(word: tail.mark.pointee)
    UnsafeMutableRawBufferPointer(start: tail.memory + state.end, count: part.count).copyMemory(from: part.buffer)
    state.advance(end: part.count)
    tail.mark.pointee = state.word
    return bytes.from(part.count)
  }

  /// Puts a body's bytes from `position` on at the end without copying; the queue becomes one of its owners.
  public mutating func append(
    _ body: Body, from position: Int, to queue: inout ByteQueue, isPromised: Bool = false, bodies: inout BlockPool
  ) -> Bool {
    guard position < body.byteCount else { return position == body.byteCount }
    guard isPromised || hasRoom(queue, for: 0, references: 1, use: .data) else {
      chunks.gauge.refused &+= 1
      return false
    }
    if queue.holdsLent { settle(&queue) }
    addChunk(to: &queue, use: .data, isReference: true)
    bodies.refer(to: body)
    reference(queue.tail).initialize(
      to: Reference(body: body, start: UInt32(position), end: UInt32(body.byteCount)))
    queue.count(bytes: body.byteCount - position)
    queue.referenceCount += 1
    return true
  }

  /// Whether the queue may refer to the body in place of a copy. All queues together keep at most half of `blockCount` blocks
  /// from others, and a queue that refers to a body already gets another one only while they keep less than an eighth. So
  /// readers that are stuck keep what they had, and those that read go on.
  public func mayRefer(
    _ queue: ByteQueue, to body: Body, in bodies: borrowing BlockPool, ofBlocks blockCount: Int
  ) -> Bool {
    let isFirst = queue.referenceCount == 0
    if isFirst, bodies.isReferenced(body) { return true }
    let more = bodies.isReferenced(body) ? 0 : bodies.blockCount(for: body.byteCount)
    return bodies.referencedCount + more <= blockCount / (isFirst ? 2 : 8)
  }

  private mutating func addChunk(to queue: inout ByteQueue, use: Use, isReference: Bool) {
    let isReserve = use == .control && !queue.holdsReserve && floorRoom(queue) == 0 && sharedRoom(queue) == 0
    let chunk = chunks.lendBlock()!  // hasRoom was asked
    if isReserve {
      queue.holdsReserve = true
    } else if ByteQueuePool.ordinaryCount(queue) >= floor {
      openHeld += 1
    }
    set(chunk, ChunkState(isReserve: isReserve, isReference: isReference))
    if queue.tail == 0 { queue.head = chunk } else { chunks.setNext(queue.tail, to: chunk) }
    queue.tail = chunk
    queue.count(chunks: 1)
  }

  // MARK: Lent bytes

  /// Puts `bytes` at the end without copying them, behind lent ones that they follow in memory; they stay the caller's
  /// and must stay as they are until they are consumed or the queue is settled. `false`, and nothing is changed: copy
  /// them.
  public mutating func lend(_ bytes: Bytes, to queue: inout ByteQueue) -> Bool {
    guard !bytes.isEmpty else { return true }
    let extends = queue.holdsLent && lent.base + lent.count == bytes.base
    guard extends || lent.isEmpty else { return false }
    let promised = chunkCount(for: lent.count + bytes.count)
    guard !queue.holdsReserve, promised - lentChunks <= sharedRoom(queue) else { return false }
    lent = extends ? Bytes(lent.base, count: lent.count + bytes.count) : bytes
    queue.holdsLent = true
    queue.count(bytes: bytes.count)
    return true
  }

  /// Copies the lent bytes that this queue ends with: their memory is wanted for something else. The room was
  /// seen when they were lent.
  public mutating func settle(_ queue: inout ByteQueue) {
    guard queue.holdsLent else { return }
    let bytes = lent
    dropLent(&queue)
    copy(bytes, to: &queue, use: .data)
  }

  private mutating func dropLent(_ queue: inout ByteQueue) {
    queue.count(bytes: -lent.count)
    queue.holdsLent = false
    lent = .empty
  }

  // MARK: Taking out

  /// The first bytes of the queue as pieces for writev(2); answers how many pieces were filled in.
  public func gather(
    _ queue: ByteQueue, bodies: borrowing BlockPool, into parts: UnsafeMutableBufferPointer<Bytes>
  ) -> Int {
    var count = 0
    var chunk = queue.head
    while chunk != 0, count < parts.count {
      let state = state(chunk)
      if state.isReference {
        let reference = reference(chunk).pointee
        var cursor = bodies.cursor(reference.body, at: Int(reference.start))
        while count < parts.count {
          let part = bodies.read(&cursor, most: .max)
          if part.isEmpty { break }
          parts[count] = part
          count += 1
        }
        if cursor.remaining > 0 { return count }
        chunk = chunks.next(chunk)
        continue
      }
      let place = chunks.memory(chunk) + state.start
      var byteCount = state.end - state.start
      // Chunks that are filled to the border and go on in the next one in memory are one piece.
      var isFull = state.end == chunkCapacity
      var next = chunks.next(chunk)
      while isFull, next == chunk + 1 {
        let following = self.state(next)
        if following.isReference || following.start > 0 { break }
        byteCount += following.end
        isFull = following.end == chunkCapacity
        chunk = next
        next = chunks.next(chunk)
      }
      if byteCount > 0 {
        parts[count] = Bytes(place, count: byteCount)
        count += 1
      }
      chunk = next
    }
    if queue.holdsLent, chunk == 0, count < parts.count {
      parts[count] = lent
      count += 1
    }
    return count
  }

  /// Forgets the first `byteCount` bytes, which the transport has taken.
  public mutating func consume(_ byteCount: Int, from queue: inout ByteQueue, bodies: inout BlockPool) {
    precondition(byteCount >= 0 && byteCount <= queue.byteCount)
    if byteCount == queue.byteCount { return clear(&queue, bodies: &bodies) }
    var missing = byteCount
    while queue.head != 0 {
      let available = byteCountOf(queue.head)
      if missing < available {
        skip(missing, in: queue.head)
        queue.count(bytes: -missing)
        return
      }
      queue.count(bytes: -available)
      missing -= available
      dropHead(&queue, bodies: &bodies)
    }
    guard missing > 0 else { return }
    lent = lent.from(missing)
    queue.count(bytes: -missing)
  }

  /// Empties the queue, as most flushes do.
  public mutating func clear(_ queue: inout ByteQueue, bodies: inout BlockPool) {
    if queue.holdsLent { dropLent(&queue) }
    guard queue.head != 0 else { return }
    var chunk = queue.head
    while chunk != 0 {
      if state(chunk).isReference { bodies.unrefer(reference(chunk).pointee.body) }
      chunk = chunks.next(chunk)
    }
    openHeld -= max(0, ByteQueuePool.ordinaryCount(queue) - floor)
    chunks.giveBackChain(from: queue.head)
    queue = ByteQueue()
  }

  private mutating func dropHead(_ queue: inout ByteQueue, bodies: inout BlockPool) {
    let chunk = queue.head
    let state = state(chunk)
    if state.isReference {
      bodies.unrefer(reference(chunk).pointee.body)
      queue.referenceCount -= 1
    }
    queue.count(chunks: -1)
    if state.isReserve {
      queue.holdsReserve = false
    } else if ByteQueuePool.ordinaryCount(queue) >= floor {
      openHeld -= 1
    }
    queue.head = chunks.next(chunk)
    if queue.head == 0 { queue.tail = 0 }
    chunks.giveBackBlock(chunk)
  }

  // MARK: Chunks

  @inline(__always) func state(_ chunk: UInt32) -> ChunkState { ChunkState(word: chunks.place(chunk).mark.pointee) }
  @inline(__always) private func set(_ chunk: UInt32, _ state: ChunkState) {
    chunks.place(chunk).mark.pointee = state.word
  }

  func reference(_ chunk: UInt32) -> UnsafeMutablePointer<Reference> {
    chunks.memory(chunk).assumingMemoryBound(to: Reference.self)
  }

  /// Bytes of this chunk that are not consumed.
  func byteCountOf(_ chunk: UInt32) -> Int {
    let state = state(chunk)
    guard state.isReference else { return state.end - state.start }
    return Int(reference(chunk).pointee.end - reference(chunk).pointee.start)
  }

  private func skip(_ byteCount: Int, in chunk: UInt32) {
    var state = state(chunk)
    if state.isReference {
      reference(chunk).pointee.start += UInt32(byteCount)
    } else {
      state.advance(start: byteCount)
      set(chunk, state)
    }
  }
}

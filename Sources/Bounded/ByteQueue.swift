/// Bytes on their way out, in order: chunks of copied bytes, and references to bodies too large to copy.
/// Empty it holds no chunk. All operations are `ByteQueuePool`'s.
public struct ByteQueue: BitwiseCopyable {
  var head: UInt32 = 0
  var tail: UInt32 = 0
  public private(set) var chunkCount = 0
  public private(set) var byteCount = 0
  var holdsReserve = false

  @inlinable public init() {}
  @inlinable public var isEmpty: Bool { byteCount == 0 }

  mutating func count(chunks: Int, bytes: Int) {
    chunkCount += chunks
    byteCount += bytes
    precondition(chunkCount >= 0 && byteCount >= 0)
  }
}

/// The chunks of all byte queues. Two for each queue are kept back: the first that it takes for whatever it sends, so
/// that readers that are stuck cannot leave another without any, and one for control packets, so that they always find
/// room however full the data is (FEATURES A6): they share the other chunks while these last, then take the reserved
/// one, which data never enters; while it is held, the queue takes no data.
///
/// Invariant: free chunks >= queues that do not hold their reserved chunk + queues that hold no other chunk.
public struct ByteQueuePool: ~Copyable {
  public enum Use: BitwiseCopyable { case data, control }

  /// At the start of each chunk; copied bytes follow it.
  struct ChunkHeader: BitwiseCopyable {
    var start: UInt32  // of the bytes not yet consumed
    var end: UInt32
    var body: Body  // not null: `start..<end` are positions in this body, nothing follows the header
    var isReserve: Bool
  }

  private(set) var chunks: BlockPool
  let queueCount: Int
  private(set) var reservesHeld = 0
  /// Queues with at least one chunk that is not their reserved one.
  private(set) var holderCount = 0
  /// Chunks one queue may hold for data.
  public let chunksPerQueueMax: Int
  private static var headerBytes: Int { MemoryLayout<ChunkHeader>.stride }

  public init(
    queueCount: Int, sharedChunkCount: Int, chunkBytes: Int, chunksPerQueueMax: Int, name: StaticString,
    in reservation: inout Reservation
  ) {
    chunks = BlockPool(
      blockCount: 2 * queueCount + sharedChunkCount, blockBytes: chunkBytes, name: name, in: &reservation)
    self.queueCount = queueCount
    self.chunksPerQueueMax = chunksPerQueueMax
  }

  public var gauge: Gauge { chunks.gauge }
  /// Bytes that one chunk carries.
  public var chunkCapacity: Int { chunks.blockBytes - ByteQueuePool.headerBytes }

  /// Whether `byteCount` copied bytes and `references` bodies fit; after `true`, appending them does not fail.
  public func hasRoom(_ queue: ByteQueue, for byteCount: Int, references: Int = 0, use: Use) -> Bool {
    let missing = byteCount - tailRoom(queue, use: use)
    var needed = references
    if missing > 0 { needed += (missing + chunkCapacity - 1) / chunkCapacity }
    if byteCount > 0 { needed += references }  // bytes behind each reference start a chunk
    switch use {
    case .data: return !queue.holdsReserve && needed <= sharedRoom(queue)
    case .control: return needed <= sharedRoom(queue) + (queue.holdsReserve ? 0 : 1)
    }
  }

  /// Whether `byteCount` bytes of control will fit whatever data any queue takes before they come.
  public func promisesControl(_ queue: ByteQueue, _ byteCount: Int) -> Bool {
    !queue.holdsReserve || tailRoom(queue, use: .control) >= byteCount
  }

  /// Chunks that are kept back, of those that are free.
  var keptBackCount: Int { 2 * queueCount - reservesHeld - holderCount }

  /// Chunks that `queue` may take beside its reserved one: its first, and of those that are shared no more than it
  /// would leave free, so that a few queues whose readers are stuck cannot take all.
  private func sharedRoom(_ queue: ByteQueue) -> Int {
    let free = chunks.gauge.free - keptBackCount
    let held = ByteQueuePool.ordinaryCount(queue)
    let shared = held == 0 ? 1 + free / 2 : (free - (held - 1)) / 2
    return max(0, min(chunksPerQueueMax - queue.chunkCount, shared))
  }

  /// Chunks that are not the reserved one.
  private static func ordinaryCount(_ queue: ByteQueue) -> Int { queue.chunkCount - (queue.holdsReserve ? 1 : 0) }

  /// Copies `bytes` to the end; all or nothing.
  public mutating func append(_ bytes: Bytes, to queue: inout ByteQueue, use: Use) -> Bool {
    if appendToTail(bytes, &queue, use: use) { return true }
    guard hasRoom(queue, for: bytes.count, use: use) else {
      chunks.gauge.refused &+= 1
      return false
    }
    var rest = bytes
    while !rest.isEmpty {
      let room = tailRoom(queue, use: use)
      if room == 0 {
        addChunk(to: &queue, use: use)
        continue
      }
      let part = rest.first(min(room, rest.count))
      let memory = chunks.memory(queue.tail)
      let header = memory.assumingMemoryBound(to: ChunkHeader.self)
      let place = memory + ByteQueuePool.headerBytes + Int(header.pointee.end)
      UnsafeMutableRawBufferPointer(start: place, count: part.count).copyMemory(from: part.buffer)
      header.pointee.end += UInt32(part.count)
      queue.count(chunks: 0, bytes: part.count)
      rest = rest.from(part.count)
    }
    return true
  }

  /// What most packets do: they go behind others into a chunk that has room for them. `false`: look closer.
  @inline(__always) private func appendToTail(_ bytes: Bytes, _ queue: inout ByteQueue, use: Use) -> Bool {
    guard queue.tail != 0, use == .control || !queue.holdsReserve else { return false }
    let memory = chunks.memory(queue.tail)
    let header = memory.assumingMemoryBound(to: ChunkHeader.self)
    let end = Int(header.pointee.end)
    guard header.pointee.body.isNull, bytes.count <= chunkCapacity &- end else { return false }
    let place = memory + (ByteQueuePool.headerBytes &+ end)
    UnsafeMutableRawBufferPointer(start: place, count: bytes.count).copyMemory(from: bytes.buffer)
    header.pointee.end = UInt32(end &+ bytes.count)
    queue.count(chunks: 0, bytes: bytes.count)
    return true
  }

  /// Puts a body's bytes from `position` on at the end without copying; the queue becomes one of its owners.
  public mutating func append(
    _ body: Body, from position: Int, to queue: inout ByteQueue, bodies: inout BlockPool
  ) -> Bool {
    guard position < body.byteCount else { return position == body.byteCount }
    guard hasRoom(queue, for: 0, references: 1, use: .data) else {
      chunks.gauge.refused &+= 1
      return false
    }
    addChunk(to: &queue, use: .data)
    bodies.retain(body)
    let header = chunks.memory(queue.tail).assumingMemoryBound(to: ChunkHeader.self)
    header.pointee.body = body
    header.pointee.start = UInt32(position)
    header.pointee.end = UInt32(body.byteCount)
    queue.count(chunks: 0, bytes: body.byteCount - position)
    return true
  }

  /// The first bytes of the queue as pieces for writev(2); answers how many pieces were filled in.
  public func gather(
    _ queue: ByteQueue, bodies: borrowing BlockPool, into parts: UnsafeMutableBufferPointer<Bytes>
  ) -> Int {
    var count = 0
    var chunk = queue.head
    while chunk != 0, count < parts.count {
      let memory = chunks.memory(chunk)
      let header = memory.assumingMemoryBound(to: ChunkHeader.self).pointee
      let byteCount = Int(header.end - header.start)
      if header.body.isNull {
        if byteCount > 0 {
          parts[count] = Bytes(memory + ByteQueuePool.headerBytes + Int(header.start), count: byteCount)
          count += 1
        }
      } else {
        var cursor = bodies.cursor(header.body, at: Int(header.start))
        while count < parts.count {
          let part = bodies.read(&cursor, most: .max)
          if part.isEmpty { break }
          parts[count] = part
          count += 1
        }
        if cursor.remaining > 0 { break }
      }
      chunk = chunks.next(chunk)
    }
    return count
  }

  /// Forgets the first `byteCount` bytes, which the transport has taken.
  public mutating func consume(_ byteCount: Int, from queue: inout ByteQueue, bodies: inout BlockPool) {
    precondition(byteCount >= 0 && byteCount <= queue.byteCount)
    var missing = byteCount
    while queue.head != 0 {
      let header = chunks.memory(queue.head).assumingMemoryBound(to: ChunkHeader.self)
      let available = Int(header.pointee.end - header.pointee.start)
      if missing < available {
        header.pointee.start += UInt32(missing)
        queue.count(chunks: 0, bytes: -missing)
        return
      }
      queue.count(chunks: 0, bytes: -available)
      missing -= available
      dropHead(&queue, bodies: &bodies)
    }
  }

  /// Empties the queue.
  public mutating func clear(_ queue: inout ByteQueue, bodies: inout BlockPool) {
    consume(queue.byteCount, from: &queue, bodies: &bodies)
  }

  private func tailRoom(_ queue: ByteQueue, use: Use) -> Int {
    guard queue.tail != 0 else { return 0 }
    let header = chunks.memory(queue.tail).assumingMemoryBound(to: ChunkHeader.self).pointee
    if header.isReserve && use == .data { return 0 }
    return header.body.isNull ? chunkCapacity - Int(header.end) : 0
  }

  private mutating func addChunk(to queue: inout ByteQueue, use: Use) {
    let isReserve = use == .control && sharedRoom(queue) == 0
    let chunk = chunks.lendBlock()!  // hasRoom was asked
    if isReserve {
      queue.holdsReserve = true
      reservesHeld += 1
    } else if ByteQueuePool.ordinaryCount(queue) == 0 {
      holderCount += 1
    }
    chunks.memory(chunk).assumingMemoryBound(to: ChunkHeader.self).initialize(
      to: ChunkHeader(start: 0, end: 0, body: .null, isReserve: isReserve))
    if queue.tail == 0 { queue.head = chunk } else { chunks.setNext(queue.tail, to: chunk) }
    queue.tail = chunk
    queue.count(chunks: 1, bytes: 0)
  }

  private mutating func dropHead(_ queue: inout ByteQueue, bodies: inout BlockPool) {
    let chunk = queue.head
    let header = chunks.memory(chunk).assumingMemoryBound(to: ChunkHeader.self).pointee
    if !header.body.isNull { bodies.release(header.body) }
    if header.isReserve {
      queue.holdsReserve = false
      reservesHeld -= 1
      queue.count(chunks: -1, bytes: 0)
    } else {
      queue.count(chunks: -1, bytes: 0)
      if ByteQueuePool.ordinaryCount(queue) == 0 { holderCount -= 1 }
    }
    queue.head = chunks.next(chunk)
    if queue.head == 0 { queue.tail = 0 }
    chunks.giveBackBlock(chunk)
  }
}

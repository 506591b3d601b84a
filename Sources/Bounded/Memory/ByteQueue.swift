/// Bytes on their way out, in order: chunks of copied bytes, references to bodies too large to copy, and at the end
/// bytes that are only lent. Empty it holds no chunk. All operations are `ByteQueuePool`'s.
public struct ByteQueue: BitwiseCopyable {
  var head: UInt32 = 0
  var tail: UInt32 = 0
  /// Bytes in the queue, those of bodies that it only refers to among them.
  public private(set) var byteCount = 0
  private var chunks: UInt32 = 0
  /// Chunks that refer to bodies; a body that is referred to twice counts twice.
  public internal(set) var referenceCount: UInt32 = 0
  var holdsReserve = false
  /// The pool's lent bytes are this queue's last.
  public internal(set) var holdsLent = false

  public init() {}
  public var chunkCount: Int { Int(chunks) }
  @inline(__always) public var isEmpty: Bool { byteCount == 0 }

  @inline(__always) mutating func count(bytes: Int) {
    byteCount &+= bytes
    precondition(byteCount >= 0)
  }
  mutating func count(chunks: Int) { self.chunks = UInt32(Int(self.chunks) + chunks) }
}

extension ByteQueuePool {
  /// The state of a chunk, in one word beside it: where its bytes lie that are not yet consumed, or a mark that it is a
  /// reference.
  struct ChunkState: BitwiseCopyable {
    var word: UInt32
    @inline(__always) init(word: UInt32) { self.word = word }
    @inline(__always) init(isReserve: Bool, isReference: Bool) {
      word = (isReserve ? 0x8000 : 0) | (isReference ? 0x8000_0000 : 0)
    }
    @inline(__always) var start: Int { Int(word & 0x7FFF) }
    @inline(__always) var end: Int { Int(word &>> 16 & 0x7FFF) }
    @inline(__always) var isReserve: Bool { word & 0x8000 != 0 }
    @inline(__always) var isReference: Bool { word & 0x8000_0000 != 0 }
    @inline(__always) mutating func advance(start: Int = 0, end: Int = 0) {
      word &+= UInt32(start) | UInt32(end) &<< 16
    }
  }

  /// What lies in a chunk that is a reference: `start..<end` are positions in the body.
  struct Reference: BitwiseCopyable {
    var body: Body
    var start: UInt32
    var end: UInt32
  }
}

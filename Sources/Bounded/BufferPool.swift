/// Contiguous buffers of one size, lent whole.
///
/// Invariant: every buffer is lent, on the free list, or fresh.
public struct BufferPool: ~Copyable {
  public let bufferBytes: Int
  private let base: UnsafeMutableRawPointer
  private let links: UnsafeMutablePointer<UInt32>  // next free + 1; of a lent buffer `lentMark`
  private static var lentMark: UInt32 { .max }
  private var freeHead: UInt32 = 0
  private var freshIndex = 0
  public var gauge: Gauge

  public init(count: Int, bufferBytes: Int, name: StaticString, in reservation: inout Reservation) {
    self.bufferBytes = bufferBytes
    base = reservation.takeBytes(count * bufferBytes, name: name)
    links = reservation.take(UInt32.self, count: count, name: "  free list")
    gauge = Gauge(capacity: count)
  }

  /// `nil`, counted as refused, when all are lent.
  public mutating func lend() -> UnsafeMutableRawBufferPointer? {
    let index: Int
    if freeHead != 0 {
      index = Int(freeHead) - 1
      freeHead = links[index]
    } else if freshIndex < gauge.capacity {
      index = freshIndex
      freshIndex += 1
    } else {
      gauge.refused &+= 1
      return nil
    }
    gauge.lent()
    links[index] = BufferPool.lentMark
    return UnsafeMutableRawBufferPointer(start: base + index * bufferBytes, count: bufferBytes)
  }

  public mutating func giveBack(_ start: UnsafeMutableRawPointer) {
    let offset = start - base
    precondition(offset >= 0 && offset < gauge.capacity * bufferBytes && offset % bufferBytes == 0)
    let index = offset / bufferBytes
    precondition(links[index] == BufferPool.lentMark)
    links[index] = freeHead
    freeHead = UInt32(index) + 1
    gauge.givenBack()
  }
}

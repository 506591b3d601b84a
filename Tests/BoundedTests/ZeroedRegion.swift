import Bounded
import Glibc

extension UnsafeMutableRawBufferPointer {
  /// Memory as a mapping has it: aligned for pools, and zero. The caller deallocates it.
  static func zeroed(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
    let region = allocate(byteCount: byteCount, alignment: Reservation.alignment)
    memset(region.baseAddress!, 0, byteCount)
    return region
  }
}

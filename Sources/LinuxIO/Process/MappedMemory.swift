import CLinux

/// Anonymous zeroed memory from one mmap, every page touched, so that nothing is missing later when it is needed.
/// A handle: whoever made it releases it once, or never.
public struct MappedMemory: @unchecked Sendable {
  /// On a page boundary.
  public let base: UnsafeMutableRawPointer
  /// What was asked for, rounded up to whole pages.
  public let byteCount: Int

  /// - Parameter byteCount: 1 or more. ENOMEM when the kernel or the control group refuses.
  public init(byteCount: Int) throws(LinuxError) {
    precondition(byteCount > 0)
    let page = clinux_page_size()
    self.byteCount = (byteCount + page - 1) / page * page
    var place: UnsafeMutableRawPointer?
    try check(clinux_map(self.byteCount, &place))
    base = place!
    for offset in stride(from: 0, to: self.byteCount, by: page) {
      base.storeBytes(of: 0, toByteOffset: offset, as: UInt8.self)
    }
  }

  public var buffer: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: base, count: byteCount) }

  /// Touches this much of the calling thread's stack, for the same reason.
  public static func touchStack(byteCount: Int) { clinux_touch_stack(byteCount) }

  /// Gives back to the kernel what the program has freed, such as a configuration that was read, and drops the pages of
  /// code used so far. Pages that are still needed are read from the file again.
  public static func trim() { clinux_trim_memory() }

  /// Leaves it out of core dumps; false where the kernel does not.
  @discardableResult public func keepOutOfDumps() -> Bool { clinux_keep_out_of_dumps(base, byteCount) == 0 }

  public func release() { _ = clinux_unmap(base, byteCount) }
}

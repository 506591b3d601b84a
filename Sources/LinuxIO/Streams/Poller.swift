public import Bounded
import CLinux

/// epoll with a fixed array of events. A token is the caller's; the kernel hands it back with each event.
public final class Poller {
  public struct Interest: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static var read: Interest { Interest(rawValue: UInt32(CLINUX_EPOLL_IN | CLINUX_EPOLL_RDHUP)) }
    public static var write: Interest { Interest(rawValue: UInt32(CLINUX_EPOLL_OUT)) }
    /// sysfs_notify(): a sysfs attribute changed.
    public static var priority: Interest { Interest(rawValue: UInt32(CLINUX_EPOLL_PRI)) }
    /// Reported once when it becomes true, not as long as it is.
    public static var edgeTriggered: Interest { Interest(rawValue: 0x8000_0000) }
  }

  public struct Event: Sendable {
    public let token: UInt64
    /// Bytes, a connection or an end of stream can be read; also set with `hangup`, so that the reader learns why.
    public let readable: Bool
    public let writable: Bool
    /// Both directions are closed, or the descriptor has failed.
    public let hangup: Bool
    /// The peer will send no more: behind what can be read is the end. Edge-triggered, it is not told again.
    public let ending: Bool
  }

  /// Readable when an event waits: a poller can be polled itself.
  public let fd: Int32
  private let events: UnsafeMutableRawPointer
  private let maximum: Int32
  /// Descriptors that are polled.
  public private(set) var count = 0
  /// The last wait gave as many events as it may; there may be more.
  public private(set) var hasMore = false

  /// - Parameter eventsMax: events taken in one wait, 1 or more; the others come with the next.
  public init(eventsMax: Int) throws(LinuxError) {
    precondition(eventsMax >= 1)
    fd = try check(clinux_epoll_create())
    maximum = Int32(eventsMax)
    events = .allocate(byteCount: eventsMax * clinux_epoll_event_size(), alignment: 16)
  }

  deinit {
    _ = clinux_close(fd)
    events.deallocate()
  }

  /// Events taken in one wait.
  public var eventsMax: Int { Int(maximum) }

  public func add(_ fd: Int32, token: UInt64, interest: Interest) throws(LinuxError) {
    try check(clinux_epoll_control(self.fd, Int32(CLINUX_EPOLL_ADD), fd, interest.rawValue, token))
    count += 1
  }

  /// To be called before `fd` is closed. Events of it that were already taken still stand in `event(_:)`.
  public func remove(_ fd: Int32) throws(LinuxError) {
    try check(clinux_epoll_control(self.fd, Int32(CLINUX_EPOLL_REMOVE), fd, 0, 0))
    count -= 1
  }

  /// Waits until `deadline` at most; `.never` waits for an event. How many events there are, 0 at the deadline.
  /// Early without an event only when the process was stopped and continued; late only by the scheduler's latency.
  public func wait(until deadline: Instant, now: Instant) -> Int {
    guard deadline != .never else { return wait(timeoutNanoseconds: -1) }
    return wait(timeoutNanoseconds: max(0, deadline.nanoseconds &- now.nanoseconds))
  }

  /// Waits for `timeoutMilliseconds` at most, negative: without end. How many events there are.
  public func wait(timeoutMilliseconds: Int) -> Int {
    wait(timeoutNanoseconds: timeoutMilliseconds < 0 ? -1 : Int64(timeoutMilliseconds) * 1_000_000)
  }

  private func wait(timeoutNanoseconds: Int64) -> Int {
    let count = clinux_epoll_wait(fd, events, maximum, timeoutNanoseconds)
    hasMore = count == maximum
    guard count < 0 else { return Int(count) }
    precondition(count == -Int32(CLINUX_EINTR))  // anything else is a descriptor that is not ours
    return 0
  }

  /// One of the events that the last wait took; `index` from 0.
  public func event(_ index: Int) -> Event {
    precondition(index >= 0 && index < eventsMax)
    var token: UInt64 = 0
    let mask = clinux_epoll_event(events, Int32(index), &token)
    let hangup = mask & UInt32(CLINUX_EPOLL_HUP | CLINUX_EPOLL_ERR) != 0
    return Event(
      token: token,
      readable: hangup || mask & UInt32(CLINUX_EPOLL_IN | CLINUX_EPOLL_RDHUP | CLINUX_EPOLL_PRI) != 0,
      writable: mask & UInt32(CLINUX_EPOLL_OUT) != 0,
      hangup: hangup,
      ending: hangup || mask & UInt32(CLINUX_EPOLL_RDHUP) != 0)
  }
}

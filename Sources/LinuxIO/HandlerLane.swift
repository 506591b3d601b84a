public import Bounded
import CLinux
import Synchronization

/// One thread for handlers that may block: a bounded queue of messages from the loop, run in order. When it is full the
/// newest message is not taken. For one submitting thread.
public final class HandlerLane {
  private let queue: HandlerQueue

  /// - Parameters:
  ///   - capacity: messages that wait at once, 1 or more.
  ///   - messageBytesMax: topic and payload of one message; a longer one is not taken.
  ///   - run: called on the lane's thread with the tag, topic and payload of each message, lent for the call.
  public init(
    capacity: Int, messageBytesMax: Int, run: @escaping @Sendable (UInt32, Bytes, Bytes) -> Void
  ) throws(LinuxError) {
    precondition(capacity >= 1 && messageBytesMax >= 1)
    queue = try HandlerQueue(capacity: capacity, messageBytesMax: messageBytesMax, run: run)
    let context = Unmanaged.passRetained(queue)
    let answer = clinux_thread_start(
      { Unmanaged<HandlerQueue>.fromOpaque($0!).takeRetainedValue().work() }, context.toOpaque(),
      HandlerLane.stackBytes, "handlers")
    guard answer >= 0 else {
      context.release()
      throw LinuxError(errno: -answer)
    }
  }

  /// The thread ends after its present handler; messages that still wait are dropped.
  deinit { queue.stop() }

  public static var stackBytes: Int { 256 * 1024 }
  /// What one lane takes beside its stack.
  public static func byteCount(capacity: Int, messageBytesMax: Int) -> Int {
    capacity * (messageBytesMax + MemoryLayout<HandlerQueue.Slot>.stride)
  }

  /// `false`: full, or too long; the message is not taken.
  public func submit(tag: UInt32, topic: Bytes, payload: Bytes) -> Bool {
    queue.push(tag, topic, payload)
  }

  /// Messages that wait or are being handled.
  public var waiting: Int { queue.waiting }
}

/// A ring with one writer and one reader; positions only grow.
///
/// Invariant: done <= submitted <= done + capacity.
private final class HandlerQueue: @unchecked Sendable {
  struct Slot {
    var tag: UInt32 = 0
    var topicByteCount: UInt32 = 0
    var payloadByteCount: UInt32 = 0
  }

  private let capacity: Int
  private let messageBytesMax: Int
  private let run: @Sendable (UInt32, Bytes, Bytes) -> Void
  private let slots: UnsafeMutablePointer<Slot>
  private let bytes: UnsafeMutableRawPointer
  private let wake: Int32
  /// Written by the loop.
  private let submitted = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)
  /// Written by the lane.
  private let done = Atomic<Int>(0)

  init(
    capacity: Int, messageBytesMax: Int, run: @escaping @Sendable (UInt32, Bytes, Bytes) -> Void
  ) throws(LinuxError) {
    wake = try check(clinux_eventfd(0))
    self.capacity = capacity
    self.messageBytesMax = messageBytesMax
    self.run = run
    slots = .allocate(capacity: capacity)
    slots.initialize(repeating: Slot(), count: capacity)
    bytes = .allocate(byteCount: capacity * messageBytesMax, alignment: 16)
    // Touched now, so that no page is missing later.
    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * messageBytesMax)
  }

  deinit {
    _ = clinux_close(wake)
    slots.deallocate()
    bytes.deallocate()
  }

  // The loop's side

  var waiting: Int { submitted.load(ordering: .relaxed) - done.load(ordering: .acquiring) }

  func push(_ tag: UInt32, _ topic: Bytes, _ payload: Bytes) -> Bool {
    let position = submitted.load(ordering: .relaxed)
    guard position - done.load(ordering: .acquiring) < capacity, topic.count + payload.count <= messageBytesMax else {
      return false
    }
    let place = position % capacity
    var writer = ByteWriter(bytes + place * messageBytesMax, capacity: messageBytesMax)
    writer.write(topic)
    writer.write(payload)
    slots[place] = Slot(
      tag: tag, topicByteCount: UInt32(topic.count), payloadByteCount: UInt32(payload.count))
    submitted.store(position + 1, ordering: .releasing)
    signal()
    return true
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    signal()
  }

  private func signal() {
    var one: UInt64 = 1
    _ = clinux_write(wake, &one, 8)
  }

  // The lane's side

  func work() {
    var position = 0
    while true {
      while position < submitted.load(ordering: .acquiring) {
        if stopping.load(ordering: .acquiring) { return }
        let slot = slots[position % capacity]
        let start = bytes + (position % capacity) * messageBytesMax
        run(
          slot.tag, Bytes(start, count: Int(slot.topicByteCount)),
          Bytes(start + Int(slot.topicByteCount), count: Int(slot.payloadByteCount)))
        position += 1
        done.store(position, ordering: .releasing)
      }
      if stopping.load(ordering: .acquiring) { return }
      var value: UInt64 = 0
      _ = clinux_read(wake, &value, 8)
    }
  }
}

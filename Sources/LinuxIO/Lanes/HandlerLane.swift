public import Bounded

/// One thread for handlers that may block: a bounded queue of messages from the loop, run in order. When it is full the
/// newest message is not taken. For one submitting thread.
public final class HandlerLane {
  private let lane: Lane<HandlerRuns>
  private let messages: HandlerMessages

  /// - Parameters:
  ///   - capacity: messages that wait at once, 1 or more.
  ///   - messageBytesMax: topic and payload of one message; a longer one is not taken.
  ///   - run: called on the lane's thread with the tag, topic and payload of each message, valid during the call.
  public init(
    capacity: Int, messageBytesMax: Int, run: @escaping @Sendable (UInt32, Bytes, Bytes) -> Void
  ) throws(LinuxError) {
    messages = HandlerMessages(capacity: capacity, messageBytesMax: messageBytesMax)
    lane = try Lane(
      HandlerRuns(messages: messages, run: run), name: "handlers", stackBytes: HandlerLane.stackBytes,
      requestsMax: capacity)
  }

  public static var stackBytes: Int { 256 * 1024 }

  /// `false`: full, or too long; the message is not taken.
  public func submit(tag: UInt32, topic: Bytes, payload: Bytes) -> Bool {
    lane.takeAllAnswers()
    guard topic.count + payload.count <= messages.messageBytesMax, let place = lane.freePlace else { return false }
    messages.write(topic, payload, at: place)
    return lane.submit(
      HandlerRuns.Request(
        tag: tag, place: UInt32(place), topicByteCount: UInt32(topic.count), payloadByteCount: UInt32(payload.count)))
  }

  /// Messages that wait or are being handled.
  public var waiting: Int {
    lane.takeAllAnswers()
    return lane.underway
  }
}

/// The topic and payload of each message that waits, one after the other, beside the lane's mailbox. A place belongs to
/// the thread that its request belongs to.
private final class HandlerMessages: @unchecked Sendable {
  let messageBytesMax: Int
  private let bytes: UnsafeMutableRawPointer

  init(capacity: Int, messageBytesMax: Int) {
    precondition(capacity >= 1 && messageBytesMax >= 1)
    self.messageBytesMax = messageBytesMax
    bytes = .allocate(byteCount: capacity * messageBytesMax, alignment: 16)
    // Touched now, so that no page is missing later.
    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * messageBytesMax)
  }

  deinit { bytes.deallocate() }

  func write(_ topic: Bytes, _ payload: Bytes, at place: Int) {
    var writer = ByteWriter(bytes + place * messageBytesMax, capacity: messageBytesMax)
    writer.write(topic)
    writer.write(payload)
  }

  func at(_ place: Int) -> Bytes { Bytes(bytes + place * messageBytesMax, count: messageBytesMax) }
}

private struct HandlerRuns: LaneWork {
  struct Request: BitwiseCopyable {
    var tag: UInt32
    var place: UInt32
    var topicByteCount: UInt32
    var payloadByteCount: UInt32
  }
  /// A handler has nothing to say.
  struct Answer: BitwiseCopyable {}

  let messages: HandlerMessages
  let run: @Sendable (UInt32, Bytes, Bytes) -> Void

  func answer(_ request: Request) -> Answer {
    let bytes = messages.at(Int(request.place))
    let topicEnd = Int(request.topicByteCount)
    run(request.tag, bytes.first(topicEnd), bytes[topicEnd..<topicEnd + Int(request.payloadByteCount)])
    return Answer()
  }
}

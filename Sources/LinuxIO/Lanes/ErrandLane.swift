/// One thread that runs one closure on numbers: a check of a password, a reload. What a number stands for lies in memory
/// beside the lane that the submitting thread leaves alone until it has the answer. For one submitting thread.
public final class ErrandLane {
  private let lane: Lane<Errands>

  /// - Parameters:
  ///   - name: of the thread, 15 bytes at most.
  ///   - requestsMax: numbers without an answer taken, 1 or more.
  ///   - run: called on the lane's thread, once for each number and in their order.
  public init(
    name: StaticString, stackBytes: Int, requestsMax: Int, run: @escaping @Sendable (UInt32) -> Int32
  ) throws(LinuxError) {
    lane = try Lane(Errands(run: run), name: name, stackBytes: stackBytes, requestsMax: requestsMax)
  }

  /// Readable when an answer waits.
  public var fd: Int32 { lane.fd }

  /// Numbers whose answers were not taken.
  public var underway: Int { lane.underway }

  /// `false`: `requestsMax` are under way.
  public func submit(_ number: UInt32) -> Bool { lane.submit(Errands.Request(number: number)) }

  /// The next number's answer, in the order of submission; nil when there is none, and then `fd` is quiet until there is.
  public func takeAnswer() -> (number: UInt32, answer: Int32)? { lane.takeAnswer().map { ($0.number, $0.answer) } }
}

private struct Errands: LaneWork {
  struct Request: BitwiseCopyable {
    var number: UInt32
  }
  struct Answer: BitwiseCopyable {
    var number: UInt32
    var answer: Int32
  }

  let run: @Sendable (UInt32) -> Int32

  func answer(_ request: Request) -> Answer { Answer(number: request.number, answer: run(request.number)) }
}

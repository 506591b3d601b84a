import Synchronization

/// Requests from the loop to one other thread and the answers back, in two rings of `capacity` places each.
///
/// ```
/// the loop   post ─▶ [ request │ request │ ... ] ─▶ answerNext   the lane
///            take ◀─ [ answer  │ answer  │ ... ] ◀─┘
/// ```
///
/// Positions count requests from 0 and only grow; a place is a position modulo `capacity`. Memory order: whoever has
/// filled a place stores the position behind it with `releasing`, and the other thread loads that position with
/// `acquiring` before it touches the place. A place is filled again only after the answer to its last request was taken,
/// so both threads are done with it. The same holds for memory beside the mailbox that belongs to a place.
///
/// A mailbox wakes nobody; `Lane` does.
///
/// Invariant: taken <= answered <= submitted <= taken + capacity.
final class Mailbox<Request: BitwiseCopyable, Answer: BitwiseCopyable>: @unchecked Sendable {
  let capacity: Int
  private let requests: UnsafeMutablePointer<Request>
  private let answers: UnsafeMutablePointer<Answer>
  /// Stored by the loop.
  private let submitted = Atomic<Int>(0)
  /// Stored by the lane.
  private let answered = Atomic<Int>(0)
  /// The loop's alone.
  private var taken = 0

  /// - Parameter capacity: requests posted and not taken back as answers, 1 or more.
  init(capacity: Int) {
    precondition(capacity >= 1)
    self.capacity = capacity
    requests = Mailbox.places(capacity)
    answers = Mailbox.places(capacity)
  }

  /// Zeroed now, so that no page is missing later.
  private static func places<Entry: BitwiseCopyable>(_ count: Int) -> UnsafeMutablePointer<Entry> {
    let places = UnsafeMutablePointer<Entry>.allocate(capacity: count)
    let byteCount = count * MemoryLayout<Entry>.stride
    UnsafeMutableRawPointer(places).initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return places
  }

  deinit {
    requests.deallocate()
    answers.deallocate()
  }

  // The loop's side

  /// Requests posted whose answers were not taken.
  var underway: Int { submitted.load(ordering: .relaxed) - taken }

  /// The place that the next request gets, 0..<capacity; nil when the mailbox is full. Memory beside the mailbox that
  /// belongs to this place is the loop's until the request is posted.
  var freePlace: Int? { underway < capacity ? submitted.load(ordering: .relaxed) % capacity : nil }

  /// false when full; nothing is posted then.
  func post(_ request: Request) -> Bool {
    guard let place = freePlace else { return false }
    (requests + place).initialize(to: request)
    submitted.store(submitted.load(ordering: .relaxed) + 1, ordering: .releasing)
    return true
  }

  /// The oldest answer, in the order of the requests; nil when there is none yet.
  func take() -> Answer? {
    guard taken != answered.load(ordering: .acquiring) else { return nil }
    let answer = answers[taken % capacity]
    taken += 1
    return answer
  }

  /// Takes all answers, unread.
  func takeAll() { taken = answered.load(ordering: .acquiring) }

  // The lane's side

  /// Answers the oldest request that is not answered with what `body` makes of it; false when there is none.
  func answerNext(_ body: (Request) -> Answer) -> Bool {
    let position = answered.load(ordering: .relaxed)
    guard position != submitted.load(ordering: .acquiring) else { return false }
    let place = position % capacity
    (answers + place).initialize(to: body(requests[place]))
    answered.store(position + 1, ordering: .releasing)
    return true
  }
}

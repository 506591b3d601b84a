import Foundation
import Synchronization
import Testing

@testable import LinuxIO

@Suite("Requests one way, answers the other") struct MailboxTests {
  /// Large enough that a copy of it is not one store.
  struct Record: BitwiseCopyable, Equatable {
    var numbers: InlineArray<12, UInt64>

    init(_ number: Int) { numbers = InlineArray { UInt64(bitPattern: Int64(number)) &* 0x9E37_79B9 &+ UInt64($0) } }

    static func == (left: Record, right: Record) -> Bool {
      (0..<12).allSatisfy { left.numbers[$0] == right.numbers[$0] }
    }
  }

  /// Beside two plain arrays, one thread in both roles.
  @Test(arguments: [1, 2, 3, 64]) func asAModelDoes(capacity: Int) {
    let mailbox = Mailbox<Int, Int>(capacity: capacity)
    var draw = SeededGenerator(seed: UInt64(capacity))
    var requests: [Int] = []
    var answers: [Int] = []
    var posted = 0
    for number in 0..<20_000 {
      switch draw.below(8) {
      case 0...2:
        let hasRoom = requests.count + answers.count < capacity
        #expect(mailbox.freePlace == (hasRoom ? posted % capacity : nil))
        #expect(mailbox.post(number) == hasRoom)
        if hasRoom {
          requests.append(number)
          posted += 1
        }
      case 3...5:
        var asked: Int?
        let hasAnswered = mailbox.answerNext {
          asked = $0
          return -$0
        }
        #expect(hasAnswered == !requests.isEmpty && asked == requests.first)
        if let asked {
          requests.removeFirst()
          answers.append(-asked)
        }
      case 6:
        #expect(mailbox.take() == (answers.isEmpty ? nil : answers.removeFirst()))
      default:
        guard draw.oneIn(4) else { continue }
        mailbox.takeAll()
        answers.removeAll()
      }
      #expect(mailbox.underway == requests.count + answers.count)
    }
  }

  /// Two threads as fast as they go, with nothing between them but the mailbox: each request and each answer is whole,
  /// comes once, and in order.
  @Test(arguments: [1, 2, 3, 64]) func betweenTwoThreads(capacity: Int) throws {
    let count = 50_000
    let mailbox = Mailbox<Record, Record>(capacity: capacity)
    let wrong = Wrong()
    let other = Foundation.Thread {
      var position = 0
      while position < count {
        let hasAnswered = mailbox.answerNext { request in
          if request != Record(position) { wrong.count.add(1, ordering: .relaxed) }
          return Record(-position)
        }
        if hasAnswered { position += 1 } else { sched_yield() }
      }
    }
    other.start()
    let patience = Patience()
    var (posted, taken) = (0, 0)
    while taken < count {
      if posted < count, mailbox.post(Record(posted)) {
        posted += 1
      } else if let answer = mailbox.take() {
        #expect(answer == Record(-taken))
        taken += 1
      } else {
        try patience.yield()
      }
    }
    #expect(posted == count && mailbox.underway == 0)
    #expect(wrong.count.load(ordering: .relaxed) == 0)
  }

  /// Memory beside the mailbox belongs to a request's place, as the handlers' messages do.
  @Test(arguments: [1, 2, 5]) func memoryBesideAPlaceGoesWithIt(capacity: Int) throws {
    let count = 50_000
    let mailbox = Mailbox<Int, Int>(capacity: capacity)
    nonisolated(unsafe) let beside = UnsafeMutableBufferPointer<Record>.allocate(capacity: capacity)
    defer { beside.deallocate() }
    beside.initialize(repeating: Record(0))
    let wrong = Wrong()
    let other = Foundation.Thread {
      var position = 0
      while position < count {
        let hasAnswered = mailbox.answerNext { place in
          if beside[place] != Record(position) { wrong.count.add(1, ordering: .relaxed) }
          return place
        }
        if hasAnswered { position += 1 } else { sched_yield() }
      }
    }
    other.start()
    let patience = Patience()
    var posted = 0
    while posted < count || mailbox.underway > 0 {
      mailbox.takeAll()
      if posted < count, let place = mailbox.freePlace {
        beside[place] = Record(posted)
        #expect(mailbox.post(place))
        posted += 1
      } else {
        try patience.yield()
      }
    }
    #expect(wrong.count.load(ordering: .relaxed) == 0)
  }
}

/// What the other thread has found wrong.
private final class Wrong: Sendable {
  let count = Atomic<Int>(0)
}

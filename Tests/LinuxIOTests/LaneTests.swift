import Bounded
import Foundation
import Synchronization
import Testing

@testable import LinuxIO

@Suite("One thread beside the loop") struct LaneTests {
  /// Squares a number; a request behind a closed gate waits until it is opened, as with a driver that hangs.
  private struct Squares: LaneWork {
    let gate: Gate
    var count = 0

    struct Answer: BitwiseCopyable {
      var square: Int
      /// Requests answered until now: the work's own state.
      var count: Int
    }

    mutating func answer(_ request: Int) -> Answer {
      gate.pass()
      count += 1
      return Answer(square: request * request, count: count)
    }
  }

  private func lane(_ gate: Gate = Gate(), requestsMax: Int = 4) throws -> Lane<Squares> {
    try Lane(Squares(gate: gate), name: "squares", stackBytes: 64 * 1024, requestsMax: requestsMax)
  }

  // MARK: Requests and answers

  @Test(arguments: [1, 2, 3, 64]) func everyRequestIsAnsweredOnceAndInOrder(requestsMax: Int) throws {
    let lane = try lane(requestsMax: requestsMax)
    var draw = SeededGenerator(seed: UInt64(requestsMax))
    var (asked, taken) = (0, 0)
    while taken < 5000 {
      #expect(lane.underway == asked - taken)
      if asked < 5000, draw.oneIn(2) {
        let hasRoom = asked - taken < requestsMax
        #expect((lane.freePlace == nil) == !hasRoom)
        #expect(lane.submit(asked) == hasRoom)
        if hasRoom { asked += 1 }
      } else if asked > taken {
        // Waiting never comes back with nothing; looking may.
        let waits = draw.oneIn(2)
        let found = waits ? lane.waitForAnswer(until: Patience.isOver) : lane.takeAnswer()
        guard let answer = found else {
          try #require(!waits)
          continue
        }
        #expect(answer.square == taken * taken && answer.count == taken + 1)
        taken += 1
      }
    }
    #expect(lane.takeAnswer() == nil && lane.waitForAnswer(until: Patience.isOver) == nil)
  }

  /// Both threads go to sleep in each round, so each round may lose a wake-up: then this waits until patience ends.
  @Test func noWakeUpIsLost() throws {
    let lane = try lane(requestsMax: 2)
    let poller = try Poller(eventsMax: 1)
    try poller.add(lane.fd, token: 0, interest: .read)
    var taken = 0
    while taken < 20_000 {
      for request in taken..<taken + 1 + taken % 2 { #expect(lane.submit(request)) }
      while lane.underway > 0 {
        try #require(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
        while let answer = lane.takeAnswer() {
          #expect(answer.square == taken * taken)
          taken += 1
        }
      }
    }
  }

  /// An answer that comes late to a loop that has looked already makes the descriptor readable, and a look makes it quiet.
  @Test func theDescriptorIsQuietAfterALookThatFindsNothing() throws {
    let lane = try lane()
    let poller = try Poller(eventsMax: 1)
    try poller.add(lane.fd, token: 0, interest: .read)
    for request in 0..<2000 {
      #expect(lane.submit(request))
      // Looks without being told: it often takes the answer before the thread has signalled it.
      let patience = Patience()
      while lane.takeAnswer() == nil { try patience.yield() }
      while poller.wait(timeoutMilliseconds: 0) > 0 { #expect(lane.takeAnswer() == nil) }
    }
  }

  @Test func aFullLaneRefusesAndLosesNothing() throws {
    let gate = Gate(isOpen: false)
    let lane = try lane(gate, requestsMax: 3)
    for request in 1...3 { #expect(lane.submit(request)) }
    #expect(!lane.submit(4) && lane.freePlace == nil && lane.underway == 3)
    gate.open()
    for request in 1...3 {
      #expect(try #require(lane.waitForAnswer(until: Patience.isOver)).square == request * request)
    }
    #expect(lane.submit(5))
    #expect(try #require(lane.waitForAnswer(until: Patience.isOver)).square == 25)
  }

  // MARK: Work that hangs

  /// As many lanes as a board may have, half of which hang: the others answer, and the hung ones do so later.
  @Test(arguments: [16, 32]) func aLaneThatHangsHoldsUpNoOther(count: Int) throws {
    let gate = Gate(isOpen: false)
    let hung = try (0..<count / 2).map { _ in try lane(gate) }
    let free = try (0..<count / 2).map { _ in try lane() }
    for lane in hung { #expect(lane.submit(7)) }
    for round in 0..<20 {
      for lane in free { #expect(lane.submit(round)) }
      for lane in free {
        #expect(try #require(lane.waitForAnswer(until: Patience.isOver)).square == round * round)
      }
    }
    for lane in hung { #expect(lane.takeAnswer() == nil && lane.underway == 1) }
    #expect(hung[0].waitForAnswer(until: Clock.now()) == nil)
    gate.open()
    for lane in hung { #expect(try #require(lane.waitForAnswer(until: Patience.isOver)).square == 49) }
  }

  @Test func itTellsSinceWhenItIsAtARequest() throws {
    let gate = Gate(isOpen: false)
    let lane = try lane(gate)
    #expect(lane.begunAt == nil)
    let before = Clock.now()
    #expect(lane.submit(1))
    let patience = Patience()
    while lane.begunAt == nil { try patience.yield() }
    let begun = try #require(lane.begunAt)
    #expect(begun >= before && begun <= Clock.now())
    gate.open()
    _ = try #require(lane.waitForAnswer(until: Patience.isOver))
    #expect(lane.begunAt == nil)
  }

  // MARK: The end

  @Test func aLaneStopsWhileItIsIdle() throws {
    for round in 0..<200 {
      let lane = try lane()
      if round % 2 == 1 {
        #expect(lane.submit(round))
        _ = try #require(lane.waitForAnswer(until: Patience.isOver))
      }
      for _ in 0..<round % 5 { sched_yield() }
      #expect(lane.stop(until: Patience.isOver))
      #expect(!lane.submit(1) && lane.freePlace == nil)
      #expect(lane.stop(until: Patience.isOver))
    }
  }

  /// What it is at when it is stopped is finished, what waits is dropped, and what is answered can still be taken.
  @Test func aLaneStopsAfterTheRequestThatItIsAt() throws {
    for round in 0..<50 {
      let gate = Gate(isOpen: false)
      let lane = try lane(gate)
      for request in 1...3 { #expect(lane.submit(request)) }
      while gate.arrivals.load(ordering: .acquiring) == 0 { sched_yield() }
      #expect(!lane.stop(until: round % 2 == 0 ? Clock.now() : Clock.now().adding(milliseconds: 1)))
      gate.open()
      #expect(lane.stop(until: Patience.isOver))
      #expect(lane.takeAnswer()?.square == 1)
      #expect(lane.takeAnswer() == nil && lane.underway == 2)
      #expect(gate.arrivals.load(ordering: .acquiring) == 1)
    }
  }

  /// The thread keeps what it uses; when its work returns at last, it lets all of it go.
  @Test func aHungLaneThatIsLeftBehindEndsByItself() throws {
    let gate = Gate(isOpen: false)
    weak var witness: Gate?
    do {
      let own = Gate()
      witness = own
      let lane = try Lane(Holder(gate: gate, own: own), name: "holder", stackBytes: 64 * 1024, requestsMax: 1)
      #expect(lane.submit(1))
      while gate.arrivals.load(ordering: .acquiring) == 0 { sched_yield() }
      if lane.stop(until: Clock.now()) { Issue.record("it has ended behind a closed gate") }
    }
    #expect(witness != nil)
    gate.open()
    let patience = Patience()
    while witness != nil { try patience.yield() }
  }

  private struct Holder: LaneWork {
    let gate: Gate
    let own: Gate
    func answer(_ request: Int) -> Int {
      gate.pass()
      return own.arrivals.load(ordering: .relaxed)
    }
  }

  // MARK: The thread

  private struct Looks: LaneWork {
    struct Answer: BitwiseCopyable {
      var name = FixedText<32>()
      var stackBytes = 0
      var blocked = 0
    }
    func answer(_ request: Int) -> Answer {
      var answer = Answer()
      let fd = open("/proc/thread-self/comm", O_RDONLY)
      _ = answer.name.fill { Int64(read(fd, $0.baseAddress!, $0.count)) }
      close(fd)
      // A function of glibc that its module does not export.
      typealias GetAttributes = @convention(c) (pthread_t, UnsafeMutablePointer<pthread_attr_t>) -> Int32
      let getAttributes = unsafeBitCast(dlsym(nil, "pthread_getattr_np"), to: GetAttributes.self)
      var attributes = pthread_attr_t()
      _ = getAttributes(pthread_self(), &attributes)
      pthread_attr_getstacksize(&attributes, &answer.stackBytes)
      pthread_attr_destroy(&attributes)
      var mask = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &mask)
      for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] { answer.blocked += Int(sigismember(&mask, signal)) }
      return answer
    }
  }

  /// More than a thread has by default (8 MiB), as the C library may give it a larger stack that another thread has left.
  @Test(arguments: [12_288, 20_480]) func theThreadHasItsNameItsStackAndNoSignals(kibibytes: Int) throws {
    let lane = try Lane(Looks(), name: "fifteen-letters", stackBytes: kibibytes * 1024, requestsMax: 1)
    #expect(lane.submit(0))
    let answer = try #require(lane.waitForAnswer(until: Patience.isOver))
    #expect(text(answer.name) == "fifteen-letters\n")
    #expect(answer.stackBytes >= kibibytes * 1024)
    #expect(answer.blocked == 4)
  }
}

/// A door that a thread waits at while it is shut.
private final class Gate: Sendable {
  let arrivals = Atomic<Int>(0)
  private let isShut: Atomic<Bool>

  init(isOpen: Bool = true) { isShut = Atomic(!isOpen) }

  func open() { isShut.store(false, ordering: .releasing) }
  func pass() {
    arrivals.add(1, ordering: .releasing)
    while isShut.load(ordering: .acquiring) { usleep(200) }
  }
}

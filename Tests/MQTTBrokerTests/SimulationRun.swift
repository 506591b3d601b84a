import Foundation
import Glibc
import Testing

/// A day that is drawn from a seed, step by step, until something does not hold.
protocol SimulatedDay: AnyObject {
  init(seed: UInt64)
  var failure: String? { get }
  var stepCount: Int { get }
  func step()
}

/// Many seeds, many steps (docs/simulation.md). The tests of each module that has a `Simulation` link to this file.
///
///     TAPLINE_ROOM=MQTTBroker TAPLINE_FIRST_SEED=1 TAPLINE_SEEDS=1000 TAPLINE_STEPS=10000 swift test --filter Simulation
///     TAPLINE_ROOM=MQTTBroker TAPLINE_SEED=17 TAPLINE_STEPS=312 swift test --filter Simulation
struct SimulationRun {
  /// The module, as TAPLINE_ROOM names it.
  let room: StaticString
  private let first: Int
  private let seeds: Int
  private let steps: Int
  /// Progress and totals are printed: somebody asked for this run.
  private let isTold: Bool

  /// The tests that repeat it, as `swift test --filter` takes them.
  private let filter: StaticString

  /// - Parameters:
  ///   - seeds: where TAPLINE_SEEDS does not say.
  ///   - steps: of each seed, where TAPLINE_STEPS does not say.
  init(_ room: StaticString, filter: StaticString = "Simulation", seeds: Int = 12, steps: Int) {
    self.room = room
    self.filter = filter
    let one = SimulationRun.number("SEED")
    first = one ?? SimulationRun.number("FIRST_SEED") ?? 1
    self.seeds = one == nil ? SimulationRun.number("SEEDS") ?? seeds : 1
    self.steps = SimulationRun.number("STEPS") ?? steps
    isTold = one != nil || SimulationRun.number("SEEDS") != nil
  }

  private static func number(_ name: String) -> Int? {
    ProcessInfo.processInfo.environment["TAPLINE_" + name].flatMap { Int($0) }
  }

  /// Plays each seed until its last step or its first failure. `end` sees each simulation afterwards and may go on with
  /// it; what has failed then is recorded with the line that repeats it. `totals` are lines to print in the end.
  func play<Day: SimulatedDay>(_ day: Day.Type, _ end: (Day) -> Void, totals: () -> [String]) {
    announceTraps()
    let start = Date()
    var told = start
    var failures = 0
    var stepCount = 0
    func tell(_ seeds: Int) {
      say("\(seeds) seeds, \(stepCount) steps, \(failures) failures, \(Int(Date().timeIntervalSince(start))) s")
    }
    for seed in first..<(first + seeds) {
      underway = Underway(room: room, filter: filter, seed: seed)
      let simulation = Day(seed: UInt64(seed))
      while simulation.failure == nil, simulation.stepCount < steps {
        underway.step = simulation.stepCount + 1
        simulation.step()
      }
      end(simulation)
      stepCount += simulation.stepCount
      if let failure = simulation.failure {
        failures += 1
        let step = simulation.stepCount
        Issue.record(
          "\(failure)\nTAPLINE_ROOM=\(room) TAPLINE_SEED=\(seed) TAPLINE_STEPS=\(step) swift test --filter \(filter)")
      }
      if isTold, Date().timeIntervalSince(told) >= 10 {
        told = Date()
        tell(seed - first + 1)
      }
    }
    guard isTold else { return }
    for line in totals() { say(line) }
    tell(seeds)
  }

  private func say(_ line: String) { FileHandle.standardError.write(Data("simulation: \(line)\n".utf8)) }
}

/// What runs now, for the last words of a run that traps.
private struct Underway {
  var room: StaticString = ""
  var filter: StaticString = ""
  var seed = 0
  var step = 0
}
private nonisolated(unsafe) var underway = Underway()

/// A trap is a failure too: it says what repeats it before it ends the process.
private func announceTraps() {
  for trap in [SIGILL, SIGTRAP, SIGSEGV] {
    signal(trap) { trap in
      write("TAPLINE_ROOM=")
      write(underway.room)
      write(" TAPLINE_SEED=")
      write(decimal: underway.seed)
      write(" TAPLINE_STEPS=")
      write(decimal: underway.step)
      write(" swift test --filter ")
      write(underway.filter)
      write("\n")
      signal(trap, SIG_DFL)
      raise(trap)
    }
  }
}

private func write(_ text: StaticString) { _ = Glibc.write(2, text.utf8Start, text.utf8CodeUnitCount) }

private func write(decimal number: Int) {
  if number > 9 { write(decimal: number / 10) }
  var digit = UInt8(48 + number % 10)
  _ = Glibc.write(2, &digit, 1)
}

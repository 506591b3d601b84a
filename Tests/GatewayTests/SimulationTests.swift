import Foundation
import Glibc
import Testing

@testable import Bounded

/// Many seeds, many steps: see docs/simulation.md.
///
///     TAPLINE_ROOM=Gateway TAPLINE_SEEDS=1000 TAPLINE_STEPS=10000 swift test --filter Simulation
///     TAPLINE_ROOM=Gateway TAPLINE_SEED=17 TAPLINE_STEPS=312 swift test --filter Simulation
@Suite struct SimulationTests {
  private static func number(_ name: String) -> Int? {
    ProcessInfo.processInfo.environment["TAPLINE_" + name].flatMap { Int($0) }
  }

  @Test func everySeedHolds() {
    let one = SimulationTests.number("SEED")
    let first = one ?? SimulationTests.number("FIRST_SEED") ?? 1
    let seeds = one == nil ? SimulationTests.number("SEEDS") ?? 12 : 1
    let steps = SimulationTests.number("STEPS") ?? 400
    let isTold = one != nil || SimulationTests.number("SEEDS") != nil
    announceTraps()
    let start = Date()
    var told = start
    var failures = 0
    var totals = (steps: 0, messages: 0, changes: 0, refusals: 0, lives: 0)
    for seed in first..<(first + seeds) {
      underway = (seed, 0)
      let simulation = Simulation(seed: UInt64(seed))
      while simulation.failure == nil, simulation.stepCount < steps {
        underway.step = simulation.stepCount + 1
        simulation.step()
      }
      totals.steps += simulation.stepCount
      totals.messages += simulation.messageCount
      totals.changes += simulation.changeCount
      totals.refusals += simulation.refusalCount
      totals.lives += simulation.lifeCount
      if let failure = simulation.failure {
        failures += 1
        let step = simulation.stepCount
        Issue.record(
          "\(failure)\nTAPLINE_ROOM=Gateway TAPLINE_SEED=\(seed) TAPLINE_STEPS=\(step) swift test --filter Simulation")
      }
      if isTold, Date().timeIntervalSince(told) >= 10 {
        told = Date()
        say("\(seed - first + 1) seeds, \(totals.steps) steps, \(failures) failures, \(seconds(start)) s")
      }
    }
    if isTold {
      say("\(totals.lives) lives of a board, \(totals.messages) messages, \(totals.changes) movements, ")
      say("\(totals.refusals) refusals, \(seconds(start)) s")
      say("\(seeds) seeds, \(totals.steps) steps, \(failures) failures")
    }
  }

  private func seconds(_ start: Date) -> Int { Int(Date().timeIntervalSince(start)) }

  private func say(_ line: String) { FileHandle.standardError.write(Data("simulation: \(line)\n".utf8)) }
}

/// What runs now, for the last words of a run that traps.
private nonisolated(unsafe) var underway = (seed: 0, step: 0)

/// A trap is a failure too: it says what repeats it before it ends the process.
private func announceTraps() {
  for trap in [SIGILL, SIGTRAP, SIGSEGV] {
    signal(trap) { trap in
      write("TAPLINE_ROOM=Gateway TAPLINE_SEED=")
      write(decimal: underway.seed)
      write(" TAPLINE_STEPS=")
      write(decimal: underway.step)
      write(" swift test --filter Simulation\n")
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

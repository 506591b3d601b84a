import Foundation
import Glibc
import Testing

@testable import Bounded
@testable import MQTTBroker

/// Many seeds, many steps: see docs/simulation.md.
///
///     TAPLINE_FIRST_SEED=1 TAPLINE_SEEDS=1000 TAPLINE_STEPS=10000 swift test --filter Simulation
///     TAPLINE_SEED=17 TAPLINE_STEPS=312 swift test --filter Simulation
@Suite struct SimulationTests {
  private static func number(_ name: String) -> Int? {
    ProcessInfo.processInfo.environment["TAPLINE_" + name].flatMap { Int($0) }
  }

  @Test func everySeedHolds() {
    let one = SimulationTests.number("SEED")
    let first = one ?? SimulationTests.number("FIRST_SEED") ?? 1
    let seeds = one == nil ? SimulationTests.number("SEEDS") ?? 12 : 1
    let steps = SimulationTests.number("STEPS") ?? 1000
    let isTold = one != nil || SimulationTests.number("SEEDS") != nil
    announceTraps()
    let start = Date()
    var told = start
    var failures = 0
    var totals = (steps: 0, events: 0, packets: 0, messages: 0)
    var load = SimulationLoad()
    for seed in first..<(first + seeds) {
      let simulation = Simulation(seed: UInt64(seed))
      underway.seed = seed
      while simulation.failure == nil, simulation.stepCount < steps {
        underway.step = simulation.stepCount + 1
        simulation.step()
      }
      if simulation.failure == nil { simulation.finish() }
      totals.steps += simulation.stepCount
      totals.events += simulation.eventCount
      totals.packets += simulation.packetCount
      totals.messages += simulation.messageCount
      load.add(simulation)
      if let failure = simulation.failure {
        failures += 1
        let step = simulation.stepCount
        Issue.record("\(failure)\nTAPLINE_SEED=\(seed) TAPLINE_STEPS=\(step) swift test --filter Simulation")
      }
      if isTold, Date().timeIntervalSince(told) >= 10 {
        told = Date()
        say("\(seed - first + 1) seeds, \(totals.steps) steps, \(failures) failures, \(seconds(start)) s")
      }
    }
    if isTold {
      say("\(totals.events) calls, \(totals.packets) packets in, \(totals.messages) messages out, \(seconds(start)) s")
      say(load.text)
      say("\(seeds) seeds, \(totals.steps) steps, \(failures) failures")
    }
  }

  /// Days that once went wrong. 5171: a PUBACK found no room, because data had taken what was promised to it.
  /// 145: a retained message was to be replaced whose bytes were still on their way out.
  @Test(arguments: [5171, 145]) func itStaysMended(seed: UInt64) {
    let simulation = Simulation(seed: seed)
    while simulation.failure == nil, simulation.stepCount < 1000 { simulation.step() }
    #expect(simulation.failure == nil)
  }

  private func seconds(_ start: Date) -> Int { Int(Date().timeIntervalSince(start)) }

  private func say(_ line: String) { FileHandle.standardError.write(Data("simulation: \(line)\n".utf8)) }
}

/// What an hour of the simulation's clock asks of the broker: the measure of Tests/integration/hostile.py.
private struct SimulationLoad {
  private var hours = 0.0
  private var connections: UInt64 = 0
  private var packets: UInt64 = 0
  private var bytes: UInt64 = 0

  mutating func add(_ simulation: Simulation) {
    hours += Double(simulation.now.nanoseconds) / 3.6e12
    connections += simulation.broker.counters.connectionsAccepted
    packets += simulation.broker.counters.packetsReceived
    bytes += simulation.broker.counters.bytesReceived
  }

  var text: String {
    func perHour(_ count: UInt64) -> Int { Int(Double(count) / hours) }
    return "\(Int(hours)) hours; in each \(perHour(connections)) connections, \(perHour(packets)) packets, "
      + "\(perHour(bytes)) bytes in"
  }
}

/// What runs now, for the last words of a run that traps.
private nonisolated(unsafe) var underway = (seed: 0, step: 0)

/// A trap is a failure too: it says what repeats it before it ends the process.
private func announceTraps() {
  for trap in [SIGILL, SIGTRAP, SIGSEGV] {
    signal(trap) { trap in
      write("TAPLINE_SEED=")
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

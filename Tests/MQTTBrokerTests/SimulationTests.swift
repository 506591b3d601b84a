import Testing

@testable import Bounded
@testable import MQTTBroker

/// Days of a broker that keep to the model.
@Suite struct SimulationTests {
  @Test func everySeedHolds() {
    var totals = (events: 0, packets: 0, messages: 0)
    var load = SimulationLoad()
    SimulationRun("MQTTBroker", steps: 700).play(Simulation.self) { simulation in
      if simulation.failure == nil { simulation.finish() }
      totals.events += simulation.eventCount
      totals.packets += simulation.packetCount
      totals.messages += simulation.messageCount
      load.add(simulation)
    } totals: {
      ["\(totals.events) calls, \(totals.packets) packets in, \(totals.messages) messages out", load.text]
    }
  }

  /// Days that once went wrong. 5171: a PUBACK found no room, because data had taken what was promised to it.
  /// 145: a retained message was to be replaced whose bytes were still on their way out.
  @Test(arguments: [5171, 145]) func itStaysMended(seed: UInt64) {
    let simulation = Simulation(seed: seed)
    while simulation.failure == nil, simulation.stepCount < 1000 { simulation.step() }
    #expect(simulation.failure == nil)
  }
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

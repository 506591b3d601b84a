import CBench
import Glibc

// usage: Load SCENARIO [--port N] [--seconds S] [--warm-up S] [--broker-cpu N] [--load-cpu N] [--log FILE] -- BROKER...
//
// Starts a broker, puts one scenario's load on it, and prints one line of JSON. `Load list` prints the scenarios.

struct Options {
  var port: Int32 = 18_830
  var seconds = 2.0
  var warmUpSeconds = 0.5
  var brokerCPU: Int32 = 0
  var loadCPU: Int32 = 1
  var log = "/dev/null"
  var command: [String] = []

  init(_ arguments: ArraySlice<String>) {
    var arguments = arguments
    while let name = arguments.popFirst() {
      if name == "--" {
        command = Array(arguments)
        return
      }
      guard let value = arguments.popFirst() else { fail("\(name) needs a value") }
      switch name {
      case "--port": port = Int32(value) ?? port
      case "--seconds": seconds = Double(value) ?? seconds
      case "--warm-up": warmUpSeconds = Double(value) ?? warmUpSeconds
      case "--broker-cpu": brokerCPU = Int32(value) ?? brokerCPU
      case "--load-cpu": loadCPU = Int32(value) ?? loadCPU
      case "--log": log = value
      default: fail("unknown option \(name)")
      }
    }
  }
}

typealias Scenario = (Broker, Options) -> Result

/// What lies between a socket and MQTT; a scenario's name ends with it.
enum Carrier: String {
  case websocket, tls

  var number: Int32 {
    switch self {
    case .websocket: Int32(CBENCH_WEBSOCKET)
    case .tls: Int32(CBENCH_TLS)
    }
  }

  /// nil: plain TCP.
  init?(ofScenario name: String) {
    guard let dash = name.lastIndex(of: "-") else { return nil }
    self.init(rawValue: String(name[name.index(after: dash)...]))
  }
}

let scenarios: [(name: String, run: Scenario)] = [
  ("fan-out-10", Flow(shape: .oneToMany, count: 10, window: 64).run),
  ("fan-out-100", Flow(shape: .oneToMany, count: 100, window: 64).run),
  ("fan-in-50", Flow(shape: .manyToOne, count: 50).run),
  ("pairs", Flow(shape: .pairs, count: 50).run),
  ("pairs-beside-5000", Flow(shape: .pairs, count: 50, otherSubscriptions: 5000).run),
  ("qos1", Flow(shape: .pairs, count: 10, qos: 1).run),
  ("qos2", Flow(shape: .pairs, count: 10, qos: 2).run),
  ("payload-4k", Flow(shape: .pairs, count: 10, payloadBytes: 4096).run),
  ("pairs-tls", Flow(shape: .pairs, count: 50).run),
  ("payload-4k-tls", Flow(shape: .pairs, count: 10, payloadBytes: 4096).run),
  ("pairs-websocket", Flow(shape: .pairs, count: 50).run),
  ("payload-4k-websocket", Flow(shape: .pairs, count: 10, payloadBytes: 4096).run),
  ("telemetry", telemetry),
  ("closed-loop", closedLoop),
  ("storm", storm),
  ("retained", retained),
  ("idle", idle),
  ("idle-tls", idle),
  ("start", start),
]

func cbenchNow() -> UInt64 { cbench_now() }
func ownCPU() -> UInt64 { cbench_cpu(getpid()) }

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "list" {
  for scenario in scenarios { print(scenario.name) }
  exitNow(0)
}
guard let scenario = scenarios.first(where: { $0.name == arguments.first }) else { fail("no such scenario") }
let options = Options(arguments.dropFirst())
cbench_raise_descriptors()
if let carrier = Carrier(ofScenario: scenario.name), cbench_carry(carrier.number) != 0 { fail("no \(carrier)") }
if options.loadCPU >= 0 { cbench_pin(options.loadCPU) }
let broker = Broker(options.command, port: options.port, cpu: options.brokerCPU, log: options.log)
runningBroker = broker
print(scenario.run(broker, options).json)
broker.stop()

/// What one scenario found, as one line of JSON.
struct Result {
  private var fields: [String] = []
  private(set) var faults: [String] = []

  mutating func set(_ name: String, _ value: Double) {
    // Six digits behind the point: nothing here needs more.
    fields.append("\"\(name)\":\((value * 1e6).rounded() / 1e6)")
  }

  /// Bytes of anonymous memory that one of `count` things took.
  mutating func setGrowth(from before: (rss: Int, anonymous: Int), to after: (rss: Int, anonymous: Int), of count: Int)
  {
    set("bytes_each", Double(1024 * (after.anonymous - before.anonymous)) / Double(count))
  }

  mutating func fault(_ count: Int, _ what: String) {
    if count != 0 { faults.append("\(count) \(what)") }
  }

  /// What the clients have noticed.
  mutating func check(_ clients: [Client]) {
    fault(clients.reduce(0) { $0 + $1.missing }, "messages missing")
    fault(clients.reduce(0) { $0 + $1.repeated }, "messages repeated or out of order")
    fault(clients.reduce(0) { $0 + $1.strange }, "strange packets")
    fault(clients.count { !$0.isOpen }, "clients thrown out")
  }

  var json: String {
    "{" + (fields + ["\"faults\":[" + faults.map { "\"\($0)\"" }.joined(separator: ",") + "]"]).joined(separator: ",")
      + "}"
  }
}

/// Processor time and messages between two moments.
struct Measurement {
  private let broker: Broker
  private let began = cbenchNow()
  private let cpu: UInt64
  private let own = ownCPU()

  init(_ broker: Broker) {
    self.broker = broker
    cpu = broker.cpuNanoseconds
  }

  var nanoseconds: Double { Double(cbenchNow() - began) }

  var cpuNanoseconds: Double { Double(broker.cpuNanoseconds - cpu) }

  func write(_ count: Int, into result: inout Result) {
    let nanoseconds = self.nanoseconds
    let broker = cpuNanoseconds
    let count = Double(max(count, 1))
    result.set("cpu_us", broker / 1000 / count)
    result.set("per_second", count / nanoseconds * 1e9)
    result.set("broker_busy", broker / nanoseconds)
    result.set("load_cpu_us", Double(ownCPU() - own) / 1000 / count)
  }
}

import Bounded
import Foundation
import TaplineConfiguration
import Taps
import Testing

@testable import Tapline

@Suite("The plan, as it is printed")
struct PlanTests {
  static var plan: Plan {
    var reservation = Reservation.counting()
    _ = reservation.take(UInt64.self, count: 64, name: "connections")
    _ = reservation.take(UInt8.self, count: 1000, name: "blocks")
    return Plan(
      rows: reservation.rows, byteCount: reservation.byteCount, kernelSocketBytes: 1 << 20, threadStackBytes: 131_072)
  }

  @Test func theTotalIsTheSum() {
    let plan = Self.plan
    #expect(plan.rows.map(\.byteCount) == [512, 1024])
    #expect(plan.rows.map(\.byteCount).reduce(0, +) == plan.byteCount)
    #expect(plan.totalBytes == 1536 + (1 << 20) + 131_072)
  }

  @Test func table() {
    let budget = MemoryBudget(availableBytes: 1 << 30, controlGroupBytes: nil)
    #expect(
      string(Self.plan.table(budget).bytes) == """
        POOL                                  ENTRIES   BYTES EACH          BYTES
        connections                                64            8            512
        blocks                                   1000            1           1024
        the loop's memory                                                    1536  0.1 MiB
        threads' stacks                                                    131072  0.2 MiB
        kernel socket buffers, at most                                    1048576  1.0 MiB
        total                                                             1181184  1.2 MiB

        memory available (MemAvailable)                                1073741824  1024.0 MiB
        control group's limit                                                none
        fits

        """)
  }

  private static let board = """
    taps:
      persist: /x
      outputs: {relay: {pin: GPIO1}, lamp: {pin: GPIO2, stats: true}}
      inputs: {bell: {pin: GPIO3}}
      counters: {water: {pin: GPIO4}}
      sensors: {cpu: {thermal: cpu-thermal}}
    """

  /// One more tap takes about what the plan says of its kind; pools are rounded up to 64 bytes each.
  @Test func bytesOfATapAreWhatOneMoreTakes() throws {
    let plan = try Server.plan(readConfiguration(Self.board))
    #expect(plan.taps.map { string(Text($0.kind).bytes) } == ["output", "input", "counter", "sensor"])
    #expect(plan.taps.map(\.count) == [2, 1, 1, 1])
    #expect(
      plan.taps.map(\.kernelBytesEach) == [0, 3072, 49152, 0] || plan.taps.map(\.kernelBytesEach) == [0, 256, 256, 0])
    #expect(plan.kernelEdgeBytes == plan.taps[1].kernelBytesEach + plan.taps[2].kernelBytesEach)
    for (index, (before, after)) in [
      ("relay: {pin: GPIO1}", "relay: {pin: GPIO1}, fan__: {pin: GPIO11}"),
      ("bell: {pin: GPIO3}", "bell: {pin: GPIO3}, door: {pin: GPIO13}"),
      ("water: {pin: GPIO4}", "water: {pin: GPIO4}, steam: {pin: GPIO14}"),
      ("cpu: {thermal: cpu-thermal}", "cpu: {thermal: cpu-thermal}, gpu: {thermal: gpu-thermal}"),
    ].enumerated() {
      let more = try Server.plan(readConfiguration(Self.board.replacing(before, with: after)))
      let took = more.byteCount - plan.byteCount
      #expect(abs(took - plan.taps[index].bytesEach) <= 512, "\(after): \(took), \(plan.taps[index].bytesEach)")
      #expect(more.taps[index].count == plan.taps[index].count + 1)
    }
  }

  @Test func tapsArePrinted() throws {
    let plan = try Server.plan(readConfiguration(Self.board))
    let budget = MemoryBudget(availableBytes: nil, controlGroupBytes: nil)
    let table = string(plan.table(budget).bytes)
    #expect(table.contains("\nTAPS, IN THE POOLS                      COUNT   BYTES EACH    KERNEL EACH\noutput "))
    #expect(string(plan.tapsLine.bytes).hasPrefix("bytes a tap: output \(plan.taps[0].bytesEach), input "))
    #expect(string(Self.plan.tapsLine.bytes) == "")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(plan.json(budget).bytes)) as? [String: Any])
    let taps = try #require(object["taps"] as? [[String: Any]])
    #expect(taps.map { $0["kind"] as? String } == ["output", "input", "counter", "sensor"])
    #expect(taps.map { $0["bytes_each"] as? Int } == plan.taps.map(\.bytesEach))
    #expect(object["kernel_edge_bytes"] as? Int == plan.kernelEdgeBytes)
  }

  @Test func json() throws {
    let budget = MemoryBudget(availableBytes: 1 << 30, controlGroupBytes: nil)
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(Self.plan.json(budget).bytes)) as? [String: Any])
    #expect(object["total_bytes"] as? Int == Self.plan.totalBytes)
    #expect(object["loop_bytes"] as? Int == 1536)
    #expect(object["available_bytes"] as? Int == 1 << 30)
    #expect(object["cgroup_bytes"] is NSNull)
    #expect(object["fits"] as? Bool == true)
    let pools = try #require(object["pools"] as? [[String: Any]])
    #expect(pools.map { $0["name"] as? String } == ["connections", "blocks"])
    #expect(pools.map { $0["entries"] as? Int } == [64, 1000])
    #expect(pools.map { $0["bytes"] as? Int } == [512, 1024])
  }

  @Test func fits() {
    let total = Self.plan.totalBytes
    func fits(_ available: Int?, _ group: Int?) -> Bool {
      Self.plan.fits(MemoryBudget(availableBytes: available, controlGroupBytes: group))
    }
    #expect(fits(nil, nil))
    #expect(fits(total, total))
    #expect(!fits(total - 1, nil))
    #expect(!fits(nil, total - 1))
    #expect(
      string(Self.plan.table(MemoryBudget(availableBytes: 1, controlGroupBytes: nil)).bytes).hasSuffix("DOES NOT FIT\n")
    )
  }

  @Test func mebibytesAreRoundedUp() {
    func words(_ byteCount: Int) -> String {
      var text = Text()
      text.add(mebibytes: byteCount)
      return string(text.bytes)
    }
    #expect(words(0) == "0.0 MiB")
    #expect(words(1) == "0.1 MiB")
    #expect(words(1 << 20) == "1.0 MiB")
    #expect(words((1 << 20) + 1) == "1.1 MiB")
    #expect(words(.max).hasSuffix(" MiB"))
  }

  /// Each thread's stack is in the plan.
  @Test func stacksOfLevelLanes() throws {
    let without = Server.plan(try readConfiguration("")).threadStackBytes
    let two = try readConfiguration("taps:\n  leds: {a: {led: a}, b: {led: b}}")
    #expect(Server.plan(two).threadStackBytes == without + 2 * 64 * 1024)
  }

  /// What the daemon takes for the file is in the plan, and is enough for the longest names and numbers.
  @Test func thePlanHasTheFilesMemory() throws {
    let name = String(repeating: "%", count: 64)
    let yaml = """
      taps:
        persist: /x
        outputs: {'\(name)': {pin: GPIO1}, r: {pin: GPIO2}}
        counters: {'\(name.dropLast())g': {pin: GPIO3}}
        leds: {'\(name.dropLast())h': {led: x, initial: 100}}
      """
    let configuration = try readConfiguration(yaml)
    let settings = configuration.taps
    let plan = Server.plan(configuration)
    let row = try #require(plan.rows.first { Bytes($0.name) == Bytes("state file") })
    #expect(row.entryCount == SavedState.byteCountMax(settings))
    let without = try Server.plan(readConfiguration(yaml.replacing("persist: /x", with: "base: x")))
    // The loop's own, the reload's, and the LED's.
    #expect(without.threadStackBytes == Server.stackBytes + ReloadDesk.stackBytes + 64 * 1024)
    #expect(plan.threadStackBytes == without.threadStackBytes + 128 * 1024)
    #expect(without.byteCount < plan.byteCount)

    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.byteCount + 64, alignment: 64)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: memory)
    let table = TapTable(settings, in: &reservation)
    table.prepare(at: Instant(nanoseconds: 0))
    table.counters[0].restore(pulses: .max)
    for index in 0..<2 { table.outputs[index].restoreFigures(cycleCount: .max, onMilliseconds: .max / 1_000_000) }
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: row.entryCount - SavedState.unknownBytesMax, alignment: 1)
    defer { room.deallocate() }
    var writer = ByteWriter(room)
    writer.beginSavedState()
    table.writeSaved(into: &writer, at: Instant(nanoseconds: 0))
    writer.endSavedState()
    #expect(!writer.overflowed)
  }

  @Test func thePlanHasTheDiscoveryMessage() throws {
    func bytes(_ discovery: String) throws -> Int {
      let plan = Server.plan(
        try readConfiguration("taps: {\(discovery)outputs: {x: {pin: GPIO1}}}"))
      return plan.rows.filter { "\($0.name)" == "discovery: topic" }.count == 1 ? plan.byteCount : 0
    }
    #expect(try bytes("discovery: {home_assistant: }, ") > (try bytes("")))
  }
}

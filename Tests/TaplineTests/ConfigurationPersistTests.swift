import Bounded
import Taps
import Testing

@testable import Tapline

@Suite("`persist`")
struct ConfigurationPersistTests {
  static func taps(_ text: String) -> String { "taps:\n  \(text)" }

  @Test func aPathOrAMapping() throws {
    #expect(try readConfiguration("").taps.persist == nil)
    var expected = PersistSettings(file: [UInt8]("/var/lib/x".utf8))
    #expect(try readConfiguration(Self.taps("persist: /var/lib/x")).taps.persist == expected)
    #expect(try readConfiguration(Self.taps("persist: {file: /var/lib/x}")).taps.persist == expected)
    #expect(expected.intervalNanoseconds == 60_000_000_000)
    expected.intervalNanoseconds = 300_000_000_000
    #expect(try readConfiguration(Self.taps("persist: {file: /var/lib/x, interval: 5m}")).taps.persist == expected)
  }

  @Test func restoreNeedsAFile() throws {
    let outputs = "outputs: {relay: {pin: GPIO1, initial: restore}}"
    let good = try readConfiguration(Self.taps("persist: /x\n  \(outputs)"))
    #expect(good.taps.outputs[0].initial == .restore)
    // The order in the file does not matter.
    #expect(errorLines([UInt8](Self.taps("\(outputs)\n  persist: /x").utf8)) == [])
    #expect(
      errorLines([UInt8](Self.taps(outputs).utf8)) == [
        "t.yaml:2:42: 'initial: restore' needs a file to restore from; expected 'persist: /var/lib/tapline/taps' in 'taps'"
      ])
  }

  static let wrong = [
    WrongCase(taps("persist: taps"), "t.yaml:2:12: 'persist' is 'taps'; expected a path that begins with /"),
    WrongCase(taps("persist:"), "t.yaml:2:3: 'persist' has no value; expected a path that begins with /"),
    WrongCase(taps("persist: []"), "t.yaml:2:12: 'persist' is a list; expected a path that begins with /"),
    WrongCase(
      taps("persist: /var/lib/"),
      "t.yaml:2:12: a state file's name ends with '/'; expected a file such as /var/lib/tapline/taps"),
    WrongCase(
      taps("persist: {}"),
      "t.yaml:2:12: 'persist' without a 'file'; expected such as {file: /var/lib/tapline/taps, interval: 60s}"),
    WrongCase(
      taps("persist: {fiel: /x}"),
      "t.yaml:2:12: 'persist' without a 'file'; "
        + "expected such as {file: /var/lib/tapline/taps, interval: 60s}",
      "t.yaml:2:13: unknown key 'fiel' in 'persist'; expected file or interval; did you mean 'file'?"),
    WrongCase(
      taps("persist: {file: /x, interval: 100ms}"),
      "t.yaml:2:33: 'interval' is '100ms'; expected a time such as 500ms, 2s, 5m or 1h, from 1s to 1d"),
  ]

  @Test(arguments: wrong) func wrongOnesAreTold(wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
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
    #expect(without.threadStackBytes == Server.stackBytes + 64 * 1024)  // the loop's own, and the LED's
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
}

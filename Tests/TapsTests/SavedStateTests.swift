import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct SavedStateTests {
  private func settings(_ change: (inout TapSettings) -> Void = { _ in }) -> TapSettings {
    var settings = TapSettings(base: [UInt8]("b".utf8))
    var heater = OutputSettings(name: [UInt8]("heater".utf8), pin: LineAddress(line: [UInt8]("GPIO17".utf8)))
    heater.initial = .restore
    settings.outputs = [heater]
    settings.counters = [
      CounterSettings(name: [UInt8]("water meter %".utf8), pin: LineAddress(line: [UInt8]("GPIO16".utf8)))
    ]
    var strip = LevelSettings(name: [UInt8]("strip".utf8), target: .led(name: [1], trigger: []))
    strip.isRestored = true
    settings.levels = [strip]
    settings.savedEntries = [SavedEntry(name: [UInt8]("a/b c".utf8), value: [0, 1, 0x7F, 0x20])]
    change(&settings)
    return settings
  }

  private func file(_ table: TapTable, at now: Instant) -> [UInt8] {
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: SavedState.byteCountMax(table.settings), alignment: 1)
    defer { room.deallocate() }
    var writer = ByteWriter(room)
    writer.beginSavedState()
    table.writeSaved(into: &writer, at: now)
    for entry in table.settings.savedEntries { writer.write(entry) }
    writer.endSavedState()
    #expect(!writer.overflowed)
    return writer.written.array()
  }

  private func read(_ file: [UInt8]) -> SavedState? { withLent(file) { try? SavedState($0) } }
  private func withChecksum(_ text: String) -> [UInt8] {
    let body = [UInt8]("tapline-state 1\n\(text)".utf8)
    return withLent(body) { bytes in
      [UInt8](
        written(capacity: 4096) {
          $0.write(bytes)
          $0.endSavedState()
        }.utf8)
    }
  }

  /// Its check value.
  @Test func theChecksumIsTheUsualOne() {
    #expect(withLent("123456789") { SavedState.checksum($0) } == 0xCBF4_3926)
    #expect(withLent("") { SavedState.checksum($0) } == 0)
  }

  @Test func theFileIsPlainText() {
    let table = makeTable(settings(), at: Instant(nanoseconds: 0))
    table.counters[0].restore(pulses: 8_205_576)
    let text = "counter water%20meter%20%25 8205576\noutput heater off 0 0\nlevel strip 0\nentry a/b%20c %00%01%7f%20\n"
    #expect(file(table, at: Instant(nanoseconds: 0)) == withChecksum(text))
    let written = String(decoding: withChecksum("counter water 8205576\noutput heater on 12 3600000\n"), as: UTF8.self)
    #expect(written == "tapline-state 1\ncounter water 8205576\noutput heater on 12 3600000\ncrc32 3404a656\n")
  }

  @Test func whatWasWrittenIsRead() throws {
    let table = makeTable(settings(), at: Instant(nanoseconds: 0))
    table.counters[0].restore(pulses: .max)
    table.outputs[0].restoreFigures(cycleCount: .max, onMilliseconds: 3_600_000)
    table.outputs[0].restoreLevel(active: true)
    _ = table.requestLevel(output: 0, found: nil)
    _ = table.levels[0].written(1250, by: .empty, wallNanoseconds: 0)
    let saved = try #require(read(file(table, at: Instant(nanoseconds: 0))))
    let heater = SavedState.Line.Kind.output(isActive: true, cycleCount: .max, onMilliseconds: 3_600_000)
    #expect(
      saved.lines.dropLast() == [
        .init(kind: .counter(pulses: .max), name: [UInt8]("water meter %".utf8)),
        .init(kind: heater, name: [UInt8]("heater".utf8)), .init(kind: .level(1250), name: [UInt8]("strip".utf8)),
      ])
    #expect(saved.entries == settings().savedEntries)

    let next = makeTable(settings(), at: Instant(nanoseconds: 0))
    next.restore(saved)
    #expect(next.counters[0].pulses == .max)
    #expect(next.outputs[0].cycleCount == .max)
    #expect(next.requestLevel(output: 0, found: nil))
    #expect(next.levels[0].level == 1250)
    let other = makeTable(settings { $0.levels[0].isRestored = false }, at: Instant(nanoseconds: 0))
    other.restore(saved)
    #expect(other.levels[0].level == 0)
  }

  @Test func aFileCutAnywhereOrWithOneByteChangedIsDamaged() {
    let table = makeTable(settings(), at: Instant(nanoseconds: 0))
    table.counters[0].restore(pulses: 120)
    let good = file(table, at: Instant(nanoseconds: 0))
    #expect(read(good) != nil)
    for count in 0..<good.count { check(read([UInt8](good[..<count])) == nil, "cut to \(count) bytes") }
    for index in good.indices {
      for bit in 0..<8 {
        var bad = good
        bad[index] ^= 1 << UInt8(bit)
        check(read(bad) == nil, "bit \(bit) of byte \(index)")
      }
    }
    check(read(good + [10]) == nil, "a byte more")
    check(read(good + good) == nil, "twice")
  }

  /// With a right checksum, as somebody's hand may have made them.
  @Test(arguments: [
    "counter\n", "counter \n", "counter water\n", "counter water -1\n", "counter water 1 \n", "counter water 1 2\n",
    "counter water 18446744073709551616\n", "counter water 01\n", "counter wa%2 1\n", "counter wa%GG 1\n",
    "counter wa%2G 1\n", "counter  1\n", "output heater 1 2 3\n", "output heater on 2\n", "output heater on 2 3 4\n",
    "entry a\n", "entry a b c\n", "entry  b\n", "sensor a 1\n", "level a\n", "level a 10001\n", "level a on\n", "\n",
    " \n", "counter water 1", "counter wa\tter 1\n",
  ]) func aLineThatMeansNothingIsDamage(text: String) {
    #expect(read(withChecksum(text)) == nil)
  }

  @Test(arguments: ["", "counter water 0\n", "entry a \n", "output heater off 0 0\ncounter water 1\n"])
  func otherLinesAreRead(text: String) { #expect(read(withChecksum(text)) != nil) }

  @Test func anyBytesComeBack() throws {
    var random = SeededGenerator(seed: 2)
    for length in 1..<300 {
      let bytes = (0..<length).map { _ in UInt8(random.below(256)) }
      let entry = SavedEntry(name: bytes, value: bytes.reversed())
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
      defer { room.deallocate() }
      var writer = ByteWriter(room)
      writer.beginSavedState()
      writer.write(entry)
      writer.endSavedState()
      check(try SavedState(writer.written).entries == [entry], "\(bytes)")
    }
  }

  @Test func anotherVersionIsNotRead() {
    var file = withChecksum("")
    file[14] = UInt8(ascii: "2")
    #expect(throws: SavedStateDamage.self) { try withLent(file) { try SavedState($0) } }
  }

  @Test func randomBytesDoNoHarm() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<20_000 {
      var text = ""
      for _ in 0..<random.below(40) {
        text += ["counter ", "output ", "entry ", "on", " ", "%", "4", "9", "\n", "a", "%41"][random.below(11)]
      }
      _ = read(withChecksum(text))
    }
  }

  @Test func whatTheConfigurationDoesNotKnowIsKeptAsFarAsItFits() throws {
    var text = "counter old 7\ncounter water%20meter%20%25 1\noutput gone on 1 2\nentry a/b%20c x\nentry z y\n"
    var saved = try #require(read(withChecksum(text)))
    let (unknown, none) = saved.unknown(to: settings())
    #expect(none == 0)
    #expect(written { unknown.write(into: &$0) } == "counter old 7\noutput gone on 1 2\nentry z y\n")

    text = (0..<40).map { "entry \($0) \(String(repeating: "v", count: 200))\n" }.joined()
    let body = [UInt8]("tapline-state 1\n\(text)".utf8)
    saved = try #require(
      read(
        withLent(body) { body in
          [UInt8](
            written(capacity: 10_000) {
              $0.write(body)
              $0.endSavedState()
            }.utf8)
        }))
    let (some, droppedCount) = saved.unknown(to: settings())
    #expect(written(capacity: SavedState.unknownBytesMax) { some.write(into: &$0) } != "(does not fit)")
    #expect(some.lineCount > 10 && some.lineCount + droppedCount == 40)
    var fewer = some
    fewer.forget(entryNamed: [UInt8]("3".utf8))
    #expect(fewer.lineCount == some.lineCount - 1 && !fewer.entries.contains { $0.name == [UInt8]("3".utf8) })
  }

  // MARK: initial: restore

  private func restored(_ level: Bool?, _ change: (inout OutputSettings) -> Void = { _ in }) -> Bool {
    var output = OutputSettings(name: [UInt8]("heater".utf8), pin: LineAddress(line: [UInt8]("GPIO17".utf8)))
    output.initial = .restore
    change(&output)
    let table = board(outputs: [output])
    if let level { table.outputs[0].restoreLevel(active: level) }
    return table.requestLevel(output: 0, found: nil)
  }

  @Test func restoreBringsBackWhatWasCommanded() {
    #expect(restored(true))
    #expect(!restored(false))
    #expect(!restored(nil))
    #expect(!restored(true) { $0.initial = .off })
    #expect(restored(false) { $0.initial = .on })
  }

  /// A daemon that ends within a gate's pulse must not leave the gate's button pressed for ever.
  @Test func aTimedSetIsSavedAsWhatComesAfterIt() {
    let output = OutputSettings(name: [UInt8]("relay".utf8), pin: LineAddress(line: [UInt8]("GPIO17".utf8)))
    let world = OutputWorld([output])
    world.pulse("relay", "400")
    #expect(world.lines == [true] && !world.table.outputs[0].savedActive)
    world.set("relay", "ON")
    #expect(world.table.outputs[0].savedActive)
    world.set("relay", #"{"state":"OFF","for":"1s"}"#)
    #expect(world.lines == [false] && world.table.outputs[0].savedActive)
    world.set("relay", "OFF")
    #expect(!world.table.outputs[0].savedActive)
  }

  @Test func twoOfAGroupAreNotRestoredTogether() {
    var up = OutputSettings(name: [UInt8]("up".utf8), pin: LineAddress(line: [UInt8]("GPIO1".utf8)))
    up.initial = .restore
    up.group = 0
    var down = up
    down.name = [UInt8]("down".utf8)
    down.pin = LineAddress(line: [UInt8]("GPIO2".utf8))
    let world = OutputWorld([up, down], groups: [OutputGroupSettings(name: [UInt8]("g".utf8))], unopened: 0)
    world.table.outputs[0].restoreLevel(active: true)
    world.set("down", "ON")
    world.open(0)
    #expect(world.lines == [false, true])
  }
}

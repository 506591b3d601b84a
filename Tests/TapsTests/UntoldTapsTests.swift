import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite("What commanded taps have to tell once the broker is free")
struct UntoldTapsTests {
  let table: TapTable
  let now = Instant(nanoseconds: 0)

  init() {
    var settings = TapSettings(base: [UInt8]("b".utf8))
    settings.outputs = [output("relay"), output("pump", pin: "GPIO18")]
    settings.counters = [counter("water")]
    settings.levels = [LevelTests.settings("strip")]
    table = makeTable(settings, at: now)
    for index in 0..<2 { _ = table.lineHealed(output: index, active: false, at: now.moment) }
    _ = table.levels[0].written(0, by: .empty, wallNanoseconds: 0)
  }

  func set(_ output: Int, active: Bool, by: StaticString = "") {
    let set = LineSet(output: output, active: active, by: Bytes(by))
    table.tellLater(.output(output), table.lineSet(set, at: now.moment))
  }

  func fail(_ output: Int, _ reason: StaticString) {
    table.tellLater(.output(output), table.lineFailed(output: output, Bytes(reason), at: now.moment))
  }

  /// All that waits, as `topic=payload by`.
  func told() -> [String] {
    var told: [String] = []
    while let update = table.takeUntold() {
      let by = update.state.map { " \($0.by.text)" } ?? ""
      told += messages(update).map { $0 + by }
    }
    #expect(!table.hasUntold)
    return told
  }

  @Test func eachIsToldOnceAsItIsNow() {
    set(0, active: true, by: "first")
    set(1, active: true, by: "second")
    set(0, active: false, by: "third")
    #expect(table.hasUntold)
    #expect(told() == ["b/relay=OFF third", "b/pump=ON second"])
    #expect(told() == [])
  }

  /// A call of the broker may carry out a command and then find that the line is gone.
  @Test func aFaultHidesNoStateAndAStateHidesNoFault() {
    set(0, active: true, by: "me")
    fail(0, "gone")
    #expect(told() == ["b/relay/fault=gone me", "b/relay=ON me"])
    set(0, active: false, by: "me")  // clears the fault
    set(0, active: true, by: "you")
    #expect(told() == ["b/relay/fault= you", "b/relay=ON you"])
  }

  /// What was told is not told again with what comes later.
  @Test func whatWasTakenIsForgotten() {
    fail(0, "gone")
    #expect(told() == ["b/relay/fault=gone"])
    _ = table.lineHealed(output: 0, active: true, at: now.moment)  // told by its caller
    set(0, active: false, by: "me")
    #expect(told() == ["b/relay=OFF me"])
  }

  @Test func everyKindHasItsPlace() {
    withLent("12.5") { payload in
      let answer = table.counters[0].commandReceived(payload, wallNanoseconds: 0, by: Bytes("me"))
      guard case .set(let update) = answer else {
        Issue.record("refused")
        return
      }
      table.tellLater(.counter(0), update)
    }
    table.tellLater(.level(0), table.levels[0].written(3500, by: Bytes("you"), wallNanoseconds: 0))
    set(1, active: true, by: "us")
    let total = table.counters[0].valueText.text
    #expect(told() == ["b/water/total=\(total) me", "b/strip=35 you", "b/pump=ON us"])
    table.tellLater(.level(0), table.levels[0].failed(Bytes("gone"), at: now.moment))
    #expect(told() == ["b/strip/fault=gone"])
  }
}

import Bounded
import LinuxIO
import TaplineConfiguration
import Taps
import Testing

@testable import Tapline

@Suite("What `tapline safe` does")
struct SafeOutputsTests {
  private let chip = SimulatedChip()
  private func output(_ name: String, _ offset: Int, _ change: (inout OutputSettings) -> Void = { _ in })
    -> OutputSettings
  {
    var output = OutputSettings(
      name: [UInt8](name.utf8), pin: LineAddress(line: [UInt8]("GPIO\(offset)".utf8)))
    change(&output)
    return output
  }
  private func safe(_ outputs: [OutputSettings], patienceMilliseconds: Int64 = 0) -> SafeOutputs {
    SafeOutputs(outputs, lines: Lines(simulated: chip), patienceMilliseconds: patienceMilliseconds)
  }
  private func text(_ safe: SafeOutputs) -> [String] { string(safe.text.bytes).split(separator: "\n").map(String.init) }

  /// As a daemon that was killed leaves a line: driven, and nobody's.
  private func leave(_ offset: Int, high: Bool) throws {
    var settings = LineSettings(direction: .output)
    settings.initialActive = high
    try LineRequest.open(Lines(simulated: chip).find(.number(offset)), settings, consumer: Bytes("old")).close()
    #expect(chip.isHigh(offset) == high)
  }

  @Test func pain21EveryOutputIsDrivenToItsSafeLevel() throws {
    for offset in 0..<4 { try leave(offset, high: offset != 1) }
    let done = safe([
      output("heater", 0), output("valve", 1) { $0.isSafeActive = true },
      output("inverted", 2) { $0.active = .low },
      output("both", 3) {
        $0.active = .low
        $0.isSafeActive = true
      },
    ])
    #expect(done.isSafe)
    #expect(text(done) == ["heater: off", "valve: on", "inverted: off", "both: on"])
    #expect((0..<4).map { chip.isHigh($0) } == [false, true, true, false])
  }

  @Test func pain22AnOutputThatKeepsIsNotTouched() throws {
    for offset in 0..<2 { try leave(offset, high: true) }
    let done = safe([output("pump", 0) { $0.onExit = .keep }, output("lamp", 1) { $0.onExit = .release }])
    #expect(done.isSafe)
    #expect(text(done) == ["pump: left as it is (on_exit: keep)", "lamp: released (on_exit: release)"])
    #expect((0..<2).map { chip.isHigh($0) } == [true, false])
  }

  @Test func aLineThatIsHeldIsNamedAndTheOthersAreSafe() throws {
    for offset in 0..<3 { try leave(offset, high: true) }
    chip.hold(0, consumer: Bytes("tapline:heater"))
    chip.hold(1, consumer: Bytes("spi0 CS0"))
    let done = safe([output("heater", 0), output("cs", 1), output("lamp", 2), output("none", 99)])
    #expect(!done.isSafe)
    #expect(
      text(done) == [
        "heater: NOT SAFE: line GPIO0 busy: held by tapline:heater; is tapline running? stop it first",
        "cs: NOT SAFE: line GPIO1 busy: held by spi0 CS0 (dtparam=spi=on)", "lamp: off",
        "none: NOT SAFE: line GPIO99 not found; see tapline lines",
      ])
    #expect(!chip.isHigh(2))
    chip.unhold(0)
    #expect(safe([output("heater", 0)]).isSafe)
  }

  @Test func itIsPatient() {
    chip.hold(0, consumer: Bytes("old"))
    let before = Clock.now()
    #expect(!safe([output("heater", 0)], patienceMilliseconds: 200).isSafe)
    #expect(Clock.now().since(before) >= 200_000_000)
  }

  @Test func nothingToDoIsSafe() { #expect(safe([]).isSafe) }
}

import Bounded
import MQTTWire
import Taps
import Testing

/// `on_delay` and `off_delay`.
@Suite struct InputDelayTests {
  @Test func offDelayHoldsAMotionSensorOn() {
    var line = InputLine { $0.offDelayNanoseconds = 30_000_000_000 }
    line.edges(1000, 3000, 20_000, 22_000)
    line.wait(until: 51_999)
    #expect(line.takeTold() == ["1000 button=ON"])
    line.wait(until: 52_000)
    #expect(line.takeTold() == ["52000 button=OFF"])
  }

  @Test func onDelayIgnoresAShortOpening() {
    var line = InputLine { $0.onDelayNanoseconds = 5_000_000_000 }
    line.edges(1000, 5999, 10_000)
    line.wait(until: 20_000)
    #expect(line.takeTold() == ["15000 button=ON"])
    line.edges(20_001)
    #expect(line.takeTold() == ["20001 button=OFF"])
  }

  @Test func aFaultEndsADelay() {
    var line = InputLine { $0.offDelayNanoseconds = 30_000_000_000 }
    line.edges(1000, 2000)
    line.note(line.tap[0].lineFailed(Bytes("gone"), wallNanoseconds: 0))
    #expect(line.tap[0].nextDeadline == .never)
    _ = line.takeTold()
    line.note(
      line.tap[0].lineHealed(active: false, at: Moment(at: Instant(milliseconds: 5000), wallNanoseconds: 5_000_000_000))
    )
    #expect(line.takeTold() == ["5000 button/fault=", "5000 button=OFF"])
  }
}

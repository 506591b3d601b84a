import LinuxIO
import Testing

@testable import TaplineConfiguration

@Suite("`log`")
struct ConfigurationLogTests {
  private static let areas: [Log.Area] = [.server, .mqtt, .taps, .sensors, .state]

  @Test func noticeUnlessSaidOtherwise() throws {
    for yaml in ["", "log:", "log: {}"] {
      let log = try readConfiguration(yaml).log
      for area in Self.areas { #expect(log[area] == .notice) }
      #expect(log.linesPerSecond == 5 && log.burst == 100)
    }
  }

  @Test func aLevelForAllAndOthersForSome() throws {
    let log = try readConfiguration("log: {level: warning, mqtt: Info, sensors: debug, rate: 1000, burst: 1}").log
    #expect(Self.areas.map { log[$0] } == [.warning, .info, .warning, .debug, .warning])
    #expect(log.linesPerSecond == 1000 && log.burst == 1)
    let reversed = try readConfiguration("log: {state: error, level: debug}").log
    #expect(reversed[.state] == .error && reversed[.server] == .debug)
  }

  private static let words = "expected error, warning, notice, info or debug"
  static let wrong = [
    WrongCase(
      "log: debug",
      "t.yaml:1:6: 'log' is 'debug'; expected keys and values: level, server, mqtt, taps, sensors, state, rate or burst"
    ),
    WrongCase(
      "log: {mqqt: info}",
      "t.yaml:1:7: unknown key 'mqqt' in 'log'; expected level, server, mqtt, taps, sensors, state, rate or burst; "
        + "did you mean 'mqtt'?"),
    WrongCase("log: {level: inof}", "t.yaml:1:14: 'level' is 'inof'; \(words); did you mean 'info'?"),
    WrongCase("log: {taps: 7}", "t.yaml:1:13: 'taps' is '7'; \(words)"),
    WrongCase("log: {taps: }", "t.yaml:1:7: 'taps' has no value; \(words)"),
    WrongCase("log: {rate: 0}", "t.yaml:1:13: 'rate' is '0'; expected a number from 1 to 1000"),
    WrongCase("log: {burst: 10001}", "t.yaml:1:14: 'burst' is '10001'; expected a number from 1 to 10000"),
  ]

  @Test(arguments: wrong) func wrongOnesAreTold(wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}

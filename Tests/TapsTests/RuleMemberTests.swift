import Testing

@testable import Taps

/// Rules that compare a member of a JSON object, as the programs in houses send them.
@Suite struct RuleMemberTests {
  static let update = #""update":{"installed_version":-1,"latest_version":-1,"state":null}"#

  static let answers = [
    RuleTests.Answer(
      when: "z/m .occupancy == true",
      yes: [
        #"{"occupancy":true,"update":{}}"#, #"{"battery":100,"occupancy":true,\#(update)}"#,
        #"{\#(update),"occupancy":true}"#, #"{"occupancy":true,"name":"K\u00fcche"}"#,
        #"{"history":[{"occupancy":false}],"occupancy":true,"n":[]}"#, #"{"occupancy":false,"occupancy":true}"#,
      ],
      no: [
        #"{"occupancy":false,\#(update)}"#, "{\(update)}", #"{"update":{"occupancy":true}}"#, #"{"occupancy":"True"}"#,
        #"{"a":[{"occupancy":true}]}"#,
      ],
      notComparable: [
        #"{"occupancy":{}}"#, #"{"occupancy":[true]}"#, #"{"occupancy":true,"update":{}"#,
        #"{"occupancy":true,"name":"K\u00fche\x"}"#, #"{"occupancy":true}}"#,
        #"{"occupancy":true,"a":"# + String(repeating: "[", count: 16) + String(repeating: "]", count: 16) + "}",
      ]),
    // Tasmota, on tele/X/SENSOR.
    RuleTests.Answer(
      when: "t/SENSOR .DS18B20.Temperature > 2.5e1",
      yes: [#"{"Time":"2026-01-01T00:00:00","DS18B20":{"Id":"00000A","Temperature":25.4},"TempUnit":"C"}"#],
      no: [#"{"DS18B20":{"Temperature":24.9}}"#, #"{"DS18B20":{}}"#, #"{"DS18B20":null}"#, #"{"Temperature":30}"#],
      notComparable: [#"{"DS18B20":{"Temperature":null}}"#, #"{"DS18B20":{"Temperature":{"min":30}}}"#]),
    RuleTests.Answer(
      when: "z/m .update.state != idle", yes: [#"{"update":{"state":"available"}}"#, "{\(update)}"],
      no: [#"{"update":{"state":"idle"}}"#, #"{"update":{"state":"\u0069dle"}}"#, #"{"update":{}}"#, "{}"],
      notComparable: [#"{"update":{"state":{}}}"#]),
    RuleTests.Answer(
      when: "z/m .name == Küche 😀/\"",
      yes: [#"{"name":"K\u00fcche \ud83d\ude00\/\""}"#, #"{"n\u0061me":"Küche 😀/\""}"#],
      no: [#"{"name":"Kuche"}"#, #"{"name":"K\u00fcche \ud83d"}"#]),
    RuleTests.Answer(
      when: "z/m .n < 100", yes: [#"{"n":9.9e1}"#, #"{"n":"\u002e5"}"#, #"{"n":1e-400}"#, #"{"n":"5."}"#],
      no: [#"{"n":1E2}"#],
      notComparable: [#"{"n":1e400}"#, #"{"n":5.}"#, #"{"n":"1e"}"#, #"{"n":"\ud8001"}"#, #"{"n":true}"#]),
  ]

  @Test(arguments: answers) func aMemberIsCompared(_ row: RuleTests.Answer) {
    RuleTests().aPayloadIsCompared(row)
  }

  /// 1000 in all ways that plain payloads have it, and what is near.
  @Test func aNumberIsComparedHoweverItIsWritten() {
    RuleTests().aPayloadIsCompared(
      RuleTests.Answer(
        when: "a == 1e3", yes: ["1000", "1e3", "1E+3", "1000.", "+1000.0", ".1e4", "100000e-2", " 1e3\n"],
        no: ["1e2", "999.999", "1000.000000000001", "-1e3"], notComparable: ["1e", "1 e3", "1,000", "1_000", "0x3e8"]))
  }
}

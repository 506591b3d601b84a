import MQTTWire
import Taps
import Testing

@testable import TaplineConfiguration

/// An output, a gate, a button and `rules` under `taps:`; the first rule is in line 9.
private func rules(_ rules: String) -> String {
  """
  taps:
    base: b
    outputs:
      lamp: {pin: GPIO1}
      gate: {pin: GPIO2, pulse: 400ms}
    inputs:
      bell: {pin: GPIO3, events: {long: 1s}}
    rules:
  \(rules)
  """
}

/// `rule` as one rule's settings.
private func rule(_ rule: String) -> String { rules("    r: {\(rule)}") }

/// An input with this link, in line 6.
private func link(_ link: String, events: String = ", events: {long: 1s, multi: 300ms}") -> String {
  """
  taps:
    outputs:
      lamp: {pin: GPIO1}
      gate: {pin: GPIO2, pulse: 400ms}
    inputs:
      bell: {pin: GPIO3, link: {\(link)}\(events)}
  """
}

@Suite("Rules and links of a configuration")
struct ConfigurationRuleTests {
  @Test func rulesSayWhatIsMeant() throws {
    let taps = try readConfiguration(
      rules(
        """
            frost:
              when: b/air/temperature < 5.5
              hysteresis: 0.5
              for: 30s
              set: {lamp: on, gate: TOGGLE}
              pulse: {lamp: 2s}
              publish: {topic: alarm/frost, payload: "", qos: 2, retain: true}
            echo: {when: "+/in/#", publish: {topic: out}}
            ring: {when: b/bell/event .event_type == press_end, every: true, set: {lamp: off}}
        """)
    ).taps
    #expect(taps.rules.map { string($0.name) } == ["frost", "echo", "ring"])
    let frost = taps.rules[0]
    #expect(string(frost.when.filter) == "b/air/temperature")
    #expect(frost.when.comparison == .less)
    #expect(frost.when.number == PlainDecimal(mantissa: 55, places: 1))
    #expect(frost.hysteresis == PlainDecimal(mantissa: 5, places: 1))
    #expect(frost.forNanoseconds == 30_000_000_000)
    #expect(
      frost.actions == [
        .output(0, OutputCommand(.on)), .output(1, OutputCommand(.toggle)),
        .output(0, OutputCommand(.on, forNanoseconds: 2_000_000_000)),
      ])
    #expect(frost.message.map { string($0.topic) } == "alarm/frost")
    #expect(frost.message?.payload == [])
    #expect(frost.message?.qos == .exactlyOnce)
    #expect(frost.message?.retain == true)
    #expect(taps.rules[1].when.comparison == nil)
    #expect(taps.rules[1].message?.payload == nil)
    #expect(taps.rules[1].message?.qos == .atMostOnce)
    #expect(taps.rules[2].isEvery)
    #expect(string(taps.rules[2].when.member) == "event_type")
    #expect(taps.retainedSet == .strip)
    #expect(try readConfiguration("taps: {retained_set: reject}").taps.retainedSet == .reject)
  }

  @Test func membersArePathsAndNumbersMayHaveExponents() throws {
    let taps = try readConfiguration(
      rules(
        """
            far: {when: z/m > 1e3, hysteresis: 5e-1, publish: {topic: out}}
            near: {when: z/m < .5, publish: {topic: out}}
            update: {when: "z/m .update.state == available", publish: {topic: out}}
            cold: {when: t/SENSOR .DS18B20.Temperature < 5., publish: {topic: out}}
        """)
    ).taps
    #expect(
      taps.rules.map(\.when.number) == [
        PlainDecimal(mantissa: 1000, places: 0), PlainDecimal(mantissa: 5, places: 1), nil,
        PlainDecimal(mantissa: 5, places: 0),
      ])
    #expect(taps.rules[0].hysteresis == PlainDecimal(mantissa: 5, places: 1))
    #expect(taps.rules.map { string($0.when.member) } == ["", "", "update.state", "DS18B20.Temperature"])
  }

  @Test func linksAreRules() throws {
    let taps = try readConfiguration(
      link(
        "press: toggle lamp, long: [off lamp, pulse gate], on: pulse lamp 50ms, off: on lamp, multi_press_end: off lamp"
      )
    )
    .taps
    #expect(taps.rules.allSatisfy { $0.isLink && string($0.name) == "bell" })
    #expect(
      taps.rules.map { string($0.when.filter) + " " + string($0.when.value) } == [
        "tap/pi/bell ON", "tap/pi/bell OFF", "tap/pi/bell/event press_end", "tap/pi/bell/event long_press_start",
        "tap/pi/bell/event multi_press_end",
      ])
    #expect(taps.rules.map(\.isEvery) == [false, false, true, true, true])
    #expect(
      taps.rules.map(\.actions) == [
        [.output(0, OutputCommand(.on, forNanoseconds: 50_000_000))], [.output(0, OutputCommand(.on))],
        [.output(0, OutputCommand(.toggle))],
        [.output(0, OutputCommand(.off)), .output(1, OutputCommand(.on, forNanoseconds: 400_000_000))],
        [.output(0, OutputCommand(.off))],
      ])
  }

  /// PWM outputs and LEDs are commanded as outputs are, and take percentages besides.
  @Test func rulesAndLinksSpeakToLevels() throws {
    let taps = try readConfiguration(
      """
      taps:
        outputs: {lamp: {pin: GPIO1}}
        pwm: {fan: {chip: fe20c000.pwm}}
        leds: {act: {led: ACT}}
        inputs: {bell: {pin: GPIO3, events: {}, link: {press: [toggle act, pulse fan 2s]}}}
        rules:
          dim: {when: b/lux > 50, set: {act: 12.5, fan: ON, lamp: off}, pulse: {act: 300ms}}
      """
    ).taps
    #expect(
      taps.rules.map(\.actions) == [
        [.level(1, LevelCommand(.toggle)), .level(0, LevelCommand(.on, forNanoseconds: 2_000_000_000))],
        [
          .level(1, LevelCommand(.level(1250))), .level(0, LevelCommand(.on)), .output(0, OutputCommand(.off)),
          .level(1, LevelCommand(.on, forNanoseconds: 300_000_000)),
        ],
      ])
  }

  static let when =
    "expected a topic filter, and a comparison such as '< 5', '== ON' or '.event_type == press_end'"
  static let wrong = [
    WrongCase(
      "taps: {rules: [a]}",
      "t.yaml:1:15: 'rules' is a list; expected names of rules, such as 'frost: {when: ..., set: {heater: on}}'"),
    WrongCase(rules("    r:"), "t.yaml:9:5: 'r': a rule without 'when'"),
    WrongCase(
      rules("    r: on"),
      "t.yaml:9:8: a rule is 'on'; expected keys and values: when, every, for, hysteresis, set, pulse or publish"),
    WrongCase(rule("set: {lamp: on}"), "t.yaml:9:5: 'r': a rule without 'when'"),
    WrongCase(
      rule("wehn: a, when: a, set: {lamp: on}"),
      "t.yaml:9:9: unknown key 'wehn' in a rule; expected when, every, for, hysteresis, set, pulse or publish; did you "
        + "mean 'when'?"),
    WrongCase(rule("when: a < warm, set: {lamp: on}"), "t.yaml:9:15: 'when' is 'a < warm'; \(when)"),
    WrongCase(rule("when: a = 5, set: {lamp: on}"), "t.yaml:9:15: 'when' is 'a = 5'; \(when)"),
    WrongCase(rule("when: [a], set: {lamp: on}"), "t.yaml:9:15: 'when' is a list; \(when)"),
    WrongCase(rule("when: $SYS/x, set: {lamp: on}"), "t.yaml:9:15: 'when' is '$SYS/x'; \(when)"),
    WrongCase(rule("when: a"), "t.yaml:9:5: 'r': expected 'set', 'pulse' or 'publish'"),
    WrongCase(
      rule("when: a, set: {lmap: on}"),
      "t.yaml:9:24: there is no output 'lmap'; expected one under 'outputs', 'pwm' or 'leds' of 'taps'"),
    WrongCase(rule("when: a, set: {lamp: open}"), "t.yaml:9:24: 'lamp' is 'open'; expected on, off or toggle"),
    WrongCase(
      rule("when: a, set: lamp"),
      "t.yaml:9:23: 'set' is 'lamp'; expected outputs with on, off, toggle or a percentage, such as {heater: on, lamp: 35}"
    ),
    WrongCase(
      rule("when: a, pulse: {gate: 8d}"), "t.yaml:9:26: 'gate' is '8d'; expected a time such as 400ms, from 1ms to 7d"),
    WrongCase(
      rule("when: a, every: no, for: 1s, set: {lamp: on}"), "t.yaml:9:5: 'r': 'for' needs a comparison in 'when'"),
    WrongCase(
      rule("when: a == 1, every: on, for: 1s, set: {lamp: on}"), "t.yaml:9:5: 'r': either 'every' or 'for'"),
    WrongCase(
      rule("when: a == 1, hysteresis: 1, set: {lamp: on}"),
      "t.yaml:9:5: 'r': 'hysteresis' goes with <, <=, > and >= only"),
    WrongCase(
      rule("when: a == 1, for: 1s, publish: {topic: x}"),
      "t.yaml:9:5: 'r': with 'for' there is no message to take the payload from; give 'payload'"),
    WrongCase(
      rule("when: a, publish: {payload: x}"),
      "t.yaml:9:18: 'publish' without a 'topic'; expected such as {topic: home/alarm, payload: ON}"),
    WrongCase(
      rule("when: a, publish: {topic: a/+}"),
      "t.yaml:9:35: 'topic' is 'a/+'; expected a topic without + and # that does not start with $"),
    WrongCase(rule("when: a, publish: {topic: x, qos: 3}"), "t.yaml:9:43: 'qos' is '3'; expected a number from 0 to 2"),
    WrongCase(
      rule("when: a, publish: {topic: x, payload: [1]}"),
      "t.yaml:9:47: 'payload' is a list; expected text of up to 1024 bytes"),
    WrongCase(
      link("press: toggle lmap"),
      "t.yaml:6:38: there is no output 'lmap'; expected one under 'outputs', 'pwm' or 'leds' of 'taps'"),
    WrongCase(
      link("press: lamp"),
      "t.yaml:6:38: a link's action is 'lamp'; expected such as 'toggle heater', 'on heater', 'off heater' or 'pulse gate 400ms'"
    ),
    WrongCase(
      link("press: pulse gate 0ms"),
      "t.yaml:6:38: a link's action is 'pulse gate 0ms'; expected such as 'toggle heater', 'on heater', 'off heater' or "
        + "'pulse gate 400ms'"),
    WrongCase(
      link("press: pulse lamp"), "t.yaml:6:38: the output has no 'pulse'; expected such as 'pulse gate 400ms'"),
    WrongCase(
      link("press: toggle lamp", events: ""), "t.yaml:6:31: this is an event; the input has no 'events'"),
    WrongCase(
      link("long: off lamp", events: ", events: true"), "t.yaml:6:31: no press is long; give 'long' in 'events'"),
    WrongCase(
      link("multi_press_end: off lamp", events: ", events: true"),
      "t.yaml:6:31: presses are not counted; give 'multi' in 'events'"),
    WrongCase(
      link("on_press: on lamp"),
      "t.yaml:6:31: unknown key 'on_press' in a link; expected on, off, press, long, press_start, press_end, long_press_start, long_press_end or multi_press_end"
    ),
    WrongCase("taps: {retained_set: refuse}", "t.yaml:1:22: 'retained_set' is 'refuse'; expected strip or reject"),
    WrongCase(
      "limits: {taps: 4}\n" + rule("when: a, set: {lamp: on}"),
      "t.yaml:1:10: limits: taps is 4; expected at least 6: the configuration has as many; an output counts as two or three"
    ),
  ]

  @Test(arguments: wrong) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}

import Testing

@Suite("Wrong taps, their lines and their topics are told by line and column")
struct ConfigurationTapErrorTests {
  static let outputs = [
    WrongCase(
      output("pin: GPIO17, max_on: 4"),
      "t.yaml:3:34: 'max_on' is '4'; expected a time such as 500ms, 2s, 5m or 1h, from 0ms to 30d"),
    WrongCase(
      output("pin: GPIO17, pulse: 8d"),
      "t.yaml:3:33: 'pulse' is '8d'; expected a time such as 500ms, 2s, 5m or 1h, from 0ms to 7d"),
    WrongCase(
      output("pin: GPIO17, retrigger: extnd"),
      "t.yaml:3:37: 'retrigger' is 'extnd'; expected retrigger, ignore or extend; did you mean 'extend'?"),
    WrongCase(
      output("pin: GPIO17, on_exit: leave"), "t.yaml:3:35: 'on_exit' is 'leave'; expected safe, keep or release"),
    WrongCase(output("pin: GPIO17, safe: low"), "t.yaml:3:32: 'safe' is 'low'; expected off or on"),
    WrongCase(output("pin: GPIO17, stats: 1"), "t.yaml:3:33: 'stats' is '1'; expected true or false"),
    WrongCase(
      output("pin: GPIO17, min_on: 2s, max_on: 1s"), "t.yaml:3:5: 'relay': min_on must be at most max_on"),
    WrongCase(output("pin: GPIO17, pulse: 2s, max_on: 1s"), "t.yaml:3:5: 'relay': pulse must be at most max_on"),
    WrongCase(
      output("pin: GPIO17, group: shutter"),
      "t.yaml:3:33: there is no group 'shutter'; expected one under 'groups' of 'taps'"),
    WrongCase(
      output("pin: GPIO17, lease: thermostat"),
      "t.yaml:3:33: a lease is 'thermostat'; expected keys and values: client, grace, on_lost or keep_alive"),
    WrongCase(
      output("pin: GPIO17, lease: {grace: 1s}"),
      "t.yaml:3:33: a lease without 'client'; expected such as {client: thermostat, grace: 60s}"),
    WrongCase(
      output("pin: GPIO17, lease: {client: a, on_lost: keep}"),
      "t.yaml:3:54: 'on_lost' is 'keep'; expected off or on"),
    WrongCase(
      "taps: {on_exit: of, groups: {g: {mode: take, dead_time: 31d, interlock: none}}}",
      "t.yaml:1:17: 'on_exit' is 'of'; expected safe, keep or release",
      "t.yaml:1:40: 'mode' is 'take'; expected wait or refuse",
      "t.yaml:1:57: 'dead_time' is '31d'; expected a time such as 500ms, 2s, 5m or 1h, from 0ms to 30d",
      "t.yaml:1:73: 'interlock' is 'none'; expected exclusive"),
    WrongCase(
      "taps:\n  groups: {g: {}}\n  outputs:\n    a: {pin: GPIO1, group: g, safe: on}",
      "t.yaml:4:5: 'a': an output of a group must have safe: off"),
    WrongCase(
      "taps:\n  groups: {g: {}}\n  outputs:\n    a: {pin: GPIO1, group: g, initial: on}\n"
        + "    b: {pin: GPIO2, group: g, initial: on}",
      "t.yaml:2:12: 'g': one output of a group at most can have initial: on"),
    WrongCase(
      "limits: {taps: 3}\ntaps: {outputs: {a: {pin: GPIO1}, b: {pin: GPIO2}}}",
      "t.yaml:1:10: limits: taps is 3; expected at least 5: the configuration has as many; an output counts as two or three"
    ),
  ]

  static let lines = [
    WrongCase(output(""), "t.yaml:3:5: 'relay' has no 'pin'; expected a line such as 'pin: GPIO17'"),
    WrongCase(
      "taps:\n  outputs:\n    relay:", "t.yaml:3:5: 'relay' has no 'pin'; expected a line such as 'pin: GPIO17'"),
    WrongCase(
      "taps:\n  outputs:\n    relay: GPIO17",
      "t.yaml:3:12: an output is 'GPIO17'; expected keys and values"),
    WrongCase(
      "taps:\n  outputs: [relay]",
      "t.yaml:2:12: 'outputs' is a list; expected names of taps with their settings, such as 'relay: {pin: GPIO17}'"),
    WrongCase(
      output("pim: GPIO17"),
      "t.yaml:3:5: 'relay' has no 'pin'; expected a line such as 'pin: GPIO17'",
      "t.yaml:3:13: unknown key 'pim' in an output; did you mean 'pin'?"),
    WrongCase(
      output("pin: [GPIO17]"),
      "t.yaml:3:18: 'pin' is a list; expected a line such as GPIO17, {chip: LABEL, line: 17} or {header: 11}"),
    WrongCase(
      output("pin: {chip: pinctrl-rp1}"),
      "t.yaml:3:18: a pin without a 'line'; expected a line such as {chip: LABEL, line: 17} or {header: 11}"),
    WrongCase(
      output("pin: GPIO17, active: hihg"),
      "t.yaml:3:34: 'active' is 'hihg'; expected high or low; did you mean 'high'?"),
    WrongCase(
      output("pin: GPIO17, drive: open_drain"),
      "t.yaml:3:33: 'drive' is 'open_drain'; expected push-pull, open-drain or open-source; did you mean 'open-drain'?"),
    WrongCase(output("pin: GPIO17, initial: 2"), "t.yaml:3:35: 'initial' is '2'; expected off, on, keep or restore"),
    WrongCase(
      output("pin: GPIO17, bias: pull-up"),
      "t.yaml:3:26: unknown key 'bias' in an output"),
    WrongCase(
      input("pin: GPIO5, bias: pullup"),
      "t.yaml:3:30: 'bias' is 'pullup'; expected as-is, disabled, pull-up or pull-down; did you mean 'pull-up'?"),
    WrongCase(
      input("pin: GPIO5, debounce: 20"),
      "t.yaml:3:34: 'debounce' is '20'; expected a time such as 500ms, 2s, 5m or 1h, from 0ms to 10s"),
    WrongCase(
      input("pin: GPIO5, debounce: 11s"),
      "t.yaml:3:34: 'debounce' is '11s'; expected a time such as 500ms, 2s, 5m or 1h, from 0ms to 10s"),
    WrongCase(
      input("pin: {header: 11}"),
      "t.yaml:3:26: 'header' needs a board whose header is known; expected 'board: raspberry-pi-4' or another profile"),
    WrongCase(
      "board: raspberry-pi-4\n" + input("pin: {header: 41}"),
      "t.yaml:4:26: 'header' is '41'; expected a number from 1 to 40"),
    WrongCase(
      "board: raspberry-pi-4\n" + input("pin: {header: 6}"),
      "t.yaml:4:26: position 6 of the header is GND; expected the position of a line"),
    WrongCase(
      input("pin: {header: 11, line: 17}"), "t.yaml:3:17: a pin has either 'header' or 'chip' and 'line'"),
  ]

  static let inputs = [
    WrongCase(
      input("pin: GPIO1, debounce: {mode: leading}"), "t.yaml:3:34: a debounce without a 'time' such as 25ms"),
    WrongCase(
      input("pin: GPIO1, debounce: {time: 5ms, mode: lead}"),
      "t.yaml:3:52: 'mode' is 'lead'; expected settle or leading"),
    WrongCase(
      input("pin: GPIO1, events: {longer: 1s}"),
      "t.yaml:3:33: unknown key 'longer' in events; expected long or multi; did you mean 'long'?"),
  ]

  static let counters = [
    WrongCase(counter("edge: rising"), "t.yaml:3:5: 'gas' has no 'pin'; expected a line such as 'pin: GPIO17'"),
    WrongCase(
      counter("pin: GPIO1, edge: up"), "t.yaml:3:29: 'edge' is 'up'; expected rising, falling or both"),
    WrongCase(
      counter("pin: GPIO1, pulses_per_unit: 0"),
      "t.yaml:3:40: 'pulses_per_unit' is '0'; expected a number of more than 0 and less than 1000000, of at most 3 decimals"
    ),
    WrongCase(
      counter("pin: GPIO1, rate: {unit: L/d}"),
      "t.yaml:3:36: 'unit' is 'L/d'; expected a unit by time such as L/min: /s, /min or /h"),
    WrongCase(counter("pin: GPIO1, rate: {}"), "t.yaml:3:29: a rate without a 'unit' such as L/min"),
    WrongCase(
      "limits: {topic_bytes: 48}\ntaps:\n  base: home/cellar\n  counters:\n    meter_of_the_gas_in_the_cellar: {pin: GPIO1}",
      "t.yaml:5:5: the topic BASE/meter_of_the_gas_in_the_cellar/total/set has 52 bytes; limits.topic_bytes is 48"),
    WrongCase(
      "limits: {retained: 2}\ntaps: {counters: {a: {pin: GPIO1, rate: {unit: L/s}}}}",
      "t.yaml:1:10: limits: retained is 2; expected at least 3: one for each state of the configuration's taps, and the status"
    ),
  ]

  static let topics = [
    WrongCase(
      "taps: {base: home/+}", "t.yaml:1:14: base must be a topic: UTF-8, not empty, without + and #"),
    WrongCase("taps: {base: ''}", "t.yaml:1:14: 'base' is ''; expected a topic such as home/cellar"),
    WrongCase("taps: {base: /home}", "t.yaml:1:14: base must not start or end with /"),
    WrongCase("taps: {base: $SYS}", "t.yaml:1:14: base must not start with $, which is the broker's own"),
    WrongCase(
      "taps:\n  outputs:\n    a/b: {pin: GPIO1}",
      "t.yaml:3:5: 'a/b': a tap's name is one topic level: UTF-8, not empty, without / + #"),
    WrongCase(
      "taps:\n  outputs:\n    '': {pin: GPIO1}",
      "t.yaml:3:5: '': a tap's name is one topic level: UTF-8, not empty, without / + #"),
    WrongCase("taps:\n  outputs:\n    status: {pin: GPIO1}", "t.yaml:3:5: 'status': status is the board's own topic"),
    WrongCase(
      "taps:\n  outputs:\n    bell: {pin: GPIO1}\n  inputs:\n    bell: {pin: GPIO2}",
      "t.yaml:5:5: a second tap named 'bell'; the first is at line 3"),
    WrongCase(
      "limits: {topic_bytes: 48}\ntaps:\n  base: home/cellar-in-the-old-house-far-away\n  outputs:\n    relay: {pin: GPIO1}",
      "t.yaml:5:5: the topic BASE/relay/fault has 49 bytes; limits.topic_bytes is 48"),
    WrongCase(
      "limits: {topic_levels: 3}\ntaps:\n  base: home/cellar\n  outputs:\n    relay: {pin: GPIO1}",
      "t.yaml:5:5: the topic BASE/relay/fault has 4 levels; limits.topic_levels is 3"),
    WrongCase(
      "limits: {taps: 1}\ntaps: {outputs: {a: {pin: GPIO1}, b: {pin: GPIO2}}}",
      "t.yaml:1:10: limits: taps is 1; expected at least 5: the configuration has as many; an output counts as two or three"
    ),
    WrongCase(
      "limits: {retained: 2}\ntaps: {outputs: {a: {pin: GPIO1}, b: {pin: GPIO2}}}",
      "t.yaml:1:10: limits: retained is 2; expected at least 3: one for each state of the configuration's taps, and the status"
    ),
  ]

  @Test(arguments: [outputs, lines, inputs, counters, topics].flatMap { $0 }) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }

  @Test func aWrongPinHidesNothing() {
    let yaml = """
      taps:
        outputs:
          gate: {pin: {header: 2}, group: gates, max_on: long}
        inputs:
          bell: {bias: up}
        counters:
          water: {pin: [1], edge: down}
      """
    #expect(
      errorLines([UInt8](yaml.utf8)).map { String($0.prefix(12)) } == [
        "t.yaml:3:26:", "t.yaml:3:37:", "t.yaml:3:52:", "t.yaml:5:5: ", "t.yaml:5:18:", "t.yaml:7:18:", "t.yaml:7:29:",
      ])
  }
}

import Foundation
import TaplineConfiguration
import Testing

/// A wrong configuration and everything that is printed about it.
struct WrongCase: Sendable, CustomTestStringConvertible {
  let yaml: String
  let errors: [String]

  init(_ yaml: String, _ errors: String...) {
    self.yaml = yaml
    self.errors = errors
  }

  var testDescription: String { yaml.replacingOccurrences(of: "\n", with: "⏎") }
}

/// `yaml` as one tap's settings, in one line under `taps:`.
private func output(_ settings: String) -> String { "taps:\n  outputs:\n    relay: {\(settings)}" }
private func input(_ settings: String) -> String { "taps:\n  inputs:\n    bell: {\(settings)}" }
private func counter(_ settings: String) -> String { "taps:\n  counters:\n    gas: {\(settings)}" }
private func sensor(_ settings: String) -> String { "taps:\n  sensors:\n    air: {\(settings)}" }

@Suite("Wrong configurations are told by line and column")
struct ConfigurationErrorTests {
  static let keys = [
    WrongCase(
      "listners: []",
      "t.yaml:1:1: unknown key 'listners' in the configuration; expected listeners, board, limits, taps, log, sysfs_root or "
        + "simulation; did you mean 'listeners'?"),
    WrongCase(
      "# nothing like it\ncolour: red",
      "t.yaml:2:1: unknown key 'colour' in the configuration; expected listeners, board, limits, taps, log, sysfs_root or "
        + "simulation"),
    WrongCase(
      "- taps",
      "t.yaml:1:1: the configuration is a list; expected keys and values: listeners, board, limits, taps, log, sysfs_root or "
        + "simulation"),
    WrongCase("sysfs_root: sys", "t.yaml:1:13: 'sysfs_root' is 'sys'; expected a path that begins with /"),
    WrongCase("sysfs_root:", "t.yaml:1:1: 'sysfs_root' has no value; expected a path that begins with /"),
    WrongCase(
      "board: [simulated]", "t.yaml:1:8: 'board' is a list; expected a board profile's name such as raspberry-pi-4"),
  ]

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
      "t.yaml:3:33: a lease is 'thermostat'; expected keys and values: client, grace or on_lost"),
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
      "t.yaml:2:7: 2 taps with 5 topics for commands, two an output, with one for questions and 0 rules; limits.taps is 3"
    ),
  ]

  static let listeners = [
    WrongCase(
      "listeners: 1883",
      "t.yaml:1:12: 'listeners' is '1883'; expected a list of listeners such as '- {address: 127.0.0.1, port: 1883}'"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, prot: 1883}",
      "t.yaml:2:26: unknown key 'prot' in a listener; expected address, port, unix, mode, anonymous, framing, serial, baud, "
        + "parity or flow; did you mean 'port'?"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, port: 65536}",
      "t.yaml:2:32: 'port' is '65536'; expected a number from 1 to 65535"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, port: 99999999999999999999}",
      "t.yaml:2:32: 'port' is '99999999999999999999'; expected a number from 1 to 65535"),
    WrongCase(
      "listeners:\n  - {address: localhost}",
      "t.yaml:2:15: 'address' is 'localhost'; expected a numeric address such as 127.0.0.1, 0.0.0.0 or ::1"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.256}",
      "t.yaml:2:15: 'address' is '127.0.0.256'; expected a numeric address such as 127.0.0.1, 0.0.0.0 or ::1"),
    WrongCase(
      "listeners:\n  - {port: 1883}",
      "t.yaml:2:5: a listener without an address; expected 'address: 127.0.0.1', 'unix: /run/...' or 'serial: /dev/...'"
    ),
    WrongCase(
      "listeners:\n  - {address: 192.0.2.1}",
      "t.yaml:2:15: a listener on 192.0.2.1 lets everyone on the network in, as this version has no password files yet; "
        + "expected 'anonymous: true' beside it if that is wanted, or address 127.0.0.1"),
    WrongCase(
      "listeners:\n  - {address: '::'}",
      "t.yaml:2:15: a listener on :: lets everyone on the network in, as this version has no password files yet; "
        + "expected 'anonymous: true' beside it if that is wanted, or address 127.0.0.1"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, anonymous: no}",
      "t.yaml:2:37: 'anonymous: false' would let nobody in: this version has no password files yet; leave the listener out"
    ),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, anonymous: maybe}",
      "t.yaml:2:37: 'anonymous' is 'maybe'; expected true or false"),
    WrongCase(
      "listeners:\n  - {unix: mqtt.sock}",
      "t.yaml:2:12: 'unix' is 'mqtt.sock'; expected a path that begins with /, or @NAME, of at most 107 bytes"),
    WrongCase(
      "listeners:\n  - {unix: /run/mqtt.sock, port: 1883}",
      "t.yaml:2:34: 'port' does not go with 'unix'; a listener has either an address or a socket file"),
    WrongCase(
      "listeners:\n  - {unix: /run/mqtt.sock, mode: 668}",
      "t.yaml:2:34: 'mode' is '668'; expected permission bits such as 660"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, mode: 660}",
      "t.yaml:2:32: 'mode' goes with 'unix' only: it is the socket file's permissions"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, framing: resink}",
      "t.yaml:2:35: 'framing' is 'resink'; expected disconnect or resync; did you mean 'resync'?"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1}\n  - {address: 127.0.0.1, port: 1883}",
      "t.yaml:3:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0}\n  - {serial: /dev/ttyS0, baud: 9600}",
      "t.yaml:3:5: a second listener on the same address; the first is at line 2"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, baud: 115000}",
      "t.yaml:2:32: 'baud' is '115000'; expected a rate such as 9600, 57600 or 115200; did you mean '115200'?"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, parity: mark, flow: xon, framing: disconnect}",
      "t.yaml:2:34: 'parity' is 'mark'; expected none, even or odd",
      "t.yaml:2:46: 'flow' is 'xon'; expected none or rtscts",
      "t.yaml:2:60: 'framing' is 'disconnect'; expected resync"),
    WrongCase(
      "listeners:\n  - {serial: ttyS0}", "t.yaml:2:14: 'serial' is 'ttyS0'; expected a path that begins with /"),
    WrongCase(
      "listeners:\n  - {serial: /dev/ttyS0, port: 1883}",
      "t.yaml:2:32: 'port' does not go with 'serial'; a listener has an address, a socket file or a serial device"),
    WrongCase(
      "listeners:\n  - {address: 127.0.0.1, baud: 9600}",
      "t.yaml:2:32: 'baud' goes with 'serial' only: it is the line's"),
    WrongCase(
      "listeners:\n  - 1883",
      "t.yaml:2:5: a listener is '1883'; expected keys and values: address, port, unix, mode, anonymous, framing, serial, baud, "
        + "parity or flow",
      "t.yaml:2:5: a listener without an address; expected 'address: 127.0.0.1', 'unix: /run/...' or 'serial: /dev/...'"
    ),
  ]

  static let limits = [
    WrongCase(
      "limits: {conections: 10}", "t.yaml:1:10: unknown key 'conections' in limits; did you mean 'connections'?"),
    WrongCase(
      "limits: {inflight: 0}", "t.yaml:1:20: 'inflight' is '0'; expected a number from 1 to 65535"),
    WrongCase(
      "limits: {inflight: many}", "t.yaml:1:20: 'inflight' is 'many'; expected a number from 1 to 65535"),
    WrongCase(
      "limits: {inflight: -1}", "t.yaml:1:20: 'inflight' is '-1'; expected a number from 1 to 65535"),
    WrongCase(
      "limits: {packet_bytes: 64x}",
      "t.yaml:1:24: 'packet_bytes' is '64x'; expected bytes such as 4096, 64k or 1M, from 1024 to 134217728"),
    WrongCase(
      "limits: {connect_seconds: 500ms}",
      "t.yaml:1:27: 'connect_seconds' is '500ms'; expected seconds such as 10, 10s, 5m or 7d, from 1 to 3600"),
    WrongCase(
      "limits:\n  connections: 64\n  sessions: 32",
      "t.yaml:3:3: limits: sessions is 32; expected at least 64: as many as connections"),
    WrongCase(
      "limits:\n  connections: 8\n  pending_connections: 9",
      "t.yaml:3:3: limits: pending_connections is 9; expected at most 8: as many as connections"),
    WrongCase(
      "limits:\n  retained: 50\n  messages: 49",
      "t.yaml:3:3: limits: messages is 49; expected at least 50: as many as retained"),
  ]

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

  static let sensors = [
    WrongCase(
      sensor("interval: 1s"),
      "t.yaml:3:5: sensor 'air' has no source; expected one of hwmon, thermal, iio, w1, power_supply, file or simulated"
    ),
    WrongCase(
      sensor("hwmon: lm75, iio: bme280"),
      "t.yaml:3:5: sensor 'air' has several sources; expected one of hwmon, thermal, iio, w1, power_supply, file or simulated"
    ),
    WrongCase(
      sensor("hwmon: lm75"),
      "t.yaml:3:5: sensor 'air' has no 'channel'; expected a file of the device such as temp1_input"),
    WrongCase(
      sensor("iio: bme280, channel: a/b"), "t.yaml:3:33: 'channel' is 'a/b'; expected a file's name without /"),
    WrongCase(
      sensor("thermal: cpu-thermal, channel: temp"),
      "t.yaml:3:42: 'channel' goes with 'hwmon', 'iio' and 'power_supply' only"),
    WrongCase(sensor("file: reading"), "t.yaml:3:17: 'file' is 'reading'; expected a path that begins with /"),
    WrongCase(sensor("simulated: wavy"), "t.yaml:3:22: 'simulated' is 'wavy'; expected wave; did you mean 'wave'?"),
    WrongCase(
      sensor("file: /a, interval: 1ms"),
      "t.yaml:3:31: 'interval' is '1ms'; expected a time such as 500ms, 2s, 5m or 1h, from 10ms to 7d"),
    WrongCase(sensor("file: /a, digits: 10"), "t.yaml:3:29: 'digits' is '10'; expected a number from 0 to 9"),
    WrongCase(
      sensor("file: /a, scale: 1/1000"), "t.yaml:3:28: 'scale' is '1/1000'; expected a decimal number such as 0.001"),
    WrongCase(sensor("file: /a, scale: 0.0"), "t.yaml:3:28: 'scale' is '0.0'; expected a number other than 0"),
    WrongCase(sensor("file: /a, delta: -1"), "t.yaml:3:28: 'delta' is '-1'; expected a number of 0 or more"),
  ]

  static let values = [
    WrongCase(
      sensor("file: /a, valid: [1]"),
      "t.yaml:3:28: 'valid' is a list; expected a list of the lowest and the highest value such as [-30, 120]"),
    WrongCase(
      sensor("file: /a, valid: [5, 1]"),
      "t.yaml:3:28: 'valid' is a list; expected a list of the lowest and the highest value such as [-30, 120]"),
    WrongCase(
      sensor("file: /a, valid: 5"),
      "t.yaml:3:28: 'valid' is '5'; expected a list of the lowest and the highest value such as [-30, 120]"),
    WrongCase(
      sensor("file: /a, reject: [x]"),
      "t.yaml:3:29: 'reject' is a list; expected a list of at most 4 values such as [85.0, -127]"),
    WrongCase(
      sensor("file: /a, reject: [1, 2, 3, 4, 5]"),
      "t.yaml:3:29: 'reject' is a list; expected a list of at most 4 values such as [85.0, -127]"),
    WrongCase(
      sensor("file: /a, as: bool"), "t.yaml:3:25: 'as' is 'bool'; expected number or binary"),
    WrongCase(
      sensor("power_supply: ../BAT0, channel: capacity"),
      "t.yaml:3:25: 'power_supply' is '../BAT0'; expected a supply's name such as BAT0"),
    WrongCase(
      sensor("power_supply: BAT0"),
      "t.yaml:3:5: sensor 'air' has no 'channel'; expected a file of the device such as voltage_now"),
    WrongCase(
      sensor("w1: ../28-0"), "t.yaml:3:15: 'w1' is '../28-0'; expected a device's number such as 28-3c01d607a1b2"),
    WrongCase(
      sensor("thermal: a, channels: {b: {}}"), "t.yaml:3:33: 'channels' go with 'hwmon', 'iio' and 'power_supply' only"),
    WrongCase(
      sensor("iio: a, digits: 1, channels: {temperature: {}}"),
      "t.yaml:3:27: 'digits' goes into each of the 'channels'"),
    WrongCase(
      sensor("iio: a, channels: {co2: {digits: 0}}"),
      "t.yaml:3:30: sensor 'co2' has no 'channel'; expected a file of the device such as in_temp_input"),
    WrongCase(
      sensor("iio: bme280, channels: {temperatur: {}}"),
      "t.yaml:3:35: sensor 'temperatur' has no 'channel'; expected a file of the device such as in_temp_input; did you mean 'temperature'?"
    ),
    WrongCase(sensor("iio: a, channels: {}"), "t.yaml:3:29: 'channels' has no values"),
    WrongCase(
      input("pin: GPIO1, debounce: {mode: leading}"), "t.yaml:3:34: a debounce without a 'time' such as 25ms"),
    WrongCase(
      input("pin: GPIO1, debounce: {time: 5ms, mode: lead}"),
      "t.yaml:3:52: 'mode' is 'lead'; expected settle or leading"),
    WrongCase(
      input("pin: GPIO1, events: {longer: 1s}"),
      "t.yaml:3:33: unknown key 'longer' in events; expected long or multi; did you mean 'long'?"),
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
      "t.yaml:2:7: 2 values of 1 tap and the board's status are retained messages; limits.retained is 2"),
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
      "limits: {taps: 1}\ntaps: {outputs: {a: {pin: GPIO1}, b: {pin: GPIO2}}}", "t.yaml:2:7: 2 taps; limits.taps is 1"),
    WrongCase(
      "limits: {retained: 2}\ntaps: {outputs: {a: {pin: GPIO1}, b: {pin: GPIO2}}}",
      "t.yaml:2:7: 2 taps and the board's status are retained messages; limits.retained is 2"),
  ]

  static let twice = [
    WrongCase("taps: {}\ntaps: {}", "t.yaml:2:1: 'taps' is given twice; first at line 1, column 1"),
    WrongCase(
      output("pin: GPIO1, active: low, active: low"),
      "t.yaml:3:38: 'active' is given twice; first at line 3, column 25"),
    WrongCase(
      "taps:\n  outputs:\n    a: {pin: GPIO1}\n    a: {pin: GPIO2}",
      "t.yaml:4:5: 'a' is given twice; first at line 3, column 5"),
    WrongCase(
      "taps:\n  outputs:\n    a: {pin: GPIO17}\n  inputs:\n    b: {pin: 17}",
      "t.yaml:5:14: line 'GPIO17' is taken by 'a' at line 3"),
    WrongCase(
      "board: raspberry-pi-5\ntaps:\n  outputs:\n    a: {pin: {header: 11}}\n    b: {pin: {chip: pinctrl-rp1, line: 17}}",
      "t.yaml:5:14: line '17' is taken by 'a' at line 4"),
  ]

  static let boards = [
    WrongCase("simulation: {}", "t.yaml:1:1: 'simulation' without 'board: simulated'"),
    WrongCase("board: generic\nsimulation: {}", "t.yaml:2:1: 'simulation' goes with 'board: simulated' only"),
    WrongCase(
      "board: simulated\nsimulation: {presses: [{line: GPIO28}]}",
      "t.yaml:2:31: 'line' is 'GPIO28'; expected a simulated line, GPIO0 to GPIO27"),
    WrongCase(
      "board: simulated\nsimulation: {presses: [{every: 5s}]}",
      "t.yaml:2:24: a press without a 'line'; expected a simulated line such as GPIO27"),
    WrongCase(
      "board: simulated\nsimulation: {presses: [{line: GPIO27, every: 1s, for: 1s}]}",
      "t.yaml:2:24: a press is held for less time than from press to press"),
  ]

  /// What a configuration needs no part of YAML for.
  static let syntax = [
    WrongCase("taps: &a {}", "t.yaml:1:7: anchors (&name) are not supported; write the value where it is used"),
    WrongCase(
      "taps: *a", "t.yaml:1:7: aliases (*name) are not supported; write the value here (quote it if it begins with *)"),
    WrongCase("taps: !!map {}", "t.yaml:1:7: tags (!name) are not supported; values need no type"),
    WrongCase("taps: {<<: {}}", "t.yaml:1:8: merge keys (<<) are not supported"),
    WrongCase("{[a]: b}", "t.yaml:1:2: a key must be a word"),
    WrongCase("taps:\n\tbase: a", "t.yaml:2:1: not YAML: found character that cannot start any token"),
    WrongCase("taps: {base: a", "t.yaml:2:1: not YAML: did not find expected ',' or '}'"),
    WrongCase("taps: {}\n---\ntaps: {}", "t.yaml:2:1: not YAML: a second document"),
    WrongCase("taps: {base: 'é\u{1}'}", "t.yaml:1:16: not UTF-8 text"),
    WrongCase(
      String(repeating: "[", count: 17) + String(repeating: "]", count: 17),
      "t.yaml:1:17: nested deeper than 16 levels"),
  ]

  @Test(
    arguments: [keys, listeners, limits, outputs, lines, sensors, values, topics, twice, boards, syntax].flatMap { $0 })
  func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }

  /// One limit that others must follow, and all that is told; who writes the numbers that were told has no error left.
  @Test(arguments: [
    ("packet_bytes: 1048576", 3), ("connections: 2000\n  sessions: 1999", 1), ("blocks_kept_for_qos: 65536", 1),
    ("outbox_chunks_per_connection: 5000", 1), ("client_id_cells: 1048576", 1), ("topic_bytes: 65535", 1),
    ("packet_bytes: 1048576\n  partial_blocks: 5\n  blocks: 20\n  retained: 100\n  messages: 3", 5),
  ]) func theNumbersThatAreToldWouldDo(limits: String, count: Int) throws {
    let told = errorLines([UInt8]("limits:\n  \(limits)".utf8))
    #expect(told.count == count)
    var values: [String: String] = [:]
    for line in limits.split(separator: "\n") {
      let pair = line.split(separator: ":")
      values[pair[0].trimmingCharacters(in: .whitespaces)] = String(pair[1])
    }
    for line in told {
      let pattern = #/limits: (\w+) is \d+; expected at (?:least|most) (\d+): /#
      let found = try #require(try pattern.firstMatch(in: line))
      values[String(found.1)] = String(found.2)
    }
    let mended = values.map { "\n  \($0.key): \($0.value)" }.joined()
    #expect(errorLines([UInt8]("limits:\(mended)".utf8)) == [])
  }

  /// What a limit asks of others that the file does not name is told where that limit stands.
  @Test func demandsAreToldAtTheirCause() {
    let told = errorLines([UInt8]("limits:\n  connections: 20\n  packet_bytes: 1M".utf8))
    #expect(!told.isEmpty && told.allSatisfy { $0.hasPrefix("t.yaml:3:3: limits: ") })
  }

  @Test func unknownBoardSaysWhereItLooked() {
    let directory = string(profiles.list[0])
    #expect(
      errorLines([UInt8]("board: raspbery-pi-4".utf8)) == [
        "t.yaml:1:8: no board profile 'raspbery-pi-4' in \(directory); did you mean 'raspberry-pi-4'?"
      ])
    // A name is not a path.
    #expect(errorLines([UInt8]("board: ../../etc/passwd".utf8)).count == 1)
  }

  @Test func allErrorsAreToldInTheOrderOfTheFile() {
    let yaml = "taps: {base: '#'}\nlimits: {inflight: 0}\nlisteners: [{adress: a, address: 127.0.0.1}]\nbord: x\n"
    let places = errorLines([UInt8](yaml.utf8)).map { $0.split(separator: " ")[0] }
    #expect(places == ["t.yaml:1:14:", "t.yaml:2:20:", "t.yaml:3:14:", "t.yaml:4:1:"])
  }

  @Test func atMostTwentyErrorsAreTold() {
    let yaml = (1...50).map { "key\($0): 1\n" }.joined()
    let told = errorLines([UInt8](yaml.utf8))
    #expect(told.count == 21)
    #expect(told.last == "t.yaml: and 30 more errors")
  }

  @Test func aFileThatIsNotTextIsRefused() {
    #expect(errorLines([0x61, 0x3A, 0x0A, 0x20, 0xFF]) == ["t.yaml:2:2: not UTF-8 text"])
    #expect(errorLines([0xC3]) == ["t.yaml:1:1: not UTF-8 text"])
    #expect(errorLines([UInt8](repeating: 0x20, count: (1 << 20) + 1)) == ["t.yaml: the file is larger than 1 MiB"])
    #expect(
      errorLines([UInt8](("[" + String(repeating: "a,", count: 20_000) + "]").utf8)) == [
        "t.yaml:1:32768: too many values in one file"
      ])
  }

  @Test func aFileThatCannotBeReadIsNamed() {
    do throws(ConfigurationErrors) {
      _ = try Configuration(file: [UInt8]("/nonexistent/t.yaml".utf8))
      Issue.record("it was read")
    } catch {
      #expect(told(error) == ["/nonexistent/t.yaml: cannot be read: No such file or directory"])
    }
  }

  private func told(_ errors: ConfigurationErrors) -> [String] {
    String(decoding: errors.text.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  /// No prefix of a good file and no change of one byte traps, and each is either taken or told about.
  @Test func damagedFilesNeverTrap() throws {
    let whole = [UInt8](try Data(contentsOf: repository.appendingPathComponent("board/simulated.yaml")))
    for length in 0..<whole.count { _ = errorLines([UInt8](whole[..<length])) }
    var seed: UInt64 = 7
    for _ in 0..<1000 {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      var damaged = whole
      damaged[Int(seed >> 33) % whole.count] = UInt8(truncatingIfNeeded: seed >> 25)
      _ = errorLines(damaged)
    }
  }
}

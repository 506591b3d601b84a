import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import TLS
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("Right configurations say what is meant")
struct ConfigurationTests {
  @Test func anEmptyFileIsABrokerOnThisMachineOnly() throws {
    for yaml in ["", "# nothing\n", "taps:\nlisteners:\nlimits:\n", "{}", "listeners: []"] {
      let configuration = try readConfiguration(yaml)
      #expect(configuration.listeners.count == 1)
      #expect(configuration.listeners[0].endpoint == .tcp(address: [UInt8]("127.0.0.1".utf8), port: 1883))
      #expect(configuration.listeners[0].isAnonymousAllowed)
      #expect(configuration.listeners[0].framerPolicy == .disconnect)
      #expect(configuration.board == nil)
      #expect(string(configuration.taps.base) == "tap/pi")
      #expect(string(configuration.sysfsRoot) == "/sys")
      #expect(
        configuration.counts
          == Configuration.Counts(listeners: 1, outputs: 0, inputs: 0, counters: 0, sensors: 0, levels: 0))
    }
  }

  @Test func listeners() throws {
    let listeners = try readConfiguration(
      """
      listeners:
        - {address: 127.0.0.1}
        - {address: "::1", port: 65535, framing: resync}
        - {address: 0.0.0.0, port: 1884, anonymous: true}
        - {unix: /run/tapline/mqtt.sock}
        - {unix: /run/other.sock, mode: 0600}
        - {unix: "@tapline"}
        - {serial: /dev/serial0}
        - {serial: /dev/ttyUSB0, baud: 9600, parity: even, flow: rtscts, framing: resync}
      """
    ).listeners
    #expect(
      listeners.map(\.endpoint) == [
        .tcp(address: [UInt8]("127.0.0.1".utf8), port: 1883),
        .tcp(address: [UInt8]("::1".utf8), port: 65_535),
        .tcp(address: [UInt8]("0.0.0.0".utf8), port: 1884),
        .unix(path: [UInt8]("/run/tapline/mqtt.sock".utf8), mode: 0o660),
        .unix(path: [UInt8]("/run/other.sock".utf8), mode: 0o600),
        .unix(path: [UInt8]("@tapline".utf8), mode: 0o660),
        .serial(path: [UInt8]("/dev/serial0".utf8), SerialSettings()),
        .serial(path: [UInt8]("/dev/ttyUSB0".utf8), SerialSettings(baud: 9600, parity: .even, flow: .rtscts)),
      ])
    #expect(
      listeners.map(\.framerPolicy) == [
        .disconnect, .resync, .disconnect, .disconnect, .disconnect, .disconnect, .resync, .resync,
      ])
  }

  @Test func layers() throws {
    let layers = try readConfiguration(
      """
      listeners:
        - {address: 127.0.0.1}
        - {address: 127.0.0.1, port: 9001, protocols: [mqtt, websocket]}
        - {address: 127.0.0.1, port: 9002, protocols: [websocket], path: /, origins: ["https://ha.example", "http://b:80"]}
        - {address: 127.0.0.1, port: 9003, protocols: [websocket], origins: ["*"], proxies: [10.0.0.0/8, "::1"]}
        - {address: 127.0.0.1, port: 9004, protocols: [mqtt], proxies: [127.0.0.1], proxy_protocol: true}
        - {unix: /run/mqtt.sock, proxy_protocol: true}
      """
    ).listeners.map(\.layers)
    #expect(layers.map(\.isNone) == [true, false, false, false, false, false])
    #expect(layers.map(\.protocols) == [.mqtt, [.mqtt, .webSocket], .webSocket, .webSocket, .mqtt, .mqtt])
    #expect(layers.map { string($0.path) } == ["/mqtt", "/mqtt", "/", "/mqtt", "/mqtt", "/mqtt"])
    #expect(layers.map { string($0.origins) } == ["", "", "https://ha.example http://b:80", "*", "", ""])
    #expect(layers.map { $0.proxies.map(\.prefixBitCount) } == [[], [], [], [8, 128], [32], []])
    #expect(layers.map(\.hasProxyHeader) == [false, false, false, false, true, true])
  }

  @Test func tls() throws {
    let layers = try readConfiguration(
      """
      listeners:
        - {address: 127.0.0.1}
        - {address: 127.0.0.1, port: 8883, tls: {certificate: /c, key: /k}}
        - address: 0.0.0.0
          port: 8884
          tls: {certificate: /c, key: /k, ca: /a, crl: /r, client_certificate: required, identity: san, minimum: "1.3"}
      """
    ).listeners.map(\.layers)
    #expect(layers.map(\.isNone) == [true, false, false])
    let plain = try #require(layers[1].tls)
    #expect(string(plain.certificate) == "/c" && string(plain.key) == "/k" && plain.ca == nil && plain.crl == nil)
    #expect(plain.clientCertificate == .none && plain.identity == .commonName && plain.minimum == .tls12)
    let mutual = try #require(layers[2].tls)
    #expect(mutual.ca.map(string) == "/a" && mutual.crl.map(string) == "/r")
    #expect(mutual.clientCertificate == .required && mutual.identity == .dnsName && mutual.minimum == .tls13)
  }

  @Test func outputs() throws {
    let outputs = try readConfiguration(
      """
      taps:
        base: home/cellar
        outputs:
          a: {pin: GPIO17}
          b: {pin: 22, active: low, drive: open-drain, initial: ON}
          c: {pin: {chip: pinctrl-rp1, line: 4}, drive: open-source, initial: off}
          d: {pin: {line: RELAY}}
      """
    ).taps.outputs
    #expect(outputs.map { string($0.name) } == ["a", "b", "c", "d"])
    #expect(outputs.map { string($0.pin.line) } == ["GPIO17", "GPIO22", "4", "RELAY"])
    #expect(outputs.map { string($0.pin.chip) } == ["", "", "pinctrl-rp1", ""])
    #expect(outputs.map(\.active) == [.high, .low, .high, .high])
    #expect(outputs.map(\.drive) == [.pushPull, .openDrain, .openSource, .pushPull])
    #expect(outputs.map(\.initial) == [.off, .on, .off, .off])
    // What is not written is none, and safe.
    #expect(outputs.allSatisfy { $0.pulseNanoseconds == 0 && $0.maxOnNanoseconds == 0 && $0.minOnNanoseconds == 0 })
    #expect(outputs.allSatisfy { $0.minOffNanoseconds == 0 && $0.retrigger == .retrigger && !$0.hasStats })
    #expect(outputs.allSatisfy { !$0.isSafeActive && $0.onExit == .safe && $0.group == nil && $0.lease == nil })
  }

  @Test func timesGroupsAndLeasesOfOutputs() throws {
    let taps = try readConfiguration(
      """
      taps:
        on_exit: keep
        outputs:
          heater:
            pin: GPIO17
            initial: on
            max_on: 4h
            min_on: 1m
            min_off: 3m
            safe: ON
            on_exit: safe
            lease: {client: thermostat, grace: 20s, on_lost: on, keep_alive: 15s}
            stats: yes
          up: {pin: GPIO22, group: shutter, lease: {client: c}}
          down: {pin: GPIO23, group: shutter, initial: keep, on_exit: release}
          gate: {pin: GPIO24, pulse: 400ms, retrigger: ignore, group: gates}
          door: {pin: GPIO25, pulse: 7d, retrigger: extend}
        groups:
          gates: {mode: refuse}
          shutter: {interlock: exclusive, dead_time: 500ms}
      """
    ).taps
    let outputs = taps.outputs
    #expect(outputs.map(\.initial) == [.on, .off, .keep, .off, .off])
    #expect(outputs[0].maxOnNanoseconds == 14_400_000_000_000)
    #expect(outputs[0].minOnNanoseconds == 60_000_000_000)
    #expect(outputs[0].minOffNanoseconds == 180_000_000_000)
    #expect(outputs.map(\.isSafeActive) == [true, false, false, false, false])
    #expect(outputs.map(\.onExit) == [.safe, .keep, .release, .keep, .keep])
    #expect(outputs.map(\.hasStats) == [true, false, false, false, false])
    #expect(outputs.map(\.group) == [nil, 1, 1, 0, nil])
    #expect(outputs.map { $0.lease.map { string($0.client) } } == ["thermostat", "c", nil, nil, nil])
    #expect(outputs.map { $0.lease?.graceNanoseconds } == [20_000_000_000, 60_000_000_000, nil, nil, nil])
    #expect(outputs.map { $0.lease?.keepAliveSecondsMax } == [15, 60, nil, nil, nil])
    #expect(outputs.map { $0.lease?.isActiveWhenLost } == [true, false, nil, nil, nil])
    #expect(outputs.map(\.pulseNanoseconds) == [0, 0, 0, 400_000_000, 604_800_000_000_000])
    #expect(outputs.map(\.retrigger) == [.retrigger, .retrigger, .retrigger, .ignore, .extend])
    #expect(taps.groups.map { string($0.name) } == ["gates", "shutter"])
    #expect(taps.groups.map(\.deadTimeNanoseconds) == [0, 500_000_000])
    #expect(taps.groups.map(\.mode) == [.refuse, .wait])
  }

  @Test func inputs() throws {
    let inputs = try readConfiguration(
      """
      board: raspberry-pi-4
      taps:
        inputs:
          a: {pin: {header: 13}}
          b: {pin: GPIO5, bias: pull-up, active: low, debounce: 20ms}
          c: {pin: GPIO6, bias: disabled, debounce: 10s}
          d: {pin: GPIO7, bias: pull-down, debounce: 0}
          e: {pin: GPIO8, debounce: {time: 25ms, mode: leading}, events: {long: 800ms, multi: 300ms}}
          f: {pin: GPIO9, debounce: {time: 5ms}, on_delay: 1s, off_delay: 30s, events: true}
          g: {pin: GPIO10, events: false}
      """
    ).taps.inputs
    #expect(
      inputs.map { string($0.pin.line) } == ["GPIO27", "GPIO5", "GPIO6", "GPIO7", "GPIO8", "GPIO9", "GPIO10"])
    #expect(inputs.map(\.bias) == [.asIs, .pullUp, .disabled, .pullDown, .asIs, .asIs, .asIs])
    #expect(inputs.map(\.active) == [.high, .low, .high, .high, .high, .high, .high])
    #expect(inputs.map(\.debounceMicroseconds) == [0, 20_000, 10_000_000, 0, 25_000, 5000, 0])
    #expect(
      inputs.map(\.debounceMode) == [.settle, .settle, .settle, .settle, .leading, .settle, .settle])
    #expect(inputs.map { $0.onDelayNanoseconds / 1_000_000 } == [0, 0, 0, 0, 0, 1000, 0])
    #expect(inputs.map { $0.offDelayNanoseconds / 1_000_000 } == [0, 0, 0, 0, 0, 30_000, 0])
    #expect(inputs.map { $0.events.map { $0.longNanoseconds / 1_000_000 } } == [nil, nil, nil, nil, 800, 0, nil])
    #expect(inputs.map { $0.events.map { $0.multiNanoseconds / 1_000_000 } } == [nil, nil, nil, nil, 300, 0, nil])
  }

  @Test func counters() throws {
    let counters = try readConfiguration(
      """
      taps:
        counters:
          gas: {pin: GPIO5}
          water:
            pin: GPIO16
            bias: pull-up
            edge: falling
            glitch: 3ms
            pulses_per_unit: 450
            unit: L
            rate: {unit: L/min, timeout: 20s}
            publish: {delta: 0.1, throttle: 5s}
          power: {pin: GPIO6, edge: both, digits: 1, rate: {unit: kWh/h, digits: 0}, publish: {throttle: 0}}
      """
    ).taps.counters
    #expect(counters.map { string($0.name) } == ["gas", "water", "power"])
    #expect(counters.map { string($0.pin.line) } == ["GPIO5", "GPIO16", "GPIO6"])
    #expect(counters.map(\.bias) == [.asIs, .pullUp, .asIs])
    #expect(counters.map(\.edge) == [.rising, .falling, .both])
    #expect(counters.map(\.glitchNanoseconds) == [0, 3_000_000, 0])
    #expect(counters.map(\.pulsesPerUnit.mantissa) == [1, 450, 1])
    #expect(counters.map { string($0.unit) } == ["", "L", ""])
    #expect(counters.map(\.digits) == [nil, nil, 1])
    #expect(counters.map { $0.rate?.period } == [nil, .minute, .hour])
    #expect(counters.map { $0.rate?.digits } == [nil, 2, 0])
    #expect(counters.map { $0.rate?.timeoutNanoseconds } == [nil, 20_000_000_000, 10_000_000_000])
    #expect(counters.map(\.delta) == [.zero, PlainDecimal(mantissa: 1, places: 1), .zero])
    #expect(counters.map(\.throttleNanoseconds) == [1_000_000_000, 5_000_000_000, 0])
  }

  @Test func sensors() throws {
    let sensors = try readConfiguration(
      """
      taps:
        sensors:
          a: {hwmon: lm75, channel: temp1_input, interval: 500ms, digits: 2}
          b: {thermal: cpu-thermal}
          c: {iio: bme280@76, channel: in_temp_input, interval: 1h, delta: 0.5, refresh: 5m}
          d: {file: /sys/bus/w1/devices/28-0/temperature, scale: 0.001, offset: -500}
          e: {simulated: wave, interval: 1s}
      """
    ).taps.sensors
    let sources = sensors.map { sensor in
      switch sensor.source {
      case .device(let kind, let name, let channel): "\(kind.key) \(string(name)) \(string(channel))"
      case .file(let path): "file \(string(path))"
      case .simulatedWave: "wave"
      }
    }
    #expect(
      sources == [
        "hwmon lm75 temp1_input", "thermal cpu-thermal ", "iio bme280@76 in_temp_input",
        "file /sys/bus/w1/devices/28-0/temperature", "wave",
      ])
    #expect(sensors.map { $0.intervalNanoseconds / 1_000_000 } == [500, 10_000, 3_600_000, 10_000, 1000])
    #expect(sensors.map(\.digits) == [2, nil, nil, nil, nil])
    #expect(sensors.map { $0.scale?.places } == [nil, nil, nil, 3, nil])
    #expect(sensors[3].scale == PlainDecimal(mantissa: 1, places: 3))
    #expect(sensors[3].offset == PlainDecimal(mantissa: -500, places: 0))
    #expect(sensors[2].delta == PlainDecimal(mantissa: 5, places: 1))
    #expect(sensors[2].refreshNanoseconds == 300_000_000_000)
  }

  @Test func whatASensorMayNotSay() throws {
    let sensors = try readConfiguration(
      """
      taps:
        sensors:
          a: {w1: 28-3c01d607a1b2, valid: [-30, 120.5], reject: [85.0, -127], stale_after: 1m}
          b: {w1: 28-0, reject: [], stale_after: 0}
          c: {hwmon: rpi_volt, channel: in0_lcrit_alarm, as: binary}
          d: {thermal: cpu-thermal, as: number}
      """
    ).taps.sensors
    #expect(
      sensors[0].valid
        == SensorRange(lowest: PlainDecimal(mantissa: -30, places: 0), highest: PlainDecimal(mantissa: 1205, places: 1))
    )
    #expect(sensors[0].reject == [PlainDecimal(mantissa: 85, places: 0), PlainDecimal(mantissa: -127, places: 0)])
    #expect(sensors.map { $0.staleNanoseconds } == [60_000_000_000, 0, nil, nil])
    #expect(sensors.map { $0.reject?.count } == [2, 0, nil, nil])
    #expect(sensors.map(\.isBinary) == [false, false, true, false])
  }

  @Test func sensorsOfOneDevice() throws {
    let sensors = try readConfiguration(
      """
      taps:
        sensors:
          air:
            iio: bme280@76
            interval: 30s
            stale_after: 5m
            channels:
              temperature: {digits: 1, delta: 0.1}
              humidity: {digits: 0}
              pressure: {offset: 0.42}
          adc: {iio: ads1015, channels: {voltage3: {valid: [0, 5]}, load: {channel: in_voltage0-voltage1_raw}}}
          supply: {hwmon: ina219, channels: {voltage: , current: {digits: 2}, power: {}}}
          battery: {power_supply: BAT0, channels: {capacity: {}, voltage: {}, health: {channel: charge_full}}}
      """
    ).taps.sensors
    let described = sensors.map { sensor in
      switch sensor.source {
      case .device(_, _, let file): "\(string(sensor.name))/\(string(sensor.channel)) \(string(file))"
      default: "?"
      }
    }
    #expect(
      described == [
        "air/temperature in_temp_input", "air/humidity in_humidityrelative_input", "air/pressure in_pressure_input",
        "adc/voltage3 in_voltage3_raw", "adc/load in_voltage0-voltage1_raw", "supply/voltage in1_input",
        "supply/current curr1_input", "supply/power power1_input", "battery/capacity capacity",
        "battery/voltage voltage_now", "battery/health charge_full",
      ])
    #expect(sensors.prefix(3).allSatisfy { $0.intervalNanoseconds == 30_000_000_000 })
    #expect(sensors.prefix(3).allSatisfy { $0.staleNanoseconds == 300_000_000_000 })
    #expect(sensors.map(\.digits) == [1, 0, nil, nil, nil, nil, 2, nil, nil, nil, nil])
  }

  /// Every key sets its own field, and no other.
  @Test func limits() throws {
    for key in LimitKey.all {
      // A value that no other limit has by default; relations are not looked at here.
      var limits = LimitSettings()
      let value = key.range.contains(777) ? 777 : key.range.lowerBound + 1
      key.set(&limits, value)
      #expect(key.get(limits) == value, "\(key.name)")
      #expect(key.range.contains(key.get(LimitSettings())), "\(key.name): its default is in range")
      for other in LimitKey.all where other.name.description != key.name.description {
        #expect(other.get(limits) == other.get(LimitSettings()), "\(key.name) changes \(other.name)")
      }
    }
    let stored =
      Mirror(reflecting: Limits()).children.count + Mirror(reflecting: LoopLimits()).children.count
      + Mirror(reflecting: UserLimits()).children.count
    #expect(LimitKey.all.count + 1 == stored, "every field has a key; queue_full is no number")
    #expect(try readConfiguration("limits: {queue_full: drop-newest}").limits.queueFull == .dropNewest)
    #expect(try readConfiguration("limits: {queue_full: refuse}").limits.queueFull == .refuse)
    let read = try readConfiguration(
      "limits: {connections: 100, packet_bytes: 32k, topic_bytes: 1k, connect_seconds: 5s, session_expiry_seconds: 1d}"
    ).limits
    #expect(read.connectionsMax == 100)
    #expect(read.packetBytesMax == 32_768)
    #expect(read.topicBytesMax == 1024)
    #expect(read.connectSeconds == 5)
    #expect(read.sessionExpirySecondsMax == 86_400)
  }

  /// Scalars are what was written: YAML's own ideas of numbers and truth do not matter.
  @Test func scalarsAreText() throws {
    let configuration = try readConfiguration(
      """
      taps:
        base: "yes"
        outputs:
          on: {pin: GPIO17, initial: On}
          0x10: {pin: GPIO22, initial: "OFF"}
          ~: {pin: GPIO23}
      """)
    #expect(string(configuration.taps.base) == "yes")
    #expect(configuration.taps.outputs.map { string($0.name) } == ["on", "0x10", "~"])
    #expect(configuration.taps.outputs.map(\.initial) == [.on, .off, .off])
  }

  @Test func simulation() throws {
    let configuration = try readConfiguration(
      """
      board: simulated
      simulation:
        presses:
          - {line: GPIO27}
          - {line: GPIO4, every: 1m, for: 2s}
      """)
    #expect(configuration.presses.map(\.offset) == [27, 4])
    #expect(configuration.presses.map(\.everyMilliseconds) == [5000, 60_000])
    #expect(configuration.presses.map(\.forMilliseconds) == [300, 2000])
  }

  @Test func durationsAndSizes() {
    func milliseconds(_ text: String) -> Int? { Values.milliseconds([UInt8](text.utf8)) }
    #expect(
      ["0", "500ms", "2s", "5m", "1h", "7d"].map(milliseconds) == [0, 500, 2000, 300_000, 3_600_000, 604_800_000])
    #expect(["", "5", "s", "-1s", "1.5s", "1 s", "1S", "1w"].map(milliseconds) == Array(repeating: nil, count: 8))
    #expect(milliseconds("9223372036854775807h") == .max)
    func bytes(_ text: String) -> Int? { Values.byteCount([UInt8](text.utf8)) }
    #expect(
      ["0", "4096", "64k", "64K", "64kB", "1M", "2G"].map(bytes) == [0, 4096, 65_536, 65_536, 65_536, 1 << 20, 2 << 30])
    #expect(["", "k", "1kk", "1T", "-1", "1.5M"].map(bytes) == Array(repeating: nil, count: 6))
  }

  @Test func suggestions() {
    func nearest(_ word: String, _ known: StaticString...) -> String? {
      Suggestion.nearest(to: [UInt8](word.utf8), of: known)?.description
    }
    #expect(nearest("prot", "address", "port") == "port")  // two letters swapped
    #expect(nearest("adress", "address", "port") == "address")
    #expect(nearest("Pull_Up", "pull-up", "pull-down") == "pull-up")
    #expect(nearest("x", "port") == nil)
    #expect(nearest("temperature", "port") == nil)
    #expect(nearest(String(repeating: "a", count: 100_000), "port") == nil)
  }

  /// A broker without taps says nothing of a board, unless it was given a base to say it on.
  @Test func statusIsToldOfABoardOnly() throws {
    let rows: [(taps: String, hasStatus: Bool)] = [
      ("", false), ("taps: {}", false), ("taps: {on_exit: keep}", false),
      ("taps: {rules: {r: {when: a == 1, publish: {topic: t, payload: x}}}}", false), ("taps: {base: home}", true),
      ("taps: {outputs: {a: {pin: GPIO2}}}", true), ("taps: {inputs: {a: {pin: GPIO2}}}", true),
      ("taps: {counters: {a: {pin: GPIO2}}}", true), ("taps: {sensors: {a: {simulated: wave}}}", true),
      ("taps: {leds: {a: {led: ACT}}}", true),
    ]
    for row in rows {
      let configuration = try readConfiguration("board: simulated\n" + row.taps)
      #expect(configuration.taps.hasStatus == row.hasStatus, "\(row.taps)")
    }
  }
}

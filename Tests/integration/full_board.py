"""A board with one of everything that a configuration can name, and limits at which a soak (soak.py) runs into
everything that is limited."""

CONFIGURATION = """
board: simulated
sysfs_root: FOLDER/sys
taps:
  base: home
  persist: {file: FOLDER/state, interval: 1s}
  discovery: {home_assistant: {mode: component, id: soak}}
  outputs:
    relay: {pin: GPIO17}
    pump: {pin: GPIO99}
    lamp: {pin: GPIO18, pulse: 50ms}
    gate: {pin: GPIO2, pulse: 30ms, stats: true}
    slow: {pin: GPIO3, pulse: 30ms, retrigger: extend}
    once: {pin: GPIO4, retrigger: ignore, active: low, drive: open-drain}
    heater: {pin: GPIO5, initial: restore, max_on: 100ms, min_on: 20ms, min_off: 50ms}
    guarded: {pin: GPIO6, lease: {client: thermostat, grace: 50ms, on_lost: on}}
    up: {pin: GPIO7, group: shutter, max_on: 1s}
    down: {pin: GPIO8, group: shutter}
    left: {pin: GPIO9, group: door, lease: {client: thermostat, grace: 0s}}
    right: {pin: GPIO10, group: door}
  groups:
    shutter: {interlock: exclusive, dead_time: 50ms, mode: wait}
    door: {interlock: exclusive, dead_time: 50ms, mode: refuse}
  inputs:
    button: {pin: GPIO27, bias: pull-up, active: low, debounce: 20ms, events: true, link: {press: toggle lamp, on: on pump}}
    bell: {pin: GPIO26, bias: pull-up, active: low, debounce: {time: 5ms, mode: leading}, events: {long: 50ms, multi: 100ms}}
    hold: {pin: GPIO25, events: {long: 50ms, multi: 30ms}}
    motion: {pin: GPIO24, on_delay: 20ms, off_delay: 100ms}
  counters:
    water: {pin: GPIO23, glitch: 3ms, pulses_per_unit: 450, unit: L, rate: {unit: L/min, timeout: 200ms}, publish: {throttle: 0s}}
    power: {pin: GPIO22, edge: both, rate: {unit: Wh/h}, publish: {delta: 2, throttle: 100ms}}
  rules:
    echo: {when: rules/echo/#, publish: {topic: rules/echo/again}}
    below: {when: rules/level < 5, hysteresis: 0.5, set: {lamp: toggle, pump: on}, publish: {topic: rules/set, qos: 1}}
    member: {when: rules/json .n >= 2, every: true, pulse: {lamp: 10ms}, publish: {topic: home/lamp/set, payload: "OFF"}}
    lasting: {when: rules/level > 7, for: 100ms, publish: {topic: rules/lasting, payload: "yes", retain: true}}
  sensors:
    fickle: {file: FOLDER/fickle, interval: 50ms, scale: 0.001, valid: [0, 50], reject: [42], stale_after: 1s, refresh: 200ms}
    wave: {simulated: wave, interval: 100ms}
    gone: {file: /nowhere/at/all, interval: 100ms}
    number: {file: /proc/sys/kernel/pid_max, interval: 100ms}
    words: {file: /proc/version, interval: 100ms}
    boiler: {w1: 28-3c01d607a1b2, interval: 100ms}
    cpu: {thermal: cpu-thermal, interval: 100ms}
    rail: {hwmon: ina219, channel: in1_input, interval: 100ms}
    level: {iio: ads1015, channel: in_voltage0_raw, interval: 100ms}
    battery: {power_supply: BAT0, channel: capacity, interval: 100ms}
  pwm:
    strip: {chip: fe20c000.pwm, gamma: 2.2, initial: restore}
  leds:
    act: {led: ACT, min: 10}
simulation:
  presses:
    - {line: GPIO27, every: 500ms, for: 100ms}
    - {line: GPIO26, every: 70ms, for: 20ms}
    - {line: GPIO25, every: 300ms, for: 100ms}
    - {line: GPIO24, every: 400ms, for: 200ms}
    - {line: GPIO23, every: 20ms, for: 10ms}
    - {line: GPIO22, every: 10ms, for: 5ms}
"""
# So that what is limited runs out in a soak. The seconds are more than a busy machine delays a client.
LIMITS = {"queued": 100, "retained": 320, "connect_seconds": 5, "packet_seconds": 5, "connections": 16, "sessions": 24,
          "connections_per_address": 16, "pending_connections": 8}

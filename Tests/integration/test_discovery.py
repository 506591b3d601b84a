"""Home Assistant's discovery: messages as it documents them, entities that work, and what is gone is taken back."""

import json

import pytest

import home_assistant
from daemon import wait

TAPS = """
  outputs:
    relay: {pin: GPIO17, ha: {device_class: outlet, name: null, icon: "mdi:fan"}}
    gate: {pin: GPIO18, pulse: 400ms}
    tank_valve: {pin: GPIO19, ha: {platform: valve, device_class: water}}
    door: {pin: GPIO20, ha: {platform: lock}}
    shutter: {pin: GPIO21, ha: {platform: cover, device_class: shutter}}
    lamp: {pin: GPIO22, ha: {platform: light}}
    horn: {pin: GPIO23, ha: {platform: siren}}
    blower: {pin: GPIO24, ha: {platform: fan}}
    restart: {pin: GPIO25, ha: {platform: button, device_class: restart, entity_category: config}}
    secret: {pin: GPIO26, ha: false}
  inputs:
    window: {pin: GPIO1, bias: pull-up, ha: {device_class: window}}
    bell: {pin: GPIO2, bias: pull-up, active: low, events: {long: 800ms, multi: 300ms}}
    knob: {pin: GPIO3, bias: pull-up, active: low, events: true, ha: {platform: event}}
  counters:
    water: {pin: GPIO4, pulses_per_unit: 450, unit: L, rate: {unit: L/min}}
    gas: {pin: GPIO5, pulses_per_unit: 100, unit: m³, rate: {unit: m³/h}, ha: {device_class: gas}}
    power: {pin: GPIO6, pulses_per_unit: 1000, unit: kWh}
    rain: {pin: GPIO7, unit: mm, rate: {unit: mm/h}}
    turns: {pin: GPIO8, rate: {unit: turns/s}}
  sensors:
    "cpu \\"0\\"": {simulated: wave, interval: 1s}
    air:
      iio: bme280
      channels: {temperature: {}, humidity: {}, pressure: {}, illuminance: {}, distance: {}}
    rail: {hwmon: ina219, channels: {voltage: {}, current: {ha: {suggested_display_precision: 2}}, power: {}}}
    meter: {hwmon: x, channel: energy1_input}
    fan_speed: {hwmon: x, channel: fan1_input}
    undervoltage: {hwmon: rpi_volt, channel: in0_lcrit_alarm, as: binary, ha: {device_class: problem}}
    tank: {file: /nowhere/level, scale: 0.001, stale_after: 0, ha: {unit_of_measurement: L, device_class: volume_storage}}
    scaled: {thermal: cpu-thermal, scale: 0.5}
  pwm:
    pump: {chip: 1f00098000.pwm, channel: 0}
    strip: {chip: 1f00098000.pwm, channel: 1, ha: {platform: light}}
  leds:
    act: {led: ACT}
"""


def configuration(mode="device", taps=TAPS, more=""):
    return (
        "board: simulated\ntaps:\n  base: home/cellar\n"
        f"  discovery: {{home_assistant: {{mode: {mode}, id: tapline-cellar, name: Cellar Pi{more}}}}}\n" + taps)


def entities(daemon, prefix="homeassistant"):
    """All messages, checked: {unique id without the board's: (platform, keys)}."""
    found = {}
    for topic, payload in daemon.values(f"{prefix}/#").items():
        for platform, keys in home_assistant.check(topic, payload, prefix):
            found[keys["unique_id"].removeprefix("tapline-cellar_")] = (platform, keys)
    return found


@pytest.mark.parametrize("mode", ["device", "component"])
def test_messages_are_as_documented(make_daemon, mode):
    daemon = make_daemon(configuration(mode))
    topics = daemon.values("homeassistant/#")
    if mode == "device":
        assert list(topics) == ["homeassistant/device/tapline-cellar/config"]
    else:
        assert "homeassistant/switch/tapline-cellar/relay/config" in topics
        assert "homeassistant/sensor/tapline-cellar/air_temperature/config" in topics
    found = entities(daemon)
    assert {name: platform for name, (platform, _) in found.items()} == {
        "relay": "switch", "gate": "button", "tank_valve": "valve", "door": "lock", "shutter": "cover", "lamp": "light",
        "horn": "siren", "blower": "fan", "restart": "button",
        "window": "binary_sensor", "bell": "binary_sensor", "bell_event": "event", "knob_event": "event",
        "water": "sensor", "water_rate": "sensor", "gas": "sensor", "gas_rate": "sensor", "power": "sensor",
        "rain": "sensor", "rain_rate": "sensor", "turns": "sensor", "turns_rate": "sensor",
        "cpu__0_": "sensor", "air_temperature": "sensor", "air_humidity": "sensor", "air_pressure": "sensor",
        "air_illuminance": "sensor", "air_distance": "sensor", "rail_voltage": "sensor", "rail_current": "sensor",
        "rail_power": "sensor", "meter": "sensor", "fan_speed": "sensor", "undervoltage": "binary_sensor",
        "tank": "sensor", "scaled": "sensor", "pump": "number", "strip": "light", "act": "light"}
    classes = {name: keys.get("device_class") for name, (_, keys) in found.items()}
    assert classes["water"] == "water" and classes["gas"] == "gas" and classes["power"] == "energy"
    assert classes["gas_rate"] == "volume_flow_rate" and classes["rain"] == "precipitation"
    assert classes["air_temperature"] == "temperature" and classes["rail_current"] == "current"
    assert classes["turns"] is None and classes["scaled"] is None
    assert found["turns"][1]["state_class"] == "total_increasing"
    assert "unit_of_measurement" not in found["scaled"][1]
    assert found["relay"][1]["name"] is None and found["relay"][1]["icon"] == "mdi:fan"
    assert "expire_after" not in found["tank"][1] and found["air_humidity"][1]["expire_after"] == 25


@pytest.mark.parametrize("mode", ["device", "component"])
def test_pain23_availability_is_there_for_every_entity(make_daemon, mode):
    """An entity whose availability topic has never been published, or whose value expires too early, stays unavailable."""
    daemon = make_daemon(configuration(mode))
    found = entities(daemon)
    assert len(found) > 30
    assert all(keys["availability"] == [{"topic": "home/cellar/status"}] for _, keys in found.values())
    assert daemon.values("home/cellar/status") == {"home/cellar/status": "online"}
    assert all(keys["expire_after"] > 20 for _, keys in found.values() if "expire_after" in keys and "cpu" not in keys["unique_id"])


@pytest.mark.smoke
def test_an_announced_switch_and_button_work(make_daemon):
    daemon = make_daemon(configuration())
    found = entities(daemon)
    with daemon.connect("home-assistant") as client:
        for name, payloads in {
            "relay": [("ON", "ON"), ("OFF", "OFF")],
            "tank_valve": [("payload_open", "state_open"), ("payload_close", "state_closed")],
            "door": [("payload_unlock", "state_unlocked"), ("payload_lock", "state_locked")],
        }.items():
            keys = found[name][1]
            client.subscribe(keys["state_topic"])
            client.message(keys["state_topic"])
            for command, state in payloads:
                assert client.publish(keys["command_topic"], keys.get(command, command), qos=1) == 0
                assert client.message(keys["state_topic"]).payload.decode() == keys.get(state, state)
        gate = found["gate"][1]
        client.subscribe("home/cellar/gate")
        client.message("home/cellar/gate")
        assert client.publish(gate["command_topic"], gate["payload_press"], qos=1) == 0
        assert [client.message("home/cellar/gate").payload for _ in range(2)] == [b"ON", b"OFF"]


def test_another_prefix_and_no_discovery(make_daemon):
    daemon = make_daemon(configuration(more=", prefix: ha/x"))
    assert "relay" in entities(daemon, "ha/x")
    assert not daemon.values("homeassistant/#")
    daemon = make_daemon("board: simulated\ntaps:\n  base: home/cellar\n" + TAPS)
    assert not daemon.values("homeassistant/#")


GOOD = {
    "dev": {"ids": ["x"], "name": "X"}, "o": {"name": "Tapline"}, "qos": 1,
    "cmps": {"a": {"p": "sensor", "unique_id": "a", "state_topic": "t", "device_class": "humidity",
                   "unit_of_measurement": "%", "state_class": "measurement"}},
}


def changed(path, value):
    """GOOD with another value at this place; no value: without the key."""
    message = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    place = message
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(message)


@pytest.mark.parametrize("path, value", [
    ("dev", None), ("o", None), ("o.name", None), ("cmps", None), ("dev.ids", None), ("dev.colour", "red"), ("qos", 3),
    ("cmps.a.p", None), ("cmps.a.p", "sensr"), ("cmps.a.unique_id", None), ("cmps.a.state_topic", None),
    ("cmps.a.state_topic", "a/#"), ("cmps.a.state_topic", 5), ("cmps.a.unit_of_measurement", "°C"),
    ("cmps.a.state_class", "total"), ("cmps.a.device_class", "wetness"), ("cmps.a.object_id", "a"),
    ("cmps.a.default_entity_id", "switch.a"), ("cmps.a.payload_on", "ON"), ("cmps.a.expire_after", "5"),
    ("availability_topic", "+"), ("availability", [{"topic": ""}]),
])
def test_the_check_finds_what_is_wrong(path, value):
    topic = "homeassistant/device/x/config"
    assert len(home_assistant.check(topic, json.dumps(GOOD))) == 1
    with pytest.raises(home_assistant.SchemaError):
        home_assistant.check(topic, changed(path, value))


def test_the_check_finds_wrong_topics():
    for topic in ["homeassistant/device/x y/config", "homeassistant/device/config", "other/device/x/config"]:
        with pytest.raises(home_assistant.SchemaError):
            home_assistant.check(topic, json.dumps(GOOD))


# What is gone


def restart(daemon, mode, taps, **options):
    """With other taps, and the memory of the life before."""
    daemon.configuration.write_text(daemon.configuration.read_text().split("board:")[0] + configuration(mode, taps, **options))
    assert daemon.stop() == 0
    daemon.start()


def remembering(taps, folder):
    return f"  persist: {{file: {folder / 'state'}, interval: 1s}}\n" + taps


TWO = "  outputs:\n    one: {pin: GPIO1}\n    two: {pin: GPIO2}\n"
ONE = "  outputs:\n    one: {pin: GPIO1}\n"


def test_a_removed_component_is_taken_back(make_daemon, tmp_path):
    daemon = make_daemon(configuration("device", remembering(TWO, tmp_path)))
    topic = "homeassistant/device/tapline-cellar/config"
    restart(daemon, "device", remembering(ONE, tmp_path))
    message = daemon.values("homeassistant/#")[topic]
    assert json.loads(message)["cmps"]["switch_two"] == {"p": "switch"}
    assert [keys["unique_id"] for _, keys in home_assistant.check(topic, message)] == ["tapline-cellar_one"]
    # Not heard by Home Assistant yet, it is taken back at each start.
    restart(daemon, "device", remembering(ONE, tmp_path))
    assert "switch_two" in daemon.values("homeassistant/#")[topic]
    with daemon.connect("home-assistant") as client:
        client.publish("homeassistant/status", "online", qos=1)
        client.ping()
    assert "switch_two" not in daemon.values("homeassistant/#")[topic]
    restart(daemon, "device", remembering(ONE, tmp_path))
    assert "switch_two" not in daemon.values("homeassistant/#")[topic]


def test_a_removed_message_is_taken_back(make_daemon, tmp_path):
    daemon = make_daemon(configuration("component", remembering(TWO, tmp_path)))
    assert len(daemon.values("homeassistant/#")) == 2
    restart(daemon, "component", remembering(ONE, tmp_path))
    with daemon.connect("home-assistant") as client:
        client.subscribe("homeassistant/#")
        assert client.message("homeassistant/switch/tapline-cellar/one/config").payload
        client.publish("homeassistant/status", "offline", qos=1)
        client.publish("homeassistant/status", "online", qos=1)
        assert client.message("homeassistant/switch/tapline-cellar/two/config").payload == b""
        assert client.message("homeassistant/switch/tapline-cellar/one/config").payload
        # Once is enough.
        client.publish("homeassistant/status", "online", qos=1)
        client.ping()
        assert not [message for message in client.messages if message.topic.endswith("config")]
    assert list(daemon.values("homeassistant/switch/#")) == ["homeassistant/switch/tapline-cellar/one/config"]


def test_discovery_that_is_switched_off_is_taken_back(make_daemon, tmp_path):
    daemon = make_daemon(configuration("device", remembering(TWO, tmp_path)))
    off = "board: simulated\ntaps:\n  base: home/cellar\n" + remembering(TWO, tmp_path)
    daemon.configuration.write_text(daemon.configuration.read_text().split("board:")[0] + off)
    assert daemon.stop() == 0
    daemon.start()
    assert not daemon.values("homeassistant/#")
    with daemon.connect("home-assistant") as client:
        client.subscribe("homeassistant/#")
        client.publish("homeassistant/status", "online", qos=1)
        assert client.message("homeassistant/device/tapline-cellar/config").payload == b""


def test_kill_and_a_damaged_memory_do_no_harm(make_daemon, tmp_path):
    daemon = make_daemon(configuration("component", remembering(TWO, tmp_path)))
    wait(lambda: (tmp_path / "state").exists(), "state file")
    daemon.kill()
    (tmp_path / "state").write_text("tapline-state 1\nentry component\ncrc32 00000000\n")
    daemon.start()
    assert len(daemon.values("homeassistant/#")) == 2


# Layouts


LAYOUT = """
board: simulated
taps:
  base: cellar
  layout: %s
  discovery: {home_assistant: {id: tapline-cellar}}
  outputs:
    lights: {pin: GPIO1}
    fan: {pin: GPIO2, stats: true}
  inputs:
    doorbell: {pin: GPIO3, bias: pull-up, active: low, events: true}
  counters:
    water: {pin: GPIO4, rate: {unit: L/min}}
  sensors:
    porch: {simulated: wave, interval: 1s}
    lost: {hwmon: lm75, channel: temp1_input, interval: 10ms}
"""


def test_mqtt_io_layout(make_daemon):
    daemon = make_daemon(LAYOUT % "mqtt-io")
    with daemon.connect("flow") as client:
        client.subscribe("cellar/#")
        assert client.message("cellar/status").payload == b"running"
        assert client.message("cellar/output/lights").payload == b"OFF"
        assert client.message("cellar/input/doorbell").payload == b"OFF"
        assert client.message("cellar/sensor/porch").payload
        assert client.message("cellar/sensor/water/total").payload == b"0"
        assert client.message("cellar/sensor/lost/fault").payload
        assert client.publish("cellar/output/lights/set", "ON", qos=1) == 0
        assert client.message("cellar/output/lights").payload == b"ON"
        assert client.publish("cellar/output/lights/set_off_ms", "50", qos=1) == 0
        assert [client.message("cellar/output/lights").payload for _ in range(2)] == [b"OFF", b"ON"]
        assert client.publish("cellar/output/fan/set_on_ms", "50", qos=1) == 0
        while (state := client.message("cellar/output/fan").payload) != b"ON":
            assert state == b"OFF"
        assert client.message("cellar/output/fan").payload == b"OFF"
        assert client.publish("cellar/output/lights/set_off_ms", "soon", qos=1) == 0x99
    assert len(entities(daemon)) == 8
    with daemon.connect("last") as client:
        client.subscribe("cellar/status")
        client.message("cellar/status")
        daemon.stop()
        assert client.message("cellar/status").payload == b"stopped"


def test_tasmota_layout(make_daemon):
    daemon = make_daemon(LAYOUT % "tasmota")
    with daemon.connect("rule") as client:
        client.subscribe("tele/cellar/#")
        client.subscribe("stat/cellar/#")
        assert client.message("tele/cellar/LWT").payload == b"Online"
        assert client.message("stat/cellar/POWER2").payload == b"OFF"
        assert client.message("stat/cellar/doorbell").payload == b"OFF"
        assert client.message("tele/cellar/porch").payload
        assert client.publish("cmnd/cellar/POWER2", "TOGGLE", qos=1) == 0
        assert client.message("stat/cellar/POWER2").payload == b"ON"
        assert client.publish("cmnd/cellar/water/total", "5", qos=1) == 0
        while client.message("tele/cellar/water/total").payload != b"5":
            pass
    found = entities(daemon)
    assert found["fan"][1]["command_topic"] == "cmnd/cellar/POWER2"
    availability = [{"topic": "tele/cellar/LWT", "payload_available": "Online", "payload_not_available": "Offline"}]
    assert all(keys["availability"] == availability for _, keys in found.values())

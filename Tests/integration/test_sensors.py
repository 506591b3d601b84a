"""Sensors from trees of plain files in place of /sys: what each driver's files mean, and what becomes of a topic when
they fail, hang, vanish and come back under another number. A FIFO is a read that hangs; an empty file is what a 1-wire
thermometer that does not answer reads as."""

import os
import shutil
from datetime import datetime, timedelta

import pytest

import operator_client
import raw
from daemon import wait

SENSORS = """
sysfs_root: ROOT
taps:
  base: cellar
  outputs: {relay: {pin: GPIO17}}
  sensors:
    boiler: {w1: 28-3c01d607a1b2, interval: 100ms, digits: 2}
    outside:
      iio: dht11@4
      interval: 100ms
      channels:
        temperature: {digits: 1}
        humidity: {digits: 0}
    air:
      iio: bme280@76
      interval: 100ms
      channels:
        temperature: {digits: 1}
        humidity: {digits: 1}
        pressure: {digits: 1}
    level:
      iio: ads1015
      interval: 100ms
      channels:
        voltage0: {digits: 3}
        voltage1: {digits: 3}
        difference: {channel: in_voltage0-voltage1_raw, digits: 4}
    light: {iio: mcp3008, channel: in_voltage7_raw, interval: 100ms}
    percent: {iio: mcp3008, channel: in_voltage7_raw, interval: 100ms, scale: 0.09765625, digits: 1}
    supply:
      hwmon: ina219
      interval: 100ms
      channels:
        voltage: {}
        current: {}
        power: {}
    cpu: {thermal: cpu-thermal, interval: 100ms, digits: 1}
    undervoltage: {hwmon: rpi_volt, channel: in0_lcrit_alarm, as: binary, interval: 100ms}
    battery:
      power_supply: BAT0
      interval: 100ms
      channels: {capacity: {}, voltage: {}, current: {}, temperature: {}, energy: {}, full: {channel: charge_full}}
    mains: {power_supply: AC, channel: online, as: binary, interval: 100ms}
board: simulated
"""


class Tree:
    """Files below a folder that stands in for /sys."""

    def __init__(self, root):
        self.root = root

    def put(self, path, text):
        """At once, as a driver's files are: never half a number."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".new")
        part.write_text(f"{text}\n" if text else "")
        part.rename(file)

    def device(self, folder, **files):
        for name, text in files.items():
            self.put(f"{folder}/{name.replace('__', '-')}", text)

    def remove(self, path):
        shutil.rmtree(self.root / path)


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path / "sys")
    tree.device("bus/w1/devices/28-3c01d607a1b2", temperature="54312")
    devices = "bus/iio/devices"
    tree.device(f"{devices}/iio:device0", name="dht11@4", in_temp_input="21500", in_humidityrelative_input="48400")
    tree.device(
        f"{devices}/iio:device1", name="bme280", in_temp_input="-1250", in_humidityrelative_input="39876",
        in_pressure_input="101.325000")
    (tmp_path / "sys/firmware/bme280@76").mkdir(parents=True)
    (tmp_path / f"sys/{devices}/iio:device1/of_node").symlink_to("../../../../firmware/bme280@76")
    tree.device(
        f"{devices}/iio:device2", name="ads1015", in_voltage0_raw="1234", in_voltage0_scale="2.000000000",
        in_voltage1_raw="-3", in_voltage1_scale="1.000000000")
    tree.put(f"{devices}/iio:device2/in_voltage0-voltage1_raw", "7")
    tree.put(f"{devices}/iio:device2/in_voltage0-voltage1_scale", "0.500000000")
    tree.device(f"{devices}/iio:device3", name="mcp3008", in_voltage7_raw="512", in_voltage_scale="3.222656250")
    tree.device("class/hwmon/hwmon0", name="cpu_thermal", temp1_input="48312")
    tree.device("class/hwmon/hwmon1", name="rpi_volt", in0_lcrit_alarm="0")
    tree.device("class/hwmon/hwmon2", name="ina219", in1_input="12040", curr1_input="-333", power1_input="4010000")
    tree.device("class/thermal/thermal_zone0", type="cpu-thermal", temp="48312")
    tree.device(
        "class/power_supply/BAT0", capacity="87", voltage_now="12384000", current_now="-1250000", temp="263",
        energy_now="42180000", charge_full="2950000")
    tree.device("class/power_supply/AC", online="1")
    return tree


@pytest.fixture
def sensors(make_daemon, tree):
    """The daemon and a client that has subscribed to all."""
    daemon = make_daemon(SENSORS.replace("ROOT", str(tree.root)))
    with operator_client.Client(daemon.port, "reader") as mqtt:
        mqtt.subscribe("cellar/#")
        mqtt.daemon = daemon
        yield mqtt


@pytest.mark.smoke
def test_each_drivers_numbers_in_usual_units(sensors):
    for topic, value in {
        "boiler": "54.31",  # m°C
        "outside/temperature": "21.5", "outside/humidity": "48",  # m°C, m%
        "air/temperature": "-1.3", "air/humidity": "39.9", "air/pressure": "1013.3",  # pressure: kPa
        "level/voltage0": "2.468", "level/voltage1": "-0.003", "level/difference": "0.0035",  # raw x scale mV
        "light": "1.650", "percent": "50.0",  # 512 x the shared 3.22265625 mV; with a scale of one's own, 512 x that
        "supply/voltage": "12.040", "supply/current": "-0.333", "supply/power": "4.010",  # mV, mA, µW
        "cpu": "48.3", "undervoltage": "OFF",
        "battery/capacity": "87", "battery/voltage": "12.384", "battery/current": "-1.250",  # %, µV, µA
        "battery/temperature": "26.3", "battery/energy": "42.180", "battery/full": "2.950",  # 0.1 °C, µWh, µAh
        "mains": "ON",
    }.items():
        message = sensors.expect(f"cellar/{topic}", lambda _: True)
        assert message.payload == value, topic


def test_changes_come(sensors, tree):
    tree.put("class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    sensors.expect("cellar/undervoltage", "ON")
    tree.put("bus/iio/devices/iio:device2/in_voltage0_raw", "0")
    sensors.expect("cellar/level/voltage0", "0.000")
    tree.put("class/thermal/thermal_zone0/temp", "-40000")
    sensors.expect("cellar/cpu", "-40.0")


# (topic, its file, text, what the fault says): failures that read as success, or as nothing
FAILURES = [
    ("boiler", "bus/w1/devices/28-3c01d607a1b2/temperature", "", None),
    ("boiler", "bus/w1/devices/28-3c01d607a1b2/temperature", "85000", "not a measurement: 85"),
    ("boiler", "bus/w1/devices/28-3c01d607a1b2/temperature", "-127000", "out of its range: -127"),
    ("outside/humidity", "bus/iio/devices/iio:device0/in_humidityrelative_input", "nan", None),
    ("supply/power", "class/hwmon/hwmon2/power1_input", "12 W", None),
    ("level/voltage1", "bus/iio/devices/iio:device2/in_voltage1_raw", "99999999999999999999999", None),
]


@pytest.mark.parametrize("topic, file, text, fault", FAILURES, ids=[f"{row[0]}-{row[2] or 'empty'}" for row in FAILURES])
def test_pain13_what_is_no_measurement_is_no_value(sensors, tree, topic, file, text, fault):
    sensors.expect(f"cellar/{topic}", lambda _: True)
    good = (tree.root / file).read_text()
    mark = sensors.mark()
    tree.put(file, text)
    told = sensors.expect(f"cellar/{topic}/fault", lambda text: text != "", since=mark)
    assert told.retain is False
    if fault:
        assert told.payload.startswith(fault)
    values = [message.payload for message in sensors.on_topic(f"cellar/{topic}", mark)]
    assert len(set(values)) <= 1, "what is no measurement was published"
    tree.put(file, good.strip())
    sensors.expect(f"cellar/{topic}/fault", "", since=mark)
    sensors.daemon.wait_for_value(f"cellar/{topic}", lambda value: bool(value))


def test_pain11_vanished_devices_come_back_under_other_numbers(sensors, tree):
    """As on USB and after a bus reset: `iio:device1` is gone and later there is an `iio:device7`."""
    sensors.expect("cellar/air/pressure", "1013.3")
    sensors.expect("cellar/supply/power", "4.010")
    mark = sensors.mark()
    tree.remove("bus/iio/devices/iio:device1")
    tree.remove("class/hwmon/hwmon2")
    tree.remove("bus/w1/devices/28-3c01d607a1b2")
    for topic in ("air/temperature", "air/humidity", "air/pressure", "supply/voltage", "boiler"):
        sensors.expect(f"cellar/{topic}/fault", lambda text: text != "", since=mark)
    # The others go on.
    tree.put("bus/iio/devices/iio:device0/in_temp_input", "-9900")
    sensors.expect("cellar/outside/temperature", "-9.9", since=mark)

    mark = sensors.mark()
    tree.device(
        "bus/iio/devices/iio:device7", in_temp_input="20000", in_humidityrelative_input="50000",
        in_pressure_input="99.9", name="bme280@76")
    tree.device("class/hwmon/hwmon9", in1_input="5000", curr1_input="1000", power1_input="5000000", name="ina219")
    tree.device("bus/w1/devices/28-3c01d607a1b2", temperature="20125")
    for topic, value in {
        "air/temperature": "20.0", "air/humidity": "50.0", "air/pressure": "999.0", "supply/voltage": "5.000",
        "supply/current": "1.000", "supply/power": "5.000", "boiler": "20.13",
    }.items():
        sensors.expect(f"cellar/{topic}/fault", "", since=mark)
        assert sensors.expect(f"cellar/{topic}", lambda _: True, since=mark).payload == value


def test_pain12_stale_values_leave_the_topic(make_daemon, tree):
    """The retained value expires by itself, for clients that come later too."""
    configuration = f"""
sysfs_root: {tree.root}
taps:
  base: cellar
  sensors:
    boiler: {{w1: 28-3c01d607a1b2, interval: 100ms, stale_after: 2s}}
"""
    daemon = make_daemon(configuration)
    with daemon.connect("reader") as client:
        client.subscribe("cellar/boiler")
        first = last = client.message("cellar/boiler")
        assert first.payload == b"54.3"
        assert 1 <= dict(first.properties)[raw.EXPIRY] <= 2
        # A working sensor's value is told again before it expires.
        while told_at(last) - told_at(first) <= timedelta(seconds=2):
            last = client.message("cellar/boiler")
            assert last.payload == b"54.3" and 1 <= dict(last.properties)[raw.EXPIRY] <= 2
        wait(lambda: daemon.values("cellar/boiler") == {"cellar/boiler": "54.3"}, "value")
        tree.remove("bus/w1/devices/28-3c01d607a1b2")
        wait(lambda: not daemon.values("cellar/boiler"), "end of the value")


def told_at(message):
    said = dict(value for name, value in message.properties if name == raw.USER)
    return datetime.fromisoformat(said["ts"].replace("Z", "+00:00"))


def hang(path):
    """The file becomes one whose reader waits for a writer that does not come."""
    path.unlink()
    os.mkfifo(path)


def test_hung_read_holds_up_nothing_else(sensors, tree):
    """A driver that does not answer: the other sensors are read, clients and pins are served, and it comes back."""
    path = tree.root / "bus/w1/devices/28-3c01d607a1b2/temperature"
    sensors.expect("cellar/boiler", "54.31")
    mark = sensors.mark()
    hang(path)
    sensors.expect("cellar/boiler/fault", lambda text: text != "", since=mark)
    for _ in range(20):
        for payload in ("ON", "OFF"):
            assert sensors.publish("cellar/relay/set", payload).reason == 0
    mark = sensors.mark()
    for file, topic, text, value in (
        ("class/thermal/thermal_zone0/temp", "cpu", "55000", "55.0"),
        ("bus/iio/devices/iio:device1/in_temp_input", "air/temperature", "-5000", "-5.0"),
        ("class/hwmon/hwmon2/in1_input", "supply/voltage", "11000", "11.000"),
    ):
        tree.put(file, text)
        sensors.expect(f"cellar/{topic}", value, since=mark)
    mark = sensors.mark()
    # The driver answers after all, then the file is as before.
    with path.open("w") as late:
        late.write("30000\n")
        path.unlink()
        tree.put("bus/w1/devices/28-3c01d607a1b2/temperature", "30250")
    sensors.expect("cellar/boiler/fault", "", since=mark)
    sensors.expect("cellar/boiler", "30.25", since=mark)
    tree.put("class/thermal/thermal_zone0/temp", "60000")
    sensors.expect("cellar/cpu", "60.0", since=mark)


def test_stop_while_a_read_hangs(sensors, tree):
    """The end does not wait for a driver either."""
    mark = sensors.mark()
    hang(tree.root / "class/thermal/thermal_zone0/temp")
    sensors.expect("cellar/cpu/fault", lambda text: text != "", since=mark)
    assert sensors.daemon.stop() == 0

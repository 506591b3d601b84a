"""A Raspberry Pi 3 under QEMU: Debian's kernel with the board's own device tree and pinctrl-bcm2835, no simulated chip.

What the pins have is read in the kernel's /sys/kernel/debug/gpio. Edges cannot be made on this machine. The tests share
one daemon, with guest/raspi3b.yaml, and run in this order; the last ones end it.
"""

import re

import pytest

from test_levels import pwm


def pin(board, line):
    """What the kernel says of line GPIO`line`: "(GPIO17 |tapline:relay) out hi", without the padding."""
    rows = board.read("/sys/kernel/debug/gpio").splitlines()
    found = [row for row in rows if re.search(rf"\(GPIO{line}\b", row)]
    assert len(found) == 1, rows
    return " ".join(found[0].split("(", 1)[1].replace("|", " ").replace(")", " ").split())


@pytest.mark.libgpiod
def test_lines_are_those_of_the_header(board):
    rows = board.sh("tapline lines").splitlines()
    row = next(row for row in rows if re.search(r"\bGPIO17\b", row))
    assert "tapline:relay" in row
    assert re.search(r"\b11\b", row), row  # its position: the profile was chosen by the device tree's model
    assert any("pinctrl-bcm2835" in row for row in rows)
    assert "Raspberry Pi 3" in board.sh("tr -d '\\0' < /proc/device-tree/model")


@pytest.mark.libgpiod
def test_pain14_gpio17_by_name(board, mqtt):
    mqtt.subscribe("pi/#")
    assert mqtt.expect("pi/relay", "OFF").retain
    assert pin(board, 17) == "GPIO17 tapline:relay out lo"
    for payload, level in (("ON", "hi"), ("OFF", "lo"), ("TOGGLE", "hi"), ('{"state":"OFF"}', "lo")):
        assert mqtt.publish("pi/relay/set", payload).reason == 0
        assert pin(board, 17).endswith(f"out {level}"), payload


@pytest.mark.libgpiod
def test_lines_by_position_offset_and_number(board, mqtt):
    assert pin(board, 22) == "GPIO22 tapline:fan out hi"  # position 15, initial: on
    assert pin(board, 23).startswith("GPIO23 tapline:valve out hi")  # active: low
    assert pin(board, 24) == "GPIO24 tapline:number out lo"
    mqtt.publish("pi/valve/set", "ON")
    assert " out lo" in pin(board, 23)
    mqtt.publish("pi/valve/set", "OFF")


@pytest.mark.libgpiod
def test_pulse(board, mqtt):
    mqtt.subscribe("pi/relay")
    mqtt.expect("pi/relay", "OFF")
    mark = mqtt.mark()
    mqtt.publish("pi/relay/pulse", "300")
    mqtt.expect("pi/relay", "ON", since=mark)
    assert mqtt.expect("pi/relay", "OFF", since=mark).user["by"] == "timer"
    assert pin(board, 17).endswith("out lo")


@pytest.mark.libgpiod
def test_interlock(board, mqtt):
    mqtt.subscribe("pi/up").subscribe("pi/down")
    mqtt.publish("pi/up/set", "ON")
    mark = mqtt.mark()
    mqtt.publish("pi/down/set", "ON")
    assert (pin(board, 5).split()[-1], mqtt.expect("pi/up", "OFF", since=mark).user["by"]) == ("lo", "interlock")
    mqtt.expect("pi/down", "ON", since=mark)
    assert (pin(board, 5).split()[-1], pin(board, 6).split()[-1]) == ("lo", "hi")
    mqtt.publish("pi/down/set", "OFF")


def test_pwm_of_the_processor(board, mqtt):
    """The kernel's driver pwm-bcm2835 does it; QEMU has nothing behind its registers, so that is where this ends."""
    assert pwm(board, 0) == (True, 1_000_000, 0, "normal")
    assert pwm(board, 1) == (True, 20_000_000, 2_000_000, "inverse")
    for payload, duty in (("25", 250_000), ("ON", 250_000), ("TOGGLE", 0), ("100", 1_000_000), ("OFF", 0)):
        assert mqtt.publish("pi/lamp/set", payload).reason == 0
        assert pwm(board, 0) == (True, 1_000_000, duty, "normal"), payload


def test_input_has_its_line(board, mqtt):
    mqtt.subscribe("pi/button")
    assert mqtt.expect("pi/button", lambda text: text in ("ON", "OFF")).retain
    assert pin(board, 27).startswith("GPIO27 tapline:button in")


def test_processor_temperature(board, mqtt):
    mqtt.subscribe("pi/cpu")
    value = float(mqtt.expect("pi/cpu", lambda _: True).payload)
    kernel = int(board.read("/sys/class/thermal/thermal_zone0/temp")) / 1000
    assert abs(value - kernel) < 1
    board.note(f"processor temperature: {value}")


def test_thermometer_from_outside(board, mqtt):
    """QEMU's TMP105 on the Pi's own I2C bus, warmed up from outside the guest."""
    if not board.has_thermometer:
        pytest.skip("this QEMU's Raspberry Pi has no bus for a thermometer: 10 or newer is needed")
    mqtt.subscribe("pi/#")
    mqtt.expect("pi/cellar/fault", lambda text: text != "")
    board.qmp("qom-set", path="/machine/peripheral/thermometer", property="temperature", value=23500)
    board.sh("echo tmp105 0x48 > /sys/bus/i2c/devices/i2c-1/new_device")
    mqtt.expect("pi/cellar", "23.5")
    mqtt.expect("pi/cellar/fault", "")
    for milli in (-4000, 31250):
        board.qmp("qom-set", path="/machine/peripheral/thermometer", property="temperature", value=milli)
        text = {-4000: "-4.0", 31250: "31.3"}[milli]
        mqtt.expect("pi/cellar", lambda value, text=text: abs(float(value) - float(text)) < 0.11)


def test_term_leaves_safe_levels(board, mqtt):
    for name in ("relay", "valve", "number"):
        mqtt.publish(f"pi/{name}/set", "ON")
    status, seconds = board.stop()
    board.note(f"TERM to the end: {seconds:.2f} s")
    assert status == 0
    assert "tapline" not in board.read("/sys/kernel/debug/gpio")


@pytest.fixture
def started(board):
    board.serve("raspi3b.yaml")
    yield board
    if not board.is_stopped():
        board.stop("KILL")


def test_pain21_kill_safe_and_start_again(started, mqtt):
    board = started
    mqtt.subscribe("pi/relay")
    mqtt.publish("pi/relay/set", "ON")
    assert pin(board, 17).endswith("out hi")
    board.stop("KILL")
    rows = board.sh("tapline safe -c /etc/raspi3b.yaml").splitlines()  # it must succeed
    for name in ("relay", "fan", "valve", "number", "up", "down"):
        assert any(name in row for row in rows), rows
    board.serve("raspi3b.yaml")
    late = mqtt.another("late").subscribe("pi/relay")
    late.expect("pi/relay", "OFF")
    assert pin(board, 17).endswith("out lo")

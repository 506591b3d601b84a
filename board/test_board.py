"""What a board promises, against the kernel's own account of it: its sysfs is on one side, MQTT on the other.

The guest's hardware is made by guest/init and its taps are those of guest/tapline.yaml. The tests of one binary share
one daemon, and those of test_outputs.py and test_inputs.py do too; test_restart.py ends it.
"""

import re
import time
from datetime import datetime

import pytest

from client import NOT_UNDERSTOOD, PATIENCE_SECONDS, REFUSED
from rig import NOW

RELAY = "/run/gpio/sim_gpio17/value"
HELD = "/run/gpio/sim_gpio22/value"
EXPANDER = "/sys/devices/platform/$(cat /sys/kernel/config/gpio-sim/late/dev_name)/gpiochip*/sim_gpio0/value"
BUTTON = "/run/gpio/sim_gpio27/pull"
# Registers of the LM75: degrees as a 16-bit big-endian number of 1/256, which SMBus hands over bytes swapped.
LM75_DEGREES = {"23.5": "0x8017", "25.0": "0x0019"}

# With 32 taps, 7 of them on threads of their own, which take 32 KiB each.
RSS_MAX_KIB = 3584
# Between the two clocks that make the time of an edge.
CLOCK_SLACK_SECONDS = 0.02
HELD_BACK_MICROSECONDS = 100_000
BURST_EDGES = 40


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """The first true value of something that has to be asked for."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.02)
    return value


def non_empty(text):
    return text != ""


def test_memory_when_idle(board):
    status = board.read(f"/proc/{board.read('/run/tapline.pid')}/status")
    kib = {name: int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}
    board.note("idle: " + ", ".join(f"{name} {value} KiB" for name, value in kib.items()))
    assert kib["VmRSS"] < RSS_MAX_KIB


@pytest.mark.libgpiod
def test_pain01_nothing_moves_at_start(board):
    """What the kernel did with the lines since it was up: one level each, from the request on."""
    account = board.account()
    assert [level for _, level in account.levels(17)] == [False]
    assert [level for _, level in account.levels(2)] == [True]  # initial: on
    assert [level for _, level in account.levels(5)] == [True]  # active: low
    assert account.directions(6) == [True]
    for line in (3, 4, 8, 10, 17, 19, 20, 21):
        assert {change.level for change in account.history(line)} <= {False, None}, line


def test_states_are_there_from_the_start(mqtt):
    mqtt.subscribe("board/#")
    for topic, payload in {"board/status": "online", "board/relay": "OFF", "board/button": "OFF"}.items():
        assert mqtt.expect(topic, payload).retain


@pytest.mark.libgpiod
def test_puback_means_the_line_has_changed(board, mqtt):
    mqtt.subscribe("board/relay")
    milliseconds = []
    for _ in range(10):
        for payload, level in (("ON", "1"), ("OFF", "0")):
            mark = mqtt.mark()
            ack = mqtt.publish("board/relay/set", payload)
            # Asked right now, and once: afterwards is too late.
            assert board.read(RELAY) == level
            assert ack.reason == 0
            mqtt.expect("board/relay", payload, since=mark)
            milliseconds.append(ack.seconds * 1000)
    milliseconds.sort()
    board.note(f"PUBLISH to PUBACK, line set: median {milliseconds[10]:.1f} ms, slowest {milliseconds[-1]:.1f} ms")


def test_pain02_state_is_retained(board, mqtt):
    for payload in ("ON", "OFF"):
        mqtt.publish("board/relay/set", payload)
        late = mqtt.another(f"late-{payload}").subscribe("board/relay")
        assert late.expect("board/relay", payload).retain


def test_command_that_is_none(board, mqtt):
    mqtt.publish("board/relay/set", "ON")
    ack = mqtt.publish("board/relay/set", "perhaps")
    assert ack.reason == NOT_UNDERSTOOD
    assert board.read(RELAY) == "1"
    mqtt.publish("board/relay/set", "OFF")


@pytest.mark.libgpiod
def test_pain06_edges_alternate_and_carry_the_kernels_time(board, mqtt):
    """The daemon is held back after each edge: its own clock's time would be too late."""
    board.write(BUTTON, "pull-down")
    mqtt.subscribe("board/button")
    mqtt.expect("board/button", "OFF")
    stop, go = (f"kill -{name} {board.read('/run/tapline.pid')}" for name in ("STOP", "CONT"))
    for pull, payload in (("pull-up", "ON"), ("pull-down", "OFF")) * 3:
        mark = mqtt.mark()
        edge = f"{NOW}; echo {pull} > {BUTTON}; {NOW}"
        before, after = board.sh(f"{stop}; {edge}; usleep {HELD_BACK_MICROSECONDS}; {go}").split()
        message = mqtt.expect("board/button", payload, since=mark)
        assert not message.retain  # it came live
        assert message.user.get("ts", "").endswith("Z"), message
        stamp = datetime.fromisoformat(message.user["ts"]).timestamp()
        assert float(before) - CLOCK_SLACK_SECONDS <= stamp <= float(after) + CLOCK_SLACK_SECONDS


@pytest.mark.libgpiod
def test_pain05_burst_of_edges_ends_in_the_last_level(board, mqtt):
    """More edges than the kernel's queue of 16 holds, while the daemon has no chance to read."""
    board.write(BUTTON, "pull-down")
    mqtt.subscribe("board/button")
    mqtt.expect("board/button", "OFF")
    stop, go = (f"kill -{name} {board.read('/run/tapline.pid')}" for name in ("STOP", "CONT"))
    twice = f"echo pull-up > {BUTTON}; echo pull-down > {BUTTON}"
    for payload, last in (("ON", "pull-up"), ("OFF", "pull-down")):
        board.sh(f"{stop}; for i in $(seq {BURST_EDGES // 2}); do {twice}; done; echo {last} > {BUTTON}; {go}")
        # A round trip is a turn of the daemon's loop or more, a turn reads an edge or more: none waits after these.
        for _ in range(BURST_EDGES + 2):
            mqtt.publish("board/round", "trip")
        assert mqtt.on_topic("board/button")[-1].payload == payload
        late = mqtt.another(f"burst-{payload}").subscribe("board/button")
        assert late.expect("board/button", lambda _: True).payload == payload


def test_thermometer(board, mqtt):
    mqtt.subscribe("board/temperature")
    mqtt.expect("board/temperature", "23.5")
    bus = board.read("/run/i2c-bus")
    for degrees in ("25.0", "23.5"):
        mark = mqtt.mark()
        board.sh(f"i2cset -f -y {bus} 0x48 0 {LM75_DEGREES[degrees]} w")
        mqtt.expect("board/temperature", degrees, since=mark)


def test_iio_scale_and_offset(mqtt):
    """raw 73, in_voltage0_offset 7, in_voltage0_scale 0.001333: 0.10664 mV."""
    mqtt.subscribe("board/voltage")
    mqtt.expect("board/voltage", "0.000107")


def test_iio_device(board, mqtt):
    mqtt.subscribe("board/steps")
    for steps in ("1234", "5"):
        board.write("/run/pedometer/in_steps_input", steps)
        mqtt.expect("board/steps", steps)


def test_pain11_sensor_that_goes_away_comes_back(board, mqtt):
    mqtt.subscribe("board/#")
    driver = f"/sys/bus/i2c/devices/i2c-{board.read('/run/i2c-bus')}"
    board.write(f"{driver}/delete_device", "0x48")
    assert mqtt.expect("board/temperature/fault", non_empty)
    mark = mqtt.mark()
    board.write(f"{driver}/new_device", "lm75 0x48")
    mqtt.expect("board/temperature/fault", "", since=mark)
    mqtt.expect("board/temperature", "23.5", since=mark)


@pytest.mark.libgpiod
def test_pain27_chip_that_comes_late(board, mqtt):
    """As the driver of an expander does that is probed after the daemon's start."""
    mqtt.subscribe("board/#")
    fault = mqtt.expect("board/expander/fault", non_empty)
    assert fault.retain
    assert "EXPANDER0" in fault.payload
    assert mqtt.publish("board/expander/set", "ON").reason == REFUSED

    mark = mqtt.mark()
    start = time.monotonic()
    bank = "/sys/kernel/config/gpio-sim/late/bank0"
    board.sh(f"mkdir -p {bank}/line0; echo EXPANDER0 > {bank}/line0/name; echo 1 > {bank}/../live")
    mqtt.expect("board/expander", "OFF", since=mark)
    mqtt.expect("board/expander/fault", "", since=mark)
    board.note(f"a chip that came late is used after {time.monotonic() - start:.1f} s")
    assert mqtt.publish("board/expander/set", "ON").reason == 0
    assert board.sh(f"cat {EXPANDER}") == "1"


@pytest.mark.libgpiod
def test_pain27_chip_that_is_plugged_again_gets_its_level(board, mqtt):
    """The driver of a chip goes, with a line that is on, and comes back: on from the line's request."""
    mqtt.subscribe("board/#")
    mqtt.expect("board/expander", "ON")
    assert board.sh(f"cat {EXPANDER}") == "1"
    mark = mqtt.mark()
    live = "/sys/kernel/config/gpio-sim/late/live"
    board.write(live, "0")
    ack = mqtt.publish("board/expander/set", "ON")  # an output without interrupts is looked at when it is used
    assert ack.reason == REFUSED
    assert mqtt.expect("board/expander/fault", non_empty, since=mark)
    mark = mqtt.mark()
    assert board.sh(f"echo 1 > {live}; cat {EXPANDER}") == "0"
    mqtt.expect("board/expander", "ON", since=mark)
    assert board.sh(f"cat {EXPANDER}") == "1"


@pytest.mark.libgpiod
def test_pain15_line_that_is_taken_heals_when_let_go(board, mqtt):
    """GPIO22 is held through the kernel's old sysfs interface, which calls itself `sysfs`."""
    mqtt.subscribe("board/#")
    fault = mqtt.expect("board/held/fault", non_empty)
    assert fault.retain
    assert "sysfs" in fault.payload

    ack = mqtt.publish("board/held/set", "ON")
    assert ack.reason == REFUSED
    assert "sysfs" in ack.text
    assert board.read(HELD) == "0"
    # Everything else is served.
    assert mqtt.publish("board/relay/set", "ON").reason == 0
    assert board.read(RELAY) == "1"
    mqtt.publish("board/relay/set", "OFF")

    mark = mqtt.mark()
    start = time.monotonic()
    board.sh("cat /run/held > /sys/class/gpio/unexport")
    mqtt.expect("board/held", "OFF", since=mark)
    mqtt.expect("board/held/fault", "", since=mark)
    board.note(f"a line let go is taken after {time.monotonic() - start:.1f} s")
    assert mqtt.publish("board/held/set", "ON").reason == 0
    assert board.read(HELD) == "1"
    mqtt.publish("board/held/set", "OFF")


def test_configuration_is_accepted(board):
    board.sh("tapline check -c /etc/tapline.yaml")


@pytest.mark.libgpiod
def test_lines_command_names_the_consumers(board):
    rows = board.sh("tapline lines").splitlines()
    row = next(row for row in rows if re.search(r"\bGPIO17\b", row))
    assert "tapline" in row
    row = next(row for row in rows if re.search(r"\bGPIO16\b", row))
    assert "tapline:wall" in row
    row = next(row for row in rows if re.search(r"\bGPIO1\b", row))
    assert "tapline" not in row.replace("tapline-sim", "")

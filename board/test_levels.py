"""PWM outputs and LEDs on the QEMU board, driven over MQTT and checked in what the kernel has: the PWM core's account of a
chip that has no pin, what the LED core tells a driver that is a process here, and the LEDs of QEMU's keyboard. One daemon,
that of test_board.py; each test leaves its outputs off."""

import re

import pytest

from client import NOT_UNDERSTOOD, REFUSED
from test_board import wait_until

CHIP = "/sys/module/pwm_sim_mod/parameters"
LEDS = "/sys/class/leds"


def pwm(board, channel):
    """(is enabled, period, duty, polarity) as the kernel's PWM core has it."""
    rows = board.read("/sys/kernel/debug/pwm").splitlines()
    row = next(row for row in rows if re.match(rf" pwm-{channel} ", row))
    found = re.search(r"period: (\d+) ns duty: (\d+) ns polarity: (\w+)", row)
    return " enabled " in row, int(found[1]), int(found[2]), found[3]


def told(board):
    """Every brightness that the lamp's driver was told."""
    return [int(word) for word in board.sh("hexdump -v -e '1/4 \"%d \"' /run/lamp").split()]


def led(board, name="board:white:lamp"):
    return int(board.read(f"{LEDS}/{name}/brightness"))


def test_levels_from_the_start(board, mqtt):
    mqtt.subscribe("board/#")
    assert mqtt.expect("board/strip", "0").retain
    assert mqtt.expect("board/sunken", "40").retain
    assert mqtt.expect("board/white", "0").retain
    assert pwm(board, 0) == (True, 1_000_000, 0, "normal")
    assert pwm(board, 1) == (True, 20_000_000, 4_000_000, "inverse")  # 40 % of at most 50 %
    assert mqtt.expect("board/nowhere/fault", "no PWM chip 1f00098000.pwm").retain


def test_pwm_follows_each_command(board, mqtt):
    mqtt.subscribe("board/strip")
    for payload, state, duty in (
        ("35", "35", 350_000), ("12.5", "12.5", 125_000), ("100", "100", 1_000_000), ("OFF", "0", 0), ("ON", "100", 1_000_000),
        ('{"state":"ON","brightness":7}', "7", 70_000), ("TOGGLE", "0", 0), ("toggle", "7", 70_000), ("0", "0", 0),
    ):
        mark = mqtt.mark()
        assert mqtt.publish("board/strip/set", payload).reason == 0
        assert pwm(board, 0) == (True, 1_000_000, duty, "normal"), payload  # acknowledged is done
        assert mqtt.expect("board/strip", state, since=mark).user["by"] == mqtt.name
    for payload in ("101", "-1", "dim", '{"brightness":"x"}', ""):
        assert mqtt.publish("board/strip/set", payload).reason == NOT_UNDERSTOOD, payload
    assert pwm(board, 0)[2] == 0


def test_missing_chip_is_refused_with_its_name(board, mqtt):
    ack = mqtt.publish("board/nowhere/set", "50")
    assert ack.reason == REFUSED
    assert "1f00098000.pwm" in ack.text


def test_driver_that_hangs_is_a_fault_and_holds_up_nobody(board, mqtt):
    """A PWM chip behind a bus that is stuck: the other outputs are served; it comes back with the level that it had."""
    mqtt.subscribe("board/#")
    mqtt.publish("board/strip/set", "20")
    mark = mqtt.mark()
    board.write(f"{CHIP}/wait", 100_000_000)
    ack = mqtt.publish("board/strip/set", "80")
    assert ack.reason == REFUSED
    assert "does not return" in ack.text
    mqtt.expect("board/strip/fault", lambda text: "does not return" in text, since=mark)
    # The driver hangs until it is let go below, so nothing of this waits for it.
    for payload in ("ON", "OFF"):
        assert mqtt.publish("board/white/set", payload).reason == 0
        assert mqtt.publish("board/relay/set", payload).reason == 0
    assert mqtt.publish("board/strip/set", "60").reason == REFUSED
    board.write(f"{CHIP}/wait", 0)
    mqtt.expect("board/strip/fault", "", since=mark)
    wait_until(lambda: pwm(board, 0)[2] == 200_000, "level that it had")
    assert mqtt.publish("board/strip/set", "0").reason == 0
    assert pwm(board, 0)[2] == 0


def test_lamp_is_told_each_level(board, mqtt):
    """With `gamma: 2` half the level is a quarter of the power."""
    mqtt.subscribe("board/white")
    before = len(told(board))
    for payload in ("50", "100", "1", "OFF"):
        assert mqtt.publish("board/white/set", payload).reason == 0
    wait_until(lambda: told(board)[before:] == [64, 255, 1, 0], f"levels: {told(board)[before:]}")
    answer, _ = mqtt.ask("board/white/set", "75")
    assert answer == {"ok": True, "state": "ON", "brightness": 75}
    assert led(board) == 143
    mqtt.publish("board/white/set", "OFF")


def test_keyboards_led_is_taken_from_its_trigger(board, mqtt):
    assert "[none]" in board.read(f"{LEDS}/input0::capslock/trigger")  # it was [kbd-capslock]
    for payload, level in (("ON", 1), ("OFF", 0), ("5", 1), ("0", 0)):
        assert mqtt.publish("board/caps/set", payload).reason == 0
        assert led(board, "input0::capslock") == level, payload


def test_lamp_that_vanishes_comes_back_lit(board, mqtt):
    mqtt.subscribe("board/white/#")
    mqtt.publish("board/white/set", "100")
    mark = mqtt.mark()
    board.sh("kill $(cat /run/lamp.pid); while [ -e /sys/class/leds/board:white:lamp ]; do usleep 10000; done")
    ack = mqtt.publish("board/white/set", "50")
    assert ack.reason == REFUSED
    assert "no LED board:white:lamp" in ack.text
    mqtt.expect("board/white/fault", "no LED board:white:lamp", since=mark)
    board.sh("make-lamp")
    mqtt.expect("board/white/fault", "", since=mark)
    wait_until(lambda: led(board) == 255, "light")
    assert mqtt.publish("board/white/set", "0").reason == 0
    assert led(board) == 0


@pytest.mark.parametrize("name", ["strip", "white"])
def test_pain19_retained_command_is_carried_out_once(board, mqtt, name):
    mqtt.publish(f"board/{name}/set", "30", retain=True)
    late = mqtt.another("late").subscribe(f"board/{name}/#")
    late.expect(f"board/{name}", "30")
    late.settle()
    assert not [message for message in late.messages if message.topic.endswith("/set")]
    mqtt.publish(f"board/{name}/set", "0")

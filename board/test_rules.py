"""Rules and links on the QEMU board: from the kernel's edge, or a real driver's reading, to the kernel's own account of the
line that they switch. One daemon, that of test_board.py; each test leaves its outputs off."""

import time

from test_board import READING_SECONDS
from test_inputs import pull
from test_outputs import gpio, lasted, pulses

PATIENCE_SECONDS = 10


def until(board, line, level):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while gpio(board, line) != level:
        assert time.monotonic() < deadline, f"line {line} is not {level}"


def test_a_link_needs_no_client(board):
    """No client is connected: the edge alone switches the line."""
    for level in ("1", "0"):
        board.write(pull(16), "pull-up")
        until(board, 25, level)
        board.write(pull(16), "pull-down")
        board.sh("usleep 50000")


def test_a_link_says_that_it_was_it(board, mqtt):
    mqtt.subscribe("board/light")
    for payload in ("ON", "OFF"):
        mark = mqtt.mark()
        board.write(pull(16), "pull-up")
        assert mqtt.expect("board/light", payload, since=mark).user["by"] == "link:wall"
        board.write(pull(16), "pull-down")
        board.sh("usleep 50000")


def test_a_reading_switches_a_line(board, mqtt):
    """From the lm75 driver's file through a comparison to the line, and back below the other one."""
    mqtt.subscribe("board/#")
    mqtt.expect("board/temperature", "23.5", seconds=READING_SECONDS)
    bus = board.read("/run/i2c-bus")
    for register, payload, level, rule in (("0x001f", "ON", "1", "warm"), ("0x8017", "OFF", "0", "cool")):
        mark = mqtt.mark()
        board.sh(f"i2cset -f -y {bus} 0x48 0 {register} w")
        state = mqtt.expect("board/fan", payload, since=mark, seconds=READING_SECONDS)
        assert state.user["by"] == f"rule:{rule}"
        assert gpio(board, 24) == level


def test_a_condition_must_last(board, mqtt):
    """`for: 300ms`: a shorter time sets nothing off, a longer one a pulse of the length that the rule says."""
    mqtt.subscribe("board/wall")
    board.forget_history()
    mark = mqtt.mark()
    board.write(pull(16), "pull-up")
    mqtt.expect("board/wall", "ON", since=mark)
    board.write(pull(16), "pull-down")
    mqtt.expect("board/wall", "OFF", since=mark)
    time.sleep(0.5)
    assert pulses(board.levels(26)) == []
    board.write(pull(16), "pull-up")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(board.levels(26)) < 2:
        assert time.monotonic() < deadline, "no pulse"
    board.write(pull(16), "pull-down")
    assert lasted(pulses(board.levels(26))[0], 0.1)
    until(board, 25, "0")


def test_a_clients_message_sets_a_rule_off(board, mqtt):
    mqtt.subscribe("board/told")
    mqtt.publish("board/elsewhere", "stay")
    mqtt.publish("board/elsewhere", "go")
    assert mqtt.expect("board/told", "lit").payload == "lit"
    until(board, 25, "1")
    mqtt.publish("board/light/set", "OFF")
    until(board, 25, "0")

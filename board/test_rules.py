"""Rules and links on the QEMU board: from the kernel's edge, or a real driver's reading, to the kernel's own account of the
line that they switch. One daemon, that of test_board.py; each test leaves its outputs off."""

import pytest

from test_board import wait_until
from test_inputs import pull
from test_outputs import gpio, lasted, pulses

# A press of the button, and a pause after it.
PRESS = f"echo pull-up > {pull(16)}; usleep 50000; echo pull-down > {pull(16)}; usleep 50000"


def until(board, line, level):
    wait_until(lambda: gpio(board, line) == level, f"level {level} of line {line}")


@pytest.mark.libgpiod
def test_a_link_needs_no_client(board):
    """No client is connected: the edge alone switches the line."""
    for level in ("1", "0"):
        board.sh(PRESS)
        until(board, 25, level)


def test_a_link_says_that_it_was_it(board, mqtt):
    mqtt.subscribe("board/light")
    for payload in ("ON", "OFF"):
        mark = mqtt.mark()
        board.sh(PRESS)
        assert mqtt.expect("board/light", payload, since=mark).user["by"] == "link:wall"


def test_a_reading_switches_a_line(board, mqtt):
    """From the lm75 driver's file through a comparison to the line, and back below the other one."""
    mqtt.subscribe("board/#")
    mqtt.expect("board/temperature", "23.5")
    bus = board.read("/run/i2c-bus")
    for register, payload, level, rule in (("0x001f", "ON", "1", "warm"), ("0x8017", "OFF", "0", "cool")):
        mark = mqtt.mark()
        board.sh(f"i2cset -f -y {bus} 0x48 0 {register} w")
        state = mqtt.expect("board/fan", payload, since=mark)
        assert state.user["by"] == f"rule:{rule}"
        assert gpio(board, 24) == level


def test_a_condition_must_last(board, mqtt):
    """`for: 300ms`: a shorter time sets nothing off, a longer one a pulse of the length that the rule says."""
    mqtt.subscribe("board/wall").subscribe("board/chime")
    board.forget_history()
    with board.awake():
        for press, pause, chimes in ((200_000, 500_000, []), (400_000, 500_000, ["ON", "OFF"])):
            mark = mqtt.mark()
            edge = f"echo pull-up > {pull(16)}; usleep {press}; echo pull-down > {pull(16)}"
            board.sh(f"{edge}; usleep {pause}")
            for payload in ("ON", "OFF"):
                mqtt.expect("board/wall", payload, since=mark)
            mqtt.settle()
            assert [message.payload for message in mqtt.on_topic("board/chime", mark)] == chimes
    (pulse,) = pulses(board.levels(26))
    assert lasted(pulse, 0.1)
    # The link of the same button: twice pressed.
    (on, is_on), (off, is_off) = board.levels(25)
    assert (is_on, is_off) == (True, False)
    # The chime's pulse begins 300 ms after the second press, no earlier.
    assert lasted(board.levels(26)[0][0] - off, 0.3)


def test_a_clients_message_sets_a_rule_off(board, mqtt):
    mqtt.subscribe("board/told")
    mqtt.publish("board/elsewhere", "stay")
    mqtt.publish("board/elsewhere", "go")
    assert mqtt.expect("board/told", "lit").payload == "lit"
    until(board, 25, "1")
    mqtt.publish("board/light/set", "OFF")
    until(board, 25, "0")

"""`tapline blink` and `tapline watch` on the QEMU board's real chip, beside the daemon that holds the others of its lines;
what they do to a line is in the kernel's own account. Line GPIO0 and GPIO1 are free."""

import re

import pytest

from rig import GuestError
from test_board import wait_until
from test_inputs import pull


@pytest.mark.libgpiod
def test_blink_switches_a_free_line_and_gives_it_back(board):
    board.forget_history()
    rows = board.sh("tapline blink -n 3 --on 20 GPIO0").splitlines()
    assert rows[0].startswith("GPIO0 (") and "switching it 3 times" in rows[0]
    assert rows[-1] == "given back: input, was low"
    account = board.account()
    levels = [level for _, level in account.levels(0)]
    assert levels[-6:] == [True, False] * 3, levels
    assert account.directions(0)[-1] is False  # an input again


@pytest.mark.libgpiod
def test_blink_refuses_a_line_of_the_daemon(board, mqtt):
    board.forget_history()
    with pytest.raises(GuestError) as refused:
        board.sh("tapline blink -n 1 --on 20 GPIO17")
    assert "tapline:relay" in str(refused.value)
    assert board.levels(17) == []
    assert mqtt.publish("board/relay/set", "OFF").reason == 0


@pytest.mark.libgpiod
def test_watch_prints_edges_with_the_kernels_time(board):
    before = float(board.sh("cut -d ' ' -f 1 /proc/uptime"))
    board.sh("echo pull-down > /run/gpio/sim_gpio1/pull; tapline watch --times 4 GPIO1 > /run/watched 2>&1 < /dev/null &")
    wait_until(lambda: "low" in board.read("/run/watched"), "watching")
    for level in ("pull-up", "pull-down") * 2:
        board.write(pull(1), level)
    wait_until(lambda: len(board.read("/run/watched").splitlines()) >= 5, "four edges")
    rows = board.read("/run/watched").splitlines()
    assert rows[0].startswith("GPIO1 (") and rows[0].endswith("low")
    edges = [re.fullmatch(r" *(\d+\.\d{6})  GPIO1 +(high|low)", row).groups() for row in rows[1:5]]
    assert [level for _, level in edges] == ["high", "low", "high", "low"]
    seconds = [float(text) for text, _ in edges]
    up = float(board.sh("cut -d ' ' -f 1 /proc/uptime"))
    assert seconds == sorted(seconds)
    # Told to a hundredth of a second, and rounded down.
    assert before <= seconds[0] <= seconds[-1] <= up + 0.01

"""Start and end of the daemon on the QEMU board: what the kernel's lines have before, between and after.

The simulated chip lets a line fall back to its pull when it is let go, as most kernels do, or lets it keep its level as
a Raspberry Pi's does (/sys/module/gpio_sim/parameters/keep). The first test ends the daemon of the tests before.
"""

import pytest

from rig import GuestError
from test_levels import led, pwm

KEEP = "/sys/module/gpio_sim/parameters/keep"
# Lines of guest/restart.yaml
OFF, ON, KEPT, INVERTED, RELEASED, ALARM, VALVE, UP, DOWN, RESTORED = range(2, 12)
NAMES = {KEPT: "kept", INVERTED: "inverted", RELEASED: "released", ALARM: "alarm", VALVE: "valve", UP: "up", RESTORED: "restored"}


def gpio(board, line):
    return int(board.read(f"/run/gpio/sim_gpio{line}/value"))


def values(board):
    lines = range(OFF, RESTORED + 1)
    text = board.sh("cd /run/gpio; cat " + " ".join(f"sim_gpio{line}/value" for line in lines))
    return dict(zip(lines, map(int, text.split())))


def switch(mqtt, name, payload):
    """Until it is so: one of a group waits for the dead time after the start, too."""
    mqtt.subscribe(f"board/{name}")
    assert mqtt.publish(f"board/{name}/set", payload).reason == 0
    mqtt.expect(f"board/{name}", payload)


@pytest.fixture
def restarted(board):
    """The daemon with restart.yaml, on a kernel whose lines keep their level; ended after the test."""
    board.write(KEEP, "Y")
    board.sh(f"for l in $(seq {OFF} {RESTORED}); do echo pull-down > /run/gpio/sim_gpio$l/pull; done; rm -f /run/tapline.state")
    board.forget_history()
    board.serve("restart.yaml")
    yield board
    if not board.is_stopped():
        board.stop("KILL")
    board.write(KEEP, "N")


@pytest.mark.libgpiod
def test_pain20_term_ends_it_within_a_second(board, mqtt):
    mqtt.subscribe("board/status").subscribe("board/relay")
    mqtt.expect("board/status", "online")
    mqtt.publish("board/relay/set", "ON")
    board.forget_history()
    with board.awake():
        status, seconds = board.stop()
    board.note(f"TERM to the end: {seconds:.2f} s")
    assert status == 0
    assert seconds < 1.0  # of the guest's own time
    mqtt.expect("board/status", "offline")
    assert [level for _, level in board.levels(17)] == [False]  # on_exit: safe


@pytest.mark.libgpiod
def test_pain01_start_moves_each_line_once(restarted, mqtt):
    board = restarted
    mqtt.subscribe("board/#")
    expected = {OFF: 0, ON: 1, KEPT: 0, INVERTED: 0, RELEASED: 0, ALARM: 0, VALVE: 1, UP: 0, DOWN: 0, RESTORED: 0}
    assert values(board) == expected
    account = board.account()
    for line, level in expected.items():
        assert [found for _, found in account.levels(line)] == [bool(level)], line
    assert mqtt.expect("board/inverted", "ON")  # low, as found
    assert mqtt.expect("board/valve", "OFF")


@pytest.mark.libgpiod
def test_on_exit_safe_keep_and_release(restarted, mqtt):
    board = restarted
    for name in NAMES.values():
        switch(mqtt, name, "ON")
    mqtt.publish("board/alarm/set", "OFF")
    board.forget_history()
    status, _ = board.stop()
    assert status == 0
    found = values(board)
    assert found[KEPT] == 1 and found[INVERTED] == 0  # as they were
    account = board.account()
    assert account.levels(KEPT) == account.levels(INVERTED) == []
    assert found[ALARM] == 1 and found[VALVE] == 1 and found[UP] == 0 and found[ON] == 0  # safe
    assert account.directions(RELEASED) == [False]


@pytest.mark.libgpiod
def test_pain22_keep_goes_through_a_restart(restarted, mqtt):
    """What is on stays on, without a moment of anything else; on_exit: keep and initial: keep."""
    board = restarted
    mqtt.publish("board/kept/set", "ON")
    mqtt.publish("board/inverted/set", "OFF")
    board.forget_history()
    board.stop()
    board.serve("restart.yaml")
    again = mqtt.another("after").subscribe("board/#")
    again.expect("board/kept", "ON")
    again.expect("board/inverted", "OFF")
    assert {level for _, level in board.levels(KEPT)} <= {True}
    assert {level for _, level in board.levels(INVERTED)} <= {True}
    assert (gpio(board, KEPT), gpio(board, INVERTED)) == (1, 1)


@pytest.mark.libgpiod
def test_kill_leaves_what_the_kernel_makes_of_it(restarted, mqtt):
    """The reason for `tapline safe`: where the kernel keeps levels, nobody makes anything safe after SIGKILL."""
    board = restarted
    for name in NAMES.values():
        switch(mqtt, name, "ON")
    before = values(board)
    board.forget_history()
    status, _ = board.stop("KILL")
    assert status == 137
    assert values(board) == before
    account = board.account()
    assert all(account.levels(line) == [] for line in NAMES)
    # And it starts again on lines that are still on.
    board.serve("restart.yaml")
    late = mqtt.another("after").subscribe("board/#")
    late.expect("board/up", "OFF")
    assert gpio(board, UP) == 0


@pytest.mark.libgpiod
def test_restore_is_in_the_request(restarted, mqtt):
    """What was commanded last, from the line's request on."""
    board = restarted
    mqtt.publish("board/restored/set", "ON")
    assert board.stop()[0] == 0
    assert gpio(board, RESTORED) == 0  # on_exit: safe
    board.forget_history()
    board.serve("restart.yaml")
    mqtt.another("after").subscribe("board/restored").expect("board/restored", "ON")
    assert [level for _, level in board.levels(RESTORED)] == [True]


def test_levels_at_the_end(restarted, mqtt):
    board = restarted
    for name in ("vent", "strip"):
        assert mqtt.publish(f"board/{name}/set", "80").reason == 0
    assert (pwm(board, 0)[2], pwm(board, 1)[2]) == (800_000, 800_000)
    assert board.stop()[0] == 0
    assert pwm(board, 0) == (True, 1_000_000, 100_000, "normal")  # safe: 10
    assert pwm(board, 1)[0] is False  # released
    assert led(board) == 255  # kept
    board.serve("restart.yaml")
    mqtt.another("after").subscribe("board/vent").expect("board/vent", "80")  # initial: restore
    assert pwm(board, 0)[2] == 800_000


def test_pain21_levels_are_safe_after_kill(restarted, mqtt):
    board = restarted
    for name in ("vent", "strip"):
        assert mqtt.publish(f"board/{name}/set", "80").reason == 0
    assert board.stop("KILL")[0] == 137
    assert (pwm(board, 0)[2], pwm(board, 1)[2]) == (800_000, 800_000)
    rows = board.sh("tapline safe -c /etc/restart.yaml").splitlines()
    for name in ("vent", "strip", "white"):
        assert any(name in row for row in rows), rows
    assert pwm(board, 0) == (True, 1_000_000, 100_000, "normal")
    assert pwm(board, 1)[2] == 0
    assert led(board) == 255


@pytest.mark.libgpiod
@pytest.mark.parametrize("keeps", [True, False])
def test_pain21_safe_after_kill(restarted, mqtt, keeps):
    """Every output has its safe value, whatever the kernel makes of lines that nobody holds."""
    board = restarted
    for name in NAMES.values():
        switch(mqtt, name, "ON")
    mqtt.publish("board/alarm/set", "OFF")
    assert board.stop("KILL")[0] == 137
    before = values(board)
    assert (before[ON], before[ALARM], before[VALVE], before[UP]) == (1, 0, 0, 1)  # nothing is safe
    board.write(KEEP, "Y" if keeps else "N")
    board.forget_history()
    rows = board.sh("tapline safe -c /etc/restart.yaml").splitlines()
    for name in ("off", "on", "alarm", "valve", "up", "down", "released", "kept"):
        assert any(name in row for row in rows), rows
    safe = {OFF: 0, ON: 0, ALARM: 1, VALVE: 1, UP: 0, DOWN: 0, RESTORED: 0}
    account = board.account()
    for line, level in safe.items():
        assert [found for _, found in account.levels(line)] == [bool(level)], line
    assert account.directions(RELEASED) == [False]
    assert account.levels(KEPT) == account.levels(INVERTED) == []
    after = values(board)
    if keeps:
        assert {line: after[line] for line in safe} == safe
        assert (after[KEPT], after[INVERTED]) == (1, 0)
    else:  # to their pulls
        assert after[ALARM] == 0


@pytest.mark.libgpiod
def test_safe_leaves_a_running_daemon_alone(restarted, mqtt):
    board = restarted
    switch(mqtt, "up", "ON")
    board.forget_history()
    with pytest.raises(GuestError) as refused:
        board.sh("tapline safe -c /etc/restart.yaml")
    assert "tapline:up" in str(refused.value)
    assert gpio(board, UP) == 1
    account = board.account()
    assert all(account.history(line) == [] for line in NAMES)
    assert mqtt.publish("board/up/set", "OFF").reason == 0


@pytest.mark.libgpiod
def test_pain18_no_root_is_needed(restarted, mqtt):
    """A user of the group that has the chips, as Debian's and Raspberry Pi OS's rules make it."""
    board = restarted
    board.stop()
    board.sh("chgrp gpio /dev/gpiochip*; chmod 660 /dev/gpiochip*")
    board.serve("restart.yaml", user="tapline")
    assert "1000 1000 1000 1000" in " ".join(board.read(f"/proc/{board.read('/run/tapline.pid')}/status").split())
    client = mqtt.another("after").subscribe("board/#")
    switch(client, "up", "ON")
    assert gpio(board, UP) == 1

"""Outputs on the QEMU board, driven over MQTT and checked in the kernel's own account of its lines: `board.levels` is
what the kernel drove a line to, and when. One daemon, that of test_board.py; each test leaves its outputs off."""

import json

import pytest

import inside
from client import NOT_UNDERSTOOD, REFUSED

# What a timer may be late by in a guest that is awake(), so that this machine's pauses are not in it; and the median of many.
LATE_SECONDS = 0.01
LATE_MEDIAN_SECONDS = 0.001
# A time counts from the moment at which the command was read; the line is set a little later.
EARLY_SECONDS = 0.002


UPTIME = "cut -d ' ' -f 1 /proc/uptime"


def pulses(levels):
    """[(seconds on, ...)] of a line's history: how long it was high each time."""
    assert not levels or levels[0][1], levels
    ends = levels[1::2] + ([] if len(levels) % 2 == 0 else [(float("inf"), False)])
    return [end - start for (start, _), (end, _) in zip(levels[::2], ends)]


def lasted(seconds, wanted):
    """Whether it was as long as that, measured while the guest was awake()."""
    return wanted - EARLY_SECONDS <= seconds <= wanted + LATE_SECONDS


def gpio(board, line):
    return board.read(f"/run/gpio/sim_gpio{line}/value")


# One output


def test_words_toggle_and_json(board, mqtt):
    mqtt.subscribe("board/relay")
    for payload, level in (
        ("ON", "1"), ("toggle", "0"), ("1", "1"), ("false", "0"), ('{"state":"ON"}', "1"), ('{"state":false}', "0"),
        (' { "state" : "TOGGLE" } ', "1"), (" off\n", "0"),
    ):
        assert mqtt.publish("board/relay/set", payload).reason == 0
        assert gpio(board, 17) == level, payload
    for payload in ("", "ONN", '{"state":"ON"', '{"state":"ON","for":0}', '{"state":"ON","fro":"1s"}', "2", '{"for":"1s"}'):
        ack = mqtt.publish("board/relay/set", payload)
        assert (ack.reason, ack.text != "") == (NOT_UNDERSTOOD, True), payload
    assert gpio(board, 17) == "0"


def test_state_says_who_changed_it(board, mqtt):
    mqtt.subscribe("board/relay")
    other = mqtt.another("somebody-else")
    for client, name, payload in ((mqtt, mqtt.name, "ON"), (other, "somebody-else", "OFF")):
        mark = mqtt.mark()
        client.publish("board/relay/set", payload)
        assert mqtt.expect("board/relay", payload, since=mark).user["by"] == name
    assert gpio(board, 17) == "0"


def test_response_topic_is_answered(board, mqtt):
    answer, ack = mqtt.ask("board/relay/set", "ON", b"\0\xff")
    assert (answer["ok"], answer["state"], ack.reason) == (True, "ON", 0)
    assert gpio(board, 17) == "1"
    answer, ack = mqtt.ask("board/relay/set", "sideways", b"2")
    assert (answer["ok"], ack.reason) == (False, NOT_UNDERSTOOD)
    assert answer["reason"] == ack.text
    answer, _ = mqtt.ask("board/relay/set", "OFF")
    assert answer["state"] == "OFF"
    assert gpio(board, 17) == "0"


@pytest.mark.libgpiod
def test_active_low(board, mqtt):
    mqtt.subscribe("board/inverted")
    mqtt.expect("board/inverted", "OFF")
    assert gpio(board, 5) == "1"
    for payload, level in (("ON", "0"), ("OFF", "1")):
        mqtt.publish("board/inverted/set", payload)
        assert gpio(board, 5) == level


@pytest.mark.libgpiod
def test_drive_modes(board, mqtt):
    """The simulated chip has no such modes: the kernel makes them by driving one level only and else nothing."""
    board.forget_history()
    for name in ("sink", "source"):
        for payload in ("ON", "OFF"):
            mqtt.publish(f"board/{name}/set", payload)
    account = board.account()
    assert account.directions(6) == [False, True]  # open drain: ON drives nothing
    assert account.directions(7) == [True, False]
    assert gpio(board, 6) == "0"


def test_pain19_retained_command_is_not_kept(board, mqtt):
    mqtt.publish("board/relay/set", "ON", retain=True)
    mqtt.publish("board/relay/set", "OFF", retain=True)
    assert gpio(board, 17) == "0"
    late = mqtt.another("late").subscribe("board/relay/set")
    late.settle()
    assert late.on_topic("board/relay/set") == []


def test_pain20_a_storm_of_clients_moves_no_line(board, mqtt):
    """Clients that come, go and reconnect are no commands."""
    mqtt.publish("board/relay/set", "ON")
    board.forget_history()
    for index in range(10):
        client = mqtt.another(f"storm-{index % 3}")
        client.subscribe("board/#").settle()
        client.drop()
    assert gpio(board, 17) == "1"
    account = board.account()
    assert [account.history(line) for line in (2, 3, 4, 5, 8, 9, 10, 17)] == [[]] * 8
    mqtt.publish("board/relay/set", "OFF")


# Times


def test_pain09_pulses_are_as_long_as_asked(board, mqtt):
    """Each by the kernel's own clock, from level to level."""
    mqtt.subscribe("board/gate")
    board.forget_history()
    wanted = []
    with board.awake():
        for payload, seconds in (("", 0.2), ("50", 0.05), ('{"for":"120ms"}', 0.12), *[("20", 0.02)] * 20):
            mark = mqtt.mark()
            assert mqtt.publish("board/gate/pulse", payload).reason == 0
            assert mqtt.expect("board/gate", "OFF", since=mark).user["by"] == "timer"
            wanted.append(seconds)
    found = pulses(board.levels(3))
    assert len(found) == len(wanted)
    assert all(lasted(*pair) for pair in zip(found, wanted)), found
    late = sorted(seconds - length for seconds, length in zip(found, wanted))
    assert -0.001 < late[len(late) // 2] < LATE_MEDIAN_SECONDS, late
    board.note(f"{len(late)} pulses: longer by {late[len(late) // 2] * 1000:.2f} ms in the median, {late[-1] * 1000:.2f} at most")


def test_timed_set_goes_back(board, mqtt):
    mqtt.subscribe("board/lamp")
    mqtt.publish("board/lamp/set", "ON")
    board.forget_history()
    mark = mqtt.mark()
    with board.awake():
        mqtt.publish("board/lamp/set", '{"state":"OFF","for":"150ms"}')
        mqtt.expect("board/lamp", "OFF", since=mark)
        mqtt.expect("board/lamp", "ON", since=mark)
    (off, level), (on, again) = board.levels(2)
    assert (level, again) == (False, True)
    assert lasted(on - off, 0.15)
    mqtt.publish("board/lamp/set", "OFF")
    mqtt.settle()
    mark = mqtt.mark()
    mqtt.publish("board/lamp/set", '{"state":"ON","for":0.1}')
    mqtt.expect("board/lamp", "OFF", since=mark)
    assert gpio(board, 2) == "0"


def test_pain10_overlapping_times_end_as_one(board, mqtt):
    mqtt.subscribe("board/gate")
    board.forget_history()
    mark = mqtt.mark()
    inside.play(board, "overlap", [*[("board/gate/pulse", "300"), 0.05] * 5, 0.5])
    mqtt.settle()
    assert [message.payload for message in mqtt.on_topic("board/gate", mark)].count("OFF") == 1
    (seconds,) = pulses(board.levels(3))
    # 4 x 50 ms and a whole one; the shell that sends them takes its time, too.
    assert 0.5 - EARLY_SECONDS <= seconds <= 0.75
    assert gpio(board, 3) == "0"


def test_pain21_max_on_ends_whatever_came_between(board, mqtt):
    mqtt.subscribe("board/capped")
    board.forget_history()
    mark = mqtt.mark()
    inside.play(board, "insisting", [*[("board/capped/set", "ON"), 0.15] * 3, 0.3])
    mqtt.expect("board/capped", "OFF", since=mark)
    (seconds,) = pulses(board.levels(4))
    assert lasted(seconds, 0.5)


def test_min_on_and_min_off(board, mqtt):
    board.forget_history()
    on, off = (("board/compressor/set", payload) for payload in ("ON", "OFF"))
    # Each is refused at once, a little before its time is over, and then not.
    found = inside.play(board, "compressor", [on, off, 0.6, off, 0.15, off, on, 0.6, on, 0.15, on, 0.75, off])
    reasons = [answer.text.split()[0].rstrip(":,") if answer.reason == REFUSED else answer.reason for answer in found]
    assert reasons == [0, "min_on", "min_on", 0, "min_off", "min_off", 0, 0]
    changes = board.levels(19)
    assert [level for _, level in changes] == [True, False, True, False]
    gaps = [after - before for (before, _), (after, _) in zip(changes, changes[1:])]
    assert all(0.7 - EARLY_SECONDS <= gap for gap in gaps), gaps


def test_stats_count_what_the_line_did(board, mqtt):
    mqtt.subscribe("board/gate/stats")
    text = mqtt.expect("board/gate/stats", lambda _: True).payload
    assert set(json.loads(text)) == {"cycles", "on_ms", "late"}


# Groups


def on_times(levels, is_low=False):
    """[(from, to)] in which a line was on."""
    found = []
    for seconds, level in levels:
        if level != is_low:
            found.append([seconds, float("inf")])
        elif found:
            found[-1][1] = seconds
    return found


def test_interlock_waits_for_the_dead_time(board, mqtt):
    """Two clients quarrel about the shutter; in the kernel's account the two lines are never on together."""
    other = mqtt.another("quarrel")
    mqtt.subscribe("board/shutter_up").subscribe("board/shutter_down")
    board.forget_history()
    for index in range(4):  # each waits for its turn
        name = ("up", "down")[index % 2]
        mark = mqtt.mark()
        mqtt.publish(f"board/shutter_{name}/set", "ON")
        mqtt.expect(f"board/shutter_{name}", "ON", since=mark)
    for index in range(30):  # nobody waits
        client, name = (mqtt, other)[index % 2], ("up", "down")[index % 3 % 2]
        client.publish(f"board/shutter_{name}/set", ("ON", "TOGGLE", "ON", "OFF", "ON")[index % 5])
    mark = mqtt.mark()
    for name in ("down", "up"):
        mqtt.publish(f"board/shutter_{name}/set", "ON")
    mqtt.expect("board/shutter_up", "ON", since=mark)
    account = board.account()
    up, down = on_times(account.levels(8)), on_times(account.levels(9), is_low=True)
    assert up and down
    spans = sorted([*up, *down])
    for (_, end), (start, _) in zip(spans, spans[1:]):
        assert end < start, spans
    # From one line's end to the other one's start, never shorter; the trace has microseconds.
    gaps = []
    for one, two in ((up, down), (down, up)):
        for start, _ in two:
            gaps += [min(start - end for _, end in one if end <= start)] if any(end <= start for _, end in one) else []
    assert gaps and all(gap >= 0.2 - 0.000002 for gap in gaps), gaps
    board.note(f"interlock: {len(spans)} times on, dead time {min(gaps) * 1000:.1f} ms at least")
    for name in ("up", "down"):
        mqtt.publish(f"board/shutter_{name}/set", "OFF")


def test_interlock_names_itself(board, mqtt):
    mark = mqtt.subscribe("board/shutter_up").mark()
    mqtt.publish("board/shutter_up/set", "ON")
    mqtt.expect("board/shutter_up", "ON", since=mark)
    mark = mqtt.mark()
    mqtt.publish("board/shutter_down/set", "ON")
    assert mqtt.expect("board/shutter_up", "OFF", since=mark).user["by"] == "interlock"
    mqtt.publish("board/shutter_down/set", "OFF")
    mqtt.settle()
    assert (gpio(board, 8), gpio(board, 9)) == ("0", "1")


def test_interlock_refuses(board, mqtt):
    mqtt.publish("board/pump_one/set", "ON")
    answer, ack = mqtt.ask("board/pump_two/set", "ON")
    assert ack.reason == REFUSED
    assert "pump_one" in ack.text and answer == {"ok": False, "reason": ack.text}
    assert (gpio(board, 20), gpio(board, 21)) == ("1", "0")
    mqtt.publish("board/pump_one/set", "OFF")


# Leases


def test_pain21_lease_ends_with_its_client(board, mqtt):
    mqtt.subscribe("board/heater")
    thermostat = mqtt.another("thermostat")
    board.forget_history()
    thermostat.publish("board/heater/set", "ON")
    thermostat.settle()
    mark = mqtt.mark()
    alive = float(board.sh(UPTIME))
    thermostat.drop()
    assert mqtt.expect("board/heater", "OFF", since=mark).user["by"] == "lease"
    (_, is_on), (end, is_on_then) = board.levels(10)
    assert (is_on, is_on_then) == (True, False)
    assert end - alive >= 1.0
    board.note(f"a lease of 1 s ends its output {end - alive:.2f} s after its client was last seen")
    assert gpio(board, 10) == "0"


def test_lease_survives_a_reconnect(board, mqtt):
    """The client dies twice: it is back within the grace time once, and stays for longer than that."""
    mark = mqtt.subscribe("board/heater").mark()
    board.forget_history()
    lives = (inside.session("thermostat", steps) for steps in ([("board/heater/set", "ON")], [1.5]))
    with board.awake():
        alive = float(board.sh("; ".join([*lives, UPTIME])))
    mqtt.expect("board/heater", "OFF", since=mark)
    (start, is_on), (end, is_on_then) = board.levels(10)
    assert (is_on, is_on_then) == (True, False)
    assert start + 1.5 < alive < end

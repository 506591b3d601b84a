"""Outputs on the QEMU board, driven over MQTT and checked in the kernel's own account of its lines: `board.levels` is
what the kernel drove a line to, and when. One daemon, that of test_board.py; each test leaves its outputs off."""

import json
import time

from client import NOT_UNDERSTOOD, REFUSED

# What a timer may be late by on this machine, which emulates the processor and has other things to do as well; and the
# median of many.
LATE_SECONDS = 2.0
LATE_MEDIAN_SECONDS = 0.02
# A time counts from the moment at which the command was read; the line is set a little later, and this machine may do
# something else in between. The median is not early.
EARLY_SECONDS = 0.04


def pulses(levels):
    """[(seconds on, ...)] of a line's history: how long it was high each time."""
    assert not levels or levels[0][1], levels
    ends = levels[1::2] + ([] if len(levels) % 2 == 0 else [(float("inf"), False)])
    return [end - start for (start, _), (end, _) in zip(levels[::2], ends)]


def lasted(seconds, wanted):
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


def test_active_low(board, mqtt):
    mqtt.subscribe("board/inverted")
    mqtt.expect("board/inverted", "OFF")
    assert gpio(board, 5) == "1"
    for payload, level in (("ON", "0"), ("OFF", "1")):
        mqtt.publish("board/inverted/set", payload)
        assert gpio(board, 5) == level


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
    board.forget_history()
    mark = mqtt.mark()
    mqtt.publish("board/lamp/set", '{"state":"OFF","for":"150ms"}')  # it is on from the start
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
    for _ in range(5):
        mqtt.publish("board/gate/pulse", "300")
        time.sleep(0.05)
    mqtt.expect("board/gate", "OFF", since=mark)
    (seconds,) = pulses(board.levels(3))
    assert 0.5 - EARLY_SECONDS <= seconds <= 1.5  # 4 x 50 ms and a whole one
    assert gpio(board, 3) == "0"


def test_pain21_max_on_ends_whatever_came_between(board, mqtt):
    mqtt.subscribe("board/capped")
    board.forget_history()
    mark = mqtt.mark()
    for _ in range(3):
        mqtt.publish("board/capped/set", "ON")
    mqtt.expect("board/capped", "OFF", since=mark)
    (seconds,) = pulses(board.levels(4))
    assert lasted(seconds, 0.5)


def test_min_on_and_min_off(board, mqtt):
    mqtt.subscribe("board/compressor")
    board.forget_history()
    for payload, other, reason in (("ON", "OFF", "min_on"), ("OFF", "ON", "min_off")):
        assert mqtt.publish("board/compressor/set", payload).reason == 0
        ack = mqtt.publish("board/compressor/set", other)
        assert ack.reason == REFUSED
        assert ack.text.startswith(reason)
        end = time.monotonic() + 5
        while mqtt.publish("board/compressor/set", other).reason != 0:
            assert time.monotonic() < end
            time.sleep(0.02)
    mqtt.settle()
    changes = board.levels(19)
    gaps = [after - before for (before, _), (after, _) in zip(changes, changes[1:])]
    assert len(gaps) == 2
    assert all(0.7 - EARLY_SECONDS <= gap for gap in gaps), gaps
    time.sleep(0.7)  # min_on
    assert mqtt.publish("board/compressor/set", "OFF").reason == 0


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
    mqtt.subscribe("board/shutter_up")
    mqtt.publish("board/shutter_up/set", "ON")
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
    thermostat.drop()
    start = time.monotonic()
    assert mqtt.expect("board/heater", "OFF", since=mark).user["by"] == "lease"
    board.note(f"a lease of 1 s ends its output {time.monotonic() - start:.2f} s after its client's death")
    (seconds,) = pulses(board.levels(10))
    assert seconds >= 1.0
    assert gpio(board, 10) == "0"


def test_lease_survives_a_reconnect(board, mqtt):
    thermostat = mqtt.another("thermostat")
    thermostat.publish("board/heater/set", "ON")
    board.forget_history()
    thermostat.drop()
    again = mqtt.another("thermostat")
    end = time.monotonic() + 1.5  # the grace time and more: nothing may happen
    while time.monotonic() < end:
        again.settle()
        assert gpio(board, 10) == "1"
    assert board.history(10) == []
    again.publish("board/heater/set", "OFF")

"""Inputs and counters on the QEMU board: edges are made on the simulated chip inside the guest, messages are read here.
One daemon, that of test_board.py; `edges` is guest/edges.c."""

import json
import re
from datetime import datetime

import pytest

from client import NOT_UNDERSTOOD
from rig import NOW, GuestError

# Of the processor, which does 250 million instructions a second.
IDLE_SHARE_MAX = 0.01


def pull(line):
    return f"/run/gpio/sim_gpio{line}/pull"


def edges(board, line, count, pause_us=0):
    """The seconds that `count` edges took, up first; with a pause after each."""
    return int(board.sh(f"edges {pull(line)} {count} {pause_us}")) / 1e6


def seconds(message):
    """The moment of a message's user property or JSON member `ts`."""
    return datetime.fromisoformat(message if isinstance(message, str) else message.user["ts"]).timestamp()


def is_gpiod2(board):
    return board.name.endswith("gpiod2")


def low(board, mqtt, name, line):
    """The line is low and the input has said so."""
    board.write(pull(line), "pull-down")
    mqtt.subscribe(f"board/{name}")
    mqtt.expect(f"board/{name}", "OFF")
    return mqtt.mark()


# Inputs


@pytest.mark.libgpiod
def test_pain05_bounces_are_one_change(board, mqtt):
    mark = low(board, mqtt, "settled", 11)
    edges(board, 11, 11, pause_us=2000)  # ends high
    mqtt.expect("board/settled", "ON", since=mark)
    edges(board, 11, 10, pause_us=2000)  # ends low, and began high
    board.write(pull(11), "pull-down")
    mqtt.expect("board/settled", "OFF", since=mark)
    # Shorter than the debounce: no change; low for longer than it, then a change again.
    board.sh(f"edges {pull(11)} 2 5000 > /dev/null; usleep 150000; echo pull-up > {pull(11)}")
    mqtt.wait(lambda: len(mqtt.on_topic("board/settled", mark)) >= 3, "a third state")
    board.write(pull(11), "pull-down")
    mqtt.wait(lambda: len(mqtt.on_topic("board/settled", mark)) >= 4, "a fourth state")
    mqtt.settle()
    assert [message.payload for message in mqtt.on_topic("board/settled", mark)] == ["ON", "OFF"] * 2


def test_pain03_level_is_there_for_who_comes_late(board, mqtt):
    """The broker holds what the line has now: nobody waits for the next edge."""
    low(board, mqtt, "button", 27)
    for pull_to, payload in (("pull-up", "ON"), ("pull-down", "OFF")):
        mark = mqtt.mark()
        board.write(pull(27), pull_to)
        mqtt.expect("board/button", payload, since=mark)
        late = mqtt.another(f"late-{payload}").subscribe("board/button")
        first = late.expect("board/button", lambda _: True)
        assert (first.payload, first.retain) == (payload, True)


@pytest.mark.libgpiod
def test_leading_edge_counts_at_once(board, mqtt):
    mark = low(board, mqtt, "leading", 12)
    before, _, after = map(float, board.sh(f"{NOW}; edges {pull(12)} 5 1000; {NOW}").split())
    on = mqtt.expect("board/leading", "ON", since=mark)
    # The first edge's time: four pauses before the end.
    assert before <= seconds(on) <= after - 0.004
    board.write(pull(12), "pull-down")
    off = mqtt.expect("board/leading", "OFF", since=mark)
    assert seconds(off) > after
    # A pulse shorter than the time: both its ends are told with their times, the second when the time is over.
    mark = mqtt.mark()
    before, _, after = map(float, board.sh(f"usleep 250000; {NOW}; edges {pull(12)} 2 1000; {NOW}").split())
    on = mqtt.expect("board/leading", "ON", since=mark)
    off = mqtt.expect("board/leading", "OFF", since=mark)
    assert before <= seconds(on) < seconds(off) <= after
    assert board.now() >= seconds(on) + 0.2
    mqtt.settle()
    assert [message.payload for message in mqtt.on_topic("board/leading", mark)] == ["ON", "OFF"]


def test_delays(board, mqtt):
    mark = low(board, mqtt, "delayed", 13)
    edges(board, 13, 2, pause_us=100_000)  # shorter than on_delay
    for pull_to, payload in (("pull-up", "ON"), ("pull-down", "OFF")):
        # Longer than off_delay from the edge before
        before, after = map(float, board.sh(f"usleep 400000; {NOW}; echo {pull_to} > {pull(13)}; {NOW}").split())
        stamp = seconds(mqtt.expect("board/delayed", payload, since=mark))
        assert before + 0.3 <= stamp <= after + 0.3
        assert board.now() >= stamp  # not told before
    assert [message.payload for message in mqtt.on_topic("board/delayed", mark)] == ["ON", "OFF"]


@pytest.mark.libgpiod
def test_button_events(board, mqtt):
    board.write(pull(14), "pull-down")
    mqtt.subscribe("board/bell/event").settle()

    def events(mark):
        return [json.loads(message.payload) for message in mqtt.on_topic("board/bell/event", mark)]

    def kinds(mark):
        return [event["event_type"] for event in events(mark)]

    # Twice and short; the presses are made in the guest, so that this machine's pauses are not in them.
    mark = mqtt.mark()
    edges(board, 14, 4, pause_us=60_000)
    mqtt.expect("board/bell/event", lambda text: "multi_press_end" in text, since=mark)
    assert kinds(mark) == ["press_start", "press_end", "press_start", "multi_press_ongoing", "press_end", "multi_press_end"]
    found = events(mark)
    assert 60 <= found[1]["duration_ms"] < 70
    assert found[3]["count"] == found[5]["count"] == 2
    assert all(not message.retain for message in mqtt.on_topic("board/bell/event", mark))
    # Once and long.
    mark = mqtt.mark()
    edges(board, 14, 2, pause_us=600_000)
    mqtt.expect("board/bell/event", lambda text: "long_press_end" in text, since=mark)
    assert kinds(mark) == ["press_start", "long_press_start", "long_press_end"]
    start, long, end = events(mark)
    assert abs(seconds(long["ts"]) - seconds(start["ts"]) - 0.4) < 0.001
    assert 600 <= end["duration_ms"] < 610


@pytest.mark.libgpiod
def test_pain25_missed_edges_are_counted(board, mqtt):
    """More edges than the kernel keeps while the daemon is held back: the level is right, and what is missing is told."""
    mark = low(board, mqtt, "button", 27)
    before = int(mqtt.on_topic("board/button")[-1].user.get("lost", 0))
    stop, go = (f"kill -{name} $(cat /run/tapline.pid)" for name in ("STOP", "CONT"))
    board.sh(f"{stop}; edges {pull(27)} 301 > /dev/null; {go}")
    kept = 64 if is_gpiod2(board) else 16

    def is_over():
        states = mqtt.on_topic("board/button", mark)
        # Without the kernel's numbers nobody knows how many are missing; that the level is another one than the last
        # edge's is known.
        is_told = not is_gpiod2(board) or int(states[-1].user.get("lost", 0)) > before if states else False
        return is_told and states[-1].payload == "ON"

    mqtt.wait(is_over, "a state ON with its loss")
    mqtt.settle()
    last = mqtt.on_topic("board/button", mark)[-1]
    assert last.payload == "ON"
    lost = int(last.user.get("lost", 0)) - before
    board.note(f"301 edges while held back, {kept} kept by the kernel: {lost} told as lost")
    if is_gpiod2(board):
        assert lost == 301 - kept
    mark = mqtt.mark()
    board.write(pull(27), "pull-down")
    mqtt.expect("board/button", "OFF", since=mark)


# Counters


def total(mqtt, name, since):
    states = mqtt.on_topic(f"board/{name}/total", since)
    return states[-1] if states else None


@pytest.mark.libgpiod
def test_pain07_burst_of_edges(board, mqtt):
    """As fast as the simulated chip can, and faster than the daemon reads. The kernel numbers the edges for libgpiod 2.x:
    all are counted. For 1.6 it keeps 16, drops what comes then, and says nothing of it."""
    for name, line, expected in (("rising", 15, board.burst_edges // 2), ("both", 18, board.burst_edges)):
        mqtt.subscribe(f"board/{name}/total")
        assert mqtt.publish(f"board/{name}/total/set", "0").reason == 0
        mqtt.settle()
        mark = mqtt.mark()
        took = edges(board, line, board.burst_edges)
        if is_gpiod2(board):
            state = mqtt.expect(f"board/{name}/total", str(expected), since=mark)
        else:
            wait_for_quiet(board, mqtt)
            state = total(mqtt, name, mark)
            assert 0 < int(state.payload) <= expected
        board.note(
            f"{board.burst_edges} edges in {took:.2f} s, counter {name}: {state.payload} of {expected},"
            f" lost {state.user.get('lost', 0)}")


def wait_for_quiet(board, mqtt):
    """Until all edges of before are counted and told: totals are throttled to one a second."""
    mqtt.settle()
    board.rest(1.5)
    mqtt.settle()


@pytest.mark.libgpiod
def test_pain07_paced_pulses_are_all_counted(board, mqtt):
    """With either library: 200 edges, 3 ms apart."""
    for name, line, expected in (("rising", 15, 100), ("both", 18, 200)):
        mqtt.subscribe(f"board/{name}/total")
        # With libgpiod 1.6 a last edge that was lost before this is noticed, and counted, at the next one.
        edges(board, line, 2, pause_us=3000)
        mqtt.settle()
        mqtt.publish(f"board/{name}/total/set", "7")
        mqtt.settle()
        mark = mqtt.mark()
        edges(board, line, 200, pause_us=3000)
        assert mqtt.expect(f"board/{name}/total", str(7 + expected), since=mark)


@pytest.mark.libgpiod
def test_pain07_edges_while_held_back(board, mqtt):
    """The daemon does not run at all meanwhile: with the kernel's numbers nothing is missing."""
    mqtt.subscribe("board/rising/total")
    mqtt.publish("board/rising/total/set", "0")
    stop, go = (f"kill -{name} $(cat /run/tapline.pid)" for name in ("STOP", "CONT"))
    mqtt.settle()
    mark = mqtt.mark()
    board.sh(f"{stop}; edges {pull(15)} {board.burst_edges} > /dev/null; {go}")
    expected = board.burst_edges // 2
    if is_gpiod2(board):
        mqtt.expect("board/rising/total", str(expected), since=mark)
    else:  # 16 are kept, the newest are dropped, and nobody knows how many
        state = mqtt.expect("board/rising/total", lambda text: text != "0", since=mark)
        board.note(f"{board.burst_edges} edges while held back: {state.payload} of {expected} counted, lost {state.user.get('lost')}")


@pytest.mark.libgpiod
def test_pain24_total_is_settable_and_bounces_are_no_pulses(board, mqtt):
    board.write(pull(23), "pull-down")
    mqtt.subscribe("board/water/total")
    assert mqtt.publish("board/water/total/set", "many").reason == NOT_UNDERSTOOD
    mark = mqtt.mark()
    assert mqtt.publish("board/water/total/set", "1000.5").reason == 0
    assert mqtt.expect("board/water/total", "1000.50", since=mark).user["by"] == mqtt.name
    mark = mqtt.mark()
    bounce = f"edges {pull(23)} 9 > /dev/null; usleep 250000; edges {pull(23)} 8 > /dev/null; echo pull-down > {pull(23)}"
    board.sh(f"for i in 1 2; do {bounce}; usleep 250000; done")  # two pulses of a quarter litre
    mqtt.expect("board/water/total", "1001.00", since=mark)
    wait_for_quiet(board, mqtt)
    assert total(mqtt, "water", mark).payload == "1001.00"


def test_rate(board, mqtt):
    """From the kernel's times of the pulses."""
    mqtt.subscribe("board/water/rate")
    # The pulses of tests before are over.
    mqtt.wait(lambda: mqtt.on_topic("board/water/rate")[-1:] != [] and mqtt.on_topic("board/water/rate")[-1].payload == "0.00", "rate 0")
    mark = mqtt.mark()
    took = edges(board, 23, 16, pause_us=150_000)
    wanted = 8 / 4 / took
    flow = mqtt.expect("board/water/rate", lambda text: float(text) > 0, since=mark)
    end = mqtt.expect("board/water/rate", "0.00", since=mqtt.messages.index(flow))  # its timeout
    assert seconds(end) - seconds(flow) >= 2
    rates = [float(message.payload) for message in mqtt.on_topic("board/water/rate", mark)]
    assert rates[-1] == 0 and all(0.95 * wanted < rate < 1.05 * wanted for rate in rates[:-1]), (rates, wanted)


def test_pain08_idle_costs_no_processor_time(board, mqtt):
    """Nothing is polled that has edges: what the daemon takes of the guest's time, sensors and levels once a second included."""
    mqtt.settle()
    # Nanoseconds on the processor of each of its threads, then seconds since boot.
    look = f"cut -d ' ' -f 1 /proc/{board.read('/run/tapline.pid')}/task/*/schedstat; cut -d ' ' -f 1 /proc/uptime"
    before, after = (list(map(float, text.split())) for text in board.sh(f"{look}; echo; usleep 3000000; {look}").split("\n\n"))
    spent, passed = (sum(after[:-1]) - sum(before[:-1])) / 1e9, after[-1] - before[-1]
    board.note(f"processor time of idling: {100 * spent / passed:.2f} %")
    assert 0 < spent < IDLE_SHARE_MAX * passed


@pytest.mark.libgpiod
def test_line_is_known_by_its_name(board):
    rows = board.sh("tapline lines")
    for line in (2, 5, 17, 27):
        assert re.search(rf"\bGPIO{line}\b.*tapline:", rows), rows
    try:
        board.sh("tapline lines --nonsense")
    except GuestError:
        return
    raise AssertionError("an unknown option was taken")

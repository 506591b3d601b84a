"""Rules and links on the simulated board: what an input, a sensor, a Will or a client says switches outputs, whether or not
anybody is connected."""

import json
import re
import time

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import operator_client
import raw
from daemon import wait

OUTPUTS = """
board: simulated
taps:
  base: b
  outputs:
    lamp: {pin: GPIO17}
    fan: {pin: GPIO18, stats: true}
"""


def sink(make_daemon, text, **options):
    daemon = make_daemon(OUTPUTS + text, **options)
    return daemon, operator_client.Client(daemon.port, "operator")


def counter(daemon, name, condition):
    return int(daemon.wait_for_value(f"$SYS/tapline/rules/{name}", lambda value: condition(int(value))))


def switched(daemon, output):
    """What the log tells of an output, with `log: {taps: debug}`: [(state, author)]."""
    return re.findall(rf"^tapline: tap {output}: (ON|OFF), by '(.*)'$", daemon.log, re.MULTILINE)


@pytest.mark.smoke
def test_a_button_switches_with_nobody_connected(make_daemon):
    """Presses from the start on, and no client for the first ones: each switches the fan on and off, and the lamp
    once."""
    daemon = make_daemon("log: {taps: debug, rate: 1000, burst: 10000}" + OUTPUTS + """
  inputs:
    button: {pin: GPIO27, bias: pull-up, active: low, events: true, link: {press: toggle lamp, on: on fan, off: off fan}}
simulation: {presses: [{line: GPIO27, every: 200ms, for: 100ms}]}
""")
    wait(lambda: len(switched(daemon, "lamp")) >= 3, "presses")
    by_link = [(state, "link:button") for state in ["ON", "OFF", "ON"]]
    assert switched(daemon, "lamp")[:3] == by_link
    assert switched(daemon, "fan")[:4] == [("OFF", "link:button"), *by_link]  # as the button is at start
    with operator_client.Client(daemon.port, "late") as client:
        client.subscribe("b/#")
        mark = client.mark()
        on = client.expect("b/lamp", "ON", since=mark)
        off = client.expect("b/lamp", "OFF", since=mark)
        assert on.user["by"] == off.user["by"] == "link:button"
        client.expect("b/fan", "ON", since=mark)
    assert counter(daemon, "fired", lambda value: value >= 9) >= 9


def test_pain4_the_first_event_is_not_lost(make_daemon):
    """No client, no broker elsewhere, no network: the rule runs where the line is."""
    daemon = make_daemon("log: {taps: debug}" + OUTPUTS + """
  inputs:
    door: {pin: GPIO27, bias: pull-up, active: low}
  rules:
    light: {when: b/door == ON, set: {lamp: on}}
simulation: {presses: [{line: GPIO27, every: 3600100ms, for: 1h}]}
""")
    wait(lambda: switched(daemon, "lamp"), "event")
    with operator_client.Client(daemon.port, "late") as client:
        client.subscribe("b/lamp")
        state = client.expect("b/lamp", "ON")
        assert state.retain and state.user["by"] == "rule:light"


@pytest.mark.smoke
def test_a_clients_number_switches_with_hysteresis(make_daemon):
    daemon, client = sink(make_daemon, """
  rules:
    cold: {when: room/+/temperature < 18, hysteresis: 0.5, set: {fan: on}}
    warm: {when: room/+/temperature > 21, set: {fan: off}, publish: {topic: room/warm, qos: 1, retain: true}}
""")
    with client:
        client.subscribe("b/fan").subscribe("room/warm")
        client.expect("b/fan", "OFF")
        mark = client.mark()
        for value in ["18", "17.99", "18.2", "17.5", "warm", "21.1", "18.5", "17.9"]:
            assert client.publish("room/a/temperature", value).reason in (0, 0x10)
        # "warm" is no number: the comparison ends, as with 18.5.
        wait(lambda: len(client.on_topic("b/fan", mark)) >= 3, "three changes")
        assert [state.payload for state in client.on_topic("b/fan", mark)] == ["ON", "OFF", "ON"]
        assert [state.user["by"] for state in client.on_topic("b/fan", mark)] == ["rule:cold", "rule:warm", "rule:cold"]
        assert client.expect("room/warm", "21.1").user == {}
        assert daemon.values("room/warm") == {"room/warm": "21.1"}
        assert counter(daemon, "not_comparable", bool) == 2
        assert counter(daemon, "fired", lambda value: value >= 3) == 3


def test_a_loop_is_cut(make_daemon):
    """Two rules that call each other, and one that calls itself through a command, end; who does not loop goes on."""
    daemon, client = sink(make_daemon, """
  rules:
    ping: {when: ping, publish: {topic: pong}}
    pong: {when: pong, publish: {topic: ping}}
    flip: {when: b/lamp, set: {lamp: toggle}}
    fan: {when: b/lamp == ON, set: {fan: on}}
""")
    with client:
        client.subscribe("#")
        client.expect("b/fan", "ON")  # the lamp's state at start was a message, too
        mark = client.mark()
        client.publish("ping", "x")
        wait(lambda: len(client.on_topic("pong", mark)) == 4, "four each")
        cut = counter(daemon, "cut", lambda value: value >= 2)
        client.publish("b/lamp/set", "ON")
        counter(daemon, "cut", lambda value: value > cut)
        assert client.publish("other", "x").reason in (0, 0x10)
        assert len(client.on_topic("ping", mark)) == 5 and len(client.on_topic("pong", mark)) == 4
    told = [line.split()[1] for line in daemon.log.splitlines() if "in a loop of rules" in line]
    assert "rule:flip" in told and "rule:ping" in told, daemon.log
    assert len(told) == len(set(told)), daemon.log


def test_rules_that_multiply_end(make_daemon):
    """Ten rules that all set each other off: work is bounded, what has no room is counted, clients are served."""
    rules = "\n".join(f"    r{n}: {{when: x/#, publish: {{topic: x/{n}}}}}" for n in range(10))
    daemon, client = sink(make_daemon, f"  rules:\n{rules}\n")
    with client:
        assert client.publish("x", "1").reason in (0, 0x10)
        assert counter(daemon, "dropped", bool) > 0
        assert counter(daemon, "cut", bool) > 0
        assert counter(daemon, "fired", bool) < 64 * 10
        assert client.publish("y", "1").reason in (0, 0x10)


MUST_HOLD = """
  rules:
    open: {when: door == ON, for: 700ms, set: {lamp: on}, publish: {topic: alarm, payload: door open}}
    half: {when: door == ON, for: 300ms, publish: {topic: half, payload: "yes"}}
    later: {when: clock == start, for: 500ms, publish: {topic: later, payload: "yes"}}
    latest: {when: clock == start, for: 900ms, publish: {topic: latest, payload: "yes"}}
"""


def test_a_condition_that_must_hold(make_daemon):
    """It fires after its time, counted from when it began to hold. A message that says the same again changes
    nothing."""
    daemon, client = sink(make_daemon, MUST_HOLD)
    with client, daemon.connect("door") as door:
        client.subscribe("b/#").subscribe("alarm").subscribe("half").subscribe("later")
        clock = time.monotonic()
        door.publish("door", "ON", qos=1)
        client.expect("half", "yes")
        # 300 ms have passed, and 400 ms are left. That is less than the 500 ms of `later`, which begin now; were the
        # time counted again from now, it would be more.
        door.send(raw.publish("door", "ON"), raw.publish("clock", "start")).ping()
        client.expect("alarm", "door open")
        assert time.monotonic() - clock >= 0.7
        client.expect("later", "yes")
        ends = [message.topic for message in client.messages if message.topic in ("half", "alarm", "later")]
        assert ends == ["half", "alarm", "later"]
        assert client.expect("b/lamp", "ON").user["by"] == "rule:open"


def test_a_condition_that_does_not_hold_long_enough(make_daemon):
    """It ends at once: both messages are in one segment. A third one starts a rule that takes longer; when that fires,
    this one has not."""
    daemon, client = sink(make_daemon, MUST_HOLD)
    with client, daemon.connect("door") as door:
        client.subscribe("alarm").subscribe("latest")
        door.send(raw.publish("door", "ON"), raw.publish("door", "OFF"), raw.publish("clock", "start")).ping()
        client.expect("latest", "yes")
        assert not client.on_topic("alarm")
        assert daemon.values("b/lamp") == {"b/lamp": "OFF"}


def test_outputs_own_rules_hold_for_rules(make_daemon):
    """A rule is refused where a client would be; a pulse ends; a momentary output never stays on."""
    daemon = make_daemon("""
board: simulated
taps:
  base: b
  outputs:
    up: {pin: GPIO1, group: shutter, max_on: 600ms}
    down: {pin: GPIO2, group: shutter}
    gate: {pin: GPIO3, pulse: 200ms, retrigger: ignore}
    pump: {pin: GPIO4, min_off: 1h}
  groups: {shutter: {dead_time: 300ms}}
  rules:
    up: {when: go, set: {up: on}}
    gate: {when: open, set: {gate: on}}
    bell: {when: ring, pulse: {down: 100ms}}
    pump: {when: pump, set: {pump: off}, every: true}
    pump_on: {when: pump, set: {pump: on}}
""")
    with operator_client.Client(daemon.port, "operator") as client:
        client.subscribe("b/#")
        client.expect("b/gate", "OFF")
        mark = client.mark()
        client.publish("b/down/set", "ON")
        client.expect("b/down", "ON", since=mark)
        client.publish("go", "")
        assert client.expect("b/down", "OFF", since=mark).user["by"] == "interlock"
        assert client.expect("b/up", "ON", since=mark).user["by"] == "rule:up"
        assert client.expect("b/up", "OFF", since=mark).user["by"] == "timer"
        client.publish("open", "")
        assert client.expect("b/gate", "ON", since=mark).user["by"] == "rule:gate"
        assert client.expect("b/gate", "OFF", since=mark).user["by"] == "timer"
        mark = client.mark()
        assert client.publish("b/gate/set", "PRESS").reason == 0
        assert client.expect("b/gate", "OFF", since=mark).user["by"] == "timer"
        client.publish("b/pump/set", "ON")
        client.publish("b/pump/set", "OFF")
        client.publish("pump", "")
        assert counter(daemon, "refused", bool) == 1
        assert daemon.values("b/pump") == {"b/pump": "OFF"}


def test_a_rule_may_command_by_message(make_daemon):
    daemon, client = sink(make_daemon, """
  rules:
    all: {when: all, publish: {topic: b/fan/set}}
    hear: {when: b/fan == ON, set: {lamp: on}}
""")
    with client:
        client.subscribe("b/#")
        client.expect("b/fan", "OFF")
        client.publish("all", '{"state":"ON","for":"300ms"}')
        assert client.expect("b/fan", "ON").user["by"] == "rule:all"
        assert client.expect("b/lamp", "ON").user["by"] == "rule:hear"
        client.publish("all", "nonsense")
        assert counter(daemon, "refused", bool) == 1
        wait(lambda: len(client.on_topic("b/fan")) >= 3, "end of the time")
        assert [state.payload for state in client.on_topic("b/fan")] == ["OFF", "ON", "OFF"]


def test_a_will_fires_a_rule(make_daemon):
    daemon, client = sink(make_daemon, "  rules:\n    gone: {when: status/plc == gone, set: {fan: on}}\n")
    with client:
        client.subscribe("b/fan")
        client.expect("b/fan", "OFF")
        dying = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="plc", protocol=paho.MQTTv311)
        dying.will_set("status/plc", "gone")
        dying.connect("127.0.0.1", daemon.port)
        dying.loop_start()
        wait(dying.is_connected, "CONNACK")
        dying._sock_close()
        assert client.expect("b/fan", "ON").user["by"] == "rule:gone"
        dying.loop_stop()


def test_a_sensor_fires_a_rule(make_daemon, tmp_path):
    file = tmp_path / "reading"
    file.write_text("21.5\n")
    daemon, client = sink(make_daemon, f"""
  sensors:
    air: {{file: {file}, digits: 1, interval: 100ms}}
  rules:
    frost: {{when: b/air < 5, set: {{fan: on}}}}
""")
    with client:
        client.subscribe("b/#")
        client.expect("b/air", "21.5")
        client.expect("b/fan", "OFF")
        file.write_text("4.9\n")
        assert client.expect("b/fan", "ON").user["by"] == "rule:frost"


def test_a_rule_does_not_undo_what_is_safe(make_daemon):
    """At the end outputs go to their safe level, and no rule turns them on again because of that."""
    daemon, client = sink(make_daemon, "  rules:\n    on: {when: b/lamp == OFF, set: {fan: on}, every: true}\n")
    with client:
        client.subscribe("b/#")
        client.expect("b/fan", "ON")
        mark = client.mark()
        daemon.stop()
        client.expect("b/status", "offline", since=mark)
        assert [state.payload for state in client.on_topic("b/fan", mark)] == ["OFF"]


def question(client, topic, payload=b"", retain=False):
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "answer"
    properties.CorrelationData = b"7"
    mark = client.mark()
    client.paho.publish(topic, payload, qos=1, retain=retain, properties=properties)
    return json.loads(client.expect("answer", lambda text: text, since=mark).payload)


def test_questions_are_answered_by_a_fresh_read(make_daemon):
    daemon, client = sink(make_daemon, """
    gone: {pin: GPIO99}
  inputs:
    door: {pin: GPIO27, bias: pull-up, active: low, debounce: 10s}
simulation: {presses: [{line: GPIO27, every: 1s, for: 700ms}]}
""")
    with client:
        client.subscribe("answer").subscribe("b/#")
        assert question(client, "b/lamp/get") == {"ok": True, "state": "OFF"}
        client.publish("b/lamp/set", "ON")
        assert question(client, "b/lamp/get", b"please", retain=True) == {"ok": True, "state": "ON"}
        refusal = question(client, "b/gone/get")
        assert not refusal["ok"] and "GPIO99" in refusal["reason"]
        # The line as it is. It changes too often for the debounce ever to decide.
        for state in ("ON", "OFF"):
            wait(lambda: question(client, "b/door/get") == {"ok": True, "state": state}, "change")
        assert [state.payload for state in client.on_topic("b/door")] == ["OFF"]
        assert client.publish("b/nothing/get", "").reason in (0, 0x10)
        assert "b/lamp/get" not in daemon.values("b/#")


@pytest.mark.parametrize("policy, reason", [("strip", 0), ("reject", 0x83)])
def test_pain19_a_retained_command(make_daemon, policy, reason):
    daemon = make_daemon(f"""
board: simulated
taps:
  base: b
  retained_set: {policy}
  outputs: {{door: {{pin: GPIO17, pulse: 100ms}}}}
  counters: {{gas: {{pin: GPIO16}}}}
""")
    with daemon.connect("phone") as client:
        for topic in ("b/door/set", "b/door/pulse", "b/gas/total/set"):
            assert client.publish(topic, "50", qos=1, retain=True) == reason
            assert client.publish(topic, "50", qos=1) == 0
        assert client.publish("b/door/set", "", qos=1, retain=True) == 0
    assert set(daemon.values("b/#")) == {"b/door", "b/gas/total", "b/status"}


def test_commands_of_one_segment_are_all_carried_out(make_daemon):
    """They come in one turn of the loop, each after the line has changed for the one before."""
    daemon = make_daemon(OUTPUTS)
    with daemon.connect("fast") as client:
        client.send(b"".join(
            raw.publish("b/lamp/set", "ON" if number % 2 == 0 else "OFF", 1, number + 1) for number in range(20)))
        for _ in range(20):
            got = client.expect(raw.PUBACK)
            assert len(got.body) <= 2 or got.body[2] in (0, 0x10), got.body
    assert daemon.values("b/lamp") == {"b/lamp": "OFF"}

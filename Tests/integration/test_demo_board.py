"""What a user sees of the simulated board that `make run` serves (board/simulated.yaml)."""

import os
import re
import time
from pathlib import Path

import pytest

import clients
import operator_client
import raw
from daemon import REPOSITORY, wait
from patience import PATIENCE_SECONDS

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


def demo_configuration():
    """board/simulated.yaml without its listeners. The button is pressed and the sensor read more often; the door stays
    shut."""
    text = (REPOSITORY / "board" / "simulated.yaml").read_text()
    without = re.sub(r"^listeners:\n(?:[ -].*\n)*", "", text, flags=re.MULTILINE)
    assert "listeners:" not in without and "taps:" in without
    for old, new in {
        "every: 5s, for: 300ms": "every: 300ms, for: 150ms", "interval: 1s": "interval: 200ms",
        "every: 60s": "every: 24h",
    }.items():
        assert old in without
        without = without.replace(old, new)
    return without


@pytest.fixture
def demo(make_daemon):
    return make_daemon(demo_configuration())


@pytest.fixture
def mqtt(demo):
    with operator_client.Client(demo.port, "operator") as client:
        yield client


@pytest.mark.smoke
def test_everything_is_seen_with_one_command(demo):
    """mosquitto_sub -v -t '#'"""
    program = clients.mosquitto("mosquitto_sub", demo, "-v", "-t", "#", "-W", PATIENCE_SECONDS)
    seen = {}
    try:
        def enough():
            topic, _, payload = program.stdout.readline().strip().partition(" ")
            seen.setdefault(topic, []).append(payload)
            return len(seen.get("home/cellar/temperature", [])) >= 4 and len(seen.get("home/cellar/button", [])) >= 3

        wait(enough, "temperatures and presses")
    finally:
        program.kill()
        program.wait()
    assert seen["home/cellar/status"] == ["online"]
    assert seen["home/cellar/relay"] == ["OFF"]
    assert seen["home/cellar/lamp"] == ["ON"]
    assert seen["home/cellar/door"] == ["OFF"]
    assert all(re.fullmatch(r"-?\d+\.\d", value) for value in seen["home/cellar/temperature"])
    assert len(set(seen["home/cellar/temperature"])) > 1
    presses = seen["home/cellar/button"]
    assert all(before != after for before, after in zip(presses, presses[1:])), presses
    assert not any("fault" in topic for topic in seen)


@pytest.mark.smoke
def test_toggle_switches_the_relay(demo, mqtt):
    mqtt.subscribe("home/cellar/#")
    mqtt.expect("home/cellar/relay", "OFF")
    mark = mqtt.mark()
    clients.publish(demo, "home/cellar/relay/set", "TOGGLE", "-q", 1)
    mqtt.expect("home/cellar/relay", "ON", since=mark)
    mark = mqtt.mark()
    clients.publish(demo, "home/cellar/relay/set", "TOGGLE", "-q", 1, version="311")
    mqtt.expect("home/cellar/relay", "OFF", since=mark)
    assert demo.values("home/cellar/relay") == {"home/cellar/relay": "OFF"}


@pytest.mark.parametrize("payload, state", [("ON", "ON"), ("0", "OFF"), ("true", "ON"), ("off", "OFF"), (" On\n", "ON")])
def test_words_of_a_command(mqtt, payload, state):
    mqtt.subscribe("home/cellar/relay")
    mqtt.expect("home/cellar/relay", "OFF")
    mark = mqtt.mark()
    ack = mqtt.publish("home/cellar/relay/set", payload)
    assert ack.reason == 0
    mqtt.expect("home/cellar/relay", state, since=mark)


@pytest.mark.smoke
def test_word_that_is_none_is_refused(demo, mqtt):
    """§3.4.2.1: 0x99 Payload format invalid, and what was expected."""
    ack = mqtt.publish("home/cellar/relay/set", "bogus")
    assert ack.reason == 0x99
    assert "ON" in ack.text and "TOGGLE" in ack.text
    output = clients.publish(demo, "home/cellar/relay/set", "bogus", "-q", 1)
    assert "Payload format invalid" in output and ack.text in output
    assert demo.values("home/cellar/relay") == {"home/cellar/relay": "OFF"}


def test_qos2_command_runs_once(demo):
    with demo.connect("twice") as client:
        client.subscribe("home/cellar/relay")
        assert client.message().payload == b"OFF"
        assert client.publish("home/cellar/relay/set", "TOGGLE", qos=2) == 0
        assert client.message().payload == b"ON"
        # The same packet again, as after a lost PUBREC, is answered and not carried out.
        packet = raw.publish("home/cellar/relay/set", "TOGGLE", 2, 99)
        client.send(packet, packet[:1].replace(b"\x34", b"\x3C") + packet[1:])
        client.expect(raw.PUBREC)
        client.expect(raw.PUBREC)
        assert client.message().payload == b"OFF"
        client.ping()
        assert not client.messages


def test_retained_command_is_not_kept(demo, mqtt):
    """It would switch the relay at every start."""
    mqtt.subscribe("home/cellar/relay")
    mqtt.expect("home/cellar/relay", "OFF")
    clients.publish(demo, "home/cellar/relay/set", "ON", "-r", "-q", 1)
    mqtt.expect("home/cellar/relay", "ON")
    assert demo.values("home/cellar/relay/#") == {"home/cellar/relay": "ON"}


@pytest.mark.smoke
def test_state_tells_when_and_by_whom(demo, mqtt):
    mqtt.subscribe("home/cellar/#")
    assert mqtt.publish("home/cellar/relay/set", "ON").reason == 0
    state = mqtt.expect("home/cellar/relay", "ON")
    assert TIME.fullmatch(state.user["ts"]), state
    assert state.user["by"] == "operator"
    press = mqtt.expect("home/cellar/button", "ON")
    assert TIME.fullmatch(press.user["ts"]), press


def test_line_that_does_not_exist_has_a_fault(make_daemon):
    daemon = make_daemon("""
board: simulated
taps:
  base: home
  outputs:
    pump: {pin: GPIO99}
    relay: {pin: GPIO17}
""")
    assert daemon.values("home/#") == {
        "home/status": "online", "home/relay": "OFF", "home/pump/fault": "line GPIO99 not found; see tapline lines"}
    assert "tap pump" in daemon.log and "GPIO99" in daemon.log
    with operator_client.Client(daemon.port, "operator") as mqtt:
        ack = mqtt.publish("home/pump/set", "ON")
        assert ack.reason == 0x83 and "GPIO99" in ack.text
        assert mqtt.publish("home/relay/set", "ON").reason == 0


@pytest.mark.smoke
def test_sensor_file(make_daemon, tmp_path):
    """Read again and again; gone, it is a fault; back, it is a value again."""
    file = tmp_path / "reading"
    file.write_text("23500\n")
    daemon = make_daemon(f"""
taps:
  base: home
  sensors:
    air: {{file: {file}, scale: 0.001, digits: 1, interval: 100ms}}
""")
    with operator_client.Client(daemon.port, "reader") as mqtt:
        mqtt.subscribe("home/#")
        mqtt.expect("home/air", "23.5")
        file.write_text("25000\n")
        mqtt.expect("home/air", "25.0")
        file.unlink()
        mqtt.expect("home/air/fault", lambda text: text)
        file.write_text("26000\n")
        mqtt.expect("home/air", "26.0")
        mqtt.expect("home/air/fault", "")


def test_first_connack_waits_for_no_device(make_daemon, binary, tmp_path, note):
    """A sensor does not answer and a PWM chip is not there; clients are served, after less than a second of processor
    time."""
    os.mkfifo(tmp_path / "hangs")
    more = f"    hung: {{file: {tmp_path / 'hangs'}, interval: 100ms}}\n  pwm:\n    gone: {{chip: nowhere.pwm}}\n"
    daemon = make_daemon(re.sub(r"(  sensors:\n.*\n)", lambda found: found[1] + more, demo_configuration()))
    daemon.stop()

    def connected():
        try:
            return daemon.connect("first")
        except ConnectionRefusedError:
            return None

    clock = time.monotonic()
    daemon.launch()
    wait(connected, "CONNACK").close()
    seconds = time.monotonic() - clock
    worked = cpu_seconds(daemon.pid)
    note(f"start to first CONNACK: {seconds * 1000:.0f} ms, {worked * 1000:.0f} ms of them at work")
    if not binary.is_emulated:
        assert worked < 1


def cpu_seconds(pid):
    """In user and system mode, of all threads: utime and stime of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""`limits: profile`: what docs/limits.md says that a house carries, with a daemon and clients of a house."""

import re

import pytest

import raw
from clients import collect, mosquitto
from daemon import wait
from patience import PATIENCE_SECONDS

DISCOVERY_COUNT = 2000
CLIENT_COUNT = 60


def discovery(some):
    """As zigbee2mqtt announces devices to Home Assistant: three topic levels of its own and 600 bytes each."""
    return {
        f"homeassistant/sensor/0x00158d{index:010x}/temperature/config": (b'{"name":"%d",' % index).ljust(600, b"x")
        for index in range(some(DISCOVERY_COUNT))}


@pytest.fixture
def house(make_daemon, build):
    return make_daemon(build=build, profile="house")


def test_house(house, some):
    clients = [house.connect(f"client-{index}", 4 + index % 2, will=(f"gone/{index}", "x", 1, False))
               for index in range(CLIENT_COUNT)]
    assistant, bridge = clients[0], clients[1]
    for index, client in enumerate(clients):
        client.subscribe(*(f"devices/{index}/{number}" for number in range(8)), qos=1)
    messages = discovery(some)
    for topic, payload in messages.items():
        assert bridge.publish(topic, payload, qos=1, retain=True) == 0
    # The list of all devices, twice in place of the one before.
    devices = [bytes([digit]) * 500_000 for digit in b"123"]
    for payload in devices:
        assert bridge.publish("zigbee2mqtt/bridge/devices", payload, qos=1, retain=True) == 0

    # Home Assistant comes back: 500 filters in one packet, then everything that is retained.
    assistant.subscribe(*(f"homeassistant/own/{index}/set" for index in range(500)))
    assistant.subscribe("homeassistant/+/+/+/config", "zigbee2mqtt/#")
    got = {}
    while len(got) <= len(messages):
        message = assistant.message()
        got[message.topic] = message.payload
    assert got == messages | {"zigbee2mqtt/bridge/devices": devices[-1]}
    for index, client in enumerate(clients):
        assert bridge.publish(f"devices/{index}/3", "on", qos=1) == 0
        assert client.message(f"devices/{index}/3").payload == b"on"
    assert "see limits" not in house.log


def test_house_with_mosquittos_clients(house, tmp_path):
    file = tmp_path / "devices"  # too long for a command's argument
    file.write_text("z" * 500_000)
    program = mosquitto("mosquitto_pub", house, "-t", "zigbee2mqtt/bridge/devices", "-f", file, "-q", "1", "-r")
    assert program.wait(PATIENCE_SECONDS) == 0
    assert collect(house, "-t", "zigbee2mqtt/#", "-C", "1") == ["z" * 500_000]


def test_a_limit_is_told_with_its_remedy(make_daemon, build):
    """The log names the limit, its number, who met it and the key; once in a while, with how many there were."""
    daemon = make_daemon(build=build, connections=4, topic_levels=4)
    clients = [daemon.connect(f"client-{index}") for index in range(4)]
    for _ in range(3):
        with pytest.raises((raw.Closed, ConnectionError)):
            daemon.connect("one too many")
    line = wait(lambda: re.search(r"tapline: connections .*", daemon.log), "line of the limit")[0]
    # All at one time are told at one time.
    assert re.fullmatch(
        r"tapline: connections \(4\) are all in use; \S+ was refused(, and [12] others? before)?; see limits: connections", line)
    clients[0].send(raw.subscribe(9, ("1/2/3/4/5", 0)))
    assert clients[0].expect(raw.SUBACK).body[-1] == 0x97
    wait(lambda: "tapline: topic_levels (4) is exceeded with 5; client 'client-0' was refused; see limits: topic_levels\n"
         in daemon.log, "line of the levels")
    clients[1].send(b"\x30\xff\xff\x7f")
    clients[1].expect_close(0x95)
    # Its session has ended with it, and its name is known.
    wait(lambda: "tapline: packet_bytes (65536) is exceeded with 2097155; client 'client-1' was disconnected; "
         "see limits: packet_bytes\n" in daemon.log, "line of the packet")
    assert daemon.log.count("see limits: connections") == 1


@pytest.mark.parametrize("profile, count", [("board", 64), ("house", 96), ("site", 1024)])
def test_plan_compares_profiles(make_daemon, build, profile, count):
    daemon = make_daemon(build=build, profile=profile)
    table = daemon.binary.run("plan", "-c", daemon.configuration).stdout
    rows = re.findall(r"^(board|house|site)( \*)? +(\d+) +\d+ +\d+ +\d+ +(\d+) +(\d+)$", table, re.MULTILINE)
    assert [row[0] for row in rows] == ["board", "house", "site"]
    (used,) = [row for row in rows if row[1]]
    assert used[0] == profile and int(used[2]) == count
    reserved = int(re.search(r"tapline: ready, (\d+) KiB reserved", daemon.log)[1])
    assert -(-int(used[3]) // 4096) * 4 == reserved  # whole pages


@pytest.mark.parametrize("budget, clients", [("12M", 60), ("16M", 64), ("40M", 200)])
def test_a_proposal_is_served(make_daemon, build, budget, clients):
    """What `plan --budget` prints, pasted: checked, planned within the budget, and served."""
    daemon = make_daemon(build=build)
    done = daemon.binary.run("plan", "--budget", budget, "--clients", clients)
    assert done.returncode == 0, done.stderr
    daemon.stop()
    text = daemon.configuration.read_text()
    daemon.configuration.write_text(re.sub(r"limits: \{.*\}\n", lambda _: done.stdout, text))
    assert daemon.binary.run("check", "-c", daemon.configuration).returncode == 0
    plan = daemon.binary.run("plan", "-c", daemon.configuration, "--json").stdout
    assert int(re.search(r'"total_bytes":(\d+)', plan)[1]) <= int(budget[:-1]) << 20
    daemon.start()
    connected = [daemon.connect(f"client-{index}") for index in range(clients)]
    for client in connected:
        client.ping()


def test_a_budget_that_cannot_do(binary):
    done = binary.run("plan", "--budget", "1M", "--clients", "64")
    assert done.returncode == 1 and done.stdout == ""
    least = re.search(r"the smallest that would do is (\d+)k", done.stderr)[1]
    done = binary.run("plan", "--budget", f"{least}k", "--clients", "64")
    assert done.returncode == 0, done.stderr

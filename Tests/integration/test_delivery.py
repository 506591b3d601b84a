"""Hundreds of messages from one real client to another, a thousand with --long: none lost, none doubled, in order
(MQTT 5 §4.3, §4.6)."""

import subprocess

import pytest

import clients
import more_clients
from conftest import at_door
from doors import DOORS
from patience import PATIENCE_SECONDS

# (sender, its version), (receiver, its version): each client both ways, with itself and across versions.
PAIRS = [
    (("mosquitto", "31"), ("mosquitto", "31")),
    (("mosquitto", "311"), ("mosquitto", "311")),
    (("mosquitto", "5"), ("mosquitto", "5")),
    (("paho", "311"), ("paho", "311")),
    (("paho", "5"), ("paho", "5")),
    (("gmqtt", "5"), ("gmqtt", "5")),
    (("gmqtt", "311"), ("mosquitto", "5")),
    (("mosquitto", "5"), ("paho", "311")),
    (("mosquitto", "5"), ("mosquitto", "31")),
    (("mosquitto", "31"), ("paho", "5")),
    (("paho", "31"), ("paho", "31")),
    (("paho", "5"), ("mosquitto", "311")),
    (("paho", "311"), ("gmqtt", "5")),
    (("node", "311"), ("node", "5")),
    (("node", "5"), ("mosquitto", "311")),
    (("mosquitto", "5"), ("node", "311")),
    (("paho", "5"), ("pahoc", "311")),
    (("mosquitto", "311"), ("pahoc", "5")),
]


# The pairs of the smoke round.
SMOKE = [(("mosquitto", "5"), ("mosquitto", "5")), (("paho", "311"), ("paho", "311"))]


# Those that go through the other doors without --long.
BRIEFLY = [
    (("mosquitto", "5"), ("mosquitto", "5")), (("paho", "311"), ("paho", "311")), (("node", "311"), ("node", "5")),
    (("gmqtt", "5"), ("gmqtt", "5")), (("paho", "5"), ("pahoc", "311")),
]


def rows():
    for pair in PAIRS:
        name = "-to-".join(f"{name}{version}" for name, version in pair)
        for kind in DOORS:
            if all(kind in clients.REACH[client] for client, _ in pair):
                marks = [pytest.mark.smoke] if kind == "tcp" and pair in SMOKE else []
                marks += [pytest.mark.long] if kind != "tcp" and pair not in BRIEFLY else []
                yield pytest.param(*pair, kind, marks=marks, id=f"{name}-{kind}")


@pytest.mark.emulated_step(5)
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("sender, receiver, door", rows(), indirect=["door"])
def test_many_messages(daemon, binary, request, sender, receiver, qos):
    count = 1000 if request.config.getoption("--long") else 100 if binary.is_emulated else 300
    payloads = [f"message {index}" for index in range(count)]
    subscriber = more_clients.RECEIVERS[receiver[0]](daemon, receiver[1], "hall/door", qos, len(payloads) + 1)
    try:
        more_clients.SENDERS[sender[0]](daemon, sender[1], "hall/door", qos, [*payloads, "end"])
        assert subscriber.result() == [*payloads, "end"]
    finally:
        subscriber.close()
    assert daemon.is_running


@pytest.mark.emulated_step(4)
@pytest.mark.parametrize("door", [at_door(kind, is_brief=False) for kind in DOORS if kind in clients.REACH["pahoc"]], indirect=True)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", ["311", "5"])
def test_paho_c_publishes(daemon, version, qos):
    """Lines, each with its end as paho C sends it, and one message of a command line."""
    with daemon.connect("reader") as reader:
        reader.subscribe("hall/door", qos=qos)
        lines = [f"message {index}\n" for index in range(20)]
        program = more_clients.paho_c_publisher(daemon, version, "hall/door", qos, stdin=subprocess.PIPE)
        try:
            program.stdin.write("".join(lines))
            program.stdin.flush()
            assert [reader.message().payload.decode() for _ in lines] == lines
        finally:
            program.kill()
            program.communicate()
        program = more_clients.paho_c_publisher(daemon, version, "hall/door", qos, "-m", "the last")
        _, error = program.communicate(timeout=PATIENCE_SECONDS)
        assert program.returncode == 0, error
        message = reader.message()
        assert (message.payload, message.qos, message.duplicate) == (b"the last", qos, False)

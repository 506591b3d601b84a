"""The configuration that the package installs, with careless clients about: everybody else is served as before."""

import socket
import time

import pytest

import raw

PUBLISHER_COUNT = 20
ENTITY_COUNT = 1000
IDENTIFIER_COUNT = 100
IDLE_COUNT = 60
ELSEWHERE = "127.0.0.2"  # another address of this machine


def serve(publishers, reader, rounds):
    """Each publisher in turn, up to its acknowledgement; what came to the reader is what was sent. Seconds, sorted."""
    taken, sent = [], []
    for round in range(rounds):
        for index, publisher in enumerate(publishers):
            payload = f"{time.monotonic_ns()} {round}".encode()
            start = time.monotonic()
            assert publisher.publish(f"sensors/{index}", payload, qos=1) == 0
            taken.append(time.monotonic() - start)
            sent.append(payload)
    assert [reader.message().payload for _ in sent] == sent
    return sorted(taken)


def part(taken, percent):
    return 1e6 * taken[percent * (len(taken) - 1) // 100]


@pytest.fixture
def careless(make_daemon, build):
    daemon = make_daemon(build=build, profile="house")
    sockets = []
    yield daemon, sockets
    for each in sockets:
        each.close()


def come(daemon):
    """Ten that subscribe to everything and go; a hundred identifiers that are used once; discovery; idle sockets."""
    for index in range(10):
        with daemon.connect(f"forgotten-{index}", 4 + index % 2, clean=False, expiry=86_400) as client:
            client.subscribe("#", qos=1)
    for index in range(IDENTIFIER_COUNT):
        daemon.connect(f"mqttjs_{index * 2654435761 % 2 ** 32:08x}", 4 + index % 2, clean=False, expiry=86_400).close()
    with daemon.connect("zigbee2mqtt") as bridge:
        for index in range(ENTITY_COUNT):
            topic = f"homeassistant/sensor/0x00158d{index:010x}/temperature/config"
            assert bridge.publish(topic, b"x" * 600, qos=1, retain=True) == 0
    idle = []
    for _ in range(IDLE_COUNT):
        try:
            idle.append(socket.create_connection(("127.0.0.1", daemon.port), source_address=(ELSEWHERE, 0)))
        except ConnectionError:
            pass  # refused at once
    return idle


def test_everybody_else_is_served(careless, some, note):
    daemon, sockets = careless
    publishers = [daemon.connect(f"publisher-{index}", 4 + index % 2) for index in range(PUBLISHER_COUNT)]
    reader = daemon.connect("reader")
    reader.subscribe("sensors/#", qos=1)
    rounds = some(20)
    serve(publishers, reader, 2)
    quiet = serve(publishers, reader, rounds)
    sockets += come(daemon)
    loud = serve(publishers, reader, rounds)
    # Who comes now is let in, with a Will, a session and subscriptions of its own.
    for index in range(20):
        with daemon.connect(f"new-{index}", 4 + index % 2, will=("gone", "x", 1, True)) as client:
            client.subscribe(*(f"new/{index}/{number}" for number in range(4)), qos=1)
            assert client.publish(f"new/{index}/0", "x", qos=1, retain=True) == 0
            assert client.message(f"new/{index}/0").payload == b"x"
    figures = daemon.figures()
    assert figures["$SYS/tapline/publish/refused"] == "0"
    assert figures["$SYS/broker/publish/messages/dropped"] != "0"  # of those who are away
    assert all(client.ping() for client in [*publishers, reader])
    words = [f"p{of} {part(loud, of):.0f} us, {part(loud, of) / part(quiet, of):.2f} times that before" for of in (50, 99)]
    note(f"PUBACK with careless clients about, {daemon.binary.name} build: {'; '.join(words)}")

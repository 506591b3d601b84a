"""The configuration that the package installs, with careless clients about: everybody else is served as before."""

import socket
import time

import pytest


PUBLISHER_COUNT = 20
ENTITY_COUNT = 1000
IDENTIFIER_COUNT = 100
IDLE_COUNT = 60
ELSEWHERE = "127.0.0.2"  # another address of this machine


class House:
    """The clients whose service is looked at: publishers with QoS 1, and one that reads what all of them say."""

    def __init__(self, daemon):
        self.publishers = [daemon.connect(f"publisher-{index}", 4 + index % 2) for index in range(PUBLISHER_COUNT)]
        self.reader = daemon.connect("reader")
        self.reader.subscribe("sensors/#", qos=1)
        self.seconds = []

    def publish(self, index):
        """Up to the acknowledgement; then the reader has it."""
        payload = f"{time.monotonic_ns()}".encode()
        start = time.monotonic()
        assert self.publishers[index].publish(f"sensors/{index}", payload, qos=1) == 0
        self.seconds.append(time.monotonic() - start)
        assert self.reader.message().payload == payload

    def is_there(self):
        return all(client.ping() for client in [*self.publishers, self.reader])


def serve(houses, rounds):
    """Each publisher in turn, of one house after the other, so that a slow moment of the machine falls on all of them."""
    for house in houses:
        house.seconds = []
    for _ in range(rounds):
        for index in range(PUBLISHER_COUNT):
            for house in houses:
                house.publish(index)


def part(house, percent):
    """Microseconds that so many percent of its messages took at most."""
    return 1e6 * sorted(house.seconds)[percent * (len(house.seconds) - 1) // 100]


@pytest.fixture
def pair(make_daemon, build):
    """Two brokers that are the same, and idle sockets to close at the end."""
    sockets = []
    yield make_daemon(build=build, profile="house"), make_daemon(build=build, profile="house"), sockets
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


def test_everybody_else_is_served(pair, some, note):
    daemon, quiet_daemon, sockets = pair
    loud, quiet = House(daemon), House(quiet_daemon)
    sockets += come(daemon)
    serve([loud, quiet], 2)
    serve([loud, quiet], some(100))
    # Who comes now is let in, with a Will, a session and subscriptions of its own.
    for index in range(20):
        with daemon.connect(f"new-{index}", 4 + index % 2, will=("gone", "x", 1, True)) as client:
            client.subscribe(*(f"new/{index}/{number}" for number in range(4)), qos=1)
            assert client.publish(f"new/{index}/0", "x", qos=1, retain=True) == 0
            assert client.message(f"new/{index}/0").payload == b"x"
    figures = daemon.figures()
    assert figures["$SYS/tapline/publish/refused"] == "0"
    assert figures["$SYS/broker/publish/messages/dropped"] != "0"  # of those who are away
    assert loud.is_there() and quiet.is_there()
    words = [
        f"p{of} {part(loud, of):.0f} us, {part(loud, of) / part(quiet, of):.2f} times that of a broker without them"
        for of in (50, 90, 99)
    ]
    note(f"PUBACK with careless clients about, {daemon.binary.name} build: {'; '.join(words)}")

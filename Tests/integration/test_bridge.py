"""A mosquitto bridge with its defaults (`try_private`, `notifications`, a session that is kept) and both ways."""

import socket

import pytest

from bridge import Mosquitto
from daemon import wait

BOARD = """
board: simulated
log: {mqtt: info}
taps:
  base: home
  outputs:
    relay: {pin: GPIO17}
    lamp: {pin: GPIO22, initial: on}
"""

# What mosquitto is told, and how the daemon's log tells of the bridge.
KINDS = {
    "defaults": ([], "connected as a bridge, MQTT 3.1.1"),
    "mqttv311": (["bridge_protocol_version mqttv311"], "connected as a bridge, MQTT 3.1.1"),
    "mqttv31": (["bridge_protocol_version mqttv31"], "connected as a bridge, MQTT 3.1"),
    "mqttv50": (["bridge_protocol_version mqttv50"], "connected, MQTT 5"),
}

STATE = f"$SYS/broker/connection/{socket.gethostname()}.cellar/state"


class Both:
    """The daemon and its peer, joined."""

    def __init__(self, daemon, peer):
        self.daemon, self.peer = daemon, peer

    def wait_until_joined(self):
        """Each side says so, and what is said at either side arrives at the other."""
        for side in (self.daemon, self.peer):
            with side.connect("watch") as client:
                client.subscribe(STATE)
                while client.message(STATE).payload != b"1":
                    pass
        for source, target in ((self.daemon, self.peer), (self.peer, self.daemon)):
            with target.connect("target") as reader, source.connect("source") as writer:
                reader.subscribe("home/probe", qos=1)

                def arrives():
                    # The bridge may be connected and not subscribed yet: then this one is lost, and the next one tried.
                    writer.publish("home/probe", "x", qos=1)
                    reader.ping()
                    return any(message.topic == "home/probe" for message in reader.messages)

                wait(arrives, "a message from one side to the other")

    def expect(self, **values):
        """Retained messages below the base, equal at both sides."""
        for name, value in values.items():
            self.daemon.wait_for_value(f"home/{name}", lambda found: found == value)
            self.peer.wait_for_value(f"home/{name}", value.encode())

    def command(self, side, tap, word):
        with side.connect("hand") as hand:
            hand.publish(f"home/{tap}/set", word, qos=1)


@pytest.fixture
def join(make_daemon, tmp_path):
    peers = []

    def make(*settings):
        daemon = make_daemon(BOARD)
        peer = Mosquitto(tmp_path / "mosquitto", daemon, *settings)
        peers.append(peer)
        peer.start()
        both = Both(daemon, peer)
        both.wait_until_joined()
        return both

    yield make
    for peer in peers:
        peer.end()


@pytest.mark.parametrize("kind", KINDS)
def test_bridge(join, kind):
    settings, told = KINDS[kind]
    both = join(*settings)
    daemon, peer = both.daemon, both.peer
    assert told in daemon.log
    assert "Connection Refused" not in peer.log
    both.expect(status="online", relay="OFF", lamp="ON")

    # Commands from either side; the state stays retained on its way.
    both.command(peer, "relay", "ON")
    both.expect(relay="ON")
    both.command(daemon, "relay", "OFF")
    both.expect(relay="OFF")

    # Each message comes once to each side, whoever publishes it.
    with daemon.connect("here") as here, peer.connect("there") as there:
        for client in (here, there):
            client.subscribe("home/said", "home/end", qos=1)
        for writer, other in ((here, there), (there, here)):
            writer.publish("home/said", "once", qos=1)
            assert other.message("home/said").payload == b"once"
            # Whatever the other side sent back is before this one, on the same way.
            other.publish("home/end", "x", qos=1)
            writer.message("home/said")
            assert [writer.message().topic, other.message().topic] == ["home/end", "home/end"]

    # The peer is gone without a word, and comes back with nothing kept.
    peer.kill()
    daemon.wait_for_value(STATE, lambda value: value == "0")
    both.command(daemon, "lamp", "OFF")
    peer.start()
    both.wait_until_joined()
    both.expect(status="online", relay="OFF", lamp="OFF")

    # The daemon ends in order and starts again: the bridge comes back by itself. It brings what it has kept, which is not what
    # the board says now; the states are true on both sides, before anything changes.
    daemon.stop()
    peer.wait_for_value("home/status", b"offline")
    daemon.start()
    both.wait_until_joined()
    both.expect(status="online", relay="OFF", lamp="ON")
    for word in ("ON", "OFF", "ON"):
        both.command(peer, "lamp", word)
        both.command(daemon, "relay", word)
        both.expect(lamp=word, relay=word)
    assert "Connection Refused" not in peer.log


def test_a_bridge_that_hides_is_a_client(join):
    """Without `try_private` nobody can tell that it is a bridge: it is served as any client of MQTT 3.1.1."""
    both = join("try_private false")
    assert "connected, MQTT 3.1.1" in both.daemon.log
    both.expect(status="online", relay="OFF")

"""Clients that mean no good, or cannot do better: memory does not move, others are served, counters tell."""

import os
import socket
import struct
import time

import pytest

import raw
from daemon import wait
from patience import PATIENCE_SECONDS

# What a page or two of the C library's stdio, or the kernel's counting by batches, may make of nothing.
TOLERANCE_KIB = 64
# The daemon's deadlines are in whole milliseconds.
TICK_SECONDS = 0.002


@pytest.fixture
def steady(binary):
    """with steady(daemon): memory is the same afterwards."""

    class Steady:
        def __init__(self, daemon):
            self.daemon = daemon

        def __enter__(self):
            if not binary.is_emulated:
                # A first client of each version: what the C library maps lazily is there.
                self.daemon.connect("warm", 4).disconnect()
                self.daemon.connect("warm").ping().disconnect()
                self.before = self.daemon.status("RssAnon")

        def __exit__(self, failure, *_):
            if not binary.is_emulated and not failure:
                # Not VmRSS: code that is used for the first time since READY is paged in from its file.
                grown = self.daemon.status("RssAnon") - self.before
                assert grown <= TOLERANCE_KIB, f"grown by {grown} KiB"

    return Steady


class Served:
    """A publisher and a subscriber beside the abuse; `check` is a round trip of both. The abuse goes on until the test
    ends it, so a broker that waited for it would never answer."""

    def __init__(self, daemon):
        self.reader = daemon.connect("served")
        self.reader.subscribe("served/#", qos=1)
        self.writer = daemon.connect("serving", 4)
        self.count = 0

    def check(self):
        self.count += 1
        assert self.writer.publish("served/topic", b"%d" % self.count, qos=1) == 0
        assert self.reader.message("served/topic").payload == b"%d" % self.count

    def close(self):
        self.reader.close()
        self.writer.close()


@pytest.fixture
def served():
    all_served = []

    def make(daemon):
        all_served.append(Served(daemon))
        return all_served[-1]

    yield make
    for each in all_served:
        each.close()


def counter(daemon, name, condition):
    return daemon.wait_for_value(f"$SYS/tapline/{name}", lambda value: condition(int(value)))


# Receivers


@pytest.mark.parametrize("size", [100, 1500, 10_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_stuck_subscriber(make_daemon, steady, served, some, size, qos):
    """It does not read; its messages are dropped and counted, nobody waits for it."""
    daemon = make_daemon(queued=100)
    others = served(daemon)
    with steady(daemon):
        stuck = raw.Client(daemon.port, receive_buffer=4096).connect("stuck")
        stuck.subscribe("flood/#", qos=qos)
        with daemon.connect("publisher") as publisher:
            for _ in range(some(20)):
                # Much more than the kernel's buffers of one connection take.
                publisher.send(*(raw.publish("flood/a", bytes(size)) for _ in range(some(500_000 // size + 50))))
                for _ in range(10):
                    assert publisher.publish("flood/a", bytes(size), qos=1) in (0, 0x97)
                others.check()
        if some(20) == 20:
            daemon.wait_for_value("$SYS/broker/publish/messages/dropped", lambda value: int(value) > 0)
        others.check()
        stuck.close()
        others.check()


def test_subscriber_of_everything(make_daemon, steady, served, some):
    """1,000 retained topics for one that reads, one that reads slowly, and one that does not."""
    daemon = make_daemon(sys_interval_seconds=3600)
    others = served(daemon)
    topics = {f"retained/{index}": b"%d" % index * 40 for index in range(some(900))}
    with steady(daemon):
        with daemon.connect("publisher") as publisher:
            for topic, payload in topics.items():
                assert publisher.publish(topic, payload, qos=1, retain=True) == 0
        stuck = raw.Client(daemon.port, receive_buffer=4096).connect("stuck")
        stuck.send(raw.subscribe(1, ("#", 1)))
        slow = raw.Client(daemon.port, receive_buffer=4096).connect("slow", 4)
        slow.send(raw.subscribe(1, ("#", 0), version=4))
        for qos in (0, 1, 2):
            with daemon.connect(f"reader-{qos}") as reader:
                reader.subscribe("#", qos=qos)
                got = {}
                while len(got) < len(topics):
                    message = reader.message()
                    if message.topic in topics:
                        assert message.topic not in got and message.retain
                        got[message.topic] = message.payload
                assert got == topics
                others.check()
        slow.expect(raw.SUBACK)
        for _ in topics:
            slow.message()
        slow.close()
        stuck.close()


# Packets


def test_declared_size_is_judged_at_once(make_daemon, steady, served):
    """256 MiB: refused by the fixed header (§3.2.2.3.6, §4.13). The packet never comes, and no deadline would end the
    wait for it."""
    daemon = make_daemon(packet_seconds=3600, connect_seconds=3600)
    others = served(daemon)
    with steady(daemon):
        for _ in range(20):
            client = daemon.connect("greedy")
            client.send(b"\x30" + raw.number(256 * 1024 * 1024 - 1), b"\x00\x01a")
            client.expect_close(0x95)
            first = raw.Client(daemon.port)
            first.send(b"\x10" + raw.number(256 * 1024 * 1024 - 1), b"\x00")
            first.expect_close()
        others.check()
    counter(daemon, "closed/packet_too_large", lambda value: value == 40)


def dribble(daemon, index, size, sent):
    """The first bytes of a packet."""
    client = daemon.connect(f"dribbler-{index}", 5 if index % 2 else 4)
    return client.send(raw.publish("a", bytes(size), version=client.version)[:sent])


def test_dribblers_of_large_packets(make_daemon, steady, served):
    """More of them than there are blocks for: the oldest of those that hold many give way, others are served."""
    daemon = make_daemon(packet_seconds=3600, partial_blocks=256)
    others = served(daemon)
    with steady(daemon):
        greedy = [dribble(daemon, index, 60_000, 16_000) for index in range(6)]
        modest = [dribble(daemon, index, 500, 50) for index in range(6, 12)]
        others.check()
        with daemon.connect("large") as client:  # one that takes two reads
            data = raw.publish("served/large", bytes(60_000), 1, 1)
            client.send(data[:30_000])
            others.check()
            client.send(data[30_000:]).expect(raw.PUBACK)
        assert len(others.reader.message("served/large").payload) == 60_000
        for client in greedy[:4]:  # the oldest
            client.expect_close()
        for client in modest:
            client.send(raw.publish("a", bytes(500), version=client.version)[50:]).ping().close()
        others.check()
        for client in greedy[4:]:
            client.close()
    given_up = int(counter(daemon, "closed/quota", lambda value: value >= 4))
    assert given_up <= 6
    figures = daemon.figures()
    assert figures["$SYS/tapline/closed/timeout"] == "0"
    assert '"dropped":0' not in figures["$SYS/tapline/pools/partial_blocks"]


def test_packet_that_does_not_end(make_daemon, steady, served):
    """Its connection ends at the deadline for packets; one that is silent between packets stays."""
    daemon = make_daemon(packet_seconds=1)
    others = served(daemon)
    with steady(daemon):
        clock = time.monotonic()
        dribblers = [dribble(daemon, 4, 60_000, 16_000), dribble(daemon, 5, 500, 50)]
        others.check()
        for client in dribblers:
            client.expect_close()
        assert time.monotonic() - clock >= 1 - TICK_SECONDS
        others.check()
    counter(daemon, "closed/timeout", lambda value: value == 2)


@pytest.mark.smoke
def test_garbage(make_daemon, steady, served, some):
    daemon = make_daemon()
    others = served(daemon)
    seed = 1
    with steady(daemon):
        for index in range(some(300)):
            data = bytearray()
            while len(data) < 200:
                seed = (seed * 6364136223846793005 + 1442695040888963407) % (1 << 64)
                data += struct.pack("!Q", seed)
            client = raw.Client(daemon.port)
            if index % 2:
                client.connect("garbage", 4 if index % 4 == 1 else 5)
            try:
                client.send(data)
            except ConnectionError:
                pass
            client.close()
            if index % 50 == 0:
                others.check()
        others.check()
    counter(daemon, "closed/malformed", lambda value: value > 0)


# Connections


def test_connection_storm(make_daemon, steady, served, some, note):
    """2,000 attempts at a limit of 64: who is connected stays, the others are refused and counted, then all is well. No
    deadline makes room."""
    daemon = make_daemon(connections=64, pending_connections=32, connect_seconds=3600)
    others = served(daemon)
    attempts = some(2000)
    clock = time.monotonic()

    def batch():
        clients = []
        for _ in range(100):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", daemon.port))
            clients.append(client)
        return clients

    def is_closed(client):
        try:
            return client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    with steady(daemon):
        # The first hundred hold on: what is over the limit is closed by the daemon while the rest still waits.
        clients = batch()
        wait(lambda: sum(map(is_closed, clients)) >= 68, "68 of 100 closed")
        others.check()
        assert sum(map(is_closed, clients)) == 68
        for client in clients:
            client.close()
        for _ in range(attempts // 100 - 1):
            clients = batch()
            others.check()
            for client in clients:
                client.close()
        others.check()

        def connected():
            try:
                return daemon.connect("afterwards")
            except (raw.Closed, ConnectionError):
                return None

        wait(connected, "a place").disconnect()
    note(f"{attempts} connection attempts: {time.monotonic() - clock:.1f} s")
    counter(daemon, "clients/refused", lambda value: value >= 68)


def test_limit_of_connections(make_daemon, steady):
    """The 65th is refused, the 64 are served; one leaves, and there is a place."""
    daemon = make_daemon(connections=64)
    with steady(daemon):
        clients = [daemon.connect(f"client-{index}") for index in range(64)]
        with pytest.raises((raw.Closed, ConnectionError)):
            daemon.connect("one too many")
        for client in clients:
            client.ping()
        clients.pop().disconnect()

        def connected():
            try:
                return daemon.connect("again")
            except (raw.Closed, ConnectionError):
                return None

        wait(connected, "a place").disconnect()
        for client in clients:
            client.close()


def own_address():
    """One of this machine's that is not its loopback; from there it is a stranger to itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return probe.getsockname()[0]


def test_one_address_connects_too_often(make_daemon, steady, served):
    """Closed at once, counted, logged once with its address; this machine's clients do not notice."""
    address = own_address()
    daemon = make_daemon(
        listeners=["{address: 0.0.0.0, port: PORT, anonymous: true}"], connect_burst=5, connects_per_second=1,
        pending_per_address=3)
    others = served(daemon)

    def is_let_in():
        with socket.create_connection((address, daemon.port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(raw.connect("stranger"))
            try:
                return client.recv(100) != b""
            except ConnectionError:
                return False

    with steady(daemon):
        clock = time.monotonic()
        count = sum(is_let_in() for _ in range(100))
        # The burst, and one for each second that it took.
        assert 5 <= count <= 6 + time.monotonic() - clock
        others.check()
    counter(daemon, "clients/refused_rate", lambda value: value == 100 - count)
    assert daemon.log.count(f"connections refused from {address}: Connection rate exceeded") == 1


def test_two_clients_with_one_identifier(make_daemon, steady, served):
    """Both come back at once, again and again: one of them stays."""
    daemon = make_daemon(takeovers=5, takeover_seconds=3600)
    others = served(daemon)
    with steady(daemon):
        client = daemon.connect("twin")
        for _ in range(5):
            before, client = client, daemon.connect("twin")
            before.expect_close(0x8E)
        for version in (5, 4) * 10:
            newcomer = raw.Client(daemon.port)
            newcomer.version = version
            newcomer.send(raw.connect("twin", version=version)).expect(raw.CONNACK)
            newcomer.expect_close()
        client.ping()
        others.check()
        client.close()
    counter(daemon, "clients/refused_takeover", lambda value: value == 20)
    assert daemon.log.count("two clients are called 'twin'") == 1


def test_slowloris(make_daemon, steady, served):
    """Without a CONNECT, or with one that takes too long, a connection ends at its deadline."""
    daemon = make_daemon(connect_seconds=1, pending_connections=8)
    others = served(daemon)
    with steady(daemon):
        clock = time.monotonic()
        silent = [raw.Client(daemon.port) for _ in range(4)]
        for client in silent[2:]:
            client.send(raw.connect("slow")[:9])
        others.check()
        for client in silent:
            client.expect_close()
        assert time.monotonic() - clock >= 1 - TICK_SECONDS
        others.check()
    counter(daemon, "closed/timeout", lambda value: value == 4)


def test_keep_alive(make_daemon):
    """§3.1.2-22: one and a half times what the client said, and no other client's."""
    daemon = make_daemon()
    with daemon.connect("heir") as heir, daemon.connect("patient", keep_alive=3600) as patient:
        heir.subscribe("will")
        clock = time.monotonic()
        client = daemon.connect("silent", keep_alive=1, will=("will", "silent", 0, False))
        client.expect_close(0x8D)
        assert time.monotonic() - clock >= 1.5 - TICK_SECONDS
        assert heir.message().payload == b"silent"
        patient.ping()


def test_descriptors_are_given_back(make_daemon, binary):
    if binary.is_emulated:
        pytest.skip("the emulator has descriptors of its own")
    daemon = make_daemon()

    def count():
        return len(os.listdir(f"/proc/{daemon.pid}/fd"))

    daemon.connect("first").disconnect()
    before = count()
    for index in range(200):
        client = daemon.connect(f"client-{index}")
        client.disconnect() if index % 2 else client.close()
    wait(lambda: count() <= before, "descriptors")

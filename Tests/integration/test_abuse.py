"""Clients that mean no good, or cannot do better: memory does not move, others are served, counters tell."""

import struct
import time

import pytest

import raw
from abuse import TICK_SECONDS, counter, served, steady  # noqa: F401, the fixtures

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

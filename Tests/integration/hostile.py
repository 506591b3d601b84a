#!/usr/bin/env python3
"""Hostile clients at a real port: does the daemon's memory move?

usage: python Tests/integration/hostile.py --tapline FILE [--hours N] [--seed N]

They do what the simulation's clients do (docs/simulation.md), drawn from a seed: connect, take over, send right and wrong
packets whole and in pieces, read everything, little or nothing, leave with and without a word. An hour is what an hour of
the simulation's clock asks of the broker, in connections, packets and bytes; it is over when all three are reached.
"""

import argparse
import random
import re
import socket
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import full_board
import raw
import soak
from daemon import Binary, Daemon, wait

# Of virtual time, rounded up: what `make simulate SEEDS=40 STEPS=1000` says in the end.
HOUR = {"connections": 800, "packets": 5_000, "bytes": 900_000}
LIMITS = {
    "connections": 12, "connections_per_address": 12, "sessions": 14, "pending_connections": 6, "connect_seconds": 1, "packet_seconds": 1,
    "packet_bytes": "2k", "partial_block_bytes": 64, "partial_blocks": 34, "topic_bytes": 64, "topic_levels": 6,
    "subscriptions": 20, "shared_groups": 3, "filters_per_packet": 6, "retained": 240, "messages": 260, "blocks": 600,
    "blocks_kept_for_qos": 64, "blocks_kept_for_retained": 64, "deliveries": 40, "queued": 6, "inflight": 5, "topic_alias": 3, "topic_alias_clients": 5,
    "topic_alias_bytes": 32, "topic_alias_cells": 6, "subscription_id_cells": 6, "outbox_chunk_bytes": 512, "outbox_chunks_per_connection": 10,
    "outbox_chunks": 18, "reference_bytes": 200, "takeovers": 65536, "session_expiry_seconds": 2, "keep_alive_seconds": 5,
}
TOPICS = ["a", "a/b", "a/b/c", "b", "/", "a//c", "$x/y", "long/" + "n" * 40, "1/2/3/4/5/6/7", "home/relay/set", "home/gate/pulse",
          "home/up/set", "home/down/set", "home/water/total/set"]
FILTERS = ["#", "+", "a/#", "a/+", "+/b", "+/+/+", "a", "a/b/c", "/", "$x/#", "$share/g/a/#", "$share/h/#", "$share/g/b", "$share/g",
           "a/#/b", "$SYS/#", "1/2/3/4/5/6/7", "home/#"]
# What has a thread of its own.
TOLD = ["fickle", "gone", "number", "words", "boiler", "cpu", "rail", "level", "strip", "act"]
PAYLOADS = [b"", b"ON", b"OFF", b"TOGGLE", b"30", b'{"state":"ON","for":"20ms"}', *(b"x" * size for size in (5, 60, 300, 900, 3000))]


@dataclass
class Peer:
    socket: socket.socket
    version: int
    reads: int  # bytes at a time, 0: nothing
    waiting: bytes = b""


class Load:
    """Clients of one daemon."""

    def __init__(self, port, seed):
        self.port, self.random = port, random.Random(seed)
        self.connections = 0
        self.peers = []
        self.packets = {version: [self.packet(version) for _ in range(2000)] for version in (4, 5)}

    # What they send

    def connect_packet(self, version):
        draw = self.random
        will = None
        if draw.random() < 0.5:
            props = [(raw.WILL_DELAY, draw.randrange(3))] if version == 5 and draw.random() < 0.5 else []
            will = (draw.choice(TOPICS), draw.choice(PAYLOADS), draw.randrange(3), draw.random() < 0.3, props)
        props = []
        if version == 5:
            props = [(raw.RECEIVE_MAXIMUM, draw.randrange(1, 7)), (0x22, draw.randrange(4)), (0x27, draw.randrange(15, 5000))]
        name = draw.choice([*"abcdefgh", "thermostat"]) if draw.random() < 0.95 else draw.choice(["", f"guest-{draw.randrange(40)}"])
        return raw.connect(name, version, clean=draw.random() < 0.4, keep_alive=draw.randrange(5), will=will,
                           expiry=draw.randrange(4) if version == 5 else 0, props=draw.sample(props, draw.randrange(len(props) + 1)))

    def packet(self, version):
        draw = self.random
        identifier = draw.randrange(1, 6)
        kind = draw.choices(["publish", "ack", "subscribe", "unsubscribe", "ping", "again", "hostile", "bad", "disconnect"],
                            [60, 40, 12, 3, 3, 0.2, 0.5, 0.3, 0.2])[0]
        if kind in ("publish", "hostile"):
            qos = draw.randrange(3)
            props = [(raw.EXPIRY, draw.randrange(20)), (raw.USER, ("k", "v" * draw.randrange(60))),
                     (raw.TOPIC_ALIAS, draw.randrange(1, 4)), (0x08, "a")]
            data = bytearray(raw.publish(
                draw.choice(TOPICS), draw.choice(PAYLOADS), qos, identifier, draw.random() < 0.3, version, qos > 0 and draw.random() < 0.2,
                draw.sample(props, draw.choice([0, 0, 1, 2])) if version == 5 else ()))
            if kind == "hostile":
                data[draw.randrange(len(data))] = draw.randrange(256)
            return bytes(data)
        if kind == "ack":
            return raw.ack(draw.choice([raw.PUBACK, raw.PUBREC, raw.PUBREL, raw.PUBCOMP]), identifier)
        if kind == "subscribe":
            return raw.subscribe(identifier, *((draw.choice(FILTERS), draw.randrange(3)) for _ in range(draw.randrange(1, 5))),
                                 version=version)
        if kind == "unsubscribe":
            return raw.unsubscribe(identifier, draw.choice(FILTERS), version=version)
        return {"ping": lambda: raw.packet(0xC0), "again": lambda: self.connect_packet(version),
                "bad": lambda: draw.choice([*soak.MALFORMED.values(), draw.randbytes(draw.randrange(1, 30))]),
                "disconnect": lambda: raw.packet(0xE0)}[kind]()

    # What they do

    def step(self):
        """One thing that one client does, then what the sockets take and give."""
        draw = self.random
        if len(self.peers) < 4 or draw.random() < 0.15:
            self.connect()
        peer = draw.choice(self.peers)
        done = draw.random()
        if done < 0.08:
            self.leave(peer)
        elif done < 0.12:
            peer.reads = draw.choice([0, 1, 500, 1 << 16, 1 << 16])
        elif len(peer.waiting) < 50_000:
            version = draw.choice([4, 5, 5]) if draw.random() < 0.02 else peer.version
            data = b"".join(draw.choices(self.packets[version], k=draw.randrange(1, 40)))
            peer.waiting += data[:draw.randrange(len(data))] if draw.random() < 0.02 else data
        for peer in self.peers[:]:
            self.move(peer)

    def connect(self):
        if len(self.peers) >= 16:
            return
        draw = self.random
        link = socket.create_connection(("127.0.0.1", self.port))
        link.setblocking(False)
        self.connections += 1
        peer = Peer(link, draw.choice([4, 5, 5]), draw.choice([0, 100, 1 << 16, 1 << 16, 1 << 16]))
        if draw.random() > 0.05:
            peer.waiting = self.connect_packet(peer.version)
        self.peers.append(peer)

    def leave(self, peer):
        draw = self.random.random()
        if draw < 0.3:  # without a word, what was not read thrown away
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif draw < 0.5:
            self.send(peer, raw.packet(0xE0))
        peer.socket.close()
        self.peers.remove(peer)

    def send(self, peer, data):
        try:
            return peer.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    def move(self, peer):
        """Some of what waits, in pieces of any size; some of what came."""
        if peer.waiting:
            size = self.random.choice([1, 10, 1000, 1 << 16, 1 << 16, 1 << 16])
            sent = self.send(peer, peer.waiting[:size])
            if sent < 0:
                peer.socket.close()
                self.peers.remove(peer)
                return
            peer.waiting = peer.waiting[sent:]
        if peer.reads:
            try:
                if not peer.socket.recv(peer.reads):
                    peer.socket.close()
                    self.peers.remove(peer)
            except BlockingIOError:
                pass
            except OSError:
                peer.socket.close()
                self.peers.remove(peer)

    def end(self):
        for peer in self.peers:
            peer.socket.close()
        self.peers = []


def resident(pid):
    """Resident memory in KiB, page by page and not by the kernel's estimates: all of it, and what is no file's."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"Rss": found["Rss"], "Anonymous": found["Anonymous"]}


def ask(daemon, topic_filter):
    """`daemon.values`, once there is a place: the others' sessions last for some seconds."""
    def values():
        try:
            return daemon.values(topic_filter)
        except (raw.Closed, AssertionError, ConnectionError):
            return None

    return wait(values, topic_filter)


def taken(daemon):
    """What the daemon says it took in."""
    values = ask(daemon, "$SYS/broker/+/received")
    return {"packets": int(values["$SYS/broker/messages/received"]), "bytes": int(values["$SYS/broker/bytes/received"])}


def goal(hours):
    return {name: int(hours * count) for name, count in HOUR.items()}


def play(daemon, hours, seed=1, tell=lambda text: None):
    """For so many hours; what was done."""
    load, start = Load(daemon.port, seed), time.monotonic()
    while True:
        for _ in range(5000):
            try:
                load.step()
            except ConnectionRefusedError:
                raise AssertionError(f"nobody listens any more; exit status {daemon.process.poll()}") from None
        load.end()
        done = {"connections": load.connections} | taken(daemon)
        tell(f"{time.monotonic() - start:.0f} s: {done}, {resident(daemon.pid)} KiB")
        if all(done[name] >= count for name, count in goal(hours).items()):
            return done


def start(make_daemon, build):
    """`make_daemon` with everything that a board has, and with limits at which every pool runs out."""
    return make_daemon(full_board.CONFIGURATION, build=build, **full_board.LIMITS | LIMITS)


def settled(daemon):
    """`resident`, once every thread has come to its first wait and has read its sensor or its level once: on a busy
    machine some touch their stacks after READY."""
    threads, slept = Path(f"/proc/{daemon.pid}/task"), set()

    def have_all_slept():
        for thread in threads.iterdir():
            if (thread / "stat").read_text().rpartition(")")[2].split()[0] == "S":
                slept.add(thread.name)
        return slept >= {thread.name for thread in threads.iterdir()}

    def are_told():
        told = {topic.removesuffix("/fault") for topic in ask(daemon, "home/#")}
        return told >= {f"home/{name}" for name in TOLD}

    wait(have_all_slept, "thread that waits")
    wait(are_told, "word of each device")
    wait((daemon.folder / "state").exists, "state file")
    wait(have_all_slept, "thread that waits")
    return resident(daemon.pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tapline", required=True, type=Path)
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = start(lambda *arguments, build, **limits: Daemon(build, Path(folder) / "daemon", *arguments, **limits),
                       Binary(options.tapline.resolve(), []))
        try:
            daemon.start()
            before = settled(daemon)
            print(f"at READY: {before} KiB", flush=True)
            play(daemon, options.hours, options.seed, tell=lambda text: print(text, flush=True))
            after = resident(daemon.pid)
            print(f"after {options.hours:g} hours: {after} KiB")
            print(f"allocations after READY: {ask(daemon, '$SYS/tapline/memory/allocations_after_ready')}")
            return 0 if daemon.is_running else 1
        finally:
            daemon.end()


if __name__ == "__main__":
    sys.exit(main())

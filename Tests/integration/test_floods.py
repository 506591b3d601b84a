"""Floods of clients that mean no good (floods.py). Whoever is served stays served, whoever comes is let in, and in the end
every place is free and no memory was taken.

A command to a pin goes to two daemons in turn, one with the flood and one without, so that a slow moment of the machine
falls on both. Latencies are compared in blocks; a daemon that makes commands wait does so in all of them, a machine that
happens to be slow in some.
"""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import floods
import raw
from daemon import hold_port, wait
from patience import PATIENCE_SECONDS
from test_tls import context, keys  # noqa: F401, the fixture
from test_users import password_file, replace

CONFIGURATION = """
board: simulated
taps: {base: home, outputs: {relay: {pin: GPIO17}}}
users: {password_file: FOLDER/passwd}
"""
PASSWORD = "right"
# A password takes some milliseconds, which is long beside a command.
ITERATIONS = 2000
BLOCK, BLOCKS, BLOCKS_MAX = 100, 3, 30
RATIO_MAX = 2
# What a page or two of the C library's stdio, or the kernel's counting by batches, may make of nothing.
TOLERANCE_KIB = 64


class Board:
    """A daemon with a pin, whose commands need TLS and a password, and ports for all kinds of clients."""

    def __init__(self, make_daemon, build, folder, keys):
        folder.mkdir()
        replace(folder / "passwd", password_file({"ann": PASSWORD}, ITERATIONS))
        self.context = context(keys)
        self.holders = {kind: hold_port() for kind in ("secure", "proxied")}
        self.ports = {kind: holder.getsockname()[1] for kind, holder in self.holders.items()}
        self.daemon = make_daemon(
            CONFIGURATION.replace("FOLDER", str(folder)), build=build,
            listeners=[
                "{address: 127.0.0.1, port: PORT, protocols: [mqtt, websocket], anonymous: true}",
                "{address: 127.0.0.1, port: %d, protocols: [mqtt, websocket], tls: {certificate: %s/server.pem, key: %s/server.key}}"
                % (self.ports["secure"], keys, keys),
                "{address: 127.0.0.1, port: %d, proxies: [127.0.0.0/8], proxy_protocol: true}" % self.ports["proxied"],
            ], connect_seconds=20)
        self.ports["plain"] = self.daemon.port

    def dial(self, kind):
        return socket.create_connection(("127.0.0.1", self.ports[kind]), PATIENCE_SECONDS)

    def client(self, name):
        """Through TLS, with a password."""
        secure = self.context.wrap_socket(self.dial("secure"), server_hostname="127.0.0.1")
        return raw.Client.on(secure).connect(name, user="ann", password=PASSWORD)

    def come(self, name):
        """Tries as often as it takes; how often and how long that was, in words."""
        start = time.monotonic()
        for attempt in range(1, 1000):
            try:
                self.client(name).close()
                return f"at try {attempt}, after {time.monotonic() - start:.2f} s"
            except (OSError, raw.Closed, AssertionError):  # no place, or CONNACK says that the broker is busy
                time.sleep(0.01)
        raise AssertionError("nobody is let in any more")

    def figure(self, name):
        return int(self.daemon.values(f"$SYS/tapline/{name}").get(f"$SYS/tapline/{name}", 0))

    @property
    def gave_way(self):
        """How many had to leave because there were not enough places."""
        figures = self.daemon.figures("$SYS/tapline/layers/#")
        return sum(int(value) for topic, value in figures.items() if topic.endswith("gave_way"))

    def fill_every_place(self):
        """Takes all places at once that a flood may have taken: four handshakes, eight heads, sixteen records in part."""
        hello = floods.hello()
        with contextlib.ExitStack() as stack:
            hellos = [stack.enter_context(self.dial("secure")) for _ in range(4)]
            for connection in hellos:
                connection.sendall(hello)
            for connection in hellos:
                assert connection.recv(1) == b"\x16"
        with contextlib.ExitStack() as stack:
            heads = [stack.enter_context(self.dial("plain")) for _ in range(8)]
            for part in (floods.REQUEST[:50], floods.REQUEST[50:]):
                for connection in heads:
                    connection.sendall(part)
                self.daemon.connect("between").close()
            for connection in heads:
                assert connection.recv(12) == b"HTTP/1.1 101"
        with contextlib.ExitStack() as stack:
            connections, tunnels = [], []
            # In turn: only so many passwords of one address may wait, and each has `connect_seconds` of its own.
            for index in range(16):
                connections.append(stack.enter_context(self.dial("secure")))
                tunnels.append(floods.Secure(connections[-1], self.context))
                connections[-1].sendall(tunnels[-1].record(raw.connect(f"part-{index}", user="ann", password=PASSWORD)))
                assert tunnels[-1].read(connections[-1])[0] == 0x20
            records = [tunnel.record(raw.packet(0xC0)) for tunnel in tunnels]
            for part in (slice(0, 8), slice(8, None)):
                for connection, record in zip(connections, records):
                    connection.sendall(record[part])
                self.daemon.connect("between").close()
            for connection, tunnel in zip(connections, tunnels):
                assert tunnel.read(connection) == b"\xd0\x00"
        self.wait_for_connections(0)

    def wait_for_connections(self, count):
        """Those that stay, the one that asks not counted."""
        self.daemon.wait_for_value("$SYS/tapline/pools/connections", lambda text: json.loads(text)["used"] == count + 1)


class Pin:
    """A client that switches the relay, and knows how long each acknowledgement took."""

    def __init__(self, board):
        self.client = board.client("pin")
        self.client.subscribe("home/relay", qos=1)
        self.client.message("home/relay")
        self.is_on = False
        self.block = []
        self.seconds = []

    def switch(self):
        self.is_on = not self.is_on
        start = time.monotonic()
        assert self.client.publish("home/relay/set", "TOGGLE", qos=1) == 0
        self.block.append(time.monotonic() - start)
        assert self.client.message("home/relay").payload == (b"ON" if self.is_on else b"OFF")

    def end_block(self):
        """Its p99."""
        worst = part(self.block, 99)
        self.seconds += self.block
        self.block = []
        return worst


def part(seconds, percent):
    return sorted(seconds)[percent * (len(seconds) - 1) // 100]


def switch_in_turn(loud, quiet, count):
    for number in range(count):
        for pin in (loud, quiet) if number % 2 else (quiet, loud):
            pin.switch()


class Flood:
    """floods.py, while it goes on."""

    def __init__(self, kind, board, count, folder, keys):
        self.progress = folder / f"progress-{kind}"
        self.progress.write_bytes(bytes(16))
        port = board.ports[floods.LAYERS.get(kind, "plain" if kind == "logins" else "secure")]
        self.process = subprocess.Popen(
            [sys.executable, Path(floods.__file__), kind, str(port), str(count), self.progress, keys / "ca.pem"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def state(self):
        return struct.unpack("=QQ", self.progress.read_bytes())

    def has_gone_on(self, before):
        assert self.process.poll() is None
        sent, there = self.state
        return sent > before[0] or there > 0

    def end(self):
        said, _ = self.process.communicate(timeout=10 * PATIENCE_SECONDS)
        assert self.process.returncode == 0
        return json.loads(said)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def boards(make_daemon, tmp_path, keys):
    """Two that are the same."""
    made = []

    def make(build):
        for name in ("loud", "quiet"):
            made.append(Board(make_daemon, build, tmp_path / name, keys))
        return made

    yield make
    for board in made:
        for holder in board.holders.values():
            holder.close()


@pytest.fixture
def endure(boards, binary, tmp_path, keys, note):
    flood = None

    def run(kind, count, build):
        """The flood's own figures, and the board that it came to."""
        nonlocal flood
        board, other = boards(build)
        board.fill_every_place()
        memory, gave_way = board.daemon.memory, board.gave_way
        loud, quiet = Pin(board), Pin(other)
        switch_in_turn(loud, quiet, 20)
        for pin in (loud, quiet):
            pin.end_block()
            pin.seconds.clear()

        flood = Flood(kind, board, count, tmp_path, keys)
        wait(lambda: flood.state[1] > 0, "flood")
        ratios, blocks = [], 0
        while len(ratios) < BLOCKS or min(ratios) > RATIO_MAX and blocks < BLOCKS_MAX:
            state = flood.state
            switch_in_turn(loud, quiet, BLOCK)
            ratio = loud.end_block() / quiet.end_block()
            blocks += 1
            if flood.has_gone_on(state):
                ratios.append(ratio)
        let_in = board.come("newcomer")
        figures = flood.end()
        switch_in_turn(loud, quiet, 20)

        times = ", ".join(
            f"p{of} {1e6 * part(loud.seconds, of):.0f} us ({part(loud.seconds, of) / part(quiet.seconds, of):.2f} times the quiet one)"
            for of in (50, 90, 99))
        note(f"flood of {kind}, {build.name} build: {figures}; command to PUBACK {times}; p99 of blocks "
             f"{' '.join(f'{ratio:.2f}' for ratio in sorted(ratios))}; a newcomer is let in {let_in}")
        assert binary.is_emulated or min(ratios) <= RATIO_MAX, ratios
        for pin in (loud, quiet):
            pin.client.ping().close()
        board.wait_for_connections(0)
        told = board.gave_way
        assert told >= gave_way
        board.fill_every_place()
        assert board.gave_way == told
        assert board.daemon.values("$SYS/tapline/memory/allocations_after_ready") == {
            "$SYS/tapline/memory/allocations_after_ready": "0"}
        if not binary.is_emulated:
            grown = board.daemon.memory["RssAnon"] - memory["RssAnon"]
            assert grown <= TOLERANCE_KIB, f"grown by {grown} KiB"
        return figures, board

    yield run
    if flood and flood.process.poll() is None:
        flood.kill()


@pytest.fixture
def count(request, some):
    """count(short, long): how many clients a flood has, the second with `--long`."""
    return lambda short, long: long if request.config.getoption("--long") else some(short)


def test_wrong_passwords(endure, count, build):
    figures, board = endure("logins", count(100, 600), build)
    assert figures["answered"] > 0
    assert board.figure("logins/denied") > 0
    wait(lambda: board.figure("logins/waiting") == 0, "end of the checks")


def test_handshakes_that_are_begun(endure, count, build):
    figures, _ = endure("hellos", count(400, 10_000), build)
    assert figures["answered"] > 0


def test_handshakes_that_are_silent(endure, count, binary):
    """Four of them have a place at a time, until somebody else has waited for two seconds."""
    _, board = endure("silent", count(24, 100), binary)
    assert board.figure("layers/tls/gave_way") > 0


@pytest.mark.parametrize("layer", [
    layer if layer in ("mqtt", "record") else pytest.param(layer, marks=pytest.mark.long) for layer in floods.LAYERS])
def test_byte_by_byte(endure, count, binary, layer, request):
    figures, _ = endure(layer, count(16, 60), binary)
    # A layer may say why it closes.
    assert figures["answered"] + figures["closed"] > 0 or not request.config.getoption("--long")

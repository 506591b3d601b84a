"""What TLS takes: of the loop's time, of memory, and what happens when OpenSSL's memory is full."""

import json
import statistics
from pathlib import Path

import pytest

import raw
from daemon import hold_port
from test_tls import client, context, dial, keys, listener  # noqa: F401, the fixture

CLIENT_COUNT = 16
# A place for each of them, and for those that are about to say CONNECT.
LIMITS = {"connections": 24}
PLAIN = "{address: 127.0.0.1, port: PORT}"


class Doors:
    """One daemon with a plain listener and one with TLS."""

    def __init__(self, make_daemon, build, keys, more="", **limits):
        self.holder = hold_port()
        self.port = self.holder.getsockname()[1]
        secure = listener(keys, more).replace("PORT", str(self.port))
        self.daemon = make_daemon(build=build, listeners=[PLAIN, secure], **limits)

    def secure(self, made):
        return client(self, made)


@pytest.fixture
def doors(make_daemon, keys):
    made = []

    def make(build, *more, **limits):
        made.append(Doors(make_daemon, build, keys, *more, **limits))
        return made[-1]

    yield make
    for each in made:
        each.holder.close()


# Time


def processor_nanoseconds(pid):
    """By thread: what it has had of a processor. What it had to wait for one does not count."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = "loop" if task.name == str(pid) else (task / "comm").read_text().strip()
        times[name] = times.get(name, 0) + int((task / "schedstat").read_text().split()[0])
    return times


@pytest.mark.memory
def test_a_handshake_takes_the_loop_little(doors, keys, build, note):
    """Its arithmetic is the lane's. Rounds of connections with TLS and without take turns."""
    door = doors(build)
    made = context(keys)
    watcher = door.daemon.connect("watcher")
    kinds = {"plain": lambda: raw.Client(door.daemon.port), "TLS": lambda: door.secure(made)}
    taken = {(kind, thread): [] for kind in kinds for thread in ("loop", "handshakes")}
    rounds, connections = 20, 10
    for number in range(rounds + 1):
        for kind, make in kinds.items():
            before = processor_nanoseconds(door.daemon.pid)
            for index in range(connections):
                make().connect(f"{kind}-{index}").close()
            watcher.ping()
            after = processor_nanoseconds(door.daemon.pid)
            if number > 0:  # the first one finds nothing in the caches
                for thread in ("loop", "handshakes"):
                    taken[kind, thread].append((after[thread] - before[thread]) / connections / 1000)
    for which, of in (("least", min), ("middle", statistics.median)):
        plain, secure, lane = (of(taken[key]) for key in (("plain", "loop"), ("TLS", "loop"), ("TLS", "handshakes")))
        note(f"{rounds * connections} connections, {which} of {rounds} rounds, {build.name} build: the loop takes {plain:.0f} us for "
             f"one, with TLS {secure:.0f} us, so {secure - plain:.0f} us for a handshake and its records; the lane takes {lane:.0f} us")
    assert not any(taken["plain", "handshakes"]) and lane > 0
    # Reading, handing over and sending take about three times a plain connection's share; the arithmetic, were it the
    # loop's, would take five times as much again.
    assert secure - plain <= 6 * plain


# Memory


def with_clients(daemon, make):
    """KiB at READY, and with clients that have been sent something."""
    at_ready = daemon.memory
    clients = [make().connect(f"client-{index}") for index in range(CLIENT_COUNT)]
    for index, one in enumerate(clients):
        one.subscribe(f"to/{index}")
        one.publish(f"to/{index}", bytes(4000))
        assert len(one.message().payload) == 4000
    full = daemon.memory
    for one in clients:
        one.close()
    return at_ready, full


@pytest.mark.memory
def test_memory_with_tls_and_without(make_daemon, keys, build, note):
    made = context(keys)
    plain = make_daemon(build=build, listeners=[PLAIN], **LIMITS)
    plain_ready, plain_full = with_clients(plain, lambda: raw.Client(plain.port))
    # A board without TLS takes nothing for it.
    assert "libssl" not in Path(f"/proc/{plain.pid}/maps").read_text()
    planned = plain.binary.run("plan", "-c", plain.configuration, "--json")
    assert not [pool for pool in json.loads(planned.stdout)["pools"] if "TLS" in pool["name"] and pool["bytes"]]
    secure = make_daemon(build=build, listeners=[listener(keys)], **LIMITS)
    secure_ready, secure_full = with_clients(secure, lambda: client(secure, made))
    more = {name: secure_full[name] - plain_full[name] for name in plain_full}
    note(f"KiB, {build.name} build: without TLS {plain_ready}, with {CLIENT_COUNT} clients {plain_full}; with TLS {secure_ready}, "
         f"with {CLIENT_COUNT} clients {secure_full}, which is {more} more")
    assert more["RssAnon"] <= 4096
    # All of it was there at READY, but for what OpenSSL's own pages of data are when they are written to.
    assert secure_full["RssAnon"] - secure_ready["RssAnon"] <= 64


def test_long_chains_of_certificates(doors, keys, build, note):
    """Clients whose chains of certificates are long have no more than is planned for one: as many of them are served as the
    plan is for. A handshake that takes more fails and is counted; whoever is there already is served, and whoever comes later
    is, too."""
    leaf, other = ((keys / f"{name}.pem").read_text() for name in ("kitchen", "stranger"))
    door = doors(
        build, f", ca: {keys}/ca.pem, client_certificate: optional", connections=96, connections_per_address=90)
    secure, plain = door.secure(context(keys)).connect("secure"), door.daemon.connect("plain")
    for one in (secure, plain):
        one.subscribe("t")

    def check():
        for writer in (secure, plain):
            payload = bytes(20_000)
            assert writer.publish("t", payload, qos=1) == 0
            for reader in (secure, plain):
                assert reader.message("t").payload == payload

    check()
    hoard, found = [], {}
    # The longest chain is refused (of 16 KiB); all others together have the places that are left.
    for count in (20_000 // len(other), 10, 4, 1, 0):
        hoarding = context(keys)
        (keys / "chain.pem").write_text(leaf + count * other)
        hoarding.load_cert_chain(keys / "chain.pem", keys / "kitchen.key")
        found[count] = 0
        for _ in range(20):
            try:
                hoard.append(door.secure(hoarding).connect(f"hoard-{len(hoard)}"))
                found[count] += 1
            except (OSError, raw.Closed):
                pass
    note(f"{build.name} build: clients of 20 that are served, by certificates beside their own: {found}")
    assert list(found.values()) == [0, 20, 20, 20, 20]
    door.daemon.wait_for_value("$SYS/tapline/layers/tls/failed", lambda text: int(text) >= 20)
    check()
    for one in hoard:
        one.ping()
        one.close()
    with door.secure(context(keys)).connect("later"):
        check()
    assert door.daemon.values("$SYS/tapline/memory/allocations_after_ready") == {
        "$SYS/tapline/memory/allocations_after_ready": "0"}

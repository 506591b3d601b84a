"""Clients that connect too often, too many at a time, or without a word: memory does not move, others are served, counters
tell."""

import os
import signal
import socket
import time

import pytest

import raw
from abuse import TICK_SECONDS, counter, served, steady  # noqa: F401, the fixtures
from daemon import wait
from patience import PATIENCE_SECONDS


def is_closed(client):
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_connection_storm(make_daemon, steady, served, some, note):
    """2,000 attempts at a limit of 64: who is connected stays, who stays silent gives way and is counted, then all is
    well. No deadline makes room."""
    daemon = make_daemon(connections=64, connections_per_address=64, pending_connections=32, pending_per_address=64,
                         connect_seconds=3600)
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
    counter(daemon, "closed/quota", lambda value: value >= 68)


def test_limit_of_connections(make_daemon, steady):
    """The 63rd of other addresses is refused, as two places are kept; the 62 are served; one leaves, and there is a
    place."""
    daemon = make_daemon(connections=64, connections_per_address=64)
    with steady(daemon):
        clients = [daemon.connect(f"client-{index}") for index in range(62)]
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


def from_address(address, daemon, name):
    """A client's socket from that address of 127.0.0.0/8; None where it is not let in."""
    client = socket.create_connection(("127.0.0.1", daemon.port), PATIENCE_SECONDS, (address, 0))
    try:
        client.sendall(raw.connect(name))
        if client.recv(100)[:1] == b"\x20":
            return client
    except ConnectionError:
        pass
    client.close()
    return None


def test_one_address_fills_all_places(make_daemon, steady, tmp_path):
    """With the default limits: 60 idle clients of one address, and as many silent sockets of others, keep neither the
    clients of another address nor the unix socket out."""
    path = tmp_path / "socket"
    daemon = make_daemon(listeners=["{address: 127.0.0.1, port: PORT}", f"{{unix: {path}}}"])
    with steady(daemon):
        idle = [from_address("127.0.0.2", daemon, f"idle-{index}") for index in range(60)]
        assert [client is not None for client in idle] == 32 * [True] + 28 * [False]
        clients = [daemon.connect(f"client-{index}") for index in range(30)]
        with pytest.raises((raw.Closed, ConnectionError)):
            daemon.connect("one too many")
        with raw.Client(str(path)).connect("administrator") as administrator:
            administrator.ping()
        clients.pop().disconnect()
        # What is silent takes the place that is free, and gives way, one for the other.
        silent = [
            socket.create_connection(("127.0.0.1", daemon.port), PATIENCE_SECONDS, (f"127.0.1.{index}", 0))
            for index in range(1, 41)]
        wait(lambda: sum(is_closed(client) for client in silent) == 39, "39 of 40 closed")
        clients.append(daemon.connect("newcomer"))
        wait(lambda: all(is_closed(client) for client in silent), "40 of 40 closed")
        for client in clients:
            client.ping().close()
        for client in idle[:32]:
            assert not is_closed(client)
            client.close()
        for client in silent:
            client.close()
    counter(daemon, "clients/refused_per_address", lambda value: value == 28)
    assert daemon.log.count("connections refused from 127.0.0.2: Quota exceeded; see limits: connections_per_address") == 1


def test_all_of_one_address_come_at_once(make_daemon, build, steady):
    """As many as one address may have, more than may await their CONNECT at a time, are there when the process goes on."""
    daemon = make_daemon(build=build)
    with steady(daemon):
        daemon.process.send_signal(signal.SIGSTOP)
        wait(lambda: daemon.state.startswith("T"), "stop")
        clients = [raw.Client(daemon.port).send(raw.connect(f"client-{index}")) for index in range(32)]
        daemon.process.send_signal(signal.SIGCONT)
        for client in clients:
            client.expect(raw.CONNACK)
        for client in clients:
            client.close()


@pytest.mark.doors("briefly")
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
            newcomer = daemon.client()
            newcomer.version = version
            newcomer.send(raw.connect("twin", version=version)).expect(raw.CONNACK)
            newcomer.expect_close()
        client.ping()
        others.check()
        client.close()
    counter(daemon, "clients/refused_takeover", lambda value: value == 20)
    assert daemon.log.count("two clients are called 'twin'") == 1


@pytest.mark.doors("briefly")
def test_slowloris(make_daemon, steady, served):
    """Without a CONNECT, or with one that takes too long, a connection ends at its deadline. Where this machine took longer
    than that for those who mean well, it is tried with more time."""
    for seconds in (1, 8, 64):
        daemon = make_daemon(connect_seconds=seconds, pending_connections=8)
        try:
            be_slow(daemon, steady, served, seconds)
            break
        except (OSError, raw.Closed):
            if seconds == 64:
                raise
    counter(daemon, "closed/timeout", lambda value: value == 4)


def be_slow(daemon, steady, served, seconds):
    others = served(daemon)
    with steady(daemon):
        clock = time.monotonic()
        silent = [daemon.client() for _ in range(4)]
        for client in silent[2:]:
            client.send(raw.connect("slow")[:9])
        others.check()
        for client in silent:
            client.expect_close()
        assert time.monotonic() - clock >= seconds - TICK_SECONDS
        others.check()


@pytest.mark.doors("briefly")
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


@pytest.mark.doors("briefly")
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

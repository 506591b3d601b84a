"""Where clients come in: what `check` accepts `run` can open, or fails for a reason that only the kernel knows; socket
files; a peer whose cable is pulled; a pause of the process."""

import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import raw
from daemon import wait

OPENED = None
ABSTRACT = f"@tapline-test-{os.getpid()}"
NO_SUCH_ADDRESS = "Cannot assign requested address; this machine does not have that address now"
IN_USE = "Address already in use; another broker is running, or what is there is no socket file"


def refused(said):
    return "refused", said


def failed(said):
    return "failed", said


# A listener in YAML, and what becomes of it: opened, refused by `check`, or failed in `run` with what the kernel knows.
# FOLDER has a file `file`; LONG is as many bytes as fit, LONGER one more; @NAME is an abstract name of this process's.
LISTENERS = [
    ("{address: 127.0.0.1, port: PORT}", OPENED),
    ("{address: 127.1.2.3, port: PORT}", OPENED),
    ("{address: 0.0.0.0, port: PORT, anonymous: true}", OPENED),
    ("{address: '::1', port: PORT}", OPENED),
    ("{address: '0:0:0::0:1', port: PORT}", OPENED),
    ("{address: '::', port: PORT, anonymous: true}", OPENED),
    ("{address: 192.0.2.1, port: PORT, anonymous: true}", failed(NO_SUCH_ADDRESS)),
    ("{address: '2001:db8::1', port: PORT, anonymous: true}", failed(NO_SUCH_ADDRESS)),
    ("{address: '::127.0.0.1', port: PORT, anonymous: true}", failed(NO_SUCH_ADDRESS)),
    ("{address: '::ffff:127.0.0.1', port: PORT}", refused("expected 127.0.0.1")),
    ("{address: '::ffff:7f00:1', port: PORT}", refused("expected 127.0.0.1")),
    ("{address: '::ffff:0.0.0.0', port: PORT, anonymous: true}", refused("expected 0.0.0.0")),
    ("{address: '[::1]', port: PORT}", refused("'address' is '[::1]'; expected a numeric address")),
    ("{address: [::1], port: PORT}", refused("not YAML")),
    ("{address: 'fe80::1', port: PORT, anonymous: true}", refused("are reached through ::")),
    ("{address: 'ff02::1', port: PORT, anonymous: true}", refused("an address of one machine")),
    ("{address: 224.0.0.1, port: PORT, anonymous: true}", refused("an address of one machine")),
    ("{address: 255.255.255.255, port: PORT, anonymous: true}", refused("an address of one machine")),
    ("{address: 'fe80::1%lo', port: PORT, anonymous: true}", refused("are reached through ::")),
    ("{address: '::1%lo', port: PORT}", refused("'address' is '::1%lo'")),
    ("{address: localhost, port: PORT}", refused("'address' is 'localhost'; expected a numeric address")),
    ("{address: '', port: PORT}", refused("'address' is ''; expected a numeric address")),
    ("{address: 127.0.0.01, port: PORT}", refused("'address' is '127.0.0.01'")),
    ("{address: 2130706433, port: PORT}", refused("'address' is '2130706433'")),
    ("{address: 127.0.0.1, port: 0}", refused("'port' is '0'; expected a number from 1 to 65535")),
    ("{address: 127.0.0.1, port: 65536}", refused("'port' is '65536'; expected a number from 1 to 65535")),
    ("{address: 127.0.0.1, port: -1}", refused("'port' is '-1'; expected a number from 1 to 65535")),
    ("{address: 127.0.0.1, port: mqtt}", refused("'port' is 'mqtt'; expected a number from 1 to 65535")),
    ("{unix: FOLDER/s}", OPENED),
    ("{unix: FOLDER/s, mode: 0}", OPENED),
    ("{unix: 'FOLDER/a b'}", OPENED),
    ("{unix: FOLDER/LONG}", OPENED),
    ("{unix: FOLDER/LONGER}", refused("of at most 107 bytes")),
    ("{unix: FOLDER/missing/s}", failed("No such file or directory; its directory is missing")),
    ("{unix: FOLDER/file}", failed(IN_USE)),
    ("{unix: FOLDER/link}", failed(IN_USE)),
    ("{unix: FOLDER/folder}", failed(IN_USE)),
    ("{unix: FOLDER/file/s}", failed("Not a directory")),
    ("{unix: FOLDER/}", refused("expected the path of a file")),
    ("{unix: /}", refused("expected the path of a file")),
    ("{unix: s}", refused("expected a path that begins with /, or @NAME")),
    ("{unix: ./s}", refused("expected a path that begins with /, or @NAME")),
    ("{unix: ''}", refused("expected a path that begins with /, or @NAME")),
    ('{unix: "FOLDER/a\\0b"}', refused("")),
    ("{unix: '@NAME'}", OPENED),
    ("{unix: '@LONG-ABSTRACT'}", OPENED),
    ("{unix: '@LONGER-ABSTRACT'}", refused("of at most 107 bytes")),
    ("{unix: '@'}", refused("expected a path that begins with /, or @NAME")),
    ("{unix: '@NAME', mode: 660}", refused("'mode' goes with a socket file")),
    ("{serial: FOLDER/missing}", OPENED),  # it may be plugged in later
    ("{serial: FOLDER/file}", OPENED),
    ("{serial: ttyS0}", refused("expected a path that begins with /")),
    ("{serial: ''}", refused("expected a path that begins with /")),
]


@pytest.fixture
def folder():
    """One whose path is short, as a socket file's must be."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="tapline-"))
    (folder / "file").touch()
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "nothing")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.emulated_step(5)
@pytest.mark.parametrize("listener, outcome", LISTENERS, ids=[listener for listener, _ in LISTENERS])
def test_check_and_run_agree(binary, make_daemon, folder, listener, outcome):
    room = 107 - len(str(folder)) - 1
    for word, value in (
            ("@NAME", ABSTRACT), ("LONGER-ABSTRACT", "x" * 107), ("LONG-ABSTRACT", ABSTRACT[1:].ljust(106, "x")),
            ("LONGER", "x" * (room + 1)), ("LONG", "x" * room), ("FOLDER", str(folder))):
        listener = listener.replace(word, value)
    daemon = make_daemon(listeners=[listener], awaits_ready=False)
    checked = binary.run("check", "-c", daemon.configuration)
    wait(lambda: "tapline: ready" in daemon.log or not daemon.is_running, "outcome")
    if outcome is OPENED:
        assert checked.returncode == 0 and daemon.is_running, daemon.log
        assert daemon.stop() == 0
        return
    kind, said = outcome
    assert daemon.process.wait() == (78 if kind == "refused" else 70)
    assert said in daemon.log
    if kind == "refused":
        assert checked.returncode == 78 and checked.stderr.strip() == daemon.log.strip()
        assert f"{daemon.configuration.name}:1:" in checked.stderr
    else:
        assert checked.returncode == 0
        assert "tapline: cannot listen on " in daemon.log


# Socket files


def test_an_abstract_name(build, make_daemon):
    daemon = make_daemon(build=build, listeners=["{address: 127.0.0.1, port: PORT}", f"{{unix: '{ABSTRACT}-2'}}"])
    with raw.Client("\0" + ABSTRACT[1:] + "-2").connect("c") as client:
        client.ping()
    assert daemon.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        raw.Client("\0" + ABSTRACT[1:] + "-2")


def test_a_successors_socket_file_stays(build, make_daemon, folder):
    """An instance that ends removes its own file, and not that of one that has taken its place."""
    path = folder / "s"
    first, second = None, None
    for _ in range(2):
        path.unlink(missing_ok=True)
        first, second = second, make_daemon(
            build=build, listeners=["{address: 127.0.0.1, port: PORT}", f"{{unix: {path}, mode: 606}}"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o606
    assert first.stop() == 0
    with raw.Client(str(path)).connect("c") as client:
        client.ping()
    assert second.stop() == 0
    assert not path.exists()


# Time


class Pinging:
    """A client that pings, and knows the longest time in which this test itself did not let it."""

    def __init__(self, daemon, name, keep_alive):
        self.client = daemon.connect(name, keep_alive=keep_alive)
        self.last = time.monotonic()
        self.longest = 0.0

    def ping(self):
        self.client.send(raw.packet(0xC0))
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now


def outlive_a_pause(daemon, keep_alive, clients):
    """100 clients, added to `clients`, and a pause of the broker that is longer than their keep alive allows."""
    silent = daemon.connect("silent", keep_alive=keep_alive)
    for number in range(100):
        clients.append(Pinging(daemon, f"c{number}", keep_alive))
        for client in clients:
            client.ping()
    daemon.process.send_signal(signal.SIGSTOP)
    wait(lambda: daemon.state.startswith("T"), "stop")
    for _ in range(8):  # the pause is what is tested: twice the keep alive, of which half as much again is allowed
        time.sleep(keep_alive / 4)
        for client in clients:
            client.ping()
    daemon.process.send_signal(signal.SIGCONT)
    for number, client in enumerate(clients):
        for _ in range(len(clients) - number + 8):
            client.client.expect(raw.PINGRESP)
        client.ping()
    silent.expect_close(0x8D)
    for client in clients:
        client.client.expect(raw.PINGRESP)
        client.client.close()


def test_who_goes_on_pinging_outlives_a_pause(build, make_daemon):
    """The process is stopped for longer than the keep alive allows. More clients than the loop takes events or reads in a
    turn have pinged meanwhile; one has not. Where this machine did not let the clients ping in time, they are not those
    that went on: then it is tried with a longer keep alive."""
    for keep_alive in (2, 8, 32):
        daemon = make_daemon(build=build, connections=128, connections_per_address=128, pending_connections=128,
                             pending_per_address=128)
        clients = []
        try:
            return outlive_a_pause(daemon, keep_alive, clients)
        except (AssertionError, ConnectionError, raw.Closed):
            if max((max(client.longest, time.monotonic() - client.last) for client in clients), default=0) < keep_alive:
                raise
        daemon.end()
    pytest.fail("this machine stood still for 32 s at a time")


def in_network_of(pid, make):
    """What `make` makes, in the network namespace of that process."""
    made = []

    def enter():
        with open(f"/proc/{pid}/ns/net") as namespace:
            clone_newnet = 0x40000000
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), clone_newnet):
                raise OSError(ctypes.get_errno(), "setns")
        made.append(make())

    thread = threading.Thread(target=enter)  # the namespace is the thread's
    thread.start()
    thread.join()
    return made[0]


def has_namespaces():
    return bool(shutil.which("ip") and shutil.which("unshare")) and not subprocess.run(
        ["unshare", "-n", "ip", "link", "add", "tapline0", "type", "veth", "peer", "name", "tapline1"],
        capture_output=True).returncode


def test_a_pulled_cable_is_noticed(build, make_daemon, folder):
    """Two machines, each a network namespace, and a cable between them. The clients have no keep alive; to one of them there
    are bytes under way."""
    if build.is_emulated or not has_namespaces():
        pytest.skip("network namespaces need root, unshare and ip")
    far = subprocess.Popen(["unshare", "-n", sys.executable, "-c", "print(flush=True); input()"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        far.stdout.readline()
        cable = (f"ip link add near type veth peer name far netns {far.pid} && ip address add 10.99.0.1/24 dev near && "
                 'ip link set near up && exec "$@"')
        daemon = make_daemon(
            build=build, listeners=["{address: 10.99.0.1, port: PORT, anonymous: true}", f"{{unix: {folder}/s}}"],
            wrap=lambda command: ["unshare", "-n", "sh", "-c", cable, "sh", *command], dead_peer_seconds=5)
        inside = ["nsenter", "-t", str(far.pid), "-n", "ip"]
        subprocess.run([*inside, "address", "add", "10.99.0.2/24", "dev", "far"], check=True)
        subprocess.run([*inside, "link", "set", "far", "up"], check=True)

        def client(name):
            connected = in_network_of(
                far.pid, lambda: wait(lambda: attempt(("10.99.0.1", daemon.port)), "connection"))
            return raw.Client.on(connected).connect(name, version=4, will=("will", name, 0, False))

        watch = raw.Client(f"{folder}/s").connect("watch")
        watch.subscribe("will")
        idle, busy = client("idle"), client("busy")
        busy.subscribe("much")
        subprocess.run([*inside, "link", "set", "far", "down"], check=True)
        watch.publish("much", b"x" * 1000, qos=1)
        assert sorted(watch.message("will").payload for _ in range(2)) == [b"busy", b"idle"]
        assert daemon.is_running
        for one in (idle, busy, watch):
            one.close()
    finally:
        far.communicate(b"\n")


def attempt(address):
    """A connected socket; None while the network is not up."""
    try:
        return socket.create_connection(address, timeout=5)
    except OSError:
        return None

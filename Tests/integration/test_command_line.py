"""The command as its users meet it: what it prints, how it ends, what it leaves behind."""

import os
import signal
import socket
import stat
import subprocess
import threading

import pytest

import clients
import raw
from daemon import wait
from patience import PATIENCE_SECONDS

# What is asked for


@pytest.mark.smoke
def test_help(binary):
    done = binary.run("--help")
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith("Usage: tapline COMMAND")
    assert binary.run("-h").stdout == done.stdout
    for command in ("run", "check", "plan", "lines", "safe", "blink", "watch", "passwd", "cert"):
        assert command in done.stdout
        own = binary.run(command, "--help")
        assert own.returncode == 0 and own.stdout.startswith(f"Usage: tapline {command}")


@pytest.mark.smoke
def test_version(binary):
    done = binary.run("--version")
    assert done.returncode == 0 and done.stdout.startswith("tapline ")
    assert binary.run("-V").stdout == done.stdout


@pytest.mark.parametrize("arguments, said", [
    ([], "a command is missing"),
    (["rnu"], "did you mean 'run'?"),
    (["sing"], "unknown command 'sing'"),
    (["run"], "expected -c FILE"),
    (["run", "-c"], "needs a value"),
    (["run", "--confg", "x"], "did you mean '--config'?"),
    (["run", "-x"], "unknown option '-x'"),
    (["plan", "--jsno", "-c", "x"], "did you mean '--json'?"),
    (["check", "-c", "x", "y"], "unexpected argument 'y'"),
    (["--verbose"], "unknown option '--verbose'"),
    (["lines", "--json"], "unknown option '--json'"),
    (["plan", "--json=yes", "-c", "x"], "takes no value"),
    (["plan", "--budget", "lots"], "option --budget is 'lots'; expected bytes such as 16M or 800k"),
    (["plan", "--budget", "1M", "--clients", "0"], "option --clients is '0'; expected a number from 1 to 65536"),
    (["plan", "--clients", "9", "-c", "x"], "--clients goes with --budget"),
    (["passwd"], "tapline passwd: expected FILE USER after the options"),
    (["passwd", "-b", "f", "u"], "tapline passwd: expected FILE USER PASSWORD after the options"),
    (["passwd", "f", "u", "p"], "tapline passwd: expected FILE USER after the options"),
    (["passwd", "-c", "-D", "f", "u"], "-c and -D do not go together"),
    (["passwd", "-I", "0", "f", "u"], "option --iterations is '0'; expected a number from 1 to 1000000"),
    (["passwd", "--dleete", "f", "u"], "did you mean '--delete'?"),
    (["cert", "x"], "unexpected argument 'x'"),
    (["cert", "--clinet", "x"], "did you mean '--client'?"),
    (["cert", "--days", "1"], "option --days is '1'; expected a number from 2 to 3653"),
    (["cert", "--days", "3654"], "expected a number from 2 to 3653"),
    (["cert", "--name"], "option '--name' needs a value"),
    (["cert", "--renew", "--client", "a", "--name", "b"], "--renew with --client makes the client's certificate anew"),
    (["plan", "--budget", "1M", "--json"], "--budget and --json do not go together"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_usage(binary, arguments, said):
    done = binary.run(*arguments)
    assert done.returncode == 64
    assert said in done.stderr and "tapline --help" in done.stderr
    assert not done.stdout


def test_safe(binary, tmp_path):
    """Without hardware a simulated chip of its own; the same on real lines is a test of the board."""
    file = tmp_path / "tapline.yaml"
    file.write_text("""
board: simulated
taps:
  outputs:
    heater: {pin: GPIO17}
    valve: {pin: GPIO18, active: low, safe: on}
    pump: {pin: GPIO19, on_exit: keep}
    lamp: {pin: GPIO20, on_exit: release}
""")
    done = binary.run("safe", "-c", file)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines() == [
        "heater: off", "valve: on", "pump: left as it is (on_exit: keep)", "lamp: released (on_exit: release)"]
    file.write_text("board: simulated\ntaps: {outputs: {heater: {pin: GPIO99}, lamp: {pin: GPIO1}}}")
    done = binary.run("safe", "-c", file)
    assert done.returncode == 70
    assert done.stdout.splitlines() == ["heater: NOT SAFE: line GPIO99 not found; see tapline lines", "lamp: off"]
    file.write_text("taps: {outputs: 1}")
    assert binary.run("safe", "-c", file).returncode == 78


# The configuration


@pytest.mark.smoke
def test_right_configuration(binary, tmp_path):
    file = tmp_path / "right.yaml"
    file.write_text("listeners: [{address: 127.0.0.1, port: 1884}]\n")
    done = binary.run("check", "-c", file)
    assert done.returncode == 0 and done.stdout.startswith(f"{file}: ok (1 listener")


@pytest.mark.smoke
@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_wrong_configuration(binary, tmp_path, command):
    """All that is wrong at once, each with its place."""
    file = tmp_path / "wrong.yaml"
    file.write_text("""listeners:
  - {adress: 127.0.0.1, port: 1884}
limits:
  conections: 10
  queued: many
taps:
  outputs:
    relay: {pin: GPIO17, initial: onn}
    relay: {pin: GPIO18}
""")
    done = binary.run(command, "-c", file)
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    for place, text in {
        "2:6": "did you mean 'address'?", "4:3": "did you mean 'connections'?", "5:11": "'queued' is 'many'; expected",
        "8:35": "did you mean 'on'?", "9:5": "relay",
    }.items():
        assert any(line.startswith(f"{file}:{place}: ") and text in line for line in lines), (place, text, lines)


def test_broken_yaml(binary, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("listeners:\n  - {address: 127.0.0.1\nlimits: {}\n")
    done = binary.run("check", "-c", file)
    assert done.returncode == 78 and f"{file}:3:" in done.stderr


def test_missing_file(binary, tmp_path):
    done = binary.run("run", "-c", tmp_path / "nowhere.yaml")
    assert done.returncode == 78
    assert "nowhere.yaml" in done.stderr and "No such file" in done.stderr


# Start and end


def test_port_in_use(make_daemon, binary):
    first = make_daemon()
    done = binary.run("run", "-c", first.configuration)
    assert done.returncode == 70
    said = done.stdout + done.stderr
    assert f"cannot listen on 127.0.0.1:{first.port}" in said and "in use" in said
    first.connect("still served").ping().disconnect()


def test_a_broker_without_taps_says_nothing_of_a_board(make_daemon):
    daemon = make_daemon()
    client = daemon.connect("watcher")
    client.subscribe("#", qos=1)
    assert daemon.values("#") == {}
    daemon.process.send_signal(signal.SIGTERM)
    client.expect_close(0x8B)
    assert not client.messages


@pytest.mark.parametrize("name", [pytest.param(signal.SIGTERM, marks=pytest.mark.smoke), signal.SIGINT])
def test_orderly_end(make_daemon, binary, name):
    """`offline` is published, clients are told 0x8B, exit status 0; no client that does not read is waited for."""
    daemon = make_daemon("taps: {base: home}")
    client = daemon.connect("watcher")
    client.subscribe("home/status", qos=1)
    assert client.message().payload == b"online"
    stuck = raw.Client(daemon.port, receive_buffer=4096).connect("stuck")
    stuck.subscribe("#")
    with daemon.connect("publisher") as publisher:
        def has_no_room():
            publisher.send(*(raw.publish("flood", bytes(10_000)) for _ in range(100))).ping()
            return int(daemon.values("$SYS/broker/publish/messages/dropped").popitem()[1]) > 0

        wait(has_no_room, "dropped messages")
    daemon.process.send_signal(name)
    assert client.message("home/status").payload == b"offline"
    client.expect_close(0x8B)
    assert daemon.process.wait(PATIENCE_SECONDS) == 0
    stuck.close()


def test_restart_after_kill(make_daemon):
    """The port is free at once, whatever connections there were."""
    daemon = make_daemon()
    for _ in range(3):
        connected = [daemon.connect(f"client-{index}") for index in range(5)]
        daemon.kill()
        daemon.start()
        daemon.connect("again").ping().disconnect()
        for client in connected:
            client.close()


def test_restart_after_end(make_daemon):
    daemon = make_daemon()
    client = daemon.connect("client")
    assert daemon.stop() == 0
    daemon.start()
    daemon.connect("again").ping().disconnect()
    client.close()


def test_reader_that_goes(binary, tmp_path):
    """`tapline plan | head -1`: no SIGPIPE, no complaint."""
    file = tmp_path / "right.yaml"
    file.write_text("")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(binary.command("plan", "-c", file), stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS)
    os.close(writer)
    assert done.returncode == 0 and not done.stderr


def test_client_that_goes(daemon):
    """Writing to connections that are gone does not end the daemon."""
    for _ in range(50):
        client = daemon.connect("gone")
        client.subscribe("a")
        client.send(*(raw.publish("a", bytes(1000)) for _ in range(20)))
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
        client.close()
    daemon.connect("here").ping().disconnect()


def test_log_that_goes(make_daemon, binary):
    """The reader of its log leaves; it serves on."""
    daemon = make_daemon()
    daemon.stop()
    reader, writer = os.pipe()
    daemon.process = subprocess.Popen(binary.command("run", "-c", daemon.configuration), stdout=writer, stderr=writer)
    os.close(writer)
    with os.fdopen(reader) as log:
        assert any("ready" in line for line in log)  # reads no further
    for index in range(5):
        with raw.Client(daemon.port) as client:
            client.send(b"garbage" * 10).expect_close()
    daemon.connect("here").ping().disconnect()
    assert daemon.stop() == 0


def test_sighup_and_sigusr1(make_daemon):
    daemon = make_daemon()
    with daemon.connect("stays") as client:
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGUSR1)
        wait(lambda: 'pool connections {"capacity":64,"used":1,' in daemon.log and "reloaded: " in daemon.log, "log lines")
        client.ping()


def test_service_manager_is_told(make_daemon, tmp_path):
    """sd_notify: READY=1 when it serves, STOPPING=1 when it ends."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE_SECONDS)
        daemon = make_daemon(environment={"NOTIFY_SOCKET": path})
        assert b"READY=1" in manager.recv(4096)
        daemon.stop()
        assert b"STOPPING=1" in manager.recv(4096)


# Sockets of the service manager


def test_a_connected_socket_is_served(make_daemon):
    """A client that was accepted by whoever started the daemon."""
    near, far = socket.socketpair()
    with near, raw.Client.on(far) as client:
        daemon = make_daemon(sockets=[near])
        near.close()
        client.connect("passed").ping()
        with daemon.connect("other") as other:
            client.subscribe("a")
            other.publish("a", "b", qos=1)
            assert client.message("a").payload == b"b"
    assert "socket unit" not in daemon.log


def test_sockets_of_a_socket_unit_are_used(make_daemon, tmp_path):
    path = tmp_path / "unit.sock"
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(path))
        unix.listen()
        port = tcp.getsockname()[1]
        with raw.Client(port) as early:  # waits in the socket until the daemon is there
            daemon = make_daemon(
                listeners=["{address: 127.0.0.1, port: PORT}", f"{{unix: {path}}}", f"{{address: 127.0.0.1, port: {port}}}"],
                sockets=[unix, tcp])
            early.connect("early")
        for where in (str(path), daemon.port, port):
            with raw.Client(where).connect("client") as client:
                client.ping()
        assert "nobody is served" not in daemon.log
        assert daemon.stop() == 0
        assert path.exists()  # not the daemon's to remove


def test_a_socket_that_no_listener_names_is_told(make_daemon):
    with socket.create_server(("127.0.0.1", 0)) as stray:
        daemon = make_daemon(sockets=[stray])
        assert "passes a socket that no listener in the configuration names" in daemon.log
        daemon.connect("client").close()


# Unix sockets


def test_unix_socket(make_daemon, tmp_path):
    path = tmp_path / "mqtt.sock"
    daemon = make_daemon(listeners=["{address: 127.0.0.1, port: PORT}", f"{{unix: {path}, mode: 600}}"])
    assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == 0o600
    with raw.Client(str(path)).connect("through the file") as reader:
        reader.subscribe("a", qos=1)
        clients.publish(daemon, "a", "from the network", "-q", 1)
        assert reader.message().payload == b"from the network"

        got = threading.Event()
        client = clients.paho_client("paho", "5", transport="unix")
        client.on_connect = lambda client, *_: client.publish("a", "from paho", qos=1)
        client.on_publish = lambda *_: got.set()
        client.connect(str(path), 1883)  # paho wants a port, and does not look at it
        client.loop_start()
        assert got.wait(PATIENCE_SECONDS)
        assert reader.message().payload == b"from paho"
        client.disconnect()
        client.loop_stop()
    assert daemon.stop() == 0
    assert not path.exists()


def test_unix_socket_left_by_a_kill(make_daemon, tmp_path):
    path = tmp_path / "mqtt.sock"
    daemon = make_daemon(listeners=[f"{{unix: {path}}}"])
    daemon.kill()
    assert path.exists()
    daemon.start()
    raw.Client(str(path)).connect("again").ping().disconnect()

"""The log: who comes and goes, what peers cannot do to it, storms, readers that do not read, the journal."""

import fcntl
import os
import re
import subprocess
import time

import pytest

import raw
from daemon import wait
from patience import PATIENCE_SECONDS

INFO = "log: {mqtt: info}"


def lines(daemon, word):
    return [line for line in daemon.log.splitlines() if word in line]


def line(daemon, word):
    """The one line with this word."""
    (found,) = wait(lambda: lines(daemon, word), f"line with {word!r}")
    return found


def test_clients_come_and_go(make_daemon):
    daemon = make_daemon(INFO)
    client = daemon.connect("phone")
    own = "127.0.0.1:%d" % client.socket.getsockname()[1]
    assert line(daemon, "'phone'") == f"tapline: client 'phone' from {own} connected, MQTT 5"
    client.disconnect()
    assert line(daemon, "'phone' from " + own + " dis") == f"tapline: client 'phone' from {own} disconnected"
    old = daemon.connect("old", 4)
    old.close()
    assert line(daemon, "MQTT 3.1.1").startswith("tapline: client 'old' from 127.0.0.1:")
    assert line(daemon, "is gone").startswith("tapline: client 'old' from 127.0.0.1:")


def test_unix_client(make_daemon, tmp_path):
    path = tmp_path / "mqtt.sock"
    daemon = make_daemon(INFO, listeners=["{address: 127.0.0.1, port: PORT}", f"{{unix: {path}}}"])
    with raw.Client(str(path)).connect("local"):
        assert line(daemon, "'local'") == f"tapline: client 'local' from unix uid {os.getuid()} connected, MQTT 5"


def test_quiet_by_default(make_daemon):
    """Comings and goings are nobody's business; whom the broker sends away is told with address, without port."""
    daemon = make_daemon()
    daemon.connect("phone").disconnect()
    with daemon.connect("wrong") as client:
        client.send(b"\xf7\x00").expect_close()
    assert line(daemon, "'wrong'").startswith("tapline: client 'wrong' from 127.0.0.1 was disconnected: ")
    with raw.Client(daemon.port) as client:
        client.send(b"garbage" * 10).expect_close()
    assert line(daemon, "connection closed").startswith("tapline: connection closed from 127.0.0.1: ")
    assert not lines(daemon, "phone")


def test_only_errors(make_daemon, tmp_path):
    daemon = make_daemon()
    daemon.configuration.write_text(daemon.configuration.read_text() + "log: {level: error}\n")
    daemon.stop()
    daemon.launch()
    wait(lambda: try_connect(daemon), "connection")
    assert daemon.stop() == 0
    assert daemon.log == ""


def try_connect(daemon):
    try:
        raw.Client(daemon.port).connect("a").ping().disconnect()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("name, shown", [
    ("a'b\\c", r"'a\x27b\x5cc'"),
    ("küche", r"'k\xc3\xbcche'"),
    ("\u009b31mred", r"'\xc2\x9b31mred'"),
    ("\u202etxt", r"'\xe2\x80\xaetxt'"),
    ("tapline: ready\x1b[2J\n<0>forged", r"'tapline: ready\x1b[2J\x0a<0>forged'"),
    ("x" * 65, "'" + "x" * 64 + "'..."),
], ids=["quote", "letter", "c1", "bidi", "control", "long"])
def test_hostile_identifier(make_daemon, name, shown):
    daemon = make_daemon(INFO, client_id_bytes=100)
    client = daemon.connect(name)
    daemon.connect("after").ping().close()
    wait(lambda: lines(daemon, "'after'"), "line of the next client")
    raw_log = daemon.log_file.read_bytes()
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in raw_log)
    assert all(text.startswith("tapline: ") for text in daemon.log.splitlines())
    assert lines(daemon, f"client {shown} from 127.0.0.1:")
    client.close()


def test_storm_of_the_same(make_daemon, some):
    """Its first line, and a count when another line comes."""
    daemon = make_daemon()
    count, clock = some(500), time.monotonic()
    for _ in range(count):
        with raw.Client(daemon.port) as client:
            client.send(b"garbage" * 10).expect_close()
    daemon.stop()
    # A line that repeats is written again after 10 s at the earliest.
    assert len(lines(daemon, "connection closed")) <= 2 + (time.monotonic() - clock) / 10
    repeated = sum(int(text.split()[4]) for text in lines(daemon, "last line repeated"))
    assert repeated + len(lines(daemon, "connection closed")) == count


def test_storm_of_others(make_daemon, some):
    """Of one area; others are heard meanwhile."""
    daemon = make_daemon(
        "log: {mqtt: info, burst: 4, rate: 2}\nboard: simulated\ntaps: {outputs: {gone: {pin: GPIO99}}}")
    assert lines(daemon, "tap gone: ")
    clock = time.monotonic()
    for index in range(some(300)):
        daemon.connect(f"client-{index}").disconnect()
    daemon.process.send_signal(10)  # SIGUSR1
    wait(lambda: lines(daemon, "pool connections"), "lines of another area")
    shown = len(lines(daemon, "client '"))
    assert 4 <= shown <= 4 + 2 * (time.monotonic() - clock) + 1
    # Silent until the budget is whole, which is said.
    told = wait(lambda: lines(daemon, "suppressed; see 'log: rate'; area mqtt"), "line about the suppressed ones")
    assert int(told[0].split()[1]) > 0
    figures = daemon.figures("$SYS/tapline/#")
    assert int(figures["$SYS/tapline/log/suppressed"]) >= 2 * some(300) - shown
    # Missing only where nothing counts, in a build with a sanitizer; test_allocations.py has it that the others count.
    assert figures.get("$SYS/tapline/memory/allocations_after_ready", "0") == "0"


def start_with(daemon, binary, stderr, **options):
    daemon.stop()
    daemon.process = subprocess.Popen(
        binary.command("run", "-c", daemon.configuration), stdout=subprocess.DEVNULL, stderr=stderr, **options)
    wait(lambda: try_connect(daemon), "connection")


def test_stuck_reader(make_daemon, binary, some):
    """A pipe that nobody reads: the broker serves on, and says afterwards what was lost."""
    daemon = make_daemon("log: {mqtt: debug, rate: 1000, burst: 10000}")
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    start_with(daemon, binary, writer)
    with daemon.connect("served") as served:
        served.subscribe("a")
        for index in range(some(200)):
            daemon.connect(f"client-{index}").disconnect()
            served.publish("a", b"%d" % index, qos=1)
            assert served.message("a").payload == b"%d" % index
        lost = int(daemon.wait_for_value("$SYS/tapline/log/lost", lambda value: int(value) > 0))
    os.close(writer)
    os.set_blocking(reader, False)
    before = os.read(reader, 1 << 16)
    assert before.startswith(b"tapline: ") and before.endswith(b"\n")  # whole lines
    daemon.connect("seen").disconnect()
    after = wait(lambda: read_some(reader), "further lines").decode()
    told = re.match(r"tapline: (\d+) lines lost: the log did not take them\n", after)
    assert told and int(told[1]) >= lost, after
    assert daemon.stop() == 0
    os.close(reader)


def read_some(reader):
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("is_journal", [True, False], ids=["journal", "elsewhere"])
def test_journal(make_daemon, binary, is_journal):
    """JOURNAL_STREAM names the file that the journal reads; another one gets plain lines."""
    daemon = make_daemon()
    reader, writer = os.pipe()
    status = os.fstat(writer)
    stream = f"{status.st_dev}:{status.st_ino + (0 if is_journal else 1)}"
    start_with(daemon, binary, writer, env=os.environ | {"JOURNAL_STREAM": stream})
    os.close(writer)
    assert daemon.stop() == 0
    with os.fdopen(reader) as pipe:
        told = pipe.read().splitlines()
    assert len(told) >= 2 and all(text.startswith("<5>tapline: " if is_journal else "tapline: ") for text in told), told


def test_refused_command(make_daemon):
    daemon = make_daemon("log: {taps: debug}\nboard: simulated\ntaps: {base: b, outputs: {relay: {pin: GPIO17}}}")
    with daemon.connect("phone") as client:
        assert client.publish("b/relay/set", "ON", qos=1) == 0
        assert client.publish("b/relay/set", "perhaps", qos=1) >= 0x80
    assert line(daemon, "tap relay: ON") == "tapline: tap relay: ON, by 'phone'"
    assert lines(daemon, "tap relay: ")[-1].endswith(", by 'phone'") and len(lines(daemon, "tap relay: ")) == 2


@pytest.mark.parametrize("listener, said", [
    ("{address: 192.0.2.1, port: 1883, anonymous: true}", "this machine does not have that address now"),
    ("{unix: FOLDER/nowhere/mqtt.sock}", "its directory is missing"),
])
def test_listener_that_cannot_be(binary, tmp_path, listener, said):
    file = tmp_path / "tapline.yaml"
    file.write_text(f"listeners: [{listener.replace('FOLDER', str(tmp_path))}]\n")
    done = binary.run("run", "-c", file)
    assert done.returncode == 70
    assert done.stderr.startswith("tapline: cannot listen on ") and said in done.stderr
    assert done.stderr.endswith(f"; see listeners in {file}\n")


def test_memory_that_is_not_there(binary, tmp_path):
    file = tmp_path / "tapline.yaml"
    file.write_text("listeners: [{unix: %s}]\nlimits: {blocks: 64000, block_bytes: 60k}\n" % (tmp_path / "socket"))
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash"]
    done = subprocess.run(
        limited + binary.command("run", "-c", file), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if binary.is_emulated and "cannot reserve" not in done.stderr:
        pytest.skip("the emulator itself does not start with so little")
    assert done.returncode == 70
    assert re.search(r"tapline: cannot reserve \d+ KiB: Cannot allocate memory; lower limits; see tapline plan\n", done.stderr)

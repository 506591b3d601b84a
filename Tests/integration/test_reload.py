"""SIGHUP: certificates and listeners change while clients are served; what is wrong changes nothing; `check` says the same."""

import os
import re
import shutil
import signal
import socket
import ssl
import threading

import pytest
from websockets.sync.client import connect as open_websocket

import raw
from daemon import wait
from patience import PATIENCE_SECONDS
from test_tls import openssl

TLS = "{address: 127.0.0.1, port: PORT, tls: {certificate: %s/server.pem, key: %s/server.key%s}}"
NOTHING = "tapline: passwords, rights, listeners, certificates and log levels stay as they were\n"


class Authority:
    """A small certificate authority in a folder, with a list of what it has revoked."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.index").write_text("")
        (folder / f"{name}.number").write_text("01\n")
        (folder / f"{name}.conf").write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/{name}.index\ncrlnumber={folder}/{name}.number\n"
            f"new_certs_dir={folder}\nserial={folder}/{name}.serial\nunique_subject=no\npolicy=any\n"
            "default_md=sha256\ndefault_crl_days=30\n[any]\ncommonName=supplied\n")
        (folder / f"{name}.serial").write_text("0100\n")
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj", f"/CN={name}",
            "-keyout", self.file("key", name), "-out", self.file("pem", name))
        self.revoke()

    def file(self, kind, name=None):
        return self.folder / f"{name or self.name}.{kind}"

    def issue(self, name, begin=None, end=None):
        """NAME.pem and NAME.key, each put in place at once; valid between the two dates, or from now on."""
        (self.folder / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout",
            self.file("key.new", name), "-out", self.file("csr", name))
        openssl(
            *self.common(), "-batch", "-notext", "-in", self.file("csr", name), *(("-startdate", begin, "-enddate", end) if begin else ("-days", 30)),
            "-extfile", self.folder / "extensions", "-out", self.file("pem.new", name))
        for kind in ("pem", "key"):
            self.file(f"{kind}.new", name).replace(self.file(kind, name))

    def common(self):
        return ["ca", "-config", self.file("conf"), "-keyfile", self.file("key"), "-cert", self.file("pem")]

    def revoke(self, name=None):
        """A new list, on which NAME is too."""
        if name:
            openssl(*self.common(), "-revoke", self.file("pem", name))
        openssl(*self.common(), "-gencrl", "-out", self.file("crl.new"))
        self.file("crl.new").replace(self.file("crl"))


@pytest.fixture
def ca(tmp_path):
    made = Authority(tmp_path / "keys")
    for name in ("server", "kitchen", "garden"):
        made.issue(name)
    return made


class Board:
    """A daemon, and its file as text that a test changes."""

    def __init__(self, make_daemon, *listeners, more="", **options):
        self.daemon = make_daemon(more, listeners=list(listeners), **options)
        self.text = self.daemon.configuration.read_text()
        self.inner = "{unix: %s/s}" % self.daemon.folder
        self.holders = []

    def port(self):
        """A port that nobody else is given."""
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        self.holders.append(holder)
        return holder.getsockname()[1]

    def rewrite(self, *listeners, more=""):
        lines = ", ".join(listener.replace("PORT", str(self.daemon.port)) for listener in listeners)
        text = re.sub(r"^listeners: .*$", lambda _: f"listeners: [{lines}]", self.text, flags=re.MULTILINE)
        fresh = self.daemon.configuration.with_suffix(".new")
        fresh.write_text(text + more)
        fresh.replace(self.daemon.configuration)

    def hang_up(self):
        """SIGHUP, to the end of the reload; the lines that tell of it."""
        before = len(self.daemon.log)
        self.daemon.process.send_signal(signal.SIGHUP)

        def told():
            said = self.daemon.log[before:]
            return said if ("tapline: reloaded: " in said or NOTHING in said) and said.endswith("\n") else None

        wait(told, "reload")
        with self.inner_client("hang-up") as client:  # lines that follow in the same turn
            client.ping()
        return self.daemon.log[before:]

    def inner_client(self, name):
        return raw.Client(f"{self.daemon.folder}/s").connect(name)


@pytest.fixture
def board(make_daemon, tmp_path):
    boards = []

    def make(*listeners, **options):
        # Every board has a socket that no test removes.
        made = Board(make_daemon, *listeners, "{unix: %s/daemon-%d/s}" % (tmp_path, len(boards)), **options)
        boards.append(made)
        return made

    yield make
    for made in boards:
        for holder in made.holders:
            holder.close()


def context(ca, name=None, **versions):
    made = ssl.create_default_context(cafile=ca.file("pem"))
    if name:
        made.load_cert_chain(ca.file("pem", name), ca.file("key", name))
    for key, value in versions.items():
        setattr(made, key, value)
    return made


def dial(port, made=None):
    connection = socket.socket()
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", port))
    return made.wrap_socket(connection, server_hostname="127.0.0.1") if made else connection


def serial_number(port, made):
    with dial(port, made) as connection:
        return connection.getpeercert()["serialNumber"]


def client(port, made, name, **options):
    return raw.Client.on(dial(port, made)).connect(name, **options)


# Certificates


@pytest.mark.smoke
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_certificate_under_load(board, ca, version):
    one = board(TLS % (ca.folder, ca.folder, ""))
    port, made = one.daemon.port, context(ca, minimum_version=version, maximum_version=version)
    first = serial_number(port, made)
    old = client(port, made, "old")
    old.subscribe("t")
    stop, failures, logins = threading.Event(), [], [0]

    def knock(name):
        while not stop.is_set():
            try:
                with client(port, made, name) as guest:
                    guest.publish("load", b"x" * 3000, qos=1)
                logins[0] += 1
            except Exception as error:  # noqa: BLE001
                failures.append(error)

    threads = [threading.Thread(target=knock, args=(f"knock{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    wait(lambda: logins[0] > 3 or failures, "load")
    ca.issue("server")
    said = one.hang_up()
    assert f"tapline: new certificate, key or lists on 127.0.0.1:{port}\n" in said and "reloaded: log levels, listeners\n" in said
    before = logins[0]
    wait(lambda: logins[0] > before + 3 or failures, "load behind the reload")
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not failures
    assert serial_number(port, made) != first
    with client(port, made, "new") as new:
        new.publish("t", b"x" * 50_000, qos=1)
    assert old.message("t").payload == b"x" * 50_000
    old.close()


def test_a_connection_outlives_one_change_and_not_two(board, ca):
    one = board(TLS % (ca.folder, ca.folder, ""))
    port = one.daemon.port
    served = [client(port, context(ca), "0")]
    for number in range(1, 5):
        ca.issue("server")
        said = one.hang_up()
        assert "new certificate" in said
        served.append(client(port, context(ca), str(number)))
        if number >= 2:
            served[number - 2].expect_close(0x98)
            wait(lambda: one.daemon.log.count("1 connection ended, of certificates that were replaced") == number - 1, "line")
        for still in served[max(0, number - 1):]:
            still.ping()
    # Nothing has changed: no connection is touched.
    assert "new certificate" not in one.hang_up()
    for still in served[-2:]:
        still.ping()
        still.close()


def test_who_is_revoked_does_not_come_in_again(board, ca):
    more = f", ca: {ca.folder}/ca.pem, crl: {ca.folder}/ca.crl, client_certificate: required"
    one = board(TLS % (ca.folder, ca.folder, more))
    port = one.daemon.port
    kitchen, garden = (client(port, context(ca, name), name) for name in ("kitchen", "garden"))
    ca.revoke("kitchen")
    assert "new certificate, key or lists" in one.hang_up()
    kitchen.ping()  # it came in before
    with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
        client(port, context(ca, "kitchen"), "again")
    with client(port, context(ca, "garden"), "garden2"):
        pass
    wait(lambda: "its certificate was refused (certificate revoked)" in one.daemon.log, "line")
    # Nor does another authority's list say anything of these.
    Authority(ca.folder, "other")
    shutil.copy(ca.file("crl", "other"), ca.file("crl"))
    one.hang_up()
    with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
        client(port, context(ca, "garden"), "garden3")
    for still in (kitchen, garden):
        still.close()


WRONG = {
    "another key": ("server.key", lambda ca: shutil.copy(ca.file("key", "kitchen"), ca.file("key", "server")),
                    r"key '.*server.key' is not the key of the certificate \(.*\); expected the key of '.*server.pem'"),
    "no certificate": ("server.pem", lambda ca: ca.file("pem", "server").write_text("hello\n"),
                       r"certificate '.*server.pem' has no certificate in it.*; expected a whole PEM file"),
    "half a certificate": ("server.pem", lambda ca: ca.file("pem", "server").write_text(ca.file("pem", "server").read_text()[:300]),
                           r"certificate '.*server.pem' .*; expected a whole PEM file"),
    "half a key": ("server.key", lambda ca: ca.file("key", "server").write_text(ca.file("key", "server").read_text()[:100]),
                   r"key '.*server.key' .*; expected a whole PEM file"),
    "an empty list": ("ca.crl", lambda ca: ca.file("crl").write_text(""), r"crl '.*ca.crl' has no revocation list in it; expected a whole PEM file"),
    "no authority": ("ca.pem", lambda ca: ca.file("pem").unlink(), r"ca '.*ca.pem' is not there; expected a PEM file"),
    "a folder": ("ca.pem", lambda ca: (ca.file("pem").unlink(), ca.file("pem").mkdir()), r"ca '.*ca.pem' is a directory; expected a PEM file"),
}


@pytest.mark.emulated_step(3)
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_changes_nothing(board, ca, binary, case):
    """And `check` and a start say of it what the reload says."""
    name, spoil, pattern = WRONG[case]
    more = f", ca: {ca.folder}/ca.pem, crl: {ca.folder}/ca.crl, client_certificate: optional"
    line = TLS % (ca.folder, ca.folder, more)
    one = board(line)
    port, made = one.daemon.port, context(ca)
    first = serial_number(port, made)
    old = client(port, made, "old")
    saved = ca.file(name.split(".")[1], name.split(".")[0]).read_bytes()
    spoil(ca)
    said = one.hang_up()
    column = one.daemon.configuration.read_text().splitlines()[0].index(f"{ca.folder}/{name}") + 1
    found = re.search(rf"^tapline: not reloaded: ({re.escape(str(one.daemon.configuration))}:1:{column}: {pattern})$", said, re.MULTILINE)
    assert found and NOTHING in said, said
    assert serial_number(port, made) == first
    old.ping()
    checked = binary.run("check", "-c", one.daemon.configuration)
    assert (checked.returncode, checked.stdout) == (78, "") and checked.stderr == found[1] + "\n"
    one.daemon.stop()
    run = binary.run("run", "-c", one.daemon.configuration)
    assert run.returncode == 78 and f"tapline: {found[1]}\n" in run.stderr
    old.close()
    target = ca.file(name.split(".")[1], name.split(".")[0])
    if target.is_dir():
        target.rmdir()
    target.write_bytes(saved)
    assert binary.run("check", "-c", one.daemon.configuration).returncode == 0


def test_every_file_that_cannot_be_read_is_told(binary, tmp_path):
    file = tmp_path / "t.yaml"
    file.write_text(
        "listeners:\n  - address: 127.0.0.1\n    tls:\n      certificate: /none/a.pem\n      key: /none/a.key\n"
        "  - {address: 127.0.0.1, port: 8883, tls: {certificate: /none/b.pem, key: /none/b.key}}\n")
    checked = binary.run("check", "-c", file)
    assert checked.returncode == 78
    assert checked.stderr.splitlines() == [
        f"{file}:4:20: certificate '/none/a.pem' is not there; expected a PEM file",
        f"{file}:5:12: key '/none/a.key' is not there; expected a PEM file",
        f"{file}:6:57: certificate '/none/b.pem' is not there; expected a PEM file",
        f"{file}:6:75: key '/none/b.key' is not there; expected a PEM file",
    ]


def test_what_is_used_all_the_same_is_warned_of(board, ca, binary):
    """A certificate of another day, a list that is too old, a key that everybody may read: the start, a reload and `check`
    say so."""
    more = f", ca: {ca.folder}/ca.pem, crl: {ca.folder}/ca.crl, client_certificate: optional"
    one = board(TLS % (ca.folder, ca.folder, more))
    file = one.daemon.configuration
    assert ca.file("key", "server").stat().st_mode & 7 == 0 and "is open to" not in one.daemon.log
    assert binary.run("check", "-c", file).stderr == ""
    ca.issue("server", "20200101000000Z", "20210101000000Z")
    ca.file("key", "server").chmod(0o644)
    expected = [
        rf"{file}:1:\d+: certificate '{ca.file('pem', 'server')}' has expired, so clients refuse it; expected one that is valid today",
        rf"{file}:1:\d+: key '{ca.file('key', 'server')}' is open to every user of this machine; expected chmod 640 or less",
    ]
    said = one.hang_up()
    checked = binary.run("check", "-c", file)
    assert checked.returncode == 0 and "ok (" in checked.stdout
    one.daemon.stop()
    one.daemon.start()
    for told, start in ((said, "tapline: "), (checked.stderr, "tapline: warning: "), (one.daemon.log, "tapline: ")):
        for line in expected:
            assert re.search(rf"^{start}{line}$", told, re.MULTILINE), (line, told)
    ca.issue("server", "20480101000000Z", "20490101000000Z")
    assert "is not valid yet, so clients refuse it; expected one that is valid today, and a clock that is set\n" in one.hang_up()
    assert "is not valid yet" in binary.run("check", "-c", file).stderr


# Listeners


@pytest.mark.smoke
def test_listeners_are_added_and_removed(board):
    one = board("{address: 127.0.0.1, port: PORT}")
    first, second = "{address: 127.0.0.1, port: PORT}", "{address: 127.0.0.1, port: %d}" % one.port()
    port = int(re.search(r"port: (\d+)", second)[1])
    old = raw.Client(one.daemon.port).connect("old")
    one.rewrite(first, second, one.inner)
    assert f"tapline: listening on 127.0.0.1:{port}\n" in one.hang_up()
    new = raw.Client(port).connect("new")
    one.rewrite(second, one.inner)
    assert f"tapline: no longer listening on 127.0.0.1:{one.daemon.port}\n" in one.hang_up()
    with pytest.raises(ConnectionRefusedError):
        dial(one.daemon.port)
    old.subscribe("t")
    new.publish("t", b"hello", qos=1)
    assert old.message("t").payload == b"hello"
    one.rewrite(first, second, one.inner)
    one.hang_up()
    with raw.Client(one.daemon.port).connect("again") as again:
        again.ping()
    for still in (old, new):
        still.close()


def test_a_port_in_use_changes_nothing(board):
    one = board("{address: 127.0.0.1, port: PORT}", more="log: {mqtt: notice}\n")
    free, used = one.port(), one.port()
    one.holders[1].listen()
    lines = [f"{{address: 127.0.0.1, port: {port}}}" for port in (free, used)]
    one.text = one.text.replace("mqtt: notice", "mqtt: info")
    one.rewrite(*lines, one.inner)
    said = one.hang_up()
    assert re.search(
        rf"not reloaded: {one.daemon.configuration}:1:\d+: cannot listen on 127.0.0.1:{used}: Address already in use; is another", said), said
    assert NOTHING in said
    with pytest.raises(ConnectionRefusedError):
        dial(free)
    with raw.Client(one.daemon.port).connect("still") as still:
        still.ping()
    assert "client 'still'" not in one.daemon.log  # nor were the log levels taken over
    # One that another one of our own is in the way of.
    one.rewrite("{address: 0.0.0.0, port: PORT, anonymous: true}", one.inner)
    assert (f"cannot listen on 0.0.0.0:{one.daemon.port} beside 127.0.0.1:{one.daemon.port}, which is open; expected a reload "
            "without the old one first, or a restart\n") in one.hang_up()


def test_what_was_not_reserved_needs_a_restart(board, ca):
    plain = "{address: 127.0.0.1, port: PORT}"
    one = board(plain)
    ports = [one.port() for _ in range(3)]
    secure = (TLS % (ca.folder, ca.folder, "")).replace("PORT", str(ports[0]))
    web = "{address: 127.0.0.1, port: %d, protocols: [websocket]}" % ports[1]
    other = "{address: 127.0.0.1, port: %d}" % ports[2]
    one.rewrite(plain, secure, web, other, one.inner)
    said = one.hang_up()
    assert (f"tapline: changed in the file, and not before a restart: listener 127.0.0.1:{ports[0]} (no listener had TLS at the start), "
            f"listener 127.0.0.1:{ports[1]} (no listener had WebSocket, a proxy or TLS at the start)\n") in said
    for port in ports[:2]:
        with pytest.raises(ConnectionRefusedError):
            dial(port)
    with raw.Client(ports[2]).connect("other") as client:
        client.ping()
    one.daemon.stop()
    one.daemon.start()
    with raw.Client.on(dial(ports[0], context(ca))).connect("now") as client:
        client.ping()


def test_client_certificates_need_memory_of_the_start(board, ca):
    """Of a listener that is open, and of a new one; either goes on or stays away, and a restart has both."""
    one = board(TLS % (ca.folder, ca.folder, ""))
    port, new = one.daemon.port, one.port()
    asks = TLS % (ca.folder, ca.folder, f", ca: {ca.folder}/ca.pem, client_certificate: required")
    one.rewrite(asks, asks.replace("PORT", str(new)), one.inner)
    lack = "no listener asked for client certificates at the start"
    assert (f"tapline: changed in the file, and not before a restart: listener 127.0.0.1:{port} ({lack}), "
            f"listener 127.0.0.1:{new} ({lack})\n") in one.hang_up()
    with client(port, context(ca), "without") as served:
        served.ping()
    with pytest.raises(ConnectionRefusedError):
        dial(new)
    one.daemon.stop()
    one.daemon.start()
    for each in (port, new):
        with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
            client(each, context(ca), "without")
        with client(each, context(ca, "kitchen"), "with") as served:
            served.ping()


def test_tls_comes_and_goes_where_there_was_some(board, ca):
    """One listener had TLS at the start, so one may have it: the same, another, and WebSocket in it."""
    secure = TLS % (ca.folder, ca.folder, "")
    one = board(secure)
    other = one.port()
    old = client(one.daemon.port, context(ca), "old")
    moved = (TLS % (ca.folder, ca.folder, "")).replace("PORT", str(other)).replace("tls:", "protocols: [mqtt, websocket], tls:")
    one.rewrite("{address: 127.0.0.1, port: PORT}", one.inner)  # plain now
    assert f"changed what is listened to on 127.0.0.1:{one.daemon.port}" in one.hang_up()
    with raw.Client(one.daemon.port).connect("plain") as plain:
        plain.ping()
    one.rewrite("{address: 127.0.0.1, port: PORT}", moved, one.inner)
    assert f"listening on 127.0.0.1:{other}" in one.hang_up()
    with open_websocket(
            f"wss://127.0.0.1:{other}/mqtt", subprotocols=["mqtt"], ssl=context(ca), close_timeout=PATIENCE_SECONDS) as connection:
        connection.send(raw.connect("web"))
        assert connection.recv(PATIENCE_SECONDS)[:1] == b"\x20"
    old.ping()
    one.rewrite(secure, moved, one.inner)
    assert "(memory is reserved for 1 listener with TLS)" in one.hang_up()
    with raw.Client(one.daemon.port).connect("plain") as plain:  # as it was
        plain.ping()
    with client(other, context(ca), "secure") as more:
        more.ping()
    old.ping()
    old.close()


def test_a_socket_of_the_service_manager(make_daemon, tmp_path):
    """It is not closed, as systemd has it too; and it is served again when it is in the file again."""
    passed = socket.socket()
    passed.bind(("127.0.0.1", 0))
    passed.listen()
    port = passed.getsockname()[1]
    line = "{address: 127.0.0.1, port: %d}" % port
    inner = "{unix: %s/s}" % (tmp_path / "daemon-0")
    one = Board(make_daemon, line, inner, sockets=[passed])
    with raw.Client(port).connect("one") as client:
        client.ping()
    one.rewrite(inner)
    said = one.hang_up()
    assert f"no longer listening on 127.0.0.1:{port}" in said and "the socket unit still listens there" in said
    waiting = raw.Client(port)
    waiting.send(raw.connect("waiting"))
    one.rewrite(line, inner)
    one.hang_up()
    assert waiting.expect(raw.CONNACK).body[1] == 0
    waiting.close()
    passed.close()


# Everything else goes on


TAPS = """
board: simulated
taps:
  base: b
  outputs:
    pump: {pin: GPIO17, max_on: 12h}
    lamp: {pin: GPIO18}
"""


def test_a_pin_with_a_running_timer_stays_through_fifty_reloads(board, ca):
    """Its line, its state and its timer: nothing is told of it, and the timer that ends meanwhile ends once."""
    secure = TLS % (ca.folder, ca.folder, "")
    one = board(secure, more=TAPS)
    watch = one.inner_client("watch")
    watch.subscribe("b/pump", "b/lamp")
    assert [watch.message(name).payload for name in ("b/pump", "b/lamp")] == [b"OFF", b"OFF"]
    watch.publish("b/pump/set", b"ON", qos=1)
    watch.publish("b/lamp/pulse", b"3000", qos=1)
    assert [watch.message(name).payload for name in ("b/pump", "b/lamp")] == [b"ON", b"ON"]
    extra = "{address: 127.0.0.1, port: %d}" % one.port()
    before = len(one.daemon.log)
    for number in range(50):
        if number % 10 == 0:
            ca.issue("server")
        one.rewrite(*([secure, extra] if number % 2 else [secure]), one.inner)
        assert "tapline: reloaded: " in one.hang_up()
        with client(one.daemon.port, context(ca), "guest") as guest:
            guest.ping()
    said = one.daemon.log[before:]
    assert said.count("tapline: reloaded: ") == 50 and said.count("listening on ") == 49
    assert watch.message("b/lamp").payload == b"OFF"  # by itself
    watch.ping()
    assert watch.messages == []
    with one.inner_client("late") as late:
        late.subscribe("b/pump", "b/lamp")
        assert [late.message(name).payload for name in ("b/pump", "b/lamp")] == [b"ON", b"OFF"]
    watch.close()


def test_nothing_is_allocated(make_daemon, tmp_path, build):
    ca = Authority(tmp_path / "keys")
    ca.issue("server")
    secure = TLS % (ca.folder, ca.folder, "")
    inner = "{unix: %s/s}" % (tmp_path / "daemon-0")
    one = Board(make_daemon, secure, inner, build=build)
    extra = "{address: 127.0.0.1, port: %d}" % one.port()
    held = []
    for number in range(6):
        ca.issue("server")
        one.rewrite(*([secure, extra] if number % 2 else [secure]), inner)
        assert "tapline: reloaded: " in one.hang_up()
        held.append(client(one.daemon.port, context(ca), f"held{number}"))
        ca.file("key", "server").write_text("nothing")
        assert NOTHING in one.hang_up()
    with one.inner_client("watch") as watch:
        watch.subscribe("$SYS/tapline/loop/turn_microseconds")
        while watch.message().retain:
            pass
        watch.subscribe("$SYS/tapline/memory/allocations_after_ready")
        assert watch.message("$SYS/tapline/memory/allocations_after_ready").payload == b"0"
    for still in held:
        still.close()
    for holder in one.holders:
        holder.close()

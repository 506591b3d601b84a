"""Certificates, handshakes and versions of TLS, at the doors that have it: cases 32 to 37, 39 and 40."""

import os
import re
import socket
import ssl

import raw
from daemon import wait
from doors import CURVE, WebSocket, openssl
from patience import PATIENCE_SECONDS
from rights import case

SECURE = ["tls", "wss"]
PLAIN = ["tcp", "ws"]


def is_let_in(door, context, version):
    """Whether a client with this context gets as far as CONNACK."""
    try:
        with door.client(context) as client:
            client.connect("anybody", version)
            return True
    except (ssl.SSLError, ConnectionError, raw.Closed):
        return False


def make_certificates(keys):
    """Those of case 32, once."""
    if keys.has("good"):
        return
    keys.authority("foreign")
    keys.certificate("strange", "foreign")
    openssl("req", "-x509", *CURVE, "-days", 30, "-subj", "/CN=myself", "-keyout", keys.path("myself.key"), "-out", keys.path("myself.pem"))
    keys.certificate("leaf", extensions="basicConstraints=critical,CA:false")
    keys.certificate("under-leaf", "leaf")  # signed by what is no authority
    keys.certificate("serves", extensions="extendedKeyUsage=serverAuth")
    keys.certificate("signs", extensions="keyUsage=critical,keyCertSign")
    keys.certificate("huge", extensions="subjectAltName=" + ",".join(f"DNS:host-{number:05}.example" for number in range(2500)))
    issuer = "ca"
    for number in range(20):
        keys.certificate(f"link-{number}", issuer, extensions="basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign")
        issuer = f"link-{number}"
    keys.certificate("far", issuer)
    chain = [keys.path(f"{name}.pem").read_text() for name in ["far", *(f"link-{number}" for number in reversed(range(20)))]]
    keys.path("far.pem").write_text("".join(chain))
    keys.by_registry("expired", "20200101000000Z", "20200201000000Z")
    keys.by_registry("early", "20400101000000Z", "20410101000000Z")
    keys.revocations("empty", "-crldays", 30)
    keys.by_registry("gone")
    keys.revoke("gone")
    keys.revocations("current", "-crldays", 30)
    keys.revocations("stale", "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z")
    keys.by_registry("good")


WRONG = ["strange", "myself", "under-leaf", "serves", "signs", "huge", "far", "expired", "early"]


@case(32, qos=[0], doors=SECURE)
def only_a_good_certificate_is_good(at):
    keys = at.house.keys
    make_certificates(keys)
    for kind in ("required", "optional"):
        daemon, door = at.other(tls=f", ca: {keys.path('ca.pem')}, client_certificate: {kind}")
        for name in WRONG:
            assert not is_let_in(door, keys.context(name), at.version), (kind, name)
        assert is_let_in(door, keys.context(), at.version) == (kind == "optional")
        assert is_let_in(door, keys.context("gone"), at.version)  # without a list nothing is revoked
        assert is_let_in(door, keys.context("good"), at.version)
        assert "certificate was refused" in daemon.log
    for crl, good, gone in (("current", True, False), ("empty", True, True), ("stale", False, False)):
        _, door = at.other(tls=f", ca: {keys.path('ca.pem')}, crl: {keys.path(f'{crl}.crl')}, client_certificate: required")
        assert is_let_in(door, keys.context("good"), at.version) == good, crl
        assert is_let_in(door, keys.context("gone"), at.version) == gone, crl
        assert not is_let_in(door, keys.context(), at.version)


def certificate_of(at, name, subject, *more, extensions=""):
    """A client's context with a certificate of this subject, for this play."""
    name = f"{name}-{at.number}"
    at.house.keys.certificate(name, subject=subject, more=more, extensions=extensions)
    return at.house.keys.context(name)


@case(33, qos=[0], doors=SECURE)
def a_certificate_that_names_nobody_is_nobody(at):
    at.use("pattern readwrite {t}/%u/#\nuser {ann}\ntopic readwrite {t}/#\n")
    ann, file = at.user("ann"), at.house.folder / f"request-{at.number}"
    file.write_text("[req]\nstring_mask = MASK:0x800\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = " + ann + "\n")
    odd = {
        "hash": certificate_of(at, "hash", "/CN=#"), "plus": certificate_of(at, "plus", r"/CN=\+"), "levels": certificate_of(at, "levels", r"/CN=a\/b"),
        "two": certificate_of(at, "two", f"/CN={ann}/CN=admin"), "none": certificate_of(at, "none", "/O=none"),
        "control": certificate_of(at, "control", f"/CN={ann}\x01"),
        "another's place": certificate_of(at, "place", f"/O={ann}", extensions=f"subjectAltName=DNS:{ann}"),
    }
    for what, context in odd.items():
        client = at.keep(at.door.client(context))
        client.version = at.version
        client.send(raw.connect(at.id("odd"), at.version))
        assert client.expect(raw.CONNACK).body[1] == at.not_authorized, what
        client.close()
        # It may come in with a password, as somebody without a certificate.
        at.come("ben", context=context).disconnect()
    for subject in (f"/CN={ann}", f"/O=somebody/CN={ann}"):
        client = at.keep(at.door.client(certificate_of(at, "ann", subject))).connect(at.id("ann"), at.version)
        at.write(client, f"{at.t}/x")
        client.disconnect()


@case(34, doors=SECURE)
def a_certificate_beats_what_connect_says(at):
    at.use("user {ann}\ntopic readwrite {t}/ann/#\nuser {ben}\ntopic readwrite {t}/ben/#\n")
    context = certificate_of(at, "ann", f"/CN={at.user('ann')}")
    logins = [{}, at.login("ben"), at.login("ben", "wrong"), at.login("ann", "wrong"), {"user": "", "password": ""}]
    watch = at.watch()
    for login in logins:
        client = at.keep(at.door.client(context)).connect(at.id("any"), at.version, **login)
        at.write(client, f"{at.t}/ann/x")
        at.write(client, f"{at.t}/ben/x", allowed=False)
        assert at.granted(client, f"{at.t}/ann/#", f"{at.t}/ben/#") == [True, False]
        client.disconnect()
    assert watch.topics() == len(logins) * [f"{at.t}/ann/x"]
    # No certificate is not somebody, and a session belongs to the name in it.
    assert at.answer(None) == at.not_authorized
    assert at.answer("ann", password="") == at.bad_login
    there = at.keep(at.door.client(context)).connect(at.id("same"), at.version)
    assert at.answer("ben", "same") == at.not_authorized
    there.ping()
    at.come("ann", "same").ping()  # the same user with a password
    there.expect_close(0x8E if at.version == 5 else None)


def hello(keys):
    """A ClientHello's bytes, and what goes on with it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = keys.context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read(), incoming, outgoing, tls


def is_ended(connection):
    """To the end of the connection: whether it came without the server's handshake."""
    data = b""
    try:
        while more := connection.recv(1 << 16):
            data += more
    except ConnectionError:
        pass
    connection.close()
    return data[:1] != b"\x16"


@case(35, versions=[5], qos=[1], doors=SECURE)
def an_odd_handshake_harms_nobody(at):
    daemon, door = at.other(connect_seconds=3600)
    with door.client().connect("served") as served:
        served.subscribe("t")
        slow = door.dial()
        data = hello(at.house.keys)[0]
        # Records without content, one that says more than there may be, and content before the handshake.
        for wrong in (20_000 * b"\x16\x03\x01\0\0", b"\x16\x03\x01\xff\xff" + data, b"\x17\x03\x03\0\x01x", b"\x15\x03\x01\0\x02\x02\x28",
                      b"\x14\x03\x03\0\x01\x01", b"\x80\x2e\x01\0\x02", data[:5] + b"\xff" + data[6:]):
            connection = door.dial()
            try:
                connection.sendall(wrong)
            except ConnectionError:
                pass
            assert is_ended(connection), wrong[:8]
            served.ping()
        # A ClientHello in records of one byte each; the server may take it or leave it.
        connection = door.dial()
        try:
            connection.sendall(b"".join(b"\x16\x03\x01\0\x01" + data[index:index + 1] for index in range(5, len(data))))
            assert connection.recv(1)[:1] in (b"", b"\x16", b"\x15")
        except ConnectionError:
            pass
        connection.close()
        slow.sendall(data[:20])
        half_open = [door.dial() for _ in range(10)]
        for connection in half_open:
            connection.sendall(data)
        with door.client().connect("another") as another:
            another.publish("t", b"x" * 40_000, qos=1)
        assert len(served.message().payload) == 40_000
        for connection in (slow, *half_open):
            connection.close()
        served.ping()
    assert daemon.is_running
    # Who says nothing, and who says too little, until the deadline.
    _, door = at.other(connect_seconds=1)
    silent, slow = door.dial(), door.dial()
    slow.sendall(data[:20])
    assert is_ended(silent) and is_ended(slow)


def speaks(keys, low, high, **more):
    made = keys.context(minimum_version=low, maximum_version=high, **more)
    made.set_ciphers("DEFAULT:@SECLEVEL=0")
    return made


@case(36, qos=[0], doors=SECURE)
def the_minimum_version_is_the_minimum_and_nothing_is_resumed(at):
    keys, versions = at.house.keys, ssl.TLSVersion
    keys.certificate(f"client-{at.number}")
    for minimum, allowed in (("1.2", [False, False, True, True]), ("1.3", [False, False, False, True])):
        daemon, door = at.other(tls=f', minimum: "{minimum}", ca: {keys.path("ca.pem")}, client_certificate: required')
        for version, is_allowed in zip((versions.TLSv1, versions.TLSv1_1, versions.TLSv1_2, versions.TLSv1_3), allowed):
            made = speaks(keys, version, version)
            made.load_cert_chain(keys.path(f"client-{at.number}.pem"), keys.path(f"client-{at.number}.key"))
            assert is_let_in(door, made, at.version) == is_allowed, (minimum, version)
            if not is_allowed:
                continue
            # A session of one who has shown a certificate is worth nothing to one who has none, nor to itself.
            with door.secure(made) as first:
                stream = raw.Client.on(first)
                if door.kind == "tls":
                    stream.connect("one", at.version)
                session = first.session
            if session is None:
                continue
            for context in (made, speaks(keys, version, version)):
                connection = door.dial()
                try:
                    second = (made if context is made else context).wrap_socket(
                        connection, server_hostname="127.0.0.1", **({"session": session} if context is made else {}))
                    assert not second.session_reused
                    second.close()
                except ssl.SSLError:
                    assert context is not made
        assert daemon.is_running


@case(37, versions=[5], qos=[0], doors=SECURE + PLAIN)
def what_does_not_belong_at_a_door_is_closed_with_a_line(at):
    daemon, door = at.other("log: {level: debug}\n")
    mine = b"\x16" if door.is_tls else b"\x20"
    plain = [raw.connect("plain"), b"GET /mqtt HTTP/1.1\r\n\r\n"[:3] + b"\0" * 20] if door.is_tls else [hello(at.house.keys)[0]]
    for data in plain:
        connection = door.dial()
        connection.sendall(data)
        said = b""
        try:
            while more := connection.recv(100):
                said += more
        except ConnectionError:
            pass
        assert said[:1] != mine and (not said or door.is_tls or door.is_web), said
        connection.close()
    wait(lambda: daemon.log.count("from 127.0.0.1") >= 1, "line")
    with door.client().connect("served") as served:
        served.ping()
    assert daemon.log.count("refused from 127.0.0.1") + daemon.log.count("closed") <= 2 * len(plain), daemon.log


@case(39, doors=SECURE)
def a_connection_ends_at_any_place(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    watch = at.watch()

    def begin(number):
        will = (f"{at.t}/will/{number}", "gone", at.qos, False)
        connection = at.door.secure()
        stream = WebSocket(connection) if at.door.is_web else connection
        client = raw.Client.on(stream).connect(at.id(f"c{number}"), at.version, will=will, **at.login("ann"))
        return client, connection

    # close_notify, answered or not; the end of one direction; half a record, then the end; a reset.
    for number in range(5):
        client, connection = begin(number)
        if number == 0:
            connection.settimeout(PATIENCE_SECONDS)
            try:
                connection.unwrap()
            except (ssl.SSLError, OSError):
                pass
        if number == 1:
            connection.shutdown(socket.SHUT_WR)
        if number == 2:
            descriptor = connection.detach()
            os.write(descriptor, b"\x17\x03\x03\x01\x00half")
            os.close(descriptor)
        if number == 3:
            bare = socket.socket(fileno=connection.detach())
            bare.settimeout(PATIENCE_SECONDS)
            bare.sendall(b"\x17\x03\x03\x00\x40" + 64 * b"x")  # a record that nobody has sealed
            is_ended(bare)
        if number == 4:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        assert watch.message(f"{at.t}/will/{number}").payload == b"gone"
        client.close()
    # A reader that is stuck while it sends: both directions go on when it reads again.
    stuck = at.come("ann", "stuck")
    assert at.granted(stuck, f"{at.t}/many") == [True]
    for number in range(40):
        at.tell(f"{at.t}/many", f"{number:03}" + 10_000 * "x")
    at.write(stuck, f"{at.t}/mine", "1")
    numbers = [payload[:3] for topic, payload in at.got(stuck) if topic == f"{at.t}/many"]
    assert numbers == sorted(numbers) and (not at.qos or len(numbers) == 40)
    assert re.fullmatch(r"\d{3}", numbers[0])


@case(40, versions=[5], qos=[0], doors=SECURE)
def a_key_that_others_may_read_is_told(at):
    keys = at.house.keys
    key = keys.path("server.key")
    mode = key.stat().st_mode & 0o777
    try:
        key.chmod(0o644)
        daemon, _ = at.other()
        assert "server.key" in daemon.log, daemon.log
    finally:
        key.chmod(mode)

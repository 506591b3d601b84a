"""TLS with real clients: mosquitto's, paho, the openssl program, Python's ssl; certificates of clients; wss."""

import os
import socket
import ssl
import struct
import subprocess
import threading

import paho.mqtt.client as paho
import pytest
from websockets.sync.client import connect as open_websocket

import raw
from daemon import wait
from patience import PATIENCE_SECONDS
from test_users import password_file

SERVER = "{address: 127.0.0.1, port: PORT, protocols: [mqtt, websocket], tls: {certificate: %s/server.pem, key: %s/server.key%s}}"
CONNECT = raw.connect("raw")


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """An authority, the server's certificate and two clients', one of them of another authority."""
    folder = tmp_path_factory.mktemp("keys")
    for authority in ("ca", "other"):
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj", f"/CN={authority}",
            "-keyout", folder / f"{authority}.key", "-out", folder / f"{authority}.pem")
    for name, authority in (("server", "ca"), ("kitchen", "ca"), ("stranger", "other")):
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key",
            "-out", folder / f"{name}.csr")
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        openssl(
            "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}.key",
            "-CAcreateserial", "-days", 30, "-extfile", folder / "extensions", "-out", folder / f"{name}.pem")
    return folder


def listener(keys, more=""):
    return SERVER % (keys, keys, more)


@pytest.fixture
def broker(make_daemon, keys):
    return make_daemon(listeners=[listener(keys)], packet_bytes="512k")


def context(keys, name=None, **versions):
    made = ssl.create_default_context(cafile=keys / "ca.pem")
    if name:
        made.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    for key, value in versions.items():
        setattr(made, key, value)
    return made


def dial(broker, made, receive_buffer=None, source="127.0.0.1"):
    connection = socket.socket()
    connection.bind((source, 0))
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", broker.port))
    return made.wrap_socket(connection, server_hostname="127.0.0.1") if made else connection


def client(broker, made):
    return raw.Client.on(dial(broker, made))


def silent(broker, keys, source="127.0.0.1"):
    """A client that sends a ClientHello and nothing else."""
    connection = dial(broker, None, source=source)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(keys).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    connection.sendall(outgoing.read())
    return connection


@pytest.mark.smoke
@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_mosquitto(broker, keys, version):
    common = ["-h", "127.0.0.1", "-p", broker.port, "--cafile", keys / "ca.pem", "--tls-version", version, "-q", "1", "-t", "t"]
    subscriber = subprocess.Popen(
        ["mosquitto_sub", "-C", "1", "-W", str(PATIENCE_SECONDS), *map(str, common)], stdout=subprocess.PIPE)
    subprocess.run(["mosquitto_pub", "-r", "-m", "hello", *map(str, common)], check=True, timeout=PATIENCE_SECONDS)
    assert subscriber.communicate(timeout=PATIENCE_SECONDS)[0] == b"hello\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_messages_of_every_size(broker, keys, version):
    made = context(keys, minimum_version=version, maximum_version=version)
    with client(broker, made).connect("one") as one:
        one.subscribe("t")
        for size in [0, 1, 4000, 4096, 4097, 16_384, 65_536, 300_000]:
            payload = os.urandom(size)
            one.publish("t", payload)
            assert one.message().payload == payload


def test_paho(broker, keys):
    got, subscribed = [], threading.Event()
    one = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    one.tls_set(ca_certs=str(keys / "ca.pem"))
    one.on_connect = lambda client, *_: client.subscribe("t", qos=1)
    one.on_subscribe = lambda *_: subscribed.set()
    one.on_message = lambda _, __, message: got.append(message.payload)
    one.connect("127.0.0.1", broker.port)
    one.loop_start()
    assert subscribed.wait(PATIENCE_SECONDS)
    one.publish("t", b"x" * 100_000, qos=1)
    wait(lambda: got, "message")
    assert got == [b"x" * 100_000]
    one.disconnect()
    one.loop_stop()


def test_websocket_in_tls(broker, keys):
    with open_websocket(
            f"wss://127.0.0.1:{broker.port}/mqtt", subprotocols=["mqtt"], ssl=context(keys), compression=None, max_size=None,
            close_timeout=PATIENCE_SECONDS) as connection:
        payload = os.urandom(200_000)
        connection.send(CONNECT + raw.subscribe(1, ("t", 0)))
        publish = raw.publish("t", payload)
        connection.send(publish)
        received = b""
        while publish not in received:
            received += connection.recv(PATIENCE_SECONDS)


def test_openssls_client(broker, keys):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{broker.port}", "-CAfile", keys / "ca.pem", "-verify_return_error", "-quiet"],
        input=CONNECT + b"\xe0\x00", capture_output=True, timeout=PATIENCE_SECONDS)
    assert done.stdout[:1] == b"\x20", done.stderr


def test_a_reader_that_takes_little_gets_all(broker, keys):
    """Short writes of records: the kernel takes a little at a time."""
    slow = raw.Client.on(dial(broker, context(keys), receive_buffer=4096)).connect("slow")
    slow.subscribe("t", qos=1)
    payloads = [os.urandom(50_000) for _ in range(5)]
    with client(broker, context(keys)).connect("fast") as fast:
        for payload in payloads:
            fast.publish("t", payload, qos=1)
    assert [slow.message().payload for _ in payloads] == payloads
    slow.close()


@pytest.mark.parametrize("chain", [0, 28])
def test_a_handshake_whose_answer_is_taken_late(make_daemon, keys, chain):
    """The server's flight goes out as far as the client's window lets it; a long chain is more than the kernel takes at
    once."""
    (keys / "chain.pem").write_bytes((keys / "server.pem").read_bytes() + chain * (keys / "ca.pem").read_bytes())
    broker = make_daemon(listeners=[
        "{address: 127.0.0.1, port: PORT, tls: {certificate: %s/chain.pem, key: %s/server.key}}" % (keys, keys)])
    connection = dial(broker, None, receive_buffer=1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(keys).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():  # the ClientHello, too
                connection.sendall(bytes([byte]))
            incoming.write(connection.recv(16))
    tls.write(CONNECT)
    connection.sendall(outgoing.read())
    while True:
        try:
            assert tls.read(1) == b"\x20"
            break
        except ssl.SSLWantReadError:
            incoming.write(connection.recv(64))
    connection.close()


def test_many_handshakes_at_once(make_daemon, keys):
    broker = make_daemon(listeners=[listener(keys)], pending_connections=32, pending_per_address=32, connections_per_address=64)
    quiet = [silent(broker, keys) for _ in range(6)]  # more than there are slots
    others = []
    threads = [threading.Thread(target=lambda: others.append(client(broker, context(keys)).connect("x" + os.urandom(4).hex())))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(others) == 8
    for connection in [*quiet, *others]:
        connection.close()


def test_silent_clients_of_few_addresses_keep_nobody_out(make_daemon, keys):
    """Fourteen each of two addresses have begun before a newcomer of a third one, which is next."""
    broker = make_daemon(listeners=[listener(keys)], pending_connections=32, pending_per_address=16, connect_seconds=60)
    quiet = [silent(broker, keys, f"127.0.0.{2 + number % 2}") for number in range(28)]
    newcomer = raw.Client.on(dial(broker, context(keys), source="127.0.0.4")).connect("newcomer")
    closed_count = 0
    for connection in quiet:
        connection.setblocking(False)
        try:
            while connection.recv(4096):
                pass
            closed_count += 1
        except BlockingIOError:
            pass
        except ConnectionResetError:
            closed_count += 1
        connection.close()
    newcomer.close()
    assert 1 <= closed_count <= 12


@pytest.mark.parametrize("bytes_sent", [CONNECT, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x16\x02\x00\x00\x05hello", b"\0"])
def test_what_is_no_tls_is_closed_at_once(broker, bytes_sent):
    with dial(broker, None) as connection:
        connection.sendall(bytes_sent)
        said = b""
        try:
            while more := connection.recv(100):
                said += more
        except ConnectionResetError:
            pass
        assert said == b"" or said[0] == 21  # an alert
    wait(lambda: "tapline: connection refused from 127.0.0.1: " in broker.log, "line")


def test_tls_on_a_plain_port_is_closed_at_once(make_daemon, keys):
    broker = make_daemon()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        dial(broker, context(keys))


def test_cut_records_end_the_connection(broker, keys):
    with dial(broker, None) as connection:
        connection.sendall(b"\x16\x03\x01\x00\x50half")
        connection.shutdown(socket.SHUT_WR)
        try:
            assert connection.recv(100) == b""
        except ConnectionResetError:  # as bytes were left unread
            pass


# Certificates of clients


@pytest.mark.parametrize("kind", ["required", "optional"])
def test_certificates_of_clients(make_daemon, keys, kind):
    broker = make_daemon(listeners=[listener(keys, f", ca: {keys}/ca.pem, client_certificate: {kind}")])
    with client(broker, context(keys, "kitchen")).connect("known"):
        pass
    with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
        client(broker, context(keys, "stranger")).connect("stranger")
    if kind == "required":
        with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
            client(broker, context(keys)).connect("nobody")
    else:
        with client(broker, context(keys)).connect("nobody"):
            pass
    wait(lambda: "its certificate was refused" in broker.log, "line")


@pytest.mark.parametrize("version", [4, 5])
def test_a_certificate_names_its_user(make_daemon, keys, tmp_path, version):
    """Whatever CONNECT says; who shows none needs a password, as there is a password file."""
    passwords = tmp_path / "passwd"
    passwords.write_text(password_file({"ann": "secret"}))
    rules = "[{user: kitchen, readwrite: kitchen/#}, {user: ann, readwrite: ann/#}]"
    broker = make_daemon(
        f"users: {{password_file: {passwords}, rules: {rules}}}\n",
        listeners=[listener(keys, f", ca: {keys}/ca.pem, client_certificate: optional")])

    def granted(made, name, **login):
        """Which of the two filters the client may subscribe to."""
        with client(broker, made).connect(name, version, **login) as one:
            one.send(raw.subscribe(one.next_id(), ("kitchen/#", 0), ("ann/#", 0), version=version))
            return [reason < 0x80 for reason in one.expect(raw.SUBACK).body[-2:]]

    known = context(keys, "kitchen")
    assert granted(known, "one") == [True, False]
    assert granted(known, "two", user="ann", password="wrong") == [True, False]
    assert granted(context(keys), "three", user="ann", password="secret") == [False, True]
    for login, reason in (({}, {4: 5, 5: 0x87}), ({"user": "kitchen", "password": ""}, {4: 4, 5: 0x86})):
        with client(broker, context(keys)) as nobody:
            nobody.version = version
            nobody.send(raw.connect("four", version, **login))
            assert nobody.expect(raw.CONNACK).body[1] == reason[version]


def test_behind_a_proxy(make_daemon, keys):
    more = "}, proxies: [127.0.0.1], proxy_protocol: true, path: /mqtt"
    line = listener(keys, more)[:-1]
    broker = make_daemon("log: {mqtt: info}\n", listeners=[line])
    connection = dial(broker, None)
    connection.sendall(b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 8883\r\n")
    secure = context(keys).wrap_socket(connection, server_hostname="127.0.0.1")
    with raw.Client.on(secure).connect("raw"):
        wait(lambda: "client 'raw' from 192.0.2.7:56324 connected" in broker.log, "line")


# Files


@pytest.mark.parametrize("certificate, key, said", [
    ("server.pem", "kitchen.key", "kitchen.key' is not the key of the certificate"),
    ("server.key", "server.key", "server.key' has no certificate in it"),
    ("missing.pem", "server.key", "missing.pem' is not there; expected a PEM file"),
])
def test_wrong_files_are_told(make_daemon, keys, certificate, key, said):
    line = "{address: 127.0.0.1, port: PORT, tls: {certificate: %s/%s, key: %s/%s}}" % (keys, certificate, keys, key)
    broker = make_daemon(listeners=[line], awaits_ready=False)
    assert broker.process.wait(PATIENCE_SECONDS) == 78
    assert said in broker.log


def test_no_memory_is_taken_after_ready(make_daemon, keys):
    """Handshakes, records, requests and frames: all of it has its memory from the start."""
    broker = make_daemon(listeners=[listener(keys)])
    for number in range(5):
        with client(broker, context(keys)).connect(f"one {number}") as one:
            one.subscribe("t")
            one.publish("t", b"x" * 50_000)
            assert len(one.message("t").payload) == 50_000
        with open_websocket(
                f"wss://127.0.0.1:{broker.port}/mqtt", subprotocols=["mqtt"], ssl=context(keys),
                close_timeout=PATIENCE_SECONDS) as connection:
            connection.send(CONNECT)
            connection.recv(PATIENCE_SECONDS)
    with client(broker, context(keys)).connect("watcher") as watcher:
        watcher.subscribe("$SYS/tapline/memory/#")
        assert watcher.message("$SYS/tapline/memory/allocations_after_ready").payload == b"0"

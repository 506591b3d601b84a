"""MQTT over WebSocket and behind proxies, with real clients; the `websockets` package as a second opinion about frames."""

import os
import socket
import struct
import subprocess
import threading

import paho.mqtt.client as paho
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_websocket

import raw
from daemon import wait
from patience import PATIENCE_SECONDS

BOTH = "{address: 127.0.0.1, port: PORT, protocols: [mqtt, websocket], origins: ['https://ha.example', 'http://127.0.0.1:PORT']}"
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]
CONNECT = raw.connect("raw")
DISCONNECT = b"\xe0\x00"


@pytest.fixture
def broker(make_daemon):
    return make_daemon(listeners=[BOTH], packet_bytes="512k")


def websocket(broker, path="/mqtt", **options):
    return open_websocket(
        f"ws://127.0.0.1:{broker.port}{path}", subprotocols=["mqtt"], compression=None, max_size=None,
        open_timeout=PATIENCE_SECONDS, close_timeout=PATIENCE_SECONDS, **options)


def request(more="", path="/mqtt", method="GET"):
    return (
        f"{method} {path} HTTP/1.1\r\nHost: board\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"
        f"{more}\r\n").encode()


def frame(opcode, payload, masked=True):
    key = os.urandom(4) if masked else b""
    length = len(payload)
    head = bytes([0x80 | opcode]) + (
        bytes([length | 0x80 * masked]) if length < 126
        else struct.pack(">BH", 126 | 0x80 * masked, length) if length < 65_536
        else struct.pack(">BQ", 127 | 0x80 * masked, length))
    return head + key + (bytes(byte ^ key[index % 4] for index, byte in enumerate(payload)) if masked else payload)


def answer(connection):
    """All until the broker closes."""
    out = b""
    try:
        while more := connection.recv(65_536):
            out += more
    except ConnectionResetError:
        pass
    return out


def dial(broker):
    connection = socket.create_connection(("127.0.0.1", broker.port), PATIENCE_SECONDS)
    connection.settimeout(PATIENCE_SECONDS)
    return connection


class Client:
    """paho, over WebSocket or TCP; what it has received, and when it was subscribed."""

    def __init__(self, broker, transport, topic, **headers):
        self.messages = []
        self.subscribed = threading.Event()
        self.ended = threading.Event()
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, transport=transport, protocol=paho.MQTTv5)
        if transport == "websockets":
            self.paho.ws_set_options(path="/mqtt", headers=headers or None)
        self.paho.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.paho.on_subscribe = lambda *_: self.subscribed.set()
        self.paho.on_disconnect = lambda *_: self.ended.set()
        self.paho.on_message = lambda _, __, message: self.messages.append(message.payload)
        self.paho.connect("127.0.0.1", broker.port)
        self.paho.loop_start()
        assert self.subscribed.wait(PATIENCE_SECONDS)

    def end(self):
        self.paho.disconnect()
        assert self.ended.wait(PATIENCE_SECONDS)
        self.paho.loop_stop()


# Real clients


@pytest.mark.smoke
def test_mqtt_and_websocket_on_one_port(broker):
    web, plain = Client(broker, "websockets", "plain"), Client(broker, "tcp", "web")
    payloads = [os.urandom(size) for size in SIZES]
    for payload in payloads:
        web.paho.publish("web", payload, qos=1)
        plain.paho.publish("plain", payload, qos=1)
    wait(lambda: len(web.messages) == len(plain.messages) == len(SIZES), "messages")
    assert web.messages == payloads and plain.messages == payloads
    web.end()
    plain.end()
    with raw.Client(broker.port) as watcher:
        watcher.connect("watcher")
        watcher.subscribe("$SYS/tapline/layers/websocket/opened")
        assert watcher.message().payload == b"1"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fragment", [None, 1000, 70_000])
def test_frames_as_websockets_makes_them(broker, size, fragment):
    """What one connection publishes comes back to it, whatever the frames' borders are."""
    payload = os.urandom(size)
    publish = raw.publish("t", payload)
    with websocket(broker) as connection:
        connection.send(CONNECT + raw.subscribe(1, ("t", 0)))
        pieces = [publish] if fragment is None else [
            publish[start:start + fragment] for start in range(0, len(publish), fragment)]
        connection.send(pieces if fragment else publish)
        pong = connection.ping()
        received = b""
        while publish not in received:
            message = connection.recv(PATIENCE_SECONDS)
            assert isinstance(message, bytes)
            received += message
        assert received.endswith(publish)
        assert pong.wait(PATIENCE_SECONDS)
        connection.send(DISCONNECT)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize("send, code", [
    (lambda connection: connection.send("text"), 1003),
    (lambda connection: connection.socket.sendall(frame(2, b"\xc0\x00", masked=False)), 1002),
    (lambda connection: connection.socket.sendall(b"\xc2\x80\0\0\0\0"), 1002),
])
def test_broken_frames_end_with_a_code(broker, send, code):
    with websocket(broker) as connection:
        connection.send(CONNECT)
        assert connection.recv(PATIENCE_SECONDS)[0] == 0x20
        send(connection)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                connection.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd.code == code


def test_the_broker_goes_away(broker):
    with websocket(broker) as connection:
        connection.send(CONNECT)
        connection.recv(PATIENCE_SECONDS)
        broker.stop()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                connection.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd.code == 1001


# Refusals


def test_origins(broker):
    with websocket(broker, origin="https://ha.example"):
        pass
    for origin in ["https://evil.example", "http://ha.example", "null"]:
        with pytest.raises(InvalidStatus) as refused:
            websocket(broker, origin=origin)
        assert refused.value.response.status_code == 403
        assert b"add this origin" in refused.value.response.body
    wait(lambda: "its HTTP request was answered 403: add this origin to the listener's configuration" in broker.log, "line")


@pytest.mark.parametrize("path, status, word", [("/mqtt", 426, "send Upgrade: websocket"), ("/", 404, "use the path")])
def test_curl_gets_a_helpful_answer(broker, path, status, word):
    done = subprocess.run(
        ["curl", "-sS", "-m", str(PATIENCE_SECONDS), "-w", "%{http_code}", f"http://127.0.0.1:{broker.port}{path}"],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout and done.stdout.endswith(str(status))


@pytest.mark.parametrize("bytes_sent, status", [
    (request(path="/other"), b"404"), (request(method="POST"), None), (request("X: " + 3000 * "a" + "\r\n"), b"431"),
    (b"GET /mqtt HTTP/1.1\nHost: a\n\n", b"400"), (b"\x16\x03\x01\x00\x05hello", None), (b"SSH-2.0\r\n", None),
])
def test_others_are_refused(broker, bytes_sent, status):
    with dial(broker) as connection:
        connection.sendall(bytes_sent)
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 " + status) if status else said == b""


# Proxies


def header_v2(address, port):
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton(address) + b"\x7f\0\0\1" + struct.pack(">HH", port, 1883)


PROXIED = "{address: 127.0.0.1, port: PORT, protocols: [mqtt, websocket], proxies: [127.0.0.0/8], proxy_protocol: true}"


@pytest.mark.parametrize("header", [
    b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 1883\r\n", header_v2("192.0.2.7", 56324),
], ids=["v1", "v2"])
@pytest.mark.parametrize("web", [False, True])
def test_the_proxys_client_is_the_client(make_daemon, header, web):
    broker = make_daemon("log: {mqtt: info}\n", listeners=[PROXIED], connections_per_address=2)
    connections = []
    for number in range(3):
        connection = dial(broker)
        connections.append(connection)
        hello = raw.connect(f"raw {number}")
        connection.sendall(header + (request() + frame(2, hello) if web else hello))
        if number < 2:
            said = b""
            while b"\x20" not in said.split(b"\r\n\r\n")[-1]:
                said += connection.recv(4096)
        else:
            assert answer(connection) == b""
        if number == 0:
            wait(lambda: "client 'raw 0' from 192.0.2.7:56324 connected" in broker.log, "line")
    wait(lambda: "connections refused from 192.0.2.7" in broker.log, "line of the refusal")
    for connection in connections:
        connection.close()


def test_who_is_no_proxy_is_closed(make_daemon):
    broker = make_daemon(listeners=[PROXIED.replace("127.0.0.0/8", "192.0.2.1")])
    with dial(broker) as connection:
        assert answer(connection) == b""
    wait(lambda: "it is not one of the listener's proxies" in broker.log, "line")


def test_a_proxy_without_a_header_is_closed(make_daemon):
    broker = make_daemon(listeners=[PROXIED])
    with dial(broker) as connection:
        connection.sendall(CONNECT)
        assert answer(connection) == b""
    wait(lambda: "it began with no header of the PROXY protocol" in broker.log, "line")


@pytest.mark.parametrize("proxies, address", [("[127.0.0.1]", "192.0.2.9"), ("[192.0.2.1]", "127.0.0.1")])
def test_forwarded_addresses_are_believed_of_proxies_only(make_daemon, proxies, address):
    broker = make_daemon(
        "log: {mqtt: info}\n",
        listeners=["{address: 127.0.0.1, port: PORT, protocols: [websocket], proxies: %s}" % proxies])
    with websocket(broker, additional_headers={"X-Forwarded-For": "203.0.113.5, 192.0.2.9"}) as connection:
        connection.send(CONNECT)
        connection.recv(PATIENCE_SECONDS)
        wait(lambda: f"client 'raw' from {address}" in broker.log, "line")

"""A small MQTT client of bytes: it sends what it is told, right or wrong, and never reconnects or acknowledges by itself
but for received messages. Sections of MQTT 5.0 are in brackets."""

import socket
import struct
import time
from dataclasses import dataclass

from patience import PATIENCE_SECONDS

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 5, 6, 7, 9, 11, 13, 14

# Properties (2.2.2.2): identifier and form of those that are used here.
EXPIRY = 0x02
SESSION_EXPIRY = 0x11
REASON_STRING = 0x1F
RECEIVE_MAXIMUM = 0x21
TOPIC_ALIAS = 0x23
USER = 0x26
WILL_DELAY = 0x18
FORMS = {
    0x01: "B", EXPIRY: "I", 0x03: "s", 0x08: "s", 0x09: "s", 0x0B: "v", SESSION_EXPIRY: "I", 0x12: "s", 0x13: "H",
    WILL_DELAY: "I", REASON_STRING: "s", RECEIVE_MAXIMUM: "H", 0x22: "H", TOPIC_ALIAS: "H", 0x24: "B", 0x25: "B",
    USER: "ss", 0x27: "I", 0x28: "B", 0x29: "B", 0x2A: "B",
}


class Closed(Exception):
    """The broker has closed the connection."""


@dataclass
class Packet:
    type: int
    flags: int
    body: bytes


@dataclass
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    properties: list  # of (identifier, value)


# Bytes out


def number(value):
    """Variable Byte Integer (1.5.5)."""
    out = bytearray()
    while True:
        value, digit = value >> 7, value & 0x7F
        out.append(digit | 0x80 if value else digit)
        if not value:
            return bytes(out)


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(value)) + value


def packet(first, body=b""):
    return bytes([first]) + number(len(body)) + body


def properties(version, values):
    if version < 5:
        return b""
    out = b""
    for identifier, value in values:
        form = FORMS[identifier]
        out += bytes([identifier])
        out += {"s": text, "v": number}[form](value) if form in "sv" else b""
        out += b"".join(map(text, value)) if form == "ss" else b""
        out += struct.pack("!" + form, value) if form in "BHI" else b""
    return number(len(out)) + out


def connect(name, version=5, clean=True, keep_alive=0, will=None, expiry=0, props=(), user=None, password=None):
    """`will`: (topic, payload, qos, retain) or with properties as a fifth."""
    props = [*props, *([(SESSION_EXPIRY, expiry)] if expiry else [])]
    flags = 0x02 if clean else 0
    body = text(name)
    if will:
        flags |= 0x04 | will[2] << 3 | (0x20 if will[3] else 0)
        body += properties(version, will[4] if len(will) > 4 else ()) + text(will[0]) + text(will[1])
    for value, flag in ((user, 0x80), (password, 0x40)):
        if value is not None:
            flags |= flag
            body += text(value)
    head = text("MQTT") + bytes([version, flags]) + struct.pack("!H", keep_alive) + properties(version, props)
    return packet(0x10, head + body)


def publish(topic, payload=b"", qos=0, packet_id=0, retain=False, version=5, duplicate=False, props=()):
    payload = payload if isinstance(payload, bytes) else payload.encode()
    body = text(topic) + (struct.pack("!H", packet_id) if qos else b"") + properties(version, props) + payload
    return packet(0x30 | duplicate << 3 | qos << 1 | retain, body)


def subscribe(packet_id, *filters, version=5, props=()):
    """Each filter with its options: ("a/#", 1)."""
    body = b"".join(text(name) + bytes([options]) for name, options in filters)
    return packet(0x82, struct.pack("!H", packet_id) + properties(version, props) + body)


def unsubscribe(packet_id, *filters, version=5):
    return packet(0xA2, struct.pack("!H", packet_id) + properties(version, ()) + b"".join(map(text, filters)))


def ack(type, packet_id, version=5):
    return packet(type << 4 | (2 if type == PUBREL else 0), struct.pack("!H", packet_id))


# Bytes in


def read_number(data, at):
    value = shift = 0
    while True:
        digit = data[at]
        value |= (digit & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not digit & 0x80:
            return value, at


def read_properties(data, at):
    """List of (identifier, value), and the place behind them."""
    length, at = read_number(data, at)
    end, values = at + length, []
    while at < end:
        identifier, at = data[at], at + 1
        form, parts = FORMS[identifier], []
        if form == "v":
            value, at = read_number(data, at)
        elif form[0] == "s":
            for _ in form:
                size = struct.unpack_from("!H", data, at)[0]
                parts.append(data[at + 2:at + 2 + size].decode())
                at += 2 + size
            value = parts[0] if form == "s" else tuple(parts)
        else:
            value = struct.unpack_from("!" + form, data, at)[0]
            at += struct.calcsize("!" + form)
        values.append((identifier, value))
    return values, at


def split(data):
    """The first packet of `data` and the bytes behind it, or None while it is not whole."""
    for end in range(2, min(len(data), 5) + 1):
        if not data[end - 1] & 0x80:
            size, start = read_number(data, 1)
            if len(data) < start + size:
                return None
            return Packet(data[0] >> 4, data[0] & 15, bytes(data[start:start + size])), start + size
    return None


class Client:
    """`target`: a port of the loopback, or the path of a unix socket."""

    def __init__(self, target, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET if isinstance(target, int) else socket.AF_UNIX, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(("127.0.0.1", target) if isinstance(target, int) else target)
        self.begin()

    @classmethod
    def on(cls, connected):
        """A client on a socket that is connected already."""
        client = cls.__new__(cls)
        client.socket = connected
        client.begin()
        return client

    def begin(self):
        self.data = bytearray()
        self.version = 5
        self.messages = []  # received and not asked for yet
        self.last_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def close(self):
        self.socket.close()

    # Bytes

    def send(self, *data):
        self.socket.sendall(b"".join(data))
        return self

    def packet(self, seconds=PATIENCE_SECONDS):
        """The next packet; `Closed` where the connection ends, TimeoutError where neither comes."""
        end = time.monotonic() + seconds
        while not (found := split(self.data)):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no packet within {seconds} s")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise Closed(bytes(self.data))
            self.data += data
        del self.data[:found[1]]
        return found[0]

    def expect(self, type, seconds=PATIENCE_SECONDS):
        """The next packet of this type; messages before it are acknowledged and kept, PUBRELs answered."""
        end = time.monotonic() + seconds
        while True:
            got = self.packet(max(0.001, end - time.monotonic()))
            if got.type == PUBLISH:
                self.messages.append(self.take(got))
            if got.type == PUBREL:
                self.send(ack(PUBCOMP, struct.unpack_from("!H", got.body)[0]))
            if got.type == type:
                return got
            assert got.type in (PUBLISH, PUBREL), f"packet type {got.type} {got.body!r} instead of {type}"

    def take(self, got):
        """A PUBLISH as a message; acknowledged."""
        size = struct.unpack_from("!H", got.body)[0]
        topic, at, qos = got.body[2:2 + size].decode(), 2 + size, got.flags >> 1 & 3
        if qos:
            self.send(ack(PUBACK if qos == 1 else PUBREC, struct.unpack_from("!H", got.body, at)[0]))
            at += 2
        values, at = read_properties(got.body, at) if self.version == 5 else ([], at)
        return Message(topic, got.body[at:], qos, bool(got.flags & 1), bool(got.flags & 8), values)

    # Conversations

    def connect(self, name, version=5, **options):
        self.version = version
        self.send(connect(name, version, **options))
        got = self.expect(CONNACK)
        self.session_present, self.reason = bool(got.body[0]), got.body[1]
        assert self.reason == 0, f"CONNACK with reason 0x{self.reason:02X}"
        return self

    def next_id(self):
        self.last_id = self.last_id % 65_535 + 1
        return self.last_id

    def subscribe(self, *filters, qos=0, props=()):
        self.send(subscribe(self.next_id(), *((name, qos) for name in filters), version=self.version, props=props))
        reasons = self.expect(SUBACK).body[-len(filters):]
        assert all(reason < 0x80 for reason in reasons), f"SUBACK with {reasons.hex()}"
        return self

    def unsubscribe(self, *filters):
        self.send(unsubscribe(self.next_id(), *filters, version=self.version))
        self.expect(UNSUBACK)
        return self

    def publish(self, topic, payload=b"", qos=0, **options):
        """To its last acknowledgement; the reason in the first one."""
        identifier = self.next_id()
        self.send(publish(topic, payload, qos, identifier, version=self.version, **options))
        if qos == 0:
            return 0
        got = self.expect(PUBACK if qos == 1 else PUBREC)
        reason = got.body[2] if len(got.body) > 2 else 0
        if qos == 2 and reason < 0x80:
            self.send(ack(PUBREL, identifier))
            self.expect(PUBCOMP)
        return reason

    def ping(self):
        """A round trip: what was sent before has been taken."""
        self.send(packet(0xC0))
        self.expect(PINGRESP)
        return self

    def message(self, topic=None, seconds=PATIENCE_SECONDS):
        """The next message, on this topic if one is given; others before it are kept."""
        end = time.monotonic() + seconds
        while True:
            for index, message in enumerate(self.messages):
                if topic in (None, message.topic):
                    return self.messages.pop(index)
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no message on {topic} within {seconds} s; came: {self.messages[-8:]}")
            got = self.packet(left)
            if got.type == PUBLISH:
                self.messages.append(self.take(got))
            elif got.type == PUBREL:
                self.send(ack(PUBCOMP, struct.unpack_from("!H", got.body)[0]))
            else:
                raise AssertionError(f"packet type {got.type} {got.body!r} while waiting for a message")

    def disconnect(self, reason=0):
        self.send(packet(0xE0, bytes([reason]) if reason and self.version == 5 else b""))
        self.close()

    def expect_close(self, reason=None, seconds=PATIENCE_SECONDS):
        """The connection ends; with DISCONNECT or CONNACK and this reason, if one is given."""
        last = None
        try:
            while True:
                got = self.packet(seconds)
                if got.type in (DISCONNECT, CONNACK):
                    last = got
        except Closed:
            pass
        if reason is not None:
            assert last is not None, f"closed without a packet, not with 0x{reason:02X}"
            said = last.body[0 if last.type == DISCONNECT else 1]
            assert said == reason, f"closed with 0x{said:02X}, not 0x{reason:02X}"
        self.close()

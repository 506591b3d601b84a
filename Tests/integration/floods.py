#!/usr/bin/env python3
"""A flood of clients that mean no good, in a process of its own, so that it takes no time from whoever is served beside it.

usage: floods.py KIND PORT COUNT PROGRESS [CA]

A flood goes on until COUNT clients have come and its standard input has ended. PROGRESS is a file of two numbers of
eight bytes: what the flood has sent so far, in pieces, and how many of its clients are there. In the end one line of
JSON says what became of them.

  logins     each gives a user name and a wrong password, and waits for the answer
  hellos     each begins a handshake, waits for the server's flight, and leaves
  silent     each begins a handshake, and says nothing more until the broker closes it
  LAYER      each sends what opens that layer, byte by byte, and never the last byte
"""

import json
import os
import select
import socket
import ssl
import struct
import sys
import time

import raw

# Each is an address of this machine: the limits for one address hold for each of them.
ADDRESSES = [f"127.0.0.{last}" for last in range(2, 10)]
# A step is all connections once. The pause keeps the flood from being one of a processor's whole time.
STEP_SECONDS = 0.005
NEW_IN_A_STEP = 2
REQUEST = (b"GET /mqtt HTTP/1.1\r\nHost: board\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
CONNECT = raw.connect("slow", user="ann", password="wrong")


def masked_frame(payload):
    """A binary frame of a client; its key is 0."""
    return bytes([0x82, 0x80 | len(payload)]) + bytes(4) + payload


def hello():
    """The first flight of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def upgraded(connection):
    connection.sendall(REQUEST)
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (more := connection.recv(1000)):
            raise ConnectionError
        answer += more


class Secure:
    """A connection whose handshake is done: plaintext in, records out, to be sent as somebody likes."""

    def __init__(self, connection, context):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(self.outgoing.read())
                if not (more := connection.recv(1 << 14)):
                    raise ConnectionError from None
                self.incoming.write(more)
        connection.sendall(self.outgoing.read())

    def record(self, plaintext):
        self.tls.write(plaintext)
        return self.outgoing.read()

    def read(self, connection):
        """Some plaintext."""
        while True:
            try:
                return self.tls.read(1 << 14)
            except ssl.SSLWantReadError:
                if not (more := connection.recv(1 << 14)):
                    raise ConnectionError from None
                self.incoming.write(more)


class Opening:
    """What a slow client says in a layer: all of it, in pieces that are sent one by one."""

    def __init__(self, context):
        self.context = context

    def mqtt(self, _):
        return CONNECT

    def proxy(self, _):
        return b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 1883\r\n"

    def http(self, _):
        return REQUEST

    def websocket(self, connection):
        upgraded(connection)
        return masked_frame(CONNECT)

    def hello(self, _):
        return hello()

    def record(self, connection):
        return Secure(connection, self.context).record(CONNECT)

    def secure_mqtt(self, connection):
        """Each byte in a record of its own."""
        secure = Secure(connection, self.context)
        return [secure.record(bytes([byte])) for byte in CONNECT]

    def secure_http(self, connection):
        secure = Secure(connection, self.context)
        return [secure.record(bytes([byte])) for byte in REQUEST]


# By how each is spoken: to which kind of listener.
LAYERS = {"mqtt": "plain", "http": "plain", "websocket": "plain", "proxy": "proxied", "hello": "secure", "record": "secure",
          "secure_mqtt": "secure", "secure_http": "secure"}


class Peer:
    def __init__(self, connection, pieces=()):
        self.connection = connection
        self.pieces = list(pieces)


class Flood:
    def __init__(self, kind, port, count, progress, authority=None):
        self.kind, self.port, self.count = kind, int(port), int(count)
        self.progress = os.open(progress, os.O_WRONLY | os.O_CREAT, 0o600)
        self.context = ssl.create_default_context(cafile=authority) if authority else None
        self.peers = []
        self.figures = {"begun": 0, "answered": 0, "closed": 0, "refused": 0}
        self.sent = 0
        self.hello = hello()
        # Fewer than `pending_connections`: nobody has to give way to them.
        self.window = 24 if kind in ("hellos", "silent") else 32 if kind == "logins" else 16

    def run(self):
        while self.figures["begun"] < self.count or not self.is_told_to_end():
            for _ in range(min(NEW_IN_A_STEP, self.window - len(self.peers))):
                self.begin()
            for peer in self.peers[:]:
                self.step(peer)
            os.pwrite(self.progress, struct.pack("=QQ", self.sent, len(self.peers)), 0)
            time.sleep(STEP_SECONDS)
        for peer in self.peers:
            peer.connection.close()
        print(json.dumps(self.figures))

    def is_told_to_end(self):
        return bool(select.select([sys.stdin], [], [], 0)[0])

    def begin(self):
        number = self.figures["begun"]
        self.figures["begun"] += 1
        connection = socket.socket()
        try:
            connection.settimeout(60)
            connection.bind((ADDRESSES[number % len(ADDRESSES)], 0))
            connection.connect(("127.0.0.1", self.port))
            self.open(connection, number)
        except (OSError, ssl.SSLError):
            self.figures["refused"] += 1
            connection.close()

    def open(self, connection, number):
        if self.kind == "logins":
            # Few wrong passwords of one name from one address: each of them is checked.
            pieces = [raw.connect(f"flood-{number}", user=("ann" if number % 16 == 0 else f"user-{number}"), password="wrong")]
        elif self.kind in ("hellos", "silent"):
            pieces = [self.hello]
        else:
            said = getattr(Opening(self.context), self.kind)(connection)
            pieces = (said if isinstance(said, list) else [bytes([byte]) for byte in said])[:-1]
        connection.setblocking(False)
        self.peers.append(Peer(connection, pieces))

    def step(self, peer):
        try:
            if peer.pieces:
                peer.connection.send(peer.pieces[0])
                del peer.pieces[0]
                self.sent += 1
            got = peer.connection.recv(1 << 14)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if got:
            self.figures["answered"] += 1
            if self.kind == "silent":
                return
        else:
            self.figures["closed"] += 1
        peer.connection.close()
        self.peers.remove(peer)


if __name__ == "__main__":
    os.nice(19)
    Flood(*sys.argv[1:]).run()

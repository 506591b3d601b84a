"""A serial line for tests: a pseudo-terminal whose slave the daemon opens, and a careful device at its far end, of raw
bytes. What the device sends can be damaged on the way."""

import os
import select
import struct
import time
import zlib

import raw
from patience import PATIENCE_SECONDS

# Longer than the daemon's gap (30 ms) even where it is late: what is sent after it is another burst. Only longer
# waits follow from a busy machine, never a wrong result.
GAP_SECONDS = 0.1


class Line:
    """The far side of a line. `damage`, if set, is called once with the next bytes to be sent and answers what arrives."""

    def __init__(self):
        self.master, self.slave = os.openpty()
        self.path = os.ttyname(self.slave)
        self.damage = None
        self.data = bytearray()

    def close(self):
        for fd in (self.master, self.slave):
            if fd is not None:
                os.close(fd)
        self.master = self.slave = None

    def send(self, data):
        """One burst: the line is quiet before it."""
        time.sleep(GAP_SECONDS)
        if self.damage:
            damage, self.damage = self.damage, None
            data = damage(data)
        while data:
            data = data[os.write(self.master, data):]

    def packet(self, seconds):
        """The next packet from the daemon, or None within this time."""
        end = time.monotonic() + seconds
        while not (found := raw.split(self.data)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                return None
            self.data += os.read(self.master, 1 << 16)
        del self.data[:found[1]]
        return found[0]


class LineStream:
    """A socket's face on a line, for a raw client at its far end where nothing is damaged."""

    def __init__(self, line):
        self.line, self.seconds = line, PATIENCE_SECONDS

    def settimeout(self, seconds):
        self.seconds = seconds

    def sendall(self, data):
        while data:
            data = data[os.write(self.line.master, data):]

    def recv(self, size):
        if not select.select([self.line.master], [], [], self.seconds)[0]:
            raise TimeoutError("nothing on the line")
        return os.read(self.line.master, size)

    def close(self):
        pass


def payload(number, size=16):
    """With its length and checksum: what is changed on the way is told from what is whole."""
    body = struct.pack("!HI", size, number) + bytes((number + index) % 256 for index in range(size))
    return body + struct.pack("!I", zlib.crc32(body))


def is_whole(data):
    return len(data) > 10 and len(data) == struct.unpack_from("!H", data)[0] + 10 \
        and zlib.crc32(data[:-4]) == struct.unpack("!I", data[-4:])[0]


class Device:
    """A client that sends again what is not acknowledged within `reply_seconds`, with DUP, and begins anew with CONNECT
    when that does not help. It remembers which packet ids were acknowledged."""

    def __init__(self, line, name="device", version=4, reply_seconds=PATIENCE_SECONDS):
        self.line, self.name, self.version, self.reply_seconds = line, name, version, reply_seconds
        self.acknowledged = []  # packet ids of all PUBACKs
        self.last_id = 0

    def answer(self, type, wanted=None):
        while packet := self.line.packet(self.reply_seconds):
            if packet.type == raw.PUBACK:
                self.acknowledged.append(struct.unpack_from("!H", packet.body)[0])
            if packet.type == type and (wanted is None or struct.unpack_from("!H", packet.body)[0] == wanted):
                return packet
        return None

    def connect(self):
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            self.line.send(raw.connect(self.name, self.version, clean=False))
            answer = self.answer(raw.CONNACK)
            if answer and answer.body[1] == 0:
                return self
        raise TimeoutError("no CONNACK")

    def publish(self, topic, data):
        """QoS 1, up to its PUBACK; how many times it was sent."""
        self.last_id += 1
        count, end = 0, time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            self.line.send(raw.publish(topic, data, 1, self.last_id, version=self.version, duplicate=count > 0))
            count += 1
            if self.answer(raw.PUBACK, self.last_id):
                return count
            if count % 3 == 0:
                self.connect()
        raise TimeoutError("no PUBACK")

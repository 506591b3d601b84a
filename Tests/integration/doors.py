"""The doors of a daemon, for raw clients: each makes a listener's configuration, and gives what behaves as a connected socket
does, whatever lies between it and MQTT."""

import base64
import hashlib
import os
import socket
import ssl
import struct
import subprocess

import raw
from patience import PATIENCE_SECONDS

DOORS = ["tcp", "unix", "tls", "ws", "wss"]
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*words, **options):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, **options)


class Keys:
    """An authority and what it signs, in files of a folder: NAME.pem and NAME.key."""

    def __init__(self, folder):
        self.folder = folder
        self.authority("ca")
        self.certificate("server", extensions="subjectAltName=IP:127.0.0.1,DNS:localhost")

    def path(self, name):
        return self.folder / name

    def has(self, name):
        return self.path(f"{name}.pem").exists()

    def authority(self, name):
        openssl("req", "-x509", *CURVE, "-days", 30, "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"))

    def certificate(self, name, authority="ca", subject=None, extensions="", days=30, more=()):
        """Signed by `authority`, which may be any certificate. `days` may be negative: it has ended already."""
        request, file = self.path(f"{name}.csr"), self.path(f"{name}.ext")
        openssl("req", *CURVE, "-utf8", "-subj", subject or f"/CN={name}", "-keyout", self.path(f"{name}.key"), "-out", request, *more)
        file.write_text(extensions + "\n")
        openssl("x509", "-req", "-in", request, "-CA", self.path(f"{authority}.pem"), "-CAkey", self.path(f"{authority}.key"),
                "-CAcreateserial", "-days", days, "-extfile", file, "-out", self.path(f"{name}.pem"))

    def by_registry(self, name, start="", end="", *more):
        """As `certificate`, with a registry: from and until these dates (YYYYMMDDHHMMSSZ), and to be revoked."""
        folder = self.folder / "registry"
        if not folder.exists():
            folder.mkdir()
            (folder / "index.txt").write_text("")
            (folder / "serial").write_text("1000\n")
            (folder / "number").write_text("1000\n")
            (folder / "conf").write_text(
                f"[ca]\ndefault_ca = here\n[here]\ndatabase = {folder}/index.txt\nserial = {folder}/serial\n"
                f"crlnumber = {folder}/number\nnew_certs_dir = {folder}\ndefault_md = sha256\npolicy = any\nunique_subject = no\n"
                f"certificate = {self.path('ca.pem')}\nprivate_key = {self.path('ca.key')}\n[any]\ncommonName = supplied\n")
        openssl("req", *CURVE, "-subj", f"/CN={name}", "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.csr"))
        dates = ["-startdate", start, "-enddate", end] if start else ["-days", 30]
        openssl("ca", "-batch", "-config", folder / "conf", "-in", self.path(f"{name}.csr"), "-out", self.path(f"{name}.pem"), "-notext", *dates)

    def revoke(self, name):
        openssl("ca", "-config", self.folder / "registry" / "conf", "-revoke", self.path(f"{name}.pem"))

    def revocations(self, name, *words):
        """A list of what is revoked so far, in NAME.crl; `words` say until when it holds."""
        openssl("ca", "-config", self.folder / "registry" / "conf", "-gencrl", "-out", self.path(f"{name}.crl"), *words)

    def listener(self, more=""):
        """The value of a listener's `tls`."""
        return f"tls: {{certificate: {self.path('server.pem')}, key: {self.path('server.key')}{more}}}"

    def context(self, name=None, **settings):
        """A client's, with this certificate."""
        made = ssl.create_default_context(cafile=self.path("ca.pem"))
        if name:
            made.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        for key, value in settings.items():
            setattr(made, key, value)
        return made


class Refused(ConnectionError):
    """An answer to a WebSocket's request that is not 101."""

    def __init__(self, head):
        super().__init__(head)
        self.status = int(head.split()[1])


class WebSocket:
    """A socket's face on a WebSocket: each `sendall` is a binary message in one masked frame, `recv` gives what frames held."""

    def __init__(self, connection, path="/mqtt", headers="", protocol="mqtt"):
        self.connection, self.data, self.closed = connection, bytearray(), None
        key = base64.b64encode(os.urandom(16)).decode()
        subprotocol = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n{subprotocol}{headers}\r\n".encode())
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, _, rest = bytes(self.data).partition(b"\r\n\r\n")
        self.data = bytearray(rest)
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Refused(head.decode())
        assert accept in head, head

    def more(self):
        data = self.connection.recv(1 << 16)
        if not data:
            raise ConnectionError("closed within the head or a frame")
        self.data += data

    def frame(self, opcode, payload, first=0x80, masked=0x80):
        key, size = os.urandom(4), len(payload)
        head = bytes([first | opcode]) + (
            bytes([masked | size]) if size < 126 else struct.pack("!BH", masked | 126, size) if size < 65_536
            else struct.pack("!BQ", masked | 127, size))
        if not masked:
            return head + payload
        mask = (key * (size // 4 + 1))[:size]
        return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")

    def sendall(self, data):
        self.connection.sendall(self.frame(2, data))

    def next_frame(self):
        """Its opcode and payload, or None while it is not there as a whole."""
        if len(self.data) < 2:
            return None
        assert not self.data[1] & 0x80, "a masked frame of the server"
        size, start = self.data[1], 2
        if size > 125:
            form = "!H" if size == 126 else "!Q"
            start += struct.calcsize(form)
            if len(self.data) < start:
                return None
            size = struct.unpack_from(form, self.data, 2)[0]
        if len(self.data) < start + size:
            return None
        frame = self.data[0] & 15, bytes(self.data[start:start + size])
        del self.data[:start + size]
        return frame

    def recv(self, _size=0):
        """The content of the next frame; nothing once the other side has closed, with its code in `closed`."""
        while self.closed is None:
            if not (frame := self.next_frame()):
                self.more()
            elif frame[0] == 8:
                self.closed = struct.unpack("!H", frame[1][:2])[0] if frame[1] else 1005
            elif frame[0] == 9:
                self.connection.sendall(self.frame(10, frame[1]))
            elif frame[0] in (0, 2) and frame[1]:
                return frame[1]
        return b""

    def settimeout(self, seconds):
        self.connection.settimeout(seconds)

    def shutdown(self, how):
        self.connection.shutdown(how)

    def setsockopt(self, *words):
        self.connection.setsockopt(*words)

    def close(self):
        self.connection.close()


class Door:
    """One listener of a daemon: `kind` is one of DOORS. A unix socket is the file `path`, or else an abstract name."""

    count = 0

    def __init__(self, kind, keys=None, path=None):
        Door.count += 1
        self.kind, self.keys = kind, keys
        self.path = str(path) if path else f"@tapline-door-{os.getpid()}-{Door.count}"
        self.port = None  # once its daemon has one

    def __str__(self):
        return self.kind

    @property
    def scheme(self):
        return {"tcp": "mqtt", "tls": "mqtts"}.get(self.kind, self.kind)

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}" + ("/mqtt" if self.is_web else "")

    @property
    def is_tls(self):
        return self.kind in ("tls", "wss")

    @property
    def is_web(self):
        return self.kind in ("ws", "wss")

    def listener(self, more="", tls="", address="127.0.0.1"):
        """Its configuration; `tls` is added to the keys of that mapping."""
        words = [f"unix: '{self.path}'"] if self.kind == "unix" else [f"address: {address}", "port: PORT"]
        if self.is_web:
            words.append("protocols: [websocket]")
            if "origins" not in more:  # paho sends the broker's own
                words.append("origins: ['http://127.0.0.1:PORT', 'https://127.0.0.1:PORT']")
        words += [self.keys.listener(tls)] if self.is_tls else []
        return "{" + ", ".join([*words, *([more] if more else [])]) + "}"

    def dial(self):
        """A connected socket with nothing said on it."""
        connection = socket.socket(socket.AF_UNIX if self.kind == "unix" else socket.AF_INET)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(self.path.replace("@", "\0", 1) if self.kind == "unix" else ("127.0.0.1", self.port))
        return connection

    def secure(self, context=None):
        """A connected socket, behind TLS where that belongs to this door."""
        connection = self.dial()
        if self.is_tls:
            try:
                connection = (context or self.keys.context()).wrap_socket(connection, server_hostname="127.0.0.1")
            except ssl.SSLError as error:
                connection.close()
                raise ConnectionError("no handshake") from error
        return connection

    def open(self, context=None, **options):
        """What MQTT is spoken on."""
        connection = self.secure(context)
        return WebSocket(connection, **options) if self.is_web else connection

    def client(self, context=None, **options):
        return raw.Client.on(self.open(context, **options))

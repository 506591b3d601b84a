"""What probes of TLS such as testssl.sh ask: versions, ciphers, compression, renegotiation, early data, resumption, shared keys. Some of
it by bytes, as OpenSSL knows old ciphers no longer."""

import os
import re
import ssl
import struct
import subprocess

import pytest

import raw
from daemon import wait
from patience import PATIENCE_SECONDS
from test_peers import certificates, demand, house, users  # noqa: F401, one is a fixture


class Probe:
    """A run of `openssl s_client`, which says what was agreed upon."""

    def __init__(self, daemon, words, data):
        # Whatever this machine's configuration of OpenSSL allows.
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}", *map(str, words)], input=data, capture_output=True,
            timeout=PATIENCE_SECONDS, env=os.environ | {"OPENSSL_CONF": "/dev/null"})
        self.said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    @property
    def cipher(self):
        found = re.search(r"^New, (.*), Cipher is (.*)$", self.said, re.MULTILINE)
        return found[2] if found and found[2] != "(NONE)" else None

    @property
    def is_refused(self):
        return self.cipher is None


def probe(daemon, *words, data=b""):
    return Probe(daemon, words, data)


@pytest.fixture
def secure(make_daemon, door_keys, users):
    return house(make_daemon, door_keys, users, "tls")


@pytest.mark.parametrize("words, is_spoken", [
    (["-tls1"], False), (["-tls1_1"], False), (["-tls1_2"], True), (["-tls1_3"], True), (["-no_tls1_2", "-no_tls1_3"], False),
])
def test_versions_of_tls(secure, words, is_spoken):
    assert probe(secure, *words, "-cipher", "ALL:@SECLEVEL=0").is_refused != is_spoken
    assert not probe(secure).is_refused


def extension(number, body):
    return struct.pack("!HH", number, len(body)) + body


def first_answer(door, suites, version=0x0303, compression=b"\0", has_extensions=True):
    """What a ClientHello of these cipher suites gets, by bytes, as OpenSSL knows many of them no longer: the content type of the
    first record, b"" where the connection ends without one."""
    groups = extension(10, b"\x00\x04\x00\x1d\x00\x17") + extension(11, b"\x01\x00")
    algorithms = extension(13, b"\x00\x0c\x04\x03\x05\x03\x08\x04\x04\x01\x02\x03\x02\x01") + extension(0xFF01, b"\0")
    body = struct.pack("!H", version) + bytes(range(32)) + b"\0" + struct.pack(f"!H{len(suites)}H", 2 * len(suites), *suites)
    body += bytes([len(compression)]) + compression
    if has_extensions:
        body += struct.pack("!H", len(groups + algorithms)) + groups + algorithms
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    connection = door.dial()
    try:
        connection.sendall(b"\x16" + struct.pack("!HH", min(version, 0x0301), len(message)) + message)
        return connection.recv(1)
    except ConnectionError:
        return b""
    finally:
        connection.close()


ALERT, HANDSHAKE = b"\x15", b"\x16"
GOOD = [0xC02B, 0xC02C, 0xCCA9]  # ECDHE-ECDSA with AES-GCM and ChaCha20
WEAK = {
    "NULL": [0x0001, 0x0002, 0x003B, 0xC001, 0xC006, 0xC00B, 0xC010], "anonymous": [0x0018, 0x001A, 0x0034, 0x003A, 0x006C, 0x00A6, 0xC018, 0xC019],
    "EXPORT": [0x0003, 0x0006, 0x0008, 0x000B, 0x000E, 0x0011, 0x0014, 0x0017, 0x0019, 0x0062, 0x0064],
    "RC4": [0x0004, 0x0005, 0x008A, 0xC002, 0xC007, 0xC00C, 0xC011, 0xC016], "RC2 and DES": [0x0006, 0x0009, 0x000C, 0x0012, 0x0015, 0x001A],
    "3DES": [0x000A, 0x0010, 0x0013, 0x0016, 0x001B, 0xC003, 0xC008, 0xC00D, 0xC012], "IDEA and SEED": [0x0007, 0x0096, 0x009A],
    "PSK": [0x002C, 0x008C, 0x008D, 0x00A8, 0x00AE, 0xC035, 0xD001], "SRP": [0xC01D, 0xC020, 0xC022],
    "CBC": [0x002F, 0x0035, 0x003C, 0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC024], "keys sent with RSA": [0x009C, 0x009D],
}


def test_old_versions_are_refused(secure):
    """SSL 3.0, TLS 1.0 and 1.1, with ciphers of their time and all others."""
    everything = [suite for suites in WEAK.values() for suite in suites]
    for version in (0x0300, 0x0301, 0x0302):
        for has_extensions in (False, True):
            assert first_answer(secure.door, everything + GOOD, version, has_extensions=has_extensions) in (b"", ALERT), hex(version)
    assert first_answer(secure.door, GOOD) == HANDSHAKE


@pytest.mark.emulated_step(4)
@pytest.mark.parametrize("name", WEAK)
def test_weak_ciphers_are_refused(secure, name):
    for suite in WEAK[name]:
        assert first_answer(secure.door, [suite]) in (b"", ALERT), hex(suite)
    assert first_answer(secure.door, WEAK[name] + GOOD[:1]) == HANDSHAKE


def test_compression_is_not_taken_up(secure):
    """A client that offers nothing else is refused, and one that offers it as well is answered without it."""
    assert first_answer(secure.door, GOOD, compression=b"\x01") in (b"", ALERT)
    assert first_answer(secure.door, GOOD, compression=b"\x01\x00") == HANDSHAKE


def test_every_cipher_that_is_agreed_upon_is_forward_secret_and_aead(secure):
    agreed = []
    for name in subprocess.run(
            ["openssl", "ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], capture_output=True, text=True).stdout.strip().split(":"):
        if name.startswith("TLS_"):
            continue
        if cipher := probe(secure, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0").cipher:
            agreed.append(cipher)
    assert agreed
    assert all(re.match(r"(ECDHE|DHE)-ECDSA-.*(GCM|POLY1305|CCM)", name) for name in agreed), agreed


def test_nothing_is_compressed_or_renegotiated_or_sent_early(secure, tmp_path):
    for version in ("-tls1_2", "-tls1_3"):
        said = probe(secure, version, "-comp").said
        assert "Compression: NONE" in said and "Expansion: NONE" in said
    # The line R asks for another handshake: it is refused, or the connection ends.
    said = probe(secure, "-tls1_2", "-legacy_renegotiation", data=b"R\n" + raw.connect("after", user="ann", password="secret")).said
    assert "RENEGOTIATING" in said
    assert re.search(r"no renegotiation|alert|errno|closed|unexpected eof", said, re.IGNORECASE), said
    assert "Secure Renegotiation IS supported" in said or "Secure Renegotiation IS NOT supported" in said
    # A session of TLS 1.3 comes with a ticket; there is none, so there is nothing to send early data with.
    file = tmp_path / "session"
    said = probe(secure, "-tls1_3", "-sess_out", file).said
    assert "Early data was not sent" in said and "Max Early Data: 1" not in said
    assert not file.exists() or "Reused" not in probe(secure, "-tls1_3", "-sess_in", file).said
    with secure.connect("after", user="ann", password="secret") as client:
        client.ping()


def test_no_session_is_resumed(make_daemon, door_keys, users):
    """Not even by its owner, so that every connection shows its certificate; nor at another listener."""
    certificates(door_keys)
    daemon = house(make_daemon, door_keys, users, "tls", demand(door_keys))
    words = ["-cert", door_keys.path("kitchen.pem"), "-key", door_keys.path("kitchen.key")]
    said = probe(daemon, "-tls1_2", "-reconnect", *words).said
    assert said.count("New, TLS") == 6 and "Reused" not in said, said
    made = door_keys.context("kitchen", maximum_version=ssl.TLSVersion.TLSv1_2)
    with made.wrap_socket(daemon.door.dial(), server_hostname="127.0.0.1") as first:
        session = first.session
    assert session is None or not session.has_ticket
    if session is not None:
        with made.wrap_socket(daemon.door.dial(), server_hostname="127.0.0.1", session=session) as second:
            assert not second.session_reused


@pytest.mark.parametrize("letter", ["K", "k"])
def test_a_storm_of_key_updates_harms_nobody(secure, some, letter):
    """Each line K asks for new keys of both sides, k for those of the client."""
    with secure.connect("served", user="ann", password="secret") as client:
        said = probe(secure, "-tls1_3", data=some(2000) * f"{letter}\n".encode()).said
        assert "KEYUPDATE" in said
        client.ping()


def test_s_client_speaks_mqtt(secure, door_keys):
    connect = raw.connect("s-client", user="ann", password="secret")
    for version in ("-tls1_2", "-tls1_3"):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-CAfile", door_keys.path("ca.pem"), "-verify_return_error",
             "-verify_ip", "127.0.0.1", "-quiet", version],
            input=connect + raw.subscribe(1, ("t", 1)) + raw.publish("t", "hello", 1, 2) + b"\xe0\x00", capture_output=True,
            timeout=PATIENCE_SECONDS)
        assert done.stdout[:1] == b"\x20" and b"hello" in done.stdout, done.stderr


def test_a_shared_key_is_refused(make_daemon, door_keys, users):
    """A client that has nothing but a shared key has no cipher in common with us. mosquitto_pub, which may speak TLS 1.3, leaves its key
    aside there, and is nobody without a password."""
    daemon = house(make_daemon, door_keys, users, "tls")
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", daemon.port, "--psk", "0123456789abcdef", "--psk-identity", "ann", "-t", "t", "-m",
               "x", "-q", 1]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode != 0
    assert probe(daemon, "-psk", "0123456789abcdef", "-psk_identity", "ann", "-cipher", "PSK", "-tls1_2").is_refused
    wait(lambda: "connection refused from 127.0.0.1: the TLS handshake failed" in daemon.log, "line")
    with daemon.connect("after", user="ann", password="secret") as client:
        client.ping()

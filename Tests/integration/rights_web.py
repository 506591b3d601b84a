"""Frames, origins and heads, at the doors of WebSocket: cases 41 to 43."""

import struct

import raw
from daemon import wait
from doors import Refused, WebSocket
from patience import PATIENCE_SECONDS
from rights import case

WEB = ["ws", "wss"]


def closing_code(client):
    """To the end of the connection; the code of its Close frame, if it has one."""
    try:
        while client.socket.recv():
            pass
    except ConnectionError:
        return None
    return client.socket.closed


@case(41, doors=WEB)
def a_frame_that_is_wrong_ends_its_connection(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    watch = at.watch()
    web = WebSocket.frame
    publish = raw.publish(f"{at.t}/never", "x", version=at.version)
    wrong = {
        "unmasked": (lambda w: web(w, 2, publish, masked=0), 1002), "text": (lambda w: web(w, 1, publish), 1003),
        "continuation without a beginning": (lambda w: web(w, 0, publish), 1002), "reserved opcode": (lambda w: web(w, 3, publish), 1002),
        "reserved bit": (lambda w: web(w, 2, publish, first=0xC0), 1002), "ping in parts": (lambda w: web(w, 9, b"x", first=0), 1002),
        "close in parts": (lambda w: web(w, 8, b"", first=0), 1002), "ping of 126": (lambda w: web(w, 9, 126 * b"x"), 1002),
        "high bit": (lambda w: b"\x82\xff" + struct.pack("!Q", 1 << 63) + bytes(4), 1002),
        "two beginnings": (lambda w: web(w, 2, b"\xc0", first=0) + web(w, 2, b"\0"), 1002),
        "a Close of one byte": (lambda w: web(w, 8, b"x"), 1002), "a Close with 1005": (lambda w: web(w, 8, b"\x03\xed"), 1002),
    }
    for number, (what, (make, code)) in enumerate(wrong.items()):
        client = at.come("ann", will=(f"{at.t}/will/{number}", "gone", at.qos, False))
        client.socket.connection.sendall(make(client.socket))
        assert closing_code(client) == code, what
        assert watch.message(f"{at.t}/will/{number}").payload == b"gone", what
        client.close()
    assert watch.seen() == []


@case(41, doors=WEB)
def frames_and_packets_have_borders_of_their_own(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    watch, ann = at.watch(), at.come("ann")
    web, wire = ann.socket, ann.socket.connection
    packets = b"".join(raw.publish(f"{at.t}/{number}", "x" * 130, version=at.version) for number in range(3))
    whole = web.frame(2, packets)
    for index in range(len(whole)):  # a header and a payload that come byte by byte
        wire.sendall(whole[index:index + 1])
    for index in range(0, len(packets), 7):  # frames that are shorter than a packet, with nothing and a ping between them
        wire.sendall(web.frame(2, packets[index:index + 7]) + web.frame(2, b"") + web.frame(9, b"?"))
    pieces = [packets[index:index + 50] for index in range(0, len(packets), 50)]
    for index, piece in enumerate(pieces):  # one message in several frames
        wire.sendall(web.frame(0 if index else 2, piece, first=0x80 if piece is pieces[-1] else 0))
    wire.sendall(web.frame(2, packets + raw.packet(0xC0) + packets[:40]))
    wire.sendall(web.frame(2, packets[40:]))
    ann.expect(raw.PINGRESP)
    ann.ping()
    assert watch.topics() == 5 * [f"{at.t}/{number}" for number in range(3)]
    for _ in range(at.some(2000)):  # a flood of pings: answered as far as there is room, and nobody else notices
        wire.sendall(web.frame(9, 125 * b"p"))
    at.tell(f"{at.t}/other")
    assert watch.topics() == [f"{at.t}/other"]
    ann.close()


def status(door, **options):
    """101, or the answer's; None where there is none."""
    connection = door.secure()
    try:
        WebSocket(connection, **options)
        return 101
    except Refused as refused:
        return refused.status
    except OSError:
        return None
    finally:
        connection.close()


@case(42, versions=[5], qos=[0], doors=WEB)
def a_page_is_let_in_by_its_origin(at):
    at.use("")
    _, door = at.other(more="origins: ['https://ha.example', 'http://panel.local:8080']")
    origin = "Origin: {}\r\n".format
    for text, wanted in [
            ("", 101), (origin("https://ha.example"), 101), (origin("http://panel.local:8080"), 101), (origin("https://ha.example:443"), 403),
            (origin("http://ha.example"), 403), (origin("https://ha.example/"), 403), (origin("https://ha.example.evil"), 403),
            (origin("https://evil"), 403), (origin("null"), 403), (origin("*"), 403), (origin(""), 403), (origin("https://" + 300 * "a"), 403),
            (origin("https://ha.example") + origin("https://evil"), None), (origin("https://evil") + origin("https://ha.example"), None),
            (origin("https://ha.example, https://evil"), 403)]:
        got = status(door, headers=text)
        assert got == wanted or wanted is None and got in (400, 403), (text, got)
    assert status(at.door, headers=origin("https://ha.example")) == 403  # without a list none
    _, open_door = at.other(more="origins: ['*']")
    assert status(open_door, headers=origin("https://anything")) == 101
    # The subprotocol.
    for protocol, is_spoken in (("mqtt", True), ("mqttv3.1", True), ("other, mqtt", True), ("other", False), ("", False)):
        assert (status(at.door, protocol=protocol) == 101) == is_spoken, protocol


@case(43, versions=[5], qos=[0], doors=WEB)
def a_head_has_its_bounds(at):
    at.use("user {ann}\ntopic readwrite {t}/#\n")
    for headers in ("X-Long: " + 65_536 * "a" + "\r\n", 1000 * "X: y\r\n", "X-Bad\r\n", "X : y\r\n", " folded\r\n", "X: \0\r\n",
                    "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"):
        assert status(at.door, headers=headers) in (None, 400, 413, 431, 501), headers[:40]
    assert status(at.door, path="/other") == 404
    # By bytes, and with MQTT behind it in the same write.
    request = (
        "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n").encode()
    connect = raw.connect(at.id("piped"), 5, **at.login("ann"))
    for is_slow in (False, True):
        connection = at.door.secure()
        web = WebSocket.__new__(WebSocket)
        web.connection, web.data, web.closed = connection, bytearray(), None
        data = request + web.frame(2, connect)
        for piece in [data[index:index + 1] for index in range(len(data))] if is_slow else [data]:
            connection.sendall(piece)
        while b"\r\n\r\n" not in web.data:
            web.more()
        del web.data[:web.data.index(b"\r\n\r\n") + 4]
        client = at.keep(raw.Client.on(web))
        client.version = 5
        assert client.expect(raw.CONNACK, PATIENCE_SECONDS).body[1] == 0
        client.disconnect()
    wait(lambda: f"client '{at.id('piped')}' from 127.0.0.1" in at.house.daemon.log, "line")
    assert "192.0.2.9" not in at.house.daemon.log

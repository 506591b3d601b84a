"""An MQTT 5 client inside the guest, for commands whose distance matters: it is the guest's time, whatever this machine does."""

from dataclasses import dataclass

CONNECT, PUBLISH_QOS1, PUBACK, PINGREQ = 0x10, 0x32, 0x40, b"\xc0\0"
REASON_STRING = 0x1F


@dataclass
class Answer:
    """PUBACK (§3.4)."""

    reason: int
    text: str  # Reason String, or empty


def text_field(text):
    return len(text).to_bytes(2, "big") + text.encode()


def packet(head, body):
    assert len(body) < 128
    return bytes([head, len(body)]) + body


def connect(name):
    return packet(CONNECT, text_field("MQTT") + bytes([5, 2, 0, 0, 0]) + text_field(name))  # clean start, no keep alive


def publish(number, topic, payload):
    return packet(PUBLISH_QOS1, text_field(topic) + number.to_bytes(2, "big") + b"\0" + payload.encode())


def session(name, steps):
    """A shell command: connect as `name`, do `steps`, wait for all answers, and go as a killed program does. A step is
    (topic, payload) or seconds to wait, of the guest's; commands with no time between them are sent as one piece.

    What the server sent is in /run/inside.NAME then."""
    pieces, number = [connect(name)], 0
    commands = []

    def send():
        octal = "".join(f"\\0{byte:03o}" for byte in b"".join(pieces))
        commands.append(f"printf %b '{octal}' >&9")
        pieces.clear()

    for step in steps:
        if isinstance(step, tuple):
            number += 1
            pieces.append(publish(number, *step))
        else:
            send()
            commands.append(f"usleep {step * 1e6:.0f}")
    pieces.append(PINGREQ)
    send()
    said = f"/run/inside.{name}"
    return "; ".join((
        f"rm -f /run/inside.in; mkfifo /run/inside.in; nc 127.0.0.1 1883 < /run/inside.in > {said} & exec 9> /run/inside.in",
        *commands,
        # PINGRESP is the last answer.
        f"until [ \"$(tail -c 2 {said} | hexdump -v -e '1/1 \"%02x\"')\" = d000 ]; do usleep 5000; done",
        "kill $!; wait $! 2> /dev/null; exec 9>&-",
    ))


def answers(board, name):
    """The PUBACKs of the last session of `name`, in order."""
    data = bytes.fromhex(board.sh(f"hexdump -v -e '1/1 \"%02x\"' /run/inside.{name}"))
    found = []
    while data:
        head, count, body = data[0], data[1], data[2 : 2 + data[1]]
        assert count < 128
        data = data[2 + count :]
        if head == PUBACK:
            assert int.from_bytes(body[:2], "big") == len(found) + 1
            found.append(Answer(body[2] if count > 2 else 0, reason_string(body[4:])))
    return found


def reason_string(properties):
    if properties[:1] != bytes([REASON_STRING]):
        return ""
    return properties[3 : 3 + int.from_bytes(properties[1:3], "big")].decode()


def play(board, name, steps):
    """One session, with the guest awake meanwhile; its PUBACKs."""
    with board.awake():
        board.sh(session(name, steps))
    return answers(board, name)

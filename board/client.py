"""An MQTT 5 client of the board's tests: paho's, remembering what came and when."""

import json
import socket
import threading
import time
from dataclasses import dataclass, field

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# Seconds after which what does not come is taken to come never; the emulated processor is slow and shared.
PATIENCE_SECONDS = 120
# Reason Codes (§2.4): implementation specific error, payload format invalid.
REFUSED, NOT_UNDERSTOOD = 0x83, 0x99


@dataclass
class Message:
    topic: str
    payload: str
    retain: bool
    user: dict = field(default_factory=dict)  # user properties
    correlation: bytes = b""


@dataclass
class Ack:
    """PUBACK (§3.4)."""

    reason: int
    text: str  # Reason String, or empty
    seconds: float  # since the PUBLISH was handed to the socket


def connect_packet(user=None, password=None, name="a"):
    """CONNECT of MQTT 3.1.1 (§3.1)."""
    texts = [text.encode() for text in (name, user, password) if text is not None]
    flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = b"\0\4MQTT\4" + bytes([flags]) + b"\0\x3c" + b"".join(len(text).to_bytes(2, "big") + text for text in texts)
    assert len(body) < 128
    return bytes([0x10, len(body)]) + body


def answer_to_connect(port, user=None, password=None):
    """The return code of CONNACK (§3.2.2.3): 4 for a wrong user name or password, 5 for who may not connect."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as stream:
        stream.sendall(connect_packet(user, password))
        answer = b""
        while len(answer) < 4 and (more := stream.recv(4 - len(answer))):
            answer += more
    assert answer[:2] == b"\x20\2", answer
    return answer[3]


class Client:
    def __init__(self, port, name, user=None, password=None):
        self.name = name
        self.asked = set()  # topics of ask() and settle()
        self.changed = threading.Condition()
        self.messages = []
        self.acks = {}
        self.subscribed = set()
        self.connected = None
        self.lost = False
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self.paho.on_connect = self.on_connect
        self.paho.on_disconnect = self.on_disconnect
        self.paho.on_subscribe = self.on_subscribe
        self.paho.on_message = self.on_message
        self.paho.on_publish = self.on_publish
        self.paho.username_pw_set(user, password)
        # No keep alive: a pause of this machine is no death of a client.
        self.paho.connect("127.0.0.1", port, keepalive=0)
        self.paho.loop_start()
        self.wait(lambda: self.connected is not None, "CONNACK")
        assert self.connected == 0, f"CONNACK with reason 0x{self.connected:02X}"

    # What the tests say

    def subscribe(self, topic_filter, qos=1):
        """Until what is retained for it has come, too."""
        _, packet_id = self.paho.subscribe(topic_filter, qos)
        self.wait(lambda: packet_id in self.subscribed, f"SUBACK for {topic_filter}")
        if topic_filter not in self.asked:
            self.settle()
        return self

    def publish(self, topic, payload, **options):
        """QoS 1, until it is acknowledged."""
        start = time.monotonic()
        packet_id = self.paho.publish(topic, payload, qos=1, **options).mid
        self.wait(lambda: packet_id in self.acks, f"PUBACK for {topic} {payload}")
        reason, text, stamp = self.acks.pop(packet_id)
        return Ack(reason, text, stamp - start)

    def ask(self, topic, payload, correlation=b"1"):
        """The JSON that a command is answered with on its Response Topic (§4.10), and its PUBACK."""
        answers = f"answers/{self.name}"
        if answers not in self.asked:
            self.asked.add(answers)
            self.subscribe(answers)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = answers, correlation
        mark = self.mark()
        ack = self.publish(topic, payload, properties=properties)
        answer = self.expect(answers, lambda _: True, since=mark)
        assert answer.correlation == correlation
        return json.loads(answer.payload), ack

    def settle(self):
        """Until all that the broker published before has come."""
        topic = f"settled/{self.name}"
        if topic not in self.asked:
            self.asked.add(topic)
            self.subscribe(topic)
        mark = self.mark()
        self.publish(topic, "")
        self.expect(topic, "", since=mark)

    def mark(self):
        """A place in the messages: expect(..., since=mark) looks at what came after it."""
        return len(self.messages)

    def on_topic(self, topic, since=0):
        return [message for message in self.messages[since:] if message.topic == topic]

    def expect(self, topic, payload, since=0, seconds=PATIENCE_SECONDS):
        """The first message on `topic` with this payload, or whose payload this function accepts."""
        accepts = payload if callable(payload) else payload.__eq__

        def found():
            return next((message for message in self.on_topic(topic, since) if accepts(message.payload)), None)

        what = f"a message on {topic}" + ("" if callable(payload) else f" saying {payload!r}")
        return self.wait(found, what, seconds)

    def wait(self, condition, what, seconds=PATIENCE_SECONDS):
        """The first true value of `condition`, asked again whenever something came."""
        end = time.monotonic() + seconds
        with self.changed:
            while not (value := condition()):
                left = end - time.monotonic()
                assert left > 0, f"no {what} within {seconds} s; came: {self.messages[-8:]}"
                assert not self.lost, f"connection lost while waiting for {what}"
                self.changed.wait(left)
            return value

    def drop(self):
        """Ends the connection as a cut cable does not, but a killed program does: without DISCONNECT."""
        self.paho.loop_stop()
        self.paho.socket().close()

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # What paho calls, on its own thread

    def on_connect(self, _client, _userdata, _flags, reason, _properties):
        with self.changed:
            self.connected = reason.value
            self.changed.notify_all()

    def on_disconnect(self, _client, _userdata, _flags, _reason, _properties):
        with self.changed:
            self.lost = True
            self.changed.notify_all()

    def on_subscribe(self, _client, _userdata, packet_id, reasons, _properties):
        with self.changed:
            assert not any(reason.is_failure for reason in reasons), reasons
            self.subscribed.add(packet_id)
            self.changed.notify_all()

    def on_message(self, _client, _userdata, message):
        user = dict(getattr(message.properties, "UserProperty", []))
        correlation = getattr(message.properties, "CorrelationData", b"")
        with self.changed:
            text = message.payload.decode(errors="replace")
            self.messages.append(Message(message.topic, text, message.retain, user, correlation))
            self.changed.notify_all()

    def on_publish(self, _client, _userdata, packet_id, reason, properties):
        text = getattr(properties, "ReasonString", "") if isinstance(properties, Properties) else ""
        with self.changed:
            self.acks[packet_id] = (reason.value, text, time.monotonic())
            self.changed.notify_all()

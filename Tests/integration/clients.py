"""Real clients with one face: mosquitto's programs, paho and gmqtt, in MQTT 3.1.1 and 5.

A receiver is told how many messages it is to get, and is subscribed once it is there; `result()` is what it got, in
order. A sender sends all payloads and returns when the last one has been acknowledged.
"""

import asyncio
import contextlib
import ssl
import subprocess
import threading

import gmqtt
import paho.mqtt.client as paho
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.storage import HeapPersistentStorage

from daemon import wait
from patience import PATIENCE_SECONDS


# Which doors each can come in by.
REACH = {
    "mosquitto": {"tcp", "unix", "tls"}, "paho": {"tcp", "unix", "tls", "ws", "wss"}, "gmqtt": {"tcp", "tls"},
    "node": {"tcp", "tls", "ws", "wss"}, "pahoc": {"tcp", "tls"},  # by WebSocket its sample now and then prints less than all; paho's Python and node print all
}


def way_of_mosquitto(door):
    """The words that lead mosquitto's programs there."""
    if door.kind == "unix":
        return ["--unix", door.path]
    return ["-h", "127.0.0.1", "-p", door.port, *(["--cafile", door.keys.path("ca.pem")] if door.is_tls else [])]


def mosquitto(program, daemon, *arguments, version="5", **options):
    """Starts mosquitto_pub or mosquitto_sub; its lines come as they are printed."""
    words = ["-V", version, *way_of_mosquitto(daemon.door), *arguments]
    command = ["stdbuf", "-oL", program, *map(str, words)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, **options)


def publish(daemon, topic, payload, *arguments, version="5"):
    """mosquitto_pub, one message; what it printed."""
    arguments = ["-t", topic, "-m", payload, *arguments]
    program = mosquitto("mosquitto_pub", daemon, *arguments, version=version, stderr=subprocess.STDOUT)
    output, _ = program.communicate(timeout=PATIENCE_SECONDS)
    assert program.returncode == 0, output
    return output


def collect(daemon, *arguments, version="5"):
    """mosquitto_sub to its end, which `-C` or `-W` sets; its lines."""
    program = mosquitto("mosquitto_sub", daemon, *arguments, version=version)
    try:
        output, error = program.communicate(timeout=PATIENCE_SECONDS)
    finally:
        program.kill()
    assert program.returncode == 0, f"exit status {program.returncode}: {error}{output[-500:]}"
    return output.splitlines()


class MosquittoReceiver:
    def __init__(self, daemon, version, topic, qos, expected):
        # A retained message tells that the subscription is there.
        with daemon.connect("begin") as client:
            client.publish(topic, "begin", qos=1, retain=True)
        self.program = mosquitto(
            "mosquitto_sub", daemon, "-q", qos, "-t", topic, "-C", expected + 1, "-W", PATIENCE_SECONDS,
            version=version)
        self.lines = []
        assert self.program.stdout.readline().strip() == "begin"
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.expected = expected

    def read(self):
        self.lines.extend(line.rstrip("\n") for line in self.program.stdout)

    def result(self):
        wait(lambda: self.program.poll() is not None, f"{self.expected} messages")
        self.reader.join()
        return self.lines

    def close(self):
        self.program.kill()
        self.program.wait()


def send_with_mosquitto(daemon, version, topic, qos, payloads):
    program = mosquitto("mosquitto_pub", daemon, "-q", qos, "-t", topic, "-l", version=version, stdin=subprocess.PIPE)
    try:
        _, error = program.communicate("".join(f"{payload}\n" for payload in payloads), timeout=PATIENCE_SECONDS)
    finally:
        program.kill()
    assert program.returncode == 0, f"exit status {program.returncode}: {error}"


def paho_client(name, version, **options):
    protocol = {"31": paho.MQTTv31, "311": paho.MQTTv311, "5": paho.MQTTv5}[version]
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, **options)
    client.connect_timeout = PATIENCE_SECONDS
    return client


def paho_at(door, name, version, **options):
    """As `paho_client`, and connected there with its loop running."""
    transport = "websockets" if door.is_web else "unix" if door.kind == "unix" else "tcp"
    client = paho_client(name, version, transport=transport, **options)
    if door.is_web:
        client.ws_set_options(path="/mqtt")
    if door.is_tls:
        client.tls_set(ca_certs=str(door.keys.path("ca.pem")))
    return client


def connect_paho(door, client):
    client.connect(door.path if door.kind == "unix" else "127.0.0.1", 1883 if door.kind == "unix" else door.port)
    client.loop_start()


class PahoReceiver:
    def __init__(self, daemon, version, topic, qos, expected):
        self.expected, self.payloads, subscribed = expected, [], threading.Event()
        self.client = paho_at(daemon.door, f"paho-receiver-{version}", version)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _client, _data, message: self.payloads.append(message.payload.decode())
        connect_paho(daemon.door, self.client)
        assert subscribed.wait(PATIENCE_SECONDS), "no SUBACK"

    def result(self):
        wait(lambda: len(self.payloads) >= self.expected, f"{self.expected} messages")
        return self.payloads

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def send_with_paho(daemon, version, topic, qos, payloads):
    client = paho_at(daemon.door, f"paho-sender-{version}", version)
    connect_paho(daemon.door, client)
    # It may be gone soon, and a close with an unread CONNACK is a reset, which takes back what was sent.
    wait(client.is_connected, "CONNACK")
    handles = [client.publish(topic, payload, qos) for payload in payloads]
    for handle in handles:
        handle.wait_for_publish(PATIENCE_SECONDS)
        assert handle.is_published(), "a message was not acknowledged"
    client.disconnect()
    client.loop_stop()


class CountingStorage(HeapPersistentStorage):
    """gmqtt sends without looking at Receive Maximum; this tells how many are on their way."""

    def __len__(self):
        return len(self._queue)


class GmqttLoop:
    """An event loop on a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_SECONDS)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


GMQTT_VERSIONS = {"311": MQTTv311, "5": MQTTv50}


async def connect_gmqtt(client, door, version):
    context = door.keys.context() if door.is_tls else False
    await client.connect("127.0.0.1", door.port, ssl=context, version=GMQTT_VERSIONS[version])


class GmqttReceiver:
    def __init__(self, daemon, version, topic, qos, expected):
        self.expected, self.payloads, subscribed = expected, [], threading.Event()
        self.loop = GmqttLoop()

        async def start():
            self.client = gmqtt.Client(f"gmqtt-receiver-{version}")
            self.client.on_connect = lambda client, *_: client.subscribe(topic, qos)
            self.client.on_subscribe = lambda *_: subscribed.set()
            self.client.on_message = self.on_message
            await connect_gmqtt(self.client, daemon.door, version)

        self.loop.run(start())
        assert subscribed.wait(PATIENCE_SECONDS), "no SUBACK"

    def on_message(self, _client, _topic, payload, _qos, _properties):
        self.payloads.append(payload.decode())
        return 0

    def result(self):
        wait(lambda: len(self.payloads) >= self.expected, f"{self.expected} messages")
        return self.payloads

    def close(self):
        with contextlib.suppress(ssl.SSLError):
            self.loop.run(self.client.disconnect())
        self.loop.close()


def send_with_gmqtt(daemon, version, topic, qos, payloads):
    loop = GmqttLoop()

    async def send():
        storage = CountingStorage()
        client = gmqtt.Client(f"gmqtt-sender-{version}", persistent_storage=storage)
        await connect_gmqtt(client, daemon.door, version)
        for payload in payloads:
            client.publish(topic, payload, qos=qos)
            await asyncio.sleep(0)
            while len(storage) >= 16:
                await asyncio.sleep(0.0005)
        await storage.wait_empty()
        with contextlib.suppress(ssl.SSLError):  # what came after its own end of TLS is an error to asyncio
            await client.disconnect()

    try:
        loop.run(asyncio.wait_for(send(), PATIENCE_SECONDS))
    finally:
        loop.close()


RECEIVERS = {"mosquitto": MosquittoReceiver, "paho": PahoReceiver, "gmqtt": GmqttReceiver}
SENDERS = {"mosquitto": send_with_mosquitto, "paho": send_with_paho, "gmqtt": send_with_gmqtt}

"""What clients of both versions expect of a broker, with real clients where they can do it and raw bytes where not."""

import signal
import socket
import threading

import pytest

import clients
import raw
from daemon import wait

VERSIONS = pytest.mark.parametrize("version", ["311", "5"])
WITH_MQTT31 = pytest.mark.parametrize("version", ["31", "311", "5"])


def keep_session(version):
    """mosquitto_sub's arguments for a session that outlives its connection."""
    return ["-c", "-x", 3600] if version == "5" else ["-c"]


# Sessions (MQTT 5 §4.1, §4.4)


@WITH_MQTT31
@pytest.mark.parametrize("qos", [1, 2])
def test_offline_session_gets_what_was_queued(daemon, some, version, qos):
    subscriber = ["-i", "night-watch", *keep_session(version), "-q", qos, "-t", "hall/#"]
    clients.collect(daemon, *subscriber, "-E", version=version)  # subscribes and leaves
    payloads = [f"{index}" for index in range(some(200))]
    clients.SENDERS["mosquitto"](daemon, version, "hall/door", qos, payloads)
    assert clients.collect(daemon, *subscriber, "-C", len(payloads), version=version) == payloads


@pytest.mark.doors("briefly")
@pytest.mark.smoke
@VERSIONS
def test_session_is_present_only_where_it_was_kept(daemon, version):
    version = 5 if version == "5" else 4
    expiry = {"expiry": 3600} if version == 5 else {}
    with daemon.connect("keeper", version, clean=False, **expiry) as client:
        assert not client.session_present
        client.subscribe("a", qos=1)
    with daemon.connect("keeper", version, clean=False, **expiry) as client:
        assert client.session_present
    with daemon.connect("keeper", version, clean=True) as client:
        assert not client.session_present


@pytest.mark.doors
def test_session_expires(daemon):
    """After its own time, not another's."""
    for name, expiry in (("long", 3600), ("short", 1)):
        with daemon.connect(name, clean=False, expiry=expiry) as client:
            client.subscribe("a", qos=1)
            client.disconnect()
    wait(lambda: daemon.figures("$SYS/broker/clients/disconnected").popitem()[1] == "1", "end of one session")
    with daemon.connect("short", clean=False) as client:
        assert not client.session_present
    with daemon.connect("long", clean=False) as client:
        assert client.session_present


@pytest.mark.doors("briefly")
@pytest.mark.smoke
def test_unacknowledged_message_comes_again(daemon):
    """§4.4: with DUP and its packet identifier, before anything newer."""
    first = daemon.connect("reader", clean=False, expiry=3600)
    first.subscribe("a", qos=1)
    with daemon.connect("writer") as writer:
        writer.publish("a", "one", qos=1)
        got = first.packet()
        first.close()
        writer.publish("a", "two", qos=1)
    again = daemon.connect("reader", clean=False, expiry=3600)
    packets = [again.packet(), again.packet()]
    assert packets[0].flags == got.flags | 8
    assert packets[0].body == got.body
    assert packets[1].body.endswith(b"two")
    again.close()


@pytest.mark.doors("briefly")
@pytest.mark.smoke
def test_takeover(daemon):
    """§3.1.4-3: the older connection is told 0x8E."""
    first = daemon.connect("same")
    with daemon.connect("same"):
        first.expect_close(0x8E)


# Retained messages (§3.3.1.3)


@pytest.mark.smoke
@WITH_MQTT31
def test_retained(daemon, version):
    clients.publish(daemon, "cellar/light", "on", "-r", "-q", 1, version=version)
    assert clients.collect(daemon, "-v", "-t", "cellar/+", "-C", 1, version=version) == ["cellar/light on"]
    clients.publish(daemon, "cellar/light", "off", "-r", version=version)
    assert clients.collect(daemon, "-t", "cellar/light", "-C", 1, version=version) == ["off"]
    clients.publish(daemon, "cellar/light", "", "-r", version=version)
    clients.publish(daemon, "cellar/end", "end", "-r", version=version)
    assert clients.collect(daemon, "-v", "-t", "cellar/#", "-C", 1, version=version) == ["cellar/end end"]


# Wills (§3.1.2.5)


@pytest.mark.smoke
@WITH_MQTT31
def test_killed_client_leaves_its_will(daemon, version):
    with daemon.connect("heir") as heir:
        heir.subscribe("will", "alive", qos=1)
        doomed = clients.mosquitto(
            "mosquitto_sub", daemon, "-i", "doomed", "-t", "x", "--will-topic", "will", "--will-payload", "gone",
            "--will-qos", 1, "--will-retain", version=version)
        daemon.wait_for_value("$SYS/broker/subscriptions/count", lambda value: int(value) >= 4)  # and the watch's
        doomed.kill()
        doomed.wait()
        assert heir.message("will").payload == b"gone"
    assert daemon.values("will") == {"will": "gone"}


@pytest.mark.doors("briefly")
def test_orderly_end_leaves_no_will(daemon):
    with daemon.connect("heir") as heir:
        heir.subscribe("will", "end")
        daemon.connect("polite", will=("will", "gone", 0, False)).disconnect()
        daemon.connect("stays", will=("will", "asked for", 0, False)).disconnect(reason=0x04)
        assert heir.message().payload == b"asked for"


# $SYS


def test_sys(daemon):
    with daemon.connect("counted"):
        lines = clients.collect(daemon, "-v", "-t", "$SYS/#", "-C", 24)
        names = {line.split()[0] for line in lines}
        assert "$SYS/broker/uptime" in names and "$SYS/broker/clients/connected" in names
        value = daemon.wait_for_value("$SYS/broker/clients/connected", lambda value: int(value) == 2)
        assert value == "2"  # the counted one and the one that asks
    with daemon.connect("all") as client:
        client.subscribe("#").publish("end", "end")
        client.message("end")
        assert not [message for message in client.messages if message.topic.startswith("$")]  # §4.7.2-1


# MQTT 5


def test_shared_subscription(daemon, some):
    """§4.8.2: each message to one member, all of them used."""
    count = some(300)
    members = [clients.PahoReceiver(daemon, "5", "$share/crew/job/#", 1, 0)]
    members.append(clients.GmqttReceiver(daemon, "5", "$share/crew/job/#", 1, 0))
    try:
        clients.SENDERS["paho"](daemon, "5", "job/item", 1, [str(index) for index in range(count)])
        wait(lambda: sum(len(member.payloads) for member in members) >= count, f"{count} messages")
        assert sorted(int(payload) for member in members for payload in member.payloads) == list(range(count))
        assert all(member.payloads for member in members)
    finally:
        for member in members:
            member.close()


def test_topic_alias(daemon):
    """§3.3.2.3.4"""
    with daemon.connect("reader") as reader:
        reader.subscribe("a/long/topic/name")
        # mosquitto_pub sends the name with the first message only.
        clients.publish(daemon, "a/long/topic/name", "first", "-D", "publish", "topic-alias", 1)
        with daemon.connect("writer") as writer:
            writer.send(raw.publish("a/long/topic/name", "second", props=[(raw.TOPIC_ALIAS, 8)]))
            writer.send(raw.publish("", "third", props=[(raw.TOPIC_ALIAS, 8)]))
            assert [reader.message().payload for _ in range(3)] == [b"first", b"second", b"third"]
            writer.send(raw.publish("", "never set", props=[(raw.TOPIC_ALIAS, 7)])).expect_close(0x82)


def test_message_expiry_and_user_properties_travel(daemon):
    with daemon.connect("late", clean=False, expiry=3600) as client:
        client.subscribe("a", qos=1)
    clients.publish(daemon, "a", "kept", "-q", 1, "-D", "publish", "message-expiry-interval", 100_000,
                    "-D", "publish", "user-property", "colour", "green")
    with daemon.connect("late", clean=False, expiry=3600) as client:
        message = client.message()
    assert (raw.USER, ("colour", "green")) in message.properties
    assert 100_000 - 3600 <= dict(message.properties)[raw.EXPIRY] <= 100_000


# Sizes


@pytest.mark.doors
@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_large_payload(daemon, version, qos):
    payload = "0123456789abcdef" * (60 * 1024 // 16)
    receiver = clients.PahoReceiver(daemon, version, "large", qos, 3)
    try:
        clients.SENDERS["paho"](daemon, version, "large", qos, [payload] * 3)
        assert receiver.result() == [payload] * 3
    finally:
        receiver.close()


@pytest.mark.doors
@pytest.mark.smoke
def test_many_subscribers_of_one_topic(make_daemon, some):
    """Fan-out: the same message for 40 clients, in both versions and each QoS."""
    daemon = make_daemon(connections_per_address=64)
    readers = []
    for index in range(40):
        reader = daemon.connect(f"reader-{index}", 5 if index % 2 else 4)
        readers.append(reader.subscribe("news/#", qos=index % 3))
    count = some(50)
    sender = threading.Thread(
        target=clients.SENDERS["paho"], args=(daemon, "5", "news/today", 2, [str(index) for index in range(count)]))
    sender.start()
    for reader in readers:
        assert [reader.message().payload for _ in range(count)] == [b"%d" % index for index in range(count)]
        reader.close()
    sender.join()


@pytest.mark.doors
@VERSIONS
@pytest.mark.parametrize("end", ["disconnect", "close", "reset"])
def test_last_bytes_and_the_end_come_together(daemon, version, end):
    """All that was sent before the end counts, and the end is noticed, though the kernel tells both at once."""
    version = 5 if version == "5" else 4
    with daemon.connect("heir") as heir:
        heir.subscribe("will", "last/#")
        client = daemon.connect("hasty", version, will=("will", "gone", 0, False))
        daemon.process.send_signal(signal.SIGSTOP)
        wait(lambda: "(stopped)" in daemon.state, "stop")
        # Room for all of it: what the kernel counts for a byte depends on the memory that it finds.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.send(*(raw.publish(f"last/{index}", bytes(20_000), version=version) for index in range(5)))
        if end == "disconnect":
            client.disconnect()
        elif end == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        daemon.process.send_signal(signal.SIGCONT)
        if end != "reset":  # which takes back what was not read
            for index in range(5):
                assert len(heir.message(f"last/{index}").payload) == 20_000
        if end != "disconnect":
            assert heir.message("will").payload == b"gone"

"""Clients at the far end of a serial line (docs/serial.md): a pseudo-terminal in its place, with noise."""

import os

import pytest

import raw
from daemon import wait
from serial_line import Device, Line, LineStream, is_whole, payload


@pytest.fixture
def line():
    line = Line()
    yield line
    line.close()


def listeners(line, more=""):
    return ["{address: 127.0.0.1, port: PORT}", f"{{serial: {line.path}{more}}}"]


def wait_until_open(daemon, path):
    """A line is opened after the daemon says that it is ready, and what came before is discarded with the noise."""
    wait(lambda: f"serial line {path} is open, " in daemon.log, "log line")
    return daemon


@pytest.fixture
def listened(make_daemon, line):
    return wait_until_open(make_daemon("log: {mqtt: info}", listeners=listeners(line)), line.path)


@pytest.mark.smoke
@pytest.mark.parametrize("version", [4, 5])
def test_a_client_on_a_line(listened, line, version):
    device = Device(line, version=version).connect()
    with listened.connect("reader") as reader:
        reader.subscribe("line/#", qos=1)
        for number in range(3):
            device.publish("line/a", payload(number))
            assert reader.message("line/a").payload == payload(number)
    wait(lambda: "client 'device' from serial line 0 connected" in listened.log, "log line")
    assert listened.wait_for_value("$SYS/tapline/serial/0/state", lambda value: value == "connected")
    assert listened.values("$SYS/tapline/serial/#")["$SYS/tapline/serial/0/skipped_bytes"] == "0"


def publish_all(client, topic, payloads, qos, window=16):
    """All of them, with so many under way at a time."""
    for start in range(0, len(payloads), window):
        batch = payloads[start:start + window]
        client.send(*(
            raw.publish(topic, each, qos, number, version=client.version) for number, each in enumerate(batch, start=1)))
        for _ in batch:
            client.expect(raw.PUBREC if qos == 2 else raw.PUBACK)
        if qos == 2:
            client.send(*(raw.ack(raw.PUBREL, number) for number in range(1, len(batch) + 1)))
            for _ in batch:
                client.expect(raw.PUBCOMP)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [4, 5])
def test_many_messages_both_ways(listened, line, request, version, qos):
    """§4.3, §4.6: none lost, none doubled, in order."""
    count = 1000 if request.config.getoption("--long") else 100
    payloads = [b"message %d" % index for index in range(count)]
    far = raw.Client.on(LineStream(line)).connect("far", version)
    far.subscribe("to/line", qos=qos)
    with listened.connect("near", version) as near:
        near.subscribe("from/line", qos=qos)
        publish_all(far, "from/line", payloads, qos)
        assert [near.message().payload for _ in payloads] == payloads
        # As many as its queue holds, at a time.
        for start in range(0, count, 50):
            publish_all(near, "to/line", payloads[start:start + 50], qos)
            assert [far.message().payload for _ in payloads[start:start + 50]] == payloads[start:start + 50]
        far.ping()
        near.ping()
        assert not near.messages and not far.messages


@pytest.mark.parametrize("version", [4, 5])
def test_a_session_is_kept_for_a_line(listened, line, version):
    """§3.1.2.4, §4.4: the queue, what was not acknowledged, and a retained message, at the far end of a line."""
    options = {"clean": False} | ({"expiry": 600} if version == 5 else {})
    far = raw.Client.on(LineStream(line)).connect("far", version, **options)
    far.subscribe("to/line", qos=1)
    with listened.connect("near") as near:
        near.publish("to/line", "first", qos=1)
        got = far.packet()
        far.disconnect()
        wait(lambda: "client 'far' from serial line 0 disconnected" in listened.log, "end")
        near.publish("to/line", "second", qos=1, retain=True)
        far = raw.Client.on(LineStream(line)).connect("far", version, **options)
        assert far.session_present
        again = far.packet()
        assert (again.flags, again.body) == (got.flags | 8, got.body)
        assert far.message().payload == b"second"
        far.subscribe("to/#", qos=0)
        assert far.message().retain


def test_bytes_of_every_value(listened, line):
    """The kernel's marks (PARMRK) double 0xFF; XON, XOFF, CR and NL are bytes like others."""
    device = Device(line).connect()
    with listened.connect("reader") as reader:
        reader.subscribe("line/#")
        device.publish("line/a", bytes(range(256)))
        assert reader.message("line/a").payload == bytes(range(256))
        line.send(raw.subscribe(7, ("back", 0), version=4))
        assert device.answer(raw.SUBACK)
        reader.publish("back", bytes(range(256)), qos=1)
        packet = device.answer(raw.PUBLISH)
        assert packet.body.endswith(bytes(range(256)))


def test_a_new_connect_is_a_new_beginning(listened, line):
    """The far side was reset: its connection ends with its Will, and the new one is served."""
    device = Device(line)
    with listened.connect("heir") as heir:
        heir.subscribe("will")
        line.send(raw.connect("device", 4, will=("will", "gone", 0, False)))
        assert device.answer(raw.CONNACK)
        device.connect()
        assert heir.message("will").payload == b"gone"
        assert device.publish("a", payload(1)) == 1


def faults(data, is_long):
    """Every byte lost, every byte with a flipped bit, and a byte inserted at every place."""
    for place in range(len(data)):
        yield f"lost {place}", data[:place] + data[place + 1:]
        for bit in range(8) if is_long else [place % 8]:
            yield f"flipped {place} by {1 << bit}", data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1:]
    for place in range(len(data) + 1):
        for byte in (0x30, 0xC0, 0xFF) if is_long else (0x30,):
            yield f"inserted {byte} at {place}", data[:place] + bytes([byte]) + data[place:]


def is_copy(seen, data, may_differ):
    """Whether this is `data`, or `data` with a flipped byte: a change inside of a payload cannot be seen by raw MQTT."""
    return seen == data or may_differ and len(seen) == len(data) and sum(a != b for a, b in zip(seen, data)) == 1


def check(reader, device, number, what):
    """What was acknowledged has arrived, and the flow goes on."""
    data, end = payload(2 * number), payload(2 * number + 1)
    device.acknowledged.clear()
    device.publish("line/noise", data)
    acknowledged = device.acknowledged.count(device.last_id)
    device.publish("line/noise", end)
    seen = []
    while end not in seen:
        message = reader.message()
        # A flipped bit makes a PUBLISH of CONNECT, to the topic that its protocol name is.
        if not message.retain and not (message.topic == "MQTT" and what.startswith("CONNECT: flipped 0 ")):
            seen.append(message.payload)
    is_flipped = what.startswith("flipped")
    copies = sum(is_copy(each, data, is_flipped) for each in seen)
    assert 1 <= acknowledged <= copies, what
    # Bytes that are lost or too many are always known.
    assert is_flipped or data in seen and all(map(is_whole, seen)), what


@pytest.mark.emulated_step(5)
@pytest.mark.parametrize("kind", ["CONNECT", "PUBLISH"])
@pytest.mark.parametrize("part", range(4))
def test_noise_at_every_place(make_daemon, request, line, kind, part):
    """Each fault once, in an exchange of QoS 1; after it the device has what it wants, by sending again or by beginning
    anew."""
    is_long = request.config.getoption("--long")
    daemon = wait_until_open(make_daemon(listeners=listeners(line)), line.path)
    with daemon.connect("reader") as reader:
        reader.subscribe("#", qos=1)
        device = Device(line, reply_seconds=0.5).connect()
        first = raw.connect("device", 4, clean=False) if kind == "CONNECT" else raw.publish(
            "line/noise", payload(0), 1, 1, version=4)
        for number, (what, _) in enumerate(list(faults(first, is_long))[part::4]):
            line.damage = lambda sent, what=what: dict(faults(sent, is_long))[what]
            if kind == "CONNECT":
                device.connect()
            check(reader, device, number + 1, f"{kind}: {what}" if kind == "CONNECT" else what)
    assert daemon.is_running
    figures = daemon.figures("$SYS/tapline/serial/#")
    assert int(figures["$SYS/tapline/serial/0/skipped_bytes"]) > 0


def test_noise_towards_the_device(listened, line):
    """A damaged acknowledgement: the device sends again, and gets another."""
    device = Device(line).connect()
    with listened.connect("reader") as reader:
        reader.subscribe("line/#", qos=1)
        for place in range(4):
            whole = line.packet

            def damaged(seconds, place=place, whole=whole):
                packet = whole(seconds)
                if packet and packet.type == raw.PUBACK:
                    line.packet = whole
                    return None
                return packet

            line.packet = damaged
            assert device.publish("line/a", payload(place)) == 2
            assert [reader.message().payload for _ in range(2)] == [payload(place)] * 2


def test_an_adapter_is_pulled_and_put_back(make_daemon, tmp_path):
    """Its connection ends with its Will; the line is opened again when the device is back."""
    path = tmp_path / "adapter"
    first = Line()
    path.symlink_to(first.path)
    both = ["{address: 127.0.0.1, port: PORT}", f"{{serial: {path}}}"]
    daemon = wait_until_open(make_daemon(listeners=both), path)
    with daemon.connect("heir") as heir:
        heir.subscribe("will")
        first.send(raw.connect("device", 4, will=("will", "gone", 0, False)))
        assert Device(first).answer(raw.CONNACK)
        path.unlink()
        first.close()
        assert heir.message("will").payload == b"gone"
    assert daemon.wait_for_value("$SYS/tapline/serial/0/state", lambda value: value == "missing")
    second = Line()
    path.symlink_to(second.path)
    Device(second, reply_seconds=0.5).connect().publish("a", payload(1))
    assert daemon.log.count(f"serial line {path} is gone; trying again") == 1
    assert daemon.log.count(f"serial line {path} is open, 115200 baud") == 2
    second.close()


def test_a_device_that_is_missing_is_told_once(make_daemon, tmp_path):
    daemon = make_daemon(listeners=["{address: 127.0.0.1, port: PORT}", f"{{serial: {tmp_path}/none}}"])
    daemon.connect("other").ping().close()
    wait(lambda: "/none cannot be opened: No such file or directory; trying again" in daemon.log, "log line")
    line = Line()
    os.symlink(line.path, tmp_path / "none")
    Device(line, reply_seconds=0.5).connect()  # sent again until somebody has opened the other side
    assert daemon.log.count("cannot be opened") == 1
    line.close()


def test_what_is_no_terminal_is_told(make_daemon, tmp_path):
    (tmp_path / "file").write_text("")
    daemon = make_daemon(listeners=["{address: 127.0.0.1, port: PORT}", f"{{serial: {tmp_path}/file}}"])
    wait(lambda: "/file cannot be opened: Inappropriate ioctl for device" in daemon.log, "log line")


def test_a_line_takes_a_place_among_connections(make_daemon, line):
    limits = {"connections": 4, "sessions": 8, "pending_connections": 4}
    daemon = wait_until_open(make_daemon(listeners=listeners(line), **limits), line.path)
    Device(line).connect()
    clients = [daemon.connect(f"c{index}") for index in range(3)]
    with pytest.raises((raw.Closed, ConnectionError)):
        daemon.connect("one too many")
    for client in clients:
        client.ping().close()

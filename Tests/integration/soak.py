"""A day of a broker in a few seconds: every packet type, good and bad, and every way in which a connection, a session or
a message begins and ends. Each `work_...` leaves nothing behind but counters, and may be repeated."""

import json
import shutil
import signal
import socket

import raw
from daemon import wait

MALFORMED = {
    "reserved packet type": b"\x00\x00",
    "second CONNECT": raw.connect("again"),
    "AUTH without a method": b"\xF0\x00",
    "QoS 3": b"\x36\x05\x00\x01a\x00\x01",
    "DUP with QoS 0": b"\x38\x04\x00\x01a\x00",
    "packet identifier 0": b"\x32\x06\x00\x01a\x00\x00\x00",
    "wildcard in a name": raw.publish("a/#", "x"),
    "no UTF-8": raw.publish(b"\xC0\x80", "x"),
    "topic longer than the packet": b"\x30\x03\x00\x09a",
    "empty SUBSCRIBE": b"\x82\x03\x00\x01\x00",
    "wrong flags of SUBSCRIBE": b"\x80\x07\x00\x01\x00\x00\x01a\x00",
    "bad filter": raw.subscribe(1, ("a/#/b", 0)),
    "reserved subscription options": raw.subscribe(1, ("a", 0xC0)),
    "unknown property": b"\x30\x07\x00\x01a\x02\x7F\x00x",
    "property twice": raw.publish("a", "x", props=[(raw.EXPIRY, 1), (raw.EXPIRY, 1)]),
    "length of five bytes": b"\x30\xFF\xFF\xFF\xFF\x01",
    "too large": b"\x30\xFF\xFF\xFF\x7F",
    "garbage": bytes(range(128, 256)),
}


def work_connect(daemon):
    """Both versions; sessions that are kept, resumed, cleaned; assigned names; unknown versions."""
    for version in (4, 5):
        daemon.connect("plain", version).disconnect()
        daemon.connect("plain", version, keep_alive=30).ping().close()
        daemon.connect("", version).disconnect()
        for clean in (False, False, True):
            expiry = {"expiry": 3600} if version == 5 and not clean else {}
            with daemon.connect("kept", version, clean=clean, **expiry) as client:
                client.subscribe("kept/#", "kept/+/x", qos=2)
            with daemon.connect("writer") as writer:
                writer.publish("kept/a", "waits", qos=1)
                writer.publish("kept/a", "waits", qos=2)
    for refused in (raw.connect("x", 3), raw.connect("x", 6), raw.connect("x" * 500), raw.connect("x" * 500, 4)):
        with raw.Client(daemon.port) as client:
            client.send(refused).expect_close()
    for data in (b"", b"\x10", b"\x10\x05abc", raw.publish("a", "x"), b"GET / HTTP/1.1\r\n\r\n", bytes(64)):
        with raw.Client(daemon.port) as client:
            client.send(data).socket.shutdown(socket.SHUT_WR)
            client.expect_close()  # so that it takes no place of those to come


def work_rules(daemon):
    """Comparisons that hold and do not, chains that are cut, questions; what they publish is deleted again."""
    with daemon.connect("rules") as client:
        for payload in ("4", "5.2", "6", "4.9", "warm", "", "9" * 100, "8"):
            client.publish("rules/level", payload, qos=1)
        for payload in ('{"n":2}', '{"n":1}', '{"m":1}', "{", '{"n":"\\u0032"}', "x" * 5000):
            client.publish("rules/json", payload, qos=1)
        for size in (0, 10, 1000, 5000):
            client.publish("rules/echo/" + "x" * (size % 7), "y" * size, qos=1)
        client.subscribe("rules/lasting")
        client.message("rules/lasting")
        client.publish("rules/level", "6", qos=1)
        client.publish("rules/lasting", "", qos=1, retain=True)
        client.publish("home/lamp/get", "", qos=1)


def work_takeover(daemon):
    for version in (4, 5):
        first = daemon.connect("same", version, will=("will", "over", 1, False))
        first.subscribe("a", qos=1)
        second = daemon.connect("same", version)
        first.expect_close()
        second.disconnect()


def work_subscribe(daemon):
    for version in (4, 5):
        with daemon.connect("reader", version) as client:
            client.subscribe("a/b", "a/+", "a/#", "+/b", "#", "$SYS/#", "long/" * 20 + "name", "x" * 200, qos=1)
            client.subscribe("a/b", "a/+", qos=2)
            if version == 5:
                client.subscribe("$share/crew/a/#", "$share/crew/b", "$share/other/+/b", qos=1)
                client.subscribe("numbered/#", qos=0, props=[(0x0B, 268_435_455)])
            client.publish("a/b", "x", qos=1)
            client.message("a/b")
            client.unsubscribe("a/b", "a/+", "never/was", "$share/crew/b")
            client.ping()


def work_publish(daemon):
    """Each QoS to readers of each QoS in both versions; properties; sizes."""
    readers = [daemon.connect(f"reader-{version}-{qos}", version).subscribe("news/#", qos=qos)
               for version in (4, 5) for qos in (0, 1, 2)]
    with daemon.connect("writer") as writer, daemon.connect("old writer", 4) as old:
        sizes = [0, 1, 100, 1000, 3000, 60_000]
        props = [(0x01, 0), (0x03, "text/plain"), (0x08, "answers"), (0x09, "1"), (raw.USER, ("key", "value")), (raw.EXPIRY, 60)]
        for qos in (0, 1, 2):
            for size in sizes:
                writer.publish("news/today", b"x" * size, qos=qos, props=props)
                old.publish("news/today", b"y" * size, qos=qos)
                for reader in readers:
                    reader.message()
                    reader.message()
        for alias in range(1, 9):
            writer.send(raw.publish(f"news/{alias}", "x", props=[(raw.TOPIC_ALIAS, alias)]))
            writer.send(raw.publish("", "x", 1, 7, props=[(raw.TOPIC_ALIAS, alias)]))
            writer.expect(raw.PUBACK)
        again = raw.publish("news/twice", "x", 2, 9)
        writer.send(again, b"\x3C" + again[1:], raw.ack(raw.PUBREL, 9), raw.ack(raw.PUBREL, 9))
        for answer in (raw.PUBREC, raw.PUBREC, raw.PUBCOMP, raw.PUBCOMP):
            writer.expect(answer)
        writer.send(raw.ack(raw.PUBACK, 77), raw.ack(raw.PUBCOMP, 77), raw.ack(raw.PUBREC, 77))
        writer.expect(raw.PUBREL)
        writer.publish("nobody/listens", "x", qos=1)
        writer.publish("/".join("deep" for _ in range(40)), "x", qos=1)
        writer.send(*(raw.publish("news/fast", "x") for _ in range(500))).ping()
    for reader in readers:
        reader.ping().close()


def work_retained(daemon):
    with daemon.connect("keeper") as client:
        for qos in (0, 1, 2):
            client.publish("kept", "first", qos=qos, retain=True)
            client.publish("kept", "longer than the first", qos=qos, retain=True)
            client.subscribe("kept", "kept/#", "+", qos=qos)
            client.unsubscribe("kept", "kept/#", "+")
            client.publish("kept", "", qos=qos, retain=True)
        for index in range(140):  # more than there is room for
            client.publish(f"many/{index}", "x" * 300, qos=1, retain=True)
        with daemon.connect("all", 4) as reader:
            reader.subscribe("many/#", qos=1)
            for _ in range(50):
                reader.message()
        for index in range(140):
            client.publish(f"many/{index}", "", qos=1, retain=True)
        client.publish("soon gone", "x", retain=True, props=[(raw.EXPIRY, 1)])


def work_wills(daemon):
    with daemon.connect("heir") as heir:
        heir.subscribe("will/#", qos=2)
        for version in (4, 5):
            for qos in (0, 1, 2):
                client = daemon.connect("doomed", version, will=("will/now", "gone", qos, qos == 1))
                client.socket.shutdown(socket.SHUT_RDWR)
                client.close()
                heir.message("will/now")
        daemon.connect("doomed", will=("will/now", "asked for", 0, False)).disconnect(reason=4)
        heir.message("will/now")
        daemon.connect("doomed", will=("will/never", "no", 0, False)).disconnect()
        daemon.connect("late", expiry=2, will=("will/later", "gone", 0, False, [(raw.WILL_DELAY, 1)])).close()
        heir.message("will/later")
        heir.publish("will/now", "", retain=True)


def work_late(daemon):
    """Connections that miss a deadline, each another one. It passes during the work that follows, before
    `work_closed`."""
    daemon.late = [daemon.connect("slow").send(raw.publish("a", b"x" * 5000)[:100]),
                   daemon.connect("slow too", 4).send(raw.publish("a", b"x" * 500)[:100]),
                   daemon.connect("silent", keep_alive=1),
                   raw.Client(daemon.port), raw.Client(daemon.port).send(b"\x10")]


def work_closed(daemon):
    for client in daemon.late:
        client.expect_close()


def work_malformed(daemon):
    for version in (4, 5):
        for data in MALFORMED.values():
            with daemon.connect("bad", version) as client:
                client.send(data)
                try:
                    client.ping()
                except (raw.Closed, AssertionError, ConnectionError):
                    pass  # closed, or told why first; in the other version it may be right


def work_partial(daemon):
    """Packets in pieces."""
    with daemon.connect("pieces") as client:
        for size in (10, 900, 5000, 60_000):
            data = raw.publish("a", b"x" * size, 1, 5)
            for start in range(0, len(data), max(1, len(data) // 10)):
                client.send(data[start:start + max(1, len(data) // 10)])
            client.expect(raw.PUBACK)


def work_overflow(daemon):
    """Offline queues, sessions, connections and subscribers that do not read, beyond their limits."""
    with daemon.connect("offline", clean=False, expiry=3600) as client:
        client.subscribe("flood", qos=1)
    stuck = raw.Client(daemon.port, receive_buffer=4096).connect("stuck")
    stuck.subscribe("flood", qos=0)
    with daemon.connect("writer") as writer:
        for _ in range(10):
            writer.send(*(raw.publish("flood", b"x" * 2500) for _ in range(100))).ping()
        writer.send(*(raw.publish("flood", "x", 1, index + 1) for index in range(150)))
        for _ in range(150):
            writer.expect(raw.PUBACK)
    stuck.close()
    with daemon.connect("offline", clean=False, expiry=0) as client:
        client.message("flood")
    crowd = [raw.Client(daemon.port) for _ in range(30)]
    for client in crowd:
        client.close()
    for index in range(30):
        with raw.Client(daemon.port) as client:
            try:
                client.send(raw.connect(f"guest-{index}", expiry=1)).packet()
            except (raw.Closed, ConnectionError):
                pass  # the crowd was not gone yet
    wait(lambda: hosted(daemon) == 0, "end of these sessions")


def hosted(daemon):
    """Sessions without a connection."""
    try:
        return int(daemon.figures("$SYS/broker/clients/disconnected").popitem()[1])
    except (raw.Closed, ConnectionError, AssertionError):
        return None  # there is no room for one that asks yet


def work_taps(daemon):
    with daemon.connect("operator") as client, daemon.connect("old operator", 4) as old:
        client.subscribe("home/#", qos=1)
        for payload in ("ON", "OFF", "TOGGLE", "1", "0", "true", "false", "bogus", ""):
            for qos in (0, 1, 2):
                client.publish("home/relay/set", payload, qos=qos)
                old.publish("home/relay/set", payload, qos=qos, retain=True)
        client.publish("home/pump/set", "ON", qos=1)
        old.publish("home/pump/set", "ON", qos=1)
        client.message("home/button")
        client.message("home/wave")
        client.message("home/number")


def work_outputs(daemon):
    """Pulses, timed states, limits of time, interlocks and leases: commands that are taken, that wait, that are refused, and
    the deadlines that end them."""
    with daemon.connect("operator", keep_alive=3600) as client:
        client.subscribe("home/#", "answers", qos=1)

        def command(topic, payload="", until=()):
            """Once in each QoS; then until these outputs have said so."""
            client.ping().messages.clear()
            for qos in (0, 1, 2):
                client.publish(f"home/{topic}", payload, qos=qos, props=[(0x08, "answers"), (0x09, "1"), (raw.USER, ("a", "b"))])
            for name, state in until:
                await_state(name, state)

        def await_state(name, state):
            while client.message(f"home/{name}").payload != state:
                pass

        for topic in ("gate/pulse", "slow/pulse", "once/pulse"):
            for payload in ("", "20", '{"for":"20ms","level":"ON"}', '{"for":"20ms","level":"OFF"}', '{"for":"31d"}', "never", "-1"):
                command(topic, payload)
        for name in ("relay", "gate", "slow", "once", "heater", "up", "left"):
            for payload in ('{"state":"ON","for":"30ms"}', '{"state":"OFF","for":"10ms"}', '{"state":"TOGGLE"}', '{"state":', "{}",
                            '{"state":"ON","for":"30 parsecs"}', '{"state":"ON","state":"OFF"}', "[" * 100):
                command(f"{name}/set", payload)
            command(f"{name}/set", "ON")
            command(f"{name}/set", "OFF")
        for first, second in (("up", "down"), ("down", "up")):
            command(f"{first}/set", "ON", [(first, b"ON")])
            command(f"{second}/set", "ON", [(second, b"ON")])  # after the dead time
            command(f"{second}/pulse", "20", [(second, b"OFF")])
            command(f"{second}/set", "OFF")
        for first, second in (("left", "right"), ("right", "left")):
            for payload in ("set", "pulse"):
                command(f"{first}/{payload}", "ON" if payload == "set" else "20")
                command(f"{second}/{payload}", "ON" if payload == "set" else "20")
            command(f"{first}/set", "OFF")
            command(f"{second}/set", "OFF")
        command("heater/set", "ON", [("heater", b"ON"), ("heater", b"OFF")])  # max_on
        for clean in (True, False):
            tenant = daemon.connect("thermostat", clean=clean)
            command("guarded/set", "OFF")
            command("left/set", "ON")
            client.ping().messages.clear()
            tenant.close()
            await_state("guarded", b"ON")  # the lease has ended
            command("guarded/set", "OFF")
        command("relay/set", "ON")
        client.message("answers")


def work_inputs(daemon):
    """Presses of every kind, delays, and counters that are read and set."""
    with daemon.connect("watcher") as client:
        client.subscribe("home/#", qos=1)
        kinds = set()
        while not kinds >= {"press_start", "press_end", "long_press_start", "long_press_end", "multi_press_ongoing"}:
            kinds.add(json.loads(client.message("home/bell/event").payload)["event_type"])
            kinds.add(json.loads(client.message("home/hold/event").payload)["event_type"])
        client.message("home/motion")
        for value in ("100.5", "0", "-1", "9" * 40, "bogus", ""):
            for qos in (0, 1, 2):
                client.publish("home/water/total/set", value, qos=qos)
                client.publish("home/power/total/set", value, qos=qos)
        for topic in ("home/water/total", "home/water/rate", "home/power/total", "home/power/rate"):
            client.message(topic)


def work_sensors(daemon):
    """A file that is good, out of range, rejected, no number, empty, too long, and not there."""
    file, new = daemon.folder / "fickle", daemon.folder / "fickle.new"
    with daemon.connect("watcher") as client:
        client.subscribe("home/fickle/#", qos=1)
        for text, is_good in (("20000\n", True), ("99000\n", False), ("42000\n", False), ("warm\n", False), ("", False),
                              ("1" * 5000, False), ("21000\n", True), (None, False), ("22000\n", True)):
            client.ping().messages.clear()
            if text is None:
                file.unlink()
            else:
                new.write_text(text)
                new.rename(file)  # at once: never half of it
            if is_good:
                while client.message("home/fickle").payload != text[:2].encode() + b".000":
                    pass
            else:
                assert client.message("home/fickle/fault").payload


def work_lost_levels(daemon):
    """A PWM channel that is not there, and an LED that goes and comes back. The daemon looks for it every 5 s, which is
    before the other work is done, mostly."""
    led = daemon.folder / "sys/class/leds/ACT"
    shutil.rmtree(led, ignore_errors=True)
    command_levels(daemon)
    led.mkdir(parents=True)
    for name, text in {"max_brightness": "255", "trigger": "none [mmc0]", "brightness": "0"}.items():
        (led / name).write_text(f"{text}\n")


def work_levels(daemon):
    with daemon.connect("dimmer") as client:
        def is_lit():
            client.publish("home/act/set", "100", qos=1)
            return (daemon.folder / "sys/class/leds/ACT/brightness").read_text().strip() == "255"

        wait(is_lit, "light")
    command_levels(daemon)


def command_levels(daemon):
    """Of every kind."""
    with daemon.connect("dimmer") as client:
        client.subscribe("home/act/#", qos=1).subscribe("home/strip/#", qos=1)
        for payload in ("50", "12.5", "ON", "OFF", "toggle", '{"state":"ON","brightness":7}', "{", "101", "x" * 300,
                        ""):
            for name in ("act", "strip"):
                for retain in (False, True):
                    client.publish(f"home/{name}/set", payload, qos=1, retain=retain)


def work_discovery(daemon):
    with daemon.connect("home-assistant") as client:
        for payload in ("offline", "online", "online", "x"):
            client.publish("homeassistant/status", payload, qos=1)
        client.subscribe("homeassistant/#", qos=1)
        client.message("homeassistant/light/soak/act/config")


def work_signals(daemon):
    count = daemon.log.count("tapline: reloaded")
    daemon.process.send_signal(signal.SIGHUP)
    # Another thread reads the files, so that the answer comes when it comes.
    wait(lambda: daemon.log.count("tapline: reloaded") > count, "line about the reload")
    daemon.process.send_signal(signal.SIGUSR1)
    with daemon.connect("all") as client:
        client.subscribe("$SYS/#").message("$SYS/broker/uptime")


WORK = [work_lost_levels, work_late, work_connect, work_takeover, work_subscribe, work_publish, work_retained,
        work_wills, work_malformed, work_partial, work_overflow, work_taps, work_rules, work_outputs, work_inputs,
        work_sensors, work_levels, work_closed, work_discovery, work_signals]

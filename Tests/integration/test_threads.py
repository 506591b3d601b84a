"""Every thread of a program at once: the loop, a sensor's lane each, a file saver, levels and handlers, under real clients.

The assertions are few. The test is there for ThreadSanitizer (Tests/Sanitizers/tsan), which looks at every access."""

import threading

import pytest

import clients
from daemon import Daemon, wait
from test_example import EXAMPLE, Example, require_example

ROUNDS = 40

CONFIGURATION = """
board: simulated
sysfs_root: FOLDER/sys
taps:
  base: b
  persist: {file: FOLDER/state, interval: 1s}
  outputs: {relay: {pin: GPIO17, initial: restore, stats: true}}
  counters: {turns: {pin: GPIO16, edge: both, publish: {throttle: 0s}}}
  sensors:
    file: {file: FOLDER/sys/value, interval: 50ms, digits: 0}
    lm75: {hwmon: lm75, channel: temp1_input, interval: 50ms, scale: 1, digits: 0}
    gone: {w1: 28-3c01d607a1b2, interval: 50ms}
  leds:
    act: {led: ACT}
    pwr: {led: PWR}
simulation: {presses: [{line: GPIO16, every: 20ms, for: 10ms}]}
"""


@pytest.fixture
def program(binary, tmp_path):
    require_example(binary)
    program = Daemon(Example(EXAMPLE), tmp_path / "program", CONFIGURATION)
    sys = program.folder / "sys"
    for name in ("ACT", "PWR"):
        (sys / "class/leds" / name).mkdir(parents=True)
        for file, text in {"max_brightness": "100", "brightness": "0", "trigger": "[none]"}.items():
            (sys / "class/leds" / name / file).write_text(f"{text}\n")
    (sys / "class/hwmon/hwmon0").mkdir(parents=True)
    (sys / "class/hwmon/hwmon0/name").write_text("lm75\n")
    put(sys / "class/hwmon/hwmon0/temp1_input", -1)
    put(sys / "value", -1)
    try:
        program.start()
        yield program
    finally:
        program.end()


def put(path, number):
    """At once: a sensor never reads half a number."""
    new = path.with_name(path.name + ".new")
    new.write_text(f"{number}\n")
    new.rename(path)


def publish_for_ever(program, name, has_ended, failures):
    """Handlers' messages of all kinds; those of journal/# wait for a thread that is slower than this one."""
    try:
        with program.connect(name) as client:
            count = 0
            while not has_ended.is_set():
                client.publish("journal/info", b"%d" % count, qos=1)
                client.publish("sensors/attic/temperature", b"31", qos=1)
                client.publish("b/relay/set", "TOGGLE", qos=1)
                count += 1
    except Exception as error:  # of a thread: the test tells it
        failures.append(error)


def test_all_threads_together(program):
    sys, has_ended, failures = program.folder / "sys", threading.Event(), []
    receiver = clients.MosquittoReceiver(program, "5", "hall/door", 2, 100)
    publishers = [threading.Thread(target=publish_for_ever, args=(program, f"publisher-{index}", has_ended, failures))
                  for index in range(2)]
    for publisher in publishers:
        publisher.start()
    try:
        with program.connect("reader") as reader, program.connect("panel") as panel:
            reader.subscribe("b/file", "b/lm75", "b/act", "b/pwr")
            for level in ("b/act", "b/pwr"):
                reader.message(level)
            for number in range(ROUNDS):
                put(sys / "value", number)
                put(sys / "class/hwmon/hwmon0/temp1_input", number)
                for led in ("act", "pwr"):
                    # 0x83: the level's thread was stopped for longer than an answer is waited for.
                    wait(lambda: panel.publish(f"b/{led}/set", str(number), qos=1) == 0, "level")
                    assert (sys / "class/leds" / led.upper() / "brightness").read_text().strip() == str(number)
                for topic in ("b/file", "b/lm75"):
                    while reader.message(topic).payload != b"%d" % number:
                        pass
        clients.send_with_mosquitto(program, "5", "hall/door", 2, range(100))
        assert receiver.result() == [str(number) for number in range(100)]
        program.wait_for_value("$SYS/tapline/state/writes", lambda text: int(text) >= 3)
        wait(lambda: "journal info: 0\n" in program.log, "a message to the decoupled handler")
    finally:
        receiver.close()
        has_ended.set()
        for publisher in publishers:
            publisher.join()
    assert not failures
    assert program.stop() == 0
    assert "output relay" in (program.folder / "state").read_text()

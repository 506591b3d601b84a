"""The example with the broker inside: inline and decoupled handlers."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

import clients
import raw
from daemon import REPOSITORY, Binary, Daemon, wait
from patience import PATIENCE_SECONDS

# Another build of it, such as one with a sanitizer, is named by the environment.
EXAMPLE = Path(os.environ.get("TAPLINE_EXAMPLE", REPOSITORY / ".build/release/TaplineExample"))


class Example(Binary):
    def command(self, *arguments):
        # It takes a configuration and nothing else; a daemon is started as `run -c FILE`.
        return [str(self.path), str(arguments[-1])]


def require_example(binary):
    if binary.is_emulated and "TAPLINE_EXAMPLE" not in os.environ:
        pytest.skip("an example for the host")
    assert EXAMPLE.is_file(), "not built: make example"


@pytest.fixture
def example(binary, tmp_path):
    require_example(binary)
    daemon = Daemon(Example(EXAMPLE), tmp_path / "example")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.end()


def test_inline_handler_refuses_and_publishes(example):
    with example.connect("watcher") as watcher:
        watcher.subscribe("sensors/#", "alarms/#")
        said = clients.publish(example, "sensors/attic/temperature", "31.5", "-q", "1")
        assert "failed" not in said
        assert watcher.message("sensors/attic/temperature").payload == b"31.5"
        assert watcher.message("alarms/attic").payload == b"31.5"
        program = clients.mosquitto(
            "mosquitto_pub", example, "-q", "1", "-t", "sensors/attic/temperature", "-m", "warm",
            stderr=subprocess.STDOUT)
        said, _ = program.communicate(timeout=PATIENCE_SECONDS)
        assert "Payload format invalid" in said and "a temperature is a decimal number" in said
        clients.publish(example, "sensors/hall/temperature", "12", "-q", "1")
        assert watcher.message().topic == "sensors/hall/temperature", "what was refused went no further"


def test_a_client_inside_the_program(example):
    """It speaks on a pair of sockets, of which the server has the other end."""
    assert example.wait_for_value("example/started", lambda value: True) == "yes"


def test_handler_changes_how_a_message_goes_on(example):
    clients.publish(example, "private/diary", "secret", "-r", "-q", "1")
    with example.connect("late") as late:
        late.subscribe("private/#")
        late.ping()
        assert not late.messages, "not retained, whatever the publisher wants"


def test_slow_handler_is_set_aside(example):
    with example.connect("publisher") as publisher:
        for _ in range(12):
            publisher.publish("slow/handler", b"x", qos=1)
    example.wait_for_value("$SYS/tapline/taps/quarantines", lambda value: int(value) == 1)
    example.wait_for_value("$SYS/tapline/taps/quarantined_skipped", lambda value: int(value) == 2)
    wait(lambda: "handler of slow/handler takes too long" in example.log, "log line")


def test_decoupled_handler_never_slows_the_loop(example):
    """It takes 20 ms a message, and 64 wait at most: all messages are acknowledged, and those that find no place are
    dropped."""
    count, clock = 200, time.monotonic()
    with example.connect("publisher") as publisher:
        publisher.send(*(raw.publish("journal/info", b"%d" % index, 1, index + 1) for index in range(count)))
        for _ in range(count):
            publisher.expect(raw.PUBACK)
    handled = 64 + 1 + int((time.monotonic() - clock) / 0.020)  # at most
    dropped = int(example.figures()["$SYS/tapline/taps/decoupled_dropped"])
    assert dropped >= count - handled

    def journal():
        return [int(number) for number in re.findall(r"journal info: (\d+)", example.log)]

    wait(lambda: len(journal()) == count - dropped, "the others")
    assert journal() == sorted(set(journal())), "in order and once"
    assert journal()[:64] == list(range(64)), "the newest are dropped"
    assert example.is_running

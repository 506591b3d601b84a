"""`tapline blink`, `tapline watch` and `tapline lines`, as somebody with a wire in the hand meets them; on the simulated chip."""

import contextlib
import re
import signal
import subprocess
import time

import pytest

from daemon import REPOSITORY
from patience import PATIENCE_SECONDS

BOARD = ["--board", "simulated", "--boards", REPOSITORY / "board/profiles"]


@contextlib.contextmanager
def started(binary, *arguments):
    """One that runs until it is stopped, or the test ends."""
    with subprocess.Popen(binary.command(*arguments), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("line", ["GPIO17", "17", "header:11", "simulated:17", "simulated:GPIO17"])
def test_blink(binary, line):
    done = binary.run("blink", *BOARD, "--times", 2, "--on", 1, line)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines() == [
        "GPIO17 (simulated line 17, header 11): input, low; switching it 2 times, Ctrl-C ends",
        "given back: input, was low"]


def test_blink_takes_its_time(binary):
    clock = time.monotonic()
    assert binary.run("blink", *BOARD, "-n", 3, "--on", 100, "GPIO4").returncode == 0
    assert time.monotonic() - clock >= 0.5  # on, off, on, off, on


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_blink_that_is_stopped_gives_the_line_back(binary, name):
    with started(binary, "blink", *BOARD, "--times", 1000, "--on", 60000, "GPIO17") as process:
        assert "switching it 1000 times" in process.stdout.readline()
        process.send_signal(name)
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0 and out == "given back: input, was low\n"


@pytest.mark.smoke
def test_watch(binary):
    start = time.monotonic()
    done = binary.run("watch", *BOARD, "--times", 4, "--bias", "pull-down", "GPIO5", "header:13")
    assert done.returncode == 0 and not done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["GPIO5 (simulated line 5, header 29): low", "GPIO27 (simulated line 27, header 13): low"]
    found = [re.fullmatch(r" *(\d+\.\d{6})  (\S+) +(high|low)", line).groups() for line in lines[2:]]
    assert [(name, level) for _, name, level in found] == [
        ("GPIO5", "high"), ("GPIO27", "high"), ("GPIO5", "low"), ("GPIO27", "low")]
    seconds = [float(text) for text, _, _ in found]
    assert seconds == sorted(seconds)
    assert start - 0.000001 <= seconds[0] and seconds[-1] <= time.monotonic()  # the kernel's clock, cut to microseconds


def test_watch_until_it_is_stopped(binary):
    with started(binary, "watch", *BOARD, "GPIO5") as process:
        assert process.stdout.readline() == "GPIO5 (simulated line 5, header 29): low\n"
        assert "high" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0


def test_watch_of_every_free_line(binary):
    done = binary.run("watch", *BOARD, "--times", 1)
    assert done.returncode == 0
    assert sum("header" in line for line in done.stdout.splitlines()) == 28


@pytest.mark.parametrize("arguments, status, said", [
    (["blink", *BOARD], 64, "tapline blink: expected one LINE such as GPIO17"),
    (["blink", *BOARD, "GPIO1", "GPIO2"], 64, "expected one LINE"),
    (["blink", *BOARD, "--times", "many", "GPIO17"], 64, "option --times is 'many'; expected a number from 1 to 1000000"),
    (["blink", *BOARD, "--on", "0", "GPIO17"], 64, "option --on is '0'; expected a number from 1 to 60000"),
    (["watch", *BOARD, "--bias", "up", "GPIO17"], 64, "expected as-is, disabled, pull-up or pull-down"),
    (["blink", *BOARD, "--bias", "pull-up", "GPIO17"], 64, "unknown option '--bias'"),
    (["blink", *BOARD, "GPIO99"], 70, "tapline blink: line GPIO99 not found; see tapline lines"),
    (["blink", *BOARD, "header:9"], 70, "'header:9' is GND, no line"),
    (["blink", *BOARD, "header:41"], 70, "expected header:1 to header:40"),
    (["watch", *BOARD, "nochip:1"], 70, "line 1: no such GPIO chip nochip"),
    (["watch", *BOARD, "GPIO1", "GPIO1"], 70, "line GPIO1 busy: held by tapline tool"),
    (["blink", "--board", "simulatd", "GPIO1"], 78, "did you mean 'simulated'?"),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "")
def test_errors(binary, arguments, status, said):
    done = binary.run(*arguments)
    assert done.returncode == status, done.stderr
    assert said in done.stderr

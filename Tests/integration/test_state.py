"""What outlives the daemon: totals, cycles and levels in the state file, whatever becomes of the daemon or the file."""

import contextlib
import os
import subprocess
import zlib

import pytest

from daemon import wait

TAPS = """
taps:
  base: b
  persist: {{file: {file}, interval: 1s}}
  outputs:
    heater: {{pin: GPIO17, initial: restore, stats: true}}
    lamp: {{pin: GPIO18}}
  counters:
    water: {{pin: GPIO16, edge: both}}
{more}
board: simulated
simulation:
  presses:
    - {{line: GPIO16, every: 40ms, for: 20ms}}
"""


def taps(file, more=""):
    return TAPS.format(file=file, more=more)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state"


def saved(file):
    """The file's lines by kind and name, after its checksum was looked at."""
    text = file.read_bytes()
    body, last = text[:-15], text[-15:]
    assert last == b"crc32 %08x\n" % zlib.crc32(body)
    lines = body.decode().splitlines()
    assert lines[0] == "tapline-state 1"
    return {tuple(line.split(" ")[:2]): line.split(" ")[2:] for line in lines[1:]}


def command(daemon, topic, payload):
    with daemon.connect("commander") as client:
        client.publish(topic, payload, qos=1)


def total(daemon):
    return int(daemon.values("b/water/total")["b/water/total"])


def counted(daemon, more=5):
    """Waits until some more pulses are there."""
    start = total(daemon)
    daemon.wait_for_value("b/water/total", lambda text: int(text) >= start + more)


def written(daemon, file, kind, name, condition):
    wait(lambda: file.exists() and condition(saved(file).get((kind, name), [])), f"{kind} {name} in the state file")


@pytest.mark.smoke
def test_killed_daemon_goes_on_where_it_was(make_daemon, file):
    """pain 24: lost at reboot; and `initial: restore`."""
    daemon = make_daemon(taps(file))
    assert "is not there yet" in daemon.log
    assert daemon.values("b/heater")["b/heater"] == "OFF"
    command(daemon, "b/heater/set", "ON")
    command(daemon, "b/lamp/set", "ON")
    counted(daemon)
    written(daemon, file, "output", "heater", lambda fields: fields[:2] == ["on", "1"])
    written(daemon, file, "counter", "water", lambda fields: int(fields[0]) > 5)
    daemon.kill()
    before = int(saved(file)["counter", "water"][0])

    daemon.start()
    assert total(daemon) >= before
    assert daemon.values("b/heater")["b/heater"] == "ON"
    assert daemon.values("b/lamp")["b/lamp"] == "OFF"  # initial: off
    assert '"cycles":2' in daemon.values("b/heater/stats")["b/heater/stats"]
    # And what was on does not stay so for ever.
    command(daemon, "b/heater/set", "OFF")
    written(daemon, file, "output", "heater", lambda fields: fields[0] == "off")
    daemon.kill()
    daemon.start()
    assert daemon.values("b/heater")["b/heater"] == "OFF"


def test_orderly_end_loses_nothing(make_daemon, file):
    daemon = make_daemon(taps(file).replace("interval: 1s", "interval: 1d"))
    wait(file.exists, "first write")
    command(daemon, "b/heater/set", "ON")
    with daemon.connect("reader") as client:
        client.publish("b/water/total/set", "4711", qos=1)
    counted(daemon)
    assert daemon.stop() == 0
    assert saved(file)["output", "heater"][:2] == ["on", "1"]  # as commanded, not as the end left it
    before = int(saved(file)["counter", "water"][0])
    assert before > 4711
    daemon.start()
    assert total(daemon) >= before
    assert daemon.values("b/heater")["b/heater"] == "ON"


def test_writes_are_rare_and_counted(make_daemon, file):
    daemon = make_daemon(taps(file).replace("interval: 1s", "interval: 1h"))
    wait(file.exists, "first write")
    daemon.wait_for_value("$SYS/tapline/state/writes", "1".__eq__)
    assert int(daemon.values("$SYS/tapline/state/bytes_written")["$SYS/tapline/state/bytes_written"]) == file.stat().st_size
    first = file.read_bytes()
    for _ in range(20):
        command(daemon, "b/heater/set", "TOGGLE")
    counted(daemon, 20)
    assert daemon.figures("$SYS/tapline/state/writes")["$SYS/tapline/state/writes"] == "1"
    assert file.read_bytes() == first


@pytest.mark.parametrize("damage", [
    lambda good: b"", lambda good: good[:-1], lambda good: good[:20], lambda good: good.replace(b"water", b"later"),
    lambda good: good + b"\n", lambda good: os.urandom(4096), lambda good: bytes(5 << 20),
], ids=["empty", "last byte", "cut", "changed", "longer", "random", "huge"])
def test_damaged_file_is_set_aside(make_daemon, file, damage):
    daemon = make_daemon(taps(file))
    wait(file.exists, "first write")
    daemon.stop()
    bad = damage(file.read_bytes())
    file.write_bytes(bad)
    daemon.start()
    assert f"state file {file} " in daemon.log and "renamed to the same with .bad" in daemon.log
    assert file.with_name("state.bad").read_bytes() == bad
    counted(daemon)
    written(daemon, file, "counter", "water", lambda fields: int(fields[0]) > 0)  # and a new one is there


def test_directory_that_cannot_be_written_is_told_of(make_daemon, tmp_path):
    folder = tmp_path / "missing"
    daemon = make_daemon(taps(folder / "state"))
    wait(lambda: "cannot be written: No such file or directory; trying again" in daemon.log, "message")
    daemon.wait_for_value("$SYS/tapline/state/failures", lambda text: int(text) >= 2)
    counted(daemon)  # it serves on
    assert daemon.log.count("cannot be written") == 1
    folder.mkdir()
    wait(lambda: "is written again" in daemon.log, "message")
    assert saved(folder / "state")
    assert daemon.stop() == 0


def test_directory_that_is_read_only(make_daemon, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.geteuid() == 0:
        # For root the bits mean nothing: what stands in the way of the new file does.
        (folder / "state.new").mkdir()
    daemon = make_daemon(taps(folder / "state"))
    wait(lambda: "cannot be written" in daemon.log, "message")
    counted(daemon)
    folder.chmod(0o700)
    assert daemon.stop() == 0


def test_file_that_is_a_directory(make_daemon, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    daemon = make_daemon(taps(folder))
    assert "is a directory; give 'persist' the name of a file in it" in daemon.log
    wait(lambda: "cannot be written: Is a directory" in daemon.log, "message")
    assert folder.is_dir() and not folder.with_name("state.bad").exists()


def test_tap_that_is_taken_out_may_come_back(make_daemon, file):
    daemon = make_daemon(taps(file, "    gas: {pin: GPIO20}\n"))
    command(daemon, "b/gas/total/set", "77")
    assert daemon.stop() == 0
    whole = daemon.configuration.read_text()
    daemon.configuration.write_text(whole.replace("    gas: {pin: GPIO20}\n", ""))
    daemon.start()
    assert "also has 1 lines that the configuration does not know" in daemon.log
    assert daemon.stop() == 0
    assert saved(file)["counter", "gas"] == ["77"]
    daemon.configuration.write_text(whole)
    daemon.start()
    assert daemon.values("b/gas/total")["b/gas/total"] == "77"


def test_file_is_whole_whenever_the_daemon_is_killed(make_daemon, file, request):
    daemon = make_daemon(taps(file))
    for _ in range(20 if request.config.getoption("--long") else 2):
        before = int(saved(file)["counter", "water"][0]) if file.exists() else 0
        wait(lambda: file.exists() and int(saved(file)["counter", "water"][0]) > before, "write")
        daemon.kill()
        assert int(saved(file)["counter", "water"][0]) > before
        daemon.start()
        assert "renamed" not in daemon.log


def test_kernel_keeps_outputs_or_not(make_daemon, tmp_path):
    """What the log says of the level after the end."""
    for number, (folder, text, said) in enumerate([
            ("pinctrl_bcm2835", "Y\n", "yes"), ("pinctrl_rp1", "N\n", "no"), ("pinctrl_other", "Y\n", "unknown")]):
        root = tmp_path / f"sys{number}"
        (root / "module" / folder / "parameters").mkdir(parents=True)
        (root / "module" / folder / "parameters" / "persist_gpio_outputs").write_text(text)
        daemon = make_daemon(f"sysfs_root: {root}\nboard: simulated\ntaps: {{outputs: {{a: {{pin: GPIO1}}}}}}\n")
        assert f"kernel keeps outputs after exit: {said}" in daemon.log


def test_full_disk(make_daemon, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        daemon = make_daemon(taps(folder / "state"))
        written(daemon, folder / "state", "counter", "water", lambda fields: int(fields[0]) > 5)
        good = folder / "state"
        with (folder / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
            while True:
                rest.write(bytes(4096))
        wait(lambda: "cannot be written: No space left on device" in daemon.log, "message")
        before = int(saved(good)["counter", "water"][0])  # still whole
        (folder / "rest").unlink()
        written(daemon, good, "counter", "water", lambda fields: int(fields[0]) > before)
        wait(lambda: "is written again" in daemon.log, "message")
        daemon.kill()
    finally:
        subprocess.run(["umount", "-l", folder])

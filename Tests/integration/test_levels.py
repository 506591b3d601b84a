"""PWM channels and LEDs: a tree of plain files in place of /sys, and FIFOs that hang, vanish and come back."""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest

import raw
from daemon import wait
from patience import PATIENCE_SECONDS

CHIP = "fe20c000.pwm"


class Sys:
    """What the kernel shows of one PWM chip and two LEDs."""

    def __init__(self, root, exported=True):
        self.root = root
        self.put_leds()
        self.put_chip(0, exported)

    def put_leds(self):
        for name in ("ACT", "PWR"):
            folder = self.root / "class/leds" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "max_brightness").write_text("255\n")
            (folder / "brightness").write_text("0\n")
            (folder / "trigger").write_text("none [mmc0] heartbeat\n")

    def put_chip(self, number, exported=True):
        self.chip = self.root / f"class/pwm/pwmchip{number}"
        self.chip.mkdir(parents=True)
        (self.chip / "device").symlink_to(f"../../../devices/platform/soc/{CHIP}")
        (self.chip / "export").write_text("")
        (self.chip / "unexport").write_text("")
        if exported:
            self.put_channel(0)

    def put_channel(self, number):
        # As the kernel and udev do it: the files last.
        folder = self.chip / f"pwm{number}"
        folder.mkdir()
        for name, text in {"duty_cycle": "0", "polarity": "normal", "enable": "0", "period": "0"}.items():
            (folder / name).write_text(text + "\n")

    def vanish(self):
        shutil.rmtree(self.chip)

    def pwm(self, number=0):
        folder = self.chip / f"pwm{number}"
        return {name: (folder / name).read_text().strip() for name in ("period", "duty_cycle", "polarity", "enable")}

    def led(self, name="ACT"):
        return (self.root / "class/leds" / name / "brightness").read_text().strip()


@pytest.fixture
def sysfs(tmp_path):
    return Sys(tmp_path / "sys")


def configuration(sysfs, strip="", taps="leds: {act: {led: ACT}}"):
    return f"""sysfs_root: {sysfs.root}
taps:
  base: home
  pwm:
    strip: {{chip: {CHIP}, frequency: 1kHz{strip}}}
  {taps}
"""


def ready(daemon, name="strip", value=None):
    """The first state that is retained."""
    return daemon.wait_for_value(f"home/{name}", lambda text: value is None or text == value)


# The answer to a command whose write takes too long.
HANGS = (0x83, "write does not return")


def ask_and_read(client, payload, topic="home/strip/set", **options):
    """The command's Reason Code and Reason String."""
    packet_id = client.next_id()
    client.send(raw.publish(topic, payload.encode(), qos=1, packet_id=packet_id, **options))
    body = client.expect(raw.PUBACK).body
    reason = body[2] if len(body) > 2 else 0
    found = raw.read_properties(body, 3)[0] if len(body) > 3 else []
    return reason, dict(found).get(raw.REASON_STRING, "")


def set_and_read(*arguments, **options):
    """The same of a driver that answers. On a busy machine its thread may be stopped for longer than an answer is waited
    for; the command was then refused, and is given again."""
    return wait(lambda: (answer := ask_and_read(*arguments, **options)) != HANGS and answer, "answer")


@pytest.mark.smoke
def test_commands_reach_the_files(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs))
    assert ready(daemon) == "0" and ready(daemon, "act") == "0"
    assert sysfs.pwm() == {"period": "1000000", "duty_cycle": "0", "polarity": "normal", "enable": "1"}
    with daemon.connect("panel") as client:
        # Acknowledged means written: no waiting here.
        for payload, duty, state in [
                ("35", "350000", "35"), ("12.5", "125000", "12.5"), ("OFF", "0", "0"), ("ON", "125000", "12.5"),
                ("toggle", "0", "0"), ('{"state":"ON","brightness":80}', "800000", "80"), ("100", "1000000", "100")]:
            assert set_and_read(client, payload) == (0, "")
            assert sysfs.pwm()["duty_cycle"] == duty
            assert daemon.values("home/strip") == {"home/strip": state}
        assert set_and_read(client, "50", "home/act/set") == (0, "")
        assert sysfs.led() == "128" and daemon.values("home/act")["home/act"] == "50"
        assert (sysfs.root / "class/leds/ACT/trigger").read_text() == "none"


@pytest.mark.smoke
def test_a_rule_dims_an_led(make_daemon, sysfs):
    rules = "leds: {act: {led: ACT}}\n  rules: {dusk: {when: lux < 20, set: {act: 12.5, strip: 40}}}"
    daemon = make_daemon(configuration(sysfs, taps=rules))
    assert ready(daemon) == "0" and ready(daemon, "act") == "0"
    with daemon.connect("sky") as client:
        # A driver's thread may be late on a busy machine: the rule's wish is then refused, and the next dusk does it.
        def is_dim():
            client.publish("lux", b"100")
            client.publish("lux", b"19.5")
            return daemon.values("home/act")["home/act"] == "12.5" and daemon.values("home/strip")["home/strip"] == "40"
        wait(is_dim, "the rule's levels")
    assert sysfs.led() == "32" and sysfs.pwm()["duty_cycle"] == "400000"


def test_a_lease_and_a_time_hold_a_channel(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs, ", lease: {client: plc, grace: 1s, on_lost: 20}"))
    # "20" where the start took the client longer than its grace time.
    assert ready(daemon) in ("0", "20")
    with daemon.connect("plc") as client:
        assert set_and_read(client, "80") == (0, "")
        # The time of a timed OFF ends by itself, while the client is there.
        assert set_and_read(client, '{"state":"OFF","for":"1ms"}') == (0, "")
        ready(daemon, value="80")
    ready(daemon, value="20")
    assert sysfs.pwm()["duty_cycle"] == "200000"


def test_state_says_who(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs))
    ready(daemon)
    with daemon.connect("watcher") as watcher, daemon.connect("panel") as client:
        watcher.subscribe("home/strip")
        watcher.message()
        set_and_read(client, "7")
        while (message := watcher.message("home/strip")).payload != b"7":
            pass  # what a command that was refused for its late thread left behind
        assert (raw.USER, ("by", "panel")) in message.properties


@pytest.mark.parametrize("payload, said", [
    ("101", "expected 0 to 100, ON, OFF or TOGGLE"), ("-1", "expected 0 to 100"), ("bright", "expected 0 to 100"),
    ('{"brightness":200}', "brightness: expected 0 to 100"), ('{"state":', "expected JSON"), ("", "expected 0 to 100"),
])
def test_wrong_commands_are_refused(make_daemon, sysfs, payload, said):
    daemon = make_daemon(configuration(sysfs))
    ready(daemon)
    with daemon.connect("panel") as client:
        reason, text = set_and_read(client, payload)
        assert reason == 0x99 and said in text
    assert sysfs.pwm()["duty_cycle"] == "0"


def test_retained_command_is_not_kept(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs))
    ready(daemon)
    ready(daemon, "act")
    with daemon.connect("panel") as client:
        assert set_and_read(client, "40", retain=True) == (0, "")
    assert sysfs.pwm()["duty_cycle"] == "400000"
    assert daemon.values("home/#") == {"home/status": "online", "home/strip": "40", "home/act": "0"}


def test_response_topic(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs))
    ready(daemon)
    with daemon.connect("panel") as client:
        client.subscribe("answers")
        def answer():
            client.send(raw.publish("home/strip/set", b"35", props=[(0x08, "answers"), (0x09, b"7")]))
            message = client.message("answers")
            assert (0x09, "7") in message.properties
            return message.payload

        late = b'{"ok":false,"reason":"write does not return"}'  # as for set_and_read
        assert wait(lambda: (payload := answer()) != late and payload, "answer") == b'{"ok":true,"state":"ON","brightness":35}'


@pytest.mark.parametrize("settings, duty", [
    (", initial: 50, gamma: 2.2", 217638), (", initial: 50, min: 20, max: 90", 550000), (", initial: 1.5", 15000)])
def test_initial_level(make_daemon, sysfs, settings, duty):
    daemon = make_daemon(configuration(sysfs, settings))
    ready(daemon)
    assert abs(int(sysfs.pwm()["duty_cycle"]) - duty) <= 1


def test_active_low(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs, ", active: low"))
    ready(daemon)
    assert sysfs.pwm()["polarity"] == "inversed"


@pytest.mark.parametrize("on_exit, duty, enable", [("safe", "50000", "1"), ("keep", "700000", "1"), ("release", "700000", "0")])
def test_orderly_end(make_daemon, sysfs, on_exit, duty, enable):
    daemon = make_daemon(configuration(sysfs, f", safe: 5, on_exit: {on_exit}", f"leds: {{act: {{led: ACT, on_exit: {on_exit}}}}}"))
    ready(daemon), ready(daemon, "act")
    with daemon.connect("panel") as client:
        assert set_and_read(client, "70") == (0, "")
        assert set_and_read(client, "100", "home/act/set") == (0, "")
        assert daemon.stop() == 0
    assert (sysfs.pwm()["duty_cycle"], sysfs.pwm()["enable"]) == (duty, enable)
    assert (sysfs.chip / "unexport").read_text() == ("0" if on_exit == "release" else "")
    assert sysfs.led() == ("0" if on_exit == "safe" else "255")
    assert (sysfs.root / "class/leds/ACT/trigger").read_text() == ("mmc0" if on_exit == "release" else "none")


def test_channel_is_exported_first(make_daemon, tmp_path):
    sysfs = Sys(tmp_path / "sys", exported=False)
    daemon = make_daemon(configuration(sysfs))
    wait(lambda: (sysfs.chip / "export").read_text() == "0", "export")
    sysfs.put_channel(0)
    assert ready(daemon, value="0") == "0"
    assert sysfs.pwm()["enable"] == "1"


def test_missing_device_heals(make_daemon, sysfs):
    sysfs.vanish()
    daemon = make_daemon(configuration(sysfs, ", initial: 30"))
    assert daemon.wait_for_value("home/strip/fault", bool) == f"no PWM chip {CHIP}"
    assert "tapline: tap strip: no PWM chip" in daemon.log
    assert "home/strip" not in daemon.values("home/#")
    with daemon.connect("panel") as client:
        assert set_and_read(client, "5") == (0x83, f"no PWM chip {CHIP}")
        sysfs.put_chip(3)
        assert ready(daemon) == "30"
        assert sysfs.pwm()["duty_cycle"] == "300000"
        assert "home/strip/fault" not in daemon.values("home/#")
        assert set_and_read(client, "5") == (0, "")


def test_pain26_vanished_device_comes_back_under_another_number(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs))
    ready(daemon)
    with daemon.connect("panel") as client:
        assert set_and_read(client, "20") == (0, "")
        sysfs.vanish()
        assert set_and_read(client, "60") == (0x83, f"no PWM chip {CHIP}")
        assert daemon.values("home/strip/#") == {"home/strip": "20", "home/strip/fault": f"no PWM chip {CHIP}"}
        sysfs.put_chip(7)
        wait(lambda: sysfs.pwm()["duty_cycle"] == "200000", "the level that it had")  # not the refused one
        wait(lambda: daemon.values("home/strip/#") == {"home/strip": "20"}, "no fault")


def test_denied(make_daemon, sysfs):
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    (sysfs.root / "class/leds/ACT/brightness").chmod(0o400)
    daemon = make_daemon(configuration(sysfs))
    text = daemon.wait_for_value("home/act/fault", bool)
    assert text == "brightness: Permission denied; is the user in group gpio?"


def test_hanging_driver_does_not_hold_up_the_broker(make_daemon, sysfs):
    daemon = make_daemon(configuration(sysfs, taps="leds: {act: {led: ACT}, pwr: {led: PWR}}"))
    ready(daemon), ready(daemon, "act"), ready(daemon, "pwr")
    file = sysfs.root / "class/leds/ACT/brightness"
    file.unlink()
    os.mkfifo(file)
    with daemon.connect("panel") as client, daemon.connect("other") as other:
        assert ask_and_read(client, "100", "home/act/set") == HANGS
        # From now on nobody waits. The loop's thread sleeps once or twice for all 50 refusals; if it waited for the
        # driver, it would sleep 50 times. Everybody else is served.
        before = sleeps(daemon.pid)
        client.send(*(raw.publish("home/act/set", "50", 1, packet_id) for packet_id in range(101, 151)))
        for _ in range(50):
            assert client.expect(raw.PUBACK).body[2] == 0x83
        assert sleeps(daemon.pid) - before < 25
        assert ask_and_read(client, "50", "home/act/set") == HANGS
        other.ping()
        assert set_and_read(other, "50", "home/pwr/set") == (0, "") and sysfs.led("PWR") == "128"
        assert set_and_read(other, "50") == (0, "") and sysfs.pwm()["duty_cycle"] == "500000"
        assert daemon.values("home/act/fault") == {"home/act/fault": "write does not return"}
        # The driver wakes up: what was refused does not count, what was there before does.
        got = []
        reader = threading.Thread(target=lambda: got.append(read_fifo(file, "2550")), daemon=True)
        reader.start()
        wait(lambda: daemon.values("home/act/#") == {"home/act": "0"}, "no fault")
        reader.join(PATIENCE_SECONDS)
        assert got == ["2550"]  # 255, then 0


def sleeps(pid):
    """How often the process's first thread has given the processor up by itself; the loop's, which answers clients."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])


def read_fifo(path, text):
    """Collects what is written until it is `text`. It stays open throughout: a writer without a reader would fail."""
    out = ""
    fd = os.open(path, os.O_RDWR)
    while out != text:
        out += os.read(fd, 16).decode()
    os.close(fd)
    return out


def test_hanging_driver_does_not_hold_up_the_end(make_daemon, sysfs):
    file = sysfs.root / "class/leds/ACT/brightness"
    file.unlink()
    os.mkfifo(file)
    daemon = make_daemon(configuration(sysfs))
    ready(daemon)
    assert daemon.stop() == 0  # the driver never answers
    assert sysfs.pwm()["duty_cycle"] == "0"


def test_safe_after_a_kill(make_daemon, sysfs, binary):
    daemon = make_daemon(configuration(sysfs, ", safe: 5", "leds: {act: {led: ACT}, pwr: {led: PWR, on_exit: keep}}"))
    ready(daemon), ready(daemon, "act"), ready(daemon, "pwr")
    with daemon.connect("panel") as client:
        for name in ("strip", "act", "pwr"):
            assert set_and_read(client, "80", f"home/{name}/set") == (0, "")
    daemon.kill()
    done = binary.run("safe", "-c", daemon.configuration)
    assert done.returncode == 0, done.stderr
    assert "strip: safe level" in done.stdout and "pwr: left as it is" in done.stdout
    assert (sysfs.pwm()["duty_cycle"], sysfs.led("ACT"), sysfs.led("PWR")) == ("50000", "0", "204")
    sysfs.vanish()
    done = binary.run("safe", "-c", daemon.configuration)
    assert done.returncode == 70 and f"strip: NOT SAFE: no PWM chip {CHIP}" in done.stdout

"""The image's own kernel, device tree, initramfs and command line on the Raspberry Pis that QEMU has."""

import re
import struct

import guest
import rig

READING_SECONDS = 60


def pin(board, line):
    """What the kernel says of line GPIO`line`: "out hi" in the end."""
    rows = [row for row in board.read("/sys/kernel/debug/gpio").splitlines() if re.search(rf"\(GPIO{line}\b", row)]
    assert len(rows) == 1, rows
    return " ".join(rows[0].replace("|", " ").replace(")", " ").split())


def test_raspi3b_switches_gpio17(card, tmp_path, power_on, connect, note):
    # The overlay that the firmware would apply where config.txt says so.
    overlay = guest.take_out(card, "overlays/w1-gpio.dtbo", tmp_path / "w1-gpio.dtbo")
    board = power_on("raspi3b", dtb_edits=[("fdtoverlay", "-i", "TREE", "-o", "TREE", str(overlay))])
    ready = board.wait_until_ready()
    board.wait_for_network()
    board.sh("mount -t debugfs debugfs /sys/kernel/debug")
    mqtt = connect(board).subscribe("home/cellar/#")
    assert mqtt.expect("home/cellar/relay", "OFF", seconds=30).retain
    assert pin(board, 17).endswith("tapline:relay out lo")
    assert mqtt.publish("home/cellar/relay/set", "ON").reason == 0
    assert pin(board, 17).endswith("tapline:relay out hi")
    cpu = float(mqtt.expect("home/cellar/cpu", lambda _: True, seconds=READING_SECONDS).payload)
    assert abs(cpu - int(board.read("/sys/class/thermal/thermal_zone0/temp")) / 1000) < 1
    board.sh("test -d /sys/bus/w1/devices/w1_bus_master1")
    note(f"first start to ready {ready:.1f} s, processor {cpu} degrees")

    # The daemon dies with the relay on: it is off, and a new daemon serves.
    since = len(board.lines)
    board.sh("kill -KILL $(pidof tapline)")
    board.wait_for_line("keeper: the daemon ended with 137", 30, since)
    board.wait_for_line("tapline: ready", 60, since)
    assert pin(board, 17).endswith("tapline:relay out lo")
    board.power_off()

    with open(card, "rb") as file:
        assert file.read(512)[446 + 16 + 4] == 0x83
    board = power_on("raspi3b")
    note(f"second start to ready {board.wait_until_ready():.1f} s")
    assert "/data ext4" in board.read("/proc/mounts")


def test_raspi4b_serves(power_on, note):
    """QEMU's Raspberry Pi 4 has no network that this kernel drives, so it is asked at its console."""
    if rig.emulator()[1] < (10, 0):
        import pytest

        pytest.skip("QEMU 10 or newer is needed")
    edits = [("fdtput", "-r", "TREE", "/soc/serial@7e201000/bluetooth")]
    board = power_on("raspi4b", dtb_edits=edits, seconds=400)
    ready = board.wait_until_ready(300)
    board.sh("mount -t debugfs debugfs /sys/kernel/debug")
    assert "Raspberry Pi 4" in board.read("/proc/device-tree/model")
    assert pin(board, 17).endswith("tapline:relay out lo")
    # MQTT by hand: CONNECT as client `a`, PUBLISH ON to home/cellar/relay/set, DISCONNECT.
    topic = b"home/cellar/relay/set"
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
    publish = bytes([0x30, 2 + len(topic) + 2]) + struct.pack(">H", len(topic)) + topic + b"ON"
    text = "".join(f"\\x{byte:02x}" for byte in connect + publish + b"\xe0\x00")
    board.sh(f"printf '{text}' | nc -w 2 127.0.0.1 1883 > /dev/null || true")
    assert pin(board, 17).endswith("tapline:relay out hi")
    note(f"start to ready {ready:.1f} s")

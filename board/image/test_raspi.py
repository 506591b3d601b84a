"""The image's own kernel, device tree, initramfs and command line on QEMU's Raspberry Pi 3 and 4."""

import re

import guest
import pytest

# QEMU has a Raspberry Pi 4 since this version.
RASPI4B_VERSION = (9, 0)
# In place of the 4's processor thermometer (raspi4b.dts): its register of the temperature, saying that the value is valid, and
# the value. The board's device tree has the line to make millidegrees of it.
THERMOMETER, VALID, VALUE = 0x3F000200, 1 << 16 | 1 << 10, 742
MILLIDEGREES = 410040 - 487 * VALUE


def pin(board, line):
    """What the kernel says of line GPIO`line`: "out hi" in the end."""
    rows = [row for row in board.read("/sys/kernel/debug/gpio").splitlines() if re.search(rf"\(GPIO{line}\b", row)]
    assert len(rows) == 1, rows
    return " ".join(rows[0].replace("|", " ").replace(")", " ").split())


def switch_gpio17(board, connect):
    """A client switches the relay, seen at the pin; degrees of the processor as another message tells them."""
    board.wait_for_network()
    board.sh("mount -t debugfs debugfs /sys/kernel/debug")
    mqtt = connect(board, user="tapline", password=board.new_password()).subscribe("home/cellar/#")
    assert mqtt.expect("home/cellar/relay", "OFF").retain
    assert pin(board, 17).endswith("tapline:relay out lo")
    assert mqtt.publish("home/cellar/relay/set", "ON").reason == 0
    assert pin(board, 17).endswith("tapline:relay out hi")
    return float(mqtt.expect("home/cellar/cpu", lambda _: True).payload)


def kill_the_daemon(board):
    """The daemon dies with the relay on: it is off, and a new daemon serves."""
    since = len(board.lines)
    board.sh("kill -KILL $(pidof tapline)")
    board.wait_for_line("keeper: the daemon ended with 137", since=since)
    board.wait_for_line("tapline: ready", since=since)
    assert pin(board, 17).endswith("tapline:relay out lo")


def has_data_partition(card):
    with open(card, "rb") as file:
        return file.read(512)[446 + 16 + 4] == 0x83


def test_raspi3b_switches_gpio17(card, tmp_path, power_on, connect, note):
    # The overlay that the firmware would apply where config.txt says so.
    overlay = guest.take_out(card, "overlays/w1-gpio.dtbo", tmp_path / "w1-gpio.dtbo")
    board = power_on("raspi3b", dtb_edits=[("fdtoverlay", "-i", "TREE", "-o", "TREE", str(overlay))])
    ready = board.wait_until_ready()
    cpu = switch_gpio17(board, connect)
    assert abs(cpu - int(board.read("/sys/class/thermal/thermal_zone0/temp")) / 1000) < 1
    board.sh("test -d /sys/bus/w1/devices/w1_bus_master1")
    note(f"first start to ready {ready:.1f} s, processor {cpu} degrees, {board.sh('free -m | grep Mem')}")
    kill_the_daemon(board)
    board.power_off()

    assert has_data_partition(card)
    board = power_on("raspi3b")
    note(f"second start to ready {board.wait_until_ready():.1f} s")
    assert "/data ext4" in board.read("/proc/mounts")


def test_raspi4b_switches_gpio17(card, power_on, connect, note):
    if guest.rig.emulator.find()[1] < RASPI4B_VERSION:
        pytest.skip("this QEMU has no Raspberry Pi 4")
    thermometer = ("-device", f"loader,addr={THERMOMETER:#x},data={VALID | VALUE:#x},data-len=4")
    board = power_on("raspi4b", qemu=thermometer)
    ready = board.wait_until_ready()
    cpu = switch_gpio17(board, connect)
    assert cpu == round(MILLIDEGREES / 1000, 1)
    assert board.sh("nproc") == "4"
    # The board's card is in this one.
    board.sh("test -d /sys/bus/platform/drivers/sdhci-iproc/fe340000.mmc")
    note(f"first start to ready {ready:.1f} s, processor {cpu} degrees, {board.sh('free -m | grep Mem')}")
    kill_the_daemon(board)
    board.power_off()

    assert has_data_partition(card)
    board = power_on("raspi4b", qemu=thermometer)
    note(f"second start to ready {board.wait_until_ready():.1f} s")
    assert "/data ext4" in board.read("/proc/mounts")

"""What is on the card, without starting anything."""

import struct
import subprocess

import guest

# What a user may look for, or the firmware.
FILES = """bootcode.bin start.elf fixup.dat start4.elf fixup4.dat kernel8.img initrd.img config.txt cmdline.txt
    bcm2837-rpi-zero-2-w.dtb bcm2837-rpi-3-b.dtb bcm2837-rpi-3-b-plus.dtb bcm2711-rpi-4-b.dtb
    tapline.yaml password.txt network.txt wifi.txt ssh-keys.txt""".split()
FAT32 = 0x0C


def test_partition_table_has_one_fat_partition(image):
    table = image.read_bytes()[:512]
    assert table[510:] == b"\x55\xaa"
    assert (table[446], table[446 + 4]) == (0x80, FAT32)
    assert table[462:510] == bytes(48)
    start, size = guest.partition(image)
    assert start == 4 << 20
    assert start + size == image.stat().st_size
    body = image.read_bytes()[start : start + 512]
    assert body[82:90] == b"FAT32   "
    assert struct.unpack_from("<I", body, 28)[0] == start // 512  # sectors before it, as the firmware wants it


def test_files(image, tmp_path):
    listing = guest.mtools("mdir", image, "-b", "-/", "::", text=True).stdout.split("\n")
    names = {line.removeprefix("::/") for line in listing}
    assert not set(FILES) - names
    assert {"licences/raspi-firmware.txt", "licences/firmware-brcm80211.txt", "licences/packages.txt"} <= names
    for name in ("kernel8.img", "initrd.img"):
        path = guest.take_out(image, name, tmp_path / name)
        assert path.stat().st_size < 20_000_000
    assert (tmp_path / "kernel8.img").read_bytes()[:2] == b"\x1f\x8b"
    config = guest.take_out(image, "config.txt", tmp_path / "config.txt").read_text().split("\n")
    for line in ("arm_64bit=1", "kernel=kernel8.img", "initramfs initrd.img followkernel", "upstream_kernel=1"):
        assert line in config


def test_the_configurations_are_right(image, tmp_path):
    """With the device binary itself."""
    build = guest.BOARD.parent
    sysroot = subprocess.run([build / "cross/build-device", "--sysroot", "gpiod2"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    tapline = ["qemu-aarch64-static", "-L", sysroot, build / ".build/device/tapline-gpiod2"]
    # What the board makes at each start.
    passwords = tmp_path / "passwd"
    subprocess.run([*tapline, "passwd", "-c", passwords, "tapline"], input="any\n", text=True, check=True)
    (tmp_path / "tls").mkdir()
    subprocess.run([*tapline, "cert", "-d", tmp_path / "tls"], stdout=subprocess.DEVNULL, check=True)
    ours = guest.take_out(image, "tapline.yaml", tmp_path / "tapline.yaml")
    for path in (ours, guest.BOARD / "image/system/default.yaml"):
        text = path.read_text()
        # Nobody is let in without a password.
        assert "  password_file: /run/tapline/passwd\n" in text and "anonymous" not in text
        changed = tmp_path / "checked.yaml"
        changed.write_text(text.replace("/run/tapline/passwd", str(passwords)).replace("/run/tapline/tls", str(tmp_path / "tls")))
        run = subprocess.run([*tapline, "check", "-c", changed], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert run.returncode == 0, run.stdout


def test_the_image_has_no_password(image):
    """One that all have is none."""
    assert guest.noted_password(image) is None


def test_the_scripts_are_shell(image):
    for path in sorted((guest.BOARD / "image/system").iterdir()):
        if path.read_bytes().startswith(b"#!") or path.name == "common":
            subprocess.run(["sh", "-n", path], check=True)

"""A board under QEMU that starts from the SD-card image: everything it runs is taken back out of the image.

Its one way in beside the network is the serial console, as on a real board.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

BOARD = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BOARD))
import rig  # noqa: E402  after the line above

SECTOR = 512
DISCARD = 4  # of a write in a log
# The limit of a board's whole run.
RUN_SECONDS = 3600
DEVICE_TREES = {"raspi3b": "bcm2837-rpi-3-b.dtb", "raspi4b": "bcm2711-rpi-4-b.dtb"}
# Laid over a copy of the tree, for what else QEMU's machine lacks.
OVERLAYS = {"raspi4b": Path(__file__).with_name("raspi4b.dts")}
# The UART that is the console: on the boards it is the second one, the mini UART. And the processors that maxcpus leaves unused,
# which would spin.
CONSOLES = {"raspi3b": ["-serial", "null", "-serial", "stdio", "-global", "bcm2837.enabled-cpus=1"], "raspi4b": ["-serial", "stdio"]}
# Added to the image's own cmdline.txt: QEMU's Raspberry Pis take the arming of the watchdog for their end, and the network of
# its 3 does not come with more processors.
MORE_OPTIONS = {"virt": "", "raspi3b": "maxcpus=1 TAPLINE_WATCHDOG=off", "raspi4b": "TAPLINE_WATCHDOG=off"}


def partition(image):
    """(first byte, bytes) of the image's FAT partition, by its partition table."""
    with open(image, "rb") as file:
        table = file.read(SECTOR)
    start, sectors = struct.unpack_from("<II", table, 446 + 8)
    return start * SECTOR, sectors * SECTOR


def mtools(program, image, *words, **options):
    start, _ = partition(image)
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    return subprocess.run([program, "-i", f"{image}@@{start}", *words], check=True, env=environment, stdout=subprocess.PIPE, **options)


def take_out(image, name, to):
    mtools("mcopy", image, "-n", f"::{name}", str(to))
    return to


def put_in(image, name, text):
    """Writes a file of the card as a user would, with the card in another computer."""
    mtools("mcopy", image, "-o", "-", f"::{name}", input=text.encode())


def noted_password(card):
    """The password of user tapline in password.txt, as its owner reads it with the card in another computer; or None."""
    text = mtools("mtype", card, "::password.txt").stdout.decode()
    return next((line.split(" = ")[1] for line in text.splitlines() if line.startswith("tapline = ")), None)


def written(log):
    """(first byte, bytes) of each write to the card, in order, of a log by QEMU's blklogwrites, whose form is that of the
    kernel's dm-log-writes: a sector with the head, then for each write a sector with its place and length, and its bytes."""
    with open(log, "rb") as file:
        magic, version, count, sector = struct.unpack("<QQQI", file.read(SECTOR)[:28])
        assert (magic, version, sector) == (0x6A736677736872, 1, SECTOR)
        for _ in range(count):
            start, sectors, flags, _ = struct.unpack("<QQQQ", file.read(SECTOR)[:32])
            if sectors and not flags & DISCARD:
                yield start * SECTOR, file.read(sectors * SECTOR)


def make_card(image, to, size=512 << 20):
    """A card of `size` bytes, a power of two, with the image written to it."""
    shutil.copyfile(image, to)
    os.truncate(to, size)
    return to


class Board(rig.Guest):
    """card: it is written to

    writes: a file for a log of all that is written to the card, on the generic board
    dtb_edits: commands that change the device tree, the file TREE
    qemu: more options for the emulator
    """

    def __init__(self, card, log, machine, seconds=RUN_SECONDS, more_options="", writes=None, dtb_edits=(), qemu=()):
        self.writes = writes
        self.card, self.more_options, self.dtb_edits = card, more_options, dtb_edits  # of start()
        self.asked = 0
        self.console = threading.Lock()
        super().__init__(None, None, log, seconds, machine=machine, qemu=qemu)

    def start(self, _initramfs, _kernel):
        folder = Path(self.folder.name)
        files = {name: take_out(self.card, name, folder / name) for name in ("kernel8.img", "initrd.img", "cmdline.txt")}
        options = f"{files['cmdline.txt'].read_text().strip()} {MORE_OPTIONS[self.machine]} {self.more_options}"
        program = "qemu-system-aarch64" if self.machine == "virt" else rig.emulator.find()[0]
        command = [program, "-M", self.machine, "-display", "none", "-monitor", "none", "-no-reboot"]
        command += ["-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        command += ["-kernel", str(files["kernel8.img"]), "-initrd", str(files["initrd.img"]), "-append", options.strip()]
        network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.mqtt_port}-10.0.2.15:1883"
        network += f",hostfwd=tcp:127.0.0.1:{self.agent_port}-10.0.2.15:22"
        network += f",hostfwd=tcp:127.0.0.1:{self.tls_port}-10.0.2.15:8883"
        if self.machine == "virt":
            command += ["-cpu", "cortex-a53", "-smp", "1", "-m", "512", "-nodefaults", "-serial", "stdio"]
            drive = f"if=none,id=card,format=raw,file={self.card}"
            if self.writes:
                self.writes.touch()
                drive = "if=none,id=card,driver=blklogwrites,log-super-update-interval=1"
                for role, path in (("file", self.card), ("log", self.writes)):
                    drive += f",{role}.driver=raw,{role}.file.driver=file,{role}.file.filename={path}"
            command += ["-drive", drive, "-device", "virtio-blk-device,drive=card"]
            command += ["-netdev", network, "-device", "virtio-net-device,netdev=net"]
        else:
            tree = take_out(self.card, DEVICE_TREES[self.machine], folder / "board.dtb")
            if overlay := OVERLAYS.get(self.machine):
                subprocess.run(["dtc", "-I", "dts", "-O", "dtb", "-o", tree.with_suffix(".dtbo"), overlay], check=True)
                subprocess.run(["fdtoverlay", "-i", tree, "-o", tree, tree.with_suffix(".dtbo")], check=True)
            for edit in self.dtb_edits:
                subprocess.run([str(tree) if word == "TREE" else word for word in edit], check=True)
            command += ["-dtb", str(tree), *CONSOLES[self.machine]]
            command += ["-drive", f"if=sd,format=raw,file={self.card}"]
            command += ["-netdev", network, "-device", "usb-net,netdev=net"]
        command += self.options
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", bufsize=1, preexec_fn=rig.die_with_parent,
        )

    # The console

    def sh(self, command, seconds=rig.ANSWER_SECONDS):
        """What a command prints, typed at the serial console's shell."""
        with self.console:
            if self.asked == 0:
                self.wait_for_line("Please press Enter|keeper: ", seconds)
                self.type("")
            self.asked += 1
            since, mark = len(self.lines), f"END{self.asked}"
            # What is typed is echoed; the quotes keep the echo from being the answer.
            self.type(f"echo BEG''IN{self.asked}; {command}; echo {mark[:2]}''{mark[2:]} $?")
            _, found = self.wait_for_line(rf"{mark} (\d+)$", seconds, since)
            texts = [text for _, text in self.lines[since:]]
            first = next(at for at, text in enumerate(texts) if re.search(rf"BEGIN{self.asked}$", text))
            last = next(at for at, text in enumerate(texts) if re.search(rf"{mark} \d+$", text))
            answer = "\n".join(texts[first + 1 : last])
            if found[1] != "0":
                raise rig.GuestError(f"{command!r} failed ({found[1]}): {answer}")
            return answer

    def type(self, line):
        self.qemu.stdin.write(line + "\n")
        self.qemu.stdin.flush()

    def read(self, path):
        return self.sh(f"cat {path}")

    def wait_until_ready(self):
        """Seconds from the start of QEMU to the daemon's word that it serves."""
        return self.wait_for_line("tapline: ready")[0]

    def new_password(self):
        """The password of user tapline that this start has made, as the console says it."""
        return self.wait_for_line(r"image: .*clients connect as user 'tapline' with the password (\S+), which password.txt has too")[1][1]

    def wait_for_network(self):
        self.wait_for_line("image: .*10.0.2.15")

    def cut_power(self):
        """At once, whatever is being written."""
        self.qemu.kill()
        self.qemu.wait()

    def power_off(self, status=0):
        self.sh("true")  # so that there is a shell
        self.type("poweroff")
        try:
            self.qemu.wait(rig.POWEROFF_SECONDS)
        except subprocess.TimeoutExpired:
            raise rig.GuestError(f"the board did not power off:\n{self.tail()}") from None
        return status

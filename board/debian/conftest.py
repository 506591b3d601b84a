"""A guest with Debian for each suite, the package's builds in /root."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import initramfs  # noqa: E402  after the line above
import rig  # noqa: E402

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILD = REPOSITORY / ".build"
# Versions of the package: both of the same binary.
OLD, NEW = "0.0.9", "0.1.0"
# Limits of a whole run, until the agent answers, and of a shutdown; a machine with nothing else to do takes 150, 40 and 5.
RUN_SECONDS = 7200
BOOT_SECONDS = 1800
SHUTDOWN_SECONDS = 900
DISK_BYTES = 1 << 30
NOTES = []


def pytest_addoption(parser):
    parser.addoption("--suite", action="append", default=[])


def pytest_generate_tests(metafunc):
    if "debian" in metafunc.fixturenames:
        metafunc.parametrize("debian", metafunc.config.getoption("--suite") or ["bookworm", "trixie"], indirect=True, scope="session")


class Debian(rig.Guest):
    """A Debian on a disk of its own, which reboot() boots anew."""

    def __init__(self, suite, packed, kernel, options):
        self.suite, self.boots = suite, 0
        self.made_of = packed, kernel / "vmlinuz"
        self.options = options
        self.begin()

    def begin(self):
        self.boots += 1
        log = BUILD / f"board/debian-{self.suite}{'' if self.boots == 1 else f'-{self.boots}'}.log"
        super().__init__(*self.made_of, log, RUN_SECONDS, qemu=self.options)

    def wait_for_boot(self):
        self.agent.ask("sh true", seconds=BOOT_SECONDS)
        self.agent.ask("sh systemctl is-system-running --wait || true", seconds=BOOT_SECONDS)
        self.note(f"boot {self.boots} in {time.monotonic() - self.started:.1f} s")

    def reboot(self):
        """The machine ends in good order, which ends the emulator, and starts with the same disk."""
        clock = time.monotonic()
        self.sh("systemctl --no-block reboot")
        self.qemu.wait(SHUTDOWN_SECONDS)
        self.note(f"shut down in {time.monotonic() - clock:.1f} s")
        self.close()
        self.begin()
        self.wait_for_boot()

    def note(self, text):
        NOTES.append((self.suite, text))

    def files(self):
        """What is there, without what the system itself writes as it runs."""
        own = ("/opt/board", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd")
        leave = " -o ".join(f"-path {path}" for path in own)
        return set(self.sh(f"find / -xdev \\( {leave} \\) -prune -o -print").splitlines())

    def write_file(self, path, text):
        # The agent takes one line.
        self.sh("printf '%b' '" + text.replace("\\", "\\\\").replace("\n", "\\n").replace("'", "'\\''") + f"' > {path}")

    def trace_lines(self):
        self.sh("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; cd /sys/kernel/tracing; "
                "echo mono > trace_clock; echo 'get == 0' > events/gpio/gpio_value/filter; echo 1 > events/gpio/enable; echo > trace")

    def traced_levels(self, line):
        """[(seconds, level)]: what line GPIO`line` was driven to since, and when by the kernel's monotonic clock."""
        base = int(self.sh("for c in /sys/class/gpio/gpiochip*; do case $(cat $c/label) in gpio-sim*) cat $c/base;; esac; done"))
        rows = self.sh("grep gpio_value: /sys/kernel/tracing/trace || true").splitlines()
        rows = [row.partition(": gpio_value: ") for row in rows if f"gpio_value: {base + line - 17} set" in row]
        return [(float(head.split()[-1]), int(event.split()[-1])) for head, _, event in rows]


def pack(kernel, output):
    archive = initramfs.begin(kernel, "debian", ("new",))
    file = initramfs.FILE
    archive.add("bin/agent", file | 0o755, (rig.BOARD / "guest/agent").read_bytes())
    archive.add("init", file | 0o755, (HERE / "init").read_bytes())
    archive.add("etc/agent.service", file | 0o644, (HERE / "agent.service").read_bytes())
    for version in (OLD, NEW):
        path = BUILD / f"deb/tapline_{version}-1_arm64.deb"
        subprocess.run([REPOSITORY / "cross/build-deb", "--version", version], check=True, stdout=subprocess.DEVNULL)
        archive.add(f"debs/{path.name}", file | 0o644, path.read_bytes())
        path.unlink()
    # The package's binary will do: it is install.sh that is tried.
    path = BUILD / f"deb/tapline-{NEW}-aarch64.tar.gz"
    pack = [REPOSITORY / "cross/build-deb", "--tarball", "--version", NEW, "--binary", BUILD / "device/tapline-gpiod2"]
    subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
    archive.add(f"debs/{path.name}", file | 0o644, path.read_bytes())
    path.unlink()
    archive.write(output)
    return output


@pytest.fixture(scope="session")
def debian(request):
    suite = request.param
    (BUILD / "board").mkdir(parents=True, exist_ok=True)
    kernel = initramfs.kernel_folder()
    packed = pack(kernel, BUILD / "board/debian.cpio")
    made = subprocess.run([HERE / "make-root", suite], check=True, stdout=subprocess.PIPE, text=True)
    tar, disk = made.stdout.strip(), BUILD / f"board/debian-{suite}.disk"
    disk.unlink(missing_ok=True)
    with open(disk, "wb") as file:
        file.truncate(DISK_BYTES)
    append = "panic=-1 rdinit=/init console=ttyAMA0 loglevel=4 systemd.show_status=1 systemd.default_timeout_start_sec=300"
    options = ["-append", append]
    for name, path, is_fixed in (("tar", tar, True), ("disk", disk, False)):
        # Nothing is to survive the host's own power cut.
        file = {"driver": "file", "filename": str(path), "cache": {"direct": False, "no-flush": True}}
        options += ["-blockdev", json.dumps({"driver": "raw", "node-name": name, "read-only": is_fixed, "file": file})]
        options += ["-device", f"virtio-blk-device,drive={name},serial={name}"]
    clock = time.monotonic()
    try:
        with Debian(suite, packed, kernel, options) as guest:
            guest.wait_for_boot()
            guest.note(f"{guest.sh('. /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1').replace(chr(10), ', ')}")
            yield guest
            guest.note(f"all in {time.monotonic() - clock:.1f} s")
    finally:
        disk.unlink()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Under a failed test, what the service's journal says."""
    report = yield
    guest = getattr(item, "funcargs", {}).get("debian")
    if report.failed and guest is not None and not guest.ended:
        try:
            report.sections.append(("journal", guest.sh("journalctl -u 'tapline*' --no-pager | tail -n 60; systemctl status tapline | head -20; systemctl --failed")))
        except (rig.GuestError, OSError) as error:
            report.sections.append(("journal", str(error)))
    return report


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("debian")
    for suite, text in NOTES:
        terminalreporter.write_line(f"{suite}: {text}")

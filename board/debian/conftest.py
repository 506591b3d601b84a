"""A guest with Debian for each suite, the package's builds in /root."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rig  # noqa: E402

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILD = REPOSITORY / ".build"
# Versions of the package: both of the same binary.
OLD, NEW = "0.0.9", "0.1.0"
# Of a whole run, and until the agent answers; a machine with nothing else to do takes 150 and 40.
RUN_SECONDS = 3000
BOOT_SECONDS = 600
NOTES = []


def pytest_addoption(parser):
    parser.addoption("--suite", action="append", default=[])


def pytest_generate_tests(metafunc):
    if "debian" in metafunc.fixturenames:
        metafunc.parametrize("debian", metafunc.config.getoption("--suite") or ["bookworm", "trixie"], indirect=True, scope="session")


class Debian(rig.Guest):
    def write_file(self, path, text):
        # The agent takes one line.
        self.sh("printf '%b' '" + text.replace("\\", "\\\\").replace("\n", "\\n").replace("'", "'\\''") + f"' > {path}")

    def trace_lines(self):
        self.sh("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; cd /sys/kernel/tracing; "
                "echo 'get == 0' > events/gpio/gpio_value/filter; echo 1 > events/gpio/enable; echo > trace")

    def traced_levels(self, line):
        """Levels that line GPIO`line` was driven to since."""
        base = int(self.sh("for c in /sys/class/gpio/gpiochip*; do case $(cat $c/label) in gpio-sim*) cat $c/base;; esac; done"))
        rows = self.sh("grep gpio_value: /sys/kernel/tracing/trace || true").splitlines()
        return [int(row.split()[-1]) for row in rows if f"gpio_value: {base + line - 17} set" in row]


def initramfs(kernel, output):
    sys.dont_write_bytecode = True
    loader = {"__file__": str(rig.BOARD / "pack-initramfs"), "__name__": "pack_initramfs"}
    exec(compile((rig.BOARD / "pack-initramfs").read_text(), "pack-initramfs", "exec"), loader)
    archive, file = loader["Archive"](), loader["FILE"]
    for folder in ("dev", "proc", "sys", "new", "etc"):
        archive.add(folder, loader["DIRECTORY"])
    archive.add("dev/console", loader["CHARACTER_DEVICE"], device=(5, 1))
    archive.add("bin/busybox", file | 0o755, (kernel / "busybox").read_bytes())
    archive.add("bin/agent", file | 0o755, (rig.BOARD / "guest/agent").read_bytes())
    archive.add("init", file | 0o755, (HERE / "init").read_bytes())
    archive.add("etc/agent.service", file | 0o644, (HERE / "agent.service").read_bytes())
    order = (kernel / "load-order.debian").read_text()
    archive.add("etc/load-order", file | 0o644, order.encode())
    for name in sorted(line.split()[0] for line in order.splitlines()):
        archive.add(f"modules/{name}", file | 0o644, (kernel / "modules" / name).read_bytes())
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
    kernel = rig.kernel_folder()
    packed = initramfs(kernel, BUILD / "board/debian.cpio")
    made = subprocess.run([HERE / "make-root", suite], check=True, stdout=subprocess.PIPE, text=True)
    disk = json.dumps({"driver": "raw", "node-name": "root", "read-only": True, "file": {"driver": "file", "filename": made.stdout.strip()}})
    append = "panic=-1 rdinit=/init console=ttyAMA0 loglevel=4 systemd.show_status=1 systemd.default_timeout_start_sec=60"
    options = ["-m", "1024", "-append", append, "-blockdev", disk, "-device", "virtio-blk-device,drive=root"]
    clock = time.monotonic()
    with Debian(packed, kernel / "vmlinuz", BUILD / f"board/debian-{suite}.log", RUN_SECONDS, qemu=options) as guest:
        guest.note = lambda text: NOTES.append((suite, text))
        guest.agent.ask("sh true", seconds=BOOT_SECONDS)
        guest.note(f"{guest.sh('. /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1').replace(chr(10), ', ')}")
        guest.agent.ask("sh systemctl is-system-running --wait || true", seconds=BOOT_SECONDS)
        guest.note(f"booted in {time.monotonic() - clock:.1f} s")
        yield guest
        guest.note(f"all in {time.monotonic() - clock:.1f} s")


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

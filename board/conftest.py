"""Boots the QEMU board once for each binary, and says how long each stage took."""

import time
from pathlib import Path

import pytest

import client
import initramfs
import rig

LOGS = initramfs.BUILD
# The limit of one binary's whole run; a machine with nothing else to do takes a minute.
RUN_SECONDS = 3600

# Of a burst, many times what the kernel keeps; each costs the emulator most of a millisecond.
BURST_EDGES, LONG_BURST_EDGES = 1_500, 10_000

STAGES = []  # (binary, stage, seconds)
NOTES = []  # (binary, text)


def pytest_addoption(parser):
    parser.addoption("--binary", action="append", default=[])
    parser.addoption("--machine", default="virt")
    parser.addoption("--long", action="store_true")


def pytest_configure(config):
    config.addinivalue_line("markers", "libgpiod: of lines and edges; to be seen with either version of libgpiod")


def pytest_generate_tests(metafunc):
    if "board" in metafunc.fixturenames:
        binaries = [Path(name) for name in metafunc.config.getoption("--binary")]
        names = [path.name.removeprefix("tapline-") for path in binaries]
        metafunc.parametrize("board", binaries, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def board(request):
    """The guest, with the daemon in it ready."""
    binary = request.param
    clock = time.monotonic()

    def stage(name, seconds):
        STAGES.append((binary.name, name, seconds))

    kernel = initramfs.kernel_folder() / "vmlinuz"
    stage("kernel and modules", time.monotonic() - clock)
    clock = time.monotonic()
    machine = request.config.getoption("--machine")
    name = binary.name if machine == "virt" else f"{binary.name}.{machine}"
    packed = initramfs.pack(binary, LOGS / f"{name}.cpio", machine)
    stage("initramfs", time.monotonic() - clock)

    with rig.Guest(packed, kernel, LOGS / f"{name}.log", RUN_SECONDS, machine=machine) as guest:
        guest.name = binary.name
        guest.burst_edges = LONG_BURST_EDGES if request.config.getoption("--long") else BURST_EDGES
        guest.note = lambda text: NOTES.append((binary.name, text))
        before = 0.0
        lines = {"kernel": "kernel up", "modules": "modules loaded", "hardware": "hardware made"}
        lines["daemon"] = "^tapline: ready"
        for name, line in lines.items():
            stamp, found = guest.wait_for_line(f"{line}|tapline left|GUEST-EXIT", rig.READY_SECONDS)
            if found[0] in ("tapline left", "GUEST-EXIT"):
                raise rig.GuestError(f"the guest did not come up:\n{guest.tail()}")
            stage(name, stamp - before)
            before = stamp
        clock = time.monotonic()
        yield guest
        stage("tests", time.monotonic() - clock)
        guest.note(f"the emulator has used {guest.processor_seconds():.1f} s of processor time")
        clock = time.monotonic()
        if not guest.ended:
            guest.power_off()
        stage("power off", time.monotonic() - clock)


@pytest.fixture
def mqtt(board, request):
    """A client, and what is needed to make more: mqtt.another(name)."""
    clients = []

    def another(name):
        clients.append(client.Client(board.mqtt_port, name))
        return clients[-1]

    first = another(request.node.originalname)
    first.another = another
    yield first
    for each in clients:
        each.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Under a failed test, what the guest's console said last."""
    report = yield
    guest = getattr(item, "funcargs", {}).get("board")
    if report.failed and guest is not None:
        report.sections.append(("guest's console", guest.tail()))
    return report


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("board")
    for binary in dict.fromkeys(row[0] for row in STAGES):
        rows = [row for row in STAGES if row[0] == binary]
        parts = ", ".join(f"{name} {seconds:.1f}" for _, name, seconds in rows)
        terminalreporter.write_line(f"{binary}: {sum(row[2] for row in rows):.1f} s: {parts}")
        for _, text in (note for note in NOTES if note[0] == binary):
            terminalreporter.write_line(f"  {text}")
        terminalreporter.write_line(f"  console: {LOGS}/{binary}*.log")

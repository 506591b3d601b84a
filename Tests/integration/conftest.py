"""What all tests here share: the binary under test, daemons that end with their test, and notes for the last lines.

usage: pytest Tests/integration --tapline FILE

With TAPLINE_RUNNER in the environment ("qemu-aarch64-static -L SYSROOT") FILE is run by that: message counts are then
smaller, and the tests of memory are left out. TAPLINE_EMBEDDED names an Embedded build for this machine, for which the
tests of memory run too.

  -m smoke   some tests of each area, for a binary that differs little from one that has passed all
  -n 4       four tests at a time (pytest-xdist): they mostly wait; several rounds may run beside each other, too
  --long     what takes long by nature, message counts in full, and all tests that go through several doors

A test marked `doors` goes through TCP, and with --long through every other door as well; marked `doors("briefly")`, without
--long too. Its daemon has that door, and its clients are those of `Daemon.connect` and of `clients`.
"""

import collections
import os
import shlex
import shutil
import time
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "abuse", "clients", "daemon", "doors", "hostile", "more_clients", "operator_client", "raw", "rights", "rights_files", "rights_login",
    "rights_reading", "rights_tls", "rights_web", "rights_writing", "soak")

from daemon import Binary, Daemon  # noqa: E402
from doors import DOORS, Door, Keys  # noqa: E402

# In memory: what a daemon syncs is quick there, whatever else the machine writes to its disk.
if os.access("/dev/shm", os.W_OK):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

NOTES = []


def pytest_addoption(parser):
    parser.addoption("--tapline", required=True, help="the binary under test")
    parser.addoption("--long", action="store_true", help="also what takes long by nature")


def pytest_configure(config):
    config.addinivalue_line("markers", "memory: looks at the process's own memory; not under an emulator")
    config.addinivalue_line("markers", "long: takes long by nature; only with --long")
    config.addinivalue_line("markers", "doors: goes through every door; with \"briefly\" without --long too")
    config.addinivalue_line("markers", "emulated_step(n): under an emulator every n-th of its rows, without --long")
    config.addinivalue_line("markers", "smoke: one of the few that show that all areas work")
    config.tapline = Binary(Path(config.getoption("--tapline")).resolve(), shlex.split(os.environ.get("TAPLINE_RUNNER", "")))
    if not config.tapline.path.is_file():
        raise pytest.UsageError(f"--tapline: {config.tapline.path} is not there")
    for program in ("mosquitto_pub", "mosquitto_sub"):
        if not shutil.which(program):
            raise pytest.UsageError(f"{program} is not in PATH: run cross/install-needs test")


def pytest_collection_modifyitems(config, items):
    is_long = config.getoption("--long")
    left_out = set() if is_long else {item for item in items if item.get_closest_marker("long")}
    if config.tapline.is_emulated and not is_long:
        left_out |= between_steps(item for item in items if item not in left_out)
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    if config.tapline.is_emulated:
        for item in items:
            if item.get_closest_marker("memory"):
                item.add_marker(pytest.mark.skip(reason="the emulator's memory is not the daemon's"))


def between_steps(items):
    """The rows that `emulated_step` passes over."""
    rows, passed = collections.Counter(), set()
    for item in items:
        if marker := item.get_closest_marker("emulated_step"):
            function = (item.path, item.originalname)
            if rows[function] % marker.args[0]:
                passed.add(item)
            rows[function] += 1
    return passed


def pytest_generate_tests(metafunc):
    """Tests that take `build` run once for the binary, and once for the Embedded build where there is one."""
    if "build" in metafunc.fixturenames:
        builds = [metafunc.config.tapline]
        if embedded := os.environ.get("TAPLINE_EMBEDDED"):
            builds.append(Binary(Path(embedded).resolve(), [], is_embedded=True))
        metafunc.parametrize("build", builds, ids=[build.name for build in builds])
    if doors := metafunc.definition.get_closest_marker("doors"):
        metafunc.parametrize("door", [at_door(kind, is_brief="briefly" in doors.args) for kind in DOORS], indirect=True)


def at_door(kind, *row, is_brief):
    """A parameter for a test through a door, with those before it."""
    return pytest.param(*row, kind, marks=[] if kind == "tcp" or is_brief else pytest.mark.long)


@pytest.fixture(scope="session")
def binary(request):
    return request.config.tapline


@pytest.fixture
def some(binary, request):
    """some(1000): that many, or a tenth of it where the daemon is emulated and `--long` is not given."""
    return lambda count: max(1, count // 10) if binary.is_emulated and not request.config.getoption("--long") else count


@pytest.fixture
def note(request):
    """note(TEXT): a line under the tests' results. It travels with the test's report: xdist runs tests in processes of
    their own."""
    return lambda text: request.node.user_properties.append(("note", text))


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        NOTES.extend(text for name, text in report.user_properties if name == "note")


@pytest.fixture(scope="session")
def door_keys(tmp_path_factory):
    """An authority and the server's certificate, for all tests at doors of TLS."""
    return Keys(tmp_path_factory.mktemp("door-keys"))


@pytest.fixture
def door(request):
    """Which kind of door a daemon has, unless its test says otherwise."""
    return getattr(request, "param", "tcp")


@pytest.fixture
def make_daemon(binary, tmp_path, request, door):
    """make_daemon(CONFIGURATION...): a daemon that is ready; see `Daemon`. All are killed when the test ends."""
    daemons = []

    def make(*arguments, build=binary, **options):
        if door != "tcp":
            keys = request.getfixturevalue("door_keys")
            options.setdefault("door", Door(door, keys, tmp_path / f"door-{len(daemons)}"))
        daemon = Daemon(build, tmp_path / f"daemon-{len(daemons)}", *arguments, **options)
        daemons.append(daemon)
        daemon.start()
        return daemon

    request.node.daemons = daemons
    yield make
    for daemon in daemons:
        daemon.end()


@pytest.fixture
def daemon(make_daemon):
    """One with the defaults, $SYS every second, and no taps."""
    return make_daemon()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Under a failed test, what its daemons logged last."""
    report = yield
    if report.failed:
        for daemon in getattr(item, "daemons", []):
            report.sections.append((f"log of {daemon.folder.name}", daemon.log[-4000:]))
    return report


def pytest_sessionstart(session):
    session.started = time.monotonic()


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("notes")
    for text in sorted(NOTES):
        terminalreporter.write_line(text)
    seconds = time.monotonic() - terminalreporter._session.started
    terminalreporter.write_line(f"{config.tapline}: {seconds:.1f} s")

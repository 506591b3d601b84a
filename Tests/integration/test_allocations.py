"""From READY on the loop takes no memory, whatever clients do (allocations.c counts)."""

import itertools
import json
import mmap
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import full_board
import soak

KINDS = ["malloc", "calloc", "realloc", "memalign", "mmap", "brk"]
OFFENDERS, FRAMES, MAPPINGS = 16, 30, 32
# struct report of allocations.c, in 64-bit words.
OFFENDER_WORDS = 3 + FRAMES
MAPPINGS_START = 1 + 2 * len(KINDS) + 1
HEAD_WORDS = MAPPINGS_START + MAPPINGS + 1
BYTE_COUNT = 8 * (HEAD_WORDS + OFFENDERS * OFFENDER_WORDS)

class Report:
    def __init__(self, path):
        path.write_bytes(bytes(BYTE_COUNT))
        self.path = path
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), BYTE_COUNT)

    @property
    def words(self):
        return struct.unpack(f"={BYTE_COUNT // 8}Q", self.memory[:])

    @property
    def is_ready(self):
        return self.words[0] == 1

    def counts(self, start):
        counted = dict(zip(KINDS, self.words[start:start + len(KINDS)]))
        return {name: count for name, count in counted.items() if count}

    @property
    def loop(self):
        return self.counts(1)

    @property
    def others(self):
        return self.counts(1 + len(KINDS))

    @property
    def before(self):
        return self.words[MAPPINGS_START - 1]

    @property
    def mappings(self):
        return [size for size in self.words[MAPPINGS_START:MAPPINGS_START + MAPPINGS] if size]

    def offenders(self, pid):
        """The first calls with their stacks, in words."""
        words, entries, out = self.words, [], []
        for index in range(words[HEAD_WORDS - 1]):
            start = HEAD_WORDS + index * OFFENDER_WORDS
            kind, byte_count, depth = words[start:start + 3]
            entries.append((f"{KINDS[kind]}({byte_count})", words[start + 3:start + 3 + depth]))
        names = named(pid, [address for _, frames in entries for address in frames])
        for call, frames in entries:
            out.append(call)
            out.extend(f"    {name}" for name, _ in itertools.groupby(names[address] for address in frames))
        return "\n".join(out)


def named(pid, addresses):
    """Functions of a running process, by llvm-symbolizer or addr2line where there is one: {address: text}. Of libraries
    only their names: what matters is who called them."""
    executable = os.readlink(f"/proc/{pid}/exe")
    maps = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if found := re.match(r"(\w+)-(\w+) \S+ \w+ \S+ \d+ +(/.*)", line):
            maps.append((int(found[1], 16), int(found[2], 16), found[3]))
    base = min(start for start, _, name in maps if name == executable)
    out, offsets = {}, {}
    for address in set(addresses):
        module = next((name for start, end, name in maps if start <= address < end), "?")
        out[address] = Path(module).name
        if module == executable:
            offsets[address] = hex(address - 1 - base)  # within the call, not behind it
    for tool in (["llvm-symbolizer", "--output-style=GNU", "-s", "-f", "-p", "-e"], ["addr2line", "-s", "-f", "-p", "-e"]):
        if offsets and shutil.which(tool[0]):
            said = subprocess.run([*tool, executable, *offsets.values()], capture_output=True, text=True).stdout
            if demangle := shutil.which("swift-demangle"):
                said = subprocess.run([demangle, "--compact"], input=said, capture_output=True, text=True).stdout
            # What was inlined is on lines of its own.
            lines = [line for line in said.splitlines() if not line.startswith(" (inlined by)")]
            out.update(zip(offsets, lines))
            break
    return out


@pytest.fixture(scope="module")
def interposer(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: cc, gcc or clang"
    library = tmp_path_factory.mktemp("allocations") / "allocations.so"
    source = Path(__file__).with_name("allocations.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def make_counted(make_daemon, interposer, tmp_path, build):
    def make(configuration, **limits):
        report = Report(tmp_path / "report")
        environment = {"LD_PRELOAD": str(interposer), "TAPLINE_ALLOCATIONS": str(report.path)}
        daemon = make_daemon(configuration, build=build, environment=environment, **limits)
        assert report.is_ready and report.before > 0, "the interposer does not count"
        daemon.report = report
        return daemon

    return make


@pytest.fixture
def counted(make_counted):
    return make_counted(full_board.CONFIGURATION, **full_board.LIMITS)


def check(daemon, name):
    if loop := daemon.report.loop:
        text = f"{name}: calls of the loop's thread after READY: {loop}\n{daemon.report.offenders(daemon.pid)}"
        pytest.fail(text, pytrace=False)
    assert daemon.is_running


@pytest.mark.memory
def test_mapped_is_what_was_planned(counted):
    """One mapping of the size that `tapline plan` says, in whole pages, and no other of such a size."""
    done = counted.binary.run("plan", "-c", counted.configuration, "--json")
    planned = (json.loads(done.stdout)["loop_bytes"] + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    assert [size for size in counted.report.mappings if size > 1 << 20] == [planned]


def test_daemon_says_that_it_allocates_nothing(make_daemon, note):
    """The binary's own count, on the device's build as well."""
    daemon = make_daemon(full_board.CONFIGURATION, **full_board.LIMITS)
    for work in soak.WORK:
        work(daemon)
        said = daemon.values("$SYS/tapline/memory/#")
        assert said["$SYS/tapline/memory/allocations_after_ready"] == "0", work.__name__
    said = {topic.rpartition("/")[2]: int(value) for topic, value in daemon.figures("$SYS/tapline/memory/#").items()}
    note(f"allocations by the daemon's own count: {said}")
    assert said["allocations_after_ready"] == 0 < said["allocations_at_start"]


@pytest.mark.memory
def test_loop_allocates_nothing(counted, note, build):
    """Every kind of work in one life of the daemon, twice; memory does not move after the first round."""
    check(counted, "start")
    for work in soak.WORK:
        work(counted)
        check(counted, work.__name__)
    before = counted.memory
    for work in soak.WORK:
        work(counted)
        check(counted, work.__name__)
    after = counted.memory
    report = counted.report
    said = {topic.rpartition("/")[2]: int(value) for topic, value in counted.figures("$SYS/tapline/memory/#").items()}
    assert said["allocations_after_ready"] == 0
    # It counts, and from earlier on than this test can: what the dynamic linker takes.
    assert report.before <= said["allocations_at_start"] <= report.before + 64, (said, report.before)
    note(f"allocations of the {build.name} build's loop after READY: 0 ({report.before} before; other threads: "
         f"{report.others or 0}); {before} KiB, then {after} KiB")
    assert after["RssAnon"] - before["RssAnon"] <= 16, (before, after)


@pytest.mark.memory
def test_state_file_allocates_nothing(make_counted, tmp_path):
    """Neither composing nor writing it, nor failing to."""
    folder = tmp_path / "kept"
    folder.mkdir()
    daemon = make_counted(f"""
board: simulated
taps:
  base: b
  persist: {{file: {folder}/state, interval: 1s}}
  outputs: {{relay: {{pin: GPIO17, initial: restore}}}}
  counters: {{turns: {{pin: GPIO16, edge: both}}}}
simulation: {{presses: [{{line: GPIO16, every: 40ms, for: 20ms}}]}}
""")
    for round in range(2, 4):
        with daemon.connect("switch") as client:
            client.publish("b/relay/set", "TOGGLE", qos=1)
        daemon.wait_for_value("$SYS/tapline/state/writes", lambda text: int(text) >= round)
    (folder / "state").unlink()
    folder.rename(tmp_path / "away")
    daemon.wait_for_value("$SYS/tapline/state/failures", lambda text: int(text) >= 2)
    check(daemon, "state file")
    assert not daemon.report.others

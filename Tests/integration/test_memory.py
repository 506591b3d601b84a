"""What `tapline plan` promises is what the daemon takes."""

import json
import re
from pathlib import Path

import pytest

import full_board
import hostile

pytestmark = pytest.mark.memory

PAGE = 4096


def plan(daemon):
    done = daemon.binary.run("plan", "-c", daemon.configuration, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def anonymous_regions(pid):
    """Sizes of the process's mappings without a file or name, and those of their resident bytes, in bytes."""
    regions, size = [], None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := re.match(r"(\w+)-(\w+) \S+ \w+ \S+ \d+\s*(.*)$", line):
            size = int(found[2], 16) - int(found[1], 16) if not found[3] else None
        elif size is not None and (found := re.match(r"Rss: +(\d+) kB", line)):
            regions.append((size, 1024 * int(found[1])))
    return regions


@pytest.mark.parametrize("limits", [{}, {"connections": 200, "sessions": 400, "blocks": 10_000}, full_board.LIMITS],
                         ids=["default", "large", "small"])
def test_plan_is_what_is_mapped(make_daemon, build, limits):
    daemon = make_daemon(full_board.CONFIGURATION, build=build, **limits)
    promised = plan(daemon)
    assert promised["loop_bytes"] == sum(pool["bytes"] for pool in promised["pools"])
    size = (promised["loop_bytes"] + PAGE - 1) // PAGE * PAGE
    # The kernel shows neighbours of one kind as one: some pages of the C library's may be counted with it. Exact is
    # test_allocations.py, which sees the call.
    regions = anonymous_regions(daemon.pid)
    assert any(size <= mapped < size + 64 * 1024 and resident >= size for mapped, resident in regions), (size, regions)
    reserved = int(re.search(r"tapline: ready, (\d+) KiB reserved", daemon.log)[1])
    assert reserved == size // 1024


def test_table_and_json_say_the_same(make_daemon, build):
    daemon = make_daemon(build=build)
    table = daemon.binary.run("plan", "-c", daemon.configuration).stdout
    promised = plan(daemon)
    for pool in promised["pools"]:
        # A name may appear twice, as "free list" does.
        assert re.search(rf"^{re.escape(pool['name'])} +{pool['entries']} +{pool['entry_bytes']} +{pool['bytes']}$", table,
                         re.MULTILINE), pool
    assert re.search(rf"^the loop's memory +{promised['loop_bytes']} ", table, re.MULTILINE)
    assert promised["total_bytes"] == sum(promised[f"{part}_bytes"] for part in ("loop", "thread_stack", "kernel_socket"))
    assert promised["fits"] and table.endswith("fits\n")


def test_what_one_more_takes(build, tmp_path):
    """The plan's figures are the differences of two plans. What would follow from these limits is named, so that it stays."""
    def planned(limits):
        file = tmp_path / "one-more.yaml"
        listed = ", ".join(f"{key}: {value}" for key, value in limits.items())
        file.write_text(f"listeners: [{{address: 127.0.0.1, port: 1883}}]\nlimits: {{{listed}}}\n")
        done = build.run("plan", "-c", file, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    room = {"sessions": 65_536, "messages": 65_536, "retained": 1, "client_id_cells": 64,
            "subscriptions": 1536, "topic_nodes": 3071, "topic_name_cells": 512, "blocks": 3072, "deliveries": 3072,
            "outbox_chunks": 1152, "shared_groups": 256}
    for name, limits in {
        "connection": {"connections": 0},
        "session": {"sessions": 65_536},
        "subscription": {"subscriptions": 0, "topic_nodes": -1},
        "retained_message": {"retained": 0, "messages": 0, "blocks": 3072, "topic_nodes": -1},
        "queued_message": {"deliveries": 0, "messages": 65_536, "blocks": 3072},
    }.items():
        less, more = (planned(room | {key: start + count for key, start in limits.items()}) for count in (16_384, 32_768))
        assert less["one_more"] == more["one_more"]
        assert less["one_more"][name] == -((less["loop_bytes"] - more["loop_bytes"]) // 16_384), name


def test_plan_that_does_not_fit(build, tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("limits: {blocks: 1048576, block_bytes: 65536}\n")
    done = build.run("plan", "-c", file)
    assert done.returncode == 1, done.stdout[-300:]
    assert "DOES NOT FIT" in done.stdout


def test_idle_memory(make_daemon, build, note):
    daemon = make_daemon(build=build)
    note(f"idle, {build.name} build: {daemon.memory} KiB, of which {plan(daemon)['loop_bytes'] // 1024} are reserved")
    if build.is_embedded:
        # Of the program's file the kernel maps what lies in its cache around each page that is needed: some 250 KiB more or less.
        assert daemon.memory["RssAnon"] < 1792 and daemon.memory["VmRSS"] < 4096


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_hostile_clients_move_nothing(make_daemon, build, note, seed):
    """Hours as hostile.py counts them: memory stays as it was at READY."""
    daemon = hostile.start(make_daemon, build)
    before = hostile.settled(daemon)
    done = hostile.play(daemon, 1, seed)
    after = hostile.resident(daemon.pid)
    note(f"hostile clients, {build.name} build: {done}; {before} KiB at READY, {after} KiB after")
    assert daemon.is_running
    # Of the Embedded build, pages of the other threads' stacks. The ordinary build's runtime has data of its own beside.
    assert after["Anonymous"] - before["Anonymous"] <= (16 if build.is_embedded else 64)
    # Code, as it is paged in from files that the kernel can drop again: ours, libc's, and that of Swift's runtime.
    assert after["Rss"] - before["Rss"] <= (1024 if build.is_embedded else 4096)
    assert hostile.ask(daemon, "$SYS/tapline/memory/allocations_after_ready") == {
        "$SYS/tapline/memory/allocations_after_ready": "0"}

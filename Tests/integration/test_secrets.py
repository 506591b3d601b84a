"""A password that came in by any door is nowhere: not in the log, $SYS, the command line, the environment, or a core dump."""

import os
import re
import secrets
from pathlib import Path

import pytest

import raw
from daemon import wait
from doors import DOORS, Door
from serial_line import Line, LineStream
from test_users import password_file


def word():
    """One that nothing else in the world is."""
    return f"pw-{secrets.token_hex(12)}"


def mappings(pid):
    """(first, last, permissions, flags, name) of each."""
    row, found = None, []
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line):
            row = head
        elif line.startswith("VmFlags:"):
            found.append((int(row[1], 16), int(row[2], 16), row[3], line.split()[1:], row[4] or "anonymous"))
    return found


def where(pid, words):
    """In which mappings of the process these bytes are: {word: [(mapping, is it in a core dump)]}."""
    found = {each: [] for each in words}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for first, last, permissions, flags, name in mappings(pid):
            if "r" not in permissions or name.startswith("[v"):
                continue
            try:
                memory.seek(first)
                content = memory.read(last - first)
            except OSError:
                continue
            for each in words:
                start = 0
                while (start := content.find(each.encode(), start)) >= 0:
                    found[each].append((f"{name} {first:x}+{start:x}", "dd" not in flags))
                    start += 1
    return found


@pytest.mark.parametrize("kind", [*DOORS, "serial"])
@pytest.mark.parametrize("version", [4, 5])
def test_a_password_is_nowhere_whatever_the_door(make_daemon, door_keys, tmp_path, kind, version, note, binary):
    good, wrong, other, late, kept = word(), word(), word(), word(), word()
    passwords = tmp_path / "passwd"
    passwords.write_text(password_file({"ann": good, "admin": "admin"}))
    passwords.chmod(0o600)
    rules = "[{user: admin, readwrite: ['#', '$SYS/#']}, {user: ann, readwrite: 'ann/#'}]"
    configuration = f"users: {{password_file: {passwords}, rules: {rules}}}\nlog: {{level: debug, mqtt: debug}}\n"
    line = Line() if kind == "serial" else None
    door = Door("tcp" if line else kind, door_keys, tmp_path / "door")
    listeners = [door.listener(), *([f"{{serial: {line.path}}}"] if line else [])]
    daemon = make_daemon(configuration, listeners=listeners, door=door)
    if line:
        wait(lambda: "is open, " in daemon.log, "line")

    def client():
        return raw.Client.on(LineStream(line)) if line else door.client()

    def answer(user, password, packet=b""):
        with client() as one:
            one.version = version
            one.send(raw.connect("one", version, user=user, password=password) + packet)
            code = one.expect(raw.CONNACK).body[1]
            if code == 0:
                one.expect(raw.PUBACK)
                one.disconnect()
            return code

    assert answer("ann", wrong) != 0
    assert answer("nobody", other) != 0
    assert answer("ann", good, raw.publish("ann/x", "hello", 1, 1, version=version)) == 0
    # A second CONNECT, one that is cut, and one that is no packet: what is told of them tells nothing of what was in them.
    with client() as one:
        one.version = version
        one.send(raw.connect("two", version, user="ann", password=good))
        assert one.expect(raw.CONNACK).body[1] == 0
        one.send(raw.connect("two", version, user="ann", password=late))
        if not line:
            one.expect_close()
    if not line:
        for odd in (raw.connect("three", version, user="ann", password=late)[:-1], raw.connect("three", 7, user="ann", password=late),
                    raw.packet(0x11, raw.connect("three", version, user="ann", password=late)[2:])):
            with client() as one:
                one.send(odd)
    with door.client() as admin:
        admin.connect("admin", 5, user="admin", password="admin")
        admin.publish("kept", kept, qos=1, retain=True)
        admin.subscribe("$SYS/#", "#")
        admin.ping()
        shown = repr(admin.messages)
    wait(lambda: "login refused: user 'ann'" in daemon.log, "line")
    proc = Path(f"/proc/{daemon.pid}")
    shown += daemon.log + (proc / "cmdline").read_text() + (proc / "environ").read_text()
    for each in (good, wrong, other, late):
        assert each not in shown
    if binary.is_emulated or not os.access(proc / "mem", os.R_OK):
        return
    # What has been checked is wiped; what lies in memory all the same is in no core dump. Where it lies is told, not judged.
    found = where(daemon.pid, [good, wrong, other, late, kept])
    assert found.pop(kept)  # what is meant to be there is found
    for each, places in found.items():
        for place, is_dumped in places:
            assert not is_dumped, f"{kind}: in a core dump: {place}"
            note(f"{kind}, MQTT {version}: a password is still in memory, at {place}")

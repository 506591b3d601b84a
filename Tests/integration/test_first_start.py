"""The first start of a package and of an image (cross/package/first-start): the password it makes, the note of it that the
owner reads, and what is left of both when the power is cut.
"""

import base64
import hashlib
import itertools
import os
import re
import shlex
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon import REPOSITORY
from patience import PATIENCE_SECONDS

SCRIPT = REPOSITORY / "cross/package/first-start"
# Three groups of six, of 23 letters: over 80 bits.
PASSWORD = r"[a-hjkmnp-z]{6}(?:-[a-hjkmnp-z]{6}){2}"
# What it runs. The power is cut before one of those that change something on the disk, or before the script ends.
PROGRAMS = ("cat", "chgrp", "chmod", "cut", "dirname", "grep", "head", "mkdir", "mv", "rm", "sed", "sync", "tail", "tapline", "tr")
CHANGING = ("chgrp", "chmod", "mv", "rm", "sync", "tapline")

# Stands in for each of these programs: it notes the arguments, counts, ends the script at the count that is asked for, and
# copies what `sync` has brought to the disk: a file's bytes, a folder's names.
STEP = r"""#!/bin/sh
PATH=$REAL_PATH
name=${0##*/}
printf '%s\n' "$name" "$@" >>"$WORK/arguments"
case " $CHANGING " in
*" $name "*)
    read -r count <"$WORK/count"
    echo $((count - 1)) >"$WORK/count"
    [ "$count" -ne 0 ] || kill -KILL 0
    ;;
esac
if [ "$name" = tapline ]; then exec $TAPLINE_COMMAND "$@"; fi
[ "$name" = sync ] || exec "$name" "$@"
sync "$@" || exit
for path; do
    if [ -d "$path" ]; then ls -i1 "$path" >"$WORK/disk/${path##*/}.names"
    else cp "$path" "$WORK/disk/$(stat -c %i "$path")"; fi
done
"""


@dataclass
class Board:
    """A note and a password file in folders of their own or in one; `run` starts the script."""

    binary: object
    work: Path
    memory: bool  # whether the password file is in memory, as on the image

    def __post_init__(self):
        self.programs, self.disk, self.card = (self.work / name for name in ("programs", "disk", "card"))
        self.run_folder = self.work / "run" if self.memory else self.card
        self.note, self.file = self.card / "password.txt", self.run_folder / "passwd"
        for folder in (self.programs, self.disk, self.card, self.run_folder):
            folder.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            path = self.programs / name
            path.write_text(STEP)
            path.chmod(0o755)

    def run(self, *options, cut=10_000):
        """To its end, or killed before the step `cut`, of 0."""
        (self.work / "count").write_text(str(cut))
        environment = {
            **os.environ, "WORK": str(self.work), "CHANGING": " ".join(CHANGING), "REAL_PATH": os.environ["PATH"],
            "TAPLINE_COMMAND": shlex.join(self.binary.command()), "PATH": f"{self.programs}:{os.environ['PATH']}",
        }
        environment.pop("TAPLINE", None)
        command = ["sh", SCRIPT, *options, self.note, self.file]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, start_new_session=True)

    def lose_power(self):
        """What was not synced is gone: names are those of the last sync of the folder, files empty unless synced."""
        if self.memory:
            shutil.rmtree(self.run_folder)
            self.run_folder.mkdir()
        names = self.disk / "card.names"
        known = {int(path.name): path.read_bytes() for path in self.disk.iterdir() if path.name.isdigit()}
        kept = [line.split() for line in names.read_text().splitlines()] if names.exists() else []
        shutil.rmtree(self.card)
        self.card.mkdir()
        for inode, name in kept:
            (self.card / name).write_bytes(known.get(int(inode), b""))
        shutil.rmtree(self.disk)
        self.disk.mkdir()

    def users(self):
        """The password file's lines: {user: what of a password tells whether it is the user's}."""
        rows = [line.split(":", 1) for line in self.file.read_text().splitlines()]
        return {name: matcher(entry) for name, entry in rows}

    def noted(self):
        """The password of user tapline that the owner reads, or None."""
        found = re.findall(rf"^tapline = ({PASSWORD})$", self.note.read_text(), re.MULTILINE) if self.note.exists() else []
        assert len(found) <= 1
        return found[0] if found else None


def matcher(entry):
    empty, kind, iterations, salt, digest = entry.split("$")
    assert (empty, kind) == ("", "7")

    def matches(password):
        made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(iterations), 64)
        return made == base64.b64decode(digest)

    return matches


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[False, True], ids=["package", "image"])
def board(binary, tmp_path, request):
    return Board(binary, tmp_path, request.param)


# A first start


@pytest.mark.smoke
def test_it_makes_a_password_and_tells_it_once(board):
    done = board.run()
    assert done.returncode == 0 and done.stderr == ""
    password = board.noted()
    assert re.fullmatch(rf"clients connect as user 'tapline' with the password ({PASSWORD}), which \S+ has too\n", done.stdout)
    assert done.stdout.count(password) == 1
    assert board.users().keys() == {"tapline"} and board.users()["tapline"](password)
    assert not board.users()["tapline"](password[:-1])
    assert (mode(board.note), mode(board.file)) == (0o600, 0o600)
    assert [path.name for path in board.card.iterdir() if path.suffix == ".new"] == []
    # Not in the list of processes.
    assert password not in (board.work / "arguments").read_text()


def test_a_second_start_changes_nothing(board):
    board.run()
    before = board.note.read_bytes(), board.file.read_bytes()
    done = board.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (board.note.read_bytes(), board.file.read_bytes()) == before
    # The note may be thrown away, or say something else: the password file counts.
    board.note.unlink()
    assert board.run().returncode == 0
    assert not board.note.exists() and board.file.read_bytes() == before[1]


def test_passwords_differ(binary, tmp_path):
    made = set()
    for number in range(4):
        board = Board(binary, tmp_path / str(number), memory=False)
        board.run()
        made.add(board.noted())
    assert len(made) == 4 and None not in made


def test_a_group_may_read_the_password_file(board):
    done = board.run("--group", str(os.getgid()))
    assert done.returncode == 0
    assert (mode(board.file), board.file.stat().st_gid) == (0o640, os.getgid())
    assert mode(board.note) == 0o600


def test_no_note_no_password_file(board):
    """Nobody is to be asked for a password that the owner cannot read."""
    board.note = board.card / "absent/password.txt"
    done = board.run()
    assert done.returncode != 0 and done.stdout == ""
    assert not board.file.exists()


@pytest.mark.parametrize("words", [["--help", "x"], ["--group"], ["--named-in", "a", "b"]], ids=" ".join)
def test_wrong_usage(words):
    done = subprocess.run(["sh", SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 64 and done.stderr.startswith("usage: first-start") and not done.stdout


# What the owner wrote: users, and what is said of lines


NOTES = [
    ("tapline = mine", {"tapline": "mine"}, []),
    ("tapline=mine\nanna=hers\n", {"tapline": "mine", "anna": "hers"}, []),
    ("\ufefftapline = mine\r\nanna = hers\r\n", {"tapline": "mine", "anna": "hers"}, []),
    ("# tapline = no\n\n \t# anna = no\n  bert \t=  his own one \t\n", {"bert": "his own one"}, []),
    ("anna = a=b==\n", {"anna": "a=b=="}, []),
    ("anna = \\n%s$HOME`id`\\\n", {"anna": "\\n%s$HOME`id`\\"}, []),
    ("anna = # of course\n", {"anna": "# of course"}, []),
    ("anna = Grüße\n", {"anna": "Grüße"}, []),
    ("anna = old\nanna = new\n", {"anna": "new"}, []),
    ("-c = dash\n", {"-c": "dash"}, []),
    ("anna hers\nbert = his\n", {"bert": "his"}, ["password.txt:1: expected 'user = password'"]),
    ("bert = his\nanna =\n", {"bert": "his"}, ["password.txt:2: expected 'user = password'"]),
    ("bert = his\nan:na = hers\n= theirs\n", {"bert": "his"}, ["password.txt:2: ", "password.txt:3: "]),
]


@pytest.mark.parametrize("text, users, said", NOTES, ids=[ascii(row[0])[:40] for row in NOTES])
def test_users_of_the_note(binary, tmp_path, text, users, said):
    board = Board(binary, tmp_path, memory=True)
    board.note.write_bytes(text.encode())
    done = board.run()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"users and their passwords are those of {board.note}\n"
    lines = done.stderr.splitlines()
    assert len(lines) == len(said) and all(start in line for start, line in zip(said, lines)), lines
    assert board.note.read_bytes() == text.encode()
    assert board.users().keys() == users.keys()
    assert all(board.users()[name](password) for name, password in users.items())
    assert not set(users.values()) & set((board.work / "arguments").read_text().splitlines())


@pytest.mark.parametrize("text", ["", "\n", "# only words\n", "# no end of a line", "nobody\n", "tapline =\n", ": = mine\n", "\0\n"], ids=ascii)
def test_a_note_that_names_nobody_gets_a_password(binary, tmp_path, text):
    board = Board(binary, tmp_path, memory=True)
    board.note.write_text(text)
    done = board.run()
    assert done.returncode == 0, done.stderr
    assert board.users().keys() == {"tapline"} and board.users()["tapline"](board.noted())
    # What the owner wrote is still there.
    assert text.strip("\0\n") in board.note.read_text()
    assert done.stdout.count(board.noted()) == 1


# Only for a configuration that asks for it: an upgrade does not change who may connect


CONFIGURATIONS = [
    ("users:\n  password_file: FILE\n", True),
    ("users: {password_file: FILE, unix: {0: tapline}}\n", True),
    ("users: {unix: {0: tapline}, password_file: FILE}\n", True),
    ('"users": {"password_file": "FILE"}\r\n', True),
    ("users:\n  password_file: 'FILE'  # ours\n", True),
    ("", False),
    ("listeners:\n  - {address: 127.0.0.1, port: 1883}\n", False),
    ("# users: {password_file: FILE}\n", False),
    ("users: {}  # password_file: FILE\n", False),
    ("users: {password_file: FILEs}\n", False),
    ("users: {password_file: /elsewhere/passwd}\n", False),
    ("users: {acl_file: FILE}\n", False),
    (None, False),
]


@pytest.mark.parametrize("text, wanted", CONFIGURATIONS, ids=[ascii(row[0]) for row in CONFIGURATIONS])
def test_the_configuration_asks_for_it(binary, tmp_path, text, wanted):
    board = Board(binary, tmp_path, memory=False)
    configuration = tmp_path / "tapline.yaml"
    if text is not None:
        configuration.write_text(text.replace("FILE", str(board.file)))
    done = board.run("--named-in", configuration)
    assert done.returncode == 0
    assert (board.file.exists(), board.note.exists()) == (wanted, wanted)


# Certificates


def certificates(board):
    return {path.name: path.read_bytes() for path in (board.card / "tls").glob("*")}


def test_certificates_are_made_once(board):
    folder = board.card / "tls"
    options = ("--group", str(os.getgid()), "--certificates", folder)
    first = board.run(*options)
    assert first.returncode == 0 and first.stdout.startswith(f"clients that use TLS trust {folder}/ca.crt\nclients connect as user")
    made = certificates(board)
    assert made.keys() == {"ca.crt", "ca.key", "server.crt", "server.key"}
    assert [mode(path) for path in (folder, *sorted(folder.iterdir()))] == [0o755, 0o644, 0o600, 0o644, 0o640]
    subprocess.run(["openssl", "verify", "-CAfile", folder / "ca.crt", folder / "server.crt"], check=True, capture_output=True)
    # Beside a password file that is there, and again.
    for path in folder.iterdir():
        path.unlink()
    assert board.run(*options).stdout == f"clients that use TLS trust {folder}/ca.crt\n"
    assert board.run(*options).stdout == ""


def test_certificates_of_another_authority_are_kept(board):
    (board.card / "tls").mkdir()
    for name in ("server.crt", "server.key"):
        (board.card / "tls" / name).write_text("ours")
    assert "TLS" not in board.run("--certificates", board.card / "tls").stdout
    assert certificates(board) == {"server.crt": b"ours", "server.key": b"ours"}


def test_there_is_a_password_where_no_certificate_can_be_made(board):
    (board.card / "tls").mkdir()
    (board.card / "tls/ca.crt").write_text("no PEM")
    done = board.run("--certificates", board.card / "tls")
    assert board.users()["tapline"](board.noted()) and done.returncode == 0
    assert f"no certificates are made: {board.card}/tls/ca.crt" in done.stderr
    assert certificates(board) == {"ca.crt": b"no PEM"}


@pytest.mark.parametrize("text, wanted", [
    ("tls: {certificate: FOLDER/server.crt, key: FOLDER/server.key}\n", True),
    ("'certificate': \"FOLDER/server.crt\"\n", True),
    ("# tls: {certificate: FOLDER/server.crt}\n", False),
    ("tls: {certificate: /elsewhere/server.crt}\n", False),
    ("tls: {certificate: FOLDER/server.crts}\n", False),
], ids=ascii)
def test_the_configuration_asks_for_certificates(binary, tmp_path, text, wanted):
    board = Board(binary, tmp_path, memory=False)
    configuration = tmp_path / "tapline.yaml"
    configuration.write_text(text.replace("FOLDER", str(board.card / "tls")))
    assert board.run("--named-in", configuration, "--certificates", board.card / "tls").returncode == 0
    assert bool(certificates(board)) == wanted and not board.file.exists()


# Power cuts


@pytest.mark.emulated_step(4)
@pytest.mark.parametrize("before", [None, "# of the image\n", "tapline = my own\n"], ids=["no note", "a note of nobody", "a note"])
@pytest.mark.parametrize("loses", [False, True], ids=["all is on the disk", "only what was synced is"])
def test_power_cuts(binary, tmp_path, before, loses, request):
    for memory in (False, True):
        for cut in itertools.count():
            board = Board(binary, tmp_path / f"{memory}-{cut}", memory)
            if before is not None:
                board.note.write_text(before)
                subprocess.run([board.programs / "sync", board.note, board.card], check=True, env={
                    **os.environ, "WORK": str(board.work), "CHANGING": "", "REAL_PATH": os.environ["PATH"]})
            options = ("--group", str(os.getgid()))
            first = board.run(*options, cut=cut)
            if first.returncode == 0:
                break
            assert first.returncode < 0
            told = re.findall(PASSWORD, first.stdout)
            if loses:
                board.lose_power()
            elif memory:
                board.file.unlink(missing_ok=True)
            # Never a password that its owner cannot read.
            own = "my own" if before and "own" in before else None
            if board.file.exists():
                assert board.users()["tapline"](own or board.noted())
            second = board.run(*options)
            assert second.returncode == 0 and mode(board.file) == 0o640
            assert board.users().keys() == {"tapline"} and board.users()["tapline"](own or board.noted())
            # Who has read a password keeps it.
            assert told in ([], [board.noted()])
            assert board.run(*options).stdout == ""
        # There was something to cut: file, group and mode, sync, name, sync.
        assert cut >= 7

"""`tapline passwd` as its users meet it: what it writes is compared with Python's PBKDF2 and tried with mosquitto, which must let
the users in; files that mosquitto_passwd made stay as they are but for the line that is changed."""

import base64
import fcntl
import hashlib
import os
import pty
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from daemon import hold_port, wait
from patience import PATIENCE_SECONDS

MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
TIOCGPTN = 0x80045430  # which of /dev/pts it is; Python 3.11 has no ptsname
ITERATIONS = ["-I", "1000"]  # an emulator's pace
LINES = """# the house

ann:$6$T+S2vwg5R2RX6Ic7$jqhAtA2hkO5JrZMyQiIdeEMR91e5oQ6mtKU5HB0zFEyxWJjcRFfU7jniMu+k2QfKATKGaCrN30XKSfQ7wGu6+Q==
bob:$7$101$ZUdACFCeTsn/dsVE$L0lUbKb+cx50A45nneAqWQG1WDB8ThCQ/3JhlLqXaZf/Q8FJ46v3W9pVMD18JfHeJDf90DoiJVG0Q9sZLLTftg==
"""


def fields(line):
    """(name, iterations, salt, hash) of a line in the scheme `$7$`."""
    name, rest = line.split(":")
    nothing, scheme, iterations, salt, digest = rest.split("$")
    assert nothing == "" and scheme == "7"
    return name, int(iterations), base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)


def is_password(line, name, password, iterations=1000):
    found, count, salt, digest = fields(line)
    assert len(salt) == 12 and len(digest) == 64
    return (found, count) == (name, iterations) and digest == hashlib.pbkdf2_hmac("sha512", password, salt, count)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def file(tmp_path):
    """Where a password file is to be. What the test itself writes is for its owner only."""
    before = os.umask(0o077)
    yield tmp_path / "users"
    os.umask(before)


@pytest.fixture
def passwd(binary):
    """passwd(ARGUMENT..., password=TEXT): that is its standard input."""
    def run(*arguments, password="", **options):
        done = binary.run("passwd", *arguments, input=password, **options)
        assert not done.stdout
        return done
    return run


# What is written


@pytest.mark.smoke
@pytest.mark.parametrize("password", ["secret", "correct horse", "pässwörd", "a" * 127, "a" * 128, "a" * 129, "$7$:#", " x "],
                         ids=lambda word: f"{word[:6]}-{len(word)}")
def test_passwords_are_what_python_makes_of_them(passwd, file, password):
    done = passwd("-c", *ITERATIONS, file, "anna", password=password + "\n")
    assert done.returncode == 0 and not done.stderr
    assert is_password(file.read_text().removesuffix("\n"), "anna", password.encode())
    assert mode(file) == 0o600
    assert os.listdir(file.parent) == ["users"]


def test_the_default_is_20000_iterations(passwd, file):
    assert passwd("-c", "-b", file, "anna", "secret").returncode == 0
    assert is_password(file.read_text().strip(), "anna", b"secret", 20_000)


def test_each_line_has_its_own_salt(passwd, file):
    file.touch()
    for user in ("a", "b", "c"):
        passwd(*ITERATIONS, file, user, password="same")
    passwd(*ITERATIONS, file, "a", password="same")
    lines = file.read_text().splitlines()
    assert [line[0] for line in lines] == ["a", "b", "c"]
    assert len({fields(line)[2] for line in lines}) == 3


@pytest.mark.smoke
def test_other_lines_stay_as_they_are(passwd, file):
    file.write_text(LINES + "# the end")
    assert passwd(*ITERATIONS, file, "zoë", password="pw").returncode == 0
    text = file.read_text()
    assert text.startswith(LINES + "# the end\n") and text.endswith("\n")
    assert is_password(text.splitlines()[-1], "zoë", b"pw")
    assert passwd(*ITERATIONS, file, "ann", password="new").returncode == 0
    lines = file.read_text().splitlines()
    assert lines[:2] == LINES.splitlines()[:2] and lines[3:] == text.splitlines()[3:]
    assert is_password(lines[2], "ann", b"new")
    for user in ("ann", "zoë"):
        assert passwd("-D", file, user).returncode == 0
    assert file.read_text() == "".join(line for line in LINES.splitlines(True) if not line.startswith("ann:")) + "# the end\n"


def test_windows_line_ends_stay(passwd, file):
    file.write_bytes(LINES.replace("\n", "\r\n").encode())
    assert passwd(*ITERATIONS, file, "bob", password="new\r\n").returncode == 0
    lines = file.read_bytes().decode().split("\r\n")
    assert lines[:3] == LINES.split("\n")[:3] and lines[4] == ""
    assert is_password(lines[3], "bob", b"new")


@pytest.mark.parametrize("permissions", [0o600, 0o400, 0o640, 0o660, 0o644])
def test_owner_group_and_permissions_stay(passwd, file, permissions):
    file.write_text(LINES)
    file.chmod(permissions)
    if os.getuid() == 0:
        os.chown(file, 4711, 4712)
    done = passwd(*ITERATIONS, file, "new", password="pw")
    assert done.returncode == 0 and mode(file) == permissions
    assert ("any user of this machine" in done.stderr) == (permissions == 0o644)
    if os.getuid() == 0:
        assert (file.stat().st_uid, file.stat().st_gid) == (4711, 4712)


def test_a_file_without_a_folder_in_its_name(passwd, file):
    """It lies in the working directory, which is synced then."""
    assert passwd("-c", *ITERATIONS, "users", "anna", password="pw", cwd=file.parent).returncode == 0
    assert is_password(file.read_text().strip(), "anna", b"pw")


# What is refused


@pytest.mark.parametrize("arguments, content, said", [
    (["-c", "FILE", "anna"], LINES, "the file is there already; without -c the user is added to it"),
    (["FILE", "anna"], None, "there is no such file; make it with tapline passwd -c"),
    (["-D", "FILE", "anna"], LINES, "there is no user 'anna'"),
    (["-D", "FILE", "anna"], None, "there is no such file"),
    (["FILE", ""], LINES, "the user name is empty"),
    (["FILE", "an:na"], LINES, "the user name has a colon"),
    (["FILE", "anna\n"], LINES, "the user name has a control character"),
    (["FILE", "#anna"], LINES, "the user name begins with #"),
    (["FILE", " anna"], LINES, "the user name begins or ends with a blank"),
    (["FILE", "n" * 256], LINES, "the user name is longer than 255 bytes"),
    (["FILE", b"\xff"], LINES, "the user name is not UTF-8 text"),
    (["FILE", "anna"], "root:x:0:0:root:/root:/bin/bash\n", "line 1 is neither USER:HASH nor a comment"),
    (["FILE", "anna"], "# x\nlisteners: a\n  - b\n", "line 3 is neither USER:HASH nor a comment"),
    (["FILE", "anna"], "#" * (1 << 20) + "\n", "the file is larger than the limit of 1048576 bytes"),
    (["FOLDER", "anna"], None, "this is a directory"),
    (["/dev/null", "anna"], None, "this is no regular file"),
    (["-c", "FOLDER/none/users", "anna"], None, "the file cannot be written: No such file or directory"),
], ids=lambda value: str(value)[:30])
def test_refused(passwd, file, arguments, content, said):
    if content is not None:
        file.write_text(content)
    words = [word if isinstance(word, bytes) else word.replace("FILE", str(file)).replace("FOLDER", str(file.parent)) for word in arguments]
    done = passwd(*map(os.fsdecode, words), password="secret word\n")
    assert done.returncode == 70 and said in done.stderr and done.stderr.startswith("tapline passwd: ")
    assert "secret" not in done.stderr and "$7$" not in done.stderr
    assert (file.read_text() if file.exists() else None) == content
    assert os.listdir(file.parent) == (["users"] if content is not None else [])


@pytest.mark.parametrize("password, said", [
    ("", "the password is empty"), ("\n", "the password is empty"), ("\r\nx", "the password is empty"),
    ("x" * 65_536 + "\n", "the password is longer than 65535 bytes"),
], ids=["nothing", "an empty line", "a Windows line", "too long"])
def test_passwords_that_are_refused(passwd, file, password, said):
    file.write_text(LINES)
    done = passwd(file, "anna", password=password)
    assert done.returncode == 70 and said in done.stderr and file.read_text() == LINES


def test_an_empty_password_on_the_command_line(passwd, file):
    done = passwd("-c", "-b", file, "anna", "")
    assert done.returncode == 70 and "the password is empty" in done.stderr and not file.exists()


def test_a_link_is_not_replaced(passwd, file):
    (file.parent / "real").write_text(LINES)
    file.symlink_to("real")
    done = passwd(file, "anna", password="pw")
    assert done.returncode == 70 and "this is a symbolic link" in done.stderr
    assert file.is_symlink() and file.read_text() == LINES


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(passwd, file):
    file.write_text(LINES)
    file.parent.chmod(0o500)
    done = passwd(file, "anna", password="pw")
    file.parent.chmod(0o700)
    assert done.returncode == 70 and "the file cannot be written: Permission denied" in done.stderr


# Terminals


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        self.shown = b""

    def until(self, text):
        while text not in self.shown:
            assert select.select([self.fd], [], [], PATIENCE_SECONDS)[0], f"no {text} but {self.shown}"
            self.shown += self._read()

    def type(self, text):
        os.write(self.fd, text)

    def open(self):
        """The command's end of the terminal."""
        number = struct.unpack("i", fcntl.ioctl(self.fd, TIOCGPTN, bytes(4)))[0]
        return os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)

    def is_echoing(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def status(self):
        """Reads to the end."""
        while data := self._read():
            self.shown += data
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status

    def _read(self):
        try:
            return os.read(self.fd, 4096)
        except OSError:  # EIO: the other end is closed
            return b""


def ask(binary, file, *passwords):
    """Answers the questions; the status and what was shown."""
    terminal = Terminal(binary.command("passwd", *ITERATIONS, file, "anna"))
    for question, password in zip([b"Password: ", b"Password again: "], passwords):
        terminal.until(question)
        assert not terminal.is_echoing()
        terminal.type(password)
    return terminal.status(), terminal.shown.replace(b"\r\n", b"\n")


@pytest.mark.smoke
def test_a_terminal_asks_twice_and_shows_nothing(binary, file):
    file.write_text(LINES)
    status, shown = ask(binary, file, b"sesame\n", b"sesame\n")
    assert status == 0 and shown == b"Password: \nPassword again: \n"
    assert is_password(file.read_text().splitlines()[-1], "anna", b"sesame")


def test_passwords_that_differ(binary, file):
    file.write_text(LINES)
    status, shown = ask(binary, file, b"sesame\n", b"sesam\n")
    assert status == 70 and shown.endswith(b"\ntapline passwd: the two passwords differ; nothing is changed\n")
    assert b"sesam" not in shown and file.read_text() == LINES


def test_a_terminal_without_a_password(binary, file):
    file.write_text(LINES)
    status, shown = ask(binary, file, b"\n")
    assert status == 70 and b"the password is empty" in shown and b"again" not in shown


@pytest.mark.parametrize("end", [b"\x03", signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_while_it_asks(binary, file, end):
    file.write_text(LINES)
    terminal = Terminal(binary.command("passwd", file, "anna"))
    terminal.until(b"Password: ")
    keep = terminal.open()  # so that its settings outlive the command
    terminal.type(b"half a pass")
    terminal.type(end) if isinstance(end, bytes) else os.kill(terminal.pid, end)
    terminal.until(b"interrupted; nothing is changed")
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 70
    # What is typed may reach the terminal late, when it shows again what is typed.
    assert terminal.is_echoing() and b"half" not in terminal.shown.partition(b"interrupted")[0] and file.read_text() == LINES
    os.close(keep)
    os.close(terminal.fd)


# Who else sees it


def test_a_password_on_the_command_line_is_soon_gone(binary, file):
    """The command is held up where it warns of the file: nobody reads its standard error, which is full."""
    if binary.is_emulated:
        pytest.skip("the arguments in /proc are the emulator's")
    file.write_text(LINES)
    file.chmod(0o644)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    for size in (4096, 1):
        try:
            while True:
                filled += os.write(writer, b"." * size)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    process = subprocess.Popen(binary.command("passwd", "-b", *ITERATIONS, file, "anna", "sesame"), stderr=writer)
    os.close(writer)
    try:
        arguments = wait(lambda: (words := Path(f"/proc/{process.pid}/cmdline").read_bytes()) and b"sesame" not in words and words,
                         "arguments without the password")
        assert b"anna" in arguments and process.poll() is None and file.read_text() == LINES
        with open(reader, "rb") as said:
            assert b"any user of this machine" in said.read()[filled:]
        assert process.wait(PATIENCE_SECONDS) == 0
        assert is_password(file.read_text().splitlines()[-1], "anna", b"sesame")
    finally:
        process.kill()
        process.wait()


# mosquitto


@pytest.fixture
def mosquitto(tmp_path):
    """mosquitto(FILE): its port; it lets in the users of that file only."""
    if not MOSQUITTO:
        pytest.fail("mosquitto is not in PATH: run cross/install-needs test")
    processes = []
    holder = hold_port()
    port = holder.getsockname()[1]

    def start(file):
        configuration = tmp_path / "mosquitto.conf"
        configuration.write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {file}\n")
        log = open(tmp_path / "mosquitto.log", "w")
        processes.append(subprocess.Popen([MOSQUITTO, "-v", "-c", str(configuration)], stdout=log, stderr=log))
        wait(lambda: " running" in (tmp_path / "mosquitto.log").read_text(), "mosquitto that runs")
        return port

    yield start
    for process in processes:
        process.kill()
        process.wait()
    holder.close()


def lets_in(port, user, password):
    done = subprocess.run(["mosquitto_pub", "-p", str(port), "-u", user, "-P", password, "-t", "t", "-m", "x", "-q", "1"],
                          capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode in (0, 5), done.stderr  # 5: not authorised
    return done.returncode == 0


def test_mosquitto_lets_the_users_in(passwd, mosquitto, file):
    users = {"anna": "secret", "zoë": "pässwörd", "bob": "b" * 129}
    file.write_text(LINES)
    for user, password in users.items():
        assert passwd(*ITERATIONS, file, user, password=password).returncode == 0
    assert passwd("-b", file, "costly", "default iterations").returncode == 0
    port = mosquitto(file)
    for user, password in users.items():
        assert lets_in(port, user, password)
        assert not lets_in(port, user, password + "x")
    assert lets_in(port, "costly", "default iterations")
    assert lets_in(port, "ann", "secret") and not lets_in(port, "ann", "Secret")  # mosquitto_passwd's own line
    assert not lets_in(port, "bob", "correct horse")  # the old password


def test_what_mosquitto_passwd_wrote_stays(passwd, file):
    for scheme in ("sha512", "sha512-pbkdf2"):
        new = [] if file.exists() else ["-c"]
        subprocess.run(["mosquitto_passwd", *new, "-b", "-H", scheme, str(file), scheme, "pw"], check=True, capture_output=True)
    before = file.read_text()
    assert passwd(*ITERATIONS, file, "anna", password="pw").returncode == 0
    assert passwd("-D", file, "anna").returncode == 0
    assert file.read_text() == before
    assert passwd("-D", file, "sha512").returncode == 0
    assert file.read_text() == "".join(line for line in before.splitlines(True) if not line.startswith("sha512:"))

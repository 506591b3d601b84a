"""How the process begins: closed standard descriptors, and a kernel without random numbers."""

import ctypes
import itertools
import os
import platform
import struct

import pytest

from daemon import wait

CLOSE = {0: "0<&-", 1: "1>&-", 2: "2>&-"}
SUBSETS = [subset for count in range(4) for subset in itertools.combinations(CLOSE, count)]


def closing(descriptors, command):
    """The command, started without these descriptors."""
    redirections = " ".join(CLOSE[fd] for fd in descriptors)
    return ["sh", "-c", f'exec "$@" {redirections}', "sh", *command]


@pytest.fixture
def native(build):
    if build.is_emulated:
        pytest.skip("the emulator's own descriptors and calls are in the way")
    return build


@pytest.mark.parametrize("closed", SUBSETS, ids=lambda subset: "".join(map(str, subset)) or "none")
def test_closed_descriptors_are_filled(native, make_daemon, closed):
    """No descriptor of the daemon's own is 0, 1 or 2: log lines would go to it."""
    daemon = make_daemon(
        "board: simulated\ntaps:\n  persist: FOLDER/state\n  outputs: {lamp: {pin: GPIO17}}\n",
        build=native, wrap=lambda command: closing(closed, command), awaits_ready=2 not in closed)
    with wait(lambda: attempt(daemon), "connection"):
        for fd in closed:
            assert os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == "/dev/null"
        if 2 not in closed:
            assert os.readlink(f"/proc/{daemon.pid}/fd/2") == str(daemon.log_file)
    assert daemon.stop() == 0


def attempt(daemon):
    """A client; None while nobody listens."""
    assert daemon.is_running
    try:
        return daemon.connect("c")
    except ConnectionRefusedError:
        return None


@pytest.mark.parametrize("arguments", [["--version"], ["check", "-c", "FILE"], ["plan", "-c", "FILE"]], ids=" ".join)
def test_closed_descriptors_do_no_harm_to_commands(native, tmp_path, arguments):
    file = tmp_path / "tapline.yaml"
    file.write_text("listeners: [{address: 127.0.0.1, port: 1883}]\n")
    words = [str(file) if word == "FILE" else word for word in arguments]
    whole = native.run(*words)
    assert whole.stdout
    for closed in SUBSETS:
        done = native.run(*words, wrap=lambda command: closing(closed, command))
        assert done.returncode == whole.returncode
        assert bool(done.stdout) == (1 not in closed)


def refuse_random_numbers():
    """seccomp(2): getrandom(2) is a call that this kernel does not have."""
    number = {"x86_64": 318, "aarch64": 278}[platform.machine()]
    enosys = 38
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | enosys), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("HBBI", *line) for line in code)
    memory = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, filter_mode, header, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def test_no_start_without_random_numbers(native, tmp_path):
    file = tmp_path / "tapline.yaml"
    file.write_text("listeners: [{address: 127.0.0.1, port: 1883}]\n")
    done = native.run("run", "-c", file, preexec_fn=refuse_random_numbers)
    assert done.returncode == 70
    assert "the kernel gives no random numbers: Function not implemented" in done.stderr

"""The QEMU board as the host sees it: one guest, its console, its MQTT port and its agent."""

import ctypes
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

BOARD = Path(__file__).resolve().parent

# Tries with another host port when somebody took the one just found free.
PORT_TRIES = 5
# Seconds of an agent's answer, and from the guest's last word to the end of QEMU.
ANSWER_SECONDS = 20
POWEROFF_SECONDS = 10
PR_SET_PDEATHSIG = 1


class GuestError(Exception):
    """The guest did not do what was asked; says what it answered or wrote last."""


class Guest:
    """A running guest. It is killed by close(), by the time limit, and with this process.

    initramfs: of board/pack-initramfs    kernel: of board/kernel-modules
    log: file for the console, each line after the seconds since the start
    seconds: the limit of the whole run
    """

    def __init__(self, initramfs, kernel, log, seconds=120, echo=False):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-board-")
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.lines = []  # (seconds since the start, text)
        self.changed = threading.Condition()
        self.ended = False
        for _ in range(PORT_TRIES):
            self.mqtt_port = free_port()
            self.qemu = self.start(initramfs, kernel)
            self.agent = Agent(Path(self.folder.name) / "agent", self)
            if self.agent.connected:
                break
            if "host forwarding" not in (why := self.qemu.communicate()[0]):
                raise GuestError(f"qemu did not start: {why}")
        self.reader = threading.Thread(target=self.read_console, args=(Path(log), echo), daemon=True)
        self.reader.start()
        self.limit = threading.Timer(seconds, self.qemu.kill)
        self.limit.daemon = True
        self.limit.start()

    def start(self, initramfs, kernel):
        agent = Path(self.folder.name) / "agent"
        forward = f"hostfwd=tcp:127.0.0.1:{self.mqtt_port}-10.0.2.15:1883"
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-smp", "1", "-m", "512", "-no-reboot"]
        command += ["-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio"]
        command += ["-netdev", f"user,id=net,restrict=on,{forward}", "-device", "virtio-net-device,netdev=net"]
        command += ["-chardev", f"socket,id=agent,path={agent},server=on,wait=off"]
        command += ["-device", "virtio-serial-device", "-device", "virtserialport,chardev=agent"]
        command += ["-kernel", str(kernel), "-initrd", str(initramfs)]
        command += ["-append", "console=ttyAMA0 quiet panic=-1 rdinit=/init"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", preexec_fn=die_with_parent,
        )

    def read_console(self, log, echo):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as file:
            for line in self.qemu.stdout:
                stamp, text = time.monotonic() - self.started, line.rstrip()
                print(f"{stamp:8.3f} {text}", file=file, flush=True)
                if echo:
                    print(f"{stamp:8.3f} {text}", flush=True)
                with self.changed:
                    self.lines.append((stamp, text))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    # The console

    def wait_for_line(self, pattern, seconds):
        """The seconds since the start and the match of the first console line that `pattern` is found in."""
        end = min(time.monotonic() + seconds, self.deadline)
        with self.changed:
            while True:
                for stamp, text in self.lines:
                    if found := re.search(pattern, text):
                        return stamp, found
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    raise GuestError(f"no console line like {pattern!r}; the last lines:\n{self.tail()}")
                self.changed.wait(left)

    def tail(self, count=25):
        return "\n".join(f"{stamp:8.3f} {text}" for stamp, text in self.lines[-count:])

    # The agent

    def read(self, path):
        """A file of the guest's, without the last newline."""
        return self.agent.ask(f"read {path}").rstrip("\n")

    def write(self, path, value):
        self.agent.ask(f"write {path} {value}")

    def sh(self, command):
        """What a shell command prints; it must succeed."""
        return self.agent.ask(f"sh {command}").rstrip("\n")

    def power_off(self, status=0):
        """End the guest in good order and return the status its last line names."""
        self.agent.send(f"exit {status}")
        _, found = self.wait_for_line(r"GUEST-EXIT rc=(\d+)", POWEROFF_SECONDS)
        try:
            self.qemu.wait(POWEROFF_SECONDS)
        except subprocess.TimeoutExpired:
            raise GuestError("the guest did not power off") from None
        return int(found[1])

    def close(self):
        self.limit.cancel()
        self.qemu.kill()
        self.qemu.wait()
        self.reader.join(5)
        self.agent.close()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Agent:
    """The host's end of board/guest/agent, over a virtio serial port."""

    def __init__(self, path, guest):
        self.guest = guest
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        self.connected = False
        while not self.connected and guest.qemu.poll() is None:
            try:
                self.socket.connect(str(path))
                self.connected = True
            except OSError:
                time.sleep(0.01)
        self.file = self.socket.makefile("rb")

    def send(self, request):
        self.socket.sendall(request.encode() + b"\n")

    def ask(self, request, seconds=ANSWER_SECONDS):
        """What the agent answers to one request. The guest not yet having come up counts as slow, not as wrong."""
        with self.lock:
            self.socket.settimeout(min(seconds, max(0.1, self.guest.deadline - time.monotonic())))
            try:
                self.send(request)
                head = self.file.readline().split()
                if len(head) != 2:
                    raise GuestError(f"the guest is gone at {request!r}; the last lines:\n{self.guest.tail()}")
                text = self.file.read(int(head[1])).decode(errors="replace")
            except OSError as error:
                raise GuestError(f"{request!r}: {error}; the last lines:\n{self.guest.tail()}") from None
        if head[0] != b"0":
            raise GuestError(f"{request!r} failed ({head[0].decode()}): {text.strip()}")
        return text

    def close(self):
        self.file.close()
        self.socket.close()


def free_port():
    """A TCP port of the loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    """In the child: be killed when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kernel_folder():
    """The directory of board/kernel-modules, made now if it is not there."""
    run = subprocess.run([BOARD / "kernel-modules"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(run.stdout.strip())


def pack(binary, output):
    """board/pack-initramfs"""
    subprocess.run([BOARD / "pack-initramfs", binary, "--output", output], stdout=subprocess.DEVNULL, check=True)
    return Path(output)

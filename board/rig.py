"""The QEMU board as the host sees it: one guest, its console, its MQTT port and its agent."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import emulator

BOARD = Path(__file__).resolve().parent

# Tries with another host port when somebody took the one just found free.
PORT_TRIES = 5
# Seconds after which what does not come is taken to come never, on a machine that has other things to do as well: an
# answer of the agent, the end of QEMU after the guest's last word, a daemon that is ready.
ANSWER_SECONDS = 300
POWEROFF_SECONDS = 600
READY_SECONDS = 600
# The guest's time is counted, 4 ns an instruction; while it has nothing to do its time is this machine's.
COUNTED = ("-icount", "shift=2,sleep=on")
PR_SET_PDEATHSIG = 1
TRACE = "/sys/kernel/tracing/trace"
# For a guest's shell: prints its time of day, in seconds
NOW = "adjtimex | awk '/tv_sec/ {s = $2} /tv_usec/ {printf \"%d.%06d\\n\", s, $2}'"


@dataclass
class Change:
    """What the kernel did with a line, and when by its monotonic clock. Either is None where it is not told."""

    seconds: float
    level: bool | None
    is_output: bool | None


class Account:
    """The kernel's trace of its lines."""

    def __init__(self, text, base):
        self.changes = {}
        for row in text.splitlines():
            head, _, event = row.partition(": gpio_")
            kind, number, what = event.split()[:3]
            change = Change(float(head.split()[-1]), None, None)
            if kind == "value:":
                change.level = event.endswith("set 1")
            else:
                change.is_output = what == "out"
            self.changes.setdefault(int(number) - base, []).append(change)

    def history(self, line):
        """Changes of line GPIO`line`, in order."""
        return self.changes.get(line, [])

    def levels(self, line):
        """[(seconds, level)]: the electrical levels that the line was driven to, repetitions left out."""
        found = []
        for change in self.history(line):
            if change.level is not None and (not found or found[-1][1] != change.level):
                found.append((change.seconds, change.level))
        return found

    def directions(self, line):
        return [change.is_output for change in self.history(line) if change.is_output is not None]


class GuestError(Exception):
    """The guest did not do what was asked; says what it answered or wrote last."""


class Guest:
    """A running guest. It is killed by close(), by the time limit, and with this process.

    initramfs: of board/pack-initramfs    kernel: of board/kernel-modules
    machine: virt or raspi3b
    log: file for the console, each line after the seconds since the start
    seconds: the limit of the whole run
    qemu: more options for the emulator
    clock: the emulator's options for the guest's time. By default it is counted: on a busy machine the guest is slow, and
    does not notice. What it does by itself takes it the same time on every machine, if it is awake() meanwhile.
    """

    def __init__(self, initramfs, kernel, log, seconds=120, echo=False, machine="virt", qemu=(), clock=COUNTED):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-board-")
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.lines = []  # (seconds since the start, text)
        self.changed = threading.Condition()
        self.ended = False
        self.machine, self.options = machine, (*clock, *qemu)
        self.agent_path, self.qmp_path = (Path(self.folder.name) / name for name in ("agent", "qmp"))
        for _ in range(PORT_TRIES):
            self.mqtt_port, self.tls_port, self.agent_port = free_port(), free_port(), free_port()
            self.qemu = self.start(initramfs, kernel)
            self.agent = Agent(self)
            if self.agent.wait_for_socket(self.qmp_path):
                break
            if "host forwarding" not in (why := self.qemu.communicate()[0]):
                raise GuestError(f"qemu did not start: {why}")
        self.reader = threading.Thread(target=self.read_console, args=(Path(log), echo), daemon=True)
        self.reader.start()
        self.limit = threading.Timer(seconds, self.qemu.kill)
        self.limit.daemon = True
        self.limit.start()

    def start(self, initramfs, kernel):
        program, version = emulator.find() if self.machine == "raspi3b" else ("qemu-system-aarch64", None)
        command = [program, "-M", self.machine, "-no-reboot", "-display", "none", "-monitor", "none"]
        command += ["-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        command += ["-kernel", str(kernel), "-initrd", str(initramfs)]
        kernel_options = f"quiet panic=-1 rdinit=/init MACHINE={self.machine} "
        network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.mqtt_port}-10.0.2.15:1883"
        network += f",hostfwd=tcp:127.0.0.1:{self.tls_port}-10.0.2.15:8883"
        if self.machine == "raspi3b":
            self.has_thermometer = version >= emulator.TMP105_VERSION
            network += f",hostfwd=tcp:127.0.0.1:{self.agent_port}-10.0.2.15:2000"
            command += ["-dtb", str(kernel.with_name("raspi3b.dtb")), "-serial", "null", "-serial", "stdio"]
            command += ["-netdev", network, "-device", "usb-net,netdev=net"]
            # The other three would spin until the kernel calls them, which it does not (maxcpus).
            command += ["-global", "bcm2837.enabled-cpus=1"]
            if self.has_thermometer:
                command += ["-device", "tmp105,id=thermometer,bus=i2c-bus.1,address=0x48"]
            kernel_options += "console=ttyS1,115200 maxcpus=1"
        else:
            command += ["-cpu", "cortex-a53", "-smp", "1", "-m", "512", "-nodefaults", "-serial", "stdio"]
            # A keyboard, for its LEDs; its driver wants virtio 1. The guest numbers these devices from the last one on.
            command += ["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-keyboard-device"]
            command += ["-netdev", network, "-device", "virtio-net-device,netdev=net"]
            command += ["-chardev", f"socket,id=agent,path={self.agent_path},server=on,wait=off"]
            command += ["-device", "virtio-serial-device", "-device", "virtserialport,chardev=agent"]
            kernel_options += "console=ttyAMA0"
        command += ["-append", kernel_options, *self.options]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", preexec_fn=die_with_parent,
        )

    def processor_seconds(self):
        """What the emulator has used of this machine's processors, which does not depend on how busy they are."""
        fields = Path(f"/proc/{self.qemu.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def qmp(self, command, **arguments):
        """One command of QEMU's own control socket, and what it returns."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(ANSWER_SECONDS)
            control.connect(str(self.qmp_path))
            file = control.makefile("rw")

            def ask(request):
                file.write(json.dumps(request) + "\n")
                file.flush()
                while True:
                    answer = json.loads(file.readline())
                    if "error" in answer:
                        raise GuestError(f"{request}: {answer['error']}")
                    if "return" in answer:
                        return answer["return"]

            file.readline()  # the greeting
            ask({"execute": "qmp_capabilities"})
            return ask({"execute": command, "arguments": arguments})

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

    def wait_for_line(self, pattern, seconds=READY_SECONDS, since=0):
        """The seconds since the start and the match of the first console line that `pattern` is found in.

        since: lines of the console to leave out"""
        end = min(time.monotonic() + seconds, self.deadline)
        with self.changed:
            while True:
                for stamp, text in self.lines[since:]:
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

    # Its time

    def now(self):
        """The guest's time of day, in seconds."""
        return float(self.sh(NOW))

    def rest(self, seconds):
        """Let so much of the guest's time pass, at least."""
        self.sh(f"usleep {seconds * 1e6:.0f}")

    @contextlib.contextmanager
    def awake(self):
        """The guest's processor always has something to do: all its time is counted in instructions, and no pause of
        this machine is in it."""
        self.sh("awake & echo $! > /run/awake.pid")
        try:
            yield
        finally:
            self.sh("kill $(cat /run/awake.pid)")

    # The daemon

    def serve(self, configuration, user="root"):
        """Start the daemon with a file of /etc and wait until it is ready."""
        since = len(self.lines)
        self.sh(f"serve /etc/{configuration} {user} &")
        _, found = self.wait_for_line("^tapline: ready|tapline left", since=since)
        if found[0] == "tapline left":
            raise GuestError(f"the daemon did not start:\n{self.tail()}")

    def stop(self, signal="TERM"):
        """End the daemon; its exit status and the seconds that it took."""
        asked = float(self.sh(f"cut -d ' ' -f 1 /proc/uptime; kill -{signal} $(cat /run/tapline.pid)"))
        status, when = self.sh("until [ -s /run/tapline.left ]; do usleep 5000; done; cat /run/tapline.left").split()
        return int(status), float(when) - asked

    def is_stopped(self):
        return self.sh("test -s /run/tapline.left && echo yes || echo no") == "yes"

    # The kernel's account of its lines

    def forget_history(self):
        self.write(TRACE, "")

    def account(self):
        """What the kernel did with the simulated chip's lines since forget_history()."""
        base = int(self.read("/run/gpio-base"))
        return Account(self.sh(f"grep ': gpio_[vd]' {TRACE} || true"), base)

    def history(self, line):
        return self.account().history(line)

    def levels(self, line):
        return self.account().levels(line)

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
    """The host's end of board/guest/agent: a virtio serial port, or a connection where the machine has none."""

    def __init__(self, guest):
        self.guest = guest
        self.lock = threading.Lock()
        self.socket = None
        self.file = None

    def wait_for_socket(self, path):
        """Whether QEMU came up: its sockets are there."""
        while not path.exists() and self.guest.qemu.poll() is None:
            time.sleep(0.01)
        return path.exists()

    def connect(self):
        if self.guest.machine == "raspi3b":
            self.guest.wait_for_line("board: .* hardware made")
            # QEMU takes the connection before the guest listens, and drops it then.
            while not self.answers():
                if time.monotonic() > self.guest.deadline:
                    raise GuestError(f"the guest's agent does not answer:\n{self.guest.tail()}")
                time.sleep(0.2)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(self.guest.agent_path))
            self.file = self.socket.makefile("rb")

    def answers(self):
        self.socket = socket.create_connection(("127.0.0.1", self.guest.agent_port), ANSWER_SECONDS)
        self.file = self.socket.makefile("rb")
        try:
            self.socket.sendall(b"sh true\n")
            return self.file.readline() == b"0 0\n"
        except OSError:
            return False

    def send(self, request):
        if self.socket is None:
            self.connect()
        self.socket.sendall(request.encode() + b"\n")

    def ask(self, request, seconds=ANSWER_SECONDS):
        """What the agent answers to one request. The guest not yet having come up counts as slow, not as wrong."""
        with self.lock:
            if self.socket is None:
                self.connect()
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
        if self.socket is not None:
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

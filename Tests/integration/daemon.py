"""A daemon of a test: its configuration, its start and end, what it says of itself."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import raw
from doors import Door
from patience import PATIENCE_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]

# Becomes the command, with these descriptors from 3 on: its process's number is known only there.
PASS_SOCKETS = """
import os, sys
copies = [os.dup(int(fd)) for fd in sys.argv[1].split(",")]
copies = [os.dup2(fd, 100 + index) for index, fd in enumerate(copies)]
for index, fd in enumerate(copies):
    os.dup2(fd, 3 + index)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(copies))}
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Binary:
    path: Path
    runner: list = field(default_factory=list)  # the words before `path`
    is_embedded: bool = False

    @property
    def name(self):
        return "Embedded" if self.is_embedded else "host"

    @property
    def is_emulated(self):
        return bool(self.runner)

    def command(self, *arguments):
        return [*self.runner, str(self.path), *map(str, arguments)]

    def run(self, *arguments, wrap=lambda command: command, **options):
        """To its end, with what it printed as text. `wrap` makes another command of its words."""
        options = {"capture_output": True, "text": True, "timeout": PATIENCE_SECONDS} | options
        return subprocess.run(wrap(self.command(*arguments)), **options)

    def __str__(self):
        return " ".join([*(Path(word).name for word in self.runner[:1]), self.path.name])


def wait(condition, what, seconds=PATIENCE_SECONDS):
    """The first true value of `condition`, asked again and again."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.005)
    return value


def hold_port():
    """A socket that is bound to a port of the loopback and does not listen. While it is open, the kernel gives that
    port to nobody who asks for any free one. Tapline, which names it and sets SO_REUSEADDR as this does, can listen
    there."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Daemon:
    """`configuration` is YAML without listeners, in which FOLDER is the daemon's own; `limits` are the keys of its section of that name.
    `door` is what clients come in by, unless `listeners` say otherwise. `wrap` makes another command of its words. Unless it
    `awaits_ready`, `start` does not wait."""

    def __init__(
            self, binary, folder, configuration="", listeners=None, environment=None, sockets=(),
            wrap=lambda command: command, awaits_ready=True, door=None, **limits):
        self.binary = binary
        self.folder = folder
        self.port_holder = hold_port()
        self.port = self.port_holder.getsockname()[1]
        self.door = door or Door("tcp")
        self.door.port = self.port
        self.environment = environment or {}
        self.sockets = sockets  # passed as a service manager does
        self.wrap = wrap
        self.awaits_ready = awaits_ready
        self.process = None
        folder.mkdir()
        lines = [listener.replace("PORT", str(self.port)) for listener in listeners or [self.door.listener()]]
        limits = {"sys_interval_seconds": 1} | limits
        self.configuration = folder / "tapline.yaml"
        self.configuration.write_text(
            "listeners: [" + ", ".join(lines) + "]\n"
            + "limits: {" + ", ".join(f"{name}: {value}" for name, value in limits.items()) + "}\n"
            + configuration.replace("FOLDER", str(folder)))
        self.log_file = folder / "log"

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # Start and end

    def launch(self):
        """Starts it, without waiting."""
        command, options = self.wrap(self.binary.command("run", "-c", self.configuration)), {}
        if self.sockets:
            command = [sys.executable, "-c", PASS_SOCKETS, ",".join(str(socket.fileno()) for socket in self.sockets), *command]
            options["pass_fds"] = [socket.fileno() for socket in self.sockets]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | self.environment, **options)

    def start(self):
        self.launch()
        if not self.awaits_ready:
            return
        wait(lambda: "tapline: ready" in self.log or self.process.poll() is not None, "ready line")
        assert self.is_running, f"exit status {self.process.returncode}: {self.log}"

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds=PATIENCE_SECONDS):
        """SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        if self.is_running:
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def end(self):
        """Kills it and gives its port back. A build that counts its lines is asked to end first: killed, it counts nothing."""
        if self.is_running and "LLVM_PROFILE_FILE" in os.environ:
            self.process.send_signal(signal.SIGCONT)
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        self.port_holder.close()

    # What it says

    def client(self, **options):
        """A raw client that has said nothing yet."""
        return raw.Client(self.port, **options) if self.door.kind == "tcp" else self.door.client()

    def connect(self, name, version=5, **options):
        """A raw client, connected."""
        return self.client().connect(name, version, **options)

    def values(self, topic_filter):
        """The retained messages that match now: {topic: text}."""
        with self.connect("values") as client:
            client.subscribe(topic_filter)
            client.subscribe("no/such/topic")
            # A client's own round trip after the retained messages: they come before its next answer.
            client.ping()
            return {message.topic: message.payload.decode() for message in client.messages}

    def wait_for_value(self, topic, condition, seconds=PATIENCE_SECONDS):
        """The value of a retained topic such as a counter of $SYS, once it is as it should be."""
        with self.connect("watch") as client:
            client.subscribe(topic)
            while True:
                value = client.message(topic, seconds=seconds).payload.decode()
                if condition(value):
                    return value

    def figures(self, topic_filter="$SYS/#"):
        """As `values`, once all of $SYS has been published again: nothing in it is older than the call."""
        told = ("$SYS/broker/uptime", "$SYS/tapline/loop/turn_microseconds")  # one of each half
        with self.connect("watch") as client:
            client.subscribe(*told)
            for topic in told:
                while client.message(topic).retain:
                    pass
        return self.values(topic_filter)

    # Memory

    def status(self, name):
        """A row of /proc/PID/status: VmRSS and RssAnon in KiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE).group(1))

    @property
    def state(self):
        """As /proc/PID/status says: "S (sleeping)"."""
        return re.search(r"^State:\s+(.*)", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)[1]

    @property
    def memory(self):
        return {name: self.status(name) for name in ("VmRSS", "RssAnon")}

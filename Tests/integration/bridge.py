"""Another broker beside the daemon under test: a real mosquitto that bridges to it."""

import os
import shutil
import subprocess

import raw
from daemon import hold_port, wait


def mosquitto_binary():
    """Debian puts it where ordinary users do not look."""
    found = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    assert found, "mosquitto is not installed: run cross/install-needs test"
    return found


def wait_for_mosquitto(process, port, log_file):
    """Until it listens; what it logged, where it has ended before."""
    def is_listening():
        assert process.poll() is None, log_file.read_text(errors="replace")
        try:
            raw.Client(port).close()
        except ConnectionRefusedError:
            return False
        return True

    wait(is_listening, "mosquitto")


class Mosquitto:
    """Keeps nothing when it ends. `settings` are lines of the bridge's section; the rest of it is as it comes."""

    def __init__(self, folder, daemon, *settings):
        self.folder = folder
        self.port_holder = hold_port()
        self.port = self.port_holder.getsockname()[1]
        self.process = None
        self.starts = 0
        folder.mkdir()
        self.configuration = folder / "mosquitto.conf"
        self.configuration.write_text("\n".join([
            f"listener {self.port} 127.0.0.1", "allow_anonymous true", "log_dest stderr", "log_type all",
            "connection cellar", f"address 127.0.0.1:{daemon.port}", "topic home/# both 1",
            "restart_timeout 1",  # the default waits for up to half a minute
            *settings, ""]))

    @property
    def log(self):
        """Of all its lives."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("log-*")))

    def start(self):
        self.starts += 1
        log_file = self.folder / f"log-{self.starts}"
        with log_file.open("w") as log:
            self.process = subprocess.Popen(
                [mosquitto_binary(), "-c", self.configuration], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        wait_for_mosquitto(self.process, self.port, log_file)

    def kill(self):
        """Without a word to anybody."""
        self.process.kill()
        self.process.wait()

    def end(self):
        self.kill()
        self.port_holder.close()

    def connect(self, name):
        return raw.Client(self.port).connect(name)

    def wait_for_value(self, topic, value):
        """The retained message of a topic, once it is this one."""
        with self.connect("watch") as client:
            client.subscribe(topic)
            while client.message(topic).payload != value:
                pass

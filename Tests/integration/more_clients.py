"""Two more codecs behind the face of `clients`: node-mqtt, and the paho C samples. Their publishers keep the ends
of lines as parts of payloads, and what they do at the end of their input is their own: see `paho_c_publisher`."""

import os
import pathlib
import shutil
import subprocess
import threading

import clients
from daemon import wait
from patience import PATIENCE_SECONDS

NODE_CLIENT = pathlib.Path(__file__).with_name("node_client.js")


def start(command, environment=None, **options):
    environment = os.environ | {"NODE_PATH": "/usr/share/nodejs"} | (environment or {})
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        **options)


def node(role, daemon, version, topic, qos, count, url=None):
    # Debian's node, for which Debian's node-mqtt is made.
    program = shutil.which("nodejs", path="/usr/bin:/bin")
    assert program, "nodejs is missing: cross/install-needs test"
    return [program, NODE_CLIENT, role, url or daemon.door.url, version, topic, qos, count, 1000 * PATIENCE_SECONDS]


def trust(daemon):
    """What makes node trust the daemon's certificate."""
    return {"NODE_EXTRA_CA_CERTS": str(daemon.door.keys.path("ca.pem"))} if daemon.door.is_tls else {}


def paho_c(program, daemon, version, topic, qos):
    door = daemon.door
    words = ["-h", "127.0.0.1", "-p", door.port]
    if door.kind != "tcp":
        words = ["-c", door.url.replace("mqtts://", "ssl://"), *(["--cafile", door.keys.path("ca.pem")] if door.is_tls else [])]
    return ["stdbuf", "-oL", program, *words, "-V", version, "-q", qos, "-t", topic,
            "-i", f"{program}-{version}", "-k", 0]  # by itself it would have to say something every 10 s


class LineReceiver:
    """A program that prints one payload a line, after a first line that shows that it is subscribed."""

    def __init__(self, command, first, expected, environment=None):
        self.program = start(command, environment)
        self.lines, self.expected = [], expected
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        wait(lambda: self.lines[:1] == [first], f"{first} from {command[0]}")

    def read(self):
        self.lines.extend(line.rstrip("\n") for line in self.program.stdout)

    def result(self):
        wait(lambda: len(self.lines) > self.expected, f"{self.expected} messages")
        return self.lines[1:]

    def close(self):
        self.program.kill()
        self.program.wait()
        self.reader.join()


def receive_with_node(daemon, version, topic, qos, expected):
    return LineReceiver(node("receive", daemon, version, topic, qos, expected), "subscribed", expected, trust(daemon))


def receive_with_paho_c(daemon, version, topic, qos, expected):
    # The sample does not say when it is subscribed; a retained message does.
    with daemon.connect("before") as client:
        client.publish(topic, "retained", qos=1, retain=True)
    return LineReceiver(paho_c("paho_c_sub", daemon, version, topic, qos), "retained", expected)


def send_lines(command, payloads, environment=None):
    program = start(command, environment, stdin=subprocess.PIPE)
    try:
        _, error = program.communicate("".join(f"{each}\n" for each in payloads), timeout=PATIENCE_SECONDS)
    finally:
        program.kill()
    assert program.returncode == 0, f"exit status {program.returncode}: {error}"


def send_with_node(daemon, version, topic, qos, payloads):
    send_lines(node("send", daemon, version, topic, qos, len(payloads)), payloads, trust(daemon))


def paho_c_publisher(daemon, version, topic, qos, *arguments, **options):
    """paho C's synchronous sample: one message a line of its input, or the one of `-m`, each once the one before has been
    acknowledged."""
    return start([*paho_c("paho_cs_pub", daemon, version, topic, qos), *arguments], **options)


RECEIVERS = clients.RECEIVERS | {"node": receive_with_node, "pahoc": receive_with_paho_c}
SENDERS = clients.SENDERS | {"node": send_with_node}

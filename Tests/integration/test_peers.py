"""Real peers at doors with users and certificates: mosquitto's programs, paho, node-mqtt, and a browser."""

import http.server
import os
import shutil
import subprocess
import threading

import pytest

import clients
import more_clients
import raw
from daemon import wait
from doors import DOORS, Door
from patience import PATIENCE_SECONDS
from test_users import password_file

PAGE = b"""<!doctype html><script src="/mqtt.js"></script><script>
const tell = (what) => fetch("/told", { method: "POST", body: what });
const [url, user, password] = decodeURIComponent(location.search.slice(1)).split(" ");
const client = require("mqtt").connect(url, { username: user, password, reconnectPeriod: 0, protocolVersion: 5 });
client.on("connect", () => client.subscribe("page/#", { qos: 1 }, (error) => {
  if (error) return tell("error " + error);
  client.publish("page/qos2", "from the page", { qos: 2 });
}));
client.on("message", (topic, payload) => tell("message " + topic + " " + payload));
client.on("error", (error) => tell("error " + error.message));
client.on("close", () => tell("closed"));
</script>"""


@pytest.fixture
def users(tmp_path):
    """The configuration of a house with one user, who may do everything."""
    path = tmp_path / "passwd"
    path.write_text(password_file({"ann": "secret"}))
    path.chmod(0o600)
    return f"users: {{password_file: {path}, rules: [{{user: ann, readwrite: '#'}}, {{user: kitchen, readwrite: kitchen/#}}]}}\n"


def certificates(keys):
    if not keys.has("kitchen"):
        keys.certificate("kitchen")
        keys.authority("foreign")
        keys.certificate("foreign-kitchen", "foreign", subject="/CN=kitchen")


def house(make_daemon, keys, users, kind, tls="", more="", **options):
    certificates(keys)
    door = Door(kind, keys)
    return make_daemon(users, listeners=[door.listener(more, tls)], door=door, **options)


def demand(keys, kind="required"):
    """Of a listener's `tls`: client certificates."""
    return f", ca: {keys.path('ca.pem')}, client_certificate: {kind}"


# mosquitto


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
@pytest.mark.parametrize("mqtt", ["311", "5"])
def test_mosquitto_with_a_certificate(make_daemon, door_keys, users, version, mqtt):
    daemon = house(make_daemon, door_keys, users, "tls", demand(door_keys))

    def words(name):
        return ["--tls-version", version, "--cert", door_keys.path(f"{name}.pem"), "--key", door_keys.path(f"{name}.key")]

    clients.publish(daemon, "kitchen/light", "on", "-r", "-q", 1, *words("kitchen"), version=mqtt)
    assert clients.collect(daemon, "-v", "-t", "#", "-C", 1, *words("kitchen"), version=mqtt) == ["kitchen/light on"]
    for more in (words("foreign-kitchen"), ["--tls-version", version]):
        program = clients.mosquitto("mosquitto_pub", daemon, "-t", "kitchen/light", "-m", "off", "-q", 1, *more, version=mqtt)
        assert program.wait(PATIENCE_SECONDS) != 0
        program.communicate()
    assert clients.collect(daemon, "-t", "kitchen/light", "-C", 1, *words("kitchen"), version=mqtt) == ["on"]


@pytest.mark.parametrize("kind", DOORS)
def test_users_of_mosquitto_passwd(make_daemon, door_keys, tmp_path, kind):
    """Files as mosquitto 2.0 writes them, with both of its schemes."""
    file = tmp_path / "passwd"
    names = {"ann": "sha512-pbkdf2", "ben": "sha512"}
    for index, (name, scheme) in enumerate(names.items()):
        subprocess.run(
            ["mosquitto_passwd", *(["-c"] if index == 0 else []), "-b", "-H", scheme, str(file), name, f"{name}'s own"], check=True,
            capture_output=True)
    door = Door(kind, door_keys, tmp_path / "door")
    make_daemon(f"users: {{password_file: {file}}}\n", door=door)
    for name in names:
        for version in (4, 5):
            for password, codes in ((f"{name}'s own", {4: 0, 5: 0}), (f"{name}'s", {4: 4, 5: 0x86})):
                with door.client() as client:
                    client.version = version
                    client.send(raw.connect("c", version, user=name, password=password))
                    assert client.expect(raw.CONNACK).body[1] == codes[version], (name, password)


# paho and node-mqtt with a user's password, where the right one and a wrong one differ


@pytest.mark.emulated_step(3)
@pytest.mark.parametrize("kind", DOORS)
@pytest.mark.parametrize("version", ["311", "5"])
def test_paho_logs_in(make_daemon, door_keys, users, kind, version, tmp_path):
    keys = door_keys
    certificates(keys)
    door = Door(kind, keys, tmp_path / "door")
    daemon = make_daemon(users, door=door)
    for password in ("secret", "wrong"):
        codes, got = [], []
        client = clients.paho_at(door, f"paho-{password}", version, reconnect_on_failure=False)
        client.username_pw_set("ann", password)
        client.on_connect = lambda client, _data, _flags, code, _properties, codes=codes: (codes.append(code), client.subscribe("t", 1))
        client.on_message = lambda _client, _data, message, got=got: got.append(message.payload)
        client.on_subscribe = lambda client, *_: client.publish("t", "hello", 2)
        clients.connect_paho(door, client)
        wait(lambda: codes, "CONNACK")
        assert codes[0].is_failure == (password == "wrong")
        if password == "secret":
            wait(lambda: got == [b"hello"], "message")
        client.disconnect()
        client.loop_stop()
    assert daemon.is_running


@pytest.mark.parametrize("kind", ["tls", "wss"])
def test_paho_with_a_certificate(make_daemon, door_keys, users, kind):
    daemon = house(make_daemon, door_keys, users, kind, demand(door_keys))
    got = []
    client = clients.paho_at(Door("ws" if kind == "wss" else "tcp"), "paho", "5")
    client.tls_set(*(str(door_keys.path(name)) for name in ("ca.pem", "kitchen.pem", "kitchen.key")))
    client.on_connect = lambda client, *_: client.subscribe("kitchen/#", 1)
    client.on_subscribe = lambda client, *_: client.publish("kitchen/light", "on", 1)
    client.on_message = lambda _client, _data, message: got.append(message.payload)
    clients.connect_paho(daemon.door, client)
    wait(lambda: got == [b"on"], "message")
    client.disconnect()
    client.loop_stop()


@pytest.mark.emulated_step(3)
@pytest.mark.parametrize("kind", ["tcp", "tls", "ws", "wss"])
@pytest.mark.parametrize("version", ["311", "5"])
def test_node_logs_in(make_daemon, door_keys, users, kind, version):
    daemon = house(make_daemon, door_keys, users, kind)

    def url(password):
        return daemon.door.url.replace("://", f"://ann:{password}@")

    def run(role, password, **options):
        return more_clients.start(
            more_clients.node(role, daemon, version, "t", 1, 1, url=url(password)), more_clients.trust(daemon), **options)

    receiver = run("receive", "secret")
    assert receiver.stdout.readline() == "subscribed\n"
    for password in ("wrong", "secret"):
        sender = run("send", password, stdin=subprocess.PIPE)
        _, error = sender.communicate("hello\n" if password == "secret" else "never\n", timeout=PATIENCE_SECONDS)
        assert (sender.returncode == 0) == (password == "secret"), error
    assert receiver.communicate(timeout=PATIENCE_SECONDS)[0] == "hello\n"


# A browser


class Page:
    """A page in a browser without a window: node-mqtt bundled for browsers, and what the page tells."""

    def __init__(self, folder, words):
        bundle = folder / "mqtt.js"
        subprocess.run(
            ["browserify", "-r", "/usr/share/nodejs/mqtt/lib/connect/index.js:mqtt", "-o", bundle], check=True,
            env=os.environ | {"NODE_PATH": "/usr/share/nodejs"}, timeout=PATIENCE_SECONDS)
        self.told = told = []
        script = bundle.read_bytes()

        class Answers(http.server.BaseHTTPRequestHandler):
            def answer(self, kind, content):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.answer(*(("text/javascript", script) if self.path == "/mqtt.js" else ("text/html", PAGE)))

            def do_POST(self):
                told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer("text/plain", b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.folder, self.words, self.program = folder, words, None

    def open(self, host, *words):
        self.close_browser()
        self.told.clear()
        self.program = subprocess.Popen(
            ["chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={self.folder}/profile",
             *self.words, f"http://{host}:{self.port}/?{'%20'.join(words)}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close_browser(self):
        if self.program:
            self.program.kill()
            self.program.wait()

    def close(self):
        self.close_browser()
        self.server.shutdown()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_a_browser(make_daemon, door_keys, users, kind, tmp_path):
    """A page of an origin that is named comes in, another does not."""
    if not (shutil.which("chromium-headless-shell") and shutil.which("browserify")):
        pytest.skip("a browser: cross/install-needs browser")
    page = Page(tmp_path, ["--ignore-certificate-errors"] if kind == "wss" else [])
    try:
        daemon = house(make_daemon, door_keys, users, kind, more=f"origins: ['http://localhost:{page.port}']")
        page.open("localhost", daemon.door.url, "ann", "secret")
        wait(lambda: "message page/qos2 from the page" in page.told, "message of the page")
        with daemon.connect("other", user="ann", password="secret") as client:
            client.publish("page/hello", "x" * 60_000, qos=1)
            wait(lambda: "message page/hello " + "x" * 60_000 in page.told, "message to the page")
        assert not [each for each in page.told if not each.startswith("message ")]
        page.open("localhost", daemon.door.url, "ann", "wrong")
        wait(lambda: [each for each in page.told if each.startswith("error ")], "refusal of the password")
        page.open("127.0.0.1", daemon.door.url, "ann", "secret")
        wait(lambda: "closed" in page.told, "refusal of the origin")
        assert not [each for each in page.told if each.startswith("message ")]
        wait(lambda: "answered 403: add this origin" in daemon.log, "line")
    finally:
        page.close()

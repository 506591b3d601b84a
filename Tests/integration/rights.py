"""A table of cases about who may come in and what each may do, and the house in which they are played: one daemon for each door,
whose users and rules every case makes anew. A case is a function that is given a `Play`: one door, one version of MQTT, one QoS.
"""

import signal
from dataclasses import dataclass

import raw
from daemon import Daemon, wait
from doors import DOORS, Door
from test_users import password_file

BAD_LOGIN = {4: 4, 5: 0x86}
NOT_AUTHORIZED = {4: 5, 5: 0x87}
CLOSED = "closed"
TAKEOVERS = 3
TAPS = """
board: simulated
log: {mqtt: info, rate: 1000, burst: 10000}  # a reload that is not told is waited for in vain
taps:
  base: b
  outputs:
    relay: {pin: GPIO17}
    lamp: {pin: GPIO18}
  counters: {water: {pin: GPIO24}}
  rules:
    echo: {when: "wish/#", every: true, publish: {topic: echo, retain: true}}
    light: {when: "wish/light == now", every: true, set: {lamp: toggle}}
"""


@dataclass(frozen=True)
class Way:
    door: str
    version: int
    qos: int

    def __str__(self):
        return f"{self.door}-{'311' if self.version == 4 else 5}-qos{self.qos}"


@dataclass(frozen=True)
class Case:
    number: int
    play: object
    versions: tuple
    levels: tuple  # of QoS
    doors: list

    def ways(self):
        return [Way(door, version, qos) for door in self.doors for version in self.versions for qos in self.levels]

    def covering(self):
        """Each door once; versions and QoS in turn, so that neighbouring cases begin elsewhere."""
        pairs = [(version, qos) for version in self.versions for qos in self.levels]
        return [Way(door, *pairs[(self.number + index) % len(pairs)]) for index, door in enumerate(self.doors)]

    def __str__(self):
        return f"{self.number}-{self.play.__name__}"


CASES = []


def case(number, versions=(4, 5), qos=(0, 1, 2), doors=DOORS):
    def add(play):
        CASES.append(Case(number, play, tuple(versions), tuple(qos), list(doors)))
        return play
    return add


class House:
    """A daemon with one door, and a unix socket beside it where anonymous clients are let in."""

    def __init__(self, binary, folder, kind, keys):
        self.keys, self.folder = keys, folder
        self.door, self.side = Door(kind, keys), Door("unix")
        self.passwords, self.acl = folder / "passwd", folder / "acl"
        self.passwords.write_text(password_file({"admin": "admin"}))
        self.acl.write_text("")
        self.count = self.rules = 0
        tls = f", ca: {keys.path('ca.pem')}, client_certificate: optional" if self.door.is_tls else ""
        self.daemon = Daemon(
            binary, folder / "daemon", f"users: {{password_file: {self.passwords}, acl_file: {self.acl}}}\n{TAPS}",
            listeners=[self.door.listener(tls=tls), self.side.listener("anonymous: true")], takeovers=TAKEOVERS, takeover_seconds=3600,
            packet_bytes="256k", pending_connections=32, pending_per_address=32, connections=64, connections_per_address=64)
        self.daemon.start()
        self.door.port = self.daemon.port

    def write(self, path, content):
        """As editors do it: never half written."""
        new = path.with_name(path.name + ".new")
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        new.chmod(0o640)
        new.rename(path)

    def reload(self, told_of=""):
        """SIGHUP, to the end of a reload that says `told_of`: an earlier one may end first. The lines that tell of it."""
        start = self.daemon.log_file.stat().st_size
        self.daemon.process.send_signal(signal.SIGHUP)

        def told():
            with self.daemon.log_file.open("rb") as log:
                log.seek(start)
                said = log.read().decode(errors="replace")
            ended = [line for line in said.splitlines(True) if "tapline: reloaded: " in line or "stay as they were" in line]
            return said if any(told_of in line and line.endswith("\n") for line in ended) else None

        return wait(told, "reload")


class Play:
    """One case at one door. Names of users and topics are its own, so that no case meets another's sessions and messages."""

    def __init__(self, house, way, some):
        house.count += 1
        self.house, self.some = house, some
        self.door, self.version, self.qos = house.door, way.version, way.qos
        self.number = house.count
        self.t = f"t{self.number}"
        self.clients, self.daemons = [], []
        self.not_authorized, self.bad_login = NOT_AUTHORIZED[self.version], BAD_LOGIN[self.version]

    def end(self):
        for client in self.clients:
            client.close()
        for daemon in self.daemons:
            daemon.end()

    def daemon(self, configuration="", listener=None, **limits):
        """Another one, for what the house's configuration does not have. `listener` has PORT for its port."""
        folder = self.house.folder / f"daemon-{self.number}-{len(self.daemons)}"
        daemon = Daemon(self.house.daemon.binary, folder, configuration, listeners=[listener] if listener else None, **limits)
        self.daemons.append(daemon)
        daemon.start()
        return daemon

    def other(self, configuration="", more="", tls="", **limits):
        """A daemon with the same kind of door and nothing else, and that door."""
        door = Door(self.door.kind, self.house.keys)
        daemon = self.daemon(configuration, door.listener(more, tls), **limits)
        door.port = daemon.port
        return daemon, door

    # Files

    def user(self, name):
        return "admin" if name == "admin" else f"{name}-{self.number}"

    def fill(self, text):
        """`{ann}` and the like become users' names, and `{t}` this play's topic."""
        for name in ("ann", "ben", "eve"):
            text = text.replace("{" + name + "}", self.user(name))
        return text.replace("{t}", self.t)

    def use(self, rules=None, users="ann ben", more="", iterations=101):
        """New files, and a reload that takes them. `admin` may do everything, $SYS included."""
        self.house.write(self.house.passwords, self.password_file(users, iterations) + more)
        if rules is not None:
            text = f"{self.fill(rules)}\nuser admin\ntopic readwrite #\ntopic readwrite $SYS/#\n"
            count = sum(line.startswith(("topic ", "pattern ")) for line in text.splitlines())
            if count == self.house.rules:  # another count, as a line that is logged again is only counted
                text += "topic read #\n"
                count += 1
            self.house.rules = count
            self.house.write(self.house.acl, text)
        said = self.house.reload(f", {self.house.rules} rules" if rules is not None else "")
        assert "reloaded: " in said, said
        return said

    def password_file(self, users, iterations=101):
        names = ["admin", *map(self.user, users.split())]
        return password_file({name: f"{name}'s secret" for name in names}, iterations)

    # Clients

    def keep(self, client):
        self.clients.append(client)
        return client

    def login(self, user, password=None):
        if user is None:
            return {}
        return {"user": self.user(user), "password": f"{self.user(user)}'s secret" if password is None else password}

    def id(self, name):
        return f"{name}-{self.number}"

    def options(self, kept, fresh):
        """Of CONNECT: a session that is kept for the next time, or one that is not; begun afresh or resumed."""
        if self.version == 5:
            return {"clean": fresh, "expiry": 600 if kept else 0}
        return {"clean": not kept}

    def come(self, user, name=None, kept=False, fresh=True, door=None, context=None, **more):
        """A client of this user, connected. 3.1.1 begins afresh by another CONNECT before."""
        if self.version == 4 and kept and fresh:
            self.come(user, name, door=door, context=context).disconnect()
        options = self.options(kept, fresh) | self.login(user) | more
        client = self.keep((door or self.door).client(context))
        return client.connect(self.id(name or user or "nobody"), self.version, **options)

    def come_back(self, user, name=None):
        return self.come(user, name, kept=True, fresh=False)

    def outcome(self, packet, door=None):
        """What a CONNECT of these bytes gets: CONNACK's code, or CLOSED without one."""
        client = self.keep((door or self.door).client())
        client.version = self.version
        try:
            client.send(packet)
            got = client.packet()
            code = got.body[1] if got.type == raw.CONNACK else CLOSED
        except (raw.Closed, OSError):
            code = CLOSED
        client.close()
        return code

    def answer(self, user, name=None, password=None, door=None, **options):
        login = self.login(user, password)
        if password is False:
            login.pop("password")
        options.setdefault("clean", True)
        return self.outcome(raw.connect(self.id(name or user or "nobody"), self.version, **login, **options), door)

    @property
    def admin(self):
        """A connected administrator, of version 5 whatever the play's is."""
        if not hasattr(self, "connected_admin"):
            client = self.keep(self.door.client())
            self.connected_admin = client.connect(self.id("admin"), 5, **self.login("admin"))
        return self.connected_admin

    def watch(self, *filters):
        return Watch(self, filters or (f"{self.t}/#",))

    # Messages

    def write(self, client, topic, payload="1", allowed=True, **options):
        """PUBLISH with the play's QoS, to its end; refused or not as it should be, where the version says so."""
        reason = client.publish(topic, payload, qos=self.qos, **options)
        if self.qos == 0:
            client.ping()
        elif client.version == 5:
            assert reason in ((0, 0x10) if allowed else (0x87,)), f"{topic}: 0x{reason:02X}"
        else:
            assert reason == 0

    def granted(self, client, *filters):
        """SUBSCRIBE with all of them in one packet: which were granted."""
        client.send(raw.subscribe(client.next_id(), *((each, self.qos) for each in filters), version=client.version))
        codes = client.expect(raw.SUBACK).body[-len(filters):]
        refused = {4: (0x80,), 5: (0x87,)}[client.version]
        assert all(code <= 2 or code in refused for code in codes), codes.hex()
        return [code <= 2 for code in codes]

    def tell(self, topic, payload="1", retain=False):
        """Published by the administrator, and taken by the broker when this returns."""
        self.admin.publish(topic, payload, qos=self.qos, retain=retain)
        self.admin.ping()

    def got(self, client):
        """What has come to this client so far: [(topic, payload)]."""
        client.ping()
        messages, client.messages = client.messages, []
        return [(message.topic, message.payload.decode()) for message in messages]

    def topics(self, client):
        return [topic for topic, _ in self.got(client)]

    def values(self, topic_filter):
        """Retained messages, as the administrator sees them."""
        client = self.keep(self.door.client()).connect(self.id(f"values-{len(self.clients)}"), 5, **self.login("admin"))
        client.subscribe(topic_filter)
        return dict(self.got(client))


class Watch:
    """What an administrator sees of some topics."""

    def __init__(self, play, filters):
        self.play = play
        self.client = play.keep(play.door.client())
        self.client.connect(play.id(f"watch-{len(play.clients)}"), 5, **play.login("admin"))
        self.client.subscribe(*filters, qos=2)
        self.client.subscribe(f"end/{play.t}", qos=2)

    def seen(self):
        """All so far: [(topic, payload)]."""
        self.play.admin.publish(f"end/{self.play.t}", "end", qos=1)
        messages = []
        while (message := self.client.message()).topic != f"end/{self.play.t}":
            messages.append((message.topic, message.payload.decode()))
        return messages

    def topics(self):
        return [topic for topic, _ in self.seen()]

    def message(self, topic):
        return self.client.message(topic)


def expect_end(client, version):
    """Put out by the administrator: DISCONNECT with 0x98 in version 5."""
    client.expect_close(0x98 if version == 5 else None)

"""Who may come in, and what each may do, through every door: a table of numbered cases over MQTT 3.1.1 and 5, QoS 0 to 2, and
TCP, unix sockets, TLS, WebSocket and WebSocket over TLS. With --long each case is played in every way that it has; otherwise once
at each door, with versions and QoS in turn."""

import re

import pytest

import raw
import rights
import rights_files  # noqa: F401, these make the cases
import rights_login  # noqa: F401
import rights_reading  # noqa: F401
import rights_tls  # noqa: F401
import rights_web  # noqa: F401
import rights_writing  # noqa: F401
from daemon import REPOSITORY
from doors import Door
from test_users import password_file

COUNT = 55

# What no client can see of a daemon like these, or what needs one of its own, and the tests that show it.
ELSEWHERE = {
    # An unknown user takes as long as a wrong password; a flood of logins holds nobody up.
    7: [("Tests/TaplineConfigurationTests/PasswordTableTests.swift", "PasswordTableTests"),
        ("Tests/integration/test_users.py", "test_a_flood_of_logins_holds_nobody_up")],
    9: [("Tests/integration/test_secrets.py", "test_a_password_is_nowhere_whatever_the_door")],
    10: [("Tests/integration/test_rights_doors.py", "test_anonymous_is_off_whatever_else_a_listener_says")],
    # Wills of keep alive and of a shutdown.
    12: [("Tests/MQTTBrokerTests/AccessWillTests.swift", "isJudgedWhenItFires")],
    # Handlers of an embedding program speak with the board's right.
    17: [("Tests/GatewayTests/AccessTests.swift", "AccessTests")],
    30: [("Tests/integration/test_users.py", "test_no_free_descriptor_changes_nothing")],
    31: [("Tests/integration/test_users.py", "test_a_thousand_signals"), ("Tests/integration/test_users.py", "test_nothing_is_allocated")],
    # Names that the openssl program does not write, such as those with NUL.
    33: [("Tests/TLSTests/NameTests.swift", "NameTests")],
    35: [("Tests/integration/test_tls_probes.py", "test_a_storm_of_key_updates_harms_nobody"),
         ("Tests/integration/test_tls.py", "test_many_handshakes_at_once")],
    36: [("Tests/integration/test_tls_probes.py", "test_a_shared_key_is_refused"),
         ("Tests/integration/test_tls_probes.py", "test_no_session_is_resumed")],
    38: [("Tests/integration/test_reload.py", "test_who_is_revoked_does_not_come_in_again")],
    53: [("Tests/MQTTBrokerTests/AccessPassageTests.swift", "nothingPassesBeside")],
}

# What there is nothing of to be tested, and what these numbers then ask.
ABSENT = {
    44: "there is no bridge", 45: "there is no bridge", 46: "there is no bridge",
    47: "there is no bridge", 48: "sessions and messages are not stored", 49: "sessions and messages are not stored",
    50: "sessions and messages are not stored", 51: "sessions and messages are not stored",
}

def test_every_number_is_shown_somewhere():
    played = {case.number for case in rights.CASES} | {52}  # this table itself
    assert played | set(ELSEWHERE) | set(ABSENT) == set(range(1, COUNT + 1))
    assert not played & set(ABSENT)
    for number, tests in ELSEWHERE.items():
        for file, name in tests:
            assert re.search(rf"\b{name}\b", (REPOSITORY / file).read_text()), (number, file, name)
    for case in rights.CASES:
        assert len({way.door for way in case.covering()}) == len(case.doors)


def test_anonymous_is_off_whatever_else_a_listener_says(binary, make_daemon, door_keys, tmp_path):
    """With a password file nobody is anonymous on any listener, whatever other keys it has; and an ACL holds on all of them."""
    passwords, acl = tmp_path / "passwd", tmp_path / "acl"
    passwords.write_text(password_file({"ann": "secret"}))
    acl.write_text("user ann\ntopic write open\n")
    (tmp_path / "door").mkdir()
    rows = [("unix", "", ""), ("unix", "mode: 666", ""), ("unix", "framing: resync", ""), ("unix", "anonymous: false", ""),
            ("unix", "protocols: [mqtt, websocket]", ""), ("unix", "users", "")]
    doors = [(Door(kind, door_keys, tmp_path / "door" / str(index)), more, tls) for index, (kind, more, tls) in enumerate(rows)]
    first = Door("tls", door_keys)
    listeners = [first.listener(tls=f", ca: {door_keys.path('ca.pem')}, client_certificate: optional")]
    listeners += [door.listener("" if more == "users" else more, tls) for door, more, tls in doors]
    daemon = make_daemon(
        f"users: {{password_file: {passwords}, acl_file: {acl}, unix: {{65534: ann}}}}\n", listeners=listeners, door=first)
    for door, more in [(first, ""), *((door, more) for door, more, _ in doors)]:
        for version in (4, 5):
            for login in ({}, {"user": "", "password": ""}, {"user": "ann"}):
                with door.client() as client:
                    client.version = version
                    client.send(raw.connect("nobody", version, **login))
                    assert client.expect(raw.CONNACK).body[1] != 0, (more, login)
            with door.client().connect("ann", version, user="ann", password="secret") as client:
                assert client.publish("shut", "x", qos=1) == (0x87 if version == 5 else 0)
    assert daemon.is_running


@pytest.fixture(scope="session")
def houses(binary, door_keys, tmp_path_factory):
    """houses(KIND): the daemon with that door, one for all cases."""
    made = {}

    def get(kind):
        if kind not in made or not made[kind].daemon.is_running:
            made[kind] = rights.House(binary, tmp_path_factory.mktemp(f"house-{kind}"), kind, door_keys)
        return made[kind]

    yield get
    for house in made.values():
        house.daemon.end()


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        is_long = metafunc.config.getoption("--long")
        rows = [(case, way) for case in rights.CASES for way in (case.ways() if is_long else case.covering())]
        metafunc.parametrize("case, way", [
            pytest.param(case, way, id=f"{case}-{way}") for case, way in rows])


@pytest.mark.emulated_step(6)  # five of six cases, at doors in turn
def test_rights(houses, some, request, case, way):
    house = houses(way.door)
    request.node.daemons = [house.daemon]
    play = rights.Play(house, way, some)
    try:
        case.play(play)
        assert house.daemon.is_running
    finally:
        play.end()

"""`tapline cert` as its users meet it: what it makes is tried with the openssl program, Python's ssl and mosquitto's clients
against a daemon that has it; what is there is kept; what goes wrong names the file and the remedy."""

import os
import re
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import time
from datetime import datetime, timezone

import paho.mqtt.client as paho
import pytest

import raw
from daemon import wait
from patience import PATIENCE_SECONDS
from test_users import password_file

pytestmark = pytest.mark.emulated_step(3)

SERVER = ["ca.crt", "ca.key", "server.crt", "server.key"]
DAY = 86_400


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True).stdout


def shown(file, *what):
    return openssl("x509", "-in", file, "-noout", *what)


def days(file):
    """The first and the last second of a certificate."""
    times = re.findall(r"=(.*) GMT", shown(file, "-startdate", "-enddate"))
    return [datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=timezone.utc).timestamp() for text in times]


def alternatives(file):
    text = openssl("x509", "-in", file, "-noout", "-ext", "subjectAltName")
    return set(re.findall(r"(?:DNS:|IP Address:)([^,\s]+)", text))


def verify(folder, file, purpose, *more):
    """What openssl verify says against a certificate; nothing when it takes it."""
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-CAfile", folder / "ca.crt", *more, folder / file],
        capture_output=True, text=True)
    return "" if done.returncode == 0 and done.stdout.endswith(": OK\n") else done.stdout + done.stderr


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    """Where certificates are to be. The umask must not matter."""
    made = tmp_path / "tls"
    made.mkdir()
    before = os.umask(0o077)
    yield made
    os.umask(before)


@pytest.fixture
def cert(binary, folder):
    """cert(ARGUMENT...): in the folder."""
    return lambda *arguments, **options: binary.run("cert", "-d", folder, *arguments, **options)


@pytest.fixture(scope="module")
def house(binary, tmp_path_factory):
    """A folder with an authority, a server and two clients, which no test changes, and what the command said."""
    made = tmp_path_factory.mktemp("house")
    done = binary.run("cert", "-d", made, "--name", "Mqtt.Example", "--name", "198.51.100.7", "--name", "2001:db8::7",
                      "--client", "kitchen", "--client", "wall display")
    assert done.returncode == 0 and not done.stderr
    return made, done.stdout


# What is made


@pytest.mark.smoke
def test_one_call_makes_all(cert, folder):
    done = cert()
    assert done.returncode == 0 and not done.stderr
    assert sorted(os.listdir(folder)) == SERVER
    for name in SERVER:
        assert mode(folder / name) == (0o600 if name.endswith(".key") else 0o644)
    assert [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("made ")] == [
        f"made {folder / name}" for name in ("ca.key", "ca.crt", "server.key", "server.crt")]
    assert verify(folder, "server.crt", "sslserver") == "" and verify(folder, "ca.crt", "any") == ""
    host = socket.gethostname().lower()
    expected = {"localhost", "127.0.0.1"}
    if re.fullmatch(r"[a-z0-9_-]+", host) and not host.isdigit():
        expected |= {host, host + ".local"}
    assert expected <= alternatives(folder / "server.crt")


def test_what_certificates_say(house):
    folder, _ = house
    serials = set()
    for name in ("ca", "server", "kitchen", "wall display"):
        text = shown(folder / f"{name}.crt", "-text")
        serials.add(serial := int(shown(folder / f"{name}.crt", "-serial").split("=")[1], 16))
        assert 1 << 100 < serial < 1 << 159  # of 159 random bits
        assert "Version: 3" in text and "ASN1 OID: prime256v1" in text and "ecdsa-with-SHA256" in text
        assert "X509v3 Subject Key Identifier" in text
        assert ("CA:TRUE, pathlen:0" in text) == (name == "ca") and ("CA:FALSE" in text) == (name != "ca")
        assert "X509v3 Basic Constraints: critical" in text and "X509v3 Key Usage: critical" in text
        assert ("Certificate Sign, CRL Sign" in text) == (name == "ca") and ("Digital Signature" in text) == (name != "ca")
        assert ("TLS Web Server Authentication" in text) == (name == "server")
        assert ("TLS Web Client Authentication" in text) == (name in ("kitchen", "wall display"))
        first, last = days(folder / f"{name}.crt")
        assert first == days(folder / "ca.crt")[0] and last - first == (3653 if name == "ca" else 825) * DAY - 1
        assert -2 * DAY < first - (folder / "ca.key").stat().st_mtime <= -DAY
        key = openssl("pkey", "-in", folder / f"{name}.key", "-pubout")
        assert key == shown(folder / f"{name}.crt", "-pubkey")
    assert len(serials) == 4
    assert {"mqtt.example", "198.51.100.7", "2001:DB8:0:0:0:0:0:7", "localhost"} <= alternatives(folder / "server.crt")
    assert shown(folder / "kitchen.crt", "-subject").replace(" ", "") == "subject=CN=kitchen\n"
    assert alternatives(folder / "kitchen.crt") == {"kitchen"}
    assert "wall display" in shown(folder / "wall display.crt", "-subject")


def test_each_is_good_for_one_purpose(house):
    folder, _ = house
    assert verify(folder, "server.crt", "sslserver") == "" and verify(folder, "kitchen.crt", "sslclient") == ""
    assert "purpose" in verify(folder, "server.crt", "sslclient")
    assert "purpose" in verify(folder, "kitchen.crt", "sslserver")
    for name in ("localhost", "MQTT.example"):
        assert verify(folder, "server.crt", "sslserver", "-verify_hostname", name) == ""
    for address in ("127.0.0.1", "198.51.100.7", "2001:db8::7"):
        assert verify(folder, "server.crt", "sslserver", "-verify_ip", address) == ""
    assert "hostname mismatch" in verify(folder, "server.crt", "sslserver", "-verify_hostname", "example")
    assert "IP address mismatch" in verify(folder, "server.crt", "sslserver", "-verify_ip", "198.51.100.8")


def test_another_authority_is_another(house, cert, folder):
    cert("--client", "kitchen")
    for name in ("server.crt", "kitchen.crt"):
        assert verify(house[0], folder / name, "any") != "" and verify(folder, name, "any") == ""


def test_the_clients_directory_is_the_working_one(binary, folder):
    done = binary.run("cert", "--client", "kitchen", cwd=folder)
    assert done.returncode == 0 and f"certificate: {folder}/server.crt" in done.stdout
    assert sorted(os.listdir(folder)) == sorted([*SERVER, "kitchen.crt", "kitchen.key"])


@pytest.mark.parametrize("asked, server, client", [(2, 2, 2), (400, 400, 400), (3000, 825, 3000), (3653, 825, 3653)])
def test_days(cert, folder, asked, server, client):
    assert cert("--days", asked, "--client", "kitchen").returncode == 0
    for name, count in (("server", server), ("kitchen", client)):
        first, last = days(folder / f"{name}.crt")
        assert last - first == count * DAY - 1


def test_nothing_outlives_its_authority(cert, folder):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj", "/CN=Mine",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    assert cert("--client", "kitchen").returncode == 0
    for name in ("server", "kitchen"):
        assert days(folder / f"{name}.crt")[1] == days(folder / "ca.crt")[1]
        assert verify(folder, f"{name}.crt", "any") == ""


def test_an_rsa_authority_of_somebody_elses(cert, folder):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 4000, "-subj", "/O=Factory/CN=Root",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    before = contents(folder)
    assert cert("--client", "line1").returncode == 0
    assert {name: contents(folder)[name] for name in before} == before
    for name in ("server.crt", "line1.crt"):
        assert verify(folder, name, "any") == "" and "sha256WithRSA" in shown(folder / name, "-text")


def test_group(cert, folder):
    group = 4711 if os.getuid() == 0 else os.getgid()
    assert cert("--group", group).returncode == 0
    assert (mode(folder / "server.key"), (folder / "server.key").stat().st_gid) == (0o640, group)
    assert mode(folder / "ca.key") == 0o600
    # A key that is there already gets it as well.
    (folder / "server.key").chmod(0o600)
    before = contents(folder)
    assert cert("--group", group).returncode == 0
    assert mode(folder / "server.key") == 0o640 and contents(folder) == before
    done = cert()
    assert done.returncode == 0 and "--group" not in done.stdout and mode(folder / "server.key") == 0o640


# What is there already


@pytest.mark.smoke
def test_what_is_there_is_kept(cert, folder):
    assert cert("--client", "kitchen").returncode == 0
    before = contents(folder)
    for arguments in ([], ["--client", "kitchen"], ["--name", "localhost"], ["--client", "cellar"]):
        done = cert(*arguments)
        assert done.returncode == 0 and not done.stderr
        after = contents(folder)
        assert {name: after[name] for name in before} == before
        assert ("made " in done.stdout) == ("cellar" in arguments) and f"kept {folder}/ca.crt: until " in done.stdout
    assert verify(folder, "cellar.crt", "sslclient") == ""


def test_renewing_the_server(cert, folder):
    assert cert("--name", "old.example", "--days", 10, "--client", "kitchen").returncode == 0
    before = contents(folder)
    (folder / "server.crt").chmod(0o640)
    assert "it ends within 30 days; --renew makes it anew" in cert().stdout
    assert contents(folder) == before
    done = cert("--name", "new.example")
    assert done.returncode == 70 and not done.stdout.count("made ")
    assert f"{folder}/server.crt: the certificate is there already, without new.example; --renew makes it anew" in done.stderr
    assert cert("--renew", "--name", "new.example").returncode == 0
    after = contents(folder)
    assert {name for name in before if after[name] != before[name]} == {"server.crt"} and mode(folder / "server.crt") == 0o640
    assert {"old.example", "new.example", "localhost"} <= alternatives(folder / "server.crt")
    first, last = days(folder / "server.crt")
    assert last - first == 825 * DAY - 1 and verify(folder, "server.crt", "sslserver") == ""


def test_renewing_a_client(cert, folder):
    assert cert("--client", "kitchen", "--client", "cellar", "--days", 10).returncode == 0
    before = contents(folder)
    assert cert("--renew", "--client", "kitchen").returncode == 0
    after = contents(folder)
    assert {name for name in before if after[name] != before[name]} == {"kitchen.crt"}
    assert verify(folder, "kitchen.crt", "sslclient") == "" and days(folder / "kitchen.crt") != days(folder / "cellar.crt")
    done = cert("--renew", "--client", "kitchen", "--name", "x.example")
    assert done.returncode == 64 and "has no --name" in done.stderr and contents(folder) == after


def test_an_authority_without_its_key_there(cert, folder):
    """It is best kept elsewhere; what is there needs no signature."""
    assert cert().returncode == 0
    (folder / "ca.key").rename(folder.parent / "ca.key")
    before = contents(folder)
    assert cert().returncode == 0
    for arguments in (["--client", "kitchen"], ["--renew"]):
        done = cert(*arguments)
        assert done.returncode == 70 and f"{folder}/ca.key: the file is not there" in done.stderr and "bring it back" in done.stderr
        assert contents(folder) == before
    (folder.parent / "ca.key").rename(folder / "ca.key")
    assert cert("--client", "kitchen").returncode == 0 and verify(folder, "kitchen.crt", "sslclient") == ""


def test_a_server_of_another_authority_is_kept(house, cert, folder):
    for name in ("server.crt", "server.key"):
        (folder / name).write_bytes((house[0] / name).read_bytes())
        (folder / name).chmod(0o600)
    before = contents(folder)
    done = cert("--client", "kitchen")
    assert done.returncode == 0 and "who trusts ca.crt does not take it: unable to get local issuer certificate" in done.stdout
    assert {name: contents(folder)[name] for name in before} == before and verify(folder, "kitchen.crt", "sslclient") == ""


@pytest.mark.parametrize("gone, said", [
    (["server.key"], "server.key: the file is not there, but its certificate is; bring it back, or remove FOLDER/server.crt"),
    (["server.crt"], None), (["ca.crt"], None), (["server.crt", "server.key"], None),
    (["kitchen.crt"], None), (["kitchen.crt", "kitchen.key"], None),
], ids=str)
def test_a_file_is_missing(cert, folder, gone, said):
    assert cert("--client", "kitchen").returncode == 0
    for name in gone:
        (folder / name).unlink()
    before = contents(folder)
    done = cert("--client", "kitchen")
    if said:
        assert done.returncode == 70 and said.replace("FOLDER", str(folder)) in done.stderr
        assert contents(folder) == before
    else:
        assert done.returncode == 0 and {name: contents(folder)[name] for name in before} == before
        for name in ("server.crt", "kitchen.crt"):
            assert verify(folder, name, "any") == ""


@pytest.mark.parametrize("name, content, said", [
    ("ca.crt", b"", "has no certificate in it"), ("ca.crt", b"hello\n", "has no certificate in it"),
    ("ca.key", b"hello\n", "has no private key in it"), ("server.key", b"", "has no private key in it"),
    ("server.crt", None, "is not readable as PEM"), ("server.key", None, "is not readable as PEM"),
    ("kitchen.key", None, "is not readable as PEM"),
], ids=str)
def test_a_file_is_broken(cert, folder, name, content, said):
    """None: cut in its middle."""
    assert cert("--client", "kitchen").returncode == 0
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:len(whole) // 2] if content is None else content)
    before = contents(folder)
    done = cert("--client", "kitchen")
    assert done.returncode == 70 and f"{folder}/{name}: the file {said}" in done.stderr and "bring the right one back" in done.stderr
    assert contents(folder) == before


def test_an_encrypted_key(cert, folder):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-passout", "pass:x", "-subj", "/CN=Mine",
            "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    done = cert()
    assert done.returncode == 70 and f"{folder}/ca.key: the file is encrypted: remove the passphrase" in done.stderr
    assert sorted(os.listdir(folder)) == ["ca.crt", "ca.key"]


@pytest.mark.parametrize("name", ["ca", "server", "kitchen"])
def test_a_key_of_another_certificate(house, cert, folder, name):
    assert cert("--client", "kitchen").returncode == 0
    (folder / f"{name}.key").write_bytes((house[0] / f"{name}.key").read_bytes())
    before = contents(folder)
    done = cert("--client", "kitchen")
    assert done.returncode == 70 and f"{folder}/{name}.key: this is not the key of {folder}/{name}.crt" in done.stderr
    assert contents(folder) == before


def test_no_authority(cert, folder):
    """A certificate of a server in the authority's place."""
    assert cert().returncode == 0
    for end in (".crt", ".key"):
        (folder / f"server{end}").rename(folder / f"ca{end}")
    before = contents(folder)
    done = cert()
    assert done.returncode == 70 and f"{folder}/ca.crt: nothing can be signed with it: it is not the certificate of an authority" in done.stderr
    assert contents(folder) == before


def test_an_expired_authority(cert, folder):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / "ca.key")
    openssl("req", "-new", "-key", folder / "ca.key", "-subj", "/CN=Old", "-out", folder / "ca.csr")
    (folder / "ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n")
    openssl("x509", "-req", "-in", folder / "ca.csr", "-signkey", folder / "ca.key", "-days", -1, "-extfile", folder / "ext", "-out", folder / "ca.crt")
    before = contents(folder)
    done = cert()
    assert done.returncode == 70 and "ca.crt: nothing can be signed with it: certificate has expired; move what is in" in done.stderr
    assert contents(folder) == before


def test_an_expired_server_is_said(cert, folder):
    assert cert().returncode == 0
    (folder / "ext").write_text("extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\n")
    openssl("req", "-new", "-key", folder / "server.key", "-subj", "/CN=old", "-out", folder / "csr")
    openssl("x509", "-req", "-in", folder / "csr", "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", -1,
            "-extfile", folder / "ext", "-out", folder / "server.crt")
    done = cert()
    assert done.returncode == 0 and "does not take it: certificate has expired; --renew makes it anew" in done.stdout
    assert re.search("^     without .*127.0.0.1.*, by which clients may find this machine now; --renew", done.stdout, re.MULTILINE)
    assert cert("--renew").returncode == 0 and verify(folder, "server.crt", "sslserver") == ""


def test_an_open_key_is_said(cert, folder):
    assert cert().returncode == 0
    (folder / "ca.key").chmod(0o644)
    done = cert()
    assert done.returncode == 0 and f"any user of this machine may read {folder}/ca.key; chmod o= ends that" in done.stdout


# What is refused


@pytest.mark.parametrize("arguments, said", [
    (["--name", "no name"], "option --name is 'no name': expected a DNS name such as board.example, or an address such as 192.0.2.7"),
    (["--name", ""], "option --name is '': expected a DNS name"),
    (["--name", "a,DNS:b"], "option --name is 'a,DNS:b'"), (["--name", "192.0.2.256"], "option --name is '192.0.2.256'"),
    (["--client", ""], "option --client is '': the user name is empty"),
    (["--client", "../x"], "option --client is '../x': the user name has a /, + or #"),
    (["--client", "a:b"], "option --client is 'a:b': the user name has a colon"),
    (["--client", "ca"], "option --client is 'ca': ca and server are the names of the other files"),
    (["--client", "ok", "--client", "x" * 65], "the user name is longer than 64 characters"),
    (["--client", os.fsdecode(b"\xff")], "the user name is not UTF-8 text"),
    (["--group", "no such group"], "option --group is 'no such group': expected a group of this machine"),
    (["-d", "FOLDER/none"], "FOLDER/none: there is no such directory; make it with mkdir"),
    (["-d", "FOLDER/file"], "FOLDER/file: this is no directory"),
    (["-d", "/proc/self"], "/ca.key: the file cannot be written: "),
], ids=lambda value: " ".join(value)[:24] if isinstance(value, list) else "")
def test_refused(cert, folder, arguments, said):
    (folder / "file").touch()
    done = cert(*(word.replace("FOLDER", str(folder)) for word in arguments), errors="surrogateescape")
    assert done.returncode == 70 and said.replace("FOLDER", str(folder)) in done.stderr
    assert done.stderr.startswith("tapline cert: ") and done.stderr.count("\n") == 1 and not done.stdout
    assert os.listdir(folder) == ["file"]


def test_more_than_64_names(cert, folder):
    names = [word for number in range(64) for word in ("--name", f"host{number}.example")]
    done = cert(*names)
    assert done.returncode == 70 and f"{folder}/server.crt: there are more than 64 names" in done.stderr
    assert cert(*names[:80]).returncode == 0 and verify(folder, "server.crt", "sslserver") == ""


@pytest.mark.parametrize("name", ["ca.key", "server.crt", "kitchen.key"])
@pytest.mark.parametrize("kind", ["directory", "link to nothing", "FIFO", "large"])
def test_what_is_no_file_of_ours(cert, folder, name, kind):
    file = folder / name
    match kind:
        case "directory": file.mkdir()
        case "link to nothing": file.symlink_to("nothing")
        case "FIFO": os.mkfifo(file)
        case "large": file.write_bytes(b"#" * (257 << 10))
    done = cert("--client", "kitchen")
    said = {"directory": "this is a directory", "link to nothing": "this is a symbolic link that leads nowhere",
            "FIFO": "this is no regular file", "large": "the file is larger than 256 KiB"}[kind]
    assert done.returncode == 70 and f"{file}: {said}" in done.stderr and os.listdir(folder) == [name]


def test_links_are_followed_and_not_replaced(cert, folder):
    assert cert().returncode == 0
    (folder / "server.crt").rename(folder / "real")
    (folder / "server.crt").symlink_to("real")
    before = contents(folder)
    assert cert().returncode == 0
    done = cert("--renew")
    assert done.returncode == 70 and "server.crt: this is a symbolic link, which stays as it is; remove it first" in done.stderr
    assert contents(folder) == before and (folder / "server.crt").is_symlink()


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(cert, folder):
    folder.chmod(0o500)
    done = cert()
    folder.chmod(0o700)
    assert done.returncode == 70 and not os.listdir(folder)
    assert f"{folder}/ca.key: the file cannot be written: Permission denied; run this as root (sudo), or name a directory of yours with -d" in done.stderr


def test_a_full_disk(binary, folder):
    """Without room for a file: it is not there, and what was made before is."""
    if binary.is_emulated:
        pytest.skip("the limit would be the emulator's")
    done = binary.run("cert", "-d", folder, wrap=lambda command: ["prlimit", "--fsize=100", *command], preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    assert done.returncode == 70 and f"{folder}/ca.key: the file cannot be written: File too large" in done.stderr
    assert not os.listdir(folder)


# A kill, or the end of the power


@pytest.mark.parametrize("count", range(6))
def test_whatever_was_written_the_next_run_goes_on(house, cert, folder, count):
    """The first files of those that a run writes, and half of the next one under its first name."""
    order = ["ca.key", "ca.crt", "server.key", "server.crt", "kitchen.key", "kitchen.crt"]
    for name in order[:count]:
        (folder / name).write_bytes((house[0] / name).read_bytes())
    (folder / (order[count] + ".new")).write_bytes((house[0] / order[count]).read_bytes()[:100])
    before = contents(folder)
    done = cert("--client", "kitchen")
    assert done.returncode == 0 and sorted(os.listdir(folder)) == sorted(order)
    assert {name: contents(folder)[name] for name in order[:count]} == {name: before[name] for name in order[:count]}
    for name in ("server.crt", "kitchen.crt"):
        assert verify(folder, name, "any") == ""
    assert mode(folder / order[count]) == (0o600 if order[count].endswith(".key") else 0o644)


def test_killed_at_any_moment(binary, cert, folder, some):
    """Each time a little later, until one run is done before its kill: the files that are there are whole, and the next run
    completes them."""
    delay = 0.0
    for _ in range(some(20)):
        process = subprocess.Popen(binary.command("cert", "-d", folder, "--client", "kitchen"), stdout=subprocess.DEVNULL)
        time.sleep(delay)  # no test of time: whichever moment it is, all of them must do
        process.kill()
        isDone = process.wait() == 0
        for name in os.listdir(folder):
            if name.endswith(".key"):
                openssl("pkey", "-in", folder / name, "-noout")
                assert mode(folder / name) == 0o600
            elif name.endswith(".crt"):
                shown(folder / name, "-serial")
                assert verify(folder, name, "any") == ""
        assert cert("--client", "kitchen").returncode == 0
        assert sorted(os.listdir(folder)) == sorted([*SERVER, "kitchen.crt", "kitchen.key"])
        if isDone:
            break
        for name in os.listdir(folder):
            (folder / name).unlink()
        delay += 0.003


# In use


def pasted(said, port):
    """The listener that the command proposes, as one line with the daemon's port."""
    block = said.split("listeners:\n")[1].split("\n\n")[0]
    keys = dict(re.findall(r"^ *-? *(\w+): (.+)$", block, re.MULTILINE))
    tls = ", ".join(f"{name}: {keys[name]}" for name in ("certificate", "key", "ca", "client_certificate") if name in keys)
    assert keys["address"] == "0.0.0.0" and keys["port"] == "8883"
    return "{address: 127.0.0.1, port: %s, tls: {%s}}" % (port, tls)


def proposed(said):
    """The command that tries it."""
    return shlex.split(next(line for line in said.splitlines() if line.startswith("mosquitto_pub ")))


@pytest.mark.smoke
def test_what_is_printed_works(binary, house, make_daemon, tmp_path):
    folder, said = house
    yaml = tmp_path / "pasted.yaml"
    yaml.write_text("listeners:\n" + said.split("listeners:\n")[1].split("\n\n")[0] + "\n")
    done = binary.run("check", "-c", yaml)
    assert done.returncode == 0, done.stderr
    broker = make_daemon("users: {rules: [{user: wall display, readwrite: '#'}]}\n", listeners=[pasted(said, "PORT")])
    command = proposed(said)
    assert command[command.index("--cert") + 1] == str(folder / "wall display.crt")
    command[command.index("8883")] = str(broker.port)
    done = subprocess.run([*command, "-V", "5"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0 and not done.stderr
    # Another client is another user, who may not.
    command = [word.replace("wall display", "kitchen") for word in command]
    done = subprocess.run([*command, "-V", "5"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert "not authorized" in (done.stdout + done.stderr).lower()
    # And without a certificate nobody comes in.
    start = command.index("--cert")
    done = subprocess.run(command[:start] + command[start + 4:], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode != 0


def test_without_clients_there_are_passwords(cert, folder, make_daemon, tmp_path):
    said = cert().stdout
    users = tmp_path / "users"
    users.write_text(password_file({"anna": "secret"}))
    broker = make_daemon(f"users: {{password_file: {users}}}\n", listeners=[pasted(said, "PORT")])
    command = proposed(said)
    command[command.index("8883")] = str(broker.port)
    for password, isRight in (("secret", True), ("wrong", False)):
        words = [{"USER": "anna", "PASSWORD": password}.get(word, word) for word in command]
        assert (subprocess.run(words, capture_output=True, timeout=PATIENCE_SECONDS).returncode == 0) == isRight


def test_python_checks_the_names(house, make_daemon):
    folder, said = house
    broker = make_daemon(listeners=[pasted(said, "PORT")])
    made = ssl.create_default_context(cafile=folder / "ca.crt")
    made.load_cert_chain(folder / "kitchen.crt", folder / "kitchen.key")
    made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    assert made.check_hostname

    def dial(name):
        connection = socket.create_connection(("127.0.0.1", broker.port), PATIENCE_SECONDS)
        try:
            return made.wrap_socket(connection, server_hostname=name)
        except ssl.SSLError:
            connection.close()
            raise

    for name in ("localhost", "127.0.0.1", "mqtt.example", "2001:db8::7"):
        with raw.Client.on(dial(name)).connect("python") as client:
            client.ping()
    for name in ("example", "127.0.0.2", "2001:db8::8"):
        with pytest.raises(ssl.SSLCertVerificationError):
            dial(name)


def test_paho(house, make_daemon):
    folder, said = house
    broker = make_daemon(listeners=[pasted(said, "PORT")])
    answers = []
    one = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    one.tls_set(str(folder / "ca.crt"), str(folder / "wall display.crt"), str(folder / "wall display.key"))
    one.on_connect = lambda _, __, ___, reason, ____: answers.append(reason.is_failure)
    one.connect("localhost", broker.port)
    one.loop_start()
    wait(lambda: answers, "CONNACK")
    one.disconnect()
    one.loop_stop()
    assert answers == [False]


def test_the_clients_own_name_by_san(cert, folder, make_daemon):
    said = cert("--client", "kitchen").stdout
    listener = pasted(said, "PORT").replace("client_certificate:", "identity: san, client_certificate:")
    broker = make_daemon("users: {rules: [{user: kitchen, write: t}]}\n", listeners=[listener])
    command = proposed(said)
    command[command.index("8883")] = str(broker.port)
    command[command.index("test")] = "t"
    done = subprocess.run([*command, "-V", "5"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0 and not done.stderr, done.stderr

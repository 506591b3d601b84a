"""The Debian package on a Debian that is booted: installed, served, hung, crashed, upgraded, removed, rebooted, purged.

The tests of a suite are one story, in this order, on one guest whose systemd is process 1.
"""

import re
import socket
import ssl
import time

import client
import pytest
from conftest import NEW, OLD

CONFIGURATION = "/etc/tapline/tapline.yaml"
# What a user may have made of it.
EDITED = """
listeners:
  - {address: 0.0.0.0, port: 1883, anonymous: true}
taps:
  base: board
  persist: /var/lib/tapline/taps
  outputs:
    relay: {pin: GPIO17}
    held: {pin: GPIO18, initial: restore, on_exit: keep}
    fan: {pin: GPIO19, initial: on}
  pwm:
    strip: {chip: pwm-sim, frequency: 1kHz}
  leds:
    lamp: {led: "input0::capslock"}
"""
# As a first installation has it.
SECURED = EDITED.replace(", anonymous: true", "") + "users: {password_file: /etc/tapline/passwd, unix: {0: tapline}}\n"
PASSWORD = r"[a-hjkmnp-z]{6}(?:-[a-hjkmnp-z]{6}){2}"
PATIENCE_SECONDS = 300
APT_SECONDS = 3600


def show(debian, name, unit="tapline.service"):
    return debian.sh(f"systemctl show -P {name} {unit}")


def is_active(debian):
    return debian.sh("systemctl is-active tapline.service || true")


def wait(condition, what, seconds=PATIENCE_SECONDS):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.2)
    return value


def level(debian, line):
    """What the simulated chip's line GPIO`line` carries."""
    return int(debian.sh(f"cat /sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio{line - 17}/value"))


def journal(debian):
    return debian.sh("journalctl -u tapline.service -o cat --no-pager")


def octal(packet):
    return "".join(f"\\{byte:03o}" for byte in packet)


def answer(debian, address="127.0.0.1", user=None, password=None):
    """The return code of CONNACK there; None where nobody answers."""
    # Ends with the answer, or at once where nobody listens.
    talk = f"exec 3<>/dev/tcp/{address}/1883 && printf '{octal(client.connect_packet(user, password))}' >&3 && head -c 4 <&3 | od -An -tx1"
    said = debian.sh(f'bash -c "{talk}" 2>/dev/null || true').split()
    return int(said[3], 16) if said[:2] == ["20", "02"] else None


def noted(debian):
    """The password that the owner reads, or None."""
    found = re.search(rf"^tapline = ({PASSWORD})$", debian.sh("cat /etc/tapline/password.txt 2>/dev/null || true"), re.MULTILINE)
    return found and found[1]


def said_at_first_starts(debian):
    return debian.sh("journalctl -t first-start -o cat --no-pager").splitlines()


def answers(debian, address="127.0.0.1"):
    """Whether a broker accepts user tapline there."""
    return answer(debian, address, "tapline", noted(debian)) == 0


def apt(debian, command):
    """As a user does it, who has no network."""
    return debian.agent.ask(f"sh cd /opt/board && DEBIAN_FRONTEND=noninteractive apt {command}", seconds=APT_SECONDS)


def install(debian, version):
    return apt(debian, f"install --reinstall ./tapline_{version}-1_arm64.deb")


def pages_of_plan(debian):
    plan = int(re.search(r'"total_bytes":(\d+)', debian.sh(f"tapline plan --json -c {CONFIGURATION}"))[1])
    return (plan + 8 * 1024 * 1024) // 4096


@pytest.fixture
def mqtt(debian, request):
    with client.Client(debian.mqtt_port, request.node.originalname) as made:
        yield made


def test_it_installs_and_serves(debian):
    # The system has no list of any packages: what the package needs is there.
    assert debian.sh("ls /var/lib/apt/lists | grep -v -e lock -e partial -e auxfiles || true") == ""
    debian.files_before = debian.files()
    clock = time.monotonic()
    said = apt(debian, f"install ./tapline_{OLD}-1_arm64.deb")
    # That of a tool that is to be read by people; it says "WARNING" of itself.
    assert not re.search("^(W|E|Err|dpkg): ", said, re.MULTILINE), said
    debian.note(f"installed in {time.monotonic() - clock:.1f} s")
    assert is_active(debian) == "active"
    assert debian.sh("systemctl is-enabled tapline.service tapline.socket || true").split() == ["enabled", "disabled"]
    assert show(debian, "Type") == "notify" and "tapline: ready" in journal(debian)
    assert debian.sh("stat -c %U /proc/$(systemctl show -P MainPID tapline)") == "tapline"
    assert answers(debian)
    assert debian.sh("tapline --version") == "tapline 0.1.0"
    # The limit of memory is there at once.
    assert int(show(debian, "MemoryMax")) // 4096 == pages_of_plan(debian)
    # Where it is, and not what it is: apt has a log of its own.
    assert "sudo cat /etc/tapline/password.txt" in said
    assert not re.search(PASSWORD, said)


def test_the_first_start_made_a_password(debian):
    password = noted(debian)
    assert said_at_first_starts(debian) == [
        "clients that use TLS trust /etc/tapline/tls/ca.crt",
        f"clients connect as user 'tapline' with the password {password}, which /etc/tapline/password.txt has too",
    ]
    assert debian.sh(f"journalctl --no-pager | grep -c {password}") == "1"
    assert debian.sh("stat -c '%U %G %a' /etc/tapline/password.txt /etc/tapline/passwd").splitlines() == ["root root 600", "root tapline 640"]
    assert password not in debian.sh("cat /etc/tapline/passwd")
    debian.sh("systemctl restart tapline.service")
    assert noted(debian) == password and len(said_at_first_starts(debian)) == 2 and answers(debian)


def test_tls_with_the_certificate_of_the_first_start(debian):
    assert debian.sh("cd /etc/tapline && stat -c '%n %U %G %a' tls tls/*").splitlines() == [
        "tls root root 755", "tls/ca.crt root root 644", "tls/ca.key root root 600", "tls/server.crt root root 644",
        "tls/server.key root tapline 640"]
    authority = debian.sh("cat /etc/tapline/tls/ca.crt")
    for name in ("localhost", debian.sh("uname -n"), debian.sh("uname -n") + ".local"):
        context = ssl.create_default_context(cadata=authority)
        with socket.create_connection(("127.0.0.1", debian.tls_port), client.PATIENCE_SECONDS) as plain:
            with context.wrap_socket(plain, server_hostname=name) as stream:
                stream.sendall(client.connect_packet("tapline", noted(debian)))
                assert stream.recv(4) == b"\x20\2\0\0", name
    # A name that came later, and what the configuration says to do then; the authority stays.
    before = debian.sh("cat /etc/tapline/tls/server.crt")
    command = re.search(r"sudo (tapline cert --renew .*) && sudo (systemctl reload tapline)", debian.sh(f"cat {CONFIGURATION}"))
    debian.sh(f"{command[1]} --name board.example && {command[2]}.service")
    assert debian.sh("cat /etc/tapline/tls/server.crt") != before and debian.sh("cat /etc/tapline/tls/ca.crt") == authority

    def is_known():
        context = ssl.create_default_context(cadata=authority)
        with socket.create_connection(("127.0.0.1", debian.tls_port), client.PATIENCE_SECONDS) as plain:
            try:
                context.wrap_socket(plain, server_hostname="board.example").close()
                return True
            except ssl.SSLCertVerificationError:
                return False

    wait(is_known, "certificate with the new name")


def test_nobody_is_let_in_without_the_password(debian):
    for address in ("127.0.0.1", "10.0.2.15"):
        assert answer(debian, address) == 5
        assert answer(debian, address, "tapline") == 4
        assert answer(debian, address, "tapline", noted(debian)[:-1]) == 4
        assert answer(debian, address, "anna", noted(debian)) == 4
        assert answers(debian, address)


def test_programs_of_root_need_no_password_on_the_socket_file(debian):
    assert debian.sh("stat -c '%U %G %a' /run/tapline/mqtt.sock") == "tapline tapline 660"
    packet = "".join(f"\\x{byte:02x}" for byte in client.connect_packet())
    talk = 'socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un("/run/tapline/mqtt.sock")) or die; '
    talk += f'syswrite(S, "{packet}"); sysread(S, $a, 4); print unpack("H*", $a)'
    assert debian.sh(f"perl -MSocket -e '{talk}'") == "20020000"


def test_users_are_added_and_passwords_changed(debian):
    debian.sh("echo hers | tapline passwd /etc/tapline/passwd anna && systemctl reload tapline.service")
    wait(lambda: answer(debian, user="anna", password="hers") == 0, "user that was added")
    assert debian.sh("stat -c '%U %G %a' /etc/tapline/passwd") == "root tapline 640"
    debian.sh("tapline passwd -D /etc/tapline/passwd anna && systemctl reload tapline.service")
    wait(lambda: answer(debian, user="anna", password="hers") == 4, "user that was removed")
    assert answers(debian)


def test_a_power_cut_at_the_first_start(debian):
    """Between the note and the password file, as its tests on the host do at every step: it goes on with the same password."""
    password = noted(debian)
    debian.sh("systemctl stop tapline.service && rm /etc/tapline/passwd && echo half > /etc/tapline/passwd.new && systemctl start tapline.service")
    assert noted(debian) == password and answers(debian)
    assert said_at_first_starts(debian)[-1] == "users and their passwords are those of /etc/tapline/password.txt"
    assert "users and their passwords are those of" in journal(debian)
    # How an owner gets another one.
    debian.sh("rm /etc/tapline/passwd* /etc/tapline/password.txt && systemctl restart tapline.service")
    assert noted(debian) not in (None, password) and answers(debian)
    assert answer(debian, user="tapline", password=password) == 4


def test_the_configuration_is_the_boards(debian):
    text = debian.read(CONFIGURATION)
    assert "board: generic" in text and "linuxdummy-virt" in text
    assert "ok (5 listeners, 1 user, " in debian.sh(f"tapline check -c {CONFIGURATION}")
    assert debian.sh(f"stat -c '%U %a' {CONFIGURATION} /var/lib/tapline").splitlines() == ["root 644", "tapline 750"]


def test_group_gpio_has_lines_channels_and_leds(debian):
    assert debian.sh("stat -c '%G %a' /dev/gpiochip0") == "gpio 660"
    assert "gpio" in debian.sh("id -Gn tapline").split()
    led = debian.sh("stat -c '%G %a' /sys/class/leds/input0::capslock/brightness")
    channel = debian.sh("stat -c '%G %a' /sys/class/pwm/pwmchip0/export")
    assert led == "gpio 664" and channel in ("gpio 220", "gpio 620")


def test_clients_wait_in_the_sockets_of_a_socket_unit(debian):
    debian.sh("systemctl stop tapline.service && systemctl start tapline.socket")
    assert is_active(debian) == "inactive"
    assert answers(debian)  # starts the service
    assert is_active(debian) == "active"
    assert "nobody is served" not in journal(debian)
    debian.sh("systemctl restart tapline.service")
    assert answers(debian)
    debian.sh("systemctl stop tapline.socket tapline.service && systemctl start tapline.service")


def test_the_limit_of_memory_is_the_plans(debian):
    debian.write_file(CONFIGURATION, EDITED)
    # systemd knows that the limit is made of the configuration.
    assert show(debian, "NeedDaemonReload") == "yes"
    debian.sh("systemctl daemon-reload && systemctl restart tapline.service")
    assert int(show(debian, "MemoryMax")) // 4096 == pages_of_plan(debian)
    assert is_active(debian) == "active"
    peak = int(debian.sh("cat /sys/fs/cgroup/system.slice/tapline.service/memory.peak"))
    debian.note(f"memory of the service: {peak / 2**20:.1f} MiB at most, of {int(show(debian, 'MemoryMax')) / 2**20:.1f} MiB")


def test_a_limit_of_memory_that_is_too_low_is_told(debian):
    debian.write_file(CONFIGURATION, EDITED.replace("taps:", "limits: {connections: 2000, blocks: 400000}\ntaps:", 1))
    # Starts by hand count as well, and the tests make more of them than people do.
    said = debian.sh("systemctl reset-failed tapline.service; systemctl restart tapline.service 2>&1 || true")
    assert "daemon-reload" in said and "out-of-memory" in said
    wait(lambda: "MemoryMax is less than" in journal(debian), "word of the limit")
    assert "systemctl daemon-reload, then restart" in journal(debian)
    debian.sh("systemctl daemon-reload && systemctl restart tapline.service")
    assert is_active(debian) == "active"
    debian.write_file(CONFIGURATION, EDITED)
    debian.sh("systemctl daemon-reload && systemctl reset-failed tapline.service && systemctl restart tapline.service")
    assert show(debian, "NRestarts") == "0" and is_active(debian) == "active"


def test_the_sandbox_lets_it_reach_lines_channels_and_leds(debian, mqtt):
    for tap, payload in (("relay", "ON"), ("strip", "25"), ("lamp", "ON")):
        wait(lambda: mqtt.publish(f"board/{tap}/set", payload).reason == 0, f"{tap} that can be set")
    assert level(debian, 17) == 1
    assert debian.read("/sys/class/pwm/pwmchip0/pwm0/duty_cycle") == "250000"
    assert debian.read("/sys/class/leds/input0::capslock/brightness") == "1"


def test_the_watchdog_ends_a_daemon_that_hangs(debian, mqtt):
    mqtt.publish("board/relay/set", "ON")
    pid = show(debian, "MainPID")
    clock = time.monotonic()
    debian.sh(f"kill -STOP {pid}")
    wait(lambda: show(debian, "MainPID") not in ("0", pid) and is_active(debian) == "active", "restart")
    debian.note(f"hung, killed and served again in {time.monotonic() - clock:.1f} s")
    assert show(debian, "NRestarts") == "1"
    said = debian.sh("journalctl -u tapline.service --no-pager")
    assert "watchdog" in said.lower()
    assert re.search(r"tapline\[\d+\]: relay: ", said), said  # ExecStopPost
    assert level(debian, 17) == 0


def test_a_crash_is_restarted_with_safe_outputs(debian, mqtt):
    mqtt.publish("board/relay/set", "ON")
    debian.trace_lines()
    restarts = int(show(debian, "NRestarts"))
    # The daemon only: `systemctl kill` may reach what makes outputs safe after it.
    debian.sh(f"kill -KILL {show(debian, 'MainPID')}")
    wait(lambda: int(show(debian, "NRestarts")) > restarts and is_active(debian) == "active", "restart")
    # Safe before it starts again, 2 s later.
    seconds, first = debian.traced_levels(17)[0]
    assert first == 0 and seconds < int(show(debian, "ExecMainStartTimestampMonotonic")) / 1e6


def test_stop_leaves_outputs_safe(debian, mqtt):
    mqtt.publish("board/relay/set", "ON")
    mqtt.publish("board/held/set", "ON")
    assert level(debian, 17) == 1
    debian.sh("systemctl stop tapline.service")
    assert is_active(debian) == "inactive" and show(debian, "Result") == "success"
    assert (level(debian, 17), level(debian, 18)) == (0, 1)
    debian.sh("systemctl start tapline.service")


def test_an_upgrade_keeps_the_configuration_and_held_outputs(debian, mqtt):
    # One that knows of no users, as those before there were any: nobody is locked out, and no password is made.
    debian.sh("rm /etc/tapline/passwd /etc/tapline/password.txt")
    mqtt.publish("board/held/set", "ON")
    before, pid = debian.sh(f"md5sum {CONFIGURATION}"), show(debian, "MainPID")
    debian.trace_lines()
    clock = time.monotonic()
    said = install(debian, NEW)
    debian.note(f"upgraded in {time.monotonic() - clock:.1f} s")
    assert debian.sh("dpkg-query -W -f '${Version} ${Status}' tapline") == f"{NEW}-1 install ok installed"
    assert debian.sh(f"md5sum {CONFIGURATION}") == before, said
    assert is_active(debian) == "active" and show(debian, "MainPID") != pid
    assert level(debian, 18) == 1
    assert [level for _, level in debian.traced_levels(18) if level == 0] == []
    assert answer(debian, "10.0.2.15") == 0
    assert debian.sh("cd /etc/tapline && echo *") == "tapline.yaml tls"
    # Nothing is left running or looking as the old one.
    assert "(deleted)" not in debian.sh("readlink /proc/$(systemctl show -P MainPID tapline)/exe")


def test_an_upgrade_keeps_the_address_of_an_enabled_socket_unit(debian):
    """The socket unit of before was for 127.0.0.1, as the configuration was."""
    kept = "/etc/systemd/system/tapline.socket.d/00-loopback.conf"
    upgrade = "systemctl reset-failed tapline.service; DPKG_MAINTSCRIPT_PACKAGE=tapline /var/lib/dpkg/info/tapline.postinst configure 0.0.8-1"
    debian.sh("systemctl enable tapline.socket")
    debian.sh(upgrade)
    assert debian.sh(f"test -e {kept}; echo $?") == "1"  # its configuration has 0.0.0.0
    assert "0.0.0.0:1883" in show(debian, "Listen", "tapline.socket") and "[::]:1883" in show(debian, "Listen", "tapline.socket")
    debian.write_file(CONFIGURATION, EDITED.replace("address: 0.0.0.0", "address: 127.0.0.1"))
    debian.sh(upgrade)
    assert show(debian, "Listen", "tapline.socket") == "127.0.0.1:1883 (Stream)"
    debian.sh(f"systemctl disable tapline.socket; rm -r {kept.rpartition('/')[0]}; systemctl daemon-reload")
    debian.write_file(CONFIGURATION, EDITED)
    debian.sh("systemctl restart tapline.service")


def test_a_configuration_that_is_refused_stays_with_the_old_daemon(debian):
    pid = show(debian, "MainPID")
    debian.write_file(CONFIGURATION, "taps: {base: board, outputs: {relay: {pim: GPIO17}}}\n")
    said = install(debian, NEW)
    assert "this version refuses" in said and "pim" in said
    assert show(debian, "MainPID") == pid and is_active(debian) == "active"
    # By hand: it fails, says why, and is not started again and again.
    assert debian.sh("systemctl restart tapline.service; echo $?").endswith("1")
    wait(lambda: is_active(debian) == "failed", "failed state")
    assert show(debian, "ExecMainStatus") == "78" and show(debian, "NRestarts") == "0"
    assert "pim" in journal(debian)
    debian.write_file(CONFIGURATION, EDITED)
    debian.sh("systemctl restart tapline.service")


def test_removing_stops_it_and_keeps_the_configuration(debian, mqtt):
    mqtt.publish("board/relay/set", "ON")
    apt(debian, "remove -y tapline")
    assert is_active(debian) == "inactive" and not answers(debian)
    assert level(debian, 17) == 0
    assert debian.sh(f"cat {CONFIGURATION}").strip() == EDITED.strip()
    assert debian.sh("ls /var/lib/tapline") == "taps"


def test_it_comes_back_with_the_same_configuration(debian):
    install(debian, NEW)
    assert is_active(debian) == "active"
    assert debian.sh(f"cat {CONFIGURATION}").strip() == EDITED.strip()


def test_a_reboot_brings_it_back_with_its_outputs(debian):
    debian.sh("mkdir -p /var/log/journal && journalctl --flush")
    debian.write_file(CONFIGURATION, SECURED)
    debian.sh("systemctl daemon-reload && systemctl restart tapline.service")
    password = noted(debian)
    with client.Client(debian.mqtt_port, "before", "tapline", password) as mqtt:
        for tap, payload in (("relay", "ON"), ("held", "ON"), ("fan", "OFF")):
            wait(lambda: mqtt.publish(f"board/{tap}/set", payload).reason == 0, f"{tap} that can be set")
    debian.reboot()
    assert is_active(debian) == "active" and show(debian, "NRestarts") == "0"
    # What starts off, what was commanded last, what starts on.
    assert [level(debian, line) for line in (17, 18, 19)] == [0, 1, 1]
    assert int(show(debian, "MemoryMax")) // 4096 == pages_of_plan(debian)
    assert "tapline.service: Deactivated successfully" in debian.sh("journalctl -b -1 --no-pager | grep tapline")
    assert noted(debian) == password and client.answer_to_connect(debian.mqtt_port) == 5
    with client.Client(debian.mqtt_port, "after", "tapline", password) as mqtt:
        wait(lambda: mqtt.publish("board/relay/set", "ON").reason == 0, "relay that can be set")
    assert level(debian, 17) == 1


def test_purging_leaves_nothing(debian):
    said = apt(debian, "purge -y tapline")
    # Debian 12's systemd has /lib/systemd where the package has /usr/lib/systemd, which is the same.
    assert [line for line in said.splitlines() if "warning" in line and "not empty so not removed" not in line] == []
    left = debian.sh("find / -xdev -name '*tapline*' -not -path '/opt/board/*' -not -path '/proc/*' -not -path '/sys/*'").split()
    assert left == [], said
    # dpkg and the shadow tools keep a copy of what they changed.
    came = {path for path in debian.files() - debian.files_before if not re.fullmatch(r"/etc/(passwd|group|shadow|gshadow)-", path)}
    assert came == set() and debian.files_before - debian.files() == set()
    # The user stays, and so does what it may do.
    assert "gpio" in debian.sh("id -Gn tapline").split()
    assert debian.sh("dpkg-query -W tapline 2>&1 || true").startswith("dpkg-query: no packages found")
    assert debian.sh("systemctl list-units --all --no-legend 'tapline*'") == ""


def test_the_tarball_installs_itself_and_goes_again(debian):
    folder = f"/opt/board/tapline-{NEW}"
    debian.sh(f"cd /opt/board && tar xzf {folder}-aarch64.tar.gz")
    said = debian.agent.ask(f"sh {folder}/install.sh", seconds=APT_SECONDS)
    assert said.count(noted(debian)) == 1
    assert is_active(debian) == "active" and debian.sh("systemctl is-enabled tapline.service") == "enabled"
    assert answers(debian)
    debian.agent.ask(f"sh {folder}/install.sh --remove", seconds=APT_SECONDS)
    assert is_active(debian) == "inactive"
    left = debian.sh("find / -xdev -name '*tapline*' -not -path '/opt/board/*' -not -path '/proc/*' -not -path '/sys/*'").split()
    assert sorted(left) == ["/etc/tapline", CONFIGURATION, "/var/lib/tapline"]

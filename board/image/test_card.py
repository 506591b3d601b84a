"""What becomes of the card: power cuts, wrong files, foreign and damaged partitions; and who watches the daemon.

On QEMU's generic board, with the image's own kernel and initramfs. Its daemon switches simulated lines.
"""

import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import time

import client
import guest
import rig

CUTS = int(os.environ.get("TAPLINE_CUTS", "20"))
SEED = int(os.environ.get("TAPLINE_SEED", "1"))
BITS = 20  # more than can be counted in the time
TABLE = 446
HEAD = """board: simulated
listeners:
  - {address: 0.0.0.0, port: 1883, anonymous: true}
taps:
  base: t
"""
PLAIN = HEAD + "  outputs: {relay: {pin: GPIO17, initial: off}}\n"
# As the image's own: users of password.txt, and nobody else.
SECURED = PLAIN.replace(", anonymous: true", "") + "users: {password_file: /run/tapline/passwd, unix: {0: tapline}}\n"
# With TLS, by the certificate that the first start makes.
SEALED = SECURED.replace("listeners:\n", """listeners:
  - {address: 0.0.0.0, port: 8883, tls: {certificate: /run/tapline/tls/server.crt, key: /run/tapline/tls/server.key}}
""")
COUNTING = "limits: {sys_interval_seconds: 1}\n" + HEAD + "  persist: {file: /data/tapline/taps, interval: 1s}\n  outputs:\n" + "".join(
    f"    bit{bit}: {{pin: GPIO{bit}, initial: restore}}\n" for bit in range(BITS)
)


def gray(number):
    return number ^ number >> 1


def bits(number):
    """The states of the outputs, of bit 0 first."""
    return ["ON" if gray(number) >> bit & 1 else "OFF" for bit in range(BITS)]


def restored(mqtt):
    """The number that the outputs' retained states are the code of."""
    mqtt.subscribe("t/+")
    states = [mqtt.expect(f"t/bit{bit}", lambda text: text in ("ON", "OFF")).payload for bit in range(BITS)]
    code, number = sum((state == "ON") << bit for bit, state in enumerate(states)), 0
    while code:
        number, code = number ^ code, code >> 1
    assert bits(number) == states
    return number


def uptime(mqtt):
    """Seconds by the guest's clock since its daemon was ready."""
    return int(mqtt.on_topic("$SYS/broker/uptime")[-1].payload.split()[0])


def second_partition(card):
    with open(card, "rb") as file:
        return file.read(512)[TABLE + 16 : TABLE + 32]


def entry(card, kind, start_mib, mib):
    """Puts a second partition into the card's table."""
    with open(card, "r+b") as file:
        file.seek(TABLE + 16)
        file.write(struct.pack("<4sB3sII", bytes(4), kind, bytes(3), start_mib * 2048, mib * 2048)[:16])


def test_power_cuts(card, power_on, note):
    """Outputs count in Gray code, so that whatever moment is restored is one number; it is one that was commanded, and
    no older than what was restored before."""
    guest.put_in(card, "tapline.yaml", COUNTING)
    chance = random.Random(SEED)
    number = oldest = 0
    readies, losses = [], []
    for cut in range(CUTS + 1):
        board = power_on("virt")
        readies.append(board.wait_until_ready())
        if cut == 1:
            assert "/data ext4" in board.read("/proc/mounts")
        board.wait_for_network()
        mqtt = client.Client(board.mqtt_port, "counter")
        mqtt.subscribe("$SYS/broker/uptime")
        found = restored(mqtt)
        assert oldest <= found <= number, f"cut {cut}: {found} is restored of {oldest}...{number}"
        losses.append(number - found)
        oldest = number = found
        if cut == CUTS:
            break
        # By the guest's clock, which on a busy machine is slower than ours; what is left of the second, by commands.
        seconds, steps = chance.randrange(6), chance.randrange(300)
        end = uptime(mqtt) + seconds
        while uptime(mqtt) < end or steps > 0:
            steps -= uptime(mqtt) >= end
            step = number + 1
            bit = (gray(step) ^ gray(number)).bit_length() - 1
            number = step  # from the moment it is sent it may be found
            assert number < 1 << BITS
            mqtt.publish(f"t/bit{bit}/set", bits(step)[bit])
        board.qemu.kill()
        mqtt.close()
        board.qemu.wait()
    mqtt.close()
    assert number > 0, "nothing was ever restored"
    note(f"seed {SEED}: {CUTS} cuts, counted to {number}, lost at most {max(losses)} commands of the last second or so")
    note(f"start to ready: first {readies[0]:.1f} s, then {min(readies[1:]):.1f} to {max(readies[1:]):.1f} s")


def test_a_wrong_configuration_is_told_and_the_last_good_one_served(card, power_on, connect):
    wrong = PLAIN.replace("initial: off", "initial: of")
    # Before there ever was a good one: the image's own, which switches nothing.
    guest.put_in(card, "tapline.yaml", wrong)
    board = power_on("virt")
    board.wait_for_line(r"image: .*  tapline.yaml:6:\d+: .*'of'.*did you mean 'off'")
    board.wait_for_line("image: .*the image's own configuration")
    board.wait_until_ready()
    board.power_off()
    # As some editors write it.
    guest.put_in(card, "tapline.yaml", "\ufeff" + PLAIN.replace("\n", "\r\n"))
    board = power_on("virt")
    board.wait_until_ready()
    board.wait_for_network()
    board.sh("until [ -e /data/good.yaml ]; do usleep 100000; done")
    board.cut_power()
    guest.put_in(card, "tapline.yaml", wrong)
    board = power_on("virt")
    board.wait_for_line("image: .*the last configuration that was served")
    board.wait_until_ready()
    board.wait_for_network()
    connect(board).subscribe("t/relay").expect("t/relay", "OFF")


def test_the_first_start_makes_a_password(card, power_on, connect):
    guest.put_in(card, "tapline.yaml", SECURED)
    before = {name: guest.mtools("mtype", card, f"::{name}").stdout for name in ("config.txt", "wifi.txt", "tapline.yaml")}
    board = power_on("virt")
    password = board.new_password()
    board.wait_until_ready()
    board.wait_for_network()
    assert client.answer_to_connect(board.mqtt_port) == 5
    assert client.answer_to_connect(board.mqtt_port, "tapline", password[:-1]) == 4
    connect(board, "owner", "tapline", password).subscribe("t/relay").expect("t/relay", "OFF")
    # Told once, and the card at rest again.
    assert sum(password in text for _, text in board.lines) == 1
    assert board.sh(f"grep -c {password} /run/messages || true") == "0"
    assert " ro," in board.sh("grep ' /card ' /proc/mounts")
    assert board.sh("stat -c '%U %a' /run/tapline/passwd /card/password.txt").split("\n") == ["tapline 600", "root 750"]
    board.cut_power()
    assert guest.noted_password(card) == password
    assert {name: guest.mtools("mtype", card, f"::{name}").stdout for name in before} == before

    board = power_on("virt")
    board.wait_for_line("image: .*users and their passwords are those of password.txt")
    board.wait_until_ready()
    board.wait_for_network()
    assert client.answer_to_connect(board.mqtt_port) == 5
    connect(board, "owner", "tapline", password)
    assert not any(password in text for _, text in board.lines)


def certificates(card):
    """{name: text} of the folder tls, as the card's owner reads it in another computer."""
    names = ("ca.crt", "ca.key", "server.crt", "server.key")
    return {name: guest.mtools("mtype", card, f"::tls/{name}").stdout.decode() for name in names}


def hello(board, authority, name, password):
    """The return code of CONNACK through TLS, and the certificate that the board has shown."""
    context = ssl.create_default_context(cadata=authority)
    with socket.create_connection(("127.0.0.1", board.tls_port), client.PATIENCE_SECONDS) as plain:
        with context.wrap_socket(plain, server_hostname=name) as stream:
            stream.sendall(client.connect_packet("tapline", password))
            answer = stream.recv(4)
            return answer[3], stream.getpeercert(binary_form=True)


def test_the_first_start_makes_a_certificate(card, power_on):
    """Clients that trust its authority, which is on the card, go on doing so, whatever becomes of the server's certificate."""
    guest.put_in(card, "tapline.yaml", SEALED)
    made = {}

    def start(name):
        """The certificate that the board shows for this name, by the first authority; and whether it was said to be new."""
        board = power_on("virt")
        board.wait_until_ready()
        board.wait_for_network()
        assert " ro," in board.sh("grep ' /card ' /proc/mounts")
        # Not of 1970, when the board's clock begins.
        assert board.sh("[ $(date +%s) -ge $(cat /etc/built) ] && echo later") == "later"
        made.update(made or certificates(card))
        granted, shown = hello(board, made["ca.crt"], name, guest.noted_password(card))
        assert granted == 0
        is_new = any("clients that use TLS trust tls/ca.crt of the card" in text for _, text in board.lines)
        board.cut_power()
        return shown, is_new

    first, is_new = start("tapline.local")
    assert is_new
    assert start("tapline.local") == (first, False)
    # One that a power cut has left in part: another of the same authority, with the name of now.
    guest.put_in(card, "tls/server.crt", made["server.crt"][:100])
    guest.put_in(card, "network.txt", "hostname = cellar\n")
    shown, is_new = start("cellar.local")
    assert is_new and shown != first
    now = certificates(card)
    assert [name for name in now if now[name] == made[name]] == ["ca.crt", "ca.key"]


def test_the_users_of_the_card(card, power_on, connect):
    guest.put_in(card, "tapline.yaml", SECURED)
    guest.put_in(card, "password.txt", "\ufeff# ours\r\nanna = a b=c\r\nbert his\r\n")
    board = power_on("virt")
    board.wait_for_line("image: .*password.txt:3: expected 'user = password'")
    board.wait_until_ready()
    board.wait_for_network()
    connect(board, "anna", "anna", "a b=c")
    for user, password in (("anna", "a b"), ("bert", "his"), ("tapline", "")):
        assert client.answer_to_connect(board.mqtt_port, user, password) == 4
    board.power_off()
    assert guest.noted_password(card) is None


def test_nobody_is_let_in_by_the_images_own_configuration(card, power_on, connect):
    guest.put_in(card, "tapline.yaml", "taps: nonsense\n")
    board = power_on("virt")
    password = board.new_password()
    board.wait_for_line("image: .*the image's own configuration")
    board.wait_until_ready()
    board.wait_for_network()
    assert client.answer_to_connect(board.mqtt_port) == 5
    connect(board, "owner", "tapline", password)


def test_power_cuts_at_the_first_start(image, card, power_on, connect, note):
    """Whenever it is, the next start serves a password that is on the card, and that which was told is the one."""
    guest.put_in(card, "tapline.yaml", SECURED)
    fresh = card.with_name("fresh.img")
    shutil.copyfile(card, fresh)
    chance = random.Random(SEED)
    seconds = kept = 0
    for cut in range(max(2, CUTS // 4)):
        shutil.copyfile(fresh, card)
        board = power_on("virt")
        if cut == 0:
            # At the moment at which it is told; the others at a moment of chance before that.
            board.new_password()
            seconds = time.monotonic() - board.started
        else:
            time.sleep(chance.uniform(0, seconds))
        board.cut_power()
        board.reader.join()
        told = [found[1] for _, text in board.lines if (found := re.search(r"with the password (\S+), which", text))]
        board = power_on("virt")
        board.wait_until_ready()
        board.wait_for_network()
        password = guest.noted_password(card)
        assert told in ([], [password])
        kept += len(told)
        assert client.answer_to_connect(board.mqtt_port) == 5
        connect(board, f"owner{cut}", "tapline", password)
        board.cut_power()
    fresh.unlink()
    assert kept >= 1
    note(f"seed {SEED}: {cut + 1} cuts, {kept} of them behind the moment at which the password was told")


def test_every_write_of_the_first_start(card, power_on, tmp_path, note):
    """After each of them the card's file system has password.txt, as it was or with the password: what the owner reads, and the
    next start, if the power is cut there."""
    guest.put_in(card, "tapline.yaml", SEALED)
    replayed, log = tmp_path / "replayed.img", tmp_path / "writes"
    shutil.copyfile(card, replayed)
    before = guest.mtools("mtype", card, "::password.txt").stdout
    board = power_on("virt", writes=log)
    password = board.new_password()
    board.wait_until_ready()
    board.cut_power()
    start, length = guest.partition(replayed)
    seen, count = [before], 0
    with open(replayed, "r+b", buffering=0) as file:
        for place, data in guest.written(log):
            if start <= place < start + length:
                os.pwrite(file.fileno(), data, place)
                count += 1
                text = guest.mtools("mtype", replayed, "::password.txt").stdout
                if text != seen[-1]:
                    seen.append(text)
    replayed.unlink()
    assert len(seen) == 2 and seen[1] == before + f"tapline = {password}\n".encode(), seen
    # The file, its name, its clusters, in two tables.
    assert count >= 6
    note(f"{count} writes to the first partition")


def test_settings_name_key_and_line(card, power_on):
    guest.put_in(card, "network.txt", "# ours\r\nhostname = cellar\r\nadress=10.0.2.15/24\r\naddress = 10.0.2.15/24\r\nntp = $(reboot)")
    guest.put_in(card, "ssh-keys.txt", "# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m8eJ5yq8bHk3g6cVbW1Y6mJrQkz5yq8bHk3g6cVbW me\nnonsense\n")
    guest.put_in(card, "tapline.yaml", PLAIN)
    board = power_on("virt")
    board.wait_for_line("image: .*network.txt:3: 'adress' is not known; expected one of: hostname address")
    board.wait_for_line("image: .*eth0: 10.0.2.15/24")
    board.wait_for_line("image: .*ssh-keys.txt: 'nonsense' is not how a public key begins")
    assert board.sh("hostname") == "cellar"
    board.wait_for_line(r"image: .*network.txt: 'ntp' is '\$\(reboot\)'; expected names or addresses")
    board.sh("until pidof ntpd; do usleep 100000; done")
    # Whatever ends it, the board has not lost the time for good.
    board.sh("kill -9 $(pidof ntpd); until pidof ntpd; do usleep 100000; done")
    board.sh("until pidof dropbear; do usleep 100000; done")
    with socket.create_connection(("127.0.0.1", board.agent_port), rig.ANSWER_SECONDS) as ssh:
        assert ssh.recv(64).startswith(b"SSH-2.0-dropbear")
    assert board.sh("ls /data/ssh") .split()[0] == "ed25519"


def test_the_name_is_registered(card, power_on):
    """By avahi's own word: QEMU's user network carries no multicast."""
    guest.put_in(card, "tapline.yaml", PLAIN)
    board = power_on("virt")
    board.wait_for_network()
    log = board.sh("until grep -q 'mqtt.service) successfully established' /run/avahi.log; do usleep 100000; done; cat /run/avahi.log")
    assert "Host name is tapline.local" in log
    assert "Registering new address record for 10.0.2.15 on eth0" in log


def test_a_foreign_partition_is_left_alone(card, power_on):
    guest.put_in(card, "tapline.yaml", COUNTING)
    entry(card, 0x83, 160, 128)
    with open(card, "r+b") as file:
        file.seek(160 << 20)
        file.write(mark := random.Random(SEED).randbytes(1 << 20))
    board = power_on("virt")
    board.wait_for_line("image: .*second partition is not one of this image's, and left alone")
    board.wait_until_ready()
    board.power_off()
    with open(card, "rb") as file:
        file.seek(160 << 20)
        assert file.read(1 << 20) == mark


def test_a_full_card_serves(card, power_on):
    os.truncate(card, 128 << 20)  # nothing is free
    guest.put_in(card, "tapline.yaml", COUNTING)
    board = power_on("virt")
    board.wait_for_line("image: .*no data partition: less than 64 MiB")
    board.wait_until_ready()


def test_a_damaged_data_partition(card, power_on, note):
    guest.put_in(card, "tapline.yaml", COUNTING)
    board = power_on("virt")
    board.wait_until_ready()
    board.power_off()
    start = struct.unpack_from("<I", second_partition(card), 8)[0] * 512
    # Tables behind the first blocks: mended.
    with open(card, "r+b") as file:
        file.seek(start + (1 << 20))
        file.write(random.Random(SEED).randbytes(4 << 20))
    board = power_on("virt")
    board.wait_until_ready()
    mended = "/data ext4" in board.read("/proc/mounts")
    note(f"after 4 MiB of chance: {'mended and mounted' if mended else 'not mounted'}")
    board.power_off()
    # The superblock, with the name by which it is known: left alone, and served without.
    with open(card, "r+b") as file:
        file.seek(start)
        file.write(bytes(1 << 20))
    board = power_on("virt")
    board.wait_for_line("image: .*left alone")
    board.wait_until_ready()


def test_a_card_written_again_keeps_its_data(image, card, power_on):
    guest.put_in(card, "tapline.yaml", COUNTING)
    board = power_on("virt")
    board.wait_until_ready()
    board.sh("until grep -q ' /data ' /proc/mounts; do usleep 100000; done; touch /data/mine; sync")
    board.power_off()
    with open(image, "rb") as new, open(card, "r+b") as file:
        shutil.copyfileobj(new, file, 1 << 20)
    assert second_partition(card) == bytes(16)
    board = power_on("virt")
    board.wait_for_line("image: .*a data partition of before is found")
    board.sh("until grep -q ' /data ' /proc/mounts; do usleep 100000; done; test -e /data/mine")


def test_the_daemon_is_watched(card, power_on):
    guest.put_in(card, "tapline.yaml", PLAIN)
    board = power_on("virt")
    board.wait_until_ready()
    since = len(board.lines)
    board.sh("kill -STOP $(pidof tapline)")
    board.wait_for_line("keeper: the daemon gives no sign of life", since=since)
    board.wait_for_line("tapline: ready", since=since)


def test_the_hardware_watchdog_watches_the_keeper(card, power_on):
    guest.put_in(card, "tapline.yaml", PLAIN)
    board = power_on("virt", qemu=["-device", "i6300esb", "-action", "watchdog=poweroff"])
    board.wait_for_line("keeper: the hardware's watchdog is armed")
    board.wait_until_ready()
    board.sh("sleep 40")  # of the board's seconds, of which the watchdog has 15: it is fed
    board.sh("kill -STOP $(pidof keeper)")
    board.qemu.wait(rig.READY_SECONDS)
    assert board.qemu.returncode in (0, -signal.SIGKILL)

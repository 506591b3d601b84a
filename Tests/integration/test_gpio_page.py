"""docs/gpio.md, as a reader tries it: its examples, and the topics that it promises."""

import re
import shutil

import pytest

import clients
from daemon import REPOSITORY, wait
from doors import Keys
from patience import PATIENCE_SECONDS

PAGE = (REPOSITORY / "docs/gpio.md").read_text()
EXAMPLE = (REPOSITORY / "docs/example.yaml").read_text()
BOARDS = REPOSITORY / "board/profiles"
# What the drivers of the complete example would show below /sys.
FILES = {
    "bus/w1/devices/28-3c01d607a1b2/temperature": "54312",
    "bus/iio/devices/iio:device0/name": "bme280",
    "bus/iio/devices/iio:device0/in_temp_input": "21400",
    "bus/iio/devices/iio:device0/in_humidityrelative_input": "48211",
    "bus/iio/devices/iio:device0/in_pressure_input": "101.362",
    "bus/iio/devices/iio:device1/name": "ads1015",
    "bus/iio/devices/iio:device1/in_voltage0_raw": "10000",
    "bus/iio/devices/iio:device1/in_voltage0_scale": "0.125",
    "class/hwmon/hwmon0/name": "rpi_volt",
    "class/hwmon/hwmon0/in0_lcrit_alarm": "0",
    "class/hwmon/hwmon1/name": "ina219",
    "class/hwmon/hwmon1/in1_input": "11984",
    "class/hwmon/hwmon1/curr1_input": "420",
    "class/hwmon/hwmon1/power1_input": "5030000",
    "class/thermal/thermal_zone0/type": "cpu-thermal",
    "class/thermal/thermal_zone0/temp": "52100",
    "class/pwm/pwmchip0/export": "",
    "class/pwm/pwmchip0/unexport": "",
    "class/pwm/pwmchip0/pwm0/period": "0",
    "class/pwm/pwmchip0/pwm0/duty_cycle": "0",
    "class/pwm/pwmchip0/pwm0/enable": "0",
    "class/pwm/pwmchip0/pwm0/polarity": "normal",
    "class/leds/ACT/max_brightness": "255",
    "class/leds/ACT/brightness": "0",
    "class/leds/ACT/trigger": "none [mmc0] heartbeat",
}


def examples(page):
    """Whole configurations: blocks fenced as yaml, and nothing more."""
    return re.findall(r"```yaml\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)


def promised_topics():
    """{topic: value} of the page's list, without those to publish to."""
    block = re.search(r"^```\n(home/cellar/status .*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
    rows = [line.split(maxsplit=2) for line in block.splitlines()]
    return {row[0]: row[1] for row in rows if row[1] != "<-"}


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/gpio.md", "README.md"])
def test_examples_pass_the_check(binary, tmp_path, page, request):
    """Under an emulator, where each start takes long, every fifth example, unless --long is given."""
    step = 5 if binary.is_emulated and not request.config.getoption("--long") else 1
    (tmp_path / "passwd").touch()
    (tmp_path / "acl").touch()
    (tmp_path / "keys").mkdir()
    keys = Keys(tmp_path / "keys")
    keys.by_registry("client")
    keys.revocations("ca", "-crldays", "30")
    made = {"certificate": "server.pem", "key": "server.key", "ca": "ca.pem", "crl": "ca.crl"}
    for text in [*examples(page)[::step], EXAMPLE]:
        file = tmp_path / "example.yaml"
        text = text.replace("/etc/tapline/users/", f"{tmp_path}/").replace("/etc/tapline/", f"{tmp_path}/")
        for kind, path in re.findall(r"\b(certificate|key|ca|crl): (/[^\s,}]+)", text):
            shutil.copy(keys.path(made[kind]), path)
        file.write_text(text)
        done = binary.run("check", "-c", file, "--boards", BOARDS)
        assert done.returncode == 0, (text, done.stderr)


def test_topics_of_the_complete_example(make_daemon, tmp_path):
    """All that the page lists and nothing else, with the page's values, on a simulated board and a tree of plain files."""
    root = tmp_path / "sys"
    for name, text in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (root / "class/pwm/pwmchip0/device").symlink_to("../../../devices/platform/soc/fe20c000.pwm")
    (root / "bus/iio/devices/iio:device1/of_node").symlink_to("../../../firmware/devicetree/base/soc/i2c@7e804000/ads1115@48")
    text = re.sub(r"^listeners:\n  .*\n", "", EXAMPLE, flags=re.MULTILINE)
    text = text.replace("board: raspberry-pi-4", f"board: simulated\nsysfs_root: {root}")
    text = text.replace("/var/lib/tapline/taps", str(tmp_path / "taps"))
    daemon = make_daemon(text)
    promised = promised_topics()
    assert len(promised) > 20
    found = {}
    with daemon.connect("reader") as client:
        client.subscribe("#")
        while not set(promised) <= set(found):
            try:
                message = client.message()
            except TimeoutError:
                break  # the next line says which are missing
            found[message.topic] = message.payload.decode()
    # A level whose first write is late, as on a busy machine, has a fault for a moment.
    wait(lambda: not any(topic.endswith("/fault") for topic in daemon.values("#")), "end of faults")
    found = daemon.values("#")
    assert set(found) == set(promised), set(found) ^ set(promised)
    for topic, value in promised.items():
        # The door's contact is open as nothing pulls the simulated line.
        if topic not in ("home/cellar/door",) and not topic.startswith("homeassistant/"):
            assert found[topic] == value, topic

    answer = clients.mosquitto(
        "mosquitto_rr", daemon, "-q", 1, "-e", "reply/me", "-t", "home/cellar/light/set", "-m", "ON")
    assert answer.communicate(timeout=PATIENCE_SECONDS)[0].strip() == '{"ok":true,"state":"ON"}'
    wait(lambda: daemon.values("home/cellar/light") == {"home/cellar/light": "ON"}, "state")


def test_mqtt_io_topics_stay(make_daemon):
    """The worked migration: the names that the page gives, on a simulated board."""
    text = next(text for text in examples("docs/gpio.md") if "layout: mqtt-io" in text and "doorbell" in text)
    text = "board: simulated\n" + re.sub(r"^listeners:\n  .*\n", "", text, flags=re.MULTILINE)
    daemon = make_daemon(text)
    found = daemon.values("home/livingroom/#")
    assert found["home/livingroom/status"] == "running"
    assert found["home/livingroom/output/socket"] == "OFF" and "home/livingroom/input/doorbell" in found
    clients.publish(daemon, "home/livingroom/output/socket/set", "ON", "-q", 1)
    assert daemon.values("home/livingroom/output/socket") == {"home/livingroom/output/socket": "ON"}

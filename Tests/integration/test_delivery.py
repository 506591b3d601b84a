"""A thousand messages from one real client to another: none lost, none doubled, in order (MQTT 5 §4.3, §4.6)."""

import pytest

import more_clients

# (sender, its version), (receiver, its version): each client both ways, with itself and across versions.
PAIRS = [
    (("mosquitto", "311"), ("mosquitto", "311")),
    (("mosquitto", "5"), ("mosquitto", "5")),
    (("paho", "311"), ("paho", "311")),
    (("paho", "5"), ("paho", "5")),
    (("gmqtt", "5"), ("gmqtt", "5")),
    (("gmqtt", "311"), ("mosquitto", "5")),
    (("mosquitto", "5"), ("paho", "311")),
    (("paho", "5"), ("mosquitto", "311")),
    (("paho", "311"), ("gmqtt", "5")),
    (("node", "311"), ("node", "5")),
    (("node", "5"), ("mosquitto", "311")),
    (("mosquitto", "5"), ("node", "311")),
    (("paho", "5"), ("pahoc", "311")),
    (("mosquitto", "311"), ("pahoc", "5")),
]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(
    "sender, receiver", PAIRS, ids=["-to-".join(f"{name}{version}" for name, version in pair) for pair in PAIRS])
def test_thousand_messages(daemon, some, sender, receiver, qos):
    payloads = [f"message {index}" for index in range(some(1000))]
    subscriber = more_clients.RECEIVERS[receiver[0]](daemon, receiver[1], "hall/door", qos, len(payloads) + 1)
    try:
        more_clients.SENDERS[sender[0]](daemon, sender[1], "hall/door", qos, [*payloads, "end"])
        assert subscriber.result() == [*payloads, "end"]
    finally:
        subscriber.close()
    assert daemon.is_running

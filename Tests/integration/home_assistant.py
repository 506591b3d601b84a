"""What Home Assistant's documentation says of MQTT discovery, as a check of messages.

From the pages of the MQTT integration (discovery topic, device and single component payloads, origin, removal), of the
platforms `NAME.mqtt` (keys, types, what is required) and of the sensor, binary sensor, event and button entities (device
classes with their units and state classes).
"""

import json
import re

ID = re.compile(r"[A-Za-z0-9_-]+")
ABBREVIATED = {"p": "platform", "dev": "device", "o": "origin", "cmps": "components"}

TEXT, FLAG, NUMBER, LIST, MAP = "text", "flag", "number", "list", "map"
KINDS = {
    TEXT: lambda value: isinstance(value, str),
    FLAG: lambda value: isinstance(value, bool),
    NUMBER: lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    LIST: lambda value: isinstance(value, list),
    MAP: lambda value: isinstance(value, dict),
}

AVAILABILITY = {
    "availability": LIST, "availability_mode": TEXT, "availability_template": TEXT, "availability_topic": TEXT,
    "payload_available": TEXT, "payload_not_available": TEXT,
}
SHARED = AVAILABILITY | {"qos": NUMBER, "encoding": TEXT}
ENTITY = SHARED | {
    "platform": TEXT, "unique_id": TEXT, "default_entity_id": TEXT, "name": TEXT, "icon": TEXT, "entity_category": TEXT,
    "entity_picture": TEXT, "enabled_by_default": FLAG, "json_attributes_topic": TEXT, "json_attributes_template": TEXT,
    "device_class": TEXT,
}
COMMAND = {"command_topic": TEXT, "command_template": TEXT, "retain": FLAG}
STATE = {"state_topic": TEXT, "value_template": TEXT}
ON_OFF = {"payload_on": TEXT, "payload_off": TEXT}
# Platform: its keys beyond those of all, and which are required.
PLATFORMS = {
    "binary_sensor": (STATE | ON_OFF | {"expire_after": NUMBER, "force_update": FLAG, "off_delay": NUMBER}, ["state_topic"]),
    "button": (COMMAND | {"payload_press": TEXT}, ["command_topic"]),
    "cover": (COMMAND | STATE | {
        "optimistic": FLAG, "payload_open": TEXT, "payload_close": TEXT, "payload_stop": TEXT, "state_open": TEXT,
        "state_closed": TEXT, "state_opening": TEXT, "state_closing": TEXT, "state_stopped": TEXT}, ["command_topic"]),
    "event": (STATE | {"event_types": LIST}, ["state_topic", "event_types"]),
    "fan": (COMMAND | ON_OFF | {"state_topic": TEXT, "state_value_template": TEXT, "optimistic": FLAG}, ["command_topic"]),
    "light": (COMMAND | ON_OFF | {
        "state_topic": TEXT, "state_value_template": TEXT, "optimistic": FLAG, "schema": TEXT,
        "brightness_command_topic": TEXT, "brightness_state_topic": TEXT, "brightness_scale": NUMBER,
        "on_command_type": TEXT}, ["command_topic"]),
    "lock": (COMMAND | STATE | {
        "optimistic": FLAG, "code_format": TEXT, "payload_lock": TEXT, "payload_unlock": TEXT, "payload_open": TEXT,
        "state_locked": TEXT, "state_unlocked": TEXT, "state_locking": TEXT, "state_unlocking": TEXT,
        "state_jammed": TEXT}, ["command_topic"]),
    "number": (COMMAND | STATE | {
        "min": NUMBER, "max": NUMBER, "step": NUMBER, "mode": TEXT, "optimistic": FLAG, "unit_of_measurement": TEXT},
        ["command_topic"]),
    "sensor": (STATE | {
        "expire_after": NUMBER, "force_update": FLAG, "state_class": TEXT, "unit_of_measurement": TEXT, "options": LIST,
        "suggested_display_precision": NUMBER, "last_reset_value_template": TEXT}, ["state_topic"]),
    "siren": (COMMAND | ON_OFF | {
        "state_topic": TEXT, "state_value_template": TEXT, "state_on": TEXT, "state_off": TEXT, "optimistic": FLAG,
        "available_tones": LIST, "support_duration": FLAG, "support_volume_set": FLAG}, ["command_topic"]),
    "switch": (COMMAND | STATE | ON_OFF | {"state_on": TEXT, "state_off": TEXT, "optimistic": FLAG}, ["command_topic"]),
    "valve": (COMMAND | STATE | {
        "optimistic": FLAG, "reports_position": FLAG, "payload_open": TEXT, "payload_close": TEXT, "payload_stop": TEXT,
        "state_open": TEXT, "state_closed": TEXT, "state_opening": TEXT, "state_closing": TEXT}, ["command_topic"]),
}

# What may be null: the documentation says "can be null", or "set to null to disable".
NULLABLE = {"name", "device_class", "payload_open", "payload_close", "payload_stop"}

DEVICE = {
    "identifiers", "ids", "name", "manufacturer", "mf", "model", "mdl", "model_id", "mdl_id", "sw_version", "sw",
    "hw_version", "hw", "serial_number", "sn", "suggested_area", "sa", "configuration_url", "cu", "connections", "cns",
    "via_device",
}
ORIGIN = {"name", "sw_version", "sw", "support_url", "url"}

VOLUMES = {"L", "mL", "gal", "fl. oz.", "m³", "ft³", "CCF", "MCF"}
ENERGIES = {"J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"}
ALL_CLASSES = {"measurement", "total", "total_increasing"}
TOTALS = {"total", "total_increasing"}
MEASURED = {"measurement"}
# Device class of a sensor: its units and its state classes.
SENSOR_CLASSES = {
    "atmospheric_pressure": ({"hPa", "Pa", "kPa", "mbar", "bar", "cbar", "inHg", "mmHg", "psi"}, MEASURED),
    "current": ({"A", "mA"}, MEASURED),
    "distance": ({"km", "m", "cm", "mm", "mi", "nmi", "yd", "in"}, ALL_CLASSES),
    "energy": (ENERGIES, TOTALS),
    "frequency": ({"Hz", "kHz", "MHz", "GHz"}, MEASURED),
    "gas": ({"m³", "ft³", "CCF", "MCF", "L"}, TOTALS),
    "humidity": ({"%"}, MEASURED),
    "illuminance": ({"lx"}, MEASURED),
    "power": ({"mW", "W", "kW", "MW", "GW", "TW"}, MEASURED),
    "precipitation": ({"cm", "in", "mm"}, ALL_CLASSES),
    "precipitation_intensity": ({"in/d", "in/h", "mm/d", "mm/h"}, MEASURED),
    "pressure": ({"hPa", "Pa", "kPa", "mbar", "bar", "cbar", "inHg", "mmHg", "psi"}, MEASURED),
    "temperature": ({"°C", "°F", "K"}, MEASURED),
    "voltage": ({"V", "mV", "µV", "kV", "MV"}, MEASURED),
    "volume": (VOLUMES, TOTALS),
    "volume_flow_rate": (
        {"m³/h", "m³/min", "m³/s", "ft³/min", "L/h", "L/min", "L/s", "gal/h", "gal/min", "gal/d", "mL/s"}, MEASURED),
    "volume_storage": (VOLUMES, MEASURED),
    "water": ({"L", "gal", "m³", "ft³", "CCF", "MCF"}, TOTALS),
}
DEVICE_CLASSES = {
    "binary_sensor": {
        "battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door", "gas", "heat",
        "light", "lock", "moisture", "motion", "moving", "occupancy", "opening", "plug", "power", "presence", "problem",
        "running", "safety", "smoke", "sound", "tamper", "update", "vibration", "window"},
    "button": {"identify", "restart", "update"},
    "cover": {
        "awning", "blind", "curtain", "damper", "door", "garage", "gate", "shade", "shutter", "window"},
    "event": {"button", "doorbell", "motion"},
    "switch": {"outlet", "switch"},
    "valve": {"water", "gas"},
    "sensor": set(SENSOR_CLASSES),
}


class SchemaError(AssertionError):
    pass


def require(condition, text):
    if not condition:
        raise SchemaError(text)


def check(topic, payload, prefix="homeassistant"):
    """A discovery message; its entities: [(platform, {key: value})], shared keys included. Throws SchemaError."""
    levels = topic[len(prefix) + 1:].split("/")
    require(topic.startswith(prefix + "/") and levels[-1] == "config" and len(levels) in (3, 4), f"topic {topic}")
    require(all(ID.fullmatch(level) for level in levels), f"topic {topic}: characters")
    message = json.loads(payload, object_pairs_hook=without_doubles)
    full = {ABBREVIATED.get(key, key): value for key, value in message.items()}
    require(len(full) == len(message), "a key and its abbreviation")
    check_device(full.pop("device", None))
    check_origin(full.pop("origin", None))
    if levels[0] != "device":
        return [check_component(levels[0], full)]
    components = full.pop("components", None)
    require(isinstance(components, dict), "a device message needs cmps")
    check_keys(full, SHARED | {"state_topic": TEXT, "command_topic": TEXT}, "the device message")
    entities = []
    for key, component in components.items():
        require(ID.fullmatch(key), f"component {key}: characters")
        require(isinstance(component, dict) and ("p" in component) != ("platform" in component), f"{key} needs p")
        own = {ABBREVIATED.get(name, name): value for name, value in component.items()}
        platform = own.pop("platform")
        if own:  # nothing but the platform: a removed one
            entities.append(check_component(platform, full | own))
        else:
            require(platform in PLATFORMS, f"{key}: platform {platform}")
    ids = [entity["unique_id"] for _, entity in entities]
    require(len(set(ids)) == len(ids), "two components with one unique_id")
    return entities


def without_doubles(pairs):
    names = [name for name, _ in pairs]
    require(len(set(names)) == len(names), f"a key twice in {names}")
    return dict(pairs)


def check_device(device):
    require(isinstance(device, dict), "no device")
    require(set(device) <= DEVICE, f"device: {set(device) - DEVICE}")
    identifiers = device.get("ids", device.get("identifiers"))
    require(identifiers or device.get("cns") or device.get("connections"), "a device needs identifiers or connections")
    require(isinstance(identifiers, str) or all(isinstance(each, str) for each in identifiers), "identifiers are strings")


def check_origin(origin):
    require(isinstance(origin, dict) and isinstance(origin.get("name"), str), "origin needs a name")
    require(set(origin) <= ORIGIN, f"origin: {set(origin) - ORIGIN}")


def check_keys(given, known, what):
    for key, value in given.items():
        require(key in known, f"{what}: unknown key {key}")
        require(KINDS[known[key]](value) or value is None and key in NULLABLE, f"{what}: {key} is {value!r}")
        if key.endswith("_topic"):
            check_topic(value)
    require(not ("availability" in given and "availability_topic" in given), f"{what}: two kinds of availability")
    for entry in given.get("availability", []):
        known = {"topic", "t", "payload_available", "payload_not_available", "value_template"}
        require(isinstance(entry, dict) and set(entry) <= known and "topic" in entry, f"{what}: availability {entry}")
        check_topic(entry["topic"])
    require(given.get("qos", 0) in (0, 1, 2), f"{what}: qos")
    require(given.get("entity_category", "config") in ("config", "diagnostic"), f"{what}: entity_category")


def check_topic(topic):
    require(topic and not set(topic) & set("+#\0") and len(topic.encode()) <= 65535, f"no topic: {topic!r}")


def check_component(platform, entity):
    require(platform in PLATFORMS, f"platform {platform}")
    keys, required = PLATFORMS[platform]
    what = f"{platform} {entity.get('unique_id')}"
    check_keys(entity, ENTITY | keys, what)
    for key in [*required, "unique_id"]:
        require(entity.get(key), f"{what} needs {key}")
    if entity_id := entity.get("default_entity_id"):
        require(re.fullmatch(platform + r"\.[a-z0-9_]+", entity_id), f"{what}: {entity_id}")
    device_class = entity.get("device_class")
    if device_class is not None:
        require(device_class in DEVICE_CLASSES.get(platform, {}), f"{what}: device_class {device_class}")
    if platform == "sensor":
        check_sensor(entity, what)
    if platform == "event":
        types = entity["event_types"]
        require(types and all(isinstance(each, str) for each in types), f"{what}: event_types {types}")
    return platform, entity


def check_sensor(entity, what):
    device_class, state_class = entity.get("device_class"), entity.get("state_class")
    require(state_class is None or state_class in ALL_CLASSES, f"{what}: state_class {state_class}")
    if device_class is not None:
        units, classes = SENSOR_CLASSES[device_class]
        require(entity.get("unit_of_measurement") in units, f"{what}: {device_class} in {entity.get('unit_of_measurement')}")
        require(state_class is None or state_class in classes, f"{what}: {device_class} is {state_class}")

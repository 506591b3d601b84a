"""Tables and plots of what `run` has measured."""

import statistics
from dataclasses import dataclass

# The floor keeps nothing.
NOT_FOR_FLOOR = {"retained"}
# Against whom ratios are told, and who is not told of.
FLOOR, MOSQUITTO = "floor", "mosquitto"
NOT_OURS = {FLOOR, MOSQUITTO, "mosquitto-nodelay"}


@dataclass
class Row:
    """A number of a scenario's result; `floor` and `mosquitto` are the greatest ratios we want to see, and `own_tcp` that of
    a carrier against what the same broker takes through plain TCP."""
    scenario: str
    metric: str
    label: str
    unit: str
    floor: float = None
    mosquitto: float = None
    own_tcp: float = None

    @property
    def plain(self):
        """The scenario that is the same through plain TCP."""
        return self.scenario.removesuffix("-tls").removesuffix("-websocket")


ROWS = [
    Row("fan-out-10", "cpu_us", "QoS 0, fan-out 1→10, window 64", "µs", 2, 1 / 12),
    Row("fan-out-100", "cpu_us", "QoS 0, fan-out 1→100, window 64", "µs"),
    Row("fan-in-50", "cpu_us", "QoS 0, fan-in 50→1", "µs", 2, 1 / 12),
    Row("pairs", "cpu_us", "QoS 0, 50 pairs", "µs", 2, 1 / 9),
    Row("pairs-beside-5000", "cpu_us", "QoS 0, 50 pairs beside 5,000 other subscriptions", "µs", 1.5, 1 / 4),
    Row("qos1", "cpu_us", "QoS 1, 10 pairs, window 16", "µs", 2.5, 1 / 6),
    Row("qos2", "cpu_us", "QoS 2, 10 pairs, window 16", "µs", 2.5, 1 / 9),
    Row("payload-4k", "cpu_us", "4 KiB payloads, 10 pairs", "µs", 1.6, 1 / 4),
    Row("pairs-tls", "cpu_us", "QoS 0, 50 pairs, TLS", "µs", None, 1 / 2),
    Row("payload-4k-tls", "cpu_us", "4 KiB payloads, 10 pairs, TLS", "µs", None, 1 / 2),
    Row("pairs-websocket", "cpu_us", "QoS 0, 50 pairs, WebSocket", "µs", own_tcp=1.2),
    Row("payload-4k-websocket", "cpu_us", "4 KiB payloads, 10 pairs, WebSocket", "µs", own_tcp=1.2),
    Row("telemetry", "cpu_us", "telemetry, 100 clients, 1,000 a second", "µs"),
    Row("closed-loop", "cpu_us", "closed loop, one message at a time", "µs"),
    Row("closed-loop", "p50_us", "closed loop, latency p50", "µs", 1.15, 1),
    Row("closed-loop", "p99_us", "closed loop, latency p99", "µs", 1.15, 1),
    Row("storm", "cpu_us", "connect storm, CPU of a connection", "µs"),
    Row("storm", "per_second", "connect storm, connections a second", "/s"),
    Row("retained", "fetch_cpu_us", "retained messages, CPU to fetch one", "µs"),
    Row("retained", "fetch_ms", "10,000 retained messages, time to fetch", "ms"),
    Row("retained", "bytes_each", "growth a retained message of 64 bytes", "B"),
    Row("retained", "planned_bytes", "memory of a retained message of 64 bytes, by `tapline plan`", "B", None, 1 / 2),
    Row("idle", "bytes_each", "growth an idle connection with a subscription", "B"),
    Row("idle", "planned_bytes", "memory of an idle connection with a subscription, by `tapline plan`", "B", None, 1 / 3),
    Row("idle-tls", "bytes_each", "growth an idle connection with TLS and a subscription", "B"),
    Row("idle-tls", "planned_bytes", "memory of an idle connection with TLS and a subscription, by `tapline plan`", "B", None,
        1),
    Row("start", "rss_kib", "RSS idle, default limits", "KiB", None, 1 / 3),
    Row("start", "anonymous_kib", "anonymous memory idle, default limits", "KiB"),
    Row("start", "start_ms", "start to the first CONNACK", "ms", None, 1 / 2),
]


def short(scenario, result):
    return ", ".join(f"{row.metric} {number(result[row.metric])}"
                     for row in ROWS if row.scenario == scenario and row.metric in result)


def number(value):
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Figures:
    def __init__(self, results):
        self.rounds = results["rounds"]

    def values(self, row, broker, scenario=None):
        """One a round; None where it has none, or had faults. `scenario`: of another one than the row's."""
        found = []
        for measured in self.rounds:
            result = measured.get(scenario or row.scenario, {}).get(broker, {})
            value = result.get(row.metric)
            if value is None and row.metric == "planned_bytes":
                value = result.get("bytes_each")  # who plans nothing is taken at what it grew by
            found.append(None if result.get("faults") else value)
        return found

    def text(self, row, broker):
        values = [value for value in self.values(row, broker) if value is not None]
        if not values:
            return ""
        middle = number(statistics.median(values))
        if len(values) == 1 or min(values) == max(values):
            return middle
        return f"{middle} ({number(min(values))}–{number(max(values))})"

    def ratio(self, row, broker, base):
        """The median of the rounds' own ratios."""
        return middle_ratio(self.values(row, broker), self.values(row, base))

    def ratio_to_tcp(self, row, broker):
        """The same, of a carrier to plain TCP."""
        return middle_ratio(self.values(row, broker), self.values(row, broker, row.plain))


def middle_ratio(values, others):
    ratios = [one / other for one, other in zip(values, others) if one is not None and other]
    return statistics.median(ratios) if ratios else None


def table(head, lines):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(line) + " |" for line in lines)])


def figures_table(results):
    figures = Figures(results)
    lines = []
    for row in ROWS:
        cells = [figures.text(row, broker) for broker in results["brokers"]]
        if any(cells):
            lines.append([f"{row.label}, {row.unit}", *cells])
    return table(["", *results["brokers"]], lines)


def times(ratio):
    if ratio is None:
        return ""
    return f"{ratio:.2f}x" if ratio >= 0.5 or ratio == 0 else f"1/{1 / ratio:.1f}"


def ratio_table(results, ours):
    figures = Figures(results)
    against = [results["against"]] if results.get("against") else []
    lines = []
    for row in ROWS:
        if row.metric in ("per_second", "bytes_each"):
            continue
        ratios = {base: figures.ratio(row, ours, base) for base in [*against, FLOOR, MOSQUITTO]}
        if all(ratio is None for ratio in ratios.values()):
            continue
        cells = [times(ratios[base]) for base in against]
        for base, goal in ((FLOOR, row.floor), (MOSQUITTO, row.mosquitto)):
            met = "" if goal is None or ratios[base] is None else "yes" if ratios[base] <= goal else "NO"
            cells += [times(ratios[base]), times(goal), met]
        lines.append([row.label, *cells])
    return table([ours, *against, FLOOR, "goal", "met", MOSQUITTO, "goal", "met"], lines)


def tcp_table(results):
    """What carriers cost each broker, beside plain TCP; None: none was measured with it."""
    figures = Figures(results)
    lines = []
    for row in ROWS:
        if row.plain == row.scenario or row.metric == "bytes_each":
            continue
        ratios = {broker: figures.ratio_to_tcp(row, broker) for broker in results["brokers"]}
        if all(ratio is None for ratio in ratios.values()):
            continue
        ours = [ratio for broker, ratio in ratios.items() if broker not in NOT_OURS and ratio is not None]
        met = "" if row.own_tcp is None or not ours else "yes" if max(ours) <= row.own_tcp else "NO"
        lines.append([row.label, *map(times, ratios.values()), times(row.own_tcp), met])
    return table(["against its own TCP", *results["brokers"], "goal", "met"], lines) if lines else None


# Readable on light and on dark ground.
GREY, GREENS, BROWNS, BLUES = "#8a8f98", ["#1f8a5b", "#3fb57f"], ["#c2703d", "#d99a6c"], ["#5b7fb8", "#a06cb0", "#b0a03c"]


def colours(brokers):
    """Ours green, mosquitto brown, the floor grey, others blue and so on."""
    known = {FLOOR: GREY, "tapline": GREENS[0], "embedded": GREENS[1], MOSQUITTO: BROWNS[0], "mosquitto-nodelay": BROWNS[1]}
    others = [name for name in brokers if name not in known]
    return known | {name: BLUES[index % len(BLUES)] for index, name in enumerate(others)}


def plot(results, rows):
    """Bars: a group a row, each as long as its share of the row's greatest; thin lines from the least to the greatest."""
    figures = Figures(results)
    left, width, bar, right = 150, 420, 15, 130
    parts, y = [], 10
    for row in rows:
        found = [(name, [value for value in figures.values(row, name) if value is not None]) for name in results["brokers"]]
        found = [entry for entry in found if entry[1]]
        if not found:
            continue
        y += 18
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{row.label}, {row.unit}</text>')
        scale = width / (max(max(values) for _, values in found) or 1)
        for name, values in found:
            y += bar + 3
            middle, least, most = statistics.median(values), min(values), max(values)
            parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end">{name}</text>')
            parts.append(f'<rect x="{left}" y="{y - bar + 3}" width="{max(middle * scale, 1):.1f}" height="{bar - 2}" '
                         f'fill="{colours(results["brokers"])[name]}"/>')
            parts.append(f'<path d="M{left + least * scale:.1f} {y - bar / 2 + 2:.1f}H{left + most * scale:.1f}" '
                         'stroke="#444"/>')
            parts.append(f'<text x="{left + most * scale + 6:.1f}" y="{y}">{number(middle)}</text>')
        y += 12
    total = left + width + right
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{y}" viewBox="0 0 {total} {y}" '
            'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def plots(results):
    return {
        "speed-cpu.svg": plot(results, [row for row in ROWS if row.metric == "cpu_us"]),
        "speed-latency.svg": plot(results, [row for row in ROWS if row.metric in ("p50_us", "p99_us", "start_ms", "fetch_ms")]),
        "speed-memory.svg": plot(results, [row for row in ROWS if row.unit in ("B", "KiB")]),
    }


BEGIN, END = "<!-- figures: written by Tests/Bench/run --docs -->", "<!-- end of figures -->"


def write(results, work, docs):
    """Tables on the standard output and in `work`, with the plots; with `docs`, in speed.md as well."""
    parts = [figures_table(results)]
    parts += [ratio_table(results, name) for name in results["brokers"] if name not in NOT_OURS]
    parts += [beside_tcp] if (beside_tcp := tcp_table(results)) else []
    parts.append(f"{len(results['rounds'])} rounds, flows of {results['seconds']:g} s, {results['when']}, {results['machine']}; "
                 f"{results['mosquitto']}. Medians, in brackets the least and the greatest; ratios are medians of the "
                 "rounds' ratios.")
    text = "\n\n".join(parts) + "\n"
    (work / "tables.md").write_text(text)
    for name, drawn in plots(results).items():
        (work / name).write_text(drawn)
        if docs:
            (docs / name).write_text(drawn)
    if docs:
        page = (docs / "speed.md").read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        (docs / "speed.md").write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    print(text)

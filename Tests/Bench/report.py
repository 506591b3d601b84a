"""Tables and plots of what `run` has measured."""

import statistics
from dataclasses import dataclass

# The floor keeps nothing.
NOT_FOR_FLOOR = {"retained"}
# Whose ratios are told, and against whom.
OURS = "embedded"
MOSQUITTO = "mosquitto"


@dataclass
class Row:
    """A number of a scenario's result; `floor` and `mosquitto` are the greatest ratios we want to see."""
    scenario: str
    metric: str
    label: str
    unit: str
    floor: float = None
    mosquitto: float = None


ROWS = [
    Row("fan-out-10", "cpu_us", "QoS 0, fan-out 1→10, window 64", "µs", 2, 1 / 12),
    Row("fan-out-100", "cpu_us", "QoS 0, fan-out 1→100, window 64", "µs"),
    Row("fan-in-50", "cpu_us", "QoS 0, fan-in 50→1", "µs", 2, 1 / 12),
    Row("pairs", "cpu_us", "QoS 0, 50 pairs", "µs", 2, 1 / 9),
    Row("pairs-beside-5000", "cpu_us", "the same beside 5,000 other subscriptions", "µs", 1.5, 1 / 4),
    Row("qos1", "cpu_us", "QoS 1, 10 pairs, window 16", "µs", 2.5, 1 / 6),
    Row("qos2", "cpu_us", "QoS 2, 10 pairs, window 16", "µs", 2.5, 1 / 9),
    Row("payload-4k", "cpu_us", "4 KiB payloads, 10 pairs", "µs", 1.6, 1 / 4),
    Row("telemetry", "cpu_us", "telemetry, 100 clients, 1,000 a second", "µs"),
    Row("closed-loop", "cpu_us", "closed loop, one message at a time", "µs"),
    Row("closed-loop", "p50_us", "closed loop, latency p50", "µs", 1.15, 1),
    Row("closed-loop", "p99_us", "closed loop, latency p99", "µs", 1.15, 1),
    Row("storm", "cpu_us", "connect storm, CPU of a connection", "µs"),
    Row("storm", "per_second", "connect storm, connections a second", "/s"),
    Row("retained", "fetch_cpu_us", "retained messages, CPU to fetch one", "µs"),
    Row("retained", "fetch_ms", "10,000 retained messages, time to fetch", "ms"),
    Row("retained", "bytes_each", "memory of a retained message of 64 bytes, as it grew", "B"),
    Row("retained", "planned_bytes", "the same, as `tapline plan` says", "B", None, 1 / 2),
    Row("idle", "bytes_each", "memory of an idle connection with a subscription, as it grew", "B"),
    Row("idle", "planned_bytes", "the same, as `tapline plan` says", "B", None, 1 / 3),
    Row("start", "rss_kib", "RSS idle, default limits", "KiB", None, 1 / 3),
    Row("start", "anonymous_kib", "anonymous memory idle, default limits", "KiB"),
    Row("start", "start_ms", "start to the first CONNACK", "ms", None, 1 / 2),
]


def short(scenario, result):
    return ", ".join(f"{row.label if row.metric != 'cpu_us' else 'CPU'} {number(result[row.metric])} {row.unit}"
                     for row in ROWS if row.scenario == scenario and row.metric in result)


def number(value):
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Figures:
    def __init__(self, results):
        self.rounds = results["rounds"]

    def values(self, row, broker):
        """One a round; None where it has none, or had faults."""
        found = []
        for measured in self.rounds:
            result = measured.get(row.scenario, {}).get(broker, {})
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
        pairs = zip(self.values(row, broker), self.values(row, base))
        ratios = [one / other for one, other in pairs if one is not None and other]
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
    return f"{ratio:.2f}x" if ratio >= 0.5 else f"1/{1 / ratio:.1f}"


def ratio_table(results, ours):
    figures = Figures(results)
    lines = []
    for row in ROWS:
        cells = []
        for base, goal in (("floor", row.floor), (MOSQUITTO, row.mosquitto)):
            ratio = figures.ratio(row, ours, base) if row.metric != "per_second" else None
            met = "" if goal is None or ratio is None else "yes" if ratio <= goal else "NO"
            cells += [times(ratio), times(goal), met]
        if cells[0] or cells[3]:
            lines.append([row.label, *cells])
    return table([ours, "floor", "goal", "met", MOSQUITTO, "goal", "met"], lines)


def write(results, work, docs):
    ours = [name for name in results["brokers"] if name not in ("floor", "mosquitto", "mosquitto-nodelay")]
    parts = [figures_table(results)] + [ratio_table(results, name) for name in ours]
    closing = (f"{len(results['rounds'])} rounds of {results['seconds']} s each on {results['cores']} cores, "
               f"{results['when']}; median (least–greatest).")
    text = "\n\n".join(parts + [closing]) + "\n"
    (work / "tables.md").write_text(text)
    print(text)

"""Figures for each module, and the lines that no test runs where a peer's bytes are handled.

usage: uncovered.py REPOSITORY DIRECTORY

Reads DIRECTORY/units.info and clients.info (lcov's format), writes summary.txt and uncovered.txt there and prints the
former. Exit status 1 where the unit tests run less of a module than LEAST says, or where nothing of a module has run.
"""

import sys
from collections import defaultdict
from pathlib import Path

# Percent of a module's lines that its unit tests run at least: some below what they do, so that code without a test
# is noticed, and a line more or less is not. Half of Tapline, what a process has once, runs with real clients only; of
# the shims what failing system calls need does not run at all.
LEAST = {"Bounded": 98, "MQTTWire": 97, "MQTTBroker": 97, "Taps": 97, "Gateway": 97, "Layers": 98, "LinuxIO": 90,
         "TaplineConfiguration": 96, "Tapline": 52}
C_SHIMS = {"CLinux", "CGPIOD", "CYAML", "CDigest", "COpenSSL", "CAllocations"}
# Without the programs, which have no unit tests.
MODULES = ["Bounded", "MQTTWire", "MQTTBroker", "Taps", "Gateway", "Layers", "LinuxIO", "TLS",
           "TaplineConfiguration", "Tapline", "C shims", "TaplineCommand", "TaplineExample"]
PEERS_BYTES = ["TLS/", "MQTTWire/", "MQTTBroker/", "Gateway/", "Layers/", "LinuxIO/Streams/", "Tapline/Server/ServerLoop.swift",
               "Tapline/Server/ServerStreams.swift", "Tapline/Server/ServerSerial.swift", "CLinux/Sockets.c"]


def read(path, sources):
    """{file below Sources: {line: count}}."""
    files, lines = defaultdict(lambda: defaultdict(int)), None
    for row in path.read_text().splitlines():
        kind, _, rest = row.partition(":")
        if kind == "SF":
            file = Path(rest)
            lines = files[str(file.relative_to(sources))] if file.is_relative_to(sources) else None
        elif kind == "DA" and lines is not None:
            # Generic code and headers are there once for each copy: a line has run when it has in one of them.
            number, count = rest.split(",")[:2]
            lines[int(number)] = max(lines[int(number)], int(count))
    return files


def together(one, other):
    """Lines that ran in either."""
    files = defaultdict(dict)
    for part in (one, other):
        for file, lines in part.items():
            for line, count in lines.items():
                files[file][line] = max(files[file].get(line, 0), count)
    return files


def module(file):
    folder = file.partition("/")[0]
    return "C shims" if folder in C_SHIMS else folder


def figures(files):
    """{module: (lines that ran, lines)}."""
    sums = defaultdict(lambda: [0, 0])
    for file, lines in files.items():
        sums[module(file)][0] += sum(count > 0 for count in lines.values())
        sums[module(file)][1] += len(lines)
    return sums


def percent(covered, total):
    return 100 * covered / total if total else 0.0


def uncovered(files, sources):
    """FILE:FIRST-LAST for each run of lines, each line below it."""
    rows = []
    for file in sorted(files):
        if not any(file.startswith(start) for start in PEERS_BYTES):
            continue
        text = (sources / file).read_text().splitlines()
        numbers = sorted(number for number, count in files[file].items() if count == 0)
        # What is only a brace belongs to the lines before it.
        runs = []
        for number in numbers:
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        for first, last in runs:
            if all(text[number - 1].strip() in ("", "{", "}", "} else {") for number in range(first, last + 1)):
                continue
            rows.append(f"Sources/{file}:{first}" + (f"-{last}" if last > first else ""))
            rows += [f"    {number:5} {text[number - 1]}" for number in range(first, last + 1)]
    return rows


def main(repository, directory):
    sources, directory = Path(repository) / "Sources", Path(directory)
    units = read(directory / "units.info", sources)
    everything = together(units, read(directory / "clients.info", sources))
    by_units, by_all = figures(units), figures(everything)
    rows = [f"{'':20}{'units':>22}{'units + real clients':>26}"]
    passed, failed = 0, []
    for name in MODULES:
        (ran, total), (ran_all, total_all) = by_units[name], by_all[name]
        rows.append(f"{name:20}{ran:>7} of {total:>5}{percent(ran, total):>6.1f} %"
                    f"{ran_all:>11} of {total_all:>5}{percent(ran_all, total_all):>6.1f} %")
        least = LEAST.get(name, 0)
        if ran_all == 0:
            failed.append(f"{name}: no line has run, or none is counted")
        elif percent(ran, total) < least:
            failed.append(f"{name}: the unit tests run {percent(ran, total):.1f} % of the lines, {least} % at least are asked for")
        else:
            passed += 1
    (directory / "summary.txt").write_text("\n".join(rows) + "\n")
    missing = uncovered(everything, sources)
    (directory / "uncovered.txt").write_text("\n".join(missing) + "\n")
    print("\n".join(rows))
    print("\n".join(failed + [f"{passed} passed, {len(failed)} failed"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

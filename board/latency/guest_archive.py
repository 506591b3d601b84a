"""The guest of the latency measurements: the ordinary initramfs, and after it a second archive with what is measured.

The kernel unpacks one archive after the other, so that the board's tests keep their small one.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import initramfs

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
NEEDS = TOP / "cross" / "needs.txt"
PIP = TOP / ".build" / "venv" / "bin" / "pip"
WHEELS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapline" / "wheels"
PYTHON = "3.11"  # Debian 12's
# Where the guest has mqtt-io and what it imports.
PACKAGES = "opt/mqtt-io"
# mqtt-io imports confp for its option --render, which nobody uses here; confp has no wheel, and wants two packages more.
CONFP = b"def render(*_):\n    raise NotImplementedError\n"


def compile_load(output, libs=None):
    """The load for the guest, static; without `libs` for this machine."""
    return initramfs.compile_program(HERE / "load.c", output, "-O2", *(["-static"] if libs else []), libs=libs)


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wheels():
    """The verified wheels of group latency in cross/needs.txt."""
    rows = [line.split("#")[0].split() for line in NEEDS.read_text().splitlines()]
    wanted = {row[3]: row[2] for row in rows if row[:2] == ["latency", "pip:aarch64"]}
    WHEELS.mkdir(parents=True, exist_ok=True)
    found = {sha256_of(path): path for path in WHEELS.glob("*.whl")}
    missing = [f"{name} --hash=sha256:{digest}\n" for digest, name in wanted.items() if digest not in found]
    if missing:
        print("latency: fetching wheels", file=sys.stderr)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as list_file:
            list_file.writelines(missing)
            list_file.flush()
            platforms = [word for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28") for word in ("--platform", f"{name}_aarch64")]
            command = [PIP, "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
            command += [*platforms, "--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", WHEELS, "--requirement", list_file.name], check=True)
        found = {sha256_of(path): path for path in WHEELS.glob("*.whl")}
    return [found[digest] for digest in wanted]


def unpack(work):
    """The packages of group latency in one tree, and the wheels in another."""
    debs, root, packages = work / "debs", work / "root", work / "packages"
    subprocess.run([TOP / "cross/fetch-debs", "--group", "latency", debs], check=True, stdout=subprocess.DEVNULL)
    for deb in debs.iterdir():
        subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)
    for wheel in wheels():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    return root, packages


def add_tree(archive, tree, to):
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            archive.add(f"{to}/{path.relative_to(tree)}", initramfs.FILE | mode, path.read_bytes())


def second_archive(load, output):
    """Everything but Tapline: mosquitto, Python, mqtt-io, the load, and the configurations."""
    archive = initramfs.Archive()
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        root, packages = unpack(Path(name))
        standard = root / f"usr/lib/python{PYTHON}"
        # Extension modules whose libraries are not in the list are not imported here.
        for module in (standard / "lib-dynload").iterdir():
            try:
                initramfs.add_libraries(archive, module, root)
            except initramfs.CannotPack:
                module.unlink()
        for program in (root / "usr/sbin/mosquitto", root / f"usr/bin/python{PYTHON}"):
            archive.add(f"bin/{program.name}", initramfs.FILE | 0o755, program.read_bytes())
            initramfs.add_libraries(archive, program, root)
        # Loaded by the C library at a thread's end.
        at_exit = initramfs.library("libgcc_s.so.1", root)
        archive.add(f"{initramfs.GUEST_LIBS}/{at_exit.name}", initramfs.FILE | 0o755, at_exit.read_bytes())
        add_tree(archive, standard, f"usr/lib/python{PYTHON}")
        add_tree(archive, packages, PACKAGES)
    archive.add(f"{PACKAGES}/confp.py", initramfs.FILE | 0o644, CONFP)
    archive.add("bin/load", initramfs.FILE | 0o755, load.read_bytes())
    for path in HERE.glob("m*.*"):
        archive.add(f"etc/{path.name}", initramfs.FILE | 0o644, path.read_bytes())
    # In place of the ordinary one of the first archive.
    archive.add("etc/tapline.yaml", initramfs.FILE | 0o644, (HERE / "tapline.yaml").read_bytes())
    archive.write(output)


def pack(binary, folder):
    """The initramfs of both archives."""
    folder.mkdir(parents=True, exist_ok=True)
    load = compile_load(folder / "load", initramfs.sysroot(binary))
    first, second, both = folder / "first.cpio", folder / "second.cpio", folder / f"{binary.name}.cpio"
    initramfs.pack(binary, first)
    second_archive(load, second)
    with open(both, "wb") as file:
        for part in (first, second):
            file.write(part.read_bytes())
            file.write(bytes(-file.tell() % 512))
    return both

"""The guest of the latency measurements: the ordinary initramfs, and after it a second archive with what is measured.

The kernel unpacks one archive after the other, so that the board's tests keep their small one.
"""

import hashlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import rig

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
NEEDS = TOP / "cross" / "needs.txt"
PIP = TOP / ".build" / "venv" / "bin" / "pip"
WHEELS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapline" / "wheels"
PYTHON = "3.11"  # Debian 12's
TARGET = "aarch64-linux-gnu"
# Where the guest has mqtt-io and what it imports.
PACKAGES = "opt/mqtt-io"
# mqtt-io imports confp for its option --render, which nobody uses here; confp has no wheel, and wants two packages more.
CONFP = b"def render(*_):\n    raise NotImplementedError\n"


def load_script(path):
    """A Python script without .py as a module."""
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_"), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def toolchain_clang():
    command = "source cross/common.bash && toolchain_tool clang"
    run = subprocess.run(["bash", "-c", command, "cross/latency"], cwd=TOP, check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip()


def compile_load(output, sysroot=None):
    """The load for the guest, static; without a sysroot for this machine."""
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
    if sysroot is not None:
        flags += [f"--target={TARGET}", f"--sysroot={sysroot}", "-static", "-fuse-ld=lld"]
    subprocess.run([toolchain_clang(), *flags, HERE / "load.c", "-o", output], check=True)
    return output


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
            archive.add(f"{to}/{path.relative_to(tree)}", 0o100755 if os.access(path, os.X_OK) else 0o100644, path.read_bytes())


def second_archive(packer, load, output):
    """Everything but Tapline: mosquitto, Python, mqtt-io, the load, and the configurations."""
    archive = packer.Archive()
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        root, packages = unpack(Path(name))
        standard = root / f"usr/lib/python{PYTHON}"
        # Extension modules whose libraries are not in the list are not imported here.
        for module in (standard / "lib-dynload").iterdir():
            try:
                packer.add_libraries(archive, module, root)
            except SystemExit:
                module.unlink()
        for program in (root / "usr/sbin/mosquitto", root / f"usr/bin/python{PYTHON}"):
            archive.add(f"bin/{program.name}", 0o100755, program.read_bytes())
            packer.add_libraries(archive, program, root)
        # Loaded by the C library at a thread's end.
        archive.add(f"{packer.GUEST_LIBS}/libgcc_s.so.1", 0o100755, packer.library("libgcc_s.so.1", root).read_bytes())
        add_tree(archive, standard, f"usr/lib/python{PYTHON}")
        add_tree(archive, packages, PACKAGES)
    archive.add(f"{PACKAGES}/confp.py", 0o100644, CONFP)
    archive.add("bin/load", 0o100755, load.read_bytes())
    for path in HERE.glob("m*.*"):
        archive.add(f"etc/{path.name}", 0o100644, path.read_bytes())
    # In place of the ordinary one of the first archive.
    archive.add("etc/tapline.yaml", 0o100644, (HERE / "tapline.yaml").read_bytes())
    archive.write(output)


def pack(binary, folder):
    """The initramfs of both archives."""
    folder.mkdir(parents=True, exist_ok=True)
    packer = load_script(HERE.parent / "pack-initramfs")
    load = compile_load(folder / "load", packer.sysroot(binary))
    first, second, both = folder / "first.cpio", folder / "second.cpio", folder / f"{binary.name}.cpio"
    rig.pack(binary, first)
    second_archive(packer, load, second)
    with open(both, "wb") as file:
        for part in (first, second):
            file.write(part.read_bytes())
            file.write(bytes(-file.tell() % 512))
    return both

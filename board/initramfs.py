"""What every initramfs of this directory is made with: the archive, programs for aarch64 and the libraries they need.

The QEMU board's own is made by pack(); board/image, board/debian and board/latency make theirs of the same parts.
"""

import json
import re
import subprocess
from pathlib import Path

BOARD = Path(__file__).resolve().parent
TOP = BOARD.parent
BUILD = TOP / ".build" / "board"
READELF = "aarch64-linux-gnu-readelf"
TARGET = "aarch64-linux-gnu"
# Where the guest's loader looks.
GUEST_LIBS = "usr/lib/aarch64-linux-gnu"

DIRECTORY, FILE, LINK, CHARACTER_DEVICE = 0o040755, 0o100000, 0o120777, 0o020600


class CannotPack(Exception):
    """A program that is not for aarch64, or whose library is not to be found."""


def output_of(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


# The archive


class Archive:
    """A cpio archive in the `newc` format, with everything owned by root and no time of day in it."""

    def __init__(self):
        self.chunks = []
        self.names = set()

    def add(self, name, mode, body=b"", device=(0, 0)):
        """One entry, after the directories it is in. A name that is there already is not added again."""
        if name in self.names:
            return
        if "/" in name:
            self.add(name.rpartition("/")[0], DIRECTORY)
        self.names.add(name)
        self.append(name, mode, body, device, inode=len(self.names))

    def append(self, name, mode, body, device, inode):
        """header 110 bytes, name, NUL, padding to 4, body, padding to 4"""
        links = 2 if mode == DIRECTORY else 1
        path = name.encode() + b"\0"
        fields = [inode, mode, 0, 0, links, 0, len(body), 0, 0, *device, len(path), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self.chunks += [padded(header + path), padded(body)]

    def write(self, path):
        self.append("TRAILER!!!", 0, b"", (0, 0), inode=0)
        path.write_bytes(b"".join(self.chunks))


def padded(data):
    return data + bytes(-len(data) % 4)


# Programs and their libraries


def needs(path):
    """The names of the shared libraries and of the loader that an ELF file asks for."""
    if "AArch64" not in output_of(READELF, "-hW", path):
        raise CannotPack(f"{path} is not for aarch64")
    text = output_of(READELF, "-ldW", path)
    loader = re.findall(r"program interpreter: .*/([^/\]]+)\]", text)
    return loader + re.findall(r"\(NEEDED\).*\[([^\]]+)\]", text)


def library(name, libs):
    for place in ("usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib", "lib", "."):
        if (libs / place / name).exists():
            return libs / place / name
    raise CannotPack(f"{name} is not below {libs}")


def add_libraries(archive, program, libs):
    """What `program` needs, and what that needs."""
    open_ends = needs(program)
    while open_ends:
        name = open_ends.pop()
        if f"{GUEST_LIBS}/{name}" in archive.names:
            continue
        path = library(name, libs)
        archive.add(f"{GUEST_LIBS}/{name}", FILE | 0o755, path.read_bytes())
        open_ends += needs(path)


def sysroot(binary=Path("tapline-gpiod2")):
    """What cross/build-device linked `binary` against; its name ends in gpiod1 or gpiod2."""
    variant = "gpiod1" if binary.name.endswith("gpiod1") else "gpiod2"
    return Path(output_of(TOP / "cross/build-device", "--sysroot", variant).strip())


def compile_program(source, program, *flags, libs=None):
    """`source` as a program for aarch64 with the libraries in `libs`, without `libs` for this machine. The compiler is
    the Swift toolchain's. A program that is newer than its source is left as it is."""
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    info = json.loads(output_of("swiftc", "-print-target-info"))
    clang = Path(info["paths"]["runtimeResourcePath"]).resolve().parents[1] / "bin/clang"
    program.parent.mkdir(parents=True, exist_ok=True)
    cross = [f"--target={TARGET}", f"--sysroot={libs}", "-fuse-ld=lld", "-s"] if libs else []
    subprocess.run([clang, *cross, "-Wall", "-Wextra", "-Werror", *flags, "-o", program, source], check=True)
    return program


# The QEMU board's


def kernel_folder():
    """The directory of board/kernel-modules, made now if it is not there."""
    return Path(output_of(BOARD / "kernel-modules").strip())


def begin(kernel, machine, folders=()):
    """An archive with what every guest of `kernel` starts with: busybox, and the modules that `machine` loads."""
    archive = Archive()
    for folder in ("dev", "etc", "proc", "sys", *folders):
        archive.add(folder, DIRECTORY)
    # The kernel opens this for init before there is a devtmpfs.
    archive.add("dev/console", CHARACTER_DEVICE, device=(5, 1))
    archive.add("bin/busybox", FILE | 0o755, (kernel / "busybox").read_bytes())
    order = (kernel / f"load-order.{machine}").read_text()
    archive.add("etc/load-order", FILE | 0o644, order.encode())
    for name in sorted(line.split()[0] for line in order.splitlines()):
        archive.add(f"modules/{name}", FILE | 0o644, (kernel / "modules" / name).read_bytes())
    return archive


def pack(binary, output, machine="virt", libs=None, extra=()):
    """The QEMU board's initramfs in the file `output`. libs: where libraries are looked for; extra: more programs for /bin"""
    libs = libs or sysroot(binary)
    archive = begin(kernel_folder(), machine, ("run", "tmp", "usr/bin", GUEST_LIBS))
    archive.add("lib", LINK, b"usr/lib")
    archive.add("bin/sh", LINK, b"busybox")
    for path in sorted((BOARD / "profiles").glob("*.yaml")):
        archive.add(f"usr/share/tapline/boards/{path.name}", FILE | 0o644, path.read_bytes())

    archive.add("init", FILE | 0o755, (BOARD / "guest/init").read_bytes())
    for name in ("agent", "serve", "make-lamp"):
        archive.add(f"bin/{name}", FILE | 0o755, (BOARD / "guest" / name).read_bytes())
    archive.add("etc/passwd", FILE | 0o644, b"root:x:0:0::/:/bin/sh\ntapline:x:1000:997::/:/bin/sh\n")
    archive.add("etc/group", FILE | 0o644, b"root:x:0:\ngpio:x:997:\n")
    for path in sorted((BOARD / "guest").glob("*.yaml")):
        archive.add(f"etc/{path.name}", FILE | 0o644, path.read_bytes())
    programs = {"tapline": binary, **{path.name: path for path in extra}}
    for source in (BOARD / "guest").glob("*.c"):
        programs[source.stem] = compile_program(source, output.with_suffix(f".{source.stem}"), "-O2", libs=libs)
    for name, program in programs.items():
        archive.add(f"bin/{name}", FILE | 0o755, program.read_bytes())
        add_libraries(archive, program, libs)
    # The loader's path in every aarch64 program.
    loaders = [name for name in archive.names if "/ld-linux-aarch64" in name]
    for name in loaders:
        archive.add(f"usr/lib/{Path(name).name}", LINK, f"aarch64-linux-gnu/{Path(name).name}".encode())
    output.parent.mkdir(parents=True, exist_ok=True)
    archive.write(output)
    return output

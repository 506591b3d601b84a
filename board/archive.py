"""Archives that the kernel unpacks as its first file system, and the shared libraries that programs in them need."""

import re
import subprocess
import sys

READELF = "aarch64-linux-gnu-readelf"
# Where the guest's loader looks.
GUEST_LIBS = "usr/lib/aarch64-linux-gnu"

DIRECTORY, FILE, LINK, CHARACTER_DEVICE = 0o040755, 0o100000, 0o120777, 0o020600


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


def needs(path):
    """The names of the shared libraries and of the loader that an ELF file asks for."""
    text = subprocess.run([READELF, "-ldW", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    if "AArch64" not in subprocess.run([READELF, "-hW", path], check=True, stdout=subprocess.PIPE, text=True).stdout:
        sys.exit(f"{path} is not for aarch64")
    loader = re.findall(r"program interpreter: .*/([^/\]]+)\]", text)
    return loader + re.findall(r"\(NEEDED\).*\[([^\]]+)\]", text)


def library(name, libs):
    for place in ("usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib", "lib", "."):
        if (libs / place / name).exists():
            return libs / place / name
    sys.exit(f"{name} is not below {libs}")


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

"""Which QEMU boots the boards' Raspberry Pi."""

import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapline" / "board"
# Since this version QEMU's Raspberry Pi has a bus for its thermometer.
TMP105_VERSION = (10, 0)


def installed_version(program):
    """(major, minor) of a QEMU, or None."""
    try:
        text = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(map(int, re.search(r"version (\d+)\.(\d+)", text).groups()))


def find():
    """A QEMU that has the Raspberry Pi's thermometer, and its version: the machine's own, or Debian's newer one unpacked
    beside it; the machine's own without the thermometer where that is not to be had."""
    own = "qemu-system-aarch64"
    version = installed_version(own)
    if version and version >= TMP105_VERSION:
        return own, version
    beside = CACHE / "qemu" / "usr/bin" / own
    if not beside.exists() and platform.machine() == "x86_64":
        with tempfile.TemporaryDirectory() as folder:
            fetch = [REPOSITORY / "cross/fetch-debs", "--group", "boardqemu", folder]
            run = subprocess.run(fetch, stdout=subprocess.PIPE, text=True, check=False)
            for deb in run.stdout.split() if run.returncode == 0 else []:
                subprocess.run(["dpkg-deb", "-x", deb, CACHE / "qemu"], check=True)
    newer = installed_version(str(beside))
    return (str(beside), newer) if newer else (own, version)


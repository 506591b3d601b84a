"""What the image takes from Debian's packages, unpacked once: kernel, modules, firmware, programs, libraries."""

import fcntl
import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapline" / "image"
FETCH = TOP / "cross" / "fetch-debs"
NEEDS = TOP / "cross" / "needs.txt"

FIRMWARE = ["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"]
# Zero 2 W, 3 and 4. Debian 13's kernel has a tree for the 5 but no driver for its card, its pins and its network.
DEVICE_TREES = ["bcm2837-rpi-zero-2-w", "bcm2837-rpi-3-a-plus", "bcm2837-rpi-3-b", "bcm2837-rpi-3-b-plus", "bcm2711-rpi-4-b", "bcm2711-rpi-400"]
# By name of the module; what these depend on is found in the modules themselves. Loaded where a device asks for it.
MODULES = """
    bcm2835 sdhci_iproc fixed gpio_regulator virtio_mmio virtio_blk vfat nls_ascii nls_cp437 ext4 crc32c_generic
    bcm2835_wdt i6300esb bcm2835_rng iproc_rng200 bcm2835_thermal bcm2711_thermal raspberrypi_cpufreq leds_gpio
    i2c_bcm2835 i2c_dev i2c_gpio spi_bcm2835 pwm_bcm2835 w1_gpio w1_therm
    lm75 tmp102 ti_ads1015 bmp280 bmp280_i2c sht3x dht11
    phy_generic dwc2 reset_raspberrypi xhci_pci xhci_hcd usbhid
    smsc95xx lan78xx microchip genet bcm_phy_lib broadcom bcm7xxx mdio_bcm_unimac smsc cdc_ether cdc_ncm ax88179_178a r8152
    virtio_net
    brcmfmac brcmfmac_wcc brcmfmac_cyw
""".split()
# Asked for by the boards' trees, and of no use here: bluetooth, screen, camera, sound, the second SPI, the boot loader's settings,
# and what is switched off in the trees.
LEFT_OUT = """
    hci_uart vc4 v3d vchiq i2c_mux_pinctrl snd_soc_bcm2835_i2s spi_bcm2835aux nvmem_rmem onboard_usb_dev xhci_plat_hcd
""".split()
PROGRAMS = ["mke2fs", "e2fsck", "wpa_supplicant", "dropbear", "dropbearkey", "avahi-daemon", "ntpd"]
WIFI = ["brcmfmac43430-sdio*", "brcmfmac43430b0-sdio*", "brcmfmac43436*", "brcmfmac43455-sdio*"]
BOARDS = "raspberrypi,"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def recipe_hash():
    """12 hex digits over all that decides what comes from the packages."""
    rows = [row.split()[:3] for row in NEEDS.read_text().splitlines() if row.startswith("image ")]
    return hashlib.sha256(Path(__file__).read_bytes() + repr(rows).encode()).hexdigest()[:12]


def field(data, name):
    """Values of a module's `name=` fields in section .modinfo."""
    return [value.decode() for value in re.findall(rb"(?<=\0)" + name + rb"=([^\0]*)", b"\0" + data)]


def read_module(path):
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def take_modules(tree, device_trees, out):
    """MODULES with all they need, and the indexes that modprobe reads."""
    found = {path.name.split(".")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    taken = {}

    def take(name):
        if name in taken or name not in found:
            return
        taken[name] = read_module(found[name])
        for other in needed(name):
            take(other)

    def needed(name):
        names = [other.replace("-", "_") for value in field(taken[name], b"depends") for other in value.split(",") if other]
        # Asked for at run time, by name.
        soft = [word.replace("-", "_") for value in field(taken[name], b"softdep") for word in value.split() if not word.endswith(":")]
        return [other for other in names if other in found] + [other for other in soft if other in MODULES]

    for name in MODULES:
        take(name)
    out.mkdir(parents=True)
    dependencies, aliases = [], []
    for name, data in sorted(taken.items()):
        (out / f"{name}.ko").write_bytes(data)
        order = []

        def visit(other):
            for more in field(taken[other], b"depends"):
                for next_name in (word.replace("-", "_") for word in more.split(",")):
                    if next_name in taken and next_name not in order:
                        visit(next_name)
                        order.append(next_name)

        visit(name)
        dependencies.append(f"{name}.ko:" + "".join(f" {other}.ko" for other in reversed(order)))
        aliases += [f"alias {alias} {name}" for alias in field(data, b"alias")]
    (out / "modules.dep").write_text("\n".join(dependencies) + "\n")
    (out / "modules.alias").write_text("\n".join(aliases) + "\n")
    (out / "modules.symbols").write_text("")
    if absent := [name for name in MODULES if name not in taken]:
        sys.exit(f"image: no module {' '.join(absent)} in this kernel")
    # What this kernel has as a module another one had built in; without it a board does not even find its card.
    words = {word.decode() for path in device_trees for word in re.findall(rb"[!-~]+(?=\0)", path.read_bytes())}
    for name in sorted(set(found) - set(taken) - set(LEFT_OUT)):
        aliases = {alias.removeprefix("of:N*T*C") for alias in field(read_module(found[name]), b"alias") if alias.startswith("of:N*T*C")}
        if aliases & words:
            sys.exit(f"image: a board's device tree asks for module {name}, which is neither taken nor left out")


def take_firmware(root, out):
    """The wifi chips' firmware and these boards' settings for it; links become what they lead to."""
    folder = root / "usr/lib/firmware"
    (out / "brcm").mkdir(parents=True)
    for pattern in WIFI:
        for path in sorted((folder / "brcm").glob(pattern)):
            board = path.name.split("-sdio", 1)[1].removeprefix(".").rpartition(".")[0]
            if board in ("", "clm_blob") or board.startswith(BOARDS):
                shutil.copyfile(path, out / "brcm" / path.name)
    for name in ("regulatory.db", "regulatory.db.p7s"):
        shutil.copyfile(folder / f"{name}-debian", out / name)


def take_licences(debs, root, out):
    """Each package's own text, and which packages these are."""
    out.mkdir()
    rows = []
    for deb in debs:
        name, version, source = (
            run("dpkg-deb", "--field", deb, key, stdout=subprocess.PIPE, text=True).stdout.strip()
            for key in ("Package", "Version", "Source")
        )
        rows.append(f"{name} {version}" + (f" (source package {source})" if source else ""))
        text = root / "usr/share/doc" / name / "copyright"
        if text.exists():
            shutil.copyfile(text, out / f"{name}.txt")
    head = "What this image holds of Debian 13. snapshot.debian.org keeps the source of every version of every package.\n\n"
    (out / "packages.txt").write_text(head + "\n".join(rows) + "\n")


def make_parts(work):
    """All that comes from the packages, in work/out."""
    root, out = work / "root", work / "out"
    debs = run(FETCH, "--group", "image", work / "debs", stdout=subprocess.PIPE, text=True).stdout.split()
    for deb in debs:
        run("dpkg-deb", "--extract", deb, root)
    (out / "card").mkdir(parents=True)
    kernel = next((root / "boot").glob("vmlinuz-*"))
    # The firmware unpacks gzip and nothing else.
    (out / "card/kernel8.img").write_bytes(gzip.compress(kernel.read_bytes(), 9, mtime=0))
    for name in FIRMWARE:
        shutil.copy(root / "usr/lib/raspi-firmware" / name, out / "card")
    for name in DEVICE_TREES:
        shutil.copy(next((root / "usr/lib").glob(f"linux-image-*/broadcom/{name}.dtb")), out / "card")
    version = kernel.name.removeprefix("vmlinuz-")
    take_modules(root / "usr/lib/modules" / version, sorted((out / "card").glob("*.dtb")), out / "modules")
    (out / "version").write_text(version)
    take_firmware(root, out / "firmware")
    take_licences(debs, root, out / "licences")
    shutil.copy(root / "usr/bin/busybox", out / "busybox")
    libs = out / "root/usr/lib/aarch64-linux-gnu"
    shutil.copytree(root / "usr/lib/aarch64-linux-gnu", libs, ignore=lambda folder, names: [n for n in names if ".so" not in n])
    (out / "bin").mkdir()
    for name in PROGRAMS:
        shutil.copyfile(next(root.glob(f"usr/*bin/{name}")), out / "bin" / name)


def parts():
    """The cache's directory of what comes from the packages."""
    CACHE.mkdir(parents=True, exist_ok=True)
    target = CACHE / recipe_hash()
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                make_parts(Path(work))
                os.replace(Path(work) / "out", target)
            print(f"image: packages unpacked in {time.monotonic() - start:.1f} s", file=sys.stderr)
    return target

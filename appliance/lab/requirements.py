"""What a lab needs of its host, checked before anything is built: all that is missing, in one sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import psutil

from appliance.errors import Refused, SurroundingsError
from appliance.lab.machine import BIOS_ROM, OVMF_CODE, OVMF_VARS, QEMU

BUSYBOX: Final = Path("/usr/bin/busybox")
# The Debian package that brings each program or file.
_PROGRAMS: Final = {
    QEMU: "qemu-system-x86",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "ethtool": "ethtool",
    "dpkg-deb": "dpkg",
}
_FILES: Final = {
    Path(OVMF_CODE): "ovmf",
    Path(OVMF_VARS): "ovmf",
    Path(BIOS_ROM): "ipxe-qemu",
    Path("/usr/share/seabios/bios-256k.bin"): "seabios",
    Path("/usr/lib/ipxe/undionly.kpxe"): "ipxe",
    BUSYBOX: "busybox-static",
    Path("/dev/net/tun"): "",  # a kernel module, or a device that a container lacks
}
_PT_INTERP: Final = 3
_MEMORY_EACH: Final = 448  # MB: the machine's own, and QEMU


def check(machines: int = 1) -> None:
    """Return when a lab of so many `machines` can be built here.

    Raises:
        Refused: we are not root.
        SurroundingsError: programs or files are missing (the hint is the apt command that brings them), or
            memory for the machines is.
    """
    check_root()
    missing = {name: package for name, package in _PROGRAMS.items() if shutil.which(name) is None}
    missing |= {str(path): package for path, package in _FILES.items() if not path.exists()}
    if str(BUSYBOX) not in missing and not is_static(BUSYBOX.read_bytes()):
        missing[f"a static {BUSYBOX}"] = "busybox-static"
    if missing:
        packages = sorted({package for package in missing.values() if package})
        hint = f"apt-get install {' '.join(packages)}" if packages else "modprobe tun"
        raise SurroundingsError(f"cannot build the lab: {', '.join(missing)} not found", hint=hint)
    wanted, free = machines * _MEMORY_EACH, psutil.virtual_memory().available >> 20
    if free < wanted:
        raise SurroundingsError(
            f"cannot build the lab: {machines} machines want {wanted} MB of memory, and {free} MB are free",
            hint="ask for fewer with --machines",
        )


def check_root() -> None:
    """Return for root; Refused for everybody else."""
    if os.geteuid() != 0:
        raise Refused("cannot touch the lab: namespaces and taps need root", hint="sudo pxe-appliance lab …")


def is_static(program: bytes) -> bool:
    """Whether a 64-bit little-endian ELF program asks for no loader: an initramfs has none."""
    if program[:6] != b"\x7fELF\x02\x01" or len(program) < 64:
        return False
    table, size, count = (
        int.from_bytes(program[32:40], "little"),
        int.from_bytes(program[54:56], "little"),
        int.from_bytes(program[56:58], "little"),
    )
    kinds = (program[table + i * size : table + i * size + 4] for i in range(count))
    return all(int.from_bytes(kind, "little") != _PT_INTERP for kind in kinds)

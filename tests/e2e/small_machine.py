"""A QEMU machine whose initramfs runs programs of this host, on files that were rendered for it.

The kernel is the lab's, with the modules for bonds and VLANs beside: the host's own may have neither. There
is no udev: /sys is mounted read-only, and networkd and NetworkManager then wait for nobody, as in containers.
"""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.lab.kernel import kernel
from appliance.lab.machine import QEMU
from appliance.lab.payload import MODULES, Entry, cpio
from appliance.lab.requirements import BUSYBOX
from appliance.provisioned import ProvisionedFile
from appliance.system.command import run, spawn

BONDS_AND_VLANS = ("tls", "bonding", "llc", "stp", "mrp", "garp", "8021q", "veth")

# `start`, `ready` and `state INDEX` are what a program adds; sections begin with "== NAME".
INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs -o ro sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
ln -s /run /var/run
for module in $(cat /modules); do
    # As systemd's own modprobe.d has it: the module makes a bond0 of its own otherwise.
    case $module in bonding) options=max_bonds=0 ;; *) options= ;; esac
    insmod "/modules.d/$module.ko" $options || echo "cannot load $module"
done
ip link set lo up
ip link add container0 type veth || echo "cannot make a veth"
. /program
addressed() {
    for address in $(cat /addresses); do ip -4 addr | grep -q "inet $address " || return 1; done
}
start
for try in $(seq 600); do
    addressed && ready && break
    usleep 100000
done
echo  # the firmware's last line has no end
summary
echo "== links"; ip link
echo "== addresses"; ip -4 addr
echo "== routes"; ip -4 route
for bond in /proc/net/bonding/*; do echo "== bond ${bond##*/}"; cat "$bond"; done
echo "== vlans"; cat /proc/net/vlan/config
for link in /sys/class/net/*; do
    [ -e "$link/ifindex" ] || continue
    echo "== link ${link##*/}"
    echo "MTU=$(cat "$link/mtu")"
    state "$(cat "$link/ifindex")"
done
echo "== end"
poweroff -f
"""


@dataclass(frozen=True)
class Nic:
    """A NIC of the machine; with a `subnet`, DHCP on it offers `ip`, a router and a name server."""

    mac: str
    subnet: str = ""
    ip: str = ""


@dataclass(frozen=True)
class Program:
    """What the machine runs. `script` defines start, ready, summary and state.

    `binaries` are paths in the machine and where each lies here; libraries are looked for below `root` first;
    `contents` are more files, with their modes.
    """

    script: str
    binaries: Mapping[str, Path]
    root: Path = Path("/")
    contents: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)


def boot(
    nics: Sequence[Nic],
    program: Program,
    files: Iterable[ProvisionedFile],
    *,
    addresses: Sequence[str],
    folder: Path,
    timeout: float = 180,
) -> dict[str, str]:
    """What the machine says about itself, section by section, once its networks are up, or a minute later.

    Args:
        nics: in the order of the kernel's eth0, eth1, …
        files: what was rendered for it.
        addresses: what it has to have before it speaks, with prefixes.
        folder: takes kernel, initramfs and the serial log.
    """
    found = kernel(modules=(*MODULES, *BONDS_AND_VLANS))
    contents = {
        "bin/busybox": (0o755, BUSYBOX.read_bytes()),
        "init": (0o755, INIT.encode()),
        "program": (0o644, program.script.encode()),
        "addresses": (0o644, " ".join(addresses).encode()),
        "modules": (0o644, " ".join(name for name, _ in found.modules).encode()),
        "etc/machine-id": (0o444, b"0123456789abcdef0123456789abcdef\n"),
        **{f"modules.d/{name}.ko": (0o644, content) for name, content in found.modules},
        **program.contents,
        **_binaries(program),
        **{file.path.lstrip("/"): (file.mode, file.content.encode()) for file in files},
    }
    (folder / "vmlinuz").write_bytes(found.image)
    (folder / "initrd").write_bytes(cpio(_entries(contents)))
    serial = folder / "serial.log"
    process = spawn(_command(nics, folder, serial))
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said = serial.read_text(errors="replace").replace("\r", "")
    assert "== end" in said, said
    parts = re.split(r"^== (.*)\n", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _command(nics: Sequence[Nic], folder: Path, serial: Path) -> list[str]:
    return [
        *("unshare", "--net"),  # QEMU's DHCP server would be a way out, too
        QEMU,
        *("-accel", "tcg,thread=multi", "-smp", "1", "-m", "512", "-machine", "pc,graphics=off"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", f"file:{serial}"),
        *("-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd")),
        *("-append", "console=ttyS0 quiet net.ifnames=0"),
        *(word for number, nic in enumerate(nics) for word in _nic(number, nic)),
    ]


def _nic(number: int, nic: Nic) -> list[str]:
    place = f"n{number}"
    wire = f"user,id={place},net={nic.subnet},dhcpstart={nic.ip}" if nic.subnet else ""
    return [
        *("-netdev", wire or f"hubport,id={place},hubid={number}"),
        # LACP leaves links out whose speed nobody knows.
        *("-device", f"virtio-net-pci,netdev={place},mac={nic.mac},romfile=,speed=10000,duplex=full"),
    ]


def _binaries(program: Program) -> dict[str, tuple[int, bytes]]:
    """Programs, and what the loader would load for them: their libraries and itself (ldd(1))."""
    places = ":".join(
        str(program.root / folder) for folder in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
    )
    found: dict[str, tuple[int, bytes]] = {}
    for target, source in program.binaries.items():
        found[target] = 0o755, source.read_bytes()
        said = run(["ldd", str(source)], timeout=30, env={"LD_LIBRARY_PATH": places}).stdout
        assert "not found" not in said, said
        for library in re.findall(r"(/\S+) \(0x", said):
            path = Path(library)
            inside = path.relative_to(program.root if path.is_relative_to(program.root) else "/")
            found[str(inside)] = 0o755, path.read_bytes()
    return found


def _entries(contents: Mapping[str, tuple[int, bytes]]) -> list[Entry]:
    folders = {str(parent) for path in contents for parent in Path(path).parents} - {"."}
    empty = {"dev", "proc", "run", "sys", "tmp", "var"}
    return [
        *(Entry(name, stat.S_IFDIR | 0o755) for name in sorted(folders | empty)),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        *(Entry(path, stat.S_IFREG | mode, content) for path, (mode, content) in contents.items()),
    ]

"""The small system that a lab machine boots: an initramfs that proves what it was given. Pure.

It takes a lease on the NIC that it was booted from, sees that its other NICs get none, fetches the Ignition
that its kernel command line names, checks that it speaks of this very machine, calls home and powers off. Who
the machine is comes from its hardware (SMBIOS serial, MAC), never from the network that is on trial.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# In the order in which they need one another.
MODULES: Final = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
)
SAYS: Final = "lab: "  # what the payload prints on the serial line begins with this

# `wget -T` of Debian 12's static busybox ends in a segmentation fault: `timeout` bounds it from outside.
_INIT: Final = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null

say() { echo "lab: $*"; }
word() { sed -n "s|.* $1=\([^ ]*\).*|\1|p" /cmdline; }
home() {
    # A quote or a backslash would leave the JSON string.
    text=$(printf '%s' "$2" | tr -d '"\\\n')
    for try in 1 2 3 4 5; do
        timeout 10 wget -q -O - --header 'Content-Type: application/json' \
            --post-data "{\"stage\":\"$1\",\"mac\":\"$mac\",\"message\":\"$text\"}" \
            "$server/v1/report" >/tmp/answer 2>&1 && return 0
        sleep 1
    done
    say "cannot call home: $(cat /tmp/answer)"
    return 1
}
fail() {
    say "FAILED: $*"
    home failed "$*"
    poweroff -f
}

echo " $(cat /proc/cmdline) " >/cmdline
for module in $(cat /modules); do
    insmod "/lib/$module.ko" || say "cannot load $module"
done

serial=$(cat /sys/class/dmi/id/product_serial 2>/dev/null)
url=$(word ignition.config.url)
server=$(printf '%s' "$url" | sed -n 's|^\(http://[^/]*\)/.*|\1|p')
booted=$(printf '%s' "$url" | sed -n 's|.*[?&]mac=\([^&]*\).*|\1|p' | tr '-' ':' | tr 'A-F' 'a-f')
mac=$booted
[ -n "$serial" ] || fail "SMBIOS has no serial number"
[ -n "$server" ] || fail "no http:// address in ignition.config.url ($url)"
nic=
others=
for there in /sys/class/net/*; do
    name=${there##*/}
    [ "$name" = lo ] && continue
    if [ "$(cat "$there/address")" = "$booted" ]; then nic=$name; else others="$others $name"; fi
done
[ -n "$nic" ] || fail "none of my NICs is $booted, which the command line says I booted from"
say "I am $serial, booted from $nic ($booted)"

(
    for other in $others; do
        ip link set "$other" up
        udhcpc -i "$other" -n -q -t 2 -T 1 -s /bin/true >/dev/null 2>&1 && echo "$other" >>/tmp/leased
    done
) &
trying=$!

ip link set "$nic" up
udhcpc -i "$nic" -n -q -t 10 -T 1 -s /lease >/dev/null 2>&1 || fail "no lease on $nic"
ip=$(cat /tmp/ip)
say "lease: $ip"
timeout 20 wget -q -O /tmp/ignition "$url" || fail "cannot fetch $url"
grep -q "data:,$serial[\"]" /tmp/ignition || fail "the Ignition does not name $serial"
grep -q "data:,$mac[\"]" /tmp/ignition || fail "the Ignition does not name $mac"
say "the Ignition is mine"
wait "$trying"
[ ! -e /tmp/leased ] || fail "NIC $(cat /tmp/leased) got an address and should not have one"
home done "$serial has $ip and its own Ignition$(cat /release 2>/dev/null)" || fail "no answer to the report"
say "done"
poweroff -f
"""

_LEASE: Final = r"""#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
echo "$ip" >/tmp/ip
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the initramfs. `content` is a file's bytes, or a symbolic link's target."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def says_release(release: str) -> str:
    """How the payload's last message ends when it is that of `release`."""
    return f", from release {release}"


def initramfs(busybox: bytes, modules: Sequence[tuple[str, bytes]], release: str = "") -> bytes:
    """The initramfs, compressed; equal input gives equal bytes.

    Args:
        busybox: a statically linked busybox.
        modules: kernel modules by name, in the order of loading.
        release: the version that it reports to be, if it is part of one.
    """
    # Level 1: unpacking is what the emulated CPU pays for, and it is level with the others there.
    return gzip.compress(cpio(entries(busybox, modules, release)), compresslevel=1, mtime=0)


def entries(busybox: bytes, modules: Sequence[tuple[str, bytes]], release: str = "") -> tuple[Entry, ...]:
    """What the initramfs contains, parents first."""
    folder = stat.S_IFDIR | 0o755
    program = stat.S_IFREG | 0o755
    plain = stat.S_IFREG | 0o644
    return (
        *(Entry(name, folder) for name in ("bin", "dev", "lib", "proc", "sys", "tmp")),
        # The kernel opens it before /init can mount anything.
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("dev/null", stat.S_IFCHR | 0o666, device=(1, 3)),
        Entry("bin/busybox", program, busybox),
        Entry("init", program, _INIT.encode()),
        Entry("lease", program, _LEASE.encode()),
        Entry("modules", plain, " ".join(name for name, _ in modules).encode()),
        *(Entry(f"lib/{name}.ko", plain, content) for name, content in modules),
        *([Entry("release", plain, says_release(release).encode())] if release else ()),
    )


def cpio(members: Sequence[Entry]) -> bytes:
    """The archive that the kernel unpacks: cpio, `newc` format, as in its early-userspace documentation."""
    parts: list[bytes] = []
    trailer = Entry("TRAILER!!!", 0)
    for inode, entry in enumerate((*members, trailer), start=1):
        name = entry.path.encode() + b"\0"
        fields = (
            inode if entry is not trailer else 0,
            entry.mode,
            *(0, 0),  # root's
            1,
            0,  # no time stamp: equal input, equal bytes
            len(entry.content),
            *(0, 0),
            *entry.device,
            len(name),
            0,
        )
        header = b"070701" + b"".join(b"%08X" % value for value in fields)
        parts += [_padded(header + name), _padded(entry.content)]
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

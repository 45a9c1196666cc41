"""The initramfs of the small system that a lab machine boots. What it does is in `payload_script`. Pure."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.lab.payload_script import INIT, LEASE

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
    "virtio_blk",
)
SAYS: Final = "lab: "  # what the payload prints on the serial line begins with this


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
        Entry("init", program, INIT.encode()),
        Entry("lease", program, LEASE.encode()),
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

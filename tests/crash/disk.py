"""A small ext4 on a loop device whose power can be cut.

Cutting is EXT4_IOC_SHUTDOWN (fs/ext4/ioctl.c): from then on nothing reaches the device. With `LOST` the
journal that is not written yet is lost, too; with `JOURNAL` it is written first, while the data of files that
wait for their allocation is lost: names without content.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

JOURNAL, LOST = 1, 2
_SHUTDOWN: Final = 0x8004587D
# A file system that repairs nothing of what a careless program does (ext4(5)).
_OPTIONS: Final = "loop,noatime,noauto_da_alloc"


def run(*argv: str) -> None:
    """A command that has to succeed."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(argv)}: {done.stderr or done.stdout}")


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of so many MiB in the file `image`, mounted at `point`."""

    image: Path
    point: Path
    size: int = 16

    def make(self, fill: Callable[[], None]) -> None:
        """A new file system with what `fill` puts there, unmounted."""
        with self.image.open("wb") as file:
            file.truncate(self.size * 2**20)
        run("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-E", "lazy_itable_init=0", str(self.image))
        self.mount()
        try:
            fill()
        finally:
            self.unmount()

    def begin_as(self, other: Disk) -> None:
        """Become a copy of another one that is not mounted, and mount it."""
        run("cp", "--sparse=always", str(other.image), str(self.image))
        self.mount()

    def mount(self) -> None:
        """Mount it; a journal is replayed."""
        run("mount", "-t", "ext4", "-o", _OPTIONS, str(self.image), str(self.point))

    def unmount(self) -> None:
        """Unmount it; its loop device goes with that."""
        run("umount", str(self.point))

    def cut(self, how: int) -> None:
        """The power is gone."""
        fd = os.open(self.point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(fd)

    def come_back(self) -> None:
        """After a cut: as at the next start of the host."""
        self.unmount()
        self.mount()

"""A hostile process of another user: it swaps two names of its directory as fast as it can, to its end.

Each swap is one step of the kernel (RENAME_EXCHANGE, renameat2(2)): at no moment is one of the names missing,
so that whoever looks at a name and then uses it meets the other one half of the time.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

AT_FDCWD = -100
RENAME_EXCHANGE = 2


@contextlib.contextmanager
def swapping(one: Path, other: Path, *, uid: int, gid: int) -> Iterator[Callable[[], int]]:
    """`one` and `other` change places, by a process that has nothing but the rights of `uid` and `gid`.

    Gives how often they did so far.
    """
    reading, writing = os.pipe()
    counter = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        _swap(one, other, uid, gid, writing, counter)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as begun:
            assert begun.read(1) == b"s", "it may not swap them"
        yield lambda: int(struct.unpack("Q", counter[:8])[0])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _swap(one: Path, other: Path, uid: int, gid: int, begun: int, counter: mmap.mmap) -> NoReturn:
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        exchange = ctypes.CDLL(None).renameat2
        names = AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
        if exchange(*names) == 0:
            os.write(begun, b"s")
        os.close(begun)
        swaps = 0
        while exchange(*names) == 0:
            swaps += 1
            counter[:8] = struct.pack("Q", swaps)
    finally:
        os._exit(1)

"""A small file system of its own that a test can fill: the disk that is full at 3 a.m. Needs root."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int = 512) -> Iterator[Path]:
    """Mount a tmpfs of so many KiB at `place`, a directory that it makes."""
    place.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=755", "pxe-test", str(place))
    try:
        yield place
    finally:
        _run("umount", "--lazy", str(place))


@contextlib.contextmanager
def filled(disk: Path, leave: int = 0) -> Iterator[None]:
    """Not a byte to be had on `disk` for as long as the block runs, or `leave` pages of 4 KiB."""
    ballast = disk / "ballast"
    fd = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    size = 0
    try:
        while True:
            size += os.write(fd, bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - every other error is the test's own
    os.ftruncate(fd, size - leave * 4096)
    os.close(fd)
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """A disk that has gone read-only, as after an I/O error."""
    _run("mount", "-o", "remount,ro", str(disk))
    try:
        yield
    finally:
        _run("mount", "-o", "remount,rw", str(disk))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"

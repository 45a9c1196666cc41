"""A gigabyte passes through: neither the command nor the process that checks its signature grows with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import psutil

from tests.mirror.carried_site import sign_beside
from tests.mirror.site import COMMAND, INITRD, OLD, OLD_AT, STREAM, Site, release, write

SIZE: Final = 1_000_000_000
MOST: Final = 64 * 1024  # kB, of each process
SECONDS: Final = 30.0
CHECKER: Final = "appliance.images.openpgp_child"


def test_a_gigabyte_in_little_memory(empty: Site) -> None:
    folder = release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes={"kernel": 1000, "initrd": 1000})
    large(folder / INITRD, empty)

    began = time.monotonic()
    argv = [COMMAND, "--root", str(empty.root), "images", "fetch", STREAM]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=empty.environment()) as process:
        peaks = watched(process)
        took = time.monotonic() - began
        assert process.stderr is not None
        said = process.stderr.read()

    assert process.returncode == 0, said
    assert empty.path(INITRD).stat().st_size == SIZE
    checkers = {pid: peak for pid, (peak, line) in peaks.items() if CHECKER in line}
    assert process.pid in peaks
    assert checkers, "a signature was checked by a process of its own"
    assert {pid: peak for pid, (peak, _) in peaks.items() if peak >= MOST} == {}
    assert took < SECONDS
    empty.path(INITRD).unlink()


def large(file: Path, site: Site) -> None:
    """A file full of zeros that takes no room, signed in both ways."""
    os.truncate(file, SIZE)
    sign_beside(site.signers.good, file, OLD_AT)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").hexdigest()
    listed = f"# SHA512 HASH\n{digest}  {file.name}\n".encode()
    signed = site.signers.good.clearsign(listed, at=OLD_AT + timedelta(minutes=1))
    write(file.with_name(f"{file.name}.DIGESTS.asc"), signed)


def watched(process: subprocess.Popen[str]) -> dict[int, tuple[int, str]]:
    """The largest size in kB of each process below the command, and of itself, with its command line."""
    peaks: dict[int, tuple[int, str]] = {}
    top = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            for each in (top, *top.children(recursive=True)):
                with contextlib.suppress(psutil.Error, OSError, ValueError):
                    line = " ".join(each.cmdline())
                    before, known = peaks.get(each.pid, (0, ""))
                    peaks[each.pid] = (max(before, high_water(each.pid)), line or known)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    return peaks


def high_water(pid: int) -> int:
    """VmHWM of proc_pid_status(5), in kB; 0 of a process that has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0

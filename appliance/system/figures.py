"""What this process uses, for /metrics: under `ProcSubset=pid` nothing but /proc/self is there to be read."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figures:
    """CPU seconds, bytes resident, open file descriptors and how many may be."""

    cpu_seconds: float
    resident_bytes: int | None
    open_fds: int | None
    max_fds: int


def own_figures() -> Figures:
    """Of this process, without its children; None where /proc does not tell."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:
        pages: int | None = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        fds: int | None = sum(1 for _ in os.scandir("/proc/self/fd")) - 1  # it is one of them
    except (OSError, ValueError, IndexError):
        pages = fds = None
    return Figures(
        cpu_seconds=used.ru_utime + used.ru_stime,
        resident_bytes=pages * resource.getpagesize() if pages is not None else None,
        open_fds=fds,
        max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )

"""Looks at the daemon: its lock, its answer, others of its kind in this network namespace."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

import psutil

from appliance import __version__
from appliance.doctor.daemon import DaemonFacts
from appliance.doctor.reach import Reach
from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.system.files import is_locked

Ask = Callable[[str], object]
_PROGRAM = "pxe-appliance"


def look_at_daemon(reach: Reach, paths: Paths, ask: Ask) -> DaemonFacts:
    """Everything about it. `ask` puts a question (a path such as /v1/status) to the control socket."""
    lock = Path(paths.daemon_lock)
    running = _runs(reach, lock, Path(paths.state))
    pid = _holder(reach, lock) if running else None
    others = _others(reach, pid)
    if not running:
        return DaemonFacts(running, others=others, ours=__version__, lock=str(lock))
    try:
        status, leases, failure = ask("/v1/status"), ask("/v1/leases"), ""
    except ApplianceError as error:
        if "permission denied" in error.message:
            reach.hidden("what the daemon says of itself")
            return DaemonFacts(True, pid, others=others, ours=__version__, lock=str(lock), hidden=True)
        status, leases, failure = None, None, error.message
    return DaemonFacts(
        running=True,
        pid=pid or _pid_in(status),
        status=status if isinstance(status, dict) else None,
        failure=failure,
        others=others,
        leases=[row for row in leases if isinstance(row, dict)] if isinstance(leases, list) else None,
        ours=__version__,
        lock=str(lock),
    )


def children_of(status: Mapping[str, object] | None) -> frozenset[int]:
    """The pids of the daemon's dnsmasq processes, by its own word."""
    dnsmasq = (status or {}).get("dnsmasq")
    rows = dnsmasq.get("children") if isinstance(dnsmasq, Mapping) else None
    pids = [row.get("pid") for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    return frozenset(pid for pid in pids if isinstance(pid, int))


def _runs(reach: Reach, lock: Path, state: Path) -> bool | None:
    if not reach.root and not os.access(lock.parent, os.X_OK) and lock.parent.exists():
        reach.hidden(f"whether the daemon runs ({lock})")
        return None
    return is_locked(lock) or is_locked(state)  # somebody may have removed the file


def _holder(reach: Reach, lock: Path) -> int | None:
    found = re.fullmatch(r"pid (\d+)\s*", reach.text(lock))
    return int(found[1]) if found else None


def _pid_in(status: object) -> int | None:
    told = status.get("daemon") if isinstance(status, dict) else None
    pid = told.get("pid") if isinstance(told, dict) else None
    return pid if isinstance(pid, int) else None


def _others(reach: Reach, pid: int | None) -> tuple[str, ...]:
    """Daemons besides `pid` that share our network: two of them would answer the same machines."""
    here = _network(reach, os.getpid())
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        serves = "serve" in words and any(PurePath(word).name == _PROGRAM for word in words[:3])
        if serves and process.pid != pid and here and _network(reach, process.pid) == here:
            found.append(f"pid {process.pid}: {' '.join(words)}")
    return tuple(found)


def _network(reach: Reach, pid: int) -> str:
    try:
        return str((reach.proc / str(pid) / "ns/net").readlink())
    except OSError:
        return ""

"""Looks at the host: file systems, clock, processors, kernel limits."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from appliance.doctor.host import HostFacts, Room
from appliance.doctor.reach import Reach
from appliance.paths import Paths
from appliance.sync.generations import list_generations
from appliance.system.clock import now


def look_at_host(reach: Reach, paths: Paths, machines: int) -> HostFacts:
    """All of it; `machines` is how many the inventory has."""
    synchronised, words = _synchronised(reach)
    return HostFacts(
        now=now(),
        rooms=_rooms(paths),
        synchronised=synchronised,
        clock_words=words,
        newest=_newest(paths),
        governors=_governors(reach),
        rmem_default=reach.sysctl("net/core/rmem_default"),
        neighbours=reach.sysctl("net/ipv4/neigh/default/gc_thresh3"),
        machines=machines,
    )


def _rooms(paths: Paths) -> list[Room]:
    places = (
        (paths.state, "no sync and no history can be written"),
        (paths.run, "dnsmasq's log and the control socket live there"),
        (paths.images, "no image can be fetched"),
        (paths.etc, "no image can be pinned"),
    )
    found: dict[tuple[int, int, int], Room] = {}
    for path, uses in places:
        try:
            seen = os.statvfs(path)
            device = Path(path).stat().st_dev
        except OSError:
            continue
        room = Room(
            str(path),
            seen.f_bavail * seen.f_frsize,
            seen.f_blocks * seen.f_frsize,
            seen.f_favail,
            seen.f_files,
            uses,
        )
        found.setdefault((device, seen.f_blocks, seen.f_files), room)
    return list(found.values())


def _synchronised(reach: Reach) -> tuple[bool | None, str]:
    done = reach.run("timedatectl", "show", "--property=NTPSynchronized")
    word = done.stdout.strip() if done and done.rc == 0 else ""
    if not word:
        return None, "timedatectl is not here, or does not answer"
    return word == "NTPSynchronized=yes", word


def _newest(paths: Paths) -> datetime | None:
    times = []
    for manifest in list_generations(paths):
        try:
            at = datetime.fromisoformat(manifest.at)
        except ValueError:
            continue
        if at.tzinfo is not None:
            times.append(at)
    return max(times, default=None)


def _governors(reach: Reach) -> dict[str, tuple[str, str]]:
    found = {}
    for place in (reach.sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq"):
        name = reach.text(place / "scaling_governor").strip()
        if name:
            found[place.parent.name] = (name, reach.text(place / "scaling_driver").strip())
    return found

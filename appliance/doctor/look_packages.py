"""Looks at what is installed: dpkg, programs in PATH, Python packages."""

from __future__ import annotations

import importlib.metadata
import re

from appliance.doctor.packages import LOOKED_FOR, PROGRAMS, Installed, required
from appliance.doctor.reach import Reach


def look_at_packages(reach: Reach) -> Installed:
    """Versions and places."""
    requirements = required(_requirements())
    return Installed(
        packages=_packages(reach),
        said=_said(reach),
        programs={name: reach.has(name) for name in PROGRAMS},
        python={name: _version(name) for name in (r.partition(">=")[0] for r in requirements)},
        requirements=requirements,
    )


def _packages(reach: Reach) -> dict[str, str] | None:
    """Installed versions by package; None where dpkg is not, or does not answer."""
    done = reach.run(
        "dpkg-query", "-W", "-f", "${db:Status-Status} ${binary:Package} ${Version}\\n", *LOOKED_FOR
    )
    if done is None:
        return None
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[1].partition(":")[0]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def _said(reach: Reach) -> str:
    done = reach.run("dnsmasq", "--version")
    found = re.search(r"version (\S+)", done.stdout) if done else None
    return found[1] if found else ""


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("pxe-appliance") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

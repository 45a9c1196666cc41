"""Judges what is installed: dnsmasq's version, iPXE, programs, Python packages, and a namesake. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.doctor.debian_version import older
from appliance.doctor.finding import Finding, doubtful, fine, wrong

# 2.90-4~deb12u2 fixes CVE-2026-4892 among others; `dnsmasq --version` tells no patch level.
DNSMASQ_AT_LEAST: Final = "2.90-4~deb12u2"
_NAMESAKES: Final = ("matchbox", "matchbox-window-manager", "matchbox-common")
LOOKED_FOR: Final = ("dnsmasq-base", "ipxe", *_NAMESAKES)
# Programs that the daemon cannot do without, and the package that has each.
PROGRAMS: Final[Mapping[str, str]] = {"dnsmasq": "dnsmasq-base", "setpriv": "util-linux"}
_AT_LEAST: Final = re.compile(r"\s*([A-Za-z0-9._-]+)[^<>=!~;]*>=\s*([0-9][0-9.]*)")


@dataclass(frozen=True, slots=True)
class Installed:
    """What was found. `packages` is None where there is no dpkg; `python` has a version or None by name.

    `said` is the version that `dnsmasq --version` tells; `requirements` are our own, as in the metadata.
    """

    packages: Mapping[str, str] | None = None
    said: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)  # by name, where; empty: nowhere
    python: Mapping[str, str | None] = field(default_factory=dict)
    requirements: Sequence[str] = ()


def judge_packages(found: Installed) -> Iterator[Finding]:
    """Package by package."""
    missing = [name for name in PROGRAMS if not found.programs.get(name)]
    if missing:
        fix = f"apt install {' '.join(dict.fromkeys(PROGRAMS[n] for n in missing))}"
        yield wrong(
            "programs", f"{', '.join(missing)} is not installed: nothing can be served", fix, *_places(found)
        )
    else:
        yield fine("programs", "all programs are there", *_places(found))
    if found.programs.get("dnsmasq"):
        yield _judge_dnsmasq(found)
    if found.packages is not None:
        yield _judge_ipxe(found.packages)
        yield _judge_namesake(found.packages)
    yield _judge_python(found)


def _places(found: Installed) -> tuple[str, ...]:
    return tuple(f"{name}: {place or 'not in PATH'}" for name, place in found.programs.items())


def _judge_dnsmasq(found: Installed) -> Finding:
    version = (found.packages or {}).get("dnsmasq-base", "")
    if not version:
        seen = f"dnsmasq --version: {found.said or 'nothing'}; its package is not dpkg's"
        if found.said and older(found.said, "2.90"):
            words = f"dnsmasq {found.said} is older than all that was tested (2.90)"
            return wrong("package-dnsmasq", words, "install dnsmasq 2.90 or later", seen)
        return fine("package-dnsmasq", f"dnsmasq {found.said}: its patch level is not known", seen)
    seen = f"dnsmasq-base {version}; at least {DNSMASQ_AT_LEAST}"
    if older(version, DNSMASQ_AT_LEAST):
        words = f"dnsmasq-base {version} has holes that {DNSMASQ_AT_LEAST} closes"
        return wrong("package-dnsmasq", words, "apt update && apt install dnsmasq-base", seen)
    return fine("package-dnsmasq", f"dnsmasq-base {version}", seen)


def _judge_ipxe(packages: Mapping[str, str]) -> Finding:
    version = packages.get("ipxe", "")
    if version:
        return fine("package-ipxe", f"ipxe {version}")
    words = "the package ipxe is not installed: its first stages are what PCs boot"
    return doubtful(
        "package-ipxe", words, "apt install ipxe, or pxe-appliance images fetch ipxe", "dpkg: no ipxe"
    )


def _judge_namesake(packages: Mapping[str, str]) -> Finding:
    there = [f"{name} {packages[name]}" for name in _NAMESAKES if name in packages]
    if not there:
        return fine("package-matchbox", "no window manager passes for Matchbox")
    words = "Debian's package matchbox is a window manager; this appliance has its own Matchbox endpoint"
    names = " ".join(name.split()[0] for name in there)
    return doubtful("package-matchbox", words, f"apt purge {names}", *there)


def _judge_python(found: Installed) -> Finding:
    bad = []
    for requirement in found.requirements:
        name, _, at_least = requirement.partition(">=")
        version = found.python.get(name)
        if version is None:
            bad.append(f"{name} is not installed")
        elif at_least and older(version, at_least):
            bad.append(f"{name} {version} is older than {at_least}")
    if bad:
        fix = "pip install --upgrade pxe-appliance, in the environment that it runs in"
        return wrong("python-packages", bad[0], fix, *bad)
    return fine("python-packages", f"{len(found.requirements)} Python packages fit")


def required(metadata: Sequence[str]) -> tuple[str, ...]:
    """Our own requirements as NAME>=VERSION, those of extras left out."""
    plain = [line for line in metadata if "extra ==" not in line]
    found = []
    for line in plain:
        match = _AT_LEAST.match(line)
        found.append(f"{match[1]}>={match[2]}" if match else re.split(r"[\s;<>=!~\[(]", line)[0])
    return tuple(found)

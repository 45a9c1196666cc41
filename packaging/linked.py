"""What projects have linked into the binary modules of their wheels, which no metadata of an installer names.

Two sources: the bill that a wheel carries itself (PEP 770), and for wheels without one what is known of their
projects' builds. The second has a version only where the binary itself tells it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Linked:
    """A library in a binary module; `version` and `digest` (SHA-256, hex) may be empty."""

    name: str
    version: str
    licence: str
    purl: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A library that a project is known to link; `says` finds its version in the module."""

    name: str
    licence: str
    purl: str
    says: bytes = b""


KNOWN = {
    "aiohttp": (Known("llhttp", "MIT", "pkg:github/nodejs/llhttp"),),
    "grpcio": (
        Known("abseil-cpp", "Apache-2.0", "pkg:github/abseil/abseil-cpp"),
        Known("boringssl", "Apache-2.0 AND ISC AND OpenSSL AND BSD-3-Clause", "pkg:github/google/boringssl"),
        Known("c-ares", "MIT", "pkg:github/c-ares/c-ares"),
        Known("re2", "BSD-3-Clause", "pkg:github/google/re2"),
        Known("zlib", "Zlib", "pkg:github/madler/zlib", rb"deflate (\d[0-9.]+) Copyright"),
    ),
    "pyyaml": (Known("libyaml", "MIT", "pkg:github/yaml/libyaml", rb"\x00(0\.\d+\.\d+)\x00"),),
}


def linked(name: str, inside: Distribution) -> list[Linked]:
    """The libraries in the modules of the package `name`, sorted.

    Raises:
        SystemExit: it is known to have some, and has no binary module any more: the table above is old.
    """
    files = [Path(str(inside.locate_file(file))) for file in inside.files or ()]
    found = set()
    for file in files:
        if file.parent.name == "sboms" and file.name.endswith(".json"):
            found |= set(_carried(json.loads(file.read_text())))
    modules = [file.read_bytes() for file in files if file.suffix == ".so"]
    if name in KNOWN and not modules:
        raise SystemExit(f"{name} has no binary module, and packaging/linked.py names what is linked into it")
    for known in KNOWN.get(name, ()):
        version = _version(known, modules)
        purl = f"{known.purl}@{version}" if version else known.purl
        found.add(Linked(known.name, version, known.licence, purl))
    return sorted(found)


def _carried(bill: dict[str, Any]) -> Iterator[Linked]:
    """What a bill names; "excluded" is what only built it (cargo-cyclonedx)."""
    for part in bill.get("components", ()):
        if part.get("scope") == "excluded":
            continue
        terms = [x.get("expression") or x["license"].get("id", "") for x in part.get("licenses", ())]
        digests = [x["content"] for x in part.get("hashes", ()) if x["alg"] == "SHA-256"]
        purl = part["purl"].partition("?")[0]
        yield Linked(part["name"], part["version"], " AND ".join(terms), purl, "".join(digests[:1]))


def _version(known: Known, modules: list[bytes]) -> str:
    for module in modules if known.says else ():
        if told := re.search(known.says, module):
            return told[1].decode().rstrip(".")
    return ""

"""`images.lock`: which releases may be served, by version, size, SHA-512 and signer. Pure.

It is text, one line a file, sorted, so that a change of it reads well in a review; an operator may keep it
under version control, and a host that gets it fetches exactly what it pins.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Final

from appliance.errors import Problem
from appliance.image_ref import ARCHITECTURES
from appliance.images.catalogue import OSES
from appliance.images.model import (
    OPERATOR,
    StoredRelease,
    Stream,
    is_file_name,
    is_stream_name,
    is_version,
    version_key,
)
from appliance.reading import dotted
from appliance.toml_lines import LONG_KEY, TomlLines, line_of_long_key

_HEAD: Final = """\
# Which images may be served: written by `pxe-appliance images`, meant to be reviewed and kept.
# A release that is not in here, or differs from it, is not served.
"""
_SHA512: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)
_SIGNER: Final = re.compile(rf"[0-9A-F]{{40,64}}|{OPERATOR}", re.ASCII)
_LARGEST: Final = 2**50
_HINT: Final = "take the newest good copy back, or remove the release's entry and fetch it again"


@dataclass(frozen=True, slots=True)
class Pin:
    """What a file has to be."""

    size: int
    sha512: str


@dataclass(frozen=True, slots=True)
class PinnedRelease:
    """What a release has to be. `signed_at` is when the first of its files was signed."""

    stream: Stream
    version: str
    signer: str
    signed_at: datetime | None = None
    files: Mapping[str, Pin] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, release: StoredRelease) -> PinnedRelease:
        """The pins of a release as it stands in the store."""
        pins = {f.name: Pin(f.size, f.sha512) for f in release.files}
        return cls(release.stream, release.version, release.signer, release.signed_at, MappingProxyType(pins))


@dataclass(frozen=True)
class Lock:
    """All pins, sorted by stream, then by version."""

    releases: tuple[PinnedRelease, ...] = ()

    @cached_property
    def _by_name(self) -> Mapping[tuple[Stream, str], PinnedRelease]:
        return {(r.stream, r.version): r for r in self.releases}

    def get(self, stream: Stream, version: str) -> PinnedRelease | None:
        """The pins of one release."""
        return self._by_name.get((stream, version))

    def newest(self, stream: Stream) -> str | None:
        """The highest version that is pinned of a stream."""
        versions = [r.version for r in self.releases if r.stream == stream]
        return max(versions, key=version_key, default=None)

    def with_release(self, release: PinnedRelease) -> Lock:
        """With one release's pins put in, or replaced."""
        return Lock.of((*self.without([(release.stream, release.version)]).releases, release))

    def without(self, gone: Iterable[tuple[Stream, str]]) -> Lock:
        """Without the pins of some releases."""
        names = set(gone)
        return Lock(tuple(r for r in self.releases if (r.stream, r.version) not in names))

    @classmethod
    def of(cls, releases: Iterable[PinnedRelease]) -> Lock:
        """Sorted as the file is."""
        return cls(tuple(sorted(releases, key=lambda r: (r.stream, version_key(r.version)))))


def render_lock(lock: Lock) -> str:
    """The text of the file."""
    return "\n".join([_HEAD, *(line for release in lock.releases for line in _entry(release))])


def _entry(release: PinnedRelease) -> Iterator[str]:
    stream = release.stream
    place = ".".join(json.dumps(part) for part in (stream.os, stream.name, stream.arch, release.version))
    yield f"[{place}]"
    yield f"signer = {json.dumps(release.signer)}"
    if release.signed_at is not None:
        yield f"signed = {release.signed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    for name, pin in sorted(release.files.items()):
        yield f'files.{json.dumps(name)} = {{ size = {pin.size}, sha512 = "{pin.sha512}" }}'
    yield ""


def parse_lock(text: str, file: str) -> tuple[Lock, list[Problem]]:
    """Read the file; entries that cannot be used are left out and named, each by its place."""
    problems: list[Problem] = []
    if line := line_of_long_key(text):
        return Lock(), [Problem(file, line, "", LONG_KEY, _HINT)]
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, a number of too many digits, or too deep
        found = re.search(r"line ([0-9]+)", str(error))
        line = int(found[1]) if found else 1
        return Lock(), [Problem(file, line, "", f"is not TOML: {str(error)[:200]}", _HINT)]
    releases: list[PinnedRelease] = []
    lines: TomlLines | None = None
    for path, entry in _entries(raw):
        try:
            releases.append(_release(path, entry))
        except ValueError as error:
            lines = lines or TomlLines(text)
            problems.append(Problem(file, lines(path), dotted(path), str(error), _HINT))
    return Lock.of(releases), problems


def _entries(raw: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value four tables deep: os, stream, architecture, version."""

    def walk(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
        if len(path) == 4 or not isinstance(value, dict):
            yield path, value
            return
        for key, inner in value.items():
            yield from walk(inner, (*path, key))

    return walk(raw, ())


def _release(path: tuple[str, ...], entry: object) -> PinnedRelease:
    if len(path) != 4 or not isinstance(entry, dict):
        raise ValueError("is not an entry of the form [OS.STREAM.ARCH.VERSION]")
    os, name, arch, version = path
    if os not in OSES or arch not in ARCHITECTURES or not is_stream_name(name) or not is_version(version):
        raise ValueError("does not name a release: it is not an entry of the form [OS.STREAM.ARCH.VERSION]")
    signer, signed, files = entry.get("signer"), entry.get("signed"), entry.get("files")
    if not isinstance(signer, str) or not _SIGNER.fullmatch(signer):
        raise ValueError("signer is not a fingerprint")
    if signed is not None and (not isinstance(signed, datetime) or signed.tzinfo is None):
        raise ValueError("signed is not a time in UTC")
    if not isinstance(files, dict) or not files:
        raise ValueError("has no files")
    pins = {str(file): _pin(str(file), facts) for file, facts in files.items()}
    return PinnedRelease(Stream(os, name, arch), version, signer, signed, MappingProxyType(pins))


def _pin(file: str, facts: object) -> Pin:
    size, sha512 = (facts.get("size"), facts.get("sha512")) if isinstance(facts, dict) else (None, None)
    if not is_file_name(file):
        raise ValueError(f"{file[:60]!r} cannot be the name of a file")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST:
        raise ValueError(f"the size of {file} is not a number of bytes")
    if not isinstance(sha512, str) or not _SHA512.fullmatch(sha512):
        raise ValueError(f"the SHA-512 of {file} is not one")
    return Pin(size, sha512)

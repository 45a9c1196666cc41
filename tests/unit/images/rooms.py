"""Values that the image store works with, made in a line each; and strategies for all that it can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from hypothesis import strategies as st

from appliance.image_ref import ARCHITECTURES
from appliance.images.catalogue import OSES
from appliance.images.lock import Lock, Pin, PinnedRelease
from appliance.images.model import (
    OPERATOR,
    Artefact,
    ReleasePlan,
    Role,
    StoredFile,
    StoredRelease,
    Stream,
    is_file_name,
    is_stream_name,
    is_version,
)
from appliance.images.trust import Measured, ProvenFile, Signature

STABLE: Final = Stream("flatcar", "stable")
BETA: Final = Stream("flatcar", "beta")
KERNEL, INITRD = "flatcar_production_pxe.vmlinuz", "flatcar_production_pxe_image.cpio.gz"
ROLES: Final = {KERNEL: Role.KERNEL, INITRD: Role.INITRD}
KEY, SUBKEY = "A" * 40, "B" * 40
DAY: Final = timedelta(days=1)
EARLY, LATE = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)


def sha512(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()


def plan(version: str = "4593.2.6", stream: Stream = STABLE) -> ReleasePlan:
    """A release of a kernel and an initrd."""
    base = f"http://mirror.example/{version}"
    artefacts = tuple(Artefact(name, role, f"{base}/{name}", 1000) for name, role in ROLES.items())
    return ReleasePlan(stream, version, artefacts)


def proven(of: ReleasePlan, contents: Mapping[str, bytes], at: datetime | None = LATE) -> list[ProvenFile]:
    """Its files, signed at `at`; by an operator's word when that is None."""
    signature = Signature(KEY, SUBKEY, at) if at else None
    return [
        ProvenFile(artefact, Measured(len(content), sha512(content)), signature)
        for artefact in of.artefacts
        for content in [contents[artefact.name]]
    ]


def build(word: str) -> dict[str, bytes]:
    """The contents of a build."""
    return {KERNEL: f"kernel {word}".encode(), INITRD: f"initrd {word}".encode()}


def pinned(
    version: str, contents: Mapping[str, bytes], at: datetime | None = EARLY, stream: Stream = STABLE
) -> PinnedRelease:
    """What the lock says of a release."""
    pins = {name: Pin(len(content), sha512(content)) for name, content in contents.items()}
    return PinnedRelease(stream, version, KEY if at else OPERATOR, at, MappingProxyType(pins))


def locked(*releases: PinnedRelease) -> Lock:
    """A lock of these."""
    return Lock.of(releases)


_NAMES: Final = st.text("abcXYZ019._-", min_size=1, max_size=12)
_HEX: Final = st.binary(min_size=64, max_size=64).map(bytes.hex)
_KEYS: Final = st.binary(min_size=20, max_size=20).map(lambda raw: raw.hex().upper())
TIMES: Final = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
)
NUMBERS: Final = st.integers(0, 10**17)
VERSIONS: Final = st.one_of(
    st.lists(NUMBERS, min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts))),
    st.builds(lambda n, w, m: f"{n}.{w}{m}", NUMBERS, st.sampled_from(["rc", "beta", "alpha", "b"]), NUMBERS),
    st.text("0123456789.-+abrc", min_size=1, max_size=10),
).filter(is_version)
STREAMS: Final = st.builds(
    Stream, st.sampled_from(sorted(OSES)), _NAMES.filter(is_stream_name), st.sampled_from(ARCHITECTURES)
)
FILE_NAMES: Final = st.text("abcXYZ019._+-", min_size=1, max_size=20).filter(is_file_name)
_PINS: Final = st.dictionaries(
    FILE_NAMES, st.builds(Pin, st.integers(0, 2**50), _HEX), min_size=1, max_size=3
).map(MappingProxyType)
PINNED: Final = st.builds(
    PinnedRelease,
    STREAMS,
    VERSIONS,
    st.one_of(_KEYS, st.just(OPERATOR)),
    st.one_of(st.none(), TIMES),
    _PINS,
)
LOCKS: Final = st.lists(PINNED, max_size=5, unique_by=lambda r: (r.stream, r.version)).map(Lock.of)
STORED_FILES: Final = st.builds(
    StoredFile,
    FILE_NAMES,
    st.sampled_from(Role),
    st.integers(0, 2**50),
    _HEX,
    st.text(max_size=20),
    st.one_of(_KEYS, st.just("")),
    st.one_of(_KEYS, st.just("")),
    st.one_of(st.none(), TIMES),
)
STORED: Final = st.builds(
    StoredRelease,
    STREAMS,
    VERSIONS,
    st.lists(STORED_FILES, min_size=1, max_size=3, unique_by=lambda f: f.name).map(tuple),
    TIMES,
    st.dictionaries(FILE_NAMES, st.binary(max_size=50), max_size=2).map(MappingProxyType),
    st.lists(st.binary(max_size=50), max_size=2).map(tuple),
)

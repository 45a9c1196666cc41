"""The store's nouns: streams, versions, artefacts, releases. Frozen values; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from appliance.image_ref import ARCHITECTURES, ImageRef

MIB: Final = 2**20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,126}", re.ASCII)
_STREAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9._+-]{0,62}", re.ASCII)
_ZERO: Final = (1, 0, "")
_PARTS: Final = re.compile(r"[0-9]+|[A-Za-z]+", re.ASCII)


class Role(StrEnum):
    """What a file of a release is to a machine that boots."""

    KERNEL = "kernel"
    INITRD = "initrd"
    ROOTFS = "rootfs"  # fetched by the initrd itself
    BOOT_FILE = "boot-file"  # a first stage: iPXE
    ARCHIVE = "archive"  # what other files were unpacked from


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """One train of releases, of which one is current: an operating system's stream for an architecture."""

    os: str
    name: str
    arch: str = "amd64"

    @property
    def folder(self) -> PurePosixPath:
        """Where it stands below images/ and below /assets/: `flatcar/stable`, `flatcar/stable/arm64`."""
        folder = PurePosixPath(self.os, self.name)
        return folder if self.arch == "amd64" else folder / self.arch

    @property
    def image(self) -> str:
        """As an operator asks for it, whatever the architecture."""
        return f"{self.os}/{self.name}"

    def __str__(self) -> str:
        return self.image if self.arch == "amd64" else f"{self.image} ({self.arch})"

    @classmethod
    def of(cls, ref: ImageRef, arch: str | None = None) -> Stream:
        """The stream of a reference."""
        return cls(ref.os, ref.stream, arch or "amd64")


def is_version(text: str) -> bool:
    """Whether `text` can be a version in the store: it begins with a digit, and is one path component."""
    return bool(_VERSION.fullmatch(text)) and ".." not in text


def is_file_name(text: str) -> bool:
    """Whether `text` can be the name of a file in the store."""
    return bool(_NAME.fullmatch(text)) and text != RECORD


def is_stream_name(text: str) -> bool:
    """Whether `text` can be the name of a stream: one path component that is no architecture's."""
    return bool(_STREAM.fullmatch(text)) and ".." not in text and text not in {*ARCHITECTURES, "current"}


RECORD: Final = "release.json"  # beside a release's files: where they came from and what proved them


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as people read them: numbers as numbers, `1.2.0-rc1` before `1.2.0`, which is `1.2`."""
    parts: list[tuple[int, int, str]] = []
    for part in (*_PARTS.findall(version), ""):
        while not part.isdigit() and parts and parts[-1] == _ZERO:
            parts.pop()  # in front of a word or of the end, a zero says nothing
        parts.append((1, int(part), "") if part.isdigit() else (-1 if part else 0, 0, part.lower()))
    return tuple(parts)


def older(version: str, than: str) -> bool:
    """Whether a version is lower than another."""
    return version_key(version) < version_key(than)


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file that a release consists of, and where its proof is.

    `cap` bounds its size in bytes. `signature` is a detached OpenPGP signature over the file. `digests` is a
    clearsigned list with its SHA-512, where the project publishes one: then nothing has to be read twice.
    `sha256` comes from metadata that nobody signed: it finds damage early and proves nothing. `expected` is a
    digest that an operator gave, or the lock: SHA-256 or SHA-512 in hex by its length.
    """

    name: str
    role: Role
    url: str
    cap: int
    signature: str | None = None
    digests: str | None = None
    sha256: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """A release as its source describes it: nothing of it is proven yet.

    `evidence` holds the documents that say so, by name, to be kept beside the files.
    """

    stream: Stream
    version: str
    artefacts: tuple[Artefact, ...]
    evidence: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a published release: its size, its SHA-512, who signed it when, where it came from.

    `signer` is the fingerprint of the primary key, `subkey` the one that signed; both are empty when an
    operator vouched for the file.
    """

    name: str
    role: Role
    size: int
    sha512: str
    url: str = ""
    signer: str = ""
    subkey: str = ""
    signed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A published release, as its record tells."""

    stream: Stream
    version: str
    files: tuple[StoredFile, ...]
    fetched_at: datetime
    evidence: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    certificates: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """All its files, in bytes."""
        return sum(f.size for f in self.files)

    @property
    def signer(self) -> str:
        """The primary key that signed it; `operator` when an operator vouched for it."""
        return next((f.signer for f in self.files if f.signer), OPERATOR)

    @property
    def signed_at(self) -> datetime | None:
        """When the first of its files was signed."""
        return min((f.signed_at for f in self.files if f.signed_at), default=None)

    def file(self, name: str) -> StoredFile | None:
        """The file of that name, or of the role that the name stands for (`kernel`, `rootfs.img`)."""
        found = next((f for f in self.files if f.name == name), None)
        if found is None and name in ALIASES:
            return next((f for f in self.files if f.role is ALIASES[name]), None)
        return found


OPERATOR: Final = "operator"
# Names that stay the same from release to release, for projects that put the version into theirs.
ALIASES: Final[Mapping[str, Role]] = MappingProxyType(
    {"kernel": Role.KERNEL, "initramfs.img": Role.INITRD, "rootfs.img": Role.ROOTFS}
)


@dataclass(frozen=True, slots=True)
class AssetPath:
    """A path below /assets/ that leads into the store; `version` None follows the current one."""

    stream: Stream
    version: str | None
    file: str


def parse_asset_path(path: str, oses: frozenset[str]) -> AssetPath | None:
    """Read `OS/STREAM[/ARCH][/VERSION|/current]/FILE` (without /assets/); None when it is something else."""
    match path.removeprefix("/assets/").split("/"):
        case [os, name, *rest] if os in oses and rest and is_stream_name(name):
            arch = rest.pop(0) if rest[0] in ARCHITECTURES else "amd64"
            match rest:
                case [file] | ["current", file] if is_file_name(file):
                    return AssetPath(Stream(os, name, arch), None, file)
                case [version, file] if is_version(version) and is_file_name(file):
                    return AssetPath(Stream(os, name, arch), version, file)
    return None


def release_name(stream: Stream, version: str) -> str:
    """A release in a word, as events and listings name it: `flatcar/stable@4593.2.5`."""
    return f"{stream.folder}@{version}"


def parse_release(name: str) -> tuple[Stream, str] | None:
    """Read what `release_name` wrote; None when it is something else."""
    folder, _, version = name.partition("@")
    match folder.split("/"):
        case [os, stream] if is_version(version):
            return Stream(os, stream), version
        case [os, stream, arch] if is_version(version) and arch in ARCHITECTURES:
            return Stream(os, stream, arch), version
    return None

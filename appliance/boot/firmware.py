"""Which firmware is asking, and which iPXE binary it is given. Pure: bytes of binaries stay elsewhere.

A firmware names itself in DHCP option 93 (RFC 4578 section 2.1; values assigned by IANA as "Processor
Architecture Types") and says in option 60 whether it wants PXE or HTTP boot (UEFI 2.5 section 23.7).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Transport(StrEnum):
    """What option 60 begins with."""

    PXE = "PXEClient"
    HTTP = "HTTPClient"


@dataclass(frozen=True, slots=True, order=True)
class ClientClass:
    """A kind of firmware: its number in option 93, how it loads, what people call it."""

    arch: int
    transport: Transport
    name: str

    @property
    def words(self) -> str:
        """For people: `arm64 UEFI (11)`."""
        return f"{self.name} ({self.arch})"

    @property
    def tag(self) -> str:
        """The dnsmasq tag that a first-stage request of this class carries."""
        return f"b-{self.arch}"


BIOS: Final = ClientClass(0, Transport.PXE, "BIOS")
CLASSES: Final = (
    BIOS,
    ClientClass(6, Transport.PXE, "IA32 UEFI"),
    ClientClass(7, Transport.PXE, "x86-64 UEFI"),
    ClientClass(9, Transport.PXE, "x86-64 UEFI"),
    ClientClass(11, Transport.PXE, "arm64 UEFI"),
    ClientClass(16, Transport.HTTP, "x86-64 UEFI HTTP"),
    ClientClass(19, Transport.HTTP, "arm64 UEFI HTTP"),
)
BY_ARCH: Final[Mapping[int, ClientClass]] = MappingProxyType({c.arch: c for c in CLASSES})
# A firmware of a class that is not in the table carries this tag.
OTHER_TAG: Final = "b-other"
# Machines that boot from their disk: they get an address, no boot file.
DISK_TAG: Final = "disk"
# What UEFI HTTP boot is pointed to instead: below /assets/ipxe/, where no such file is.
DISK_FILE: Final = "boot-from-the-disk"

# Seen in the field or assigned by IANA, not served: only named, so that a refusal can be read.
_ONLY_NAMED: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "NEC PC-98",
        2: "Itanium EFI",
        5: "Intel lean client",
        8: "XScale EFI",
        10: "arm32 UEFI",
        12: "PowerPC Open Firmware",
        14: "POWER OPAL",
        15: "IA32 UEFI HTTP",
        17: "EFI byte code HTTP",
        18: "arm32 UEFI HTTP",
        20: "BIOS HTTP",
        21: "arm32 U-Boot",
        22: "arm64 U-Boot",
        27: "riscv64 UEFI",
        28: "riscv64 UEFI HTTP",
        39: "loongarch64 UEFI",
        40: "loongarch64 UEFI HTTP",
        41: "Raspberry Pi boot ROM",
    }
)
_VENDOR_CLASS: Final = re.compile(r"(PXEClient|HTTPClient)(?::Arch:([0-9]{5})(?![0-9]))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asking:
    """What a vendor class says; `arch` is None when it names none."""

    transport: Transport
    arch: int | None

    @property
    def words(self) -> str:
        """The client class for people, known or not."""
        return class_words(self.arch, self.transport)


def read_vendor_class(text: str) -> Asking | None:
    """Read option 60 as in `PXEClient:Arch:00007:UNDI:003016`; None when it is no firmware's."""
    found = _VENDOR_CLASS.match(text)
    if not found:
        return None
    transport = Transport(found[1])
    if found[2] is not None:
        return Asking(transport, int(found[2]))
    # PXE 2.1 predates option 93: a ROM that names no architecture is a PC BIOS.
    return Asking(transport, BIOS.arch if transport is Transport.PXE else None)


def class_words(arch: int | None, transport: Transport = Transport.PXE) -> str:
    """How people call an option-93 value; unknown ones keep their number."""
    if arch is None:
        return f"{transport.value} without an architecture"
    if arch in BY_ARCH:
        return BY_ARCH[arch].words
    return f"{_ONLY_NAMED.get(arch, 'unassigned')} ({arch})"


@dataclass(frozen=True, slots=True)
class Binary:
    """An iPXE binary as the manifest knows it.

    `file` is its name under the TFTP root and /assets/ipxe/; `paths` are the places a distribution or an
    operator may have put it, best first; `digests` gives the SHA-256 by package version; `install` says
    how to get it.
    """

    file: str
    paths: tuple[str, ...]
    digests: Mapping[str, str]
    install: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All binaries by file name, and for each option-93 value the files that serve it, best first."""

    binaries: Mapping[str, Binary]
    serves: Mapping[int, tuple[str, ...]]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every place worth looking at."""
        return tuple(dict.fromkeys(path for binary in self.binaries.values() for path in binary.paths))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The binary a client class gets. `release` is the package version it is known from, None if unknown."""

    client: ClientClass
    file: str
    path: str
    sha256: str
    release: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """A client class that is refused: why, and what would change that."""

    client: ClientClass
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Selection:
    """For each client class of the table, by option-93 value: its binary, or why there is none."""

    served: Mapping[int, Chosen]
    missing: Mapping[int, Missing]

    @property
    def binaries(self) -> tuple[Chosen, ...]:
        """What has to be published, each file once, sorted by name."""
        by_file = {chosen.file: chosen for chosen in self.served.values()}
        return tuple(by_file[name] for name in sorted(by_file))

    @property
    def boot_files(self) -> Mapping[int, str]:
        """The published file name by option-93 value."""
        return MappingProxyType({arch: chosen.file for arch, chosen in sorted(self.served.items())})


def parse_manifest(text: str) -> Manifest:
    """Read `tftpboot/manifest.toml`.

    Raises:
        ValueError: when the shipped file is damaged; says where.
    """
    raw = tomllib.loads(text)
    binaries = {file: _binary(file, entry) for file, entry in _table(raw, "binary").items()}
    serves: dict[int, tuple[str, ...]] = {}
    for arch, files in _table(raw, "class").items():
        if not arch.isdecimal() or int(arch) not in BY_ARCH:
            raise ValueError(f"manifest: class.{arch} is no client class of ours")
        serves[int(arch)] = _strings(f"class.{arch}", files)
        if unknown := set(serves[int(arch)]) - set(binaries):
            raise ValueError(f"manifest: class.{arch} names {', '.join(sorted(unknown))}, which is no binary")
    if absent := set(BY_ARCH) - set(serves):
        raise ValueError(f"manifest: no word about client class {', '.join(map(str, sorted(absent)))}")
    return Manifest(MappingProxyType(binaries), MappingProxyType(dict(sorted(serves.items()))))


def choose(manifest: Manifest, found: Mapping[str, str]) -> Selection:
    """Decide what each client class gets from the binaries that are there.

    Args:
        manifest: what could be served.
        found: SHA-256 in hex by path, for every path of the manifest that holds a plain file.
    """
    served: dict[int, Chosen] = {}
    missing: dict[int, Missing] = {}
    for arch, files in manifest.serves.items():
        client = BY_ARCH[arch]
        candidates = [manifest.binaries[file] for file in files]
        places = [(binary, path) for binary in candidates for path in binary.paths if path in found]
        if places:
            binary, path = places[0]
            served[arch] = Chosen(client, binary.file, path, found[path], _release(binary, found[path]))
        else:
            missing[arch] = Missing(client, f"no {' or '.join(files)} on this host", candidates[0].install)
    return Selection(MappingProxyType(served), MappingProxyType(missing))


def _release(binary: Binary, sha256: str) -> str | None:
    return next((version for version, known in binary.digests.items() if known == sha256), None)


def _table(raw: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"manifest: {key} should be a table")
    return value


def _strings(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError(f"manifest: {where} should be a list of strings, not empty")
    return tuple(value)


def _binary(file: str, entry: object) -> Binary:
    where = f"binary.{file}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", file) or not isinstance(entry, dict):
        raise ValueError(f"manifest: {where} should be a table under a plain file name")
    install = entry.get("install")
    if not isinstance(install, str) or not install:
        raise ValueError(f"manifest: {where}.install should say how to get the file")
    digests = _table(entry, "sha256")
    for version, digest in digests.items():
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"manifest: {where}.sha256 of {version} is not a SHA-256 in hex")
    known = {version: str(digest) for version, digest in digests.items()}
    return Binary(file, _strings(f"{where}.paths", entry.get("paths")), MappingProxyType(known), install)

"""Judges first stages: which classes have one, whether it is published, what Secure Boot wants. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.boot.firmware import BIOS, CLASSES, Selection
from appliance.doctor.finding import Finding, doubtful, fine, wrong
from appliance.inventory.model import Inventory

_PC: Final = (0, 7, 9, 16)
_ARCH_CLASSES: Final[Mapping[str, tuple[int, ...]]] = {"arm64": (11, 19), "amd64": (7, 9, 16)}
_SECURITY: Final = 4  # the certificate table's place among the data directories (PE/COFF 3.4.3)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is there: the choice for each class, digests of the TFTP root by name, and shims.

    `wanted` has the digests that the root should have; None before the first sync. `signed` says of each
    EFI binary, by file name, whether it carries a signature; `shims` are paths.
    """

    selection: Selection
    published: Mapping[str, str] = field(default_factory=dict)
    wanted: Mapping[str, str] | None = None
    signed: Mapping[str, bool] = field(default_factory=dict)
    shims: tuple[str, ...] = ()
    root: str = ""


def judge_boot_files(shelf: Shelf, inventory: Inventory | None) -> Iterator[Finding]:
    """Class by class."""
    yield _judge_pcs(shelf.selection)
    yield _judge_architectures(shelf.selection, inventory)
    if shelf.wanted is not None:
        yield _judge_published(shelf, shelf.wanted)
    yield _judge_secure_boot(shelf)


def _refused(selection: Selection) -> list[str]:
    return [
        f"refused: {m.client.words}: {m.reason}; {m.remedy}" for _, m in sorted(selection.missing.items())
    ]


def _judge_pcs(selection: Selection) -> Finding:
    served = [
        f"{c.client.words}: {c.file} ({c.release or 'of an unknown version'})"
        for c in selection.served.values()
    ]
    missing = [selection.missing[arch] for arch in _PC if arch in selection.missing]
    seen = (*served, *_refused(selection))
    if not missing:
        return fine("boot-files", f"{len(served)} of {len(CLASSES)} client classes have a first stage", *seen)
    words = f"{missing[0].client.words} gets no boot file: {missing[0].reason}"
    found = wrong if missing[0].client is BIOS or len(missing) > 1 else doubtful
    return found("boot-files", words, missing[0].remedy, *seen)


def _judge_architectures(selection: Selection, inventory: Inventory | None) -> Finding:
    wanted: dict[str, list[str]] = {}
    for machine in inventory.machines if inventory else ():
        wanted.setdefault(machine.arch or "amd64", []).append(str(machine.name))
    for arch, names in sorted(wanted.items()):
        gone = [selection.missing[c] for c in _ARCH_CLASSES.get(arch, ()) if c in selection.missing]
        if gone and len(gone) == len(_ARCH_CLASSES[arch]):
            words = f"{len(names)} machines are {arch}, and {gone[0].reason}: they get no boot file"
            return wrong("boot-arch", words, gone[0].remedy, ", ".join(names[:10]), *_refused(selection))
    counts = ", ".join(f"{len(names)} {arch}" for arch, names in sorted(wanted.items())) or "no machines"
    return fine("boot-arch", "every architecture of the inventory can boot", counts)


def _judge_published(shelf: Shelf, wanted: Mapping[str, str]) -> Finding:
    missing = sorted(set(wanted) - set(shelf.published))
    other = sorted(n for n in wanted if n in shelf.published and shelf.published[n] != wanted[n])
    if not missing and not other:
        return fine("boot-published", f"{shelf.root} has all {len(wanted)} files", ", ".join(sorted(wanted)))
    first = (missing or other)[0]
    what = "is missing in" if missing else "is not the one that belongs in"
    seen = [f"{n}: missing" for n in missing]
    seen += [f"{n}: sha256 {shelf.published[n][:16]}…, {wanted[n][:16]}… is expected" for n in other]
    return wrong("boot-published", f"{first} {what} {shelf.root}", "pxe-appliance sync", *seen)


def _judge_secure_boot(shelf: Shelf) -> Finding:
    unsigned = sorted(name for name, signed in shelf.signed.items() if not signed)
    seen = [
        f"{name}: {'signed' if signed else 'not signed'}" for name, signed in sorted(shelf.signed.items())
    ]
    if shelf.shims and unsigned:
        words = f"there is a shim, and {unsigned[0]} is not signed: with Secure Boot on, it does not start"
        fix = "put signed builds in /usr/local/lib/ipxe/, or turn Secure Boot off in the firmware"
        return doubtful("secure-boot", words, fix, *shelf.shims, *seen)
    if unsigned:
        words = "first stages are not signed: machines with Secure Boot on refuse them"
        return fine("secure-boot", words, *seen)
    words = "all first stages for UEFI are signed" if seen else "no first stage for UEFI is published yet"
    return fine("secure-boot", words, *shelf.shims, *seen)


def is_signed(content: bytes) -> bool:
    """Whether a PE binary carries an Authenticode signature; a file that is none of the kind does not."""
    try:
        (header,) = struct.unpack_from("<I", content, 0x3C)
        if content[:2] != b"MZ" or content[header : header + 4] != b"PE\0\0":
            return False
        (magic,) = struct.unpack_from("<H", content, header + 24)
        directories = header + 24 + (112 if magic == 0x20B else 96)
        offset, size = struct.unpack_from("<II", content, directories + 8 * _SECURITY)
    except struct.error:
        return False
    return bool(offset and size)

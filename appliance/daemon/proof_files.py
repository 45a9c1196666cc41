"""Whether the first bytes of what a machine loads can be what they should be. Pure.

A kernel is known by its magic, an initrd by its archive's or its compression's. What is neither known good
nor known bad is said and not failed: there are more formats than these.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HEAD: Final = 4096  # bytes that are looked at
# Linux x86 boot protocol, Documentation/arch/x86/boot.rst.
_SETUP_SECTS, _SYSSIZE, _MAGIC = 0x1F1, 0x1F4, 0x202
_PE_AT: Final = 0x3C
_PE_MACHINES: Final[Mapping[int, str]] = {0x8664: "amd64", 0xAA64: "arm64", 0x14C: "i386"}
_ARM64_MAGIC: Final = slice(0x38, 0x3C)
_WEB_PAGE: Final = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_LFS: Final = b"version https://git-lfs"
_PACKED: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x5d\0\0": "lzma",
    b"\x89LZO": "lzo",
}
_CPIO: Final = (b"070701", b"070702", b"070707", b"\xc7\x71", b"\x71\xc7")
_OTHERS: Final[Mapping[bytes, str]] = {
    b"hsqs": "squashfs",
    b"PK\x03\x04": "zip",
    b"!<arch>": "a Debian package",
    b"\xed\xab\xee\xdb": "an RPM package",
}


@dataclass(frozen=True, slots=True)
class Looks:
    """What some first bytes are. `bad`: why they cannot be meant; `arch`: whose code, where that is told."""

    said: str
    bad: str = ""
    arch: str = ""
    least: int = 0  # bytes that the file has to have by its own header


def kernel_looks(head: bytes) -> Looks:
    """What a kernel's first bytes are."""
    if bad := _cannot_be_meant(head):
        return Looks(bad, bad)
    if head.startswith(b"#!ipxe"):
        return Looks("an iPXE script")
    pe = _pe_machine(head)
    if head[_MAGIC : _MAGIC + 4] == b"HdrS":
        (size,) = struct.unpack_from("<I", head, _SYSSIZE)
        least = ((head[_SETUP_SECTS] or 4) + 1) * 512 + size * 16
        return Looks("a Linux kernel (bzImage)", arch=pe, least=least)
    if head[_ARM64_MAGIC] == b"ARM\x64":
        return Looks("a Linux kernel for arm64 (Image)", arch="arm64")
    if head.startswith(b"MZ"):
        return Looks("an EFI program", arch=pe)
    if head.startswith(b"\x7fELF"):
        return Looks("an ELF program")
    for magic, name in {**_PACKED, **_OTHERS, **dict.fromkeys(_CPIO, "cpio")}.items():
        if head.startswith(magic):
            return Looks(name, f"it is {name}, which no boot loader starts: initrd in place of the kernel?")
    if text := _text(head):
        return Looks("text", f"it is text that begins with {text!r}")
    return Looks(f"of a kind that is not known here (it begins with {head[:4].hex(' ')})")


def initrd_looks(head: bytes) -> Looks:
    """What an initrd's first bytes are."""
    if bad := _cannot_be_meant(head):
        return Looks(bad, bad)
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            return Looks(f"packed by {name}")
    if head.startswith(_CPIO):
        return Looks("a cpio archive")
    if head[_MAGIC : _MAGIC + 4] == b"HdrS":
        return Looks("a kernel", "it is a Linux kernel: kernel in place of the initrd?")
    if text := _text(head):
        return Looks("text", f"it is text that begins with {text!r}")
    return Looks(f"of a kind that is not known here (it begins with {head[:4].hex(' ')})")


def ignition_fault(body: bytes) -> str:
    """Why a document is no Ignition; empty when it is one."""
    if _WEB_PAGE.match(body):
        return "it is a web page"
    if not body:
        return "it is empty"
    try:
        found = json.loads(body)
    except ValueError as error:
        return f"it is not JSON: {error}"
    except RecursionError:
        return "it is nested too deeply"
    head = found.get("ignition") if isinstance(found, dict) else None
    if not isinstance(head, dict):
        return "it has no object named ignition"
    version = head.get("version")
    if not isinstance(version, str) or not version:
        return "it names no version: Ignition would do nothing with it"
    return ""


def ignition_version(body: bytes) -> str:
    """The version of a document without a fault."""
    return str(json.loads(body)["ignition"]["version"])


def _cannot_be_meant(head: bytes) -> str:
    if not head:
        return "it is empty"
    if _WEB_PAGE.match(head):
        return "it is a web page: is there a proxy, a login or an error page in front of it?"
    if head.startswith(_LFS):
        return "it is a pointer of Git LFS, not the file"
    if len(head) >= 64 and not head.strip(b"\0"):
        return "it is all zeros"
    return ""


def _pe_machine(head: bytes) -> str:
    if not head.startswith(b"MZ") or len(head) < _PE_AT + 4:
        return ""
    (at,) = struct.unpack_from("<I", head, _PE_AT)
    if at + 6 > len(head) or head[at : at + 4] != b"PE\0\0":
        return ""
    (machine,) = struct.unpack_from("<H", head, at + 4)
    return _PE_MACHINES.get(machine, "")


def _text(head: bytes) -> str:
    """The beginning of what is text to its end; empty for anything else."""
    sample = head[:256]
    if not all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in sample):
        return ""
    return sample[:40].decode("ascii").strip().partition("\n")[0] or "blanks"

"""iPXE's release: one archive with a binary for every firmware. Pure.

The project attaches neither signature nor checksum to it (v2.0.0), so the archive is proven by a mirror's own
signature (`keys` in the settings) or by a digest that the operator gives. Never boot.ipxe.org: that is every
build of the day, and its Secure Boot binaries bear a throw-away signature (ipxe#1825).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.images.model import Artefact, ReleasePlan, Role, Stream
from appliance.images.source import ARCHIVE_CAP, Ask, Index

ARCHIVE: Final = "ipxeboot.tar.gz"
CURRENT: Final = "2.0.0"  # of 2026-03-06, the first since 1.21.1
# What is taken out of the archive, under the names by which client classes are served.
MEMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ipxeboot/i386/undionly.kpxe": "undionly.kpxe",
        "ipxeboot/i386/ipxe.pxe": "ipxe.pxe",
        "ipxeboot/x86_64/snponly.efi": "snponly.efi",
        "ipxeboot/x86_64/ipxe.efi": "ipxe.efi",
        "ipxeboot/i386/snponly.efi": "snponly-i386.efi",
        "ipxeboot/i386/ipxe.efi": "ipxe-i386.efi",
        "ipxeboot/arm64/snponly.efi": "snponly-arm64.efi",
        "ipxeboot/arm64/ipxe.efi": "ipxe-arm64.efi",
    }
)
NEEDED: Final = frozenset({"undionly.kpxe", "snponly.efi", "ipxe.efi"})  # no rack boots without these


@dataclass(frozen=True, slots=True)
class Ipxe:
    """The project."""

    base: str = "https://github.com/ipxe/ipxe/releases/download"
    pins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    key_url: str = ""

    def channel(self, stream: Stream) -> str:
        """The stream itself."""
        return stream.name

    def index(self, ask: Ask) -> Index | None:
        """There is none: releases are years apart, and the current one is known."""
        del ask
        return None

    def plan(self, ask: Ask, document: bytes | None) -> ReleasePlan:
        """The archive of a version."""
        del document
        version = (ask.version or CURRENT).removeprefix("v")
        url = f"{ask.base}/v{version}/{ARCHIVE}"
        artefact = Artefact(ARCHIVE, Role.ARCHIVE, url, ARCHIVE_CAP, signature=f"{url}.sig")
        return ReleasePlan(ask.stream, version, (artefact,))

    def foreign_number(self, stream: Stream, version: str) -> str | None:
        """There is one stream."""
        del stream, version
        return None


IPXE_SOURCE: Final = Ipxe()

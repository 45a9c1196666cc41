"""Flatcar and the retired CoreOS Container Linux: one layout, two names. Pure.

    BASE/BOARD/VERSION/{version.txt,NAME_production_pxe.vmlinuz,NAME_production_pxe_image.cpio.gz}

with `F.sig` (binary detached signature) and `F.DIGESTS.asc` (clearsigned) beside each file F. `current` is a
version too, and moves while one reads: it is asked for its version once, everything else comes from the
versioned path (a `current` whose signature was of another day's build was seen in the field).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.images.model import Artefact, ReleasePlan, Role, Stream, is_version
from appliance.images.source import INITRD_CAP, KERNEL_CAP, Ask, BootLayout, Index, UnreadableIndex

# Every Flatcar release since 2021 says by its second number of which channel it is.
_FLATCAR_NUMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {"0": "alpha", "1": "beta", "2": "stable", "3": "lts"}
)
_NUMBERED_SINCE: Final = 2765


@dataclass(frozen=True, slots=True)
class CoreOsLayout:
    """One of the two projects."""

    os: str
    base: str
    pins: Mapping[str, str]
    key_url: str
    prefix: str  # of file names
    variable: str  # in version.txt
    numbers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def boot(self) -> BootLayout:
        """How it is booted."""
        word = self.prefix
        return BootLayout(
            f"{word}_production_pxe.vmlinuz",
            (f"{word}_production_pxe_image.cpio.gz",),
            (f"{word}.first_boot=1",),
        )

    def channel(self, stream: Stream) -> str:
        """`lts-2024` lives in the channel `lts`."""
        return stream.name.partition("-")[0]

    def index(self, ask: Ask) -> Index | None:
        """version.txt of what is current; a fixed version needs none."""
        if ask.version is not None:
            return None
        year = ask.stream.name.partition("-")[2]
        url = f"{_board(ask)}/current{'-' if year else ''}{year}/version.txt"
        return Index(url, f"{url}.sig")

    def plan(self, ask: Ask, document: bytes | None) -> ReleasePlan:
        """Kernel and initrd of a version."""
        version = ask.version or self._version(document or b"")
        base = f"{_board(ask)}/{version}"
        files = (
            (self.boot.kernel, Role.KERNEL, KERNEL_CAP),
            *((name, Role.INITRD, INITRD_CAP) for name in self.boot.initrd),
        )
        artefacts = tuple(
            Artefact(
                name,
                role,
                f"{base}/{name}",
                cap,
                signature=f"{base}/{name}.sig",
                digests=f"{base}/{name}.DIGESTS.asc",
            )
            for name, role, cap in files
        )
        return ReleasePlan(ask.stream, version, artefacts)

    def foreign_number(self, stream: Stream, version: str) -> str | None:
        """By the project's numbering of channels."""
        major, _, rest = version.partition(".")
        if not major.isdigit() or int(major) < _NUMBERED_SINCE:
            return None
        says = self.numbers.get(rest.partition(".")[0])
        return says if says is not None and says != self.channel(stream) else None

    def _version(self, document: bytes) -> str:
        pattern = rf'^{self.variable}="?([0-9]+\.[0-9]+\.[0-9]+)"?\r?$'
        found = re.findall(pattern, document.decode("utf-8", "replace"), re.MULTILINE | re.ASCII)
        if len(found) != 1 or not is_version(found[0]):
            raise UnreadableIndex(f"version.txt has no line {self.variable}=X.Y.Z")
        return str(found[0])


def _board(ask: Ask) -> str:
    return f"{ask.base}/{ask.stream.arch}-usr"


FLATCAR: Final = CoreOsLayout(
    os="flatcar",
    base="https://{channel}.release.flatcar-linux.net",
    pins=MappingProxyType({"F88CFEDEFF29A5B4D9523864E25D9AED0593B34A": "Flatcar Buildbot (Official Builds)"}),
    key_url="https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc",
    prefix="flatcar",
    variable="FLATCAR_VERSION",
    numbers=_FLATCAR_NUMBERS,
)
# Gone from the net since 2020: for mirrors that still hold it.
CONTAINER_LINUX: Final = CoreOsLayout(
    os="container-linux",
    base="https://{channel}.release.core-os.net",
    pins=MappingProxyType({"04127D0BFABEC8871FFB2CCE50E0885593D2DCB4": "CoreOS Buildbot (Official Builds)"}),
    key_url="https://coreos.com/security/image-signing-key/CoreOS_Image_Signing_Key.asc",
    prefix="coreos",
    variable="COREOS_VERSION",
)

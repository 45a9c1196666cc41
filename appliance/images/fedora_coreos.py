"""Fedora CoreOS: stream metadata in JSON names every file, its signature and its SHA-256. Pure.

Names are never built here: the kernel of release 42 lost the hyphen that release 41 had, and every tool that
knew names by heart broke. The metadata is not signed; what it says of digests finds damage, and the detached
signature beside each file proves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.images.model import Artefact, ReleasePlan, Role, Stream, is_file_name, is_version
from appliance.images.source import INITRD_CAP, KERNEL_CAP, Ask, BootLayout, Index, UnreadableIndex

_ARCH: Final = MappingProxyType({"amd64": "x86_64", "arm64": "aarch64"})
_PARTS: Final = (("kernel", Role.KERNEL), ("initramfs", Role.INITRD), ("rootfs", Role.ROOTFS))
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
# 44.20260707.3.1: Fedora release, date, stream, build (fedora-coreos-tracker, Design.md, "Version numbers").
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]{8}\.(?P<stream>[0-9]+)\.[0-9]+", re.ASCII)
_STREAM_NUMBERS: Final = MappingProxyType({"1": "next", "2": "testing", "3": "stable"})


# One primary key a Fedora release, made half a year ahead; keys.d/ takes later ones before we know them.
_PINS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "C6E7F081CF80E13146676E88829B606631645531": "Fedora 43",
        "36F612DCF27F7D1A48A835E4DBFCF71C6D9F90A6": "Fedora 44",
        "4F50A6114CD5C6976A7F1179655A4B02F577861E": "Fedora 45",
    }
)


@dataclass(frozen=True, slots=True)
class FedoraCoreOs:
    """The project."""

    base: str = "https://builds.coreos.fedoraproject.org"
    pins: Mapping[str, str] = field(default_factory=lambda: _PINS)
    key_url: str = "https://fedoraproject.org/fedora.gpg"
    boot: BootLayout = BootLayout(
        "kernel",
        ("initramfs.img",),
        ("ignition.firstboot", "ignition.platform.id=metal"),
        rootfs="rootfs.img",
        rootfs_argument="coreos.live.rootfs_url",
    )

    def channel(self, stream: Stream) -> str:
        """The stream itself."""
        return stream.name

    def index(self, ask: Ask) -> Index | None:
        """The stream's metadata, or a fixed build's."""
        if ask.version is None:
            return Index(f"{ask.base}/streams/{ask.stream.name}.json")
        return Index(f"{ask.base}/prod/streams/{ask.stream.name}/builds/{ask.version}/release.json")

    def plan(self, ask: Ask, document: bytes | None) -> ReleasePlan:
        """Kernel, initramfs and rootfs as the metadata names them."""
        root = _object(_json(document or b""), "the metadata")
        if root.get("stream") != ask.stream.name:
            raise UnreadableIndex(f"the metadata is of stream {str(root.get('stream'))[:40]!r}")
        arch = _ARCH[ask.stream.arch]
        of_arch = _object(_step(root, "architectures", arch), f"architecture {arch}")
        if ask.version is None:
            metal = _object(_step(of_arch, "artifacts", "metal"), "artifacts.metal")
            version, parts = metal.get("release"), _step(metal, "formats", "pxe")
        else:
            version, parts = root.get("release"), _step(of_arch, "media", "metal", "artifacts", "pxe")
        if not isinstance(version, str) or not _VERSION.fullmatch(version) or not is_version(version):
            raise UnreadableIndex("the metadata names no release with a version of the form 44.20260707.3.1")
        if ask.version not in (None, version):
            raise UnreadableIndex(f"the metadata is of release {version}")
        artefacts = tuple(self._artefact(ask, _object(parts, "pxe"), name, role) for name, role in _PARTS)
        if len({a.name for a in artefacts}) != len(artefacts):
            raise UnreadableIndex("the metadata gives two files one name")
        return ReleasePlan(ask.stream, version, artefacts)

    def foreign_number(self, stream: Stream, version: str) -> str | None:
        """By the third part of the version."""
        found = _VERSION.fullmatch(version)
        says = _STREAM_NUMBERS.get(found["stream"]) if found else None
        return says if says is not None and says != stream.name else None

    def _artefact(self, ask: Ask, parts: Mapping[str, object], name: str, role: Role) -> Artefact:
        facts = _object(parts.get(name), f"pxe.{name}")
        location, signature, sha256 = (facts.get(k) for k in ("location", "signature", "sha256"))
        if not isinstance(location, str) or not isinstance(signature, str) or not isinstance(sha256, str):
            raise UnreadableIndex(f"pxe.{name} lacks location, signature or sha256")
        if not _SHA256.fullmatch(sha256):
            raise UnreadableIndex(f"pxe.{name}.sha256 is not a SHA-256 in hex")
        url = self._here(ask, location)
        file = url.rpartition("/")[2]
        if not is_file_name(file):
            raise UnreadableIndex(f"pxe.{name}.location ends in no file name")
        cap = KERNEL_CAP if role is Role.KERNEL else INITRD_CAP
        return Artefact(file, role, url, cap, signature=self._here(ask, signature), sha256=sha256)

    def _here(self, ask: Ask, url: str) -> str:
        """The URL below the base that was asked: metadata must not send us to a host of its own choice."""
        for base in (ask.base, self.base):
            if url.startswith(f"{base}/") and ".." not in url and not set(url) & set("?#%\\ "):
                return f"{ask.base}{url.removeprefix(base)}"
        raise UnreadableIndex(f"the metadata leads to another server: {url[:100]!r}")


def _json(document: bytes) -> object:
    try:
        value: object = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise UnreadableIndex("the metadata is not JSON") from error
    return value


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise UnreadableIndex(f"the metadata has no {what}")
    return value


def _step(value: Mapping[str, object], *keys: str) -> object:
    found: object = value
    for key in keys:
        found = _object(found, ".".join(keys)).get(key)
    return found


FEDORA_COREOS: Final = FedoraCoreOs()

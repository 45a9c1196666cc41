"""How an image is named: `os/stream[@version]`, and for which processors. Pure.

The inventory names images, the image store keeps them, the command line asks for them: one spelling for all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from appliance.reading import Unfit, nearest, shown

# What an operator can ask for by `os/stream`; `local/NAME` is an image that was put there by hand.
STREAMS: Final = {
    "flatcar": ("stable", "beta", "alpha", "lts"),
    "fedora-coreos": ("stable", "testing", "next"),
    "container-linux": ("stable", "beta", "alpha"),
    "ipxe": ("stable",),
}
LOCAL: Final = "local"
CURRENT: Final = "current"
IPXE: Final = "ipxe"
ARCHITECTURES: Final = ("amd64", "arm64")
VERSION: Final = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}"
_IMAGE: Final = re.compile(
    rf"(?P<os>[a-z][a-z-]{{0,31}})/(?P<stream>[A-Za-z0-9][A-Za-z0-9._-]{{0,62}})(?:@(?P<version>{VERSION}))?",
    re.ASCII,
)
_YEAR: Final = re.compile(r"lts-20[0-9]{2}", re.ASCII)  # a frozen LTS line: current-YEAR on the server
PLAIN_PATTERN: Final = re.sub(r"\?P<\w+>", "?:", _IMAGE.pattern)  # JSON Schema has no named groups
HINT: Final = "write os/stream[@version], such as flatcar/stable, or local/NAME"


@dataclass(frozen=True, slots=True, order=True)
class ImageRef:
    """`os/stream[@version]` of the image store; no version means the stream's current one."""

    os: str
    stream: str
    version: str | None = None

    def __str__(self) -> str:
        tail = f"@{self.version}" if self.version else ""
        return f"{self.os}/{self.stream}{tail}"


def parse_ref(raw: str) -> ImageRef:
    """`os/stream[@version]` of a known os and stream, iPXE included; otherwise ValueError says why."""
    found = _IMAGE.fullmatch(raw)
    if not found or ".." in raw:
        raise Unfit(f"{shown(raw)} is not an image", HINT)
    os, stream = found["os"], found["stream"]
    if os != LOCAL and os not in STREAMS:
        near = nearest(os, STREAMS)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(STREAMS)} and {LOCAL}"
        raise Unfit(f"{os!r} in {shown(raw)} is no operating system we have images of", hint)
    if os != LOCAL and stream not in STREAMS[os] and not (os == "flatcar" and _YEAR.fullmatch(stream)):
        hint = f"it has {', '.join(STREAMS[os])}"
        raise Unfit(f"{stream!r} in {shown(raw)} is no stream of {os}", hint)
    if stream in ARCHITECTURES or stream == CURRENT:
        raise Unfit(f"{stream!r} in {shown(raw)} cannot be the name of an image", "choose another name")
    version = found["version"]
    if version == CURRENT:
        version = None  # what no version means, too
    if version is not None and not version.removeprefix("v")[:1].isdigit():
        raise Unfit(f"{version!r} in {shown(raw)} is no version", "a version begins with a digit")
    return ImageRef(os, stream, version)


def parse_image(raw: str) -> ImageRef:
    """As `parse_ref`, for what a machine can boot: iPXE is a first stage and no image of a profile."""
    ref = parse_ref(raw)
    if ref.os == IPXE:
        raise Unfit(
            f"{shown(raw)} is a boot loader, not what a profile boots", "machines get iPXE by themselves"
        )
    return ref

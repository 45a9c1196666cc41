"""Every source we know, and what a machine needs to boot what it publishes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.image_ref import IPXE, LOCAL, STREAMS
from appliance.images.coreos_layout import CONTAINER_LINUX, FLATCAR
from appliance.images.fedora_coreos import FEDORA_COREOS
from appliance.images.ipxe import IPXE_SOURCE
from appliance.images.local import LOCAL_SOURCE
from appliance.images.model import Stream
from appliance.images.source import Ask, BootLayout, Source
from appliance.settings import ImageSettings

SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "flatcar": FLATCAR,
        "fedora-coreos": FEDORA_COREOS,
        "container-linux": CONTAINER_LINUX,
        IPXE: IPXE_SOURCE,
    }
)
LAYOUTS: Final[Mapping[str, BootLayout]] = MappingProxyType(
    {
        "flatcar": FLATCAR.boot,
        "fedora-coreos": FEDORA_COREOS.boot,
        "container-linux": CONTAINER_LINUX.boot,
        LOCAL: LOCAL_SOURCE.boot,
    }
)
OSES: Final = frozenset((*STREAMS, LOCAL))
# Where a project's binaries exist at all: CoreOS was built for amd64 only; iPXE's archive holds all of them.
ARCHITECTURES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"container-linux": ("amd64",), IPXE: ("amd64",)}
)


def make_ask(stream: Stream, version: str | None, settings: ImageSettings) -> Ask:
    """What to ask a source for, from the mirror in the settings or from the project itself."""
    source = SOURCES[stream.os]
    base = (settings.mirror or source.base).replace("{channel}", source.channel(stream))
    return Ask(stream, version.removeprefix("v") if version else None, base.rstrip("/"))

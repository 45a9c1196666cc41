"""Images that an operator has: a kernel and an initrd in a directory. Pure.

Nobody signs them; whoever puts one into the store vouches for it, and the lock holds it to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.images.model import ReleasePlan, Stream
from appliance.images.source import Ask, BootLayout, Index, UnreadableIndex


@dataclass(frozen=True, slots=True)
class Local:
    """The source that is no project: it publishes nothing, so there is nothing to ask."""

    base: str = ""
    pins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    key_url: str = ""
    boot: BootLayout = BootLayout("vmlinuz", ("initrd.img",))

    def channel(self, stream: Stream) -> str:
        """The image's name."""
        return stream.name

    def index(self, ask: Ask) -> Index | None:
        """There is none."""
        del ask
        return None

    def plan(self, ask: Ask, document: bytes | None) -> ReleasePlan:
        """It cannot be fetched."""
        del document
        raise UnreadableIndex(f"{ask.stream} is a local image: it comes from a directory (--from DIR)")

    def foreign_number(self, stream: Stream, version: str) -> str | None:
        """Its versions are its operator's."""
        del stream, version
        return None


LOCAL_SOURCE: Final = Local()

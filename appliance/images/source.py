"""What an image source is: where it publishes, whose keys sign it, how its documents are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from appliance.images.model import MIB, ReleasePlan, Stream

# Bounds on what a source may send, generous against what it publishes today.
DOCUMENT_CAP: Final = 8 * MIB
SIGNATURE_CAP: Final = 64 * 1024
KERNEL_CAP: Final = 256 * MIB
INITRD_CAP: Final = 4096 * MIB
ARCHIVE_CAP: Final = 256 * MIB


@dataclass(frozen=True, slots=True)
class Ask:
    """Which release is asked for (`version` None: the stream's current one), below which base URL."""

    stream: Stream
    version: str | None
    base: str


@dataclass(frozen=True, slots=True)
class Index:
    """The document that tells what the release is; `signature` is where a detached one over it may stand."""

    url: str
    signature: str | None = None

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class BootLayout:
    """How an operating system is booted from the store: file names that last, and what its kernel is told.

    `rootfs_argument` is the kernel argument that takes the URL of the root file system, where there is one.
    """

    kernel: str
    initrd: tuple[str, ...]
    args: tuple[str, ...] = ()
    rootfs: str = ""
    rootfs_argument: str = ""


class UnreadableIndex(ValueError):
    """A document of a source is not what such documents are; the message says why."""


class Source(Protocol):
    """A project that publishes images."""

    @property
    def base(self) -> str:
        """Its own servers; `{channel}` stands for the stream."""

    @property
    def pins(self) -> Mapping[str, str]:
        """The primary fingerprints that may sign for it, each with what it is."""

    @property
    def key_url(self) -> str:
        """Where the project documents its keys to be."""

    def channel(self, stream: Stream) -> str:
        """What `{channel}` stands for."""

    def index(self, ask: Ask) -> Index | None:
        """The document to read first; None when the version says all."""

    def plan(self, ask: Ask, document: bytes | None) -> ReleasePlan:
        """The release that is described.

        Raises:
            UnreadableIndex: the document is something else, or of another stream, version or architecture.
        """

    def foreign_number(self, stream: Stream, version: str) -> str | None:
        """The stream that a version's number says it is of, when that is another one."""

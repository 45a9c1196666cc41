"""Artefacts that come by hand: from a directory, or out of a bundle. The same questions as to a mirror."""

from __future__ import annotations

import asyncio
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from appliance.errors import SurroundingsError
from appliance.images.fetch import needs_sha256
from appliance.images.intake import Intake, MakeCheck
from appliance.images.model import Artefact
from appliance.images.progress import Watcher
from appliance.images.trust import Case, Untrusted
from appliance.system.acting import acting_for

_PIECE: Final = 2**20


class Shelf(Protocol):
    """Files by name."""

    def size(self, name: str) -> int | None:
        """How large one is; None when it is not there."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Its bytes."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a directory. Links lead nowhere, unless it is an operator's own directory.

    One of the store is read with its owner's rights: what is read is copied to where that owner may read it.
    """

    path: Path
    follow: bool = False

    def size(self, name: str) -> int | None:
        """How large one is."""
        place = self.path / name
        with self._reading():
            there = place.is_file() and (self.follow or not place.is_symlink())
            return place.stat().st_size if there else None

    def pieces(self, name: str) -> Iterator[bytes]:
        """Its bytes."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if self.follow else os.O_NOFOLLOW)
        with self._reading():
            fd = os.open(self.path / name, flags)
        with os.fdopen(fd, "rb") as stream:
            yield from _read(stream)

    def _reading(self) -> AbstractContextManager[None]:
        return acting_for() if self.follow else acting_for(self.path)


@dataclass(frozen=True, slots=True)
class TarFolder:
    """The regular members of one folder of an open tar archive, by name."""

    tar: tarfile.TarFile
    members: Mapping[str, tarfile.TarInfo]
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def size(self, name: str) -> int | None:
        """How large one is."""
        member = self.members.get(name)
        return member.size if member else None

    def pieces(self, name: str) -> Iterator[bytes]:
        """Its bytes."""
        stream = self.tar.extractfile(self.members[name])
        assert stream is not None, "a regular member has content"
        while True:
            with self.turn:  # all members share the archive's one position
                piece = stream.read(_PIECE)
            if not piece:
                return
            yield piece


@dataclass(frozen=True, slots=True)
class CarriedTransport:
    """Evidence that is at hand, artefacts from a shelf."""

    shelf: Shelf
    evidence: Mapping[str, bytes]
    watcher: Watcher

    async def document(self, url: str, cap: int) -> bytes | None:
        """The document of that file name."""
        found = self.evidence.get(url.rpartition("/")[2])
        if found is not None and len(found) > cap:
            raise Untrusted(Case.TOO_LARGE, url, f"it is larger than {cap} bytes")
        return found

    async def size(self, url: str) -> int | None:
        """How large the artefact is."""
        return self.shelf.size(url.rpartition("/")[2])

    async def download(self, artefact: Artefact, part: Path, make_check: MakeCheck | None) -> Intake:
        """Copy it.

        Raises:
            SurroundingsError: it is not there, or the disk did not do its part.
            Untrusted: it is too large.
        """
        total = self.shelf.size(artefact.name)
        if total is None:
            raise SurroundingsError(f"cannot find {artefact.name}: it is not among what was carried here")
        if total > artefact.cap:
            raise Untrusted(Case.TOO_LARGE, artefact.name, f"it has {total} bytes, {artefact.cap} may come")
        intake = Intake(part, make_check, sha256=needs_sha256(artefact))
        self.watcher.begins(artefact.name, total, 0)
        try:
            await asyncio.to_thread(intake.restart)
            pieces = self.shelf.pieces(artefact.name)
            while piece := await asyncio.to_thread(next, pieces, b""):
                await asyncio.to_thread(intake.feed, piece)
                self.watcher.advances(artefact.name, len(piece))
        except (OSError, tarfile.TarError, EOFError, ValueError) as error:
            intake.discard()
            raise SurroundingsError(f"cannot copy {artefact.name}: {error}") from error
        except BaseException:
            intake.discard()
            raise
        return intake


def _read(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece

"""Stores on a disk, put there as a fetch would have put them, without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from appliance.images.lock import Lock, PinnedRelease
from appliance.images.model import OPERATOR, RECORD, Role, StoredFile, StoredRelease, Stream
from appliance.images.publish import write_lock
from appliance.images.record import render_record
from appliance.images.seals import Seals
from appliance.images.store import CURRENT, Store
from appliance.paths import Paths
from tests.unit.images.rooms import EARLY, KEY, STABLE, SUBKEY, sha512

AT = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shelf:
    """A root with a store in it."""

    root: Path

    @property
    def paths(self) -> Paths:
        """The places below it."""
        return Paths(PurePosixPath(self.root))

    @property
    def store(self) -> Store:
        """Its reader, which knows nothing yet."""
        return Store(self.paths)

    @property
    def seals(self) -> Seals:
        """What was hashed before."""
        return Seals(Path(self.paths.image_seals))

    def folder(self, version: str, stream: Stream = STABLE) -> Path:
        """Where a release lies."""
        return Path(self.paths.images / stream.folder / version)

    def put(
        self,
        version: str,
        stream: Stream = STABLE,
        *,
        files: Mapping[str, bytes] | None = None,
        current: bool = False,
        pinned: bool = True,
        signer: str = KEY,
    ) -> StoredRelease:
        """A release of two files, whose bytes name it."""
        contents = files or {"vmlinuz": f"k {version}".encode(), "initrd.img": f"i {version}".encode()}
        signed = signer != OPERATOR
        release = StoredRelease(
            stream,
            version,
            tuple(
                StoredFile(
                    name,
                    Role.KERNEL if name == "vmlinuz" else Role.INITRD,
                    len(content),
                    sha512(content),
                    f"http://mirror.example/{name}",
                    signer if signed else "",
                    SUBKEY if signed else "",
                    EARLY if signed else None,
                )
                for name, content in contents.items()
            ),
            AT,
            MappingProxyType({}),
        )
        folder = self.folder(version, stream)
        folder.mkdir(parents=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        (folder / RECORD).write_bytes(render_record(release))
        if pinned:
            self.pin(PinnedRelease.of(release))
        if current:
            self.point(version, stream)
        return release

    def pin(self, *releases: PinnedRelease) -> None:
        """Put pins into images.lock."""
        lock = self.store.lock()
        for release in releases:
            lock = lock.with_release(release)
        write_lock(self.paths, lock)

    def point(self, version: str, stream: Stream = STABLE) -> None:
        """Make a version current, whatever it is."""
        link = self.folder(CURRENT, stream)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(version)

    def lock(self) -> Lock:
        """What is pinned now."""
        return self.store.lock()

"""The image store as the daemon uses it: which release a machine boots, and its files, never an unproven one.

Everything is looked up when it is asked for, so that `images use` counts from the next request on, without
a word to the daemon. A file is served when images.lock pins it and its bytes were hashed since they last
changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from appliance.boot.events import Refusal
from appliance.daemon.served import Served
from appliance.daemon.tftp_root import TftpRoot
from appliance.errors import SurroundingsError
from appliance.image_ref import ImageRef
from appliance.images.catalogue import OSES
from appliance.images.health import Finding, findings, release_damage, rows
from appliance.images.lock import Pin
from appliance.images.model import (
    AssetPath,
    Stream,
    is_version,
    parse_asset_path,
    parse_release,
    release_name,
)
from appliance.images.seals import Damage, Seals
from appliance.images.store import Store
from appliance.inventory.model import Machine, Profile
from appliance.matchbox.assets import AssetFile, AssetRoot, NoAsset, open_asset
from appliance.matchbox.model import Boot
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.sync.documents import makes_ignition
from appliance.sync.handover import boot_of, machine_url

_EVERY: Final = 5.0  # seconds between looks at what is on disk

Release = tuple[Stream, str]


class Images:
    """One store, one daemon."""

    def __init__(self, paths: Paths, booting: Callable[[str], str]) -> None:
        """`booting` tells the release that the machine behind a peer's address is booting from, if it is."""
        self._store = Store(paths)
        self._seals = Seals(Path(paths.image_seals))
        self._root = AssetRoot(Path(paths.images))
        self._booting = booting
        self._hashing = threading.Lock()
        self._damaged: Mapping[Release, str] = {}
        self.tftp = TftpRoot(paths)
        self.findings: tuple[Finding, ...] = ()

    async def watch(self, served: Callable[[], Served], now: Callable[[], datetime]) -> None:
        """Look after the TFTP root and the store, for ever."""
        while True:
            await asyncio.to_thread(self.tftp.look, served().digests)
            await asyncio.to_thread(self._look, served().settings, now())
            await asyncio.sleep(_EVERY)

    def boot(self, settings: Settings, machine: Machine, profile: Profile) -> Boot | str | None:
        """What a machine loads now, with every path naming one release; or why there is nothing to load.

        None when its profile boots no image.
        """
        if not isinstance(profile.source, ImageRef):
            return None
        stream = Stream.of(profile.source, machine.arch)
        try:
            version = profile.source.version or self._store.version_for(stream, str(machine.name))
        except SurroundingsError as error:
            return error.message
        if version is None:
            return f"image {stream} is not in the store"
        if self._store.lock_as_it_is()[0].get(stream, version) is None:
            return f"image {stream}@{version} is not pinned in images.lock"
        if (stream, version) in self._damaged:
            return f"image {stream}@{version} is damaged: {self._damaged[stream, version]}"
        url = machine_url(settings, settings.networks[machine.network])
        return boot_of(profile, url, machine.arch, version, made=makes_ignition(machine, profile))

    def release_of(self, kernel: str) -> str:
        """The release that a kernel's path leads to at this moment; empty when it is none of the store."""
        asked = self._asked(kernel.removeprefix("/assets/"))
        version = (asked.version or self._store.current(asked.stream)) if asked else None
        return release_name(asked.stream, version) if asked and version else ""

    def open(self, path: str, client: str) -> AssetFile | NoAsset | None:
        """The file at `path` below /assets/; None when the store has nothing to do with it. Blocking."""
        asked = self._asked(path)
        if asked is None:
            return None
        version = asked.version or self._begun(asked.stream, client) or self._store.current(asked.stream)
        if version is None:
            return NoAsset(f"{asked.stream} has no current release", Refusal.IMAGE)
        pinned = self._store.lock_as_it_is()[0].get(asked.stream, version)
        if pinned is None:
            return NoAsset(f"{asked.stream}@{version} is not pinned in images.lock", Refusal.IMAGE)
        release = self._store.release(asked.stream, version)
        named = release.file(asked.file) if release else None
        name = named.name if named else asked.file
        pin = pinned.files.get(name)
        if pin is None:
            return NoAsset(f"{asked.stream}@{version} has no file {asked.file}")
        found = open_asset([self._root], f"{asked.stream.folder}/{version}/{name}")
        if not isinstance(found, AssetFile):
            return found if isinstance(found, NoAsset) else NoAsset(f"{name} is not a file")
        damage = self._damage(found, self._store.folder(asked.stream) / version / name, pin)
        if damage is not None:
            found.stream.close()
            self._damaged = {**self._damaged, (asked.stream, version): str(damage)}
            return NoAsset(f"damaged, and not served: {damage}", Refusal.IMAGE)
        return found

    def listing(self) -> list[dict[str, object]]:
        """For `/v1/images`. Blocking."""
        return [row.as_json() for row in rows(self._store, self._seals)]

    def _asked(self, path: str) -> AssetPath | None:
        asked = parse_asset_path(path, OSES)
        if asked is None or self._store.folder(asked.stream).is_dir():
            return asked
        # OS/VERSION/FILE, as Matchbox's own scripts lay it out and `flatcar-install -b` asks for it.
        if asked.version is None and is_version(asked.stream.name):
            for stream in self._store.streams():
                there = (stream.os, stream.arch) == (asked.stream.os, asked.stream.arch)
                if there and asked.stream.name in self._store.versions(stream):
                    return AssetPath(stream, asked.stream.name, asked.file)
        return None

    def _begun(self, stream: Stream, client: str) -> str | None:
        """The version of a stream that a machine in the middle of its boot began with."""
        begun = parse_release(self._booting(client))
        if begun is None or begun[0] != stream or not (self._store.folder(stream) / begun[1]).is_dir():
            return None
        return begun[1]

    def _damage(self, found: AssetFile, file: Path, pin: Pin) -> Damage | None:
        fd = found.stream.fileno()
        if self._seals.sealed(fd, file, pin):
            return None
        with self._hashing:  # a rack that boots at once waits for one reading of the file
            return self._seals.check_open(fd, file, pin)

    def _look(self, settings: Settings, at: datetime) -> None:
        with self._hashing:
            found = findings(self._store, self._seals, settings, at)
            damaged = {}
            with contextlib.suppress(SurroundingsError, OSError):  # the findings name it
                for stream in self._store.streams():
                    for version in self._store.versions(stream):
                        if damage := release_damage(self._store, self._seals, stream, version):
                            damaged[stream, version] = str(damage[0])
        self._damaged = damaged
        self.findings = tuple(found)
        self._seals.keep()

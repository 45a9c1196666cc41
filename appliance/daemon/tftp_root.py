"""The TFTP root while it is served, over HTTP too: plain files, and of first stages only what was published.

Whoever loads one runs it before anything of ours could check it. A disk that decays, somebody who tidies up
or tries a build of his own changes it under dnsmasq, which notices nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from appliance.boot.firmware import parse_manifest
from appliance.errors import ApplianceError
from appliance.images.health import Finding
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.paths import Paths
from appliance.sync.publish import BINARY_LIMIT, sweep, with_store
from appliance.system.acting import acting_for
from appliance.system.files import LockHeld, exclusive_lock, make_directory, read_as_owner, write_atomic
from appliance.system.shipped import shipped_manifest, shipped_scripts

_SYNC: Final = "pxe-appliance sync"
_log = logging.getLogger("pxe-appliance")


class TftpRoot:
    """One daemon's. `findings` is what could not be mended."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._root = Path(paths.tftp)
        self._scripts = shipped_scripts()
        self._stuck = ""
        self._hashed: dict[str, tuple[tuple[int, ...], str]] = {}  # by name, with what changes with a file
        self._known: set[tuple[str, str]] = set()  # this host has it, although the generation names another
        self.findings: tuple[Finding, ...] = ()

    def look(self, digests: Mapping[str, str]) -> None:
        """Mend what is not as it should be. Blocking.

        `digests` are the SHA-256 of the first stages that the generation names; empty before there is one.
        """
        self._sweep()
        if not digests:
            return
        wanted = {name: _sha256(content) for name, content in self._scripts.items()} | dict(digests)
        bad = [name for name, digest in wanted.items() if not self._is_good(name, digest)]
        self.findings = self._mend(bad, wanted) if bad else ()

    def _sweep(self) -> None:
        """Keep it to plain files: dnsmasq follows a link."""
        stuck = ""
        try:
            for name in sweep(self._root):
                _log.warning("%s was taken out of the TFTP root: only plain files are served", name)
        except OSError as error:
            stuck = str(error)
        if stuck and stuck != self._stuck:
            _log.warning("cannot keep the TFTP root to plain files: %s", stuck)
        self._stuck = stuck

    def _is_good(self, name: str, digest: str) -> bool:
        there = self._digest(name)
        return there == digest or (name, there) in self._known

    def _mend(self, bad: Iterable[str], wanted: Mapping[str, str]) -> tuple[Finding, ...]:
        try:
            with exclusive_lock(Path(self._paths.lock), wait=False, purpose="sync"):
                return tuple(self._mended(bad, wanted))
        except LockHeld:  # a sync publishes what it has chosen: the next look
            return self.findings
        except (ApplianceError, OSError) as error:
            why = error.message if isinstance(error, ApplianceError) else str(error)
            words = f"{', '.join(bad)} in {self._root}: not what was published, and not to be mended: {why}"
            return (Finding("boot-published", "error", words, f"df -h {self._paths.state}"),)

    def _mended(self, bad: Iterable[str], wanted: Mapping[str, str]) -> Iterator[Finding]:
        """Publish anew what is bad; what this host has no good copy of is not served, and told."""
        for name in bad:
            copies = {_sha256(content): content for content in self._copies(name)}
            there = self._digest(name)
            if there == wanted[name] or there in copies:  # a sync, or a way back, has published another one
                self._known.add((name, there))
                continue
            content = copies.get(wanted[name], next(iter(copies.values()), None))
            what = "was not what was published" if there else "was missing"
            if content is not None:
                make_directory(self._root)
                write_atomic(self._root / name, content)
                self._known.add((name, _sha256(content)))
                _log.warning("%s in the TFTP root %s: it is published anew", name, what)
                continue
            if there:
                with acting_for(self._root):
                    (self._root / name).unlink(missing_ok=True)
                _log.error("%s in the TFTP root %s: it is taken out", name, what)
            words = f"{name} is not served: in {self._root} it {what}, and this host has no other copy of it"
            yield Finding("boot-published", "error", words, _SYNC)

    def _copies(self, name: str) -> Iterator[bytes]:
        """What this host has under that name, best first."""
        if name in self._scripts:
            yield self._scripts[name]
            return
        store, seals = Store(self._paths), Seals(Path(self._paths.image_seals))
        binary = with_store(parse_manifest(shipped_manifest()), store, seals).binaries.get(name)
        for path in binary.paths if binary else ():
            with contextlib.suppress(OSError, ValueError):
                yield read_as_owner(Path(path), BINARY_LIMIT)

    def _digest(self, name: str) -> str:
        """That of a published file, hashed when it has changed; empty when it cannot be read."""
        place = self._root / name
        try:
            status = place.lstat()
            state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known, digest = self._hashed.get(name, ((), ""))
            if known != state:
                digest = _sha256(read_as_owner(place, BINARY_LIMIT))
                self._hashed[name] = state, digest
        except (OSError, ValueError):
            return ""
        return digest


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

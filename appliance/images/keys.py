"""Key material: the operator's keys.d/, and what projects publish, accepted by primary fingerprint only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import OperatorError, Problem, SurroundingsError
from appliance.images.openpgp import Certificate, can_inspect, inspect
from appliance.images.source import Source
from appliance.images.trust import Case, Keyring, Untrusted
from appliance.paths import Paths
from appliance.settings import ImageSettings
from appliance.system.files import make_directory, read_regular, write_atomic

_CAP: Final = 16 * 2**20  # fedora.gpg, the largest, has under 100 KiB


class Documents(Protocol):
    """Whoever can bring a small file."""

    async def document(self, url: str, cap: int) -> bytes | None:
        """A file as a whole; None when it does not exist."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A certificate that may sign for an operating system, and the file it was found in."""

    os: str
    certificate: Certificate
    file: str


def load_keyring(paths: Paths, os: str, source: Source, settings: ImageSettings) -> Keyring:
    """Who may sign for `os`: the operator's own pins where the settings name keys, else the project's.

    Raises:
        OperatorError: a key file that the settings name cannot be used.
    """
    if not can_inspect():
        return _unread_keyring(paths, os, source, settings)
    found = list(known_keys(paths, os, source, settings))
    return Keyring(
        frozenset(key.certificate.fingerprint for key in found),
        tuple(key.certificate.raw for key in found),
        operators=bool(settings.keys),
    )


def _unread_keyring(paths: Paths, os: str, source: Source, settings: ImageSettings) -> Keyring:
    """Key files as they are, for sqv: it names the primary key that signed; that is held against the pins."""
    names = settings.keys
    files = [Path(paths.keys / name) for name in names]
    files = files or [*_files(Path(paths.keys)), Path(paths.fetched_keys / f"{os}.pgp")]
    raw = []
    for path in files:
        try:
            raw.append(read_regular(path, _CAP))
        except (OSError, ValueError) as error:
            if names:
                raise OperatorError(f"cannot read the key {path}: {error}") from error
    pins = frozenset(source.pins) if raw and not names else frozenset(str(name) for name in names)
    return Keyring(pins, tuple(raw), operators=bool(names), unread=bool(names))


def known_keys(paths: Paths, os: str, source: Source, settings: ImageSettings) -> Iterator[KnownKey]:
    """The certificates that are at hand for `os` and may sign for it."""
    if settings.keys:
        yield from _operators(paths, os, settings.keys)
        return
    copies: dict[str, list[KnownKey]] = {}
    for path in (*_files(Path(paths.keys)), Path(paths.fetched_keys / f"{os}.pgp")):
        for certificate in _read(path) or ():
            if certificate.fingerprint in source.pins:
                known = KnownKey(os, certificate, str(path))
                copies.setdefault(certificate.fingerprint, []).append(known)
    for found in copies.values():
        files = ", ".join(key.file for key in found)
        for certificate in _merged(tuple(key.certificate.raw for key in found)):
            yield KnownKey(os, certificate, files)


async def refresh_keys(
    paths: Paths, os: str, source: Source, documents: Documents
) -> tuple[Certificate, ...]:
    """Fetch what the project publishes, keep what is pinned.

    Raises:
        Untrusted: no pinned key stands there.
        SurroundingsError: it cannot be fetched or kept.
    """
    if not source.key_url or not source.pins:
        raise Untrusted(
            Case.NO_KEY,
            f"images of {os}",
            "the project publishes no signing key",
            hint=f"put your mirror's key into {paths.keys} and name it in the settings: [images.{os}] keys",
        )
    raw = await documents.document(source.key_url, _CAP)
    if raw and not can_inspect():  # sqv takes it as it is, and what it says is held against the pins
        make_directory(Path(paths.fetched_keys))
        write_atomic(Path(paths.fetched_keys / f"{os}.pgp"), raw)
        return ()
    found = await asyncio.to_thread(inspect, [raw]) if raw else ()
    pinned = tuple(c for c in found if c.fingerprint in source.pins)
    if not pinned:
        raise Untrusted(
            Case.NO_KEY,
            f"the key at {source.key_url}",
            "no pinned fingerprint is in it" if raw else "there is none",
            hint=f"put the project's key into {paths.keys}; it is taken when its primary fingerprint is "
            f"{' or '.join(source.pins)}",
        )
    make_directory(Path(paths.fetched_keys))
    write_atomic(Path(paths.fetched_keys / f"{os}.pgp"), b"".join(c.raw for c in pinned))
    return pinned


def _operators(paths: Paths, os: str, names: Iterable[str]) -> Iterator[KnownKey]:
    problems = []
    for name in names:
        path = Path(paths.keys / name)
        found = _read(path)
        if not found:
            what = "cannot be read" if found is None else "holds no OpenPGP certificate"
            hint = f"it is named in [images.{os}] keys; put the public key there, armored or not"
            problems.append(Problem(str(path), 0, "", what, hint))
        for certificate in found or ():
            yield KnownKey(os, certificate, str(path))
    if problems:
        raise OperatorError(f"cannot use the keys for {os}", problems=problems)


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if not p.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SurroundingsError(f"cannot read {directory}: {error.strerror}") from error


def _read(path: Path) -> tuple[Certificate, ...] | None:
    try:
        status = path.stat()
        return _inspected(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=64)
def _merged(copies: tuple[bytes, ...]) -> tuple[Certificate, ...]:
    """Copies of one certificate, of which each may know something that the others do not."""
    return inspect(copies)


@lru_cache(maxsize=64)
def _inspected(path: Path, stamp: tuple[int, ...]) -> tuple[Certificate, ...]:
    """What a file holds; a daemon that looks every few seconds must not start a process each time."""
    del stamp  # another one is another file
    return inspect([read_regular(path, _CAP)])

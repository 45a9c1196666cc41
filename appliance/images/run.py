"""The routes of the image store, as the command line takes them: fetch, take a local directory, import."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from appliance.errors import OperatorError, Problem, Refused, SurroundingsError
from appliance.image_ref import ARCHITECTURES as KNOWN_ARCHITECTURES
from appliance.image_ref import LOCAL, ImageRef
from appliance.images.bundle import read_bundle
from appliance.images.carried import CarriedTransport, Folder, Shelf
from appliance.images.catalogue import ARCHITECTURES, LAYOUTS, SOURCES, make_ask
from appliance.images.fetch import http_transport
from appliance.images.health import release_damage
from appliance.images.keys import load_keyring, refresh_keys
from appliance.images.local import LOCAL_SOURCE
from appliance.images.lock import Pin, PinnedRelease
from appliance.images.model import (
    Artefact,
    ReleasePlan,
    Role,
    StoredRelease,
    Stream,
    is_file_name,
    is_version,
)
from appliance.images.obtain import Route, Transport, describe, obtain
from appliance.images.openpgp import inspect
from appliance.images.progress import Watcher
from appliance.images.publish import check_places, forget_part, point_first, publish, workplace
from appliance.images.seals import Seals
from appliance.images.source import INITRD_CAP, Ask, Source
from appliance.images.store import Store
from appliance.images.trust import Case, Keyring, Untrusted
from appliance.images.wishes import Limits, Wishes
from appliance.paths import Paths
from appliance.settings import ImageSettings, Settings
from appliance.system.files import LockHeld, exclusive_lock, make_directory

_NOBODY: Final = Keyring(frozenset(), ())


@dataclass(frozen=True, slots=True)
class Shop:
    """The store, and whoever looks on while it changes."""

    store: Store
    seals: Seals
    settings: Settings
    watcher: Watcher
    now: Callable[[], datetime]
    limits: Limits = Limits()
    wishes: Wishes = Wishes()


@dataclass(frozen=True, slots=True)
class Fetched:
    """How a fetch ended: the release, whether it came now or was there already, and may be served."""

    stream: Stream
    version: str
    fresh: bool
    pinned: bool = True


def wanted_streams(ref: ImageRef, settings: ImageSettings) -> tuple[Stream, ...]:
    """The streams that a reference means: one for each architecture that the settings ask for."""
    can = ARCHITECTURES.get(ref.os, settings.arch)
    archs = [arch for arch in settings.arch if arch in can] or list(can[:1])
    return tuple(Stream.of(ref, arch) for arch in archs)


def wanted_stream(ref: ImageRef, arch: str) -> Stream:
    """The stream for one architecture that was asked for.

    Raises:
        OperatorError: the project makes none for it.
    """
    can = ARCHITECTURES.get(ref.os, KNOWN_ARCHITECTURES)
    if arch not in can:
        raise OperatorError(f"cannot fetch {ref} for {arch}: there is only {', '.join(can)}")
    return Stream.of(ref, arch)


def fetch(shop: Shop, stream: Stream, version: str | None) -> Fetched:
    """Bring a release from its mirror into the store.

    Raises:
        Untrusted: it is not what it should be; what was current stays.
        SurroundingsError: the mirror, the network or the disk did not do its part.
    """
    with _alone(shop, stream):
        return asyncio.run(_fetch(shop, stream, version))


async def _fetch(shop: Shop, stream: Stream, version: str | None) -> Fetched:
    if shop.wishes.legacy_sha1 and stream.os != "container-linux":
        raise Refused(
            f"cannot take --legacy-sha1 for {stream}: its keys do not need it",
            hint="it is for the retired CoreOS images alone",
        )
    check_places(shop.store.paths, pin=shop.wishes.pin)
    source, settings = SOURCES[stream.os], shop.settings.images.get(stream.os, ImageSettings())
    ask = make_ask(stream, version, settings)
    async with http_transport(shop.watcher, shop.limits, shop.settings.subnets) as transport:
        keyring = load_keyring(shop.store.paths, stream.os, source, settings)
        route = Route(source, keyring, shop.store.lock(), transport, shop.watcher, shop.wishes)
        fresh_keys = False
        if not keyring.pins and source.pins:
            route, fresh_keys = await _with_new_keys(shop, route, stream, settings), True
        try:
            return await _bring(shop, route, ask)
        except Untrusted as error:
            # The project may have made a new signing key since: asked for once, and only its pins count.
            if error.case is not Case.FOREIGN_KEY or keyring.operators or fresh_keys:
                raise
            refused = error
        try:
            route = await _with_new_keys(shop, route, stream, settings)
        except SurroundingsError as error:
            shop.watcher.says(error.message)
            raise refused from error  # that it cannot be asked for is not why the release is refused
        return await _bring(shop, route, ask)


async def _with_new_keys(shop: Shop, route: Route, stream: Stream, settings: ImageSettings) -> Route:
    shop.watcher.says(f"asking {route.source.key_url} for the keys of {stream.os}")
    await refresh_keys(shop.store.paths, stream.os, route.source, route.transport)
    keyring = load_keyring(shop.store.paths, stream.os, route.source, settings)
    return replace(route, keyring=keyring)


async def _bring(shop: Shop, route: Route, ask: Ask) -> Fetched:
    plan = await describe(route, ask)
    return await _publish(shop, route, plan)


async def _publish(shop: Shop, route: Route, plan: ReleasePlan) -> Fetched:
    store, name = shop.store, f"{plan.stream}@{plan.version}"
    if not is_version(plan.version):
        raise Untrusted(Case.UNREADABLE, name, "a version begins with a digit")
    if not await asyncio.to_thread(release_damage, store, shop.seals, plan.stream, plan.version):
        shop.seals.keep()
        # A fetch that was killed after its rename may have left the rest of its work to us.
        await asyncio.to_thread(point_first, store, plan.stream, plan.version)
        forget_part(store.paths, plan.stream, plan.version)
        await asyncio.to_thread(_check_given, shop, plan)
        return Fetched(plan.stream, plan.version, fresh=False)
    waiting = await asyncio.to_thread(_waiting, shop, route, plan)
    if waiting is not None and not shop.wishes.pin:
        return Fetched(plan.stream, plan.version, fresh=False, pinned=False)
    if waiting is not None:
        with suppress(Untrusted):  # then the mirror has to bring it again
            return await _import(shop, waiting, Folder(store.folder(plan.stream) / plan.version))
    foreign = route.source.foreign_number(plan.stream, plan.version)
    if foreign is not None and not route.keyring.operators and route.keyring.pins:
        raise Untrusted(Case.WRONG_CHANNEL, name, f"its number is that of {foreign} releases")
    shop.watcher.says(f"fetching {name}")
    try:
        proven = await obtain(route, plan, workplace(store.paths, plan.stream, plan.version) / "parts")
        pin = shop.wishes.pin
        await asyncio.to_thread(publish, store, shop.seals, proven, shop.now(), pin=pin)
    except Untrusted:
        forget_part(store.paths, plan.stream, plan.version)
        raise
    pinned = pin or store.lock().get(plan.stream, plan.version) is not None
    return Fetched(plan.stream, plan.version, fresh=True, pinned=pinned)


def _waiting(shop: Shop, route: Route, plan: ReleasePlan) -> StoredRelease | None:
    """What an earlier fetch brought whole, and left without pins; None when it is not so."""
    if isinstance(route.transport, CarriedTransport) or shop.store.lock().get(plan.stream, plan.version):
        return None
    record = shop.store.release(plan.stream, plan.version)
    if record is None:
        return None
    folder = shop.store.folder(plan.stream) / plan.version
    whole = not any(shop.seals.check(folder / f.name, Pin(f.size, f.sha512)) for f in record.files)
    return record if whole else None


def _check_given(shop: Shop, plan: ReleasePlan) -> None:
    """A digest that the operator gives counts for what is there already, too."""
    for artefact in plan.artefacts if shop.wishes.digest else ():
        digest = hashlib.sha256()
        for piece in Folder(shop.store.folder(plan.stream) / plan.version).pieces(artefact.name):
            digest.update(piece)
        if digest.hexdigest() != shop.wishes.digest:
            reason = f"what is in the store has the SHA-256 {digest.hexdigest()[:16]}…"
            raise Untrusted(Case.WRONG_DIGEST, artefact.name, reason)


def take_local(shop: Shop, stream: Stream, version: str | None, folder: Path) -> Fetched:
    """Put the files of a directory into the store as an image that the operator vouches for.

    Raises:
        OperatorError: the directory does not hold what boots.
        SurroundingsError: the disk did not do its part.
    """
    with _alone(shop, stream):
        check_places(shop.store.paths)
        artefacts = _local_artefacts(folder)
        newest = _same_content(shop.store, stream, artefacts)
        if version is None and newest is not None:
            return Fetched(stream, newest, fresh=False)
        if version is not None:
            _check_same(shop.store, stream, version, artefacts)
        chosen = version or _new_version(shop, stream)
        transport = CarriedTransport(Folder(folder, follow=True), {}, shop.watcher)
        return asyncio.run(_carry(shop, transport, ReleasePlan(stream, chosen, artefacts), _NOBODY))


def _local_artefacts(folder: Path) -> tuple[Artefact, ...]:
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_file())
    except OSError as error:
        raise OperatorError(f"cannot read {folder}: {error.strerror}") from error
    names = [name for name in names if is_file_name(name)]
    layout = LAYOUTS[LOCAL]
    missing = [name for name in (layout.kernel, *layout.initrd) if name not in names]
    if missing:
        problems = [
            Problem(str(folder / name), 0, "", "is not there", "name the file so") for name in missing
        ]
        raise OperatorError(f"cannot use {folder} as an image", problems=problems)
    roles = {layout.kernel: Role.KERNEL, **dict.fromkeys(layout.initrd, Role.INITRD)}
    shelf = Folder(folder, follow=True)
    found = []
    for name in names:
        digest = hashlib.sha512()
        for piece in shelf.pieces(name):
            digest.update(piece)
        role = roles.get(name, Role.ROOTFS)
        found.append(Artefact(name, role, name, INITRD_CAP, expected=digest.hexdigest()))
    return tuple(found)


def _check_same(store: Store, stream: Stream, version: str, artefacts: tuple[Artefact, ...]) -> None:
    """A version that is pinned already has to be of exactly these bytes."""
    pinned = store.lock().get(stream, version)
    if pinned and {n: p.sha512 for n, p in pinned.files.items()} != {a.name: a.expected for a in artefacts}:
        hint = "leave the version out, and a new one is made"
        what = f"{stream}@{version}"
        raise Untrusted(Case.CHANGED, what, "images.lock pins other bytes under this version", hint=hint)


def _new_version(shop: Shop, stream: Stream) -> str:
    """A version after all that are there: the time, to the second, and a number where that is taken."""
    base, lock = f"{shop.now():%Y%m%d.%H%M%S}", shop.store.lock()
    candidates = (base, *(f"{base}.{n}" for n in range(1, 1000)))
    return next(v for v in candidates if lock.get(stream, v) is None)


def _same_content(store: Store, stream: Stream, artefacts: tuple[Artefact, ...]) -> str | None:
    """The newest pinned version, when it consists of exactly these bytes."""
    lock = store.lock()
    newest = lock.newest(stream)
    pinned = lock.get(stream, newest) if newest else None
    same = pinned and {n: p.sha512 for n, p in pinned.files.items()} == {
        a.name: a.expected for a in artefacts
    }
    return newest if same else None


def import_bundle(shop: Shop, file: Path) -> Iterator[Fetched]:
    """Bring every release of a bundle into the store, each proven as a download is.

    Raises:
        OperatorError: it is no bundle.
        Untrusted: a release in it is not what it should be; those before it are in the store.
    """
    check_places(shop.store.paths)
    try:
        if not file.is_file():  # a FIFO would keep us waiting
            raise OperatorError(f"cannot read {file}: there is no such file")
        tar = tarfile.open(file, "r:")  # noqa: SIM115 - closed below, after the last release
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise OperatorError(f"cannot read {file} as a bundle: {error}") from error
    with tar:
        for carried in read_bundle(tar, file):
            record = carried.record
            with _alone(shop, record.stream):
                yield asyncio.run(_import(shop, carried.record, carried.files))


def pin_again(shop: Shop, record: StoredRelease) -> Fetched:
    """Prove a release that lies in the store without pins, from the signatures in its record, and pin it.

    Raises:
        Untrusted: it is not what was signed.
    """
    with _alone(shop, record.stream):
        check_places(shop.store.paths)
        folder = Folder(shop.store.folder(record.stream) / record.version)
        return asyncio.run(_import(shop, record, folder))


async def _import(shop: Shop, record: StoredRelease, shelf: Shelf) -> Fetched:
    os_name = record.stream.os
    transport = CarriedTransport(shelf, record.evidence, shop.watcher)
    if os_name == LOCAL:
        layout = LAYOUTS[LOCAL]
        if missing := {layout.kernel, *layout.initrd} - {f.name for f in record.files}:
            name = f"{record.stream}@{record.version}"
            raise Untrusted(Case.UNREADABLE, name, f"it lacks {', '.join(sorted(missing))}")
        if not shop.wishes.local and PinnedRelease.of(record) != shop.store.lock().get(
            record.stream, record.version
        ):
            raise Untrusted(
                Case.NO_KEY,
                f"{record.stream}@{record.version}",
                "nobody signed it, and images.lock does not pin it",
                hint="if you trust these bytes all the same: --local",
            )
        artefacts = tuple(
            Artefact(f.name, f.role, f.name, INITRD_CAP, expected=f.sha512) for f in record.files
        )
        return await _carry(shop, transport, ReleasePlan(record.stream, record.version, artefacts), _NOBODY)
    source, settings = SOURCES[os_name], shop.settings.images.get(os_name, ImageSettings())
    keyring = _site_keyring(shop, record, source, settings)
    route = Route(source, keyring, shop.store.lock(), transport, shop.watcher, shop.wishes)
    plan = await describe(route, _carried_ask(record, source))
    if plan.version != record.version:
        raise Untrusted(Case.UNREADABLE, f"{record.stream}@{record.version}", f"it is {plan.version}")
    return await _publish(shop, route, plan)


def _carried_ask(record: StoredRelease, source: Source) -> Ask:
    """The question whose answer the bundle has: of the version, or of what was current when it was made."""
    base = source.base.replace("{channel}", source.channel(record.stream))
    exact, current = (Ask(record.stream, v, base) for v in (record.version, None))
    index = source.index(exact)
    return exact if index is None or index.name in record.evidence else current


def _site_keyring(shop: Shop, record: StoredRelease, source: Source, settings: ImageSettings) -> Keyring:
    """The site's pins. Certificates may come with the bundle: a pin is what makes one count."""
    keyring = load_keyring(shop.store.paths, record.stream.os, source, settings)
    if keyring.operators or not source.pins:
        return keyring
    brought = [c for c in inspect(record.certificates) if c.fingerprint in source.pins]
    pins = keyring.pins | {c.fingerprint for c in brought}
    if not pins:
        raise Untrusted(Case.NO_KEY, f"{record.stream}@{record.version}", "no pinned key is at hand")
    return Keyring(frozenset(pins), (*keyring.certificates, *(c.raw for c in brought)))


async def _carry(shop: Shop, transport: Transport, plan: ReleasePlan, keyring: Keyring) -> Fetched:
    """A release that an operator vouches for: each artefact has its digest already."""
    route = Route(LOCAL_SOURCE, keyring, shop.store.lock(), transport, shop.watcher, shop.wishes)
    return await _publish(shop, route, plan)


def sweep(store: Store, stream: Stream) -> list[str]:
    """Remove what fetches that were given up have left; the versions. Nothing while one is under way."""
    paths = store.paths
    folder = Path(paths.incoming / stream.folder)
    try:
        with exclusive_lock(_fetch_lock(paths, stream), wait=False, purpose=f"a fetch of {stream}"):
            left = sorted(p.name for p in folder.glob("*") if p.is_dir() and is_version(p.name))
            for version in left:
                forget_part(paths, stream, version)
            return left
    except LockHeld:
        return []


def _fetch_lock(paths: Paths, stream: Stream) -> Path:
    return Path(paths.incoming / "locks" / "-".join((stream.os, stream.name, stream.arch)))


@contextmanager
def _alone(shop: Shop, stream: Stream) -> Iterator[None]:
    """One fetch of a stream at a time; the second one waits, and finds the work done."""
    place = _fetch_lock(shop.store.paths, stream)
    make_directory(Path(shop.store.paths.incoming), 0o700)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(place, wait=False, purpose=f"a fetch of {stream}"))
        except LockHeld as error:
            shop.watcher.says(f"waiting: {error.message}")
            stack.enter_context(exclusive_lock(place, purpose=f"a fetch of {stream}"))
        yield

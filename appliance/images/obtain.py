"""The route of a fetch, one type a step: ask → plan → evidence → bytes → proven files → proven release.

Where the bytes come from is a `Transport`: a mirror, or a bundle that was carried here. What is done with
them is the same, so a bundle is worth exactly what a download is.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from appliance.errors import Refused, SurroundingsError
from appliance.images.intake import SPARE, Intake, MakeCheck
from appliance.images.lock import Lock
from appliance.images.model import Artefact, ReleasePlan
from appliance.images.openpgp import Backend, Detached, choose_backend, forecast, verify_text
from appliance.images.progress import Watcher
from appliance.images.source import DOCUMENT_CAP, SIGNATURE_CAP, Ask, Source, UnreadableIndex
from appliance.images.trust import (
    Case,
    Keyring,
    ListedDigest,
    Measured,
    ProvenFile,
    ProvenRelease,
    Untrusted,
    check_version,
    judge_release,
    listed_digest,
    prove_file,
)
from appliance.images.wishes import Wishes
from appliance.system.files import make_directory

_AT_ONCE: Final = 4


class Transport(Protocol):
    """Whoever brings documents and artefacts."""

    async def document(self, url: str, cap: int) -> bytes | None:
        """A small file; None when it does not exist."""

    async def size(self, url: str) -> int | None:
        """The size of a file, where that can be told."""

    async def download(self, artefact: Artefact, part: Path, make_check: MakeCheck | None) -> Intake:
        """An artefact, at `part`."""


@dataclass(frozen=True, slots=True)
class Route:
    """Everything that a fetch goes by."""

    source: Source
    keyring: Keyring
    lock: Lock
    transport: Transport
    watcher: Watcher
    wishes: Wishes = Wishes()


@dataclass(slots=True)
class _Evidence:
    """What speaks for an artefact: a signed digest, a detached signature, and the documents themselves."""

    listed: ListedDigest | None = None
    signature: bytes | None = None
    documents: dict[str, bytes] = field(default_factory=dict)


async def describe(route: Route, ask: Ask) -> ReleasePlan:
    """Which release it is, and what it consists of; nothing of it is fetched yet.

    Raises:
        Untrusted: the document is another stream's, unsigned where it should not be, or of an older version.
        SurroundingsError: the mirror does not have it.
    """
    index, document = route.source.index(ask), None
    evidence: dict[str, bytes] = {}
    if index is not None:
        document = await route.transport.document(index.url, DOCUMENT_CAP)
        if document is None:
            raise SurroundingsError(
                f"cannot fetch {index.url}: it does not exist",
                hint="is the mirror in the settings right? {channel} stands for the stream",
            )
        evidence[index.name] = document
        if index.signature is not None:
            evidence |= await _index_signature(route, index.signature, index.name, document)
    try:
        plan = route.source.plan(ask, document)
    except UnreadableIndex as error:
        url = index.url if index else ask.base
        raise Untrusted(Case.UNREADABLE, url, str(error), hint="is this the right mirror?") from error
    check_version(plan, route.lock, allow_downgrade=route.wishes.allow_downgrade)
    return replace(plan, evidence=MappingProxyType(evidence))


async def _index_signature(route: Route, url: str, name: str, document: bytes) -> dict[str, bytes]:
    """A version document's own signature, where the mirror has one; it has to be good then."""
    signature = await route.transport.document(url, SIGNATURE_CAP)
    if signature is None:
        return {}
    backend = choose_backend(legacy=route.wishes.legacy_sha1)

    def check() -> None:
        with ExitStack() as stack:
            detached = Detached(name, signature, route.keyring, backend)
            stack.callback(detached.close)
            detached.feed(document)
            place = stack.enter_context(_as_file(document))
            detached.verdict(place)

    await asyncio.to_thread(check)
    return {url.rpartition("/")[2]: signature}


async def obtain(route: Route, plan: ReleasePlan, parts: Path) -> ProvenRelease:
    """Bring and prove a release; its files are at `parts` as `NAME.part`, durable.

    Raises:
        Untrusted: something of it is not what it should be; nothing of that stays.
        SurroundingsError: the mirror or the disk did not do its part; what can be resumed stays.
    """
    if route.wishes.digest is not None and len(plan.artefacts) != 1:
        names = ", ".join(a.name for a in plan.artefacts)
        raise Refused(f"cannot tell which file --sha256 is of: {plan.stream} consists of {names}")
    plan = replace(plan, artefacts=tuple(_vouched(route, plan, a) for a in plan.artefacts))
    make_directory(parts, 0o700)
    found = await asyncio.gather(*(_evidence(route, artefact) for artefact in plan.artefacts))
    await _check_space(route, plan, parts)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(artefact: Artefact, evidence: _Evidence) -> ProvenFile:
        async with slots:
            return await _proven(route, artefact, evidence, parts)

    files = await _all(
        [one(artefact, evidence) for artefact, evidence in zip(plan.artefacts, found, strict=True)]
    )
    documents = {name: raw for evidence in found for name, raw in evidence.documents.items()}
    foreign = route.source.foreign_number(plan.stream, plan.version)
    return judge_release(
        plan,
        files,
        route.lock,
        evidence={**plan.evidence, **documents},
        certificates=route.keyring.certificates,
        # Who builds with keys of his own may number as he likes.
        foreign_number=None if route.keyring.operators else foreign,
        allow_downgrade=route.wishes.allow_downgrade,
    )


def _vouched(route: Route, plan: ReleasePlan, artefact: Artefact) -> Artefact:
    """With the digest that stands in for a signature, where the project makes none."""
    given = route.wishes.digest
    if (route.keyring.pins and given is None) or artefact.expected is not None:
        return artefact
    pinned = route.lock.get(plan.stream, plan.version)
    pin = pinned.files.get(artefact.name) if pinned else None
    digest = given or (pin.sha512 if pin else None)
    if digest is None:
        raise Untrusted(
            Case.NO_KEY,
            f"{plan.stream}@{plan.version}",
            "nobody signs it, and no digest was given",
            hint=f"compare the digest of {artefact.url} by another way, and give it: --sha256 HEX",
        )
    return replace(artefact, expected=digest.lower())


async def _evidence(route: Route, artefact: Artefact) -> _Evidence:
    """The small documents that speak for an artefact; what they say is checked where it can be already."""
    found = _Evidence()
    if not route.keyring.pins:
        return found
    backend = choose_backend(legacy=route.wishes.legacy_sha1)
    if artefact.digests is not None and backend is Backend.PYSEQUOIA:
        text = await route.transport.document(artefact.digests, SIGNATURE_CAP)
        if text is not None:
            name = artefact.digests.rpartition("/")[2]
            found.documents[name] = text
            signed = await asyncio.to_thread(verify_text, name, text, route.keyring)
            found.listed = listed_digest(signed, artefact.name)
    if artefact.signature is not None:
        found.signature = await route.transport.document(artefact.signature, SIGNATURE_CAP)
        if found.signature is not None:
            if backend is Backend.PYSEQUOIA:
                await asyncio.to_thread(forecast, artefact.name, found.signature, route.keyring)
            found.documents[artefact.signature.rpartition("/")[2]] = found.signature
    if found.listed is None and found.signature is None:
        if await route.transport.size(artefact.url) is None:
            raise SurroundingsError(
                f"cannot fetch {artefact.url}: it does not exist",
                hint="is it a version that the mirror has? and is the mirror in the settings right?",
            )
        raise Untrusted(
            Case.NO_SIGNATURE, artefact.name, f"the mirror has no signature for it ({artefact.signature})"
        )
    return found


async def _proven(route: Route, artefact: Artefact, evidence: _Evidence, parts: Path) -> ProvenFile:
    """One artefact, fetched and proven. What came in pieces and does not fit is fetched once more, whole."""
    part = parts / f"{artefact.name}.part"
    signature = evidence.signature
    make_check: MakeCheck | None = None
    if signature is not None:
        backend = choose_backend(legacy=route.wishes.legacy_sha1)

        def make_check() -> Detached:
            return Detached(artefact.name, signature, route.keyring, backend)

    for last in (False, True):
        intake = await route.transport.download(artefact, part, make_check)
        try:
            measured = await _measured(intake)
            detached = await asyncio.to_thread(intake.check.verdict, part) if intake.check else None
            proven = prove_file(artefact, measured, evidence.listed, detached)
        except Untrusted:
            intake.discard()
            if last or not intake.resumed:
                raise
            route.watcher.says(f"{artefact.name}: its pieces do not fit together; starting over")
            continue
        finally:
            intake.close()
        signer = proven.signature
        route.watcher.ends(
            artefact.name, f"signed by {signer.primary}" if signer else "its digest is as given"
        )
        return proven
    raise AssertionError("the second attempt ends one way or the other")


async def _measured(intake: Intake) -> Measured:
    try:
        return await asyncio.to_thread(intake.finish)
    except OSError as error:
        raise SurroundingsError(f"cannot write {intake.part}: {error.strerror}") from error


async def _check_space(route: Route, plan: ReleasePlan, parts: Path) -> None:
    sizes = await asyncio.gather(*(route.transport.size(a.url) for a in plan.artefacts))
    needed = sum(size or 0 for size in sizes)
    there, free = await asyncio.to_thread(_there_and_free, parts)
    needed = max(0, needed - there)
    if needed + SPARE > free:
        raise SurroundingsError(
            f"cannot fetch {plan.stream}@{plan.version}: {needed / 1e6:.0f} MB are to come, "
            f"{free / 1e6:.0f} MB are free, and {SPARE / 1e6:.0f} MB stay free for the appliance itself",
            hint="pxe-appliance images prune --keep 2 removes old releases",
        )


def _there_and_free(parts: Path) -> tuple[int, int]:
    """Bytes that are here of the release already, and that are free."""
    return sum(p.stat().st_blocks * 512 for p in parts.glob("*.part")), shutil.disk_usage(parts).free


async def _all(works: Sequence[Coroutine[object, object, ProvenFile]]) -> list[ProvenFile]:
    """All results in order; the first failure ends the others, which keep what they have."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((t for t in tasks if t.done() and t.exception() is not None), None)
        if failed is not None:
            failed.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """Bytes as the file that some programs want."""
    with tempfile.TemporaryDirectory(prefix="pxe-appliance-") as folder:
        place = Path(folder, "document")
        place.write_bytes(content)
        yield place

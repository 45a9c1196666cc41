"""Key → signature → digest → artefact → release: each step takes only what the step before it made. Pure.

Nothing in here touches a disk or a key: `openpgp` says what a signature is worth, `fetch` measures bytes, and
this file alone makes a `ProvenFile` or a `ProvenRelease` of it; the store publishes nothing else.

A signature says who made the bytes. It says neither which version nor which channel they are of, so a mirror
can hand out old bytes, validly signed, under a new number: `judge_release` holds the time of the signatures
and the digests against everything that was pinned before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from appliance.errors import Refused
from appliance.images.lock import Lock
from appliance.images.model import Artefact, ReleasePlan, StoredFile, Stream, older

# The files of one build are signed within hours of one another (facts of every release seen); a week is a
# rebuild that somebody mixed in.
TOGETHER: Final = timedelta(days=7)
_BLOCK: Final = re.compile(r"# (?P<kind>[A-Z0-9]+) HASH", re.ASCII)
_LINE: Final = re.compile(r"(?P<hex>[0-9a-f]{128}) [ *](?P<name>[A-Za-z0-9._+-]+)", re.ASCII)


class Case(StrEnum):
    """Why something was not trusted. The words are public."""

    NO_KEY = "no-key"
    FOREIGN_KEY = "foreign-key"
    BAD_SIGNATURE = "bad-signature"
    EXPIRED_KEY = "expired-key"
    FUTURE_SIGNATURE = "future-signature"
    REVOKED_KEY = "revoked-key"
    WEAK_HASH = "weak-hash"
    NO_SIGNATURE = "no-signature"
    WRONG_DIGEST = "wrong-digest"
    TOO_LARGE = "too-large"
    WRONG_SIZE = "wrong-size"
    DOWNGRADE = "downgrade"
    OLD_SIGNATURE = "old-signature"
    REPLAYED = "replayed"
    WRONG_CHANNEL = "wrong-channel"
    MIXED_RELEASE = "mixed-release"
    CHANGED = "changed-since-pinned"
    UNREADABLE = "unreadable"
    ENCODED = "encoded"
    REDIRECTED = "redirected"


class Untrusted(Refused):
    """Something of a release is not what was signed, or not what was asked for; the old image stays."""

    def __init__(self, case: Case, what: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"refused {what}: {reason} [{case.value}]", hint=hint)
        self.case = case


@dataclass(frozen=True, slots=True)
class Keyring:
    """Who may sign: certificates whose primary fingerprints are pinned, and nobody else.

    `pins` are primary fingerprints in upper-case hex. `operators` tells that they are an operator's own.
    `unread`: nothing at hand can read certificates, so every one that is given counts as a pin. That is for
    an operator's own key files, which are pins as they stand.
    """

    pins: frozenset[str]
    certificates: tuple[bytes, ...]
    operators: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """A good signature by a pinned key: primary and signing fingerprint, when it was made.

    Only `openpgp` makes one, from what an OpenPGP implementation said. `made_at` is None where that does
    not tell (sqv).
    """

    primary: str
    subkey: str
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignedText:
    """Text as its signer wrote it: what stands outside of the signature is gone."""

    text: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class ListedDigest:
    """The SHA-512 of a file, as a pinned key signed it in a list."""

    name: str
    sha512: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Measured:
    """What arrived: its size in bytes, its digests in hex. `sha256` is empty where nobody asked for it."""

    size: int
    sha512: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ProvenFile:
    """Bytes that are what a pinned key signed, or what an operator vouched for (`signature` None)."""

    artefact: Artefact
    measured: Measured
    signature: Signature | None

    def stored(self) -> StoredFile:
        """As the store records it."""
        signed = self.signature
        return StoredFile(
            self.artefact.name,
            self.artefact.role,
            self.measured.size,
            self.measured.sha512,
            self.artefact.url,
            signed.primary if signed else "",
            signed.subkey if signed else "",
            signed.made_at if signed else None,
        )


@dataclass(frozen=True, slots=True)
class ProvenRelease:
    """A release of which every file is proven, and that is not an old one in new clothes."""

    plan: ReleasePlan
    files: tuple[ProvenFile, ...]
    evidence: Mapping[str, bytes]
    certificates: tuple[bytes, ...]


def listed_digest(signed: SignedText, name: str) -> ListedDigest | None:
    """The SHA-512 of `name` in a DIGESTS file; None when the list does not name it.

    The format is blocks of `# KIND HASH` followed by `hex  name` (flatcar/scripts, `create_digests`).
    """
    kind, found = "", []
    for line in signed.text.splitlines():
        if block := _BLOCK.fullmatch(line.strip()):
            kind = block["kind"]
        elif kind == "SHA512" and (entry := _LINE.fullmatch(line.strip())) and entry["name"] == name:
            found.append(entry["hex"])
    if not found:
        return None
    if len(set(found)) > 1:
        raise Untrusted(Case.UNREADABLE, name, "its signed list names it twice, with two digests")
    return ListedDigest(name, found[0], signed.signature)


def prove_file(
    artefact: Artefact, measured: Measured, listed: ListedDigest | None, detached: Signature | None
) -> ProvenFile:
    """A file that arrived, held against everything that is known of it.

    Raises:
        Untrusted: a digest differs, or there is nothing that proves it.
    """
    if listed is not None and measured.sha512 != listed.sha512:
        raise Untrusted(
            Case.WRONG_DIGEST,
            artefact.name,
            f"its SHA-512 is {measured.sha512[:16]}…, signed is {listed.sha512[:16]}…",
            hint="the mirror has damaged or other bytes: try again, or another mirror",
        )
    if artefact.sha256 is not None and measured.sha256 != artefact.sha256:
        raise Untrusted(
            Case.WRONG_DIGEST,
            artefact.name,
            f"its SHA-256 is {measured.sha256[:16]}…, the release's metadata say {artefact.sha256[:16]}…",
            hint="the mirror has damaged or other bytes: try again, or another mirror",
        )
    vouched = _vouched(artefact, measured)
    if listed is None and detached is None and not vouched:
        raise Untrusted(Case.NO_SIGNATURE, artefact.name, "nothing that a pinned key signed speaks for it")
    return ProvenFile(artefact, measured, detached or (listed.signature if listed else None))


def _vouched(artefact: Artefact, measured: Measured) -> bool:
    if artefact.expected is None:
        return False
    ours = measured.sha512 if len(artefact.expected) == 128 else measured.sha256
    if ours != artefact.expected:
        raise Untrusted(
            Case.WRONG_DIGEST, artefact.name, f"its digest is {ours[:16]}…, not {artefact.expected[:16]}…"
        )
    return True


def check_version(plan: ReleasePlan, lock: Lock, *, allow_downgrade: bool) -> None:
    """Refuse a version below what was pinned of its stream, before anything large is fetched.

    A version that the lock pins itself is no step back: it is held to its pins.

    Raises:
        Untrusted: it goes backwards.
    """
    newest = lock.newest(plan.stream)
    if newest is None or allow_downgrade or lock.get(plan.stream, plan.version) is not None:
        return
    if older(plan.version, newest):
        raise Untrusted(
            Case.DOWNGRADE,
            f"{plan.stream}@{plan.version}",
            f"{newest} is pinned already, and a mirror that goes back may be replaying known holes",
            hint="if it is meant: --allow-downgrade",
        )


def judge_release(
    plan: ReleasePlan,
    files: Sequence[ProvenFile],
    lock: Lock,
    *,
    evidence: Mapping[str, bytes],
    certificates: tuple[bytes, ...],
    foreign_number: str | None,
    allow_downgrade: bool,
) -> ProvenRelease:
    """All files of a release, held against one another and against what was pinned before.

    `foreign_number` names the stream that the version's number belongs to, when it is another one.

    Raises:
        Untrusted: it was changed since it was pinned, is old bytes under a new number, another channel's, or
            put together from two builds.
    """
    what = f"{plan.stream}@{plan.version}"
    pinned = lock.get(plan.stream, plan.version)
    if pinned is not None:
        for file in files:
            pin = pinned.files.get(file.artefact.name)
            if pin is None or pin.sha512 != file.measured.sha512:
                raise Untrusted(
                    Case.CHANGED,
                    f"{file.artefact.name} of {what}",
                    "images.lock pins other bytes under this version",
                    hint="if the project really replaced it, take its entry out of images.lock",
                )
    if foreign_number is not None:
        raise Untrusted(Case.WRONG_CHANNEL, what, f"its number is that of {foreign_number} releases")
    _check_together(what, files)
    _check_new(plan, files, lock, allow_downgrade=allow_downgrade or pinned is not None)
    return ProvenRelease(plan, tuple(files), evidence, certificates)


def _check_together(what: str, files: Sequence[ProvenFile]) -> None:
    """The dates of a release's signatures are those of one build."""
    times = sorted(_times(files))
    if times and times[-1] - times[0] > TOGETHER:
        raise Untrusted(
            Case.MIXED_RELEASE,
            what,
            f"its files were signed {(times[-1] - times[0]).days} days apart: they are of two builds",
        )


def _check_new(plan: ReleasePlan, files: Sequence[ProvenFile], lock: Lock, *, allow_downgrade: bool) -> None:
    """Bytes that are pinned already under another name are not a new release."""
    if not any(file.signature for file in files):
        return  # an operator vouched for it, and may call it what he likes
    what = f"{plan.stream}@{plan.version}"
    for release in lock.releases:
        if release.stream.os != plan.stream.os or (release.stream, release.version) == (
            plan.stream,
            plan.version,
        ):
            continue
        if release.version == plan.version and _channel(release.stream) == _channel(plan.stream):
            continue  # `lts` is `lts-2024` for a year and a half
        known = {pin.sha512 for pin in release.files.values()}
        same = [file for file in files if file.measured.sha512 in known]
        elsewhere = release.stream != plan.stream
        if len(same) == len(files):
            case = Case.WRONG_CHANNEL if elsewhere else Case.REPLAYED
            raise Untrusted(case, what, f"it is {release.stream}@{release.version}, byte for byte")
    newest = lock.newest(plan.stream)
    before = lock.get(plan.stream, newest) if newest else None
    if before is None or before.signed_at is None or allow_downgrade:
        return
    for file in files:
        if file.signature and file.signature.made_at and file.signature.made_at < before.signed_at:
            raise Untrusted(
                Case.OLD_SIGNATURE,
                f"{file.artefact.name} of {what}",
                f"it was signed {file.signature.made_at:%Y-%m-%d %H:%M}, before {before.version} was "
                f"({before.signed_at:%Y-%m-%d %H:%M}): old bytes under a new number",
                hint="if it is meant: --allow-downgrade",
            )


def _channel(stream: Stream) -> str:
    return stream.name.partition("-")[0]


def _times(files: Sequence[ProvenFile]) -> Iterator[datetime]:
    return (f.signature.made_at for f in files if f.signature and f.signature.made_at)

"""How far a machine has come: rungs in order, climbed by events. Pure; time arrives with the events.

The same MAC speaks DHCP up to three times in a boot: its firmware, then iPXE, then the operating system. Only
the first begins a boot. `stage` in a DISCOVER's detail tells them apart (firmware, ipxe, os); a NIC whose ROM
is iPXE already begins with the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.boot.events import TO_DISK, TO_NOTHING, Event, EventKind, rfc3339
from appliance.boot.signs import Sign, carried, noted, read_sign

K = EventKind
RUNGS: Final = (
    K.DISCOVER,
    K.OFFER,
    K.REQUEST,
    K.ACK,
    K.BOOTFILE,
    K.IPXE,
    K.SCRIPT,
    K.KERNEL,
    K.INITRD,
    K.IGNITION,
    K.DONE,
)
_HEIGHT: Final[Mapping[EventKind, int]] = MappingProxyType({rung: n for n, rung in enumerate(RUNGS)})
# Firmware repeats its DISCOVER for about a minute (OVMF after 4, 12 and 28 s): that is one attempt.
_REPEATS_WITHIN: Final = timedelta(seconds=60)
# From a first stage on the wire to iPXE's own DISCOVER; longer than that, and the machine was off in between.
_CHAINS_WITHIN: Final = timedelta(seconds=300)
# A machine that fetches the same first stage this many times in a row never gets out of it.
LOOP_AFTER: Final = 3
# Refusals of a NIC that may boot: it asked, and that is all that becomes of it.
_ASKED_IN_VAIN: Final = frozenset({"wrong-network", "no-address", "not-served", "bootp"})
# Boots that ended with the disk are counted for so long.
_TO_DISK_WITHIN: Final = timedelta(minutes=20)
_TO_DISK_COUNTED: Final = 8
_LOADING_AT_ONCE: Final = 4  # files that are known to be sent to one machine


class BootState(StrEnum):
    """Where a machine's boot stands, in a word. The words are public."""

    IDLE = "idle"
    BOOTING = "booting"
    BOOTED = "booted"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a boot stopped: a stable id, a sentence, what to do about it."""

    id: str
    message: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        """The public shape."""
        return {"id": self.id, "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Loading:
    """A file that is being sent to the machine by HTTP right now: its path, octets, and since when."""

    path: str
    size: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Ladder:
    """One machine's current or last boot.

    `rungs` has the time of each rung reached, in this boot; `last` is when anything was heard of it;
    `attempts` counts DISCOVERs of this boot; `fetches` counts boots in a row that fetched `file` and came no
    further; `handed_to_disk` says that the script sent the machine to its own disk, where the ladder ends;
    `image` is the release that its script named, where that came out of the image store. `signs` are what
    else was seen since the boot began; `loading` is not kept: a connection ends with us; `to_disk` says when
    the boots in a row began that were sent to the disk, none of which called home.
    """

    rung: EventKind | None = None
    rungs: Mapping[EventKind, datetime] = field(default_factory=lambda: MappingProxyType({}))
    last: datetime | None = None
    attempts: int = 0
    fetches: int = 0
    file: str = ""
    handed_to_disk: bool = False
    verdict: Verdict | None = None
    image: str = ""
    signs: tuple[Sign, ...] = ()
    loading: tuple[Loading, ...] = ()
    to_disk: tuple[datetime, ...] = ()

    @property
    def rung_at(self) -> datetime | None:
        """When the current rung was reached."""
        return self.rungs.get(self.rung) if self.rung else None

    @property
    def finished(self) -> bool:
        """Whether this boot came to its end."""
        return self.rung is K.DONE or self.handed_to_disk

    @property
    def held(self) -> bool:
        """Whether the machine is caught in a loop and should be given nothing more to load."""
        return self.verdict is not None and self.verdict.id == "boot-loop"

    @property
    def expected(self) -> EventKind | None:
        """The rung that should come next."""
        if self.finished or self.rung is None:
            return None
        return RUNGS[_HEIGHT[self.rung] + 1]

    def as_json(self) -> dict[str, object]:
        """Plain JSON, for keeping."""
        return {
            "rung": self.rung.value if self.rung else None,
            "rungs": {rung.value: rfc3339(at) for rung, at in self.rungs.items()},
            "last": rfc3339(self.last) if self.last else None,
            "attempts": self.attempts,
            "fetches": self.fetches,
            "file": self.file,
            "handed_to_disk": self.handed_to_disk,
            "verdict": self.verdict.as_json() if self.verdict else None,
            "image": self.image,
            "signs": [sign.as_json() for sign in self.signs],
            "to_disk": [rfc3339(at) for at in self.to_disk],
        }

    @classmethod
    def from_json(cls, raw: object) -> Ladder:
        """Read what `as_json` wrote.

        Raises:
            ValueError: when it is something else; the caller starts from an empty ladder then.
        """
        if not isinstance(raw, dict):
            raise ValueError("a kept ladder should be an object")
        try:
            rungs = {_rung(name): _time(at) for name, at in dict(raw["rungs"]).items()}
            verdict = raw["verdict"]
            return cls(
                rung=None if raw["rung"] is None else _rung(raw["rung"]),
                rungs=MappingProxyType(rungs),
                last=None if raw["last"] is None else _time(raw["last"]),
                attempts=int(raw["attempts"]),
                fetches=int(raw["fetches"]),
                file=str(raw["file"]),
                handed_to_disk=bool(raw["handed_to_disk"]),
                verdict=None if verdict is None else Verdict(*(str(verdict[k]) for k in _VERDICT_KEYS)),
                image=str(raw.get("image", "")),
                signs=tuple(read_sign(sign) for sign in raw.get("signs", ())),
                to_disk=tuple(_time(at) for at in raw.get("to_disk", ())),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"a kept ladder cannot be read: {error!r}") from error


_VERDICT_KEYS: Final = ("id", "message", "remedy")


def climb(ladder: Ladder, event: Event) -> Ladder:
    """The ladder after an event of its machine. Events that say nothing about a boot leave it as it was."""
    after = _climbed(ladder, event)
    if after.finished and event.kind in _HEIGHT and event.detail.get("stage") == "os":
        return after  # a running system's lease, which it renews for ever
    if after.handed_to_disk and not ladder.handed_to_disk:
        after = replace(after, to_disk=_sent_to_disk(after, event.at))
    elif event.kind is K.DONE:
        after = replace(after, to_disk=(), loading=())
    signs = noted(after.signs, event)
    return after if signs is after.signs else replace(after, signs=signs)


def loading(ladder: Ladder, path: str, size: int, at: datetime) -> Ladder:
    """The ladder when a file of `size` octets begins to be sent; with no size, when its sending is over."""
    others = tuple(x for x in ladder.loading if x.path != path)
    if size:
        return replace(ladder, loading=(*others, Loading(path, size, at))[-_LOADING_AT_ONCE:])
    return ladder if others == ladder.loading else replace(ladder, loading=others)


def _sent_to_disk(ladder: Ladder, at: datetime) -> tuple[datetime, ...]:
    recent = [began for began in ladder.to_disk if at - began < _TO_DISK_WITHIN]
    return (*recent, ladder.rungs.get(K.DISCOVER, at))[-_TO_DISK_COUNTED:]


def _climbed(ladder: Ladder, event: Event) -> Ladder:
    if event.kind is K.IGNORED:
        return _refused(ladder, event)
    if event.kind not in _HEIGHT:
        return ladder
    if event.kind is K.DISCOVER:
        return _discover(ladder, event)
    if event.kind in {K.OFFER, K.REQUEST, K.ACK} and event.detail.get("stage") == "os":
        return ladder  # the operating system's own lease, and every renewal of it
    if event.kind is K.BOOTFILE:
        ladder = _fetched(ladder, event)
    climbed = _reach(ladder, event.kind, event.at)
    if _HEIGHT[event.kind] > _HEIGHT[K.BOOTFILE]:
        climbed = replace(climbed, fetches=0, verdict=None)
    if event.kind is K.SCRIPT:
        if not event.detail.get("again") and K.SCRIPT not in ladder.rungs:
            # A boot of its own: nothing of the one before counts.
            began = climbed.rungs.get(K.DISCOVER, event.at)
            fresh = tuple(s for s in climbed.signs if s.last >= began and s.kind not in {K.KERNEL, K.INITRD})
            climbed = replace(climbed, signs=fresh)
        image = event.detail.get("image", "")
        climbed = replace(climbed, handed_to_disk=event.detail.get("to") == TO_DISK, image=image)
        if event.detail.get("to") == TO_NOTHING:
            climbed = replace(climbed, verdict=_held(event))
    if event.kind in {K.OFFER, K.ACK} and event.detail.get("to") == TO_DISK:
        climbed = replace(climbed, handed_to_disk=True)  # some firmware asks for no address alone
    return climbed


def _discover(ladder: Ladder, event: Event) -> Ladder:
    stage = event.detail.get("stage")
    if stage == "os":
        return ladder
    quiet = event.at - ladder.last if ladder.last else None
    if stage == "ipxe":
        begins = quiet is None or _ipxe_begins(ladder, quiet)
    else:
        begins = quiet is None or not _repeats(ladder, quiet)
    if begins:
        return replace(
            ladder,
            rung=K.DISCOVER,
            rungs=MappingProxyType({K.DISCOVER: event.at}),
            last=event.at,
            attempts=1,
            handed_to_disk=False,
            verdict=ladder.verdict if ladder.held else None,
            image="",
            signs=_carried(ladder, event),
            loading=(),
        )
    first_stage_asks = stage != "ipxe"
    return replace(
        ladder,
        last=event.at,
        attempts=ladder.attempts + first_stage_asks,
        verdict=ladder.verdict if ladder.held else None,  # answered now, whatever it was refused for before
    )


def _carried(ladder: Ladder, event: Event) -> tuple[Sign, ...]:
    """The signs that still count: an iPXE that could not start what it loaded asks DHCP, then tries again."""
    signs = carried(ladder.signs, event.at)
    if event.detail.get("stage") != "ipxe" or ladder.rung not in {K.KERNEL, K.INITRD}:
        return signs
    refused = tuple(sign for sign in ladder.signs if sign.kind is K.HTTP_ERROR)
    return (*signs, *refused, Sign(ladder.rung, event.at, event.at))


def _repeats(ladder: Ladder, quiet: timedelta) -> bool:
    """Whether a firmware's DISCOVER is the same question again rather than a new boot."""
    return ladder.rung in {K.DISCOVER, K.OFFER} and quiet < _REPEATS_WITHIN


def _ipxe_begins(ladder: Ladder, quiet: timedelta) -> bool:
    """Whether an iPXE DISCOVER begins a boot: its ROM is iPXE, or the machine was reset behind our back."""
    if ladder.rung is None or ladder.finished or _HEIGHT[ladder.rung] >= _HEIGHT[K.KERNEL]:
        return True
    return quiet >= (_CHAINS_WITHIN if _HEIGHT[ladder.rung] < _HEIGHT[K.IPXE] else _REPEATS_WITHIN)


def _reach(ladder: Ladder, rung: EventKind, at: datetime) -> Ladder:
    """Note a rung; one that is below the current one (a late line, iPXE's own OFFER) moves nothing down.

    DHCP and TFTP are two processes with a log each: a boot file can be told before the address it was
    fetched from. Such a rung is noted late, under the one above it.
    """
    if ladder.rung is not None and _HEIGHT[rung] <= _HEIGHT[ladder.rung]:
        late = ladder.rung is K.BOOTFILE and rung not in ladder.rungs
        rungs = _in_order({**ladder.rungs, rung: at}) if late else ladder.rungs
        return replace(ladder, rungs=rungs, last=max(at, ladder.last or at))
    rungs = MappingProxyType({**ladder.rungs, rung: at})
    return replace(ladder, rung=rung, rungs=rungs, last=at)


def _in_order(rungs: Mapping[EventKind, datetime]) -> Mapping[EventKind, datetime]:
    return MappingProxyType({rung: rungs[rung] for rung in RUNGS if rung in rungs})


def _fetched(ladder: Ladder, event: Event) -> Ladder:
    """Count a first stage once per boot: firmware asks for the size first, which looks like a fetch too."""
    if ladder.rung is not None and _HEIGHT[ladder.rung] >= _HEIGHT[K.BOOTFILE]:
        return ladder
    file = event.detail.get("file", "")
    fetches = ladder.fetches + 1 if file == ladder.file else 1
    verdict = ladder.verdict
    if fetches >= LOOP_AFTER:
        verdict = Verdict(
            "boot-loop",
            f"fetched {file or 'its first stage'} {fetches} times in a row and never came further",
            "turn Secure Boot off (firmware may refuse the binary without a word) or publish another iPXE "
            "build; then let it go with pxe-appliance machine release, and power-cycle it",
        )
    return replace(ladder, file=file, fetches=fetches, verdict=verdict)


def _refused(ladder: Ladder, event: Event) -> Ladder:
    code = event.detail.get("code")
    if code == "no-boot-file":
        verdict = Verdict("no-boot-file", event.detail.get("reason", ""), event.detail.get("remedy", ""))
        rungs = MappingProxyType({K.DISCOVER: event.at})
        begun = replace(ladder, rung=K.DISCOVER, rungs=rungs, last=event.at, signs=(), loading=())
        return replace(begun, handed_to_disk=False, verdict=verdict)
    firmware = event.detail.get("stage") in {"firmware", "ipxe"}
    if code in _ASKED_IN_VAIN and firmware and _may_begin(ladder, event.at):
        asked = replace(event, kind=K.DISCOVER, detail={"stage": "firmware"})
        return _discover(ladder, asked)
    return ladder


def _may_begin(ladder: Ladder, at: datetime) -> bool:
    """Whether a refused question can be this machine's boot: bridged networks hear one question twice."""
    if ladder.rung in {None, K.DISCOVER} or ladder.finished or ladder.last is None:
        return True
    return at - ladder.last >= _REPEATS_WITHIN


def _held(event: Event) -> Verdict:
    remedy = event.detail.get("remedy", "release it")
    return Verdict("held", f"held: {event.detail.get('reason', 'it gets nothing to boot')}", remedy)


def _rung(name: object) -> EventKind:
    rung = EventKind(str(name))
    if rung not in _HEIGHT:
        raise ValueError(f"{name!r} is no rung")
    return rung


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)

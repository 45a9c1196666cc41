"""Everything that a verdict about one machine's boot is made of, as values. Pure.

The ladder and its signs say what was seen of the machine; `Place` what is true of its network, `Course` what
its boot consists of. Whoever has a daemon's state builds them; tests write them down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.ladder import RUNGS, Ladder, Loading
from appliance.boot.policy import BootPolicy, Life
from appliance.boot.signs import Sign

K = EventKind
_HEIGHT: Final = {rung: n for n, rung in enumerate(RUNGS)}
# Lower rungs are asked for again and again while nothing answers: there, silence is no measure.
_BY_RUNG: Final = frozenset({K.DISCOVER, K.OFFER, K.REQUEST})

_LONGEST_LOAD: Final = 3600.0  # seconds: 4 GiB at 10 Mbit/s


@dataclass(frozen=True, slots=True)
class Place:
    """What is true of a network for all of its machines; empty texts say that nothing is wrong."""

    network: str = ""
    interface: str = ""
    address: str = ""
    port: int = 8080  # of our HTTP
    proxy: bool = False
    down: str = ""  # why the interface cannot be used
    up_again: str = ""  # and the command that mends it
    dhcp_down: str = ""
    tftp_down: str = ""
    http_down: str = ""
    endpoint: str = ""  # of an external Matchbox
    endpoint_since: datetime | None = None  # since when that does not answer
    servers: tuple[str, ...] = ()  # other DHCP servers that were heard themselves, for people
    strangers: tuple[str, ...] = ()  # MACs that asked of late and are nobody's, newest first
    boot_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """What a machine's boot loads, from where, and how much of it we see; of an empty one, nothing more."""

    kernel: str = ""
    initrd: tuple[str, ...] = ()
    here: bool = False  # kernel and initrd come from our HTTP
    ignition: bool = False  # it asks us for its Ignition
    calls_home: bool = False
    origin: str = ""  # FILE:LINE of its profile


@dataclass(frozen=True, slots=True)
class Suspect:
    """A stranger that may be this machine: why it is taken for it, when it asked first and last.

    `old` is the MAC of the machine that it is likely meant to be, where that is known.
    """

    mac: str
    first: datetime
    last: datetime
    words: str = ""
    old: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One machine at one moment. `asked`: an operator asks about this machine, rather than for a list."""

    machine: str
    ladder: Ladder
    now: datetime
    macs: tuple[str, ...] = ()
    ip: str = ""
    profile: str = ""
    policy: BootPolicy | None = None
    life: Life = field(default_factory=Life)
    place: Place = field(default_factory=Place)
    course: Course = field(default_factory=Course)
    suspects: tuple[Suspect, ...] = ()
    nothing: str = ""  # why there is nothing for it to boot
    asked: bool = False
    waited: float = field(init=False)  # seconds for which the machine came no further

    def __post_init__(self) -> None:
        ladder = self.ladder
        since = ladder.rung_at if ladder.rung in _BY_RUNG else ladder.last
        object.__setattr__(self, "waited", (self.now - since).total_seconds() if since else 0.0)

    @property
    def rung_clock(self) -> str:
        """When its rung was reached, as HH:MM:SSZ."""
        return clock(self.ladder.rung_at) if self.ladder.rung_at else ""

    @property
    def awaits(self) -> bool:
        """Whether something that we can see should still come."""
        return expected(self.ladder, self.course) is not None

    @property
    def loading(self) -> Loading | None:
        """What is being sent to it, begun first; a connection that is kept open for ever is nothing."""
        recent = (x for x in self.ladder.loading if (self.now - x.since).total_seconds() < _LONGEST_LOAD)
        return min(recent, key=lambda x: x.since, default=None)

    def signs(self, kind: EventKind, **detail: str) -> Iterator[Sign]:
        """Signs of one kind with these details."""
        wanted = detail.items()
        for sign in self.ladder.signs:
            if sign.kind is kind and (not wanted or all(sign.get(key) == value for key, value in wanted)):
                yield sign

    def sign(self, kind: EventKind, **detail: str) -> Sign | None:
        """The newest of them."""
        return max(self.signs(kind, **detail), key=lambda sign: sign.last, default=None)

    def count(self, kind: EventKind, **detail: str) -> int:
        """How often it was seen in this boot."""
        return sum(sign.count for sign in self.signs(kind, **detail))

    def age(self, sign: Sign | None) -> float:
        """Seconds since a sign was seen last; very many when there is none."""
        return (self.now - sign.last).total_seconds() if sign else float("inf")

    def reached(self, rung: EventKind) -> bool:
        """Whether the machine stands on this rung or above."""
        return self.ladder.rung is not None and _HEIGHT[self.ladder.rung] >= _HEIGHT[rung]


def clock(at: datetime) -> str:
    """A time of day for a sentence: HH:MM:SSZ."""
    return at.strftime("%H:%M:%SZ")


def expected(ladder: Ladder, course: Course) -> EventKind | None:
    """The rung that should come next and that we can see; None when the boot is over as far as we see."""
    if ladder.finished or ladder.rung is None:
        return None
    height = _HEIGHT[ladder.rung]
    if height < _HEIGHT[K.SCRIPT]:
        return RUNGS[height + 1]
    seen = (
        (K.KERNEL, course.here),
        (K.INITRD, course.here and bool(course.initrd)),
        (K.IGNITION, course.ignition),
        (K.DONE, course.calls_home),
    )
    return next((rung for rung, visible in seen if visible and _HEIGHT[rung] > height), None)

"""Why a boot stopped: what a rule is, and the words that many rules share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from appliance.boot.events import EventKind
from appliance.boot.evidence import Evidence, clock
from appliance.boot.ladder import RUNGS
from appliance.boot.signs import Sign

K = EventKind
Says: TypeAlias = Callable[[Evidence], str] | str
Rungs: TypeAlias = frozenset[EventKind | None]

IDLE: Final[Rungs] = frozenset({None})
EVERY: Final[Rungs] = frozenset({None, *RUNGS})
# Seconds on a rung after which silence is a verdict: what healthy machines need, measured, twice over.
PATIENCE: Final = {
    K.DISCOVER: 20,  # dnsmasq answers within milliseconds, in a storm within four seconds
    K.OFFER: 45,  # EDK II asks after 0, 4, 12 and 28 s
    K.REQUEST: 20,
    K.ACK: 45,  # a megabyte over TFTP with 1 % loss takes 17 s
    K.BOOTFILE: 50,  # an iPXE of 2019 waits up to 16 s for an IPv6 router before it asks for an address
    K.IPXE: 30,
    K.SCRIPT: 30,
    K.KERNEL: 30,
    K.INITRD: 60,
    K.IGNITION: 120,
}
_STEPS: Final = (5, 10, 20, 30, 45, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400, 172800)


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason.

    It counts on `rungs` once the machine came no further for `after` seconds and `holds` is true. It says
    that the machine is stuck, or, until `stuck_after` seconds, no more than that something is odd (None: it
    never says more). `listed` is false for what only whoever asks about this one machine wants to read;
    `ended` is true for what counts of a boot that is over, too. `needs` is a kind of sign without which there
    is no need to look.
    """

    id: str
    title: str
    rungs: Rungs
    holds: Callable[[Evidence], object]
    says: Says
    remedy: Says
    after: int = 0
    stuck_after: int | None = 0
    listed: bool = True
    silent: bool = False  # nothing was seen but time: what is still being sent to the machine excuses it
    ended: bool = False
    needs: EventKind | None = None

    def message(self, evidence: Evidence) -> str:
        """What is wrong, in a sentence."""
        return self.says if isinstance(self.says, str) else self.says(evidence)

    def way_out(self, evidence: Evidence) -> str:
        """What to do about it."""
        return self.remedy if isinstance(self.remedy, str) else self.remedy(evidence)


def rungs(first: EventKind, last: EventKind | None = None) -> Rungs:
    """The rungs from `first` to `last`."""
    begin, end = RUNGS.index(first), RUNGS.index(last or first)
    return frozenset(RUNGS[begin : end + 1])


def always(_: Evidence) -> bool:
    """For a rule that needs nothing but its rung and time."""
    return True


def ago(evidence: Evidence) -> str:
    """For how long it waits at least, for a sentence that stays the same for a while."""
    steps = [step for step in _STEPS if step <= evidence.waited]
    seconds = steps[-1] if steps else 0
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} and more"
    return f"{seconds} s and more"


def times(count: int) -> str:
    """How often, for a sentence."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def told(sign: Sign | None, key: str, otherwise: str = "") -> str:
    """A detail of a sign that may be missing."""
    return (sign.get(key) if sign else "") or otherwise


def at(sign: Sign | None) -> str:
    """When a sign was seen last."""
    return clock(sign.last) if sign else "-"


def base(path: str) -> str:
    """The file name of a path or URL."""
    return path.rpartition("/")[2]


def profile_place(evidence: Evidence) -> str:
    """Where the machine's profile is written."""
    where = f" ({evidence.course.origin})" if evidence.course.origin else ""
    return f"profile {evidence.profile}{where}" if evidence.profile else "its profile"


def refused_files(evidence: Evidence, *, cut: bool = False) -> list[Sign]:
    """Files that were asked for and refused or, with `cut`, that broke off; newest first."""
    if evidence.loading:
        return []  # it is at it again
    # With a kernel in hand, what was refused before it is past.
    since = evidence.ladder.rung_at if evidence.reached(K.KERNEL) else None
    found = [
        sign
        for sign in evidence.signs(K.HTTP_ERROR)
        if (since is None or sign.last >= since)
        and sign.get("path").startswith("/assets/")
        and (sign.get("status") in {"200", "206"}) is cut
    ]
    return sorted(found, key=lambda sign: sign.last, reverse=True)


def replace_mac(machine: str, macs: tuple[str, ...], new: str, old: str = "") -> str:
    """The command that writes `new` in place of a MAC of the machine: of `old`, where that is known."""
    command = f"pxe-appliance machine replace-mac {machine} {new}"
    if len(macs) < 2:
        return command
    return (
        f"{command} --old {old}" if old else f"{command} --old {macs[0]} (or whichever of its MACs is gone)"
    )


def lost(sign: Sign | None, evidence: Evidence, what: str) -> str:
    """That a file was asked for and refused, for a sentence."""
    status = told(sign, "status", "404")
    reason = told(sign, "reason")
    return (
        f"{evidence.machine} asked for its {what} {told(sign, 'path')} {times(sign.count if sign else 1)} "
        f"and got {status}{f': {reason}' if reason else ''}"
    )

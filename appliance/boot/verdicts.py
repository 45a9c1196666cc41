"""The table of reasons, most specific first, and the one that counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.evidence import Evidence, expected
from appliance.boot.ladder import RUNGS, BootState, Verdict
from appliance.boot.reasons import EVERY, PATIENCE, Rule, ago
from appliance.boot.reasons_address import RULES as OF_ADDRESS
from appliance.boot.reasons_first_stage import RULES as OF_FIRST_STAGE
from appliance.boot.reasons_kernel import RULES as OF_KERNEL
from appliance.boot.reasons_running import RULES as OF_RUNNING
from appliance.boot.reasons_script import RULES as OF_SCRIPT
from appliance.boot.reasons_strangers import NEVER_ASKED, WRONG_MAC, suspect

K = EventKind
# Seconds that a healthy machine may stay on a rung, generously: slow firmware, a rack that boots at once.
DEADLINES: Final[Mapping[EventKind, int]] = MappingProxyType(
    {
        K.DISCOVER: 60,
        K.OFFER: 60,
        K.REQUEST: 60,
        K.ACK: 90,
        K.BOOTFILE: 120,  # iPXE of 2019 waits 16 s for an IPv6 router before it asks for an address
        K.IPXE: 90,
        K.SCRIPT: 300,
        K.KERNEL: 600,
        K.INITRD: 900,
        K.IGNITION: 1800,
    }
)
_SETTLES: Final = 60.0  # seconds after the last thing that we can see of a boot: a failure would have shown


def _limit(evidence: Evidence) -> int:
    """Seconds for all the rungs up to the next that we can see."""
    here, there = evidence.ladder.rung, expected(evidence.ladder, evidence.course)
    if here is None or there is None:
        return 0
    return sum(DEADLINES[rung] for rung in RUNGS[RUNGS.index(here) : RUNGS.index(there)])


_OVERDUE: Final = Rule(
    "overdue",
    "the next rung should have come",
    EVERY - {None, K.DONE},
    lambda e: e.waited > _limit(e),
    lambda e: (
        f"{e.machine} is on {e.ladder.rung} for {ago(e)}; {expected(e.ladder, e.course)} should have come"
    ),
    lambda e: f"look at its console; pxe-appliance events --machine {e.machine} shows what came last",
    silent=True,
)
_IN_ORDER: Final = (*OF_ADDRESS, *OF_RUNNING, *OF_FIRST_STAGE, *OF_SCRIPT, *OF_KERNEL, _OVERDUE)
# What was seen comes before what was waited for in vain, and both before what a stranger says.
RULES: Final = (*sorted(_IN_ORDER, key=lambda rule: rule.silent), WRONG_MAC, NEVER_ASKED)
_BY_RUNG: Final[Mapping[EventKind | None, tuple[Rule, ...]]] = MappingProxyType(
    {rung: tuple(rule for rule in RULES if rung in rule.rungs) for rung in (None, *RUNGS)}
)


@dataclass(frozen=True, slots=True)
class Judged:
    """Where a boot stands, in a word; why it does not go on; what should come next, and until when."""

    state: BootState
    verdict: Verdict | None = None
    expected: EventKind | None = None
    deadline: datetime | None = None


def judge(evidence: Evidence) -> Judged:
    """Look for the first rule that counts."""
    ladder = evidence.ladder
    next_rung = expected(ladder, evidence.course)
    found = first_rule(evidence, next_rung)
    verdict, stuck = None, False
    if found is not None:
        verdict = Verdict(
            found.id, found.message(evidence) + _meanwhile(found, evidence), found.way_out(evidence)
        )
        stuck = found.stuck_after is not None and evidence.waited >= found.stuck_after
    return Judged(
        state=BootState.STUCK if stuck else _state(evidence, next_rung),
        verdict=verdict,
        expected=next_rung,
        deadline=_deadline(evidence) if next_rung is not None else None,
    )


def _meanwhile(rule: Rule, evidence: Evidence) -> str:
    """Silence has another reason, perhaps, when somebody asks who may be the machine."""
    stranger = suspect(evidence) if rule.silent else None
    return f"; meanwhile {stranger.mac} asks: {stranger.words}" if stranger else ""


def first_rule(evidence: Evidence, next_rung: EventKind | None) -> Rule | None:
    """The rule that counts, of a boot whose next rung is known; None when nothing is wrong so far."""
    ladder = evidence.ladder
    waited, excused = evidence.waited, evidence.loading is not None
    over = ladder.rung is not None and next_rung is None
    present = {sign.kind for sign in ladder.signs}
    for rule in _BY_RUNG[ladder.rung]:
        if waited < rule.after or (rule.needs is not None and rule.needs not in present):
            continue
        if (rule.silent and (excused or over)) or (ladder.finished and not rule.ended):
            continue
        if (rule.listed or evidence.asked) and rule.holds(evidence):
            return rule
    return None


def _state(evidence: Evidence, next_rung: EventKind | None) -> BootState:
    ladder = evidence.ladder
    if ladder.rung is None:
        return BootState.IDLE
    if ladder.finished or (next_rung is None and evidence.waited > _SETTLES):
        return BootState.BOOTED
    return BootState.BOOTING


def _deadline(evidence: Evidence) -> datetime | None:
    """Until when the next rung should come; None while a file is being sent."""
    ladder = evidence.ladder
    if ladder.rung is None or evidence.loading is not None:
        return None
    since = ladder.rung_at if ladder.rung in {K.DISCOVER, K.OFFER, K.REQUEST} else ladder.last
    return since + timedelta(seconds=PATIENCE[ladder.rung]) if since else None

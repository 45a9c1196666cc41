"""The table of reasons as a table: what it says of itself, and what docs/diagnosis.md says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.boot.events import Event, EventKind
from appliance.boot.evidence import Course, Evidence, expected
from appliance.boot.ladder import RUNGS, BootState, Ladder, climb, loading
from appliance.boot.policy import Cue, Life
from appliance.boot.reasons import EVERY, PATIENCE, Rule, ago
from appliance.boot.verdicts import DEADLINES, RULES, judge

K = EventKind
DOCUMENT = Path(__file__).parents[3] / "docs/diagnosis.md"
START = datetime(2025, 1, 31, 4, 0, 0, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def climbed(*kinds: EventKind, stage: str = "firmware") -> Ladder:
    ladder = Ladder()
    for kind in kinds:
        ladder = climb(ladder, Event(START, kind, "n7", detail={"stage": stage}))
    return ladder


def where(rule: Rule) -> str:
    """The rungs of a rule, in words."""
    if rule.rungs == EVERY:
        return "any"
    heights = sorted(RUNGS.index(rung) for rung in rule.rungs if rung is not None)
    named = [RUNGS[heights[0]].value, RUNGS[heights[-1]].value] if heights else ["nothing heard"]
    return named[0] if named[0] == named[-1] else f"{named[0]} to {named[-1]}"


def seconds(rule: Rule) -> str:
    """When a rule speaks, in words."""
    said = f"{rule.after}" if rule.after else "at once"
    if rule.stuck_after is None:
        said += ", note"
    elif rule.stuck_after > rule.after:
        said += f", note until {rule.stuck_after}"
    return said if rule.listed else f"{said}, why only"


def verdict_lines() -> list[str]:
    """The table of verdicts, as the document has it."""
    return [f"| `{rule.id}` | {where(rule)} | {seconds(rule)} | {rule.title} |" for rule in RULES]


def test_the_document_has_the_table_as_it_is() -> None:
    text = DOCUMENT.read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert lines[len(RUNGS) :] == verdict_lines()
    assert [line.split("|")[1].strip(" `") for line in lines[: len(RUNGS)]] == [r.value for r in RUNGS]
    patience = [line.split("|")[3].strip() for line in lines[: len(RUNGS)]]
    assert patience == [str(PATIENCE.get(rung, "-")) for rung in RUNGS]


def test_one_id_has_one_title_and_rules_are_well_formed() -> None:
    titles: dict[str, str] = {}
    for rule in RULES:
        assert titles.setdefault(rule.id, rule.title) == rule.title
        assert rule.rungs <= EVERY
        assert rule.title[0].islower() or rule.title.startswith(("iPXE", "DHCP"))
        assert not rule.title.endswith(".")
        assert not (rule.silent and rule.ended), "of a boot that is over, nothing is late"
    assert len(titles) >= 50


def test_every_rung_but_the_last_has_its_patience_and_the_operator_hears_within_65_seconds() -> None:
    assert set(PATIENCE) == set(DEADLINES) == set(RUNGS) - {K.DONE}
    assert max(PATIENCE[rung] for rung in RUNGS[: RUNGS.index(K.IGNITION)]) <= 65


@pytest.mark.parametrize(
    ("course", "rung", "following"),
    [
        (Course(), K.DISCOVER, K.OFFER),
        (Course(), K.IPXE, K.SCRIPT),
        (Course(), K.SCRIPT, None),
        (Course("/k", ("/i",), here=True, ignition=True, calls_home=True), K.SCRIPT, K.KERNEL),
        (Course("/k", (), here=True, ignition=True, calls_home=True), K.KERNEL, K.IGNITION),
        (Course("/k", ("/i",), here=True), K.KERNEL, K.INITRD),
        (Course("/k", ("/i",), here=True), K.INITRD, None),
        (Course("http://x/k", ("http://x/i",), ignition=True), K.SCRIPT, K.IGNITION),
        (Course("http://x/k", calls_home=True), K.SCRIPT, K.DONE),
        (Course("/k", (), here=True, ignition=True, calls_home=True), K.IGNITION, K.DONE),
        (Course("/k", (), here=True, ignition=True), K.DONE, None),
    ],
)
def test_what_cannot_be_seen_is_not_waited_for(
    course: Course, rung: EventKind, following: EventKind | None
) -> None:
    assert expected(climbed(*RUNGS[: RUNGS.index(rung) + 1]), course) is following


def test_the_deadline_is_when_silence_becomes_a_verdict() -> None:
    ladder = climbed(*RUNGS[:5])
    early = judge(Evidence("n7", ladder, at(49)))
    assert (early.verdict, early.state, early.expected) == (None, BootState.BOOTING, K.IPXE)
    assert early.deadline == at(50)
    late = judge(Evidence("n7", ladder, at(50)))
    assert late.verdict is not None
    assert (late.verdict.id, late.state) == ("ipxe-silent", BootState.STUCK)


def test_a_file_that_is_being_sent_has_no_deadline_and_excuses() -> None:
    ladder = loading(climbed(*RUNGS[:6], stage="ipxe"), "/assets/big", 1 << 30, at(1))
    judged = judge(Evidence("n7", ladder, at(59)))
    assert (judged.verdict, judged.deadline) == (None, None)
    assert loading(ladder, "/assets/other", 0, at(2)).loading
    assert not loading(ladder, "/assets/big", 0, at(2)).loading


def test_of_two_transfers_one_goes_on_when_the_other_ends() -> None:
    ladder = loading(climbed(*RUNGS[:6], stage="ipxe"), "/assets/big", 1 << 30, at(1))
    ladder = loading(loading(ladder, "/assets/small", 1 << 20, at(2)), "/assets/small", 0, at(3))
    assert judge(Evidence("n7", ladder, at(59))).verdict is None
    for n in range(9):
        ladder = loading(ladder, f"/assets/{n}", 1, at(4))
    assert len(ladder.loading) == 4


def test_a_connection_that_is_kept_open_for_ever_excuses_nothing() -> None:
    ladder = loading(climbed(*RUNGS[:6], stage="ipxe"), "/assets/big", 1 << 30, at(1))
    late = judge(Evidence("n7", ladder, at(3700)))
    assert late.verdict is not None
    assert late.verdict.id == "script-not-asked"


def test_a_boot_that_ends_out_of_sight_is_over_after_a_minute() -> None:
    ladder = climbed(*RUNGS[:7], stage="ipxe")
    assert judge(Evidence("n7", ladder, at(30))).state is BootState.BOOTING
    over = judge(Evidence("n7", ladder, at(61)))
    assert (over.state, over.verdict, over.expected, over.deadline) == (BootState.BOOTED, None, None, None)


def test_a_held_machine_says_so_before_anything_else() -> None:
    life = Life().after(Cue.HOLD, START, reason="disk 3 is broken")
    for ladder in (Ladder(), climbed(*RUNGS[:2]), climbed(*RUNGS)):
        verdict = judge(Evidence("n7", ladder, at(500), life=life)).verdict
        assert verdict is not None
        assert (verdict.id, verdict.message) == ("held", "held: disk 3 is broken")
        assert verdict.remedy == "pxe-appliance machine release n7"


@pytest.mark.parametrize(
    ("waited", "said"),
    [(0, "0 s"), (7, "5 s"), (64, "60 s"), (200, "2 min"), (4000, "60 min"), (8000, "2 h"), (9**9, "2 d")],
)
def test_how_long_it_waits_is_said_in_steps(waited: int, said: str) -> None:
    assert ago(Evidence("n7", climbed(K.DISCOVER), at(waited))) == f"{said} and more"


def test_what_comes_from_the_wire_breaks_no_rule() -> None:
    """Any text in any detail: rules read, and never trust."""
    evil = "\x1b[2J{0}%s\n" * 20
    details = ("reason", "path", "file", "note", "stage", "code", "class", "boot_file", "what", "message")
    for kind in EventKind:
        ladder = climbed(*RUNGS[:3])
        ladder = climb(ladder, Event(START, kind, "n7", detail=dict.fromkeys(details, evil)))
        for second in (0, 100, 5000):
            judge(Evidence("n7", ladder, at(second), asked=True))

"""What is worth a line and a webhook: once each, rationed, in words that can be shown."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.daemon.log_lines import Severity
from appliance.daemon.notable import Outlook, Rations, changes, climbed, lasting, of_climb, of_event
from appliance.settings import Notice
from tests.unit.daemon.rooms import event

K = EventKind


def words(kind: EventKind, detail: Mapping[str, str] | None = None, *, first: bool = True) -> str:
    note = of_event(event(kind, detail=detail), first=first)
    return note.message if note else ""


def test_events_are_told_in_a_sentence() -> None:
    assert words(K.HELD, {"reason": "a loop", "remedy": "x"}) == "node1 is held: a loop; let it go with x"
    assert words(K.LIFECYCLE, {"from": "new", "to": "installing"}) == "node1: new -> installing"
    assert words(K.SYNC, {"generation": "4", "why": "rack 2"}) == "generation 4 is current: rack 2"
    waits = {"generation": "4", "why": "rack 2", "until": "noon"}
    assert words(K.SYNC, waits) == "generation 4 is current until noon, unless it is confirmed: rack 2"
    assert words(K.SYNC, {"reason": "no inventory"}) == "sync failed: no inventory"
    assert words(K.ROLLBACK, {"reason": "not offered"}) == "rolled back: not offered"
    assert words(K.DNSMASQ, {"message": "tftp is serving"}) == "tftp is serving"
    stray = of_event(event(K.STRAY, None, ip=None), first=True)
    assert stray is not None
    assert stray.message == "stranger 52:54:00:aa:00:01 on pxe: not in the inventory"
    assert words(K.NAK) == words(K.HTTP_ERROR) == ""
    assert words(K.STRAY, first=False) == words(K.IGNORED, first=False) == ""


def test_another_server_is_named_when_it_comes_and_when_it_goes() -> None:
    came = of_event(event(K.ROGUE_SERVER, None, ip="172.0.1.66"), first=False)
    gone = of_event(event(K.ROGUE_SERVER, None, ip="172.0.1.66", detail={"what": "gone"}), first=False)
    assert came is not None
    assert gone is not None
    assert "172.0.1.66" in came.message
    assert "52:54:00:aa:00:01" in came.message
    assert (came.severity, gone.severity) == (Severity.ERROR, Severity.INFO)
    assert gone.message.endswith("is gone")
    assert came.notice is gone.notice is Notice.ROGUE_SERVER


def test_a_rung_is_told_with_its_time_and_its_stage() -> None:
    before = climb(Ladder(), event(K.DISCOVER))
    offer = event(K.OFFER, after=1.5, detail={"stage": "firmware"})
    step = climbed(before, offer, climb(before, offer))
    assert step is not None
    note = of_climb(offer, step)
    assert note.message == "node1: offer, 1.5 s after the rung before"
    assert dict(note.facts) == {
        "machine": "node1",
        "mac": "52:54:00:aa:00:01",
        "stage": "offer",
        "network": "pxe",
        "event": "offer",
    }


@given(st.sampled_from(EventKind), st.dictionaries(st.text(), st.text()))
def test_no_text_of_a_client_breaks_a_note(kind: EventKind, detail: Mapping[str, str]) -> None:
    note = of_event(event(kind, detail=detail), first=True)
    for text in _texts(dict(note.data)) if note else ():
        assert "\n" not in text
        assert "\x1b" not in text


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    return []


# ---- what lasts ----


def row(name: str, verdict: str | None, state: str = "stuck") -> dict[str, object]:
    told = {"id": verdict, "message": "m", "remedy": "r"} if verdict else None
    return {
        "name": name,
        "network": "pxe",
        "rung": "script",
        "rung_at": "x",
        "verdict": told,
        "boot": {"state": state},
    }


def problem(identity: str, message: str = "m") -> dict[str, str]:
    return {"id": identity, "severity": "error", "message": message, "fix": "f"}


def outlook(*rows: dict[str, object], problems: tuple[dict[str, str], ...] = ()) -> Outlook:
    return Outlook.of(rows, problems)


def said(before: Outlook, after: Outlook) -> list[str]:
    return [note.message for note in changes(before, after)]


def test_a_verdict_is_told_when_it_comes_when_it_changes_and_when_it_goes() -> None:
    stuck = outlook(row("node1", "overdue"), row("node2", None))
    assert said(outlook(), stuck) == ["node1 is stuck: m; r"]
    assert said(stuck, stuck) == []
    assert said(stuck, outlook(row("node1", "boot-loop"))) == ["node1 is stuck: m; r"]
    assert said(stuck, outlook(row("node1", None))) == ["node1 goes on"]
    assert said(outlook(), outlook(row("node1", "held"))) == [], "the event tells that"


def test_what_is_odd_is_logged_and_nobody_is_paged() -> None:
    odd, stuck = outlook(row("node1", "slow", "booting")), outlook(row("node1", "slow"))
    (note,) = changes(outlook(), odd)
    assert (note.message, note.notice, note.severity) == ("node1: m; r", None, Severity.INFO)
    assert [n.notice for n in changes(odd, stuck)] == [Notice.STUCK]
    assert [(n.notice, n.data["gone"]) for n in changes(stuck, odd)] == [(Notice.STUCK, True), (None, False)]


def test_a_stuck_boot_has_the_same_subject_after_a_restart() -> None:
    (first,) = changes(outlook(), outlook(row("node1", "overdue")))
    (again,) = changes(Outlook(), outlook(row("node1", "overdue")))
    (gone,) = changes(outlook(row("node1", "overdue")), outlook())
    assert first.subject == again.subject
    assert first.subject != gone.subject


def test_a_number_that_grows_makes_no_other_problem() -> None:
    lost = [outlook(problems=(problem("history", f"{n} events are lost"),)) for n in (1, 2)]
    assert said(*lost) == []
    nodes = [outlook(problems=(problem("x", f"node{n} of 172.0.1.{n}"),)) for n in (1, 2)]
    assert len(said(*nodes)) == 2


def test_a_problem_has_to_last_for_two_looks_and_to_be_away_for_two() -> None:
    nothing, there = outlook(), outlook(problems=(problem("http"),))
    kept = lasting(nothing, there, nothing)
    assert not kept.problems
    kept = lasting(there, there, kept)
    assert said(nothing, kept) == ["m"]
    kept = lasting(there, nothing, kept)
    assert kept.problems
    kept = lasting(nothing, there, kept)
    assert kept.problems
    assert not lasting(nothing, nothing, kept).problems


def test_what_an_event_tells_is_told_once() -> None:
    for identity in ("held", "rogue-server", "stray-flood", "sync"):
        assert said(outlook(), outlook(problems=(problem(identity),))) == []


# ---- rations ----


def test_strangers_have_few_lines_and_a_rack_that_boots_has_all() -> None:
    rations = Rations()
    assert sum(rations.take("stray", 0.0) for _ in range(100_000)) == 50
    assert sum(rations.take("rung", 0.0) for _ in range(1000 * 11)) == 11_000
    (left,) = rations.withheld()
    assert left.message.startswith("99950 more lines of the kind stray")
    assert list(rations.withheld()) == []
    assert sum(rations.take("stray", 10.0) for _ in range(100)) == 10

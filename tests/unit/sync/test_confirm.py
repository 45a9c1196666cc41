"""A change that has to be confirmed: what is on disk of it, and what is refused, with a stand-in daemon."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from appliance.errors import NotProven, Refused, SurroundingsError
from appliance.sync import confirm, generations
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.confirm import Pending, parse_within
from appliance.sync.run import Outcome, Request, prove_current, rollback_target, sync
from tests.unit.sync.rooms import MOVED, RACK, Daemon, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Generation 1 is proven; the inventory asks for another address."""
    site = Site(tmp_path)
    site.write()
    sync(site.paths, Request(), Daemon())
    site.write(MOVED)
    return site


def begin(site: Site, daemon: Daemon | None = None, **request: object) -> Outcome:
    wanted = Request(**{"confirm_within": 120, **request})  # type: ignore[arg-type]
    return sync(site.paths, wanted, daemon or Daemon())


def pending(site: Site) -> Pending:
    found = begin(site).pending
    assert found is not None
    return found


def state(site: Site) -> tuple[int | None, list[tuple[int, bool, str]]]:
    """The current generation; of each its number, whether it is proven, and why it was taken back."""
    listed = [(m.id, m.proven, m.rejected) for m in generations.list_generations(site.paths)]
    return generations.current_id(site.paths), listed


# ---- the time ----


@pytest.mark.parametrize(
    ("raw", "seconds"), [("5s", 5), ("120s", 120), ("10m", 600), ("24h", 86400), ("1d", 86400)]
)
def test_times_as_in_the_settings(raw: str, seconds: int) -> None:
    assert parse_within(raw) == seconds


@pytest.mark.parametrize(
    "raw", ["", "4s", "86401s", "25h", "2d", "120", "0s", "-5s", "5 s", "1.5m", "٥s", "9" * 50]
)
def test_what_is_no_time_or_out_of_bounds(raw: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|is not a duration|is not between 5s and 24h"):
        parse_within(raw)


# ---- it waits ----


def test_it_is_shown_to_work_and_counts_as_not_proven(site: Site) -> None:
    daemon = Daemon()
    outcome = begin(site, daemon)
    assert [a.number for a in daemon.seen] == [2]
    assert (outcome.number, outcome.active, outcome.proven) == (2, True, True)
    shape = outcome.as_json()["pending"]
    assert isinstance(shape, dict)
    assert (shape["generation"], shape["previous"]) == (2, 1)
    assert state(site) == (2, [(1, True, ""), (2, False, "")])
    manifest = generations.read_manifest(site.paths, 2)
    assert (manifest.waits, manifest.confirm_within, manifest.pending) == (True, 120, shape["until"])
    assert manifest.as_json()["pending"] == shape["until"]
    made = datetime.fromisoformat(manifest.at)
    assert 119 <= (datetime.fromisoformat(manifest.pending) - made).total_seconds() < 180
    newest = generations.newest_proven(site.paths)
    assert newest is not None
    assert newest[0] == 1


def test_nobody_else_changes_anything_meanwhile(site: Site) -> None:
    pending(site)
    site.write(RACK)
    before = site.trace()
    for wanted, daemon, hint in (
        (Request(), Daemon(), "pxe-appliance confirm keeps it, pxe-appliance rollback takes it back"),
        (Request(to=1), Daemon(), "pxe-appliance confirm"),
        (Request(confirm_within=5), Daemon(), "pxe-appliance confirm"),
        (Request(), None, "the daemon takes it back when it starts"),
    ):
        with pytest.raises(Refused, match=r"generation 2 waits until .* for its confirmation") as caught:
            sync(site.paths, wanted, daemon)
        assert hint in caught.value.hint
        assert site.trace() == before
    daemon = Daemon()
    prove_current(site.paths, daemon)
    assert (daemon.seen, site.trace()) == ([], before), "nor does it become proven by itself"
    assert rollback_target(site.paths, None) == 1


def test_a_change_that_does_not_work_does_not_wait(site: Site) -> None:
    with pytest.raises(NotProven, match="rolled back to generation 1") as caught:
        begin(site, Daemon(refusals=1))
    assert caught.value.evidence == ("dhcp:pxe: proven",)
    assert state(site)[0] == 1
    assert confirm.waiting(site.paths) is None


def test_nothing_to_do_is_nothing_to_confirm(site: Site) -> None:
    site.write(RACK)
    assert begin(site).pending is None
    assert confirm.waiting(site.paths) is None


def test_without_a_daemon_or_a_way_back_it_is_refused(site: Site, tmp_path: Path) -> None:
    before = site.trace()
    with pytest.raises(Refused, match="the daemon is not running") as caught:
        sync(site.paths, Request(confirm_within=60), None)
    assert "systemctl start pxe-appliance" in caught.value.hint
    assert site.trace() == before
    empty = Site(tmp_path / "other")
    empty.write()
    with pytest.raises(Refused, match="no generation is proven yet"):
        begin(empty)
    assert empty.trace() == {}


def test_a_disk_that_cannot_note_the_deadline_keeps_no_change(site: Site) -> None:
    """The next start would not know that nobody had confirmed it."""

    def full(applied: AppliedPlan) -> ProvenPlan:
        (generations.generation_directory(site.paths, applied.number) / "pending").mkdir(exist_ok=True)
        return ProvenPlan(applied, ())

    with pytest.raises(NotProven, match="rolled back to generation 1: cannot write"):
        sync(site.paths, Request(confirm_within=60), full)
    assert state(site)[0] == 1


# ---- kept ----


def test_kept_is_proven_before_anybody_is_told(site: Site) -> None:
    confirm.keep(site.paths, pending(site), Daemon())
    assert state(site) == (2, [(1, True, ""), (2, True, "")])
    assert confirm.waiting(site.paths) is None
    assert confirm.unconfirmed(site.paths) is None
    assert "generation 2 is confirmed already" in confirm.refusal(site.paths).message


def test_a_disk_that_does_not_take_it_leaves_it_waiting(site: Site) -> None:
    waits = pending(site)
    obstacle = generations.generation_directory(site.paths, 2) / "proven"
    temporary = obstacle.with_name(f".proven.{os.getpid()}.tmp")
    temporary.mkdir()
    with pytest.raises(SurroundingsError, match="cannot write"):
        confirm.keep(site.paths, waits, Daemon())
    assert confirm.waiting(site.paths) is not None


def test_what_nobody_could_be_asked_about_is_asked_about_first(site: Site) -> None:
    def deaf(applied: AppliedPlan) -> ProvenPlan:
        return ProvenPlan(applied, ("pxe: no exchange was tried",), exchanged=False)

    outcome = sync(site.paths, Request(confirm_within=60), deaf)
    waits = outcome.pending
    assert waits is not None
    assert (waits.shown, outcome.proven) == (False, False)
    with pytest.raises(
        Refused, match=r"cannot keep generation 2: nobody could be asked.*no exchange was tried"
    ):
        confirm.keep(site.paths, waits, deaf)
    assert confirm.waiting(site.paths) is not None
    with pytest.raises(NotProven):
        confirm.keep(site.paths, waits, Daemon(refusals=1))
    assert confirm.waiting(site.paths) is not None, "whoever asked takes it back"
    daemon = Daemon()
    assert confirm.keep(site.paths, waits, daemon) == ("dhcp:pxe: proven",)
    assert daemon.seen[0].again
    assert state(site)[1][-1] == (2, True, "")


# ---- taken back ----


def test_taken_back_it_is_the_one_before_again_and_proven_again(site: Site) -> None:
    daemon = Daemon()
    back = confirm.take_back(site.paths, pending(site), "not confirmed until noon", daemon)
    assert (back.number, back.evidence, back.trouble) == (1, ("dhcp:pxe: proven",), "")
    (applied,) = daemon.seen
    assert (applied.number, applied.again, [c.name for c in applied.plan.changes]) == (1, True, ["node1"])
    assert {str(r.ip) for r in applied.plan.releases} == {"172.0.1.29"}
    assert state(site) == (1, [(1, True, ""), (2, False, "not confirmed until noon")])
    assert "generation 2 was rolled back: not confirmed until noon" in confirm.refusal(site.paths).message


def test_a_damaged_change_is_taken_back_all_the_same(site: Site) -> None:
    waits = pending(site)
    (generations.generation_directory(site.paths, 2) / "boot.json").write_bytes(b"")
    daemon = Daemon()
    assert confirm.take_back(site.paths, waits, "not confirmed", daemon).trouble == ""
    assert [c.name for c in daemon.seen[0].plan.changes if c.kind == "machine"] == ["node1", "node2"]
    assert state(site)[0] == 1


def test_one_before_that_was_damaged_meanwhile_gives_way_to_one_that_was_not(site: Site) -> None:
    sync(site.paths, Request(), Daemon())
    site.write(RACK)
    waits = begin(site).pending
    assert waits is not None
    assert (waits.generation, waits.previous) == (3, 2)
    (generations.generation_directory(site.paths, 2) / "boot.json").write_bytes(b"")
    assert confirm.take_back(site.paths, waits, "not confirmed", Daemon()).number == 1
    assert state(site)[0] == 1


def test_with_nothing_intact_to_go_back_to_it_stays(site: Site) -> None:
    waits = pending(site)
    (generations.generation_directory(site.paths, 1) / "boot.json").write_bytes(b"")
    before = site.trace()
    with pytest.raises(SurroundingsError, match="no generation before it is intact"):
        confirm.take_back(site.paths, waits, "not confirmed", Daemon())
    assert site.trace() == before


def test_one_before_that_does_not_work_any_more_is_said(site: Site) -> None:
    back = confirm.take_back(site.paths, pending(site), "not confirmed", Daemon(refusals=1))
    assert back.words == "; that one does not prove itself either: dhcp:pxe rejected what it was given"
    assert state(site)[0] == 1


def test_a_reason_that_cannot_be_written_keeps_nobody_from_going_back(site: Site) -> None:
    waits = pending(site)
    (generations.generation_directory(site.paths, 2) / "rejected").mkdir()
    daemon = Daemon()
    assert confirm.take_back(site.paths, waits, "not confirmed", daemon).trouble == ""
    assert [a.number for a in daemon.seen] == [1]
    assert state(site)[0] == 1


# ---- afterwards ----


def test_the_next_sync_decides_and_the_unconfirmed_one_is_history(site: Site) -> None:
    confirm.take_back(site.paths, pending(site), "not confirmed", Daemon())
    left = confirm.unconfirmed(site.paths)
    assert left is not None
    assert left.id == 2
    again = begin(site)
    assert (again.number, again.pending is not None) == (3, True)


def test_a_way_back_with_nothing_to_do_settles_nothing(site: Site) -> None:
    waits = pending(site)
    confirm.take_back(site.paths, waits, "not confirmed", Daemon())
    assert sync(site.paths, Request(to=1), Daemon()).plan.empty
    assert confirm.unconfirmed(site.paths) is not None


def test_a_sync_with_nothing_to_do_settles_it(site: Site) -> None:
    confirm.take_back(site.paths, pending(site), "not confirmed", Daemon())
    site.write(RACK)
    assert sync(site.paths, Request(), Daemon()).plan.empty
    assert confirm.unconfirmed(site.paths) is None
    before = site.trace()
    sync(site.paths, Request(), Daemon())
    assert site.trace() == before


def test_a_rollback_can_wait_too_and_goes_back_to_where_it_came_from(site: Site) -> None:
    sync(site.paths, Request(), Daemon())
    waits = begin(site, to=1, why="rollback to 1").pending
    assert waits is not None
    assert (waits.generation, waits.previous) == (3, 2)
    assert confirm.take_back(site.paths, waits, "not confirmed", Daemon()).number == 2
    assert state(site)[0] == 2


def test_what_there_is_to_confirm_is_told_apart(site: Site) -> None:
    assert confirm.refusal(site.paths).message == "there is nothing to confirm"
    assert confirm.on_disk(site.paths) is None
    waits = pending(site)
    assert confirm.on_disk(site.paths) == waits
    late = confirm.too_late(waits).message
    assert waits.until in late
    assert "rolled back to generation 1" in late

"""The whole route of a sync, on a real disk and past a real dnsmasq, with a stand-in for the daemon."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, ExitCode, NotProven, OperatorError, Refused, SurroundingsError
from appliance.sync import generations
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.run import Activate, Outcome, Request, plan, rollback_target, sync
from tests.unit.sync.rooms import MOVED, RACK, SETTINGS, Daemon, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write()
    return site


def go(site: Site, activate: Activate | None = None, **request: object) -> Outcome:
    return sync(site.paths, Request(**request), activate)  # type: ignore[arg-type]


def listed(site: Site) -> list[tuple[int, bool, bool]]:
    """Number, proven, taken back."""
    return [(m.id, m.proven, bool(m.rejected)) for m in generations.list_generations(site.paths)]


def current(site: Site) -> int | None:
    return generations.current_id(site.paths)


# ---- without a daemon ----


def test_files_that_nothing_names_are_nobodys_business(site: Site) -> None:
    """A sync reads what profiles name, as `check` does; an archive that lies beside it stops neither."""
    ignition = Path(site.paths.ignition)
    with (ignition / "backup.tar").open("wb") as file:
        file.truncate(64 * 2**20)
    (ignition / "notes.txt~").write_bytes(b"\xff")
    assert go(site).number == 1
    kept = Path(site.paths.current) / "ignition"
    assert [p.name for p in kept.iterdir()] == ["lab.ign"]


def test_it_is_applied_and_not_active_and_a_second_run_touches_nothing(site: Site) -> None:
    first = go(site)
    assert (first.number, first.active) == (1, False)
    assert (current(site), listed(site)) == (1, [(1, False, False)])
    assert any("read back" in line for line in first.evidence)
    before = site.trace()
    again = go(site)
    assert again.plan.empty
    assert (again.number, again.active) == (1, False)
    assert site.trace() == before


def test_the_change_after_it_is_applied_too(site: Site) -> None:
    go(site)
    site.write(MOVED)
    assert go(site).number == 2
    assert current(site) == 2


# ---- with one ----


def test_it_is_proven_and_a_second_run_asks_nobody(site: Site) -> None:
    daemon = Daemon()
    outcome = go(site, daemon)
    assert (outcome.number, outcome.active) == (1, True)
    assert outcome.evidence[-1] == "dhcp:pxe: proven"
    assert listed(site) == [(1, True, False)]
    before = site.trace()
    assert go(site, daemon).plan.empty
    assert len(daemon.seen) == 1
    assert site.trace() == before


def test_what_was_applied_without_a_daemon_is_proven_when_there_is_one(site: Site) -> None:
    go(site)
    daemon = Daemon()
    outcome = go(site, daemon)
    assert outcome.plan.empty
    assert (outcome.number, outcome.active) == (1, True)
    assert [a.number for a in daemon.seen] == [1]
    assert listed(site) == [(1, True, False)]


def test_children_that_run_something_else_are_brought_up_to_it(site: Site) -> None:
    daemon = Daemon()
    go(site, daemon)
    sync(site.paths, Request(), daemon, lambda _: True)
    assert len(daemon.seen) == 1
    sync(site.paths, Request(), daemon, lambda _: False)
    assert [a.number for a in daemon.seen] == [1, 1]


def test_the_public_shape_of_an_outcome(site: Site) -> None:
    shape = go(site, Daemon()).as_json()
    assert {"activation", "changes", "releases", "generation", "active", "evidence"} <= set(shape)
    assert (shape["activation"], shape["generation"], shape["active"]) == ("restart", 1, True)


# ---- refused: no trace ----


def test_a_bad_file_leaves_everything_as_it_was(site: Site) -> None:
    go(site, Daemon())
    before = site.trace()
    daemon = Daemon()
    for settings, inventory in (
        (SETTINGS, RACK.replace("172.0.1.21", "10.9.9.9")),
        (SETTINGS, "[machine"),
        (SETTINGS + "[htp]\n", RACK),
        ("", RACK),
    ):
        site.write(inventory, settings)
        with pytest.raises(OperatorError):
            go(site, daemon)
        assert site.trace() == before
    assert daemon.seen == []


def test_what_dnsmasq_itself_refuses_leaves_everything_as_it_was(site: Site) -> None:
    go(site, Daemon())
    before = site.trace()
    extra = Path(site.paths.dnsmasq_extra) / "10-mine.conf"
    for line in ("dhcp-ttl=nonsense\n", "dhcp-option=nonsense:x\n"):
        extra.write_text(line)
        with pytest.raises(OperatorError, match="dnsmasq refuses"):
            go(site, Daemon())
        assert site.trace() == before
    extra.write_text("dhcp-option=option:router,172.0.1.254\n")
    assert go(site, Daemon()).number == 2


def test_too_much_vanishing_is_refused_until_it_is_meant(site: Site) -> None:
    go(site, Daemon())
    before = site.trace()
    site.write("")
    with pytest.raises(Refused, match="2 of 2 machines"):
        go(site, Daemon())
    assert site.trace() == before
    assert go(site, Daemon(), allow_mass_change=True).number == 2


def test_only_the_plan_that_was_agreed_to_is_carried_out(site: Site) -> None:
    go(site, Daemon())
    site.write(MOVED)
    agreed = plan(site.paths, Request()).fingerprint
    site.write(MOVED.replace("172.0.1.22", "172.0.1.28"))
    with pytest.raises(Refused, match="not the one that was shown"):
        go(site, Daemon(), expected=agreed)
    site.write(MOVED)
    assert go(site, Daemon(), expected=agreed).number == 2


def test_a_plan_changes_nothing(site: Site) -> None:
    assert not plan(site.paths, Request()).empty
    assert site.trace() == {}


# ---- not proven ----


def test_one_that_does_not_prove_itself_is_taken_back(site: Site) -> None:
    go(site, Daemon())
    hosts = site.trace()["generations/1/network/pxe/hosts"]
    site.write(MOVED)
    daemon = Daemon(refusals=1)
    with pytest.raises(NotProven, match="rolled back to generation 1: dhcp:pxe rejected") as caught:
        go(site, daemon)
    assert (caught.value.exit_code, caught.value.hint) == (ExitCode.ROLLED_BACK, "look there")
    assert (current(site), listed(site)) == (1, [(1, True, False), (2, False, True)])
    assert [a.number for a in daemon.seen] == [2, 1]
    back = daemon.seen[1].plan
    assert [c.name for c in back.changes] == ["node1"]
    assert {str(r.ip) for r in back.releases} == {"172.0.1.29"}
    assert Path(site.paths.current / "network/pxe/hosts").read_bytes() == hosts
    assert go(site, Daemon()).number == 3, "and the next try has a number of its own"


def test_a_night_of_failures_pushes_out_nothing_that_worked_and_fills_no_disk(site: Site) -> None:
    for inventory in (RACK, MOVED):
        site.write(inventory)
        go(site, Daemon())
    site.write(RACK.replace("172.0.1.21", "172.0.1.39"))
    for _ in range(2 * generations.KEEP):
        with pytest.raises(NotProven):
            go(site, Daemon(refusals=1))
    proven = [number for number, shown, _ in listed(site) if shown]
    assert (current(site), proven) == (2, [1, 2])
    assert len(listed(site)) <= 2 + generations.KEEP + 1
    go(site, Daemon())
    assert rollback_target(site.paths, None) == 2


def test_without_a_daemon_they_fill_no_disk_either(site: Site) -> None:
    go(site, Daemon())
    for number in range(2 * generations.KEEP):
        site.write((RACK, MOVED)[(number + 1) % 2])
        go(site, None)
    assert [number for number, shown, _ in listed(site) if shown] == [1]
    assert len(listed(site)) <= 1 + generations.KEEP + 1


@pytest.mark.parametrize("failure", [SurroundingsError("no interface"), OSError(19, "No such device")])
def test_whatever_ends_an_activation_takes_it_back(site: Site, failure: Exception) -> None:
    go(site, Daemon())
    site.write(MOVED)
    daemon = Daemon()

    def fail_once(applied: AppliedPlan) -> ProvenPlan:
        if applied.number == 2:
            raise failure
        return daemon(applied)

    with pytest.raises(NotProven, match=r"rolled back to generation 1: .*[Nn]o"):
        go(site, fail_once)
    assert (current(site), [a.number for a in daemon.seen]) == (1, [1])


def test_a_daemon_that_is_stopped_in_the_middle_takes_nothing_back(site: Site) -> None:
    go(site, Daemon())
    site.write(MOVED)

    def stop(applied: AppliedPlan) -> ProvenPlan:
        raise CancelledError

    with pytest.raises(NotProven, match="generation 2 is current and not proven"):
        go(site, stop)
    assert (current(site), listed(site)) == (2, [(1, True, False), (2, False, False)])


def test_one_to_go_back_to_that_fails_as_well_is_said(site: Site) -> None:
    go(site, Daemon())
    site.write(MOVED)
    with pytest.raises(NotProven, match=r"rolled back to generation 1: .*does not prove itself either"):
        go(site, Daemon(refusals=2))
    assert current(site) == 1


def test_the_first_one_has_nothing_to_go_back_to(site: Site) -> None:
    daemon = Daemon(refusals=1)
    with pytest.raises(NotProven, match="the only one"):
        go(site, daemon)
    assert (current(site), listed(site)) == (1, [(1, False, False)])
    assert go(site, daemon).active, "the next sync proves it"
    assert listed(site) == [(1, True, False)]


# ---- damage ----


def test_a_damaged_generation_is_written_anew_and_what_it_protects_is_still_known(site: Site) -> None:
    go(site, Daemon())
    site.write(MOVED)
    go(site, Daemon())
    (Path(site.paths.current) / "boot.json").write_bytes(b"")
    wanted = plan(site.paths, Request())
    assert not wanted.empty
    assert any("generation 2 is damaged" in note for note in wanted.desired.notes)
    site.write("")
    with pytest.raises(Refused, match="machines would lose"):
        go(site, Daemon())
    site.write(MOVED)
    assert go(site, Daemon()).number == 3
    assert plan(site.paths, Request()).empty


def test_a_damaged_binary_is_repaired_although_nothing_changes(site: Site) -> None:
    go(site, Daemon())
    published = Path(site.paths.tftp) / "undionly.kpxe"
    whole = published.read_bytes()
    published.write_bytes(whole[:1000])
    assert go(site, Daemon()).plan.empty
    assert published.read_bytes() == whole
    published.unlink()
    published.symlink_to("/usr/lib/ipxe/undionly.kpxe")
    go(site)
    assert not published.is_symlink()


def test_a_staging_that_was_left_is_no_obstacle(site: Site) -> None:
    left = Path(site.paths.generations) / ".staging-1"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    assert go(site, Daemon()).number == 1
    assert not left.exists()


# ---- back ----


def test_a_rollback_is_a_change_like_any_other_and_stays_until_the_next_sync(site: Site) -> None:
    go(site, Daemon())
    site.write(MOVED)
    go(site, Daemon())
    daemon = Daemon()
    outcome = go(site, daemon, to=1, why="rollback to 1")
    assert (outcome.number, [str(r.ip) for r in outcome.plan.releases]) == (3, ["172.0.1.29"])
    assert generations.read_manifest(site.paths, 3).pinned
    trace = site.trace()
    assert trace["generations/3/network/pxe/hosts"] == trace["generations/1/network/pxe/hosts"]
    assert go(site, daemon).number == 4
    assert not generations.read_manifest(site.paths, 4).pinned


def test_where_a_rollback_goes(site: Site) -> None:
    with pytest.raises(Refused, match="no earlier generation"):
        rollback_target(site.paths, None)
    go(site, Daemon())
    with pytest.raises(Refused, match="no earlier generation"):
        rollback_target(site.paths, None)
    site.write(MOVED)
    go(site)  # 2: never proven
    site.write(RACK)
    go(site, Daemon())  # 3
    assert rollback_target(site.paths, None) == 1, "the newest that is proven"
    assert rollback_target(site.paths, 2) == 2
    with pytest.raises(Refused, match="current one already"):
        rollback_target(site.paths, 3)
    with pytest.raises(ApplianceError, match="no generation 9"):
        rollback_target(site.paths, 9)


# ---- at once ----


def test_two_at_once_take_turns(site: Site) -> None:
    outcomes: list[Outcome] = []
    both = threading.Barrier(2)

    def one() -> None:
        both.wait(10)
        outcomes.append(go(site))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(o.plan.empty for o in outcomes) == [False, True]
    assert listed(site) == [(1, False, False)]


def test_what_is_missing_for_a_boot_is_said_in_the_plan(site: Site) -> None:
    (note,) = plan(site.paths, Request()).desired.notes
    assert "/assets/lab/vmlinuz is not there yet" in note

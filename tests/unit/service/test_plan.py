"""What an installation or a removal would do on a host that stands so or so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from appliance.errors import Refused
from appliance.service.parts import RECORD, SERVICE, UNIT_DIRECTORY, UNITS, Part
from appliance.service.plan import (
    Change,
    Command,
    Removal,
    ServicePlan,
    Standing,
    digest,
    parse_record,
    plan_install,
    plan_lines,
    plan_uninstall,
    record_of,
)

UNIT = Part(f"{UNIT_DIRECTORY}/{SERVICE}", b"[Service]\n")
LINK = Part("/usr/local/bin/pxe-appliance", target="/opt/pxe-appliance/bin/pxe-appliance")
PAGES = tuple(Part(f"/usr/local/share/man/man1/pxe-appliance-{n}.1", b"x") for n in ("a", "b"))
PARTS = (UNIT, LINK, *PAGES)
BARE = Standing({}, {})


def standing(parts: tuple[Part, ...] = PARTS, **facts: bool) -> Standing:
    there = {part.path: part for part in (*parts, record_of(parts))}
    return replace(Standing(there, {part.path: digest(part) for part in parts}), **facts)  # type: ignore[arg-type]


def commands(plan: ServicePlan) -> list[str]:
    return [" ".join(step.argv[:2]) for step in plan.steps if isinstance(step, Command)]


def paths(plan: ServicePlan) -> Mapping[str, bool]:
    """Each file of the plan, and whether it is there afterwards."""
    return {change.path: change.after is not None for change in plan.changes}


def test_on_a_bare_host() -> None:
    plan = plan_install(PARTS, BARE, start=True)
    assert paths(plan) == {part.path: True for part in (*PARTS, record_of(PARTS))}
    order = [
        "systemd-sysusers",
        "systemd-tmpfiles",
        "systemctl daemon-reload",
        "systemctl enable",
        "systemctl start",
    ]
    assert [name.split(" /")[0].split(" --")[0] for name in commands(plan)] == order
    assert plan.steps.index(plan.changes[-1]) < len(plan.changes), "files come first"


def test_start_is_not_tried_where_it_is_not_wanted_or_nothing_is_to_be_served() -> None:
    assert "systemctl start" not in commands(plan_install(PARTS, BARE, start=False))
    unconfigured = plan_install(PARTS, replace(BARE, configured=False), start=True)
    assert "systemctl start" not in commands(unconfigured)
    assert any("pxe-appliance init" in note for note in unconfigured.notes)


def test_a_second_time_nothing_is_written_and_the_daemon_takes_itself_over() -> None:
    plan = plan_install(PARTS, standing(enabled=True, active=True), start=True)
    assert plan.changes == ()
    assert commands(plan)[-1] == "systemctl reload"
    assert "systemctl daemon-reload" not in commands(plan)
    assert not any("sandbox" in note for note in plan.notes)


def test_an_upgrade_replaces_what_was_ours_and_removes_what_is_no_more() -> None:
    newer = replace(UNIT, content=b"[Service]\nWatchdogSec=1\n")
    plan = plan_install((newer, LINK, PAGES[0]), standing(enabled=True, active=True), start=True)
    assert paths(plan) == {UNIT.path: True, RECORD: True, PAGES[1].path: False}
    assert "systemctl daemon-reload" in commands(plan)
    assert any("from the next systemctl restart" in note for note in plan.notes)


def test_what_somebody_edited_is_refused() -> None:
    there = standing()
    edited = replace(UNIT, content=b"[Service]\n# mine\n")
    host = replace(there, there={**there.there, UNIT.path: edited})
    with pytest.raises(Refused, match="what somebody else wrote"):
        plan_install((replace(UNIT, content=b"newer"), *PARTS[1:]), host, start=True)
    foreign = Standing({LINK.path: Part(LINK.path, b"a program")}, {})
    with pytest.raises(Refused, match="what somebody else wrote: /usr/local/bin/pxe-appliance"):
        plan_install(PARTS, foreign, start=True)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/lib/systemd/system", "the package is installed"),
        ("/usr/lib/systemd/system", "the package is installed"),
        ("/etc/systemd/system", "would stand in front"),
    ],
)
def test_another_unit_is_refused(place: str, words: str) -> None:
    path = f"{place}/{SERVICE}"
    with pytest.raises(Refused, match=words):
        plan_install(PARTS, Standing({path: Part(path, b"")}, {}), start=True)


def test_uninstall_takes_what_is_ours_and_leaves_what_was_edited() -> None:
    there = standing()
    host = replace(there, there={**there.there, LINK.path: replace(LINK, target="/elsewhere")})
    plan = plan_uninstall(host, purge_state=False)
    assert paths(plan) == dict.fromkeys((UNIT.path, PAGES[0].path, PAGES[1].path, RECORD), False)
    assert commands(plan) == ["systemctl stop", "systemctl disable", "systemctl daemon-reload"]
    assert f"{LINK.path} was edited: it stays" in plan.notes
    assert [step.path for step in plan.steps if isinstance(step, Removal)] == ["/run/pxe-appliance"]
    purged = plan_uninstall(there, purge_state=True)
    assert Removal("/var/lib/pxe-appliance") in purged.steps
    assert not any("/etc/" in step.path for step in purged.steps if isinstance(step, Removal | Change))


def test_uninstall_without_a_record_is_refused() -> None:
    with pytest.raises(Refused, match="no record"):
        plan_uninstall(Standing({UNIT.path: UNIT}, {}), purge_state=False)


def test_the_record_is_read_as_it_was_written() -> None:
    assert parse_record(record_of(PARTS).content) == {part.path: digest(part) for part in PARTS}
    for broken in (b"", b"[]", b"{", b'{"files": 3}', b"\xff"):
        assert parse_record(broken) == {}


def test_the_plan_for_a_person_counts_pages() -> None:
    lines = list(plan_lines(plan_install(PARTS, BARE, start=True)))
    assert lines[:3] == [
        f"+ {UNIT.path}",
        "+ /usr/local/bin/pxe-appliance -> /opt/pxe-appliance/bin/pxe-appliance",
        "+ /usr/local/share/man/: 2 pages",
    ]
    assert f"$ systemctl start {SERVICE}" in lines


def test_nothing_is_removed_under_what_runs_on() -> None:
    """The images unit, which a timer started and which has no place in `enable`, is stopped too."""
    units = tuple(Part(f"{UNIT_DIRECTORY}/{name}", b"x") for name in UNITS)
    plan = plan_uninstall(standing((*units, LINK), active=True), purge_state=True)
    stop = plan.steps[0]
    assert isinstance(stop, Command)
    assert (stop.may_fail, stop.undo) == (False, ("systemctl", "start", SERVICE))
    assert sorted(stop.argv[2:]) == sorted(UNITS)
    assert [type(step) for step in plan.steps].index(Removal) > plan.steps.index(plan.changes[-1])

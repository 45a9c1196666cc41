"""Plans as a person reads them, compared with tests/golden/show-*/."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.sync.compose import compose
from appliance.sync.plan import Desired, Plan, make_plan
from appliance.sync.show import plan_lines
from tests.goldens import assert_golden
from tests.unit.sync.rooms import RACK, SETTINGS, case, desired


def _many(count: int) -> Desired:
    machines = (
        f'[machine.n{n}]\nmac = "52:54:00:00:{n >> 8:02x}:{n & 255:02x}"\nip = "10.0.{n >> 8}.{n & 255}"\n'
        for n in range(2, count + 2)
    )
    wide = '[network.pxe]\ninterface = "eno4"\nsubnet = "10.0.0.0/16"\n'
    return desired(wide, "".join(machines))


def _edited() -> Desired:
    moved = RACK.replace("172.0.1.21", "172.0.1.29").replace('profile = "lab"', 'labels = { rack = "r1" }')
    changed = moved.replace('ignition = "lab.ign"', 'args = ["a=1", "b"]\nboot = "always"')
    new = '[machine.node3]\nmac = "52:54:00:aa:00:21"\nip = "172.0.1.22"\n'
    return desired(
        SETTINGS + 'lease = "2h"\nntp = ["192.0.2.7"]\n', changed.split("[machine.node2]")[0] + new
    )


PLANS = {
    "first": lambda: make_plan(None, None, compose(case("compose-rack"))),
    "edited": lambda: make_plan(4, desired(), _edited()),
    "removed": lambda: make_plan(4, compose(case("compose-rack")), compose(case("compose-bare"))),
    "nothing": lambda: make_plan(4, desired(), desired()),
    "noted": lambda: make_plan(4, desired(), replace(desired(), notes=("generation 4 is damaged",))),
}


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str) -> None:
    text = "".join(f"{line}\n" for line in plan_lines(PLANS[name]()))
    assert_golden(f"show-{name}", {"plan.txt": text.encode()})


def test_a_rack_full_of_changes_stays_readable_and_ends_with_the_sum() -> None:
    plan: Plan = make_plan(None, None, _many(2000))
    lines = list(plan_lines(plan))
    assert len(lines) < 410
    assert any("lines more (-o json prints everything)" in line for line in lines)
    assert any(line.startswith("Plan: 2003 to add, 0 to change, 0 to remove.") for line in lines)


def test_a_rack_full_of_releases_stays_readable_and_says_so() -> None:
    lines = list(plan_lines(make_plan(4, _many(2000), _many(0))))
    assert len(lines) < 820
    assert any("1600 releases more" in line for line in lines)

"""Faults planted on a healthy host, each found by its own id; and none of them where none was planted."""

from __future__ import annotations

import json

import pytest

from tests.doctor.bench import Bench
from tests.doctor.faults import FAULTS, Fault

pytestmark = pytest.mark.netns


def test_a_healthy_host_has_no_findings(bench: Bench) -> None:
    assert bench.bad() == {}


def test_there_are_more_than_forty_faults_and_no_name_twice() -> None:
    assert len(FAULTS) > 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_by_its_own_id_and_gone_with_it(bench: Bench, fault: Fault) -> None:
    asked = fault.check or fault.expected
    try:
        fault.plant(bench)
        found = bench.bad(asked)
        assert fault.expected in found, f"found instead: {json.dumps(found, indent=1)}"
        rows = found[fault.expected]
        assert {row["verdict"] for row in rows} == {fault.verdict}, rows
        assert all(row["message"] and row["fix"] for row in rows)
        assert fault.says in json.dumps(rows, ensure_ascii=False).replace('\\"', '"'), rows
    finally:
        bench.heal(asked)


def test_the_host_is_healthy_again(bench: Bench) -> None:
    assert bench.bad() == {}

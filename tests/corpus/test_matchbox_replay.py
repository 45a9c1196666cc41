"""Every recorded answer of the real Matchbox, asked again of our endpoint (see `recorded`)."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from appliance.matchbox.assets import AssetRoot
from tests.corpus.recorded import (
    BASELINE,
    CASES,
    DEVIATIONS,
    HERE,
    LIKE_ANOTHER,
    SAME_AS,
    asked,
    judged,
)
from tests.fakes.matchbox_endpoint import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Served]]:
    root = tmp_path_factory.mktemp("matchbox")
    with tarfile.open(HERE / "data.tar") as archive:
        archive.extractall(root)  # its links point out of the assets on purpose
    with ExitStack() as stack:
        found = {}
        for dataset, mode in sorted({(case["dataset"], case["server_mode"]) for case in CASES}):
            data = root / "data" / dataset
            roots = [AssetRoot(data / "assets")] if mode == "normal" else []
            found[dataset, mode] = stack.enter_context(serving(data, roots))
        yield found


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_answers_like_a_matchbox(case: dict[str, Any], served: dict[tuple[str, str], Served]) -> None:
    running = served[case["dataset"], case["server_mode"]]
    assert not judged(case, asked(running.port, case))
    if deviation := DEVIATIONS.get(case["id"]):
        assert deviation.reason in (running.records[-1].reason or ""), "a refusal must say why"


def test_every_case_is_replayed_and_the_lists_name_real_ones() -> None:
    ids = [case["id"] for case in CASES]
    assert len(ids) == len(set(ids)) == 263
    assert {case["baseline"] for case in CASES} == {BASELINE}
    listed = [*DEVIATIONS, *LIKE_ANOTHER, *SAME_AS]
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(ids)


def test_each_deviation_is_documented() -> None:
    rows = _documented()
    for row, cells in rows.items():
        assert len(cells) == 4, row
        assert all(cells[:3]), f"{row}: what Matchbox does, what we do, and why"
    for case, what in [
        *((case, deviation.what) for case, deviation in DEVIATIONS.items()),
        *((case, what) for case, (_, what) in LIKE_ANOTHER.items()),
        *((case, what) for case, (_, _, what) in SAME_AS.items()),
    ]:
        assert f"`{case}`" in rows[what][3], f"{case} does not stand beside: {what}"
    named = set(re.findall(r"`([a-z0-9-]+)`", " ".join(cells[3] for cells in rows.values()), re.IGNORECASE))
    assert named == {*DEVIATIONS, *LIKE_ANOTHER, *SAME_AS}


def _documented() -> dict[str, list[str]]:
    """The table of deviations: by what it is, the cells behind."""
    text = (HERE.parents[2] / "docs/matchbox.md").read_text("utf-8")
    section = text.partition("## Where we deviate")[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] != "what" and not cells[0].startswith("--"):
            found[cells[0]] = cells[1:]
    return found

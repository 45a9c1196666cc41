"""The table of figures says when a promise is not kept."""

from __future__ import annotations

import pytest

from tests.figures import Figures


@pytest.mark.parametrize(
    ("value", "promise", "missed"),
    [
        ("0.49 s", "< 1 s", False),
        ("14.00 s", "< 1 s", True),
        ("1,204", ">= 1,000", False),
        ("999", ">= 1,000", True),
        ("0 lost", "0 lost", False),
        ("12 ms", "", False),
        ("12 ms", "< 1 s", False),
        ("2 s", "<= 900 ms", True),
    ],
)
def test_a_figure_is_held_against_its_promise(value: str, promise: str, missed: bool) -> None:
    figures = Figures()
    figures.tell("topic", "what", value, promise)
    assert figures.rows[0].missed is missed
    assert ("MISSED" in figures.table()[-1]) is missed

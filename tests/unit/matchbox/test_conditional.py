from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.conditional import (
    BadRange,
    Decision,
    Failed,
    NotModified,
    Part,
    Span,
    Version,
    Whole,
    decide,
)

NOW = Version('"v1"', datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
AT = "Thu, 02 Jan 2020 03:04:05 GMT"
BEFORE = "Thu, 02 Jan 2020 03:04:04 GMT"


@pytest.mark.parametrize(
    ("headers", "decision"),
    [
        ({}, Whole()),
        ({"If-None-Match": '"v1"'}, NotModified()),
        ({"If-None-Match": 'W/"v1"'}, NotModified()),
        ({"If-None-Match": '"a", "v1"'}, NotModified()),
        ({"If-None-Match": "*"}, NotModified()),
        ({"If-None-Match": '"other"', "If-Modified-Since": AT}, Whole()),
        ({"If-None-Match": "garbage"}, Whole()),
        ({"If-Modified-Since": AT}, NotModified()),
        ({"If-Modified-Since": BEFORE}, Whole()),
        ({"If-Modified-Since": "garbage"}, Whole()),
        ({"If-Match": '"v1"'}, Whole()),
        ({"If-Match": "*"}, Whole()),
        ({"If-Match": 'W/"v1"'}, Failed()),
        ({"If-Match": '"other"'}, Failed()),
        ({"If-Unmodified-Since": BEFORE}, Failed()),
        ({"If-Unmodified-Since": AT}, Whole()),
        ({"Range": "bytes=0-4"}, Part((Span(0, 5),))),
        ({"Range": "bytes=5-"}, Part((Span(5, 5),))),
        ({"Range": "bytes=-3"}, Part((Span(7, 3),))),
        ({"Range": "bytes=-99"}, Part((Span(0, 10),))),
        ({"Range": "bytes=2-99"}, Part((Span(2, 8),))),
        ({"Range": "bytes=0-1,4-5"}, Part((Span(0, 2), Span(4, 2)))),
        ({"Range": "bytes=0-1,99-"}, Part((Span(0, 2),))),
        ({"Range": "bytes=0-,0-"}, Whole()),
        ({"Range": "bytes=" + ",".join(["0-0"] * 33)}, Whole()),
        ({"Range": "bytes=10-"}, BadRange(well_formed=True)),
        ({"Range": "bytes=5-2"}, BadRange(well_formed=False)),
        ({"Range": "bytes=a-b"}, BadRange(well_formed=False)),
        ({"Range": "bytes=-"}, BadRange(well_formed=False)),
        ({"Range": "bytes=--1"}, BadRange(well_formed=False)),
        ({"Range": "bytes=" + "9" * 5000 + "-"}, BadRange(well_formed=False)),
        ({"Range": "lines=1-2"}, BadRange(well_formed=False)),
        ({"Range": "bytes=0-4", "If-Range": '"v1"'}, Part((Span(0, 5),))),
        ({"Range": "bytes=0-4", "If-Range": '"stale"'}, Whole()),
        ({"Range": "bytes=0-4", "If-Range": 'W/"v1"'}, Whole()),
        ({"Range": "bytes=0-4", "If-Range": AT}, Part((Span(0, 5),))),
        ({"Range": "bytes=0-4", "If-Range": BEFORE}, Whole()),
        ({"Range": "bytes=0-4", "If-Range": "Fri, 03 Jan 2020 03:04:05 GMT"}, Whole()),
        ({"Range": "bytes=0-4", "If-Range": "garbage"}, Whole()),
    ],
)
def test_decisions(headers: dict[str, str], decision: Decision) -> None:
    assert decide("GET", headers, 10, NOW) == decision


def test_other_methods_fail_where_reads_are_not_modified() -> None:
    assert decide("POST", {"If-None-Match": '"v1"'}, 10, NOW) == Failed()
    assert decide("POST", {"If-Modified-Since": AT}, 10, NOW) == Whole()


def test_an_empty_content_has_no_ranges() -> None:
    assert decide("GET", {"Range": "bytes=0-"}, 0, NOW) == Whole()


@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30), st.integers(0, 50))
def test_any_headers_give_a_decision_inside_the_content(wanted: str, tag: str, date: str, size: int) -> None:
    for prefix in ("", "bytes="):
        headers = {
            "Range": prefix + wanted,
            "If-None-Match": tag,
            "If-Range": tag,
            "If-Modified-Since": date,
            "If-Unmodified-Since": date,
        }
        decision = decide("GET", headers, size, NOW)
        if isinstance(decision, Part):
            assert all(span.start >= 0 and span.start + span.length <= size for span in decision.spans)

"""The way from a mirror to the disk, against a mirror that misbehaves: what is asked for, how often, and how
long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import pytest

from appliance.errors import SurroundingsError
from appliance.images.fetch import http_transport
from appliance.images.trust import Case, Measured, Untrusted
from tests.unit.images.bench import BREAKS_ONCE, BROKEN, CONTENT, ONCE, QUICK, SIZE, WHOLE, Bench
from tests.unit.images.rooms import sha512


def test_a_file_in_one_request(bench: Bench) -> None:
    assert bench.download() == WHOLE
    assert bench.part.read_bytes() == CONTENT
    assert bench.asked() == ["all"]
    assert (bench.notes.began, bench.notes.came) == ([("kernel", SIZE, 0)], SIZE)
    assert bench.notes.said == []
    (request,) = bench.mirror.requests()
    headers = request["headers"]
    assert isinstance(headers, dict)
    assert headers["user-agent"].startswith("pxe-appliance/")  # CDNs block what calls itself Python
    assert headers["accept-encoding"] == "identity"


def test_a_break_costs_what_is_missing(bench: Bench) -> None:
    bench.fault(BREAKS_ONCE)
    assert bench.download() == WHOLE
    first, second = bench.asked()
    assert first == "all"
    kept = int(second.removeprefix("bytes=").removesuffix("-"))
    assert 2**20 <= kept <= BROKEN
    assert bench.notes.began[-1] == ("kernel", SIZE, kept)
    assert "the connection broke" in bench.notes.said[0]


def test_many_breaks_are_overcome_while_anything_comes(bench: Bench) -> None:
    """More of them than `tries`, which counts only those that bring nothing."""
    bench.fault({"kind": "reset", "after": 500_000})
    assert bench.download() == WHOLE
    assert len(bench.asked()) > QUICK.tries


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset", "after": 0}, {"kind": "reset", "head": False}, {"kind": "cut", "after": 100},
        {"kind": "stall", "after": 100}, {"kind": "stall", "head": False},
        {"kind": "drip", "bytes_per_second": 20}, {"kind": "status", "code": 500},
        {"kind": "status", "code": 429}, {"kind": "status", "code": 503, "retry_after": "soon"},
    ],
    ids=lambda fault: " ".join(str(v) for v in fault.values()),
)  # fmt: skip
def test_what_never_gets_anywhere_is_given_up(bench: Bench, fault: Mapping[str, object]) -> None:
    bench.fault(fault)
    began = time.monotonic()
    with pytest.raises(SurroundingsError, match="3 attempts without anything new") as failed:
        bench.download()
    assert time.monotonic() - began < 5
    # The library asks once more by itself when a connection ended without a word.
    assert QUICK.tries <= len(bench.asked()) <= 2 * QUICK.tries
    assert "it goes on where it stopped" in failed.value.hint
    bench.mirror.faults({})
    assert bench.download() == WHOLE


@pytest.mark.parametrize("code", [400, 401, 403, 405, 410, 404, 418, 451, 501, 505, 204, 206])
def test_what_will_not_change_is_asked_for_once(bench: Bench, code: int) -> None:
    bench.fault({"kind": "status", "code": code})
    with pytest.raises(SurroundingsError, match=f"the server says {code}"):
        bench.download()
    assert bench.asked() == ["all"]


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_for_again(bench: Bench, code: int) -> None:
    bench.fault({"kind": "status", "code": code, **ONCE})
    assert bench.download() == WHOLE
    assert bench.asked() == ["all", "all"]


def test_a_server_that_asks_for_time_gets_it_and_not_for_ever(bench: Bench) -> None:
    patient = replace(QUICK, longest_wait=0.6)
    for said, least in (("1", 0.6), ("99999", 0.6), ("0", 0.0), ("-5", 0.0), ("9" * 50, 0.0), ("½", 0.0)):
        bench.fault({"kind": "status", "code": 503, "retry_after": said, **ONCE})
        began = time.monotonic()
        bench.part.unlink(missing_ok=True)
        assert bench.download(patient) == WHOLE
        assert least <= time.monotonic() - began < 3


# ---- a file that changes, or a server that does not understand ranges ----


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "etag_changes"}], [{"kind": "ignore_range"}], [{"kind": "no_etag"}],
        [{"kind": "wrong_range", "of": "both", "if": {"Range": "*"}, "times": 1}],
        [{"kind": "wrong_range", "of": "header", "if": {"Range": "*"}, "times": 1}],
        [{"kind": "wrong_range", "of": "total", "shift": 9, "if": {"Range": "*"}, "times": 1}],
        [{"kind": "wrong_range", "of": "both", "shift": 1000, "if": {"Range": "*"}, "times": 1}],
        [{"kind": "status", "code": 416, "if": {"Range": "*"}, "times": 1}],
    ],
    ids=lambda faults: " ".join(str(v) for v in faults[0].values()),
)  # fmt: skip
def test_the_rest_of_another_file_is_not_taken(bench: Bench, faults: list[Mapping[str, object]]) -> None:
    bench.fault(BREAKS_ONCE, *faults)
    assert bench.download() == WHOLE
    assert bench.part.read_bytes() == CONTENT


def test_a_weak_tag_is_not_relied_upon(bench: Bench) -> None:
    """But the date is: this mirror sends both where it is honest."""
    bench.fault(BREAKS_ONCE, {"kind": "no_etag"})
    assert bench.download() == WHOLE
    _, second = bench.mirror.requests()
    headers = second["headers"]
    assert isinstance(headers, dict)
    assert headers["if-range"].endswith("GMT")


def test_a_part_of_yesterday(bench: Bench) -> None:
    bench.fault({"kind": "reset", "after": BROKEN})
    with pytest.raises(SurroundingsError):
        bench.download(replace(QUICK, tries=1, deadline=0.001))
    bench.fault(BREAKS_ONCE, {"kind": "status", "code": 403, "skip": 1})
    with pytest.raises(SurroundingsError):
        bench.download()
    kept = bench.part.stat().st_size
    assert kept >= 2**20
    bench.mirror.faults({})
    assert bench.download() == WHOLE
    assert bench.asked() == [f"bytes={kept}-"]


def test_a_part_that_is_complete_costs_nothing(bench: Bench) -> None:
    assert bench.download() == WHOLE
    assert bench.download() == WHOLE
    (request,) = bench.mirror.requests(settled=True)
    assert request["status"] == 416


def test_a_part_of_a_file_that_became_shorter(bench: Bench) -> None:
    assert bench.download() == WHOLE
    bench.fault({"kind": "replace", "content": "c2hvcnQ="})
    assert bench.download() == Measured(5, sha512(b"short"))
    assert bench.part.read_bytes() == b"short"


def test_two_breaks_and_a_file_that_changed_between_them(bench: Bench) -> None:
    other = {"kind": "flip", "offset": 10}
    bench.fault(BREAKS_ONCE, {**other, "skip": 1}, {"kind": "etag_changes"})
    flipped = bytearray(CONTENT)
    flipped[10] ^= 0xFF
    assert bench.download() == Measured(SIZE, sha512(bytes(flipped)))
    assert bench.part.read_bytes() == flipped


# ---- bounds ----


@pytest.mark.parametrize(
    "fault", [{"kind": "longer", "bytes": SIZE + 1}, {"kind": "endless"}], ids=lambda f: f["kind"]
)
def test_more_than_may_come_does_not_stay(bench: Bench, fault: Mapping[str, object]) -> None:
    bench.fault(fault)
    with pytest.raises(Untrusted) as refused:
        bench.download()
    assert refused.value.case is Case.TOO_LARGE
    assert list(bench.folder.iterdir()) == []
    sent = bench.mirror.requests(settled=True)[0]["sent"]
    assert isinstance(sent, int)
    assert sent < 6 * SIZE


def test_exactly_as_much_as_may_come(bench: Bench) -> None:
    assert bench.download(artefact=replace(bench.artefact, cap=SIZE)) == WHOLE
    bench.part.unlink()
    with pytest.raises(Untrusted):
        bench.download(artefact=replace(bench.artefact, cap=SIZE - 1))


def test_a_deadline(bench: Bench) -> None:
    bench.fault({"kind": "drip", "bytes_per_second": 400_000})
    began = time.monotonic()
    with pytest.raises(SurroundingsError, match="not done after"):
        bench.download(replace(QUICK, deadline=1.0))
    assert 1 <= time.monotonic() - began < 3
    assert bench.part.exists()


def test_encoded_bytes_are_not_those_that_were_signed(bench: Bench) -> None:
    bench.fault({"kind": "gzip"})
    for bring in (bench.download, bench.document):
        with pytest.raises(Untrusted) as refused:
            bring()
        assert refused.value.case is Case.ENCODED


def test_who_stops_it_can_go_on_later(bench: Bench) -> None:
    bench.fault({"kind": "stall", "after": BROKEN})

    def arrives() -> None:
        limit = time.monotonic() + 20
        while not bench.part.exists() or bench.part.stat().st_size < 2**20:
            assert time.monotonic() < limit, "nothing arrives"
            time.sleep(0.01)

    async def stopped() -> None:
        async with http_transport(bench.notes, replace(QUICK, patience=20)) as transport:
            work = asyncio.create_task(transport.download(bench.artefact, bench.part, None))
            await asyncio.to_thread(arrives)
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    asyncio.run(stopped())
    kept = bench.part.stat().st_size
    assert bench.part.read_bytes() == CONTENT[:kept]
    bench.mirror.faults({})
    assert bench.download() == WHOLE
    assert bench.asked() == [f"bytes={kept}-"]

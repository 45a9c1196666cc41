"""Where a mirror is allowed to lead, and the small files that come whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from appliance.errors import ApplianceError, SurroundingsError
from appliance.images.trust import Case, Untrusted
from tests.unit.images.bench import BREAKS_ONCE, CONTENT, ONCE, QUICK, SIZE, WHOLE, Bench


def redirected(bench: Bench, *to: str) -> None:
    """The kernel leads through these places."""
    places = ["/kernel", *(place for place in to[:-1])]
    book: dict[str, object] = {p: {"kind": "redirect", "to": t} for p, t in zip(places, to, strict=True)}
    bench.mirror.faults({**book, "/there": {"kind": "swap", "with": "/kernel"}})


@pytest.mark.parametrize("to", [("/there",), ("/1", "/there"), ("/1", "/2", "/there"), ("there",)], ids=str)
def test_a_few_redirects(bench: Bench, to: tuple[str, ...]) -> None:
    redirected(bench, *to)
    assert bench.download() == WHOLE
    assert bench.document() == CONTENT


@pytest.mark.parametrize(
    "to",
    [("/1", "/2", "/3", "/there"), ("/kernel",), ("file:///etc/passwd",), ("ftp://127.0.0.1/x",),
     ("data:,x",), ("javascript:1",), ("gopher://127.0.0.1",)],
    ids=str,
)  # fmt: skip
def test_redirects_that_are_not_followed(bench: Bench, to: tuple[str, ...]) -> None:
    redirected(bench, *to)
    for bring in (bench.download, bench.document):
        with pytest.raises(Untrusted) as refused:
            bring()
        assert refused.value.case is Case.REDIRECTED


@pytest.mark.parametrize("to", ["http://", "http://[", "http://127.0.0.1:99999/", "//", "http://a b/", ""])
def test_a_redirect_to_no_place(bench: Bench, to: str) -> None:
    """Whatever it is: an error of ours in words, not a traceback."""
    redirected(bench, to)
    for bring in (bench.download, bench.document):
        with pytest.raises(ApplianceError):
            bring()


# ---- documents ----


def test_a_document(bench: Bench) -> None:
    assert bench.document() == CONTENT
    with pytest.raises(Untrusted) as refused:
        bench.document(cap=SIZE - 1)
    assert refused.value.case is Case.TOO_LARGE


@pytest.mark.parametrize("code", [404, 410])
def test_a_document_that_does_not_exist(bench: Bench, code: int) -> None:
    bench.fault({"kind": "status", "code": code})
    assert bench.document() is None


@pytest.mark.parametrize(
    "fault",
    [BREAKS_ONCE, {"kind": "cut", "after": 9, **ONCE}, {"kind": "status", "code": 502, **ONCE},
     {"kind": "wrong_length", "by": 9, **ONCE}],
    ids=lambda fault: fault["kind"],
)  # fmt: skip
def test_a_document_that_comes_at_the_second_attempt(bench: Bench, fault: Mapping[str, object]) -> None:
    bench.fault(fault)
    assert bench.document() == CONTENT


@pytest.mark.parametrize(
    "fault", [{"kind": "drip", "bytes_per_second": 20}, {"kind": "cut", "after": 9}], ids=str
)
def test_a_document_that_never_comes(bench: Bench, fault: Mapping[str, object]) -> None:
    bench.fault(fault)
    with pytest.raises(SurroundingsError):
        bench.document()
    assert len(bench.asked()) == QUICK.tries


@pytest.mark.parametrize(
    ("fault", "size"),
    [
        ({"kind": "swap", "with": "/kernel"}, SIZE), ({"kind": "status", "code": 404}, None),
        ({"kind": "status", "code": 500}, None), ({"kind": "reset", "head": False}, None),
        ({"kind": "stall", "head": False}, None), ({"kind": "endless"}, None),
    ],
    ids=lambda v: str(v),
)  # fmt: skip
def test_how_large_a_file_is(bench: Bench, fault: Mapping[str, object], size: int | None) -> None:
    bench.fault(fault)
    assert bench.size() == size


def test_nobody_is_there(bench: Bench) -> None:
    artefact = replace(bench.artefact, url="http://127.0.0.1:9/kernel")
    with pytest.raises(SurroundingsError, match="cannot reach the server"):
        bench.download(artefact=artefact)

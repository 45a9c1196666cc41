"""The store as it is read: what is there, what is current, what is pinned, whatever lies around it."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import OperatorError, SurroundingsError
from appliance.images.model import Stream
from appliance.images.store import Pointers, Store, render_pointers
from tests.unit.images.rooms import BETA, STABLE, STREAMS, VERSIONS
from tests.unit.images.stores import Shelf

ARM = Stream("flatcar", "stable", "arm64")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_store_that_is_not_there_is_empty(shelf: Shelf) -> None:
    store = shelf.store
    assert (store.streams(), store.versions(STABLE), store.current(STABLE)) == ((), (), None)
    assert (store.lock().releases, store.lock_as_it_is()[1]) == ((), ())
    assert (store.pointers(STABLE), store.release(STABLE, "1")) == (Pointers(), None)
    assert list(shelf.root.iterdir()) == [], "who only looks makes nothing"


def test_streams_and_versions_are_sorted(shelf: Shelf) -> None:
    for version in ("4593.2.10", "4593.2.9", "4600.0.0"):
        shelf.put(version)
    shelf.put("1", BETA)
    shelf.put("2", ARM)
    shelf.put("3", Stream("local", "rescue"))
    store = shelf.store
    assert store.streams() == (BETA, STABLE, ARM, Stream("local", "rescue"))
    assert store.versions(STABLE) == ("4593.2.9", "4593.2.10", "4600.0.0")
    assert store.versions(ARM) == ("2",)


def test_what_lies_around_is_no_release(shelf: Shelf) -> None:
    shelf.put("1", current=True)
    images = Path(shelf.paths.images)
    for place in (
        "debian/stable/1",
        "flatcar/..x/1",
        "flatcar/arm64/1",
        "flatcar/stable/.2",
        "flatcar/stable/new",
    ):
        (images / place).mkdir(parents=True)
    (images / "flatcar/stable/2").write_bytes(b"a file")
    (images / "flatcar/stable/3").symlink_to("1")
    (images / "flatcar/linked").symlink_to("stable")
    (images / "container-linux").write_bytes(b"a file")
    store = shelf.store
    assert store.streams() == (STABLE,)
    assert store.versions(STABLE) == ("1",)


@pytest.mark.parametrize("target", ["../beta/1", "/etc", "..", "current", "", "a b"])
def test_a_pointer_that_leads_elsewhere_leads_nowhere(shelf: Shelf, target: str) -> None:
    shelf.put("1")
    if target:
        shelf.point(target)
    else:
        (shelf.folder("current")).write_bytes(b"1")
    assert shelf.store.current(STABLE) is None


def test_a_pointer_may_lead_to_what_is_gone(shelf: Shelf) -> None:
    shelf.point("1")
    assert shelf.store.current(STABLE) == "1"
    assert shelf.store.versions(STABLE) == ()


def test_a_record_is_that_of_the_place_where_it_lies(shelf: Shelf) -> None:
    one, two = shelf.put("1"), shelf.put("2")
    store = shelf.store
    assert (store.release(STABLE, "1"), store.release(STABLE, "2")) == (one, two)
    record = shelf.folder("1") / "release.json"
    record.write_bytes((shelf.folder("2") / "release.json").read_bytes())
    assert store.release(STABLE, "1") is None, "and it was looked at again"
    record.write_bytes(b"{")
    assert store.release(STABLE, "1") is None
    record.unlink()
    os.mkfifo(record)
    assert store.release(STABLE, "1") is None


def test_what_changed_is_read_again_and_nothing_else_is(shelf: Shelf) -> None:
    shelf.put("1")
    store = shelf.store
    lock, record = store.lock(), store.release(STABLE, "1")
    assert store.lock() is lock
    assert store.release(STABLE, "1") is record
    shelf.put("2")
    assert [r.version for r in store.lock().releases] == ["1", "2"]


def test_a_lock_that_cannot_be_used_must_not_be_written_over(shelf: Shelf) -> None:
    shelf.put("1")
    lock = Path(shelf.paths.image_lock)
    lock.write_text(lock.read_text() + '["flatcar"."stable"."amd64"."2"]\n')
    store = shelf.store
    kept, problems = store.lock_as_it_is()
    assert [r.version for r in kept.releases] == ["1"]
    assert len(problems) == 1
    with pytest.raises(OperatorError) as refused:
        store.lock()
    assert refused.value.problems == problems
    lock.write_text("")
    assert store.lock().releases == ()


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\0"], ids=["not UTF-8", "NUL"])
def test_a_lock_that_is_no_text_is_a_problem(shelf: Shelf, raw: bytes) -> None:
    lock = Path(shelf.paths.image_lock)
    lock.parent.mkdir(parents=True)
    lock.write_bytes(raw)
    kept, (problem,) = shelf.store.lock_as_it_is()
    assert kept.releases == ()
    assert problem.file == str(lock)


def test_a_lock_that_is_a_pipe_does_not_stop_the_world(shelf: Shelf) -> None:
    lock = Path(shelf.paths.image_lock)
    lock.parent.mkdir(parents=True)
    os.mkfifo(lock)
    _, (problem,) = shelf.store.lock_as_it_is()
    assert "not a regular file" in problem.message


# ---- pointers ----

NAMES = st.text("abcdefghij0123456789-", min_size=1, max_size=10)
POINTERS = st.builds(
    Pointers,
    st.lists(VERSIONS, max_size=3).map(tuple),
    st.dictionaries(NAMES, VERSIONS, max_size=3).map(MappingProxyType),
)


@given(st.dictionaries(STREAMS, POINTERS, max_size=3))
def test_pointers_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, pointers: dict[Stream, Pointers]
) -> None:
    store = Store(Shelf(tmp_path_factory.mktemp("pointers")).paths)
    path = Path(store.paths.image_pointers)
    path.parent.mkdir(parents=True)
    path.write_bytes(render_pointers({str(s.folder): p for s, p in pointers.items()}))
    for stream, expected in pointers.items():
        assert store.pointers(stream) == expected


def test_a_canary_gets_its_own_version(shelf: Shelf) -> None:
    shelf.put("1", current=True)
    path = Path(shelf.paths.image_pointers)
    path.write_bytes(render_pointers({"flatcar/stable": Pointers((), MappingProxyType({"node1": "2"}))}))
    store = shelf.store
    assert (store.version_for(STABLE, "node1"), store.version_for(STABLE, "node2")) == ("2", "1")
    assert store.version_for(ARM, "node1") is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"3", b"\xff", b'{"flatcar/stable": []}', b'{"flatcar/stable": {"before": []}}',
     b'{"flatcar/stable": {"before": [], "machines": []}}',
     b'{"flatcar/stable": {"before": 5, "machines": {}}}', b"[" * 100_000],
)  # fmt: skip
def test_pointers_that_cannot_be_understood(shelf: Shelf, raw: bytes) -> None:
    path = Path(shelf.paths.image_pointers)
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    with pytest.raises(SurroundingsError, match=r"image-pointers\.json") as refused:
        shelf.store.pointers(STABLE)
    assert "remove it" in refused.value.hint


def test_pointers_lead_to_versions_only(shelf: Shelf) -> None:
    path = Path(shelf.paths.image_pointers)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"flatcar/stable": {"before": ["../x", "1"], "machines": {"a": "/etc", "b": "2"}}}')
    assert shelf.store.pointers(STABLE) == Pointers(("1",), MappingProxyType({"b": "2"}))

"""Pointers moved and releases removed: only to what is whole, never from under what anything leads to."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.errors import OperatorError, Refused
from appliance.images.change import prune, release_canaries, rollback, use
from appliance.images.health import release_damage
from appliance.images.model import version_key
from tests.unit.images.rooms import BETA, STABLE
from tests.unit.images.stores import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Three releases, of which the first is current."""
    shelf = Shelf(tmp_path)
    shelf.put("1", current=True)
    shelf.put("2")
    shelf.put("3")
    return shelf


def use_now(shelf: Shelf, version: str, *machines: str) -> None:
    use(shelf.store, shelf.seals, STABLE, version, machines)


def back(shelf: Shelf) -> tuple[str | None, str]:
    return rollback(shelf.store, shelf.seals, STABLE)


def spoil(shelf: Shelf, version: str) -> None:
    (shelf.folder(version) / "vmlinuz").write_bytes(b"spoilt")


def test_one_way_and_back(shelf: Shelf) -> None:
    use_now(shelf, "2")
    use_now(shelf, "3")
    assert shelf.store.current(STABLE) == "3"
    assert shelf.store.pointers(STABLE).before == ("1", "2")
    assert back(shelf) == ("3", "2")
    assert back(shelf) == ("2", "1")
    with pytest.raises(Refused, match="nothing was current before"):
        back(shelf)
    assert shelf.store.current(STABLE) == "1"


def test_what_is_current_is_not_what_was_before(shelf: Shelf) -> None:
    use_now(shelf, "2")
    use_now(shelf, "2")
    assert shelf.store.pointers(STABLE).before == ("1",)
    use_now(shelf, "1")
    use_now(shelf, "2")
    assert back(shelf) == ("2", "1")
    with pytest.raises(Refused):
        back(shelf)


def test_the_past_is_not_kept_for_ever(shelf: Shelf) -> None:
    for n in range(4, 40):
        shelf.put(str(n))
        use_now(shelf, str(n))
    before = shelf.store.pointers(STABLE).before
    assert len(before) == 20
    assert before[-1] == "38"


@pytest.mark.parametrize("machines", [(), ("node1",)], ids=["all", "canary"])
def test_what_is_not_whole_is_not_used(shelf: Shelf, machines: tuple[str, ...]) -> None:
    spoil(shelf, "2")
    shelf.put("4", pinned=False)
    for version, words in (("2", "vmlinuz"), ("4", "does not pin"), ("5", "not in the store")):
        with pytest.raises(Refused, match=words):
            use_now(shelf, version, *machines)
    assert shelf.store.current(STABLE) == "1"
    assert shelf.store.pointers(STABLE).machines == {}


def test_a_rollback_to_what_is_not_whole(shelf: Shelf) -> None:
    use_now(shelf, "2")
    spoil(shelf, "1")
    with pytest.raises(Refused, match="vmlinuz") as refused:
        back(shelf)
    assert "fetch flatcar/stable@1" in refused.value.hint
    assert shelf.store.current(STABLE) == "2"


def test_canaries(shelf: Shelf) -> None:
    use_now(shelf, "2", "node1", "node2")
    use_now(shelf, "3", "node2")
    store = shelf.store
    given = [store.version_for(STABLE, name) for name in ("node1", "node2", "node3")]
    assert given == ["2", "3", "1"]
    assert store.current(STABLE) == "1"
    release_canaries(shelf.store, STABLE, ["node1"])
    with pytest.raises(Refused, match="node1"):
        release_canaries(shelf.store, STABLE, ["node1", "node2"])
    assert dict(shelf.store.pointers(STABLE).machines) == {"node2": "3"}, "all or none"


def test_a_canary_of_what_everybody_gets_is_none(shelf: Shelf) -> None:
    use_now(shelf, "2", "node1")
    use_now(shelf, "3", "node2")
    use_now(shelf, "2")
    assert dict(shelf.store.pointers(STABLE).machines) == {"node2": "3"}
    back(shelf)
    assert shelf.store.version_for(STABLE, "node1") == "1"


def test_streams_have_pointers_of_their_own(shelf: Shelf) -> None:
    shelf.put("7", BETA, current=True)
    shelf.put("8", BETA)
    use(shelf.store, shelf.seals, BETA, "8")
    use_now(shelf, "2")
    assert rollback(shelf.store, shelf.seals, BETA) == ("8", "7")
    assert shelf.store.current(STABLE) == "2"


# ---- prune ----


def there(shelf: Shelf) -> set[str]:
    return set(shelf.store.versions(STABLE))


def test_prune_keeps_the_newest(shelf: Shelf) -> None:
    use_now(shelf, "3")
    assert prune(shelf.store, 2, {}, [STABLE]) == []  # 1 is what a rollback goes to
    shelf.put("10")
    use_now(shelf, "10")
    assert prune(shelf.store, 1, {}, [STABLE]) == [(STABLE, "1"), (STABLE, "2")]
    assert there(shelf) == {"3", "10"}
    assert [r.version for r in shelf.lock().releases] == ["3", "10"]


def test_prune_keeps_what_anything_leads_to(shelf: Shelf) -> None:
    for n in range(4, 9):
        shelf.put(str(n))
    use_now(shelf, "2", "node1")  # a canary
    use_now(shelf, "3")
    needed = {(STABLE, "5"): "profile rescue"}
    removed = prune(shelf.store, 1, needed, [STABLE])
    assert removed == [(STABLE, v) for v in ("4", "6", "7")]
    assert there(shelf) == {"1", "2", "3", "5", "8"}


def test_what_was_pruned_is_forgotten_by_the_rollback_after_the_next(shelf: Shelf) -> None:
    for version in ("1", "2", "3"):
        use_now(shelf, version)
    assert prune(shelf.store, 1, {}, [STABLE]) == [(STABLE, "1")]
    assert back(shelf) == ("3", "2")
    with pytest.raises(Refused, match="nothing was current before"):
        back(shelf)


def test_prune_stays_in_its_streams(shelf: Shelf) -> None:
    shelf.put("7", BETA)
    shelf.put("8", BETA)
    shelf.put("9", BETA, current=True)
    assert prune(shelf.store, 1, {}, [BETA]) == [(BETA, "7"), (BETA, "8")]
    assert there(shelf) == {"1", "2", "3"}


def test_prune_of_what_is_not_pinned(shelf: Shelf) -> None:
    use_now(shelf, "3")
    shelf.put("0.9", pinned=False)
    assert prune(shelf.store, 2, {}, [STABLE]) == [(STABLE, "0.9")]


def test_prune_touches_nothing_that_the_lock_cannot_tell_of(shelf: Shelf) -> None:
    lock = Path(shelf.paths.image_lock)
    lock.write_text(lock.read_text() + '["flatcar"."stable"."amd64"."9"]\n')
    with pytest.raises(OperatorError):
        prune(shelf.store, 1, {}, [STABLE])
    assert there(shelf) == {"1", "2", "3"}


class Operations(RuleBasedStateMachine):
    """An operator who does what he likes, in any order, now and then something that is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="operations-")
        self.shelf = Shelf(Path(self.folder.name))
        self.shelf.put("1", current=True)
        self.newest = 1

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def fetch(self) -> None:
        self.newest += 1
        self.shelf.put(str(self.newest))

    @rule(back_by=st.integers(-1, 3), machines=st.sampled_from([(), ("node1",), ("node1", "node2")]))
    def use(self, back_by: int, machines: tuple[str, ...]) -> None:
        with contextlib.suppress(Refused):
            use_now(self.shelf, str(self.newest - back_by), *machines)

    @rule()
    def go_back(self) -> None:
        before = self.shelf.store.current(STABLE)
        with contextlib.suppress(Refused):
            assert back(self.shelf)[0] == before

    @rule(machine=st.sampled_from(["node1", "node2"]))
    def take_back(self, machine: str) -> None:
        with contextlib.suppress(Refused):
            release_canaries(self.shelf.store, STABLE, [machine])

    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        prune(self.shelf.store, keep, {}, [STABLE])
        for version in sorted(there(self.shelf), key=version_key)[-keep:]:
            assert version in there(self.shelf)

    @invariant()
    def all_that_anything_leads_to_is_whole(self) -> None:
        store = self.shelf.store
        current, pointers = store.current(STABLE), store.pointers(STABLE)
        last = [v for v in pointers.before if v != current][-1:]
        for version in {current, *pointers.machines.values(), *last}:
            assert version is not None
            assert release_damage(store, self.shelf.seals, STABLE, version) == []
        pins = {r.version for r in store.lock().releases}
        assert pins == there(self.shelf)


TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)

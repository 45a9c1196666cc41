"""The plug is pulled at every step of `use`, `rollback` and `prune`: machines get the one release or the
other, and doing it again ends where it should have ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.steps import call_to_step
from tests.mirror.site import (
    INITRD,
    KERNEL,
    NEW,
    OLD,
    OLD_AT,
    STREAM,
    Signers,
    Site,
    opened,
    release,
)

SMALL: Final = {KERNEL: 6_000, INITRD: 10_000}
NEWEST: Final = "4593.2.7"
ALL: Final = {f"{STREAM}@{v}" for v in (OLD, NEW, NEWEST)}


@dataclass(frozen=True)
class Change:
    """A command, what may be current in the middle of it, and how things stand after it."""

    command: Sequence[str]
    currents: frozenset[str]
    ends: Callable[[Site], bool]
    again: frozenset[int] = frozenset({0})  # exit codes of doing it once more


def current_is(version: str) -> Callable[[Site], bool]:
    return lambda site: site.current() == [f"{STREAM}@{version}"]


def only_two_are_left(site: Site) -> bool:
    return site.states() == {f"{STREAM}@{v}": "ok" for v in (NEW, NEWEST)} and current_is(NEWEST)(site)


CHANGES: Final = {
    "use": Change(("use", f"{STREAM}@{NEW}"), frozenset({NEW, NEWEST}), current_is(NEW)),
    "rollback": Change(
        # Once it is done, doing it again goes back further, to a release that was current before that one.
        ("rollback", STREAM), frozenset({OLD, NEW, NEWEST}), lambda site: not current_is(NEWEST)(site)
    ),
    "prune": Change(("prune", "--keep", "1"), frozenset({NEWEST}), only_two_are_left),
}  # fmt: skip


@pytest.fixture(scope="module")
def with_three(signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with three releases, each of which was current in its turn."""
    folder = tmp_path_factory.mktemp("three")
    with opened(folder, signers) as site:
        for n, version in enumerate((OLD, NEW, NEWEST)):
            release(site.tree, signers.good, version, OLD_AT + timedelta(days=n), sizes=SMALL, digests=False)
            assert site.fetch_here("--use").rc == 0
    return folder


@pytest.mark.parametrize("name", CHANGES)
def test_a_kill_at_any_step(name: str, with_three: Path, empty: Site) -> None:
    change, step, made = CHANGES[name], 0, []
    while True:
        step += 1
        shutil.rmtree(empty.root)
        shutil.copytree(with_three / "root", empty.root, symlinks=True)
        ended = call_to_step(lambda: empty.call("images", *change.command).rc, empty.root, step)
        place = f"after step {step}, {ended.calls[-1]}"
        assert_whole(empty, change, place)
        if not ended.killed:
            break
        made.append(ended.calls[-1])
        assert empty.call("images", *change.command).rc in change.again, place
        assert change.ends(empty), place
        assert_whole(empty, change, place)
    assert ended.rc == 0
    assert change.ends(empty)
    assert any(call.startswith("rename ") for call in made), "something was changed in it"


def assert_whole(site: Site, change: Change, place: str) -> None:
    """What machines can get is there with every byte; what is being removed is not pinned any more."""
    states = site.states()
    assert set(states) <= ALL, place
    assert set(states.values()) <= {"ok", "unpinned"}, place
    (current,) = site.current()
    assert states[current] == "ok", place
    assert current.partition("@")[2] in change.currents, place
    pinned = {name for name, state in states.items() if state == "ok"}
    for name in pinned:
        folder = site.images / STREAM / name.partition("@")[2]
        assert {p.name for p in folder.iterdir()} == {KERNEL, INITRD, "release.json"}, place

"""Generations on a disk that somebody has been at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.sync import apply, generations
from appliance.sync.apply import StagedPlan
from appliance.sync.plan import make_plan
from appliance.tree import Activation
from tests.unit.sync.rooms import RACK, Site, desired


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def staged(site: Site, inventory: str = RACK) -> StagedPlan:
    plan = make_plan(None, None, desired(inventory=inventory))
    return apply.stage(site.paths, plan, why="a test", who="tester")


def committed(site: Site, count: int = 1, *, proven: tuple[int, ...] = ()) -> None:
    """Generations 1 to `count`, the last of them current."""
    for _ in range(count):
        number = staged(site).number
        generations.commit_directory(site.paths, number)
        generations.make_current(site.paths, number)
        if number in proven:
            generations.mark_proven(site.paths, number)


def directory(site: Site, number: int = 1) -> Path:
    return generations.generation_directory(site.paths, number)


def ids(site: Site) -> list[int]:
    return [m.id for m in generations.list_generations(site.paths)]


def test_nothing_is_there_before_the_first(site: Site) -> None:
    assert generations.current_id(site.paths) is None
    assert generations.list_generations(site.paths) == []
    assert generations.next_id(site.paths) == 1
    assert generations.newest_proven(site.paths) is None
    generations.clear_staging(site.paths)


def test_what_was_written_comes_back(site: Site) -> None:
    committed(site)
    found = generations.load_generation(site.paths, 1)
    made = desired()
    assert (found.settings, found.inventory) == (made.settings, made.inventory)
    assert {f.path: (f.content, f.mode, f.activation) for f in found.tree} == {
        f.path: (f.content, f.mode, f.activation) for f in made.tree
    }
    manifest = generations.read_manifest(site.paths, 1)
    assert (manifest.who, manifest.why) == ("tester", "a test")
    assert manifest.as_json() == {
        "id": 1,
        "at": manifest.at,
        "who": "tester",
        "why": "a test",
        "summary": manifest.summary,
        "proven": False,
        "rejected": None,
        "pinned": False,
        "pending": None,
    }
    assert "+machine node1" in manifest.summary


def test_staging_is_invisible_until_it_is_committed(site: Site) -> None:
    plan = staged(site)
    assert (generations.current_id(site.paths), ids(site)) == (None, [])
    assert plan.directory.is_dir()
    committed(site)
    assert (generations.current_id(site.paths), ids(site)) == (1, [1])
    assert sorted(p.name for p in Path(site.paths.generations).iterdir()) == ["1"]


def test_what_a_sync_that_died_left_is_cleared(site: Site) -> None:
    left = staged(site).directory
    (left / "half").write_text("written")
    again = staged(site)
    assert again.directory == left
    assert not (left / "half").exists()


# ---- `current`, changed by hand ----


def _file(link: Path) -> None:
    link.write_text("1")


def _directory(link: Path) -> None:
    link.mkdir()


@pytest.mark.parametrize("make", [_file, _directory])
def test_current_that_is_no_link(site: Site, make: Callable[[Path], None]) -> None:
    committed(site)
    link = Path(site.paths.current)
    link.unlink()
    make(link)
    with pytest.raises(SurroundingsError, match="it is not the link that sync makes"):
        generations.current_id(site.paths)


ELSEWHERE = ["/etc", "/x/generations/1", "x/generations/1", "generations/one", "generations/../1", "1"]


@pytest.mark.parametrize("target", [*ELSEWHERE, "generations/1/x", "generations/²"])
def test_current_that_points_elsewhere(site: Site, target: str) -> None:
    committed(site)
    Path(site.paths.current).unlink()
    Path(site.paths.current).symlink_to(target)
    with pytest.raises(SurroundingsError, match="which is not a generation of ours"):
        generations.current_id(site.paths)


def test_current_may_be_turned_by_its_full_path(site: Site) -> None:
    committed(site, 2)
    Path(site.paths.current).unlink()
    Path(site.paths.current).symlink_to(directory(site, 1))
    assert generations.current_id(site.paths) == 1


def test_current_that_points_at_nothing_is_told_apart(site: Site) -> None:
    committed(site)
    generations.make_current(site.paths, 7)
    assert generations.current_id(site.paths) == 7
    with pytest.raises(SurroundingsError, match="there is no generation 7"):
        generations.load_generation(site.paths, 7)


# ---- damage ----


def _gone(path: Path) -> None:
    path.unlink()


def _changed(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("harm", [_gone, _changed, _empty, _linked])
@pytest.mark.parametrize("path", ["network/pxe/dnsmasq.conf", "inventory.json", "ignition/lab.ign"])
def test_a_damaged_file_is_noticed(site: Site, path: str, harm: Callable[[Path], None]) -> None:
    committed(site)
    harm(directory(site) / path)
    with pytest.raises(SurroundingsError, match=r"of generation 1: |its digest differs"):
        generations.load_generation(site.paths, 1)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"at":1,"who":1,"why":1,"summary":1,"files":[]}', "[" * 100_000]
)
def test_a_damaged_manifest_is_noticed_and_listed_no_more(site: Site, content: str) -> None:
    committed(site, 2)
    (directory(site) / "manifest.json").write_text(content)
    with pytest.raises(SurroundingsError, match="generation 1"):
        generations.read_manifest(site.paths, 1)
    assert ids(site) == [2]
    assert generations.next_id(site.paths) == 3


def test_a_manifest_that_names_files_outside_is_refused(site: Site) -> None:
    committed(site)
    place = directory(site) / "manifest.json"
    raw = json.loads(place.read_text())
    raw["files"]["../../../../etc/passwd"] = "0" * 64
    place.write_text(json.dumps(raw))
    with pytest.raises(SurroundingsError):
        generations.load_generation(site.paths, 1)


def test_whole_files_that_make_no_sense_are_refused(site: Site) -> None:
    """Digests that match protect from accidents only: what is read still has to mean something."""
    committed(site)
    place = directory(site) / "manifest.json"
    raw = json.loads(place.read_text())
    del raw["files"]["inventory.json"]
    place.write_text(json.dumps(raw))
    with pytest.raises(SurroundingsError, match="cannot understand generation 1"):
        generations.load_generation(site.paths, 1)


def test_names_that_are_no_numbers_are_let_be(site: Site) -> None:
    committed(site)
    for name in ("x", "1x", "-1", "²", "٣", "1.bak"):
        (Path(site.paths.generations) / name).mkdir()
    assert ids(site) == [1]
    assert generations.next_id(site.paths) == 2
    generations.prune(site.paths, keep=0)
    assert len(list(Path(site.paths.generations).iterdir())) == 7


# ---- markers and pruning ----


def test_the_newest_proven_one_that_is_whole(site: Site) -> None:
    committed(site, 4, proven=(1, 2, 3))
    _changed(directory(site, 3) / "boot.json")
    found = generations.newest_proven(site.paths)
    assert found is not None
    assert found[0] == 2


def test_one_that_was_taken_back_says_why_and_is_proven_no_more(site: Site) -> None:
    committed(site, proven=(1,))
    generations.mark_rejected(site.paths, 1, "no offer")
    manifest = generations.read_manifest(site.paths, 1)
    assert (manifest.proven, manifest.rejected) == (False, "no offer")
    assert generations.newest_proven(site.paths) is None


def test_pruning_keeps_the_newest_the_current_and_the_last_proven(site: Site) -> None:
    committed(site, 9, proven=(1, 2, 4))
    generations.make_current(site.paths, 5)
    generations.prune(site.paths, keep=2)
    assert ids(site) == [2, 4, 5, 8, 9], "what never worked pushes nothing out that did"
    generations.prune(site.paths, keep=0)
    assert ids(site) == [4, 5]
    assert generations.next_id(site.paths) == 6


def test_nothing_is_pruned_before_there_are_too_many(site: Site) -> None:
    committed(site, 3)
    generations.prune(site.paths)
    assert ids(site) == [1, 2, 3]


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("network/pxe/hosts", Activation.RELOAD),
        ("network/pxe/opts", Activation.RELOAD),
        ("network/pxe/dnsmasq.conf", Activation.RESTART),
        ("tftp/dnsmasq.conf", Activation.RESTART),
        ("inventory.json", Activation.NONE),
        ("ignition/hosts", Activation.NONE),
    ],
)
def test_what_a_change_costs(path: str, cost: Activation) -> None:
    assert generations.activation_of(path) is cost


def test_half_a_mark_and_half_a_removal_are_swept(site: Site) -> None:
    committed(site, 2)
    (directory(site) / ".proven.4711.tmp").write_bytes(b"")
    directory(site, 2).rename(generations.staging_directory(site.paths, 2))
    generations.clear_staging(site.paths)
    assert sorted(p.name for p in Path(site.paths.generations).iterdir()) == ["1"]
    assert not list(directory(site).glob(".*"))

"""Pointers and pruning, as an operator's hands find them: what becomes current, for whom, how far back one
can go, and what never goes away."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.mirror.carried_site import MACHINES, flipped, inventory, take_local
from tests.mirror.site import NEW, OLD, SIZES, STREAM, Signers, Site, copied, write

TOOL: Final = "local/tool"
FLATCAR: Final = f"{STREAM}@{OLD}"
CONTRACT: Final = {
    "image": str, "version": str, "arch": str, "current": bool, "pinned": bool, "size": int,
    "signer": str | None, "fetched_at": str | None, "state": str,
}  # fmt: skip


@pytest.fixture(scope="module")
def stocked(with_old: Path, signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that has two releases of Flatcar, six of a tool, and one of another; nobody changes it."""
    folder = tmp_path_factory.mktemp("stocked")
    with copied(with_old, folder, signers) as site:
        assert site.fetch_here().rc == 0
        take_local(site, folder, *(f"{TOOL}@{n}.0" for n in range(1, 7)), "local/other@2.0")
        inventory(site, STREAM)
        yield site


@pytest.fixture
def many(stocked: Site, tmp_path: Path) -> Site:
    """A site of its own with all that."""
    shutil.copytree(stocked.root, tmp_path / "root", symlinks=True)
    return replace(stocked, root=tmp_path / "root")


def use(site: Site, *words: str) -> None:
    said = site.call("images", "use", *words)
    assert said.rc == 0, said.err


def tool(site: Site) -> str:
    """The version of the tool that is current."""
    (found,) = (name for name in site.current() if name.startswith(f"{TOOL}@"))
    return found.removeprefix(f"{TOOL}@")


def tools(site: Site) -> set[str]:
    """The versions of the tool that are in the store, by all accounts."""
    found = {p.name for p in (site.images / TOOL).iterdir() if not p.is_symlink()}
    lock = tomllib.loads(Path(site.paths.image_lock).read_text())
    assert set(lock["local"]["tool"]["amd64"]) == found
    assert {row["version"] for row in site.rows().values() if row["image"] == TOOL} == found
    return found


def canaries(site: Site, image: str = TOOL) -> dict[str, str]:
    """Which machines get which version of their own."""
    rows = [row for row in site.rows().values() if row["image"] == image]
    return {machine: row["version"] for row in rows for machine in row["machines"]}


def test_the_list_is_what_other_programs_read(many: Site) -> None:
    said = many.run("images", "-o", "json")
    assert said.rc == 0, said.err
    rows = said.json()
    assert len(rows) == 9
    for row in rows:
        for name, kind in CONTRACT.items():
            assert isinstance(row[name], kind), (name, row)
    (old,) = (row for row in rows if row["version"] == OLD)
    fetched = datetime.fromisoformat(old.pop("fetched_at"))
    assert timedelta(0) < datetime.now(UTC) - fetched < timedelta(minutes=30)
    expected = {
        "image": STREAM, "version": OLD, "arch": "amd64", "current": True, "pinned": True,
        "size": sum(SIZES.values()), "signer": many.signers.good.fingerprint, "state": "ok",
    }  # fmt: skip
    assert {name: old[name] for name in expected} == expected
    assert {row["signer"] for row in rows if row["image"] == TOOL} == {"operator"}


def test_the_list_names_what_is_wrong(many: Site) -> None:
    kernel = many.images / TOOL / "2.0/vmlinuz"
    write(kernel, flipped(kernel.read_bytes()))
    shutil.rmtree(many.images / TOOL / "3.0")
    shutil.copytree(many.images / TOOL / "4.0", many.images / TOOL / "9.0")
    shutil.rmtree(many.images / TOOL / "1.0")
    rows = many.rows()
    assert {name: row["state"] for name, row in rows.items() if row["state"] != "ok"} == {
        f"{TOOL}@1.0": "absent", f"{TOOL}@2.0": "damaged", f"{TOOL}@3.0": "absent", f"{TOOL}@9.0": "unpinned",
    }  # fmt: skip
    assert rows[f"{TOOL}@1.0"]["current"]
    assert rows[f"{TOOL}@3.0"]["pinned"]
    assert rows[f"{TOOL}@3.0"]["fetched_at"] is None
    assert not rows[f"{TOOL}@9.0"]["pinned"]


@pytest.mark.parametrize(
    ("words", "current"),
    [
        ((f"{TOOL}@2.0",), f"{TOOL}@2.0"),
        ((TOOL, "2.0"), f"{TOOL}@2.0"),
        (("3.0",), f"{TOOL}@3.0"),
        ((NEW,), f"{STREAM}@{NEW}"),
    ],
)
def test_every_way_to_name_a_release(many: Site, words: tuple[str, ...], current: str) -> None:
    before = set(many.current())
    said = many.run("images", "use", *words)
    assert said.rc == 0, said.err
    assert f"{current} is current" in said.out
    image = current.partition("@")[0]
    assert set(many.current()) == {n for n in before if not n.startswith(f"{image}@")} | {current}


@pytest.mark.parametrize(
    ("words", "rc", "said"),
    [
        (("2.0",), 4, "there are local/other, local/tool"),
        (("9.9",), 4, "no image has it"),
        ((TOOL,), 3, f"which version of {TOOL}"),
        (("nonsense",), 3, "cannot tell what to use"),
        ((TOOL, "2.0", "3.0"), 3, "cannot tell what to use"),
        (("flatcr/stable@1",), 3, "did you mean 'flatcar'"),
        ((TOOL, "../other/2.0"), 4, "cannot use"),
        ((TOOL, "9.9"), 4, "it is not in the store"),
        ((f"{STREAM}@{NEW}", "--arch", "arm64"), 4, "it is not in the store"),
        ((TOOL, "current"), 3, "--machines"),
        ((TOOL, "2.0", "--machines", ""), 3, "machine"),
        ((TOOL, "2.0", "--machines", ","), 3, "machine"),
    ],
)
def test_what_is_not_clear_is_not_done(many: Site, words: tuple[str, ...], rc: int, said: str) -> None:
    before = many.current()
    answer = many.call("images", "use", *words)
    assert many.current() == before
    assert answer.rc == rc, answer.out + answer.err
    assert said in answer.err


def test_canaries(many: Site) -> None:
    said = many.run("images", "use", TOOL, "2.0", "--machines", "node1,node2", "--machines", "node3")
    assert said.rc == 0, said.err
    assert canaries(many) == dict.fromkeys(MACHINES, "2.0")
    assert tool(many) == "1.0"
    use(many, f"{TOOL}@3.0", "--machines", "node2")
    assert canaries(many) == {"node1": "2.0", "node2": "3.0", "node3": "2.0"}
    use(many, TOOL, "current", "--machines", "node2,node3")
    assert canaries(many) == {"node1": "2.0"}
    again = many.call("images", "use", TOOL, "current", "--machines", "node1,node2")
    assert again.rc == 4, again.out
    assert "node2 has no version" in again.err
    assert canaries(many) == {"node1": "2.0"}, "all of them or none"
    use(many, TOOL, "2.0")
    assert tool(many) == "2.0"
    assert canaries(many) == {}, "a canary of what everybody gets is none"
    assert canaries(many, STREAM) == {}


def test_a_canary_is_a_machine_that_exists(many: Site) -> None:
    said = many.run("images", "use", TOOL, "2.0", "--machines", "node1,nod2")
    assert said.rc == 4, said.out
    assert "'nod2'" in said.err
    assert "did you mean node2?" in said.err
    assert canaries(many) == {}
    assert tool(many) == "1.0"


def test_rollback_goes_back_step_by_step(many: Site) -> None:
    for version in ("2.0", "2.0", "3.0"):
        use(many, TOOL, version)
    for there, back in (("3.0", "2.0"), ("2.0", "1.0")):
        said = many.run("images", "rollback", TOOL)
        assert said.rc == 0, said.err
        assert f"back from {there} to {back}" in said.out
        assert tool(many) == back
    said = many.run("images", "rollback", TOOL)
    assert said.rc == 4, said.out
    assert "nothing was current before" in said.err
    assert tool(many) == "1.0"
    use(many, TOOL, "2.0")
    assert many.call("images", "rollback", TOOL).rc == 0
    assert tool(many) == "1.0"


def test_rollback_without_a_name_where_one_image_can(many: Site) -> None:
    nothing = many.call("images", "rollback")
    assert nothing.rc == 4, nothing.out
    assert "none has anything to go back to" in nothing.err
    use(many, TOOL, "2.0")
    assert many.call("images", "rollback").rc == 0
    assert tool(many) == "1.0"
    use(many, TOOL, "2.0")
    use(many, NEW)
    both = many.call("images", "rollback")
    assert both.rc == 4, both.out
    assert f"{STREAM}, {TOOL}" in both.err
    assert tool(many) == "2.0"


def damaged(site: Site, version: str) -> str:
    kernel = site.images / TOOL / version / "vmlinuz"
    write(kernel, flipped(kernel.read_bytes()))
    return "vmlinuz: its SHA-512 is"


def unpinned(site: Site, version: str) -> str:
    lock = Path(site.paths.image_lock)
    entries = lock.read_text().split("\n[")
    kept = [e for e in entries if not e.startswith(f'"local"."tool"."amd64"."{version}"]')]
    assert len(kept) == len(entries) - 1
    lock.write_text("\n[".join(kept))
    return "images.lock does not pin it"


def absent(site: Site, version: str) -> str:
    shutil.rmtree(site.images / TOOL / version)
    return "it is not in the store"


def a_file_gone(site: Site, version: str) -> str:
    (site.images / TOOL / version / "initrd.img").unlink()
    return "initrd.img: it is not there"


def a_link(site: Site, version: str) -> str:
    kernel = site.images / TOOL / version / "vmlinuz"
    kernel.unlink()
    kernel.symlink_to("../1.0/vmlinuz")
    return "vmlinuz: cannot be read"


@pytest.mark.parametrize("spoil", [damaged, unpinned, absent, a_file_gone, a_link], ids=lambda f: f.__name__)
def test_what_may_not_be_served_does_not_become_current(
    many: Site, spoil: Callable[[Site, str], str]
) -> None:
    use(many, TOOL, "2.0")
    use(many, TOOL, "3.0")
    why = spoil(many, "2.0")
    for command in (("use", TOOL, "2.0"), ("use", TOOL, "2.0", "--machines", "node1"), ("rollback", TOOL)):
        said = many.call("images", *command)
        assert said.rc == 4, said.out
        assert why in said.err
        assert "2.0" in said.err
        assert tool(many) == "3.0"
        assert canaries(many) == {}


def test_prune_keeps_all_that_anything_leads_to(many: Site) -> None:
    inventory(many, STREAM, f"{TOOL}@4.0")
    use(many, TOOL, "2.0")  # so 1.0 is what a rollback would go to
    use(many, TOOL, "3.0", "--machines", "node1")
    said = many.run("images", "prune", "--keep", "1", "-o", "json")
    assert said.rc == 0, said.err
    assert said.json() == [{"image": TOOL, "arch": "amd64", "version": "5.0"}]
    assert tools(many) == {"1.0", "2.0", "3.0", "4.0", "6.0"}
    assert many.call("images", "prune", "--keep", "1").out == "Nothing to remove.\n"

    inventory(many, STREAM)
    use(many, TOOL, "current", "--machines", "node1")
    use(many, TOOL, "6.0")
    assert many.call("images", "prune", TOOL, "--keep", "1").rc == 0
    assert tools(many) == {"2.0", "6.0"}
    assert many.call("images", "rollback", TOOL).rc == 0
    gone = many.call("images", "rollback", TOOL)
    assert gone.rc == 4, "what was current before that was removed"
    assert tool(many) == "2.0"
    assert set(many.states().values()) == {"ok"}


def test_prune_keeps_as_many_as_it_is_told(many: Site) -> None:
    said = many.call("images", "prune", "--keep", "3")
    assert said.rc == 0, said.err
    assert said.out == f"removed {TOOL}@2.0\nremoved {TOOL}@3.0\n"
    assert tools(many) == {"1.0", "4.0", "5.0", "6.0"}
    said = many.call("images", "prune")
    assert said.rc == 0, said.err
    assert tools(many) == {"1.0", "5.0", "6.0"}, "two, when nothing is said"
    assert many.call("images", "prune", "--keep", "0").rc == 2
    use(many, NEW)
    use(many, OLD)
    assert many.call("images", "prune", STREAM, "--keep", "1").out == "Nothing to remove.\n"
    many.assert_nothing_unproven()


def test_prune_removes_nothing_while_it_cannot_tell_what_profiles_name(many: Site) -> None:
    inventory(many, STREAM, f"{TOOL}@2.0")
    rack = Path(many.paths.inventory / "rack.toml")
    rack.write_text(rack.read_text() + '[machine.node9]\nmac = "not a mac"\n')
    said = many.call("images", "prune", TOOL, "--keep", "1")
    assert "2.0" in tools(many)
    assert said.rc in {0, 3, 4}, said.err


def test_pointers_that_nobody_can_read_are_named(many: Site) -> None:
    pointers = Path(many.paths.image_pointers)
    write(pointers, b"not json")
    for command in ((), ("rollback", TOOL), ("prune",), ("use", TOOL, "2.0")):
        said = many.call("images", *command)
        assert said.rc == 5, said.out
        assert str(pointers) in said.err
    kept = {p.name for p in (many.images / TOOL).iterdir() if not p.is_symlink()}
    assert kept == {f"{n}.0" for n in range(1, 7)}
    pointers.unlink()
    assert tool(many) == "1.0"

"""The state is the service's own, and root syncs there: what is planted leads root nowhere, runs nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, SurroundingsError
from appliance.sync import apply, generations
from appliance.sync.plan import make_plan
from appliance.sync.publish import publish_scripts
from appliance.sync.run import Request, sync
from tests.unit.sync.rooms import MOVED, Daemon, Site, desired

UID, GID = 65534, 65533


@pytest.fixture
def site() -> Iterator[Site]:
    """A site whose state directory is the service's; every user can come to it."""
    root = Path(tempfile.mkdtemp(prefix="pxe-test-"))
    root.chmod(0o755)
    site = Site(root)
    site.write()
    state = Path(site.paths.state)
    state.mkdir(parents=True, exist_ok=True)
    for path in (state, *state.rglob("*")):
        os.lchown(path, UID, GID)
    yield site
    shutil.rmtree(root)


@pytest.fixture
def victim(site: Site) -> Path:
    """What is root's alone."""
    folder = site.root / "victim"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_bytes(b"root's alone")
    return folder


def plant(link: Path, target: Path) -> None:
    link.symlink_to(target)
    os.lchown(link, UID, GID)


def owners(site: Site) -> set[tuple[int, int]]:
    return {(p.lstat().st_uid, p.lstat().st_gid) for p in Path(site.paths.state).rglob("*")}


def test_all_that_root_makes_there_is_the_services(site: Site) -> None:
    sync(site.paths, Request(), Daemon())
    site.write(MOVED)
    sync(site.paths, Request(), Daemon())
    assert sync(site.paths, Request(to=1), Daemon()).number == 3
    assert [m.proven for m in generations.list_generations(site.paths)] == [True, True, True]
    generations.mark_rejected(site.paths, 2, "a test")
    generations.prune(site.paths, 1)
    assert [m.id for m in generations.list_generations(site.paths)] == [2, 3], "of each kind one"
    assert owners(site) == {(UID, GID)}


@pytest.mark.parametrize("path", ["network/pxe/dnsmasq.conf", "tftp/dnsmasq.conf"])
def test_no_program_that_somebody_wrote_into_what_is_checked_is_run(site: Site, path: str) -> None:
    """dnsmasq runs `conf-script` when it only tests a file, too (2.90, measured), and root tests it."""
    staged = apply.stage(site.paths, make_plan(None, None, desired()), why="a test", who="tester")
    canary = site.root / "canary"
    (staged.directory / path).write_text(f'conf-script="/bin/touch {canary}"\n')
    with pytest.raises(ApplianceError, match="is not what was written there a moment ago"):
        apply.check(staged)
    assert not canary.exists()
    assert not staged.directory.exists()


@pytest.mark.parametrize("name", ["rejected", "pending"])
def test_a_mark_shows_nothing_of_roots(site: Site, victim: Path, name: str) -> None:
    sync(site.paths, Request(), None)
    plant(generations.generation_directory(site.paths, 1) / name, victim / "secret")
    (manifest,) = generations.list_generations(site.paths)
    assert (manifest.rejected, manifest.pending) == ("", "")


def test_a_generation_of_links_cannot_be_read(site: Site, victim: Path) -> None:
    sync(site.paths, Request(), None)
    file = generations.generation_directory(site.paths, 1) / "appliance.toml"
    shutil.copy(file, victim / "appliance.toml")
    file.unlink()
    plant(file, victim / "appliance.toml")
    with pytest.raises(ApplianceError, match=r"cannot read appliance\.toml of generation 1: permission"):
        generations.load_generation(site.paths, 1)


def test_boot_files_go_nowhere_else(site: Site, victim: Path) -> None:
    plant(Path(site.paths.tftp), victim)
    with pytest.raises(SurroundingsError, match=f"is a link that user {UID} made"):
        publish_scripts(site.paths, {"autoexec.ipxe": b"#!ipxe"})
    assert [path.name for path in victim.iterdir()] == ["secret"]

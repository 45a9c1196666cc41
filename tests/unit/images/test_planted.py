"""The store is the service's own, and root fetches, publishes and exports there: links lead root nowhere."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.images.bundle import export_bundle
from appliance.images.carried import Folder
from appliance.images.change import prune
from appliance.images.intake import Intake
from appliance.images.lock import Lock
from appliance.images.progress import Nobody
from appliance.images.publish import forget_part, point, publish, workplace
from appliance.images.trust import judge_release
from tests.unit.images.rooms import INITRD, KERNEL, LATE, STABLE, build, plan, proven
from tests.unit.images.stores import Shelf

UID, GID = 65534, 65533
SECRET = b"root's alone"
NEW = "4593.2.6"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A store whose state directory is the service's; every user can come to it."""
    root = Path(tempfile.mkdtemp(prefix="pxe-test-"))
    root.chmod(0o755)
    shelf = Shelf(root)
    Path(shelf.paths.etc).mkdir(parents=True)
    Path(shelf.paths.state).mkdir(parents=True)
    hand_over(shelf)
    yield shelf
    shutil.rmtree(root)


@pytest.fixture
def victim(shelf: Shelf) -> Path:
    """What is root's alone, under the names that a release has."""
    folder = shelf.root / "victim"
    folder.mkdir(mode=0o700)
    for name in ("vmlinuz", "initrd.img", f"{KERNEL}.part"):
        (folder / name).write_bytes(SECRET)
        (folder / name).chmod(0o600)
    return folder


def hand_over(shelf: Shelf) -> None:
    state = Path(shelf.paths.state)
    for path in (state, *state.rglob("*")):
        os.lchown(path, UID, GID)


def planted(link: Path, target: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    for path in (link, link.parent):
        os.lchown(path, UID, GID)
    return link


def untouched(victim: Path) -> bool:
    files = sorted(victim.iterdir())
    modes = {path.stat().st_mode & 0o777 for path in files}
    alone = modes == {0o600} and victim.stat().st_mode & 0o777 == 0o700
    return alone and len(files) == 3 and {path.read_bytes() for path in files} == {SECRET}


def test_what_root_publishes_is_the_services_and_no_link_among_it_is_followed(
    shelf: Shelf, victim: Path
) -> None:
    content = build("new")
    release = judge_release(
        plan(NEW),
        proven(plan(NEW), content),
        Lock(),
        evidence={},
        certificates=(),
        foreign_number=None,
        allow_downgrade=False,
    )
    parts = workplace(shelf.paths, STABLE, NEW) / "parts"
    parts.mkdir(parents=True)
    (parts / f"{INITRD}.part").write_bytes(content[INITRD])
    hand_over(shelf)
    planted(parts / f"{KERNEL}.part", victim / "vmlinuz")
    with pytest.raises(SurroundingsError, match="cannot publish"):
        publish(shelf.store, shelf.seals, release, LATE)
    assert untouched(victim)
    (parts / f"{KERNEL}.part").unlink()
    (parts / f"{KERNEL}.part").write_bytes(content[KERNEL])
    hand_over(shelf)
    publish(shelf.store, shelf.seals, release, LATE)
    below = list(Path(shelf.paths.state).rglob("*"))
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in below} == {(UID, GID)}
    assert (shelf.folder(NEW) / KERNEL).stat().st_mode & 0o777 == 0o644
    assert shelf.store.current(STABLE) == NEW
    assert Path(shelf.paths.image_lock).stat().st_uid == 0, "pins are root's"


def test_what_arrives_goes_nowhere_else(shelf: Shelf, victim: Path) -> None:
    parts = planted(workplace(shelf.paths, STABLE, NEW) / "parts", victim)
    hand_over(shelf)
    intake = Intake(parts / f"{KERNEL}.part", None, sha256=False)
    with pytest.raises(SurroundingsError, match="cannot write") as caught:
        intake.restart()
    assert caught.value.hint.startswith(f"{parts} is a link")
    intake.discard()
    forget_part(shelf.paths, STABLE, NEW)
    assert untouched(victim)


def test_a_part_that_an_older_version_left_to_root_is_named(shelf: Shelf) -> None:
    parts = workplace(shelf.paths, STABLE, NEW) / "parts"
    parts.mkdir(parents=True)
    hand_over(shelf)
    (parts / f"{KERNEL}.part").touch(0o600)
    with pytest.raises(SurroundingsError) as caught:
        Intake(parts / f"{KERNEL}.part", None, sha256=False).restart()
    assert caught.value.hint.endswith(f"chown -hR {UID}:{GID} {parts}/{KERNEL}.part")


def test_what_is_read_from_the_store_is_what_the_service_may_read(shelf: Shelf, victim: Path) -> None:
    planted(shelf.folder(NEW), victim)
    with pytest.raises(PermissionError):
        next(Folder(shelf.folder(NEW)).pieces("vmlinuz"))
    with pytest.raises(PermissionError):
        Folder(shelf.folder(NEW)).size("vmlinuz")
    assert next(Folder(victim, follow=True).pieces("vmlinuz")) == SECRET, "an operator's own directory"


def test_no_secret_gets_into_a_bundle(shelf: Shelf, victim: Path) -> None:
    content = {"vmlinuz": SECRET, "initrd.img": SECRET}
    release = shelf.put(NEW, files=content)
    hand_over(shelf)
    bundle = shelf.root / "images.tar"
    export_bundle(shelf.store, [release], bundle, Nobody())
    with tarfile.open(bundle) as tar:
        assert len(tar.getnames()) == 3
    before = bundle.read_bytes()
    shutil.rmtree(shelf.folder(NEW))
    planted(shelf.folder(NEW), victim)
    with pytest.raises(SurroundingsError, match="Permission denied"):
        export_bundle(shelf.store, [release], bundle, Nobody())
    assert bundle.read_bytes() == before


def test_pointing_and_pruning_change_nothing_elsewhere(shelf: Shelf, victim: Path) -> None:
    for version in ("1.0.0", NEW):
        shelf.put(version, current=True)
    hand_over(shelf)
    for version in ("1.0.0", NEW):
        (victim / version).mkdir(mode=0o700)
    aside = shelf.folder(NEW).parent.with_name("aside")
    shelf.folder(NEW).parent.rename(aside)
    planted(aside.with_name("stable"), victim)
    with pytest.raises(SurroundingsError, match="cannot point"):
        point(shelf.store, STABLE, NEW)
    with pytest.raises(SurroundingsError, match="cannot remove"):
        prune(shelf.store, 1, {}, [STABLE])
    for version in ("1.0.0", NEW):
        (victim / version).rmdir()
    assert untouched(victim)

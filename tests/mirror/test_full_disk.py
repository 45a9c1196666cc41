"""The disk is full, or goes read-only: said before anything is fetched where that can be known; the old image
stays, and the room that a failed fetch took is given back. Needs root, for a disk of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.full_disk import filled, read_only, small_disk
from tests.mirror.site import INITRD, KERNEL, NEW, NEW_AT, OLD, STREAM, Signers, Site, copied, release

MIB: Final = 2**20
PAGES: Final = MIB // 4096  # of a MiB
SPARE: Final = 64  # MiB that a fetch leaves free
BOTH: Final = f"{STREAM}@{NEW}"


@contextmanager
def on_a_disk_of_its_own(place: Path, mebibytes: int) -> Iterator[Path]:
    """Move a directory to a small file system that is mounted in its place."""
    aside = place.rename(place.with_name("aside"))
    with small_disk(place, mebibytes * 1024) as disk:
        shutil.copytree(aside, disk, symlinks=True, dirs_exist_ok=True)
        yield disk


@pytest.fixture
def state(site: Site) -> Iterator[Path]:
    """The disk that holds the store; what is written in a test has room on it."""
    with on_a_disk_of_its_own(Path(site.paths.state), SPARE + 96) as disk:
        yield disk


def free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def test_too_little_room_is_said_first(site: Site, state: Path) -> None:
    with filled(state, leave=(SPARE + 3) * PAGES):
        before = free(state)
        said = site.fetch()
        assert said.rc == 5
        assert "4 MB are to come, 70 MB are free, and 67 MB stay free" in said.err
        assert "images prune" in said.err
        assert site.gets(KERNEL) == site.gets(INITRD) == []
        assert free(state) >= before - MIB
        site.assert_old_is_whole()
    assert site.fetch_here().rc == 0
    site.assert_old_is_whole(BOTH)


def test_what_is_there_already_needs_no_room_again(site: Site, state: Path) -> None:
    """The kernel is complete, the initrd is not there yet: only that one has to find room."""
    site.mirror.faults({f"*/{NEW}/{INITRD}": {"kind": "status", "code": 503, "method": "GET"}})
    assert site.fetch_here("--tries", "2").rc == 5
    site.mirror.faults({})
    with filled(state, leave=(SPARE + 2) * PAGES):
        assert site.fetch_here().rc == 0
    site.assert_old_is_whole(BOTH)


def test_a_disk_that_fills_up_on_the_way(site: Site, state: Path) -> None:
    release(site.tree, site.signers.good, NEW, NEW_AT, sizes={KERNEL: 1000, INITRD: 80 * MIB})
    site.mirror.faults({f"*/{INITRD}": {"kind": "status", "code": 500, "method": "HEAD"}})
    with filled(state, leave=(SPARE + 1) * PAGES):
        before = free(state)
        said = site.fetch()
        assert said.rc == 5
        assert f"cannot write {site.incoming / STREAM / NEW / 'parts' / INITRD}.part" in said.err
        assert "No space left on device" in said.err
        assert "df -h" in said.err
        assert free(state) >= before - MIB, "the room is given back"
        site.assert_old_is_whole()
    assert site.fetch_here().rc == 0
    site.assert_old_is_whole(BOTH)


def test_no_room_for_the_pins(site: Site) -> None:
    """What arrived is proven, and is not published; the next fetch has it all already."""
    with on_a_disk_of_its_own(Path(site.paths.etc), 1) as etc:
        with filled(etc):
            said = site.fetch_here()
            assert said.rc == 5
            assert "images.lock" in said.err
            assert "No space left on device" in said.err
            site.assert_old_is_whole()
        assert not list(etc.glob(".*"))
        site.mirror.forget()
        assert site.fetch_here().rc == 0
        assert sum(int(str(get["sent"])) for get in site.gets(KERNEL) if get["status"] != 416) == 0
        site.assert_old_is_whole(BOTH)


def test_prune_makes_room_on_a_disk_that_has_none(site: Site, state: Path) -> None:
    assert site.fetch_here("--use").rc == 0
    release(site.tree, site.signers.good, "4593.2.7", NEW_AT)
    assert site.fetch_here("--use").rc == 0
    with filled(state):
        assert site.states().keys() == {f"{STREAM}@{v}" for v in (OLD, NEW, "4593.2.7")}
        said = site.call("images", "prune", "--keep", "1")
        assert said.rc == 0, said.err
        assert said.out == f"removed {STREAM}@{OLD}\n"
        assert free(state) > 3 * MIB
    site.assert_nothing_unproven()


def test_nothing_moves_on_a_full_disk(site: Site, state: Path) -> None:
    """A pointer is another file first: it cannot be made, and the one before it stays."""
    assert site.fetch_here().rc == 0
    with filled(state):
        said = site.call("images", "use", BOTH)
        assert said.rc == 5
        assert "No space left on device" in said.err
        site.assert_old_is_whole(BOTH)
    assert site.call("images", "use", BOTH).rc == 0


def test_a_disk_that_went_read_only(site: Site, state: Path) -> None:
    with read_only(state):
        for command in (
            ("images", "fetch", STREAM),
            ("images", "use", f"{STREAM}@{OLD}"),
            ("images", "prune"),
        ):
            said = site.call(*command)
            assert said.rc == 5, (command, said)
            assert "Read-only file system" in said.err
        site.assert_old_is_whole()
    assert site.fetch_here().rc == 0


def test_a_store_on_two_disks_is_refused(with_old: Path, signers: Signers, tmp_path: Path) -> None:
    """Publishing is a rename, which would be a copy there, and a copy can stop half-way."""
    with copied(with_old, tmp_path, signers) as site, on_a_disk_of_its_own(site.images, 16):
        said = site.fetch_here()
        assert said.rc == 5
        assert "two file systems" in said.err
        assert site.gets(KERNEL) == []
        site.assert_old_is_whole()

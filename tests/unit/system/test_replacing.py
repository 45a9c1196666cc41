"""An operator's file is replaced whole, as it was owned, and never over somebody else's change."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import Refused, SurroundingsError
from appliance.system import replacing
from appliance.system.replacing import one_editor, read_for_edit, replace_content
from tests.fakes.full_disk import filled, read_only, small_disk
from tests.fakes.steps import call_to_step

OLD, NEW = b"old\n", b"new and longer\n" * 300
UID, GID = 65534, 65533


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rack.toml"
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_mode_and_owner_stay(path: Path, mode: int) -> None:
    path.chmod(mode)
    os.chown(path, UID, GID)
    before = os.umask(0o077)
    try:
        replace_content(path, OLD, NEW)
    finally:
        os.umask(before)
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, UID, GID)
    assert path.read_bytes() == NEW
    assert names(path.parent) == ["rack.toml"]


def test_attributes_stay(path: Path) -> None:
    os.setxattr(path, "user.owner", b"storage team")
    replace_content(path, OLD, NEW)
    assert os.getxattr(path, "user.owner") == b"storage team"


def test_a_new_file_belongs_to_whom_the_directory_belongs(ground: Path) -> None:
    os.chown(ground, UID, GID)
    path = ground / "machines.toml"
    assert read_for_edit(path, 100) is None
    replace_content(path, None, NEW)
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o644, UID, GID)
    assert names(ground) == ["machines.toml"]
    assert found.st_nlink == 1


@pytest.mark.parametrize("other", [b"OLD\n", b"", b"older and longer\n", None])
def test_what_somebody_else_wrote_stays(path: Path, other: bytes | None) -> None:
    if other is None:
        path.unlink()
    else:
        path.write_bytes(other)
    with pytest.raises(Refused, match="changed in the meantime"):
        replace_content(path, OLD, NEW)
    assert (path.read_bytes() if path.exists() else None) == other
    assert names(path.parent) == ([] if other is None else ["rack.toml"])


def test_a_file_that_appeared_stays(path: Path) -> None:
    with pytest.raises(Refused, match="changed in the meantime"):
        replace_content(path, None, NEW)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["rack.toml"]


def test_links_pipes_and_directories_are_refused(path: Path) -> None:
    link, pipe, folder = (path.parent / name for name in ("link.toml", "pipe.toml", "folder.toml"))
    link.symlink_to("rack.toml")
    os.mkfifo(pipe)
    folder.mkdir()
    for odd, why in (
        (link, "it is a link, and would become a file"),
        (pipe, "no regular"),
        (folder, "no regular"),
    ):
        with pytest.raises(Refused, match=why):
            read_for_edit(odd, 100)
        with pytest.raises(Refused, match=why):
            replace_content(odd, OLD, NEW)
    assert link.is_symlink()
    with pytest.raises(Refused, match="larger than 2 bytes"):
        read_for_edit(path, 2)


def test_nothing_is_lost_on_a_full_or_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "rack.toml"
        path.write_bytes(OLD)
        for trouble, why in ((filled(disk), "No space left"), (read_only(disk), "Read-only")):
            with trouble:
                with pytest.raises(SurroundingsError, match=why):
                    replace_content(path, OLD, NEW)
                with pytest.raises(SurroundingsError, match=why):
                    replace_content(disk / "new.toml", None, NEW)
                assert path.read_bytes() == OLD
            assert names(disk) == ["rack.toml"]
        replace_content(path, OLD, NEW)
        assert path.read_bytes() == NEW


@pytest.mark.parametrize("before", [OLD, None], ids=["a file", "no file"])
def test_killed_at_any_step_it_is_the_old_or_the_new_one(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "rack.toml"

    def work() -> int:
        replace_content(path, before, NEW)
        return 0

    def reset() -> None:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)

    reset()
    steps = len(call_to_step(work, tmp_path, None).calls)
    assert steps >= 4
    for step in range(1, steps + 1):
        reset()
        assert call_to_step(work, tmp_path, step).killed
        found = path.read_bytes() if path.exists() else None
        assert found in (before, NEW)
        assert {name for name in names(tmp_path) if not name.startswith(".")} <= {"rack.toml"}
        if found == before:
            replace_content(path, before, NEW)
        assert path.read_bytes() == NEW
        for left in tmp_path.glob(".*"):
            assert left.name == ".rack.toml.edit.tmp"  # the next edit takes it away
            left.unlink()


def test_one_edits_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, pathlib; from appliance.system.replacing import one_editor\n"
        "with one_editor(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(replacing, "_PATIENCE", 0.2)
        with pytest.raises(Refused, match="somebody else edits"), one_editor(tmp_path):
            pass
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
    with one_editor(tmp_path):
        pass
    with pytest.raises(SurroundingsError, match="cannot open"), one_editor(tmp_path / "gone"):
        pass


def test_whoever_edits_sweeps_what_an_edit_that_died_has_left(path: Path) -> None:
    for name in (".rack.toml.edit.tmp", ".other.yaml.edit.tmp", ".mine.tmp"):
        (path.parent / name).write_bytes(b"half")
    with one_editor(path.parent):
        assert names(path.parent) == [".mine.tmp", "rack.toml"]

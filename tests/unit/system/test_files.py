"""Files that are there whole or not at all: on a full disk, under any umask, with traps in the way."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.errors import Refused, SurroundingsError
from appliance.system.files import (
    exclusive_lock,
    make_directory,
    point_symlink,
    read_regular,
    write_atomic,
    write_tree,
)
from appliance.tree import RenderedFile, Tree
from tests.fakes.full_disk import filled, read_only, small_disk

UID, GID = 65534, 65533


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


# ---- one file ----


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert names(tmp_path) == ["file"]


def test_what_writers_that_died_have_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (".file.4711.tmp", ".file.12.tmp", ".file.old.4711.tmp", ".file.tmp", ".other.4711.tmp"):
        (tmp_path / name).write_bytes(b"half")
    write_atomic(tmp_path / "file", b"new")
    assert names(tmp_path) == [".file.old.4711.tmp", ".file.tmp", ".other.4711.tmp", "file"]


def test_what_another_writer_works_on_stays(tmp_path: Path) -> None:
    theirs = tmp_path / ".file.4711.tmp"
    with theirs.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        write_atomic(tmp_path / "file", b"ours")
        assert theirs.exists()
    write_atomic(tmp_path / "file", b"ours")
    assert names(tmp_path) == ["file"]


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    text = "import sys\nfrom pathlib import Path\nfrom appliance.system.files import write_atomic\n"
    text += "for n in range(60): write_atomic(Path(sys.argv[1]), sys.argv[2].encode() * 2000)"
    argv = [sys.executable, "-c", text, str(tmp_path / "file")]
    writers = [subprocess.Popen([*argv, letter]) for letter in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert set((tmp_path / "file").read_text()) < {"a", "b", "c"}
    assert names(tmp_path) == ["file"]


def test_half_a_link_of_one_that_died_goes(tmp_path: Path) -> None:
    (tmp_path / ".link.4711.tmp").symlink_to("nowhere")
    point_symlink(tmp_path / "link", "file")
    assert names(tmp_path) == ["link"]


@pytest.mark.parametrize("wanted", [0o644, 0o640, 0o600, 0o444])
def test_the_umask_decides_nothing(tmp_path: Path, umask: int, wanted: int) -> None:
    write_atomic(tmp_path / "file", b"x", wanted)
    assert mode(tmp_path / "file") == wanted


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        write_atomic(disk / "file", b"old")
        with filled(disk), pytest.raises(SurroundingsError, match=r"cannot write .*/file: No space left"):
            write_atomic(disk / "file", b"new" * 5000)
        assert (disk / "file").read_bytes() == b"old"
        assert names(disk) == ["file"]
        write_atomic(disk / "file", b"new")
        assert (disk / "file").read_bytes() == b"new"


def test_a_disk_that_fills_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        write_atomic(disk / "file", b"old")
        with filled(disk, leave=2), pytest.raises(SurroundingsError, match="No space left"):
            write_atomic(disk / "file", b"x" * 100_000)
        assert (disk / "file").read_bytes() == b"old"
        assert names(disk) == ["file"]


def test_a_read_only_disk_is_the_surroundings_fault(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        write_atomic(disk / "file", b"old")
        with read_only(disk):
            attempts: tuple[Callable[[], None], ...] = (
                lambda: write_atomic(disk / "file", b"new"),
                lambda: point_symlink(disk / "link", "file"),
                lambda: make_directory(disk / "a/b"),
                lambda: write_tree(disk / "tree", Tree.of(RenderedFile("f", b""))),
            )
            for attempt in attempts:
                with pytest.raises(SurroundingsError, match="Read-only file system"):
                    attempt()
        assert names(disk) == ["file"]


def test_what_a_process_of_our_number_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    """In a container every daemon is process 1: its predecessor's temporary file has our name."""
    rest = tmp_path / f".file.{os.getpid()}.tmp"
    rest.write_bytes(b"half")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to(victim)
    write_atomic(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "file").is_symlink()
    assert names(tmp_path) == ["file", "victim"]


def test_a_link_in_the_file_s_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "file").symlink_to(victim)
    write_atomic(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "file").is_symlink()


def test_a_missing_directory_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="No such file or directory"):
        write_atomic(tmp_path / "no/file", b"x")
    assert names(tmp_path) == []


def test_root_gives_what_it_writes_to_the_directory_s_owner(ground: Path) -> None:
    home = ground / "home"
    home.mkdir()
    os.chown(home, UID, GID)
    write_atomic(home / "file", b"x")
    make_directory(home / "a/b")
    write_tree(home / "tree", Tree.of(RenderedFile("x/y", b"")))
    for path in home.rglob("*"):
        assert owner(path) == (UID, GID), path


# ---- links, directories, trees ----


def test_a_link_is_turned_in_one_step_past_a_leftover(tmp_path: Path) -> None:
    point_symlink(tmp_path / "current", "generations/1")
    (tmp_path / f".current.{os.getpid()}.tmp").write_bytes(b"rest")
    point_symlink(tmp_path / "current", "generations/2")
    assert str((tmp_path / "current").readlink()) == "generations/2"
    assert names(tmp_path) == ["current"]


def test_a_link_never_replaces_a_directory(tmp_path: Path) -> None:
    (tmp_path / "current/inside").mkdir(parents=True)
    with pytest.raises(SurroundingsError, match="cannot point"):
        point_symlink(tmp_path / "current", "generations/1")
    assert names(tmp_path) == ["current"]
    assert (tmp_path / "current/inside").is_dir()


def test_directories_have_their_mode_and_are_left_alone_afterwards(tmp_path: Path, umask: int) -> None:
    make_directory(tmp_path / "a/b/c", 0o750)
    assert [oct(mode(tmp_path / p)) for p in ("a", "a/b", "a/b/c")] == ["0o755", "0o755", "0o750"]
    (tmp_path / "a/b/c").chmod(0o700)
    make_directory(tmp_path / "a/b/c", 0o750)
    assert mode(tmp_path / "a/b/c") == 0o700, "an operator's choice stays"


@pytest.mark.parametrize("below", ["", "/more"])
def test_a_file_in_a_directory_s_place_is_an_error_and_stays_as_it_is(tmp_path: Path, below: str) -> None:
    (tmp_path / "thing").write_bytes(b"x")
    (tmp_path / "thing").chmod(0o600)
    with pytest.raises(SurroundingsError, match="cannot make"):
        make_directory(tmp_path / f"thing{below}", 0o750)
    assert mode(tmp_path / "thing") == 0o600


def test_a_link_to_a_directory_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make_directory(tmp_path / "link/sub")
    assert (tmp_path / "real/sub").is_dir()


def test_a_tree_is_written_with_its_modes(tmp_path: Path, umask: int) -> None:
    secret = RenderedFile("a/b/secret", b"1", 0o640)
    write_tree(tmp_path / "new", Tree.of(secret, RenderedFile("plain", b"2"), RenderedFile("a/c", b"")))
    assert {str(p.relative_to(tmp_path)): oct(mode(p)) for p in tmp_path.rglob("*")} == {
        "new": "0o755",
        "new/a": "0o755",
        "new/a/b": "0o755",
        "new/a/b/secret": "0o640",
        "new/a/c": "0o644",
        "new/plain": "0o644",
    }
    assert (tmp_path / "new/a/b/secret").read_bytes() == b"1"


def test_a_tree_never_goes_into_a_directory_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="File exists"):
        write_tree(tmp_path, Tree.of(RenderedFile("a", b"")))
    assert names(tmp_path) == []


# ---- reading ----


def test_up_to_the_limit_and_no_further(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match="larger than 4 bytes"):
        read_regular(tmp_path / "file", 4)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-fifo").symlink_to("fifo")
    for place in (tmp_path / "fifo", tmp_path / "to-fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            read_regular(place, 10)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device"):
            read_regular(tmp_path / "socket", 10)


def test_a_file_that_says_it_is_empty_is_bounded_all_the_same() -> None:
    with pytest.raises(ValueError, match="larger than"):
        read_regular(Path("/proc/self/status"), 10)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing's own descriptor counts in both
    for limit in (5, 4):
        try:
            read_regular(tmp_path / "file", limit)
        except ValueError:
            continue
    with exclusive_lock(tmp_path / "lock"):
        pass
    write_atomic(tmp_path / "other", b"")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# ---- the lock ----

_HOLD = """
import sys
from pathlib import Path
from appliance.system.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), wait=sys.argv[2] == "wait", purpose="sync"):
    print("held", flush=True)
    sys.stdin.readline()
print("gone", flush=True)
"""


def _holder(lock: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock), how], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _says(holder: subprocess.Popen[str]) -> str:
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


def test_one_holds_it_others_are_told_who_or_wait(tmp_path: Path) -> None:
    lock = tmp_path / "run/lock"
    with _holder(lock, "now") as holder:
        try:
            assert _says(holder) == "held"
            with (
                pytest.raises(Refused, match=rf"^sync is already running: pid {holder.pid}$"),
                exclusive_lock(lock, wait=False, purpose="sync"),
            ):
                pass
            with _holder(lock, "wait") as waiting:
                try:
                    holder.communicate("\n", timeout=10)
                    assert _says(waiting) == "held"
                finally:
                    waiting.kill()
        finally:
            holder.kill()


def test_a_holder_that_dies_leaves_no_lock(tmp_path: Path) -> None:
    with _holder(tmp_path / "lock", "now") as holder:
        assert _says(holder) == "held"
        holder.kill()
        holder.wait(10)
    with exclusive_lock(tmp_path / "lock", wait=False):
        assert (tmp_path / "lock").read_text() == f"pid {os.getpid()}\n"


def test_an_error_inside_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive_lock(tmp_path / "lock"):
        raise KeyError
    with exclusive_lock(tmp_path / "lock", wait=False):
        pass


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(SurroundingsError, match="cannot lock"), exclusive_lock(tmp_path / "lock"):
        pass
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_root_writes_through_no_link_that_another_user_planted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "generations"
    link.symlink_to(elsewhere)
    make_directory(link)  # root's own: an operator's other disk
    os.lchown(link, 12345, 12345)
    for place in (link, link / "below"):
        with pytest.raises(SurroundingsError, match="a link that user 12345 made"):
            make_directory(place)
    assert not list(elsewhere.iterdir())

"""Root below another user's directory: with that user's rights, against a process of his that swaps names."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from appliance.errors import SurroundingsError
from appliance.system.acting import Owner, acting, acting_for, actor
from appliance.system.files import (
    exclusive_lock,
    make_directory,
    point_symlink,
    read_as_owner,
    read_regular,
    remove_tree,
    write_atomic,
    write_tree,
)
from appliance.system.replacing import one_editor, read_for_edit, replace_content
from appliance.tree import RenderedFile, Tree
from tests.fakes.swapper import swapping

UID, GID = 65534, 65533
THEIRS = Owner(UID, GID)
ASK = 0xFFFFFFFF
SECRET = b"root:$6$of-root-alone:19000:0:99999:7:::\n"
RACES = 50  # times that something was swapped while root was at work
PATIENCE = 4.0  # seconds for them; a free processor needs less than one


@pytest.fixture
def home(ground: Path) -> Path:
    """A directory of the other user's."""
    path = ground / "home"
    path.mkdir()
    os.chown(path, UID, GID)
    return path


@pytest.fixture
def victim(ground: Path) -> Path:
    """What is root's alone, with one name of everything that root makes in these tests."""
    path = ground / "victim"
    for folder in (path, path / "old", path / "made", path / "tree"):
        folder.mkdir(mode=0o700)
    for name in ("secret", "file", "lock", "old/file"):
        (path / name).write_bytes(SECRET)
        (path / name).chmod(0o600)
    return path


@pytest.fixture
def place(home: Path, victim: Path) -> Path:
    """A directory of his that he swaps with `link`, which leads to root's."""
    place = home / "place"
    place.mkdir()
    (place / "secret").write_bytes(b"his")
    os.chown(place, UID, GID)
    os.chown(place / "secret", UID, GID)
    (home / "link").symlink_to(victim)
    os.lchown(home / "link", UID, GID)
    return place


def state_of(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that an attacker could want to change: names, modes, owners, contents."""
    found = {}
    for path in (directory, *sorted(directory.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def ids() -> tuple[int, int]:
    """What the kernel says of this thread."""
    libc = ctypes.CDLL(None)
    return libc.setfsuid(ASK), libc.setfsgid(ASK)


def owner(path: Path) -> Owner:
    found = path.lstat()
    return Owner(found.st_uid, found.st_gid)


# ---- who acts ----


def test_the_first_that_is_not_roots_acts(ground: Path, home: Path) -> None:
    (home / "roots").mkdir()
    for path in (home, home / "file", home / "roots/below", home / "no/such/place", home / "../other"):
        assert actor(path) == THEIRS
    (ground / "roots").mkdir()
    for path in (Path("/"), ground, ground / "home2/file", ground / "roots/../roots/file"):
        assert actor(path) is None


def test_a_link_of_roots_leads_on_and_anybody_elses_is_his(ground: Path, home: Path) -> None:
    (ground / "far").symlink_to(home)
    (ground / "near").symlink_to("./far")
    assert actor(ground / "near/file") == THEIRS
    (ground / "away").symlink_to("/")
    assert actor(ground / "away/no-such-place") is None
    (ground / "planted").symlink_to("/")
    os.lchown(ground / "planted", 12345, 12345)
    assert actor(ground / "planted/etc") == Owner(12345, 12345)


def test_links_in_a_circle_end(ground: Path) -> None:
    (ground / "a").symlink_to("b")
    (ground / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        actor(ground / "a/file")
    with pytest.raises(SurroundingsError, match="Too many levels"):
        write_atomic(ground / "a/file", b"")


def test_relative_paths_begin_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert actor(Path("file")) == THEIRS


# ---- acting ----


def test_the_kernel_holds_it_and_gives_it_back(home: Path) -> None:
    assert ids() == (0, 0)
    with acting_for(home / "file"):
        assert ids() == (UID, GID)
        assert acting() == THEIRS
        with pytest.raises(PermissionError):
            Path("/etc/shadow").read_bytes()
    assert (ids(), acting()) == ((0, 0), None)
    assert Path("/etc/shadow").read_bytes()


def test_nothing_changes_where_everything_is_roots(ground: Path) -> None:
    groups = os.getgroups()
    with acting_for(ground, ground / "file"):
        assert (ids(), acting(), os.getgroups()) == ((0, 0), None, groups)


def test_an_error_gives_it_back(home: Path) -> None:
    with pytest.raises(KeyError), acting_for(home):
        raise KeyError
    assert ids() == (0, 0)
    with pytest.raises(SurroundingsError):
        write_atomic(home / "no/file", b"")
    assert ids() == (0, 0)


def test_the_innermost_path_counts_and_the_one_before_it_afterwards(ground: Path, home: Path) -> None:
    other = ground / "other"
    other.mkdir()
    os.chown(other, 12345, 54321)
    with acting_for(home):
        with acting_for(other):
            assert ids() == (12345, 54321)
            with acting_for(home / "below"):
                assert ids() == (UID, GID)
            assert ids() == (12345, 54321)
        with acting_for(ground):
            assert ids() == (0, 0)
            (ground / "roots").touch()
        with contextlib.suppress(KeyError), acting_for(ground):
            raise KeyError
        assert ids() == (UID, GID)
    assert ids() == (0, 0)


def test_of_several_paths_the_first_that_is_not_roots_counts(ground: Path, home: Path) -> None:
    with acting_for(ground, home, ground):
        assert ids() == (UID, GID)


def test_threads_do_not_see_each_others(home: Path) -> None:
    there, on = threading.Event(), threading.Event()
    found = []

    def act() -> None:
        with acting_for(home):
            there.set()
            on.wait(10)
            found.append(ids())

    thread = threading.Thread(target=act)
    thread.start()
    assert there.wait(10)
    assert (ids(), acting()) == ((0, 0), None)
    on.set()
    thread.join(10)
    assert found == [(UID, GID)]


def test_a_group_of_roots_opens_nothing_either(ground: Path, home: Path) -> None:
    for_the_group = ground / "lent"
    for_the_group.write_bytes(SECRET)
    for_the_group.chmod(0o660)
    program = (
        "import os, sys; from pathlib import Path; from appliance.system.acting import acting_for\n"
        "os.setgroups([0, 4])\n"
        "with acting_for(Path(sys.argv[1])):\n"
        "    try: open(sys.argv[2], 'r+b')\n"
        "    except PermissionError: print('refused')\n"
        "open(sys.argv[2], 'r+b')"
    )
    argv = [sys.executable, "-c", program, str(home), str(for_the_group)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "refused\n"


def test_without_the_right_to_become_another_nothing_is_done(home: Path) -> None:
    """In a container root may lack CAP_SETUID: then its rights must not be used for want of others."""
    program = (
        "import sys; from pathlib import Path; from appliance.system.files import write_atomic\n"
        "from appliance.errors import SurroundingsError\n"
        "try: write_atomic(Path(sys.argv[1]), b'')\n"
        "except SurroundingsError as error: print(error)"
    )
    lacking = ["setpriv", "--bounding-set", "-setuid", "--inh-caps", "-all", "--"]
    argv = [*lacking, sys.executable, "-c", program, str(home / "file")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert f"cannot act as user {UID}" in done.stdout
    assert not list(home.iterdir())


# As `unshare --user --map-root-user` does for another user, who need not be able to read this checkout.
_OF_HIS_OWN: Final = """
import ctypes, os, sys
from pathlib import Path
from appliance.system.files import write_atomic
uid, gid = map(int, sys.argv[1:3])
os.setgroups([]), os.setgid(gid), os.setuid(uid)
libc = ctypes.CDLL(None)
assert libc.prctl(4, 1, 0, 0, 0) == 0  # PR_SET_DUMPABLE: /proc/self is the user's again
assert libc.unshare(0x10000000) == 0  # CLONE_NEWUSER
for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    Path("/proc/self", name).write_text(line)
write_atomic(Path(sys.argv[3]), b"written")
"""


def test_a_user_outside_of_our_namespace_is_above_us(ground: Path) -> None:
    """In a user namespace of one's own, / belongs to nobody who is known there."""
    (ground / "mine").mkdir()
    os.chown(ground / "mine", UID, GID)
    argv = [sys.executable, "-c", _OF_HIS_OWN, str(UID), str(GID), str(ground / "mine/file")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert (ground / "mine/file").read_bytes() == b"written"


# ---- what is made is his, and what is not his is named ----


def test_what_root_makes_there_belongs_to_who_owns_the_place(home: Path) -> None:
    before = os.umask(0o077)
    try:
        make_directory(home / "a/b", 0o750)
        write_atomic(home / "a/file", b"x", 0o640)
        write_tree(home / "tree", Tree.of(RenderedFile("x/y", b"", 0o600)))
        point_symlink(home / "current", "tree")
        with exclusive_lock(home / "run/lock"), one_editor(home):
            replace_content(home / "new.toml", None, b"new")
    finally:
        os.umask(before)
    assert {owner(path) for path in home.rglob("*")} == {THEIRS}
    modes = {name: oct((home / name).stat().st_mode & 0o7777) for name in ("a", "a/b", "a/file", "tree/x/y")}
    assert modes == {"a": "0o755", "a/b": "0o750", "a/file": "0o640", "tree/x/y": "0o600"}


def test_in_roots_own_place_its_group_is_kept(ground: Path) -> None:
    """/etc/pxe-appliance is root's, and its group is the service's: what root writes there it has to read."""
    os.chown(ground, 0, GID)
    write_atomic(ground / "file", b"x")
    make_directory(ground / "a/b")
    assert {owner(path) for path in ground.rglob("*")} == {Owner(0, GID)}


def test_what_root_has_made_there_by_hand_is_named_with_the_way_out(home: Path) -> None:
    (home / "it's root's/below").mkdir(parents=True)
    way = rf"it's root's belongs to user 0, and {home} to user {UID}: chown -hR {UID}:{GID} '{home}/it'"
    attempts: tuple[Callable[[Path], None], ...] = (
        lambda place: make_directory(place / "new"),
        lambda place: write_atomic(place / "file", b""),
        lambda place: write_tree(place / "tree", Tree.of()),
        lambda place: point_symlink(place / "link", "there"),
        lambda place: replace_content(place / "file.toml", None, b""),
        lock,
    )
    for attempt in attempts:
        with pytest.raises(SurroundingsError, match="Permission denied") as caught:
            attempt(home / "it's root's/below")
        assert way in caught.value.hint
        assert "run it as root" not in caught.value.hint
    shutil.rmtree(home / "it's root's")
    (home / "lock").touch(0o600)
    with pytest.raises(SurroundingsError, match="cannot lock") as caught:
        lock(home)
    assert caught.value.hint.endswith(f": chown -hR {UID}:{GID} {home}/lock")


def test_a_link_to_elsewhere_is_named_and_nobody_is_told_to_give_away_what_it_leads_to(home: Path) -> None:
    (home / "images").symlink_to("/etc")
    with pytest.raises(SurroundingsError) as caught:
        write_atomic(home / "images/file", b"")
    assert caught.value.hint == f"{home}/images is a link, and user {UID}, who owns {home}, may not follow it"


def lock(place: Path) -> None:
    with exclusive_lock(place / "lock", wait=False):
        pass


# ---- the race, for real ----


def edit(place: Path) -> None:
    content = read_for_edit(place / "file", 1000)
    assert content != SECRET
    replace_content(place / "file", content, b"edited")


def remove(place: Path) -> None:
    with contextlib.suppress(SurroundingsError):
        make_directory(place / "old/below")
    remove_tree(place / "old")


TREE = Tree.of(RenderedFile("a/b", b"x"))
ATTACKED: dict[str, Callable[[Path, int], object]] = {
    "make_directory": lambda place, n: make_directory(place / f"made/{n}/below", 0o755),
    "write_atomic": lambda place, _: write_atomic(place / "file", b"written"),
    "write_tree": lambda place, n: write_tree(place / f"tree/{n}", TREE),
    "point_symlink": lambda place, n: point_symlink(place / "link", f"{n}"),
    "remove_tree": lambda place, _: remove(place),
    "exclusive_lock": lambda place, _: lock(place),
    "replace_content": lambda place, _: edit(place),
}


@pytest.mark.parametrize("what", ATTACKED)
def test_a_swapped_directory_leads_root_nowhere(place: Path, victim: Path, what: str) -> None:
    before = state_of(victim)
    for name in ("made", "tree"):
        make_directory(place / name)
    raced = done = n = 0
    deadline = time.monotonic() + PATIENCE
    with swapping(place, place.with_name("link"), uid=UID, gid=GID) as swaps:
        while raced < RACES and time.monotonic() < deadline:
            n, earlier = n + 1, swaps()
            with contextlib.suppress(SurroundingsError, OSError):
                ATTACKED[what](place, n)
                done += 1
            raced += swaps() != earlier
    assert state_of(victim) == before
    assert raced > RACES // 5, f"{raced} of {n} times something was swapped meanwhile, {done} times it worked"
    assert ids() == (0, 0)


def test_nor_does_it_show_root_what_is_roots(place: Path) -> None:
    seen: set[bytes] = set()
    refused = 0
    deadline = time.monotonic() + PATIENCE
    with swapping(place, place.with_name("link"), uid=UID, gid=GID):
        while (refused < RACES or not seen) and time.monotonic() < deadline:
            try:
                seen.add(read_as_owner(place / "secret", 1000))
            except PermissionError:
                refused += 1
    assert seen == {b"his"}
    assert refused


def test_it_leads_whoever_looks_at_names_elsewhere(place: Path, victim: Path) -> None:
    """The attack on what was done before: a look, then the deed by the same name. It has to succeed."""
    before, seen = state_of(victim), b""
    wanted = {"mode": False, "content": False, "read": False}
    deadline = time.monotonic() + PATIENCE
    with swapping(place, place.with_name("link"), uid=UID, gid=GID):
        while not all(wanted.values()) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if not place.is_symlink():
                    place.chmod(0o777)
                if not place.is_symlink():
                    (place / "file").write_bytes(b"written")
                if not place.is_symlink():
                    seen = read_regular(place / "secret", 1000)
            wanted["mode"] = victim.stat().st_mode != before[str(victim)][0]
            wanted["content"] = (victim / "file").read_bytes() == b"written"
            wanted["read"] |= seen == SECRET
    assert wanted == {"mode": True, "content": True, "read": True}

"""Seals: what was hashed is believed until the kernel says that it changed; what changed is found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.images.lock import Pin
from appliance.images.seals import Seals
from tests.unit.images.rooms import sha512

CONTENT = b"a kernel" * 1000
PIN = Pin(len(CONTENT), sha512(CONTENT))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def seals(tmp_path: Path) -> Seals:
    return Seals(tmp_path / "seals.json")


def is_sealed(seals: Seals, file: Path) -> bool:
    with file.open("rb") as stream:
        return seals.sealed(stream.fileno(), file, PIN)


def test_a_file_is_hashed_once(seals: Seals, file: Path) -> None:
    assert not is_sealed(seals, file)
    assert seals.check(file, PIN) is None
    assert is_sealed(seals, file)
    assert seals.check(file, PIN) is None


def test_seals_last_until_the_next_process(seals: Seals, file: Path, tmp_path: Path) -> None:
    seals.check(file, PIN)
    seals.keep()
    assert is_sealed(Seals(tmp_path / "seals.json"), file)


def test_what_was_hashed_on_its_way_need_not_be_hashed_again(seals: Seals, file: Path) -> None:
    seals.note(file, PIN)
    assert is_sealed(seals, file)
    seals.note(file.with_name("absent"), PIN)


def rewritten(path: Path) -> None:
    path.write_bytes(CONTENT)


def written_to(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(CONTENT[:1])


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(CONTENT)
    other.replace(path)


def touched(path: Path) -> None:
    os.utime(path, (0, 0))


def linked(path: Path) -> None:
    path.with_name("other").hardlink_to(path)


@pytest.mark.parametrize(
    "change", [rewritten, written_to, replaced, touched, linked], ids=lambda c: c.__name__
)
def test_whatever_touches_a_file_breaks_its_seal(
    seals: Seals, file: Path, change: Callable[[Path], None]
) -> None:
    """The bytes are the same, which only hashing can tell."""
    seals.check(file, PIN)
    change(file)
    assert not is_sealed(seals, file)
    assert seals.check(file, PIN) is None
    assert is_sealed(seals, file)


def test_a_seal_is_for_one_pin(seals: Seals, file: Path) -> None:
    seals.check(file, PIN)
    with file.open("rb") as stream:
        assert not seals.sealed(stream.fileno(), file, Pin(PIN.size, "0" * 128))
        assert not seals.sealed(stream.fileno(), file.with_name("other"), PIN)
    assert seals.check(file, Pin(PIN.size, "0" * 128))


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, offset: int, bits: int) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    file, seals = folder / "file", Seals(folder / "seals.json")
    content = bytearray(CONTENT)
    file.write_bytes(content)
    assert seals.check(file, PIN) is None
    content[offset] ^= bits
    file.write_bytes(content)
    damage = seals.check(file, PIN)
    assert damage is not None
    assert str(damage).startswith(f"{file}: its SHA-512 is")
    assert seals.check(file, PIN) is not None, "and not only once"


def test_a_seal_is_not_believed_when_all_is_hashed_again(seals: Seals, file: Path) -> None:
    """As after a fault below the file system, of which the kernel knows nothing."""
    seals.note(file, PIN)
    file.write_bytes(b"x" * PIN.size)
    seals.note(file, PIN)
    assert seals.check(file, PIN) is None
    assert seals.check(file, PIN, believe=False)
    assert seals.check(file, PIN), "what was found is not forgotten"


def test_a_file_that_changes_while_it_is_hashed_is_not_sealed(seals: Seals, file: Path) -> None:
    with file.open("rb") as stream:
        os.utime(file, (0, 0))
        before = os.fstat(stream.fileno())
        assert seals.check_open(stream.fileno(), file, PIN) is None
        assert os.lseek(stream.fileno(), 0, os.SEEK_CUR) == 0, "no offset moved"
        assert before.st_size == PIN.size


def absent(path: Path) -> None:
    path.unlink()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


def short(path: Path) -> None:
    os.truncate(path, PIN.size - 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (absent, "it is not there"), (a_pipe, "not a regular file"), (a_directory, "not a regular file"),
        (a_link, "cannot be read"), (short, f"it has {PIN.size - 1} bytes, pinned are {PIN.size}"),
    ],
    ids=lambda c: c if isinstance(c, str) else c.__name__,
)  # fmt: skip
def test_what_is_no_such_file(seals: Seals, file: Path, change: Callable[[Path], None], words: str) -> None:
    seals.check(file, PIN)
    change(file)
    for believe in (True, False):
        damage = seals.check(file, PIN, believe=believe)
        assert damage is not None
        assert damage.file == str(file)
        assert words in damage.reason


def test_a_damaged_file_loses_its_seal_for_good(seals: Seals, file: Path, tmp_path: Path) -> None:
    seals.check(file, PIN)
    seals.keep()
    file.write_bytes(b"x" * PIN.size)
    assert seals.check(file, PIN)
    seals.keep()
    assert str(file) not in json.loads((tmp_path / "seals.json").read_text())


def test_seals_of_files_that_are_gone_are_not_kept(seals: Seals, file: Path, tmp_path: Path) -> None:
    seals.check(file, PIN)
    other = file.with_name("other")
    other.write_bytes(CONTENT)
    seals.check(other, PIN)
    other.unlink()
    seals.keep()
    assert list(json.loads((tmp_path / "seals.json").read_text())) == [str(file)]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"f": null}', b'{"f": {}}', b'{"f": {"seal": [1], "sha512": "x"}}',
     b'{"f": {"seal": ["a", 1, 2, 3], "sha512": "x"}}', b"[" * 100_000],
)  # fmt: skip
def test_a_spoilt_file_of_seals_is_as_good_as_none(tmp_path: Path, file: Path, raw: bytes) -> None:
    path = tmp_path / "seals.json"
    path.write_bytes(raw)
    seals = Seals(path)
    assert seals.check(file, PIN) is None
    seals.keep()
    assert is_sealed(Seals(path), file)


def test_a_place_that_cannot_be_written_is_nobody_s_problem(file: Path, tmp_path: Path) -> None:
    seals = Seals(tmp_path / "absent" / "seals.json")
    assert seals.check(file, PIN) is None
    seals.keep()
    assert not (tmp_path / "absent").exists()

"""Bytes that arrive: resumed after a break, read again before they are believed, gone when worth nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import SurroundingsError
from appliance.images.intake import Intake, Origin
from appliance.images.trust import Measured
from tests.unit.images.rooms import sha512

URL = "http://mirror.example/kernel"
CONTENT = bytes(range(256)) * 40
ORIGIN = Origin(URL, '"tag"', "", len(CONTENT))


def measured(content: bytes, *, sha256: bool = False) -> Measured:
    return Measured(len(content), sha512(content), hashlib.sha256(content).hexdigest() if sha256 else "")


def begin(folder: Path, *, sha256: bool = False) -> Intake:
    return Intake(folder / "kernel.part", None, sha256=sha256)


def leave(folder: Path, content: bytes, origin: Origin = ORIGIN) -> Path:
    """What an attempt that broke off leaves behind."""
    intake = begin(folder)
    assert intake.resume(URL) is None
    intake.promise(origin)
    intake.feed(content)
    intake.close()
    return intake.part


@pytest.mark.parametrize("sha256", [False, True])
def test_a_file_in_one_go(tmp_path: Path, sha256: bool) -> None:
    intake = begin(tmp_path, sha256=sha256)
    assert intake.resume(URL) is None
    intake.promise(ORIGIN)
    for start in range(0, len(CONTENT), 999):
        intake.feed(CONTENT[start : start + 999])
    assert intake.finish() == measured(CONTENT, sha256=sha256)
    intake.close()
    assert intake.part.read_bytes() == CONTENT
    assert intake.part.stat().st_mode & 0o777 == 0o600


@given(st.integers(1, len(CONTENT)), st.booleans())
def test_the_digest_does_not_tell_where_it_broke(
    tmp_path_factory: pytest.TempPathFactory, at: int, sha256: bool
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    leave(folder, CONTENT[:at])
    intake = begin(folder, sha256=sha256)
    assert intake.resume(URL) == ORIGIN
    assert intake.size == at
    intake.feed(CONTENT[at:])
    assert intake.finish() == measured(CONTENT, sha256=sha256)
    intake.close()
    assert intake.part.read_bytes() == CONTENT


def test_a_connection_that_broke_in_this_process_reads_nothing_again(tmp_path: Path) -> None:
    intake = begin(tmp_path)
    intake.resume(URL)
    intake.promise(ORIGIN)
    intake.feed(CONTENT[:100])
    assert intake.resume(URL) == ORIGIN
    assert intake.size == 100
    intake.feed(CONTENT[100:])
    assert intake.finish() == measured(CONTENT)
    intake.close()


def test_a_torn_write_is_read_as_it_is(tmp_path: Path) -> None:
    """The digest is of what is on the disk, not of what was once meant to be there."""
    part = leave(tmp_path, CONTENT[:500])
    torn = CONTENT[:400] + bytes(100)
    part.write_bytes(torn)
    intake = begin(tmp_path)
    assert intake.resume(URL) == ORIGIN
    intake.feed(CONTENT[500:])
    assert intake.finish() == measured(torn + CONTENT[500:])
    intake.close()


NOTE = {"url": URL, "etag": '"tag"', "modified": "", "total": len(CONTENT)}
WRONG_NOTES = {
    "none": None,
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 60_000,
    "not UTF-8": b"\xff",
    "another URL": json.dumps({**NOTE, "url": f"{URL}2"}).encode(),
    "no validator": json.dumps({**NOTE, "etag": ""}).encode(),
    "a weak tag": json.dumps({**NOTE, "etag": 'W/"tag"'}).encode(),
    "a lack": json.dumps({"url": URL}).encode(),
    "a size in words": json.dumps({**NOTE, "total": "many"}).encode(),
    "a size below zero": json.dumps({**NOTE, "total": -1}).encode(),
    "a size below what is there": json.dumps({**NOTE, "total": 50}).encode(),
}


@pytest.mark.parametrize("note", WRONG_NOTES)
def test_bytes_of_which_nobody_knows_what_they_are_begin_anew(tmp_path: Path, note: str) -> None:
    part = leave(tmp_path, CONTENT[:100])
    place, raw = part.with_name("kernel.part.json"), WRONG_NOTES[note]
    place.unlink()
    if raw is not None:
        place.write_bytes(raw)
    intake = begin(tmp_path)
    assert intake.resume(URL) is None
    assert (intake.size, part.stat().st_size, place.exists()) == (0, 0, False)
    intake.promise(ORIGIN)
    intake.feed(CONTENT)
    assert intake.finish() == measured(CONTENT)
    intake.close()


@pytest.mark.parametrize("total", [None, len(CONTENT)])
def test_a_note_without_bytes_is_a_beginning(tmp_path: Path, total: int | None) -> None:
    leave(tmp_path, b"", Origin(URL, '"tag"', "", total))
    intake = begin(tmp_path)
    assert intake.resume(URL) is None
    intake.close()


@pytest.mark.parametrize(
    ("etag", "modified", "validator"),
    [
        ('"a"', "", '"a"'), ('"a"', "Mon", '"a"'), ("", "Mon", "Mon"), ('W/"a"', "Mon", "Mon"),
        ('W/"a"', "", ""), ("", "", ""), ("bare", "", ""),
    ],
)  # fmt: skip
def test_what_a_range_may_depend_on(etag: str, modified: str, validator: str) -> None:
    """RFC 9110: a weak tag says that the meaning is the same, not that the bytes are."""
    assert Origin(URL, etag, modified).validator == validator


def test_starting_over_forgets_everything(tmp_path: Path) -> None:
    part = leave(tmp_path, CONTENT[:100])
    intake = begin(tmp_path, sha256=True)
    intake.resume(URL)
    intake.feed(b"more")
    intake.restart()
    assert (intake.size, part.read_bytes()) == (0, b"")
    intake.promise(ORIGIN)
    intake.feed(CONTENT)
    assert intake.finish() == measured(CONTENT, sha256=True)
    intake.close()
    assert part.read_bytes() == CONTENT


def test_what_is_worth_nothing_does_not_stay(tmp_path: Path) -> None:
    leave(tmp_path, CONTENT[:100])
    intake = begin(tmp_path)
    intake.resume(URL)
    intake.discard()
    assert list(tmp_path.iterdir()) == []
    intake.discard()
    intake.close()


def test_a_part_is_no_way_to_another_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / "kernel.part").symlink_to(precious)
    with pytest.raises(SurroundingsError, match=r"kernel\.part"):
        begin(tmp_path).resume(URL)
    assert precious.read_bytes() == b"precious"


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="No such file"):
        begin(tmp_path / "absent").resume(URL)

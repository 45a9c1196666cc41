"""A log as dnsmasq writes it: in pieces, moved aside, too much of it, not always text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.daemon.follow import BACKLOG_LIMIT, CHUNK, LINE_LIMIT, LogFollower


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "dhcp-pxe.log"


@pytest.fixture
def follower(log: Path) -> Iterator[LogFollower]:
    follower = LogFollower(log)
    yield follower
    follower.close()


def write(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def test_a_log_that_is_not_there_yet_is_waited_for(log: Path, follower: LogFollower) -> None:
    assert follower.read() == []
    assert follower.size == 0
    write(log, b"one\ntwo\n")
    assert follower.read() == ["one", "two"]
    assert follower.read() == []
    assert follower.size == 8


def test_half_a_line_waits_for_its_end(log: Path, follower: LogFollower) -> None:
    write(log, b"one\ntw")
    assert follower.read() == ["one"]
    write(log, b"o\nthree")
    assert follower.read() == ["two"]
    write(log, b"\n\n")
    assert follower.read() == ["three", ""]


def test_it_goes_on_in_the_new_file_after_the_old_one_is_read_to_its_end(
    log: Path, follower: LogFollower
) -> None:
    write(log, b"one\n")
    assert follower.read() == ["one"]
    assert follower.rotate()
    old = log.with_name(log.name + ".1")
    write(old, b"two\n")  # dnsmasq holds the old file until it gets its signal
    assert follower.read() == ["two"]
    write(old, b"three\n")
    write(log, b"four\n")
    assert follower.read() == ["three"]
    assert follower.read() == ["four"]
    assert [p.name for p in sorted(log.parent.iterdir())] == [log.name, old.name]


def test_a_second_rotation_waits_until_the_new_file_is_followed(log: Path, follower: LogFollower) -> None:
    """A child that is slow to open the new file must cost neither lines nor the reader."""
    write(log, b"one\n")
    follower.read()
    assert follower.rotate()
    assert not follower.rotate(), "there is no new file yet"
    write(log, b"two\n")
    assert not follower.rotate(), "there is one, and it is not read yet"
    assert follower.read() == ["two"]
    assert follower.rotate()


def test_nothing_is_rotated_before_anything_is_followed(log: Path, follower: LogFollower) -> None:
    write(log, b"one\n")
    assert not follower.rotate()
    assert log.exists()


def test_what_is_no_text_is_still_a_line(log: Path, follower: LogFollower) -> None:
    write(log, b"caf\xe9 \xff\xfe\n\x00\x1b]0;x\x07\n")
    assert follower.read() == [
        "caf\N{REPLACEMENT CHARACTER} " + "\N{REPLACEMENT CHARACTER}" * 2,
        "\0\x1b]0;x\a",
    ]


def test_a_character_that_comes_in_two_pieces_is_whole(log: Path, follower: LogFollower) -> None:
    octets = "knöten\n".encode()
    write(log, octets[:3])
    assert follower.read() == []
    write(log, octets[3:])
    assert follower.read() == ["knöten"]


def test_a_line_without_end_is_cut_and_its_tail_is_no_line(log: Path, follower: LogFollower) -> None:
    write(log, b"x" * (LINE_LIMIT + 1))
    assert follower.read() == []
    write(log, b"dnsmasq[1]: forged\nnext\n")
    assert follower.read() == ["next"]
    write(log, b"y" * 10_000 + b"\n")
    assert follower.read() == ["y" * LINE_LIMIT]


def test_a_burst_is_read_in_pieces_and_complete(log: Path, follower: LogFollower) -> None:
    lines = [f"{n:06d} {'x' * 90}" for n in range(30_000)]
    write(log, "".join(f"{line}\n" for line in lines).encode())
    read = []
    while piece := follower.read():
        assert sum(len(line) + 1 for line in piece) <= CHUNK + LINE_LIMIT
        read += piece
    assert read == lines
    assert follower.skipped == 0


def test_too_long_a_backlog_is_skipped_counted_and_no_torn_line_is_told(
    log: Path, follower: LogFollower
) -> None:
    write(log, b"first\n")
    assert follower.read() == ["first"]
    size = BACKLOG_LIMIT + 2 * CHUNK
    with log.open("r+b") as file:
        file.truncate(size)
        file.seek(size - CHUNK - 3)
        file.write(b"abcdef dnsmasq[1]: forged\nnew\n")
        file.seek(size - 6)
        file.write(b"\nlast\n")
    read = follower.read()
    assert read[0] == "new"
    assert read[-1] == "last"
    assert follower.skipped == size - 6 - CHUNK
    assert follower.read() == []


def test_a_link_in_place_of_the_log_is_not_followed(log: Path, follower: LogFollower, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    log.symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        follower.read()


def test_it_can_be_closed_and_begins_anew(log: Path, follower: LogFollower) -> None:
    write(log, b"one\nha")
    follower.read()
    follower.close()
    follower.close()
    assert follower.read() == ["one"]

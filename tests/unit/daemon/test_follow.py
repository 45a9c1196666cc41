"""A log as dnsmasq writes it: in pieces, moved aside, too much of it, not always text, taken away by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.daemon.follow import CHUNK, LINE_LIMIT, ROTATE_AT, LogFollower
from tests.netns.wire import wait_until


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


def fill(path: Path, size: int, *, word: str = "line") -> list[str]:
    """Lines of 1,000 bytes, `size` bytes in all; what was written."""
    lines = [f"{word} {n:07d} ".ljust(999, "x") for n in range(size // 1000)]
    write(path, "".join(f"{line}\n" for line in lines).encode())
    return lines


def read_all(follower: LogFollower) -> list[str]:
    lines = []
    while piece := follower.read():
        lines += piece
    return lines


def together(log: Path) -> int:
    """Bytes of a log and the one before it."""
    return sum(p.stat().st_size for p in (log, log.with_name(log.name + ".1")) if p.exists())


def test_it_goes_on_in_the_new_file_after_the_old_one_is_read_to_its_end(
    log: Path, follower: LogFollower
) -> None:
    lines = fill(log, ROTATE_AT + 10_000)
    assert read_all(follower) == lines
    assert follower.keep_short()
    old = log.with_name(log.name + ".1")
    write(old, b"two\n")  # dnsmasq holds the old file until it gets its signal
    assert follower.read() == ["two"]
    write(old, b"three\n")
    write(log, b"four\n")
    assert follower.read() == ["three"]
    assert follower.read() == ["four"]
    assert [p.name for p in sorted(log.parent.iterdir())] == [log.name, old.name]
    assert not follower.keep_short()
    assert follower.skipped == 0


def test_a_writer_that_is_slow_to_begin_anew_costs_no_line(log: Path, follower: LogFollower) -> None:
    lines = fill(log, ROTATE_AT + 10_000)
    lines = lines[len(follower.read()) :]
    assert follower.keep_short()
    assert not follower.keep_short(), "it has been told a moment ago"
    wait_until(follower.keep_short, "the writer to be told again: it heeds nothing while it starts")
    write(log, b"two\n")
    assert not follower.keep_short()
    assert read_all(follower) == [*lines, "two"]
    assert not follower.keep_short()


def test_a_short_log_stays_where_it_is(log: Path, follower: LogFollower) -> None:
    write(log, b"one\n")
    assert not follower.keep_short(), "nothing is followed yet"
    assert follower.read() == ["one"]
    assert not follower.keep_short()
    assert [p.name for p in log.parent.iterdir()] == [log.name]


def test_the_oldest_goes_when_the_new_file_is_full_before_the_old_one_is_read(
    log: Path, follower: LogFollower
) -> None:
    """However slow the reader: a log and the one before it, and no more."""
    first = fill(log, ROTATE_AT + 10_000, word="first")
    seen = follower.read()
    assert follower.keep_short()
    second = fill(log, ROTATE_AT + 10_000, word="second")
    assert follower.keep_short(), "the second one is put aside"
    write(log, b"third\n")
    assert together(log) < ROTATE_AT + 20_000
    assert read_all(follower) == [*second, "third"]
    unread = "".join(f"{line}\n" for line in first[len(seen) :])
    assert CHUNK > len(unread) - follower.skipped >= 0, "but for a piece of a line, which was read"


def test_a_log_that_grew_unseen_is_cut_to_what_came_last(log: Path, follower: LogFollower) -> None:
    """As after a daemon that did not run: its writer goes on in the same file."""
    lines = fill(log, 3 * ROTATE_AT)
    with log.open("ab", buffering=0) as writer:
        seen = follower.read()
        assert seen == lines[: len(seen)]
        assert not follower.keep_short(), "the writer need not do anything"
        assert together(log) <= ROTATE_AT
        writer.write(b"next\n")
        *rest, last = read_all(follower)
    assert last == "next"
    assert rest == lines[-len(rest) :], "no line without its beginning"
    assert ROTATE_AT - 2000 < sum(len(line) + 1 for line in rest) <= ROTATE_AT
    told = 1000 * len([*seen, *rest])
    assert 0 <= 1000 * len(lines) - told - follower.skipped < 2000, "but for pieces of lines, which were read"
    assert not follower.keep_short()


def test_two_writers_go_on_in_the_same_file(log: Path, follower: LogFollower) -> None:
    lines = fill(log, ROTATE_AT + 10_000)
    with log.open("ab", buffering=0) as one, log.open("ab", buffering=0) as other:
        seen = read_all(follower)
        assert not follower.keep_short(alone=False)
        one.write(b"one\n")
        other.write(b"other\n")
        assert follower.read() == ["one", "other"]
    assert lines[-1] == seen[-1]
    assert follower.skipped == 0


def test_a_log_that_lost_its_name_is_begun_anew(log: Path, follower: LogFollower) -> None:
    write(log, b"one\n")
    assert follower.read() == ["one"]
    with log.open("ab", buffering=0) as writer:
        log.unlink()
        writer.write(b"two\n")
        assert follower.taken_away
        assert follower.keep_short()
        writer.write(b"three\n")
    write(log, b"four\n")
    assert read_all(follower) == ["two", "three", "four"]
    assert not follower.taken_away


def test_what_is_written_to_no_name_has_a_bound(log: Path, follower: LogFollower) -> None:
    fill(log, 1000)
    follower.read()
    with log.open("ab", buffering=0) as writer:
        log.unlink()
        size = 2 * ROTATE_AT + 1000
        writer.write(b"x" * (size - 1) + b"\n")
        assert follower.keep_short()
        assert os.fstat(writer.fileno()).st_size == 0
        assert follower.skipped == size
        writer.write(b"next\n")
        assert follower.read() == ["next"]


def test_another_file_in_its_place_is_told_to_the_writer(log: Path, follower: LogFollower) -> None:
    """As an editor does, or `sed -i`: nobody writes to it."""
    write(log, b"one\n")
    assert follower.read() == ["one"]
    copy = log.with_name("copy")
    write(copy, b"one\n")
    copy.rename(log)
    assert follower.read() == ["one"]
    assert follower.keep_short()
    assert not follower.keep_short()


def test_a_log_that_somebody_empties_is_read_from_its_beginning(log: Path, follower: LogFollower) -> None:
    write(log, b"one\ntwo\nhal")
    assert follower.read() == ["one", "two"]
    os.truncate(log, 0)
    write(log, b"three\n")
    assert follower.read() == ["three"]
    assert not follower.keep_short()


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

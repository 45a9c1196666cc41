"""images.lock: what is written is what is read, and what cannot be read is named where it stands."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Problem
from appliance.images.lock import Lock, Pin, PinnedRelease, parse_lock, render_lock
from appliance.images.model import Role, StoredFile, StoredRelease, Stream, version_key
from tests.unit.images.rooms import BETA, EARLY, LOCKS, PINNED, STABLE, STORED, build, locked, pinned

FILE = "/etc/pxe-appliance/images.lock"


def read(text: str) -> Lock:
    lock, problems = parse_lock(text, FILE)
    assert problems == []
    return lock


@given(LOCKS)
def test_what_is_written_is_read(lock: Lock) -> None:
    text = render_lock(lock)
    assert read(text) == lock
    assert render_lock(read(text)) == text
    assert text.isascii()


@given(LOCKS)
def test_it_is_toml_to_everybody_else_too(lock: Lock) -> None:
    raw = tomllib.loads(render_lock(lock))
    for release in lock.releases:
        stream = release.stream
        entry = raw[stream.os][stream.name][stream.arch][release.version]
        assert set(entry["files"]) == set(release.files)


@given(LOCKS, PINNED)
def test_one_release_more_or_less(lock: Lock, release: PinnedRelease) -> None:
    name = (release.stream, release.version)
    more = lock.with_release(release)
    assert more.get(*name) == release
    others = [r for r in lock.releases if (r.stream, r.version) != name]
    assert [r for r in more.releases if r != release] == others
    less = more.without([name])
    assert less.get(*name) is None
    assert list(less.releases) == others


@given(LOCKS)
def test_the_newest_is_the_highest_version(lock: Lock) -> None:
    for release in lock.releases:
        newest = lock.newest(release.stream)
        assert newest is not None
        assert version_key(newest) >= version_key(release.version)
        assert lock.get(release.stream, newest) is not None
    assert lock.newest(Stream("local", "nobody-has-this")) is None


def test_it_reads_well_in_a_review() -> None:
    """One line a file, in an order that does not depend on when what was fetched."""
    releases = [pinned(v, build(v)) for v in ("4593.2.10", "4593.2.9")] + [
        pinned("4757.1.0", build("b"), stream=BETA)
    ]
    text = render_lock(locked(*releases))
    assert text == render_lock(locked(*reversed(releases)))
    heads = [line for line in text.splitlines() if line.startswith("[")]
    assert heads == [
        '["flatcar"."beta"."amd64"."4757.1.0"]',
        '["flatcar"."stable"."amd64"."4593.2.9"]',
        '["flatcar"."stable"."amd64"."4593.2.10"]',
    ]
    assert "signed = 2024-03-01T00:00:00Z" in text
    assert text.startswith("# Which images may be served")


@given(STORED)
def test_pins_of_a_stored_release(release: StoredRelease) -> None:
    made = PinnedRelease.of(release)
    assert (made.stream, made.version, made.signed_at) == (release.stream, release.version, release.signed_at)
    assert made.files == {f.name: Pin(f.size, f.sha512) for f in release.files}


def test_what_an_operator_vouched_for_says_so() -> None:
    file = StoredFile("vmlinuz", Role.KERNEL, 3, "0" * 128)
    release = StoredRelease(Stream("local", "rescue"), "1", (file,), EARLY)
    assert PinnedRelease.of(release).signer == "operator"


# ---- what an editor, a merge or a disk made of it ----

GOOD = render_lock(locked(pinned("1.0.0", build("one")), pinned("3.0.0", build("three"))))
HEAD = '["flatcar"."stable"."amd64"."2.0.0"]'
SIGNER = f'signer = "{"A" * 40}"'
PIN = f'files."k" = {{ size = 1, sha512 = "{"0" * 128}" }}'
NO_SIZE, NO_DIGEST = "the size of k is not a number of bytes", "the SHA-512 of k is not one"
NO_NAME, NO_TIME = "cannot be the name of a file", "signed is not a time in UTC"
SPOILT = [
    ("no signer", [HEAD, PIN], "signer is not a fingerprint"),
    ("short signer", [HEAD, 'signer = "ABCD"', PIN], "signer is not a fingerprint"),
    ("small signer", [HEAD, f'signer = "{"a" * 40}"', PIN], "signer is not a fingerprint"),
    ("number as signer", [HEAD, "signer = 5", PIN], "signer is not a fingerprint"),
    ("no files", [HEAD, SIGNER], "has no files"),
    ("files is a list", [HEAD, SIGNER, "files = []"], "has no files"),
    ("files is empty", [HEAD, SIGNER, "files = {}"], "has no files"),
    ("no size", [HEAD, SIGNER, PIN.replace("size = 1,", "")], NO_SIZE),
    ("size is text", [HEAD, SIGNER, PIN.replace("1,", '"1",')], NO_SIZE),
    ("size is a float", [HEAD, SIGNER, PIN.replace("1,", "1.0,")], NO_SIZE),
    ("size is true", [HEAD, SIGNER, PIN.replace("1,", "true,")], NO_SIZE),
    ("size below zero", [HEAD, SIGNER, PIN.replace("1,", "-1,")], NO_SIZE),
    ("size beyond all", [HEAD, SIGNER, PIN.replace("1,", f"{2**63},")], NO_SIZE),
    ("short digest", [HEAD, SIGNER, PIN.replace("00", "", 1)], NO_DIGEST),
    ("capital digest", [HEAD, SIGNER, PIN.replace("00", "AA", 1)], NO_DIGEST),
    ("digest is a number", [HEAD, SIGNER, 'files."k" = { size = 1, sha512 = 0 }'], NO_DIGEST),
    ("pin is text", [HEAD, SIGNER, 'files."k" = "x"'], NO_SIZE),
    ("name with a slash", [HEAD, SIGNER, PIN.replace('"k"', '"../k"')], NO_NAME),
    ("name of the record", [HEAD, SIGNER, PIN.replace('"k"', '"release.json"')], NO_NAME),
    ("signed is text", [HEAD, SIGNER, 'signed = "yesterday"', PIN], NO_TIME),
    ("signed is a date", [HEAD, SIGNER, "signed = 2024-01-01", PIN], NO_TIME),
    ("signed has no zone", [HEAD, SIGNER, "signed = 2024-01-01T00:00:00", PIN], NO_TIME),
    ("unknown os", [HEAD.replace("flatcar", "debian"), SIGNER, PIN], "does not name a release"),
    ("unknown processor", [HEAD.replace("amd64", "s390x"), SIGNER, PIN], "does not name a release"),
    ("version is a name", [HEAD.replace("2.0.0", "current"), SIGNER, PIN], "does not name a release"),
    ("version leads out", [HEAD.replace("2.0.0", "../2.0.0"), SIGNER, PIN], "does not name a release"),
    ("stream leads out", [HEAD.replace("stable", ".."), SIGNER, PIN], "does not name a release"),
    ("no version", ['["flatcar"."stable"."arm64"]', SIGNER, PIN], "is not an entry of the form"),
    ("no processor", ['["flatcar"."stable2"]', 'signer = "x"'], "is not an entry of the form"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "words"), [s[1:] for s in SPOILT], ids=[s[0] for s in SPOILT])
def test_a_spoilt_entry_is_named_and_the_others_stay(lines: list[str], words: str) -> None:
    text = "\n".join([GOOD, *lines, ""])
    lock, problems = parse_lock(text, FILE)
    assert [r.version for r in lock.releases] == ["1.0.0", "3.0.0"]
    assert problems
    for problem in problems:
        assert words in problem.message
        assert problem.hint
        at = text.splitlines().index(lines[0]) + 1
        assert at <= problem.line < at + len(lines), f"line {problem.line} is not of this entry (from {at})"


@pytest.mark.parametrize(
    "head",
    ['[flatcar.stable.amd64."2.0.0"]', "['flatcar'.'stable'.\"amd64\".'2.0.0']",
     '[ "flatcar" . "stable" . "amd64" . "2.0.0" ]', f"{HEAD} # mine"],
)  # fmt: skip
def test_a_head_may_be_written_in_other_ways(head: str) -> None:
    lock, problems = parse_lock("\n".join([GOOD, head, SIGNER, PIN]), FILE)
    assert problems == []
    assert lock.get(STABLE, "2.0.0")
    (problem,) = parse_lock("\n".join([GOOD, head, SIGNER]), FILE)[1]
    assert problem.line == GOOD.count("\n") + 2


def test_every_spoilt_entry_is_named() -> None:
    texts = [GOOD]
    for n, (_, lines, _) in enumerate(SPOILT[:6]):
        texts += [lines[0].replace("2.0.0", f"2.0.{n}"), *lines[1:]]
    _, problems = parse_lock("\n".join(texts), FILE)
    assert len(problems) == 6
    assert len({p.line for p in problems}) == 6


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{GOOD}\nrubbish\n", GOOD.count("\n") + 2),
        (f"{GOOD}\n{HEAD}\n{SIGNER}\n{PIN}\n{HEAD}\n{SIGNER}\n{PIN}\n", GOOD.count("\n") + 5),
        (f"{GOOD}\n<<<<<<< HEAD\n", GOOD.count("\n") + 2),
        ("\x00", 1),
        ("a = " + "[" * 100_000, 1),
        ("a = 1\n" + "=", 2),
    ],
    ids=["rubbish", "twice", "merge conflict", "NUL", "nested", "equals"],
)
def test_what_is_not_toml_is_named_with_its_line(text: str, line: int) -> None:
    lock, (problem,) = parse_lock(text, FILE)
    assert lock == Lock()
    assert "is not TOML" in problem.message
    assert (problem.file, problem.line) == (FILE, line)


@given(st.text(max_size=200))
def test_whatever_it_is_it_is_read_or_refused_in_words(text: str) -> None:
    lock, problems = parse_lock(text, FILE)
    assert lock == Lock()
    assert all(isinstance(p, Problem) for p in problems)


@given(LOCKS.filter(lambda lock: bool(lock.releases)), st.data())
def test_a_changed_line_is_never_another_release_in_silence(lock: Lock, data: st.DataObject) -> None:
    """Whatever happens to one line: the others' releases stay, or a problem is told."""
    lines = render_lock(lock).splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    del lines[at]
    again, problems = parse_lock("\n".join(lines), FILE)
    lost = [r for r in lock.releases if r not in again.releases]
    if len(lost) > 1:
        assert problems


def test_an_empty_lock_pins_nothing() -> None:
    assert read("") == read(render_lock(Lock())) == Lock()

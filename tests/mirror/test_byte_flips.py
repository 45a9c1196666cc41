"""One byte is another one, in each file of a mirror's release and in each file of the store: it is found and
named, nothing that has it is served, and a fetch mends the store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.mirror.site import INITRD, KERNEL, NEW, OLD, STREAM, Signers, Site, copied

VERSION: Final = "version.txt"
Position = Callable[[bytes], int]
NAME: Final = f"{STREAM}@{OLD}"
RECORD: Final = "release.json"


def first(_: bytes) -> int:
    """The first byte."""
    return 0


def middle(content: bytes) -> int:
    """The one in the middle."""
    return len(content) // 2


def last(content: bytes) -> int:
    """The last byte."""
    return len(content) - 1


def after(word: bytes, more: int) -> Position:
    """So many bytes after a word."""
    return lambda content: content.index(word) + len(word) + more


ARMOR: Final = after(b"BEGIN PGP SIGNATURE-----\n\n", 70)
DIGEST: Final = after(b"# SHA512 HASH\n", 64)
ON_THE_MIRROR: Final = [
    *((name, where) for name in (KERNEL, INITRD, VERSION) for where in (first, middle, last)),
    *((f"{name}.sig", where) for name in (KERNEL, INITRD, VERSION) for where in (first, middle, last)),
    *((f"{name}.DIGESTS.asc", where) for name in (KERNEL, INITRD) for where in (first, DIGEST, ARMOR)),
]


def flip(path: Path, where: Position, bits: int = 0xFF) -> None:
    """Change a byte where it is; the file stays the same one, and as old as it was."""
    content, facts = path.read_bytes(), path.stat()
    offset = where(content)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([content[offset] ^ bits]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.fixture(scope="module")
def refusing(with_old: Path, signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all that it refuses: each refusal has to leave it as it was."""
    with copied(with_old, tmp_path_factory.mktemp("refusing"), signers) as site:
        yield site


@pytest.mark.parametrize(
    ("name", "where"), ON_THE_MIRROR, ids=lambda v: v if isinstance(v, str) else getattr(v, "__name__", "")
)
def test_a_flipped_byte_on_the_mirror_is_refused(refusing: Site, name: str, where: Position) -> None:
    content = (refusing.tree / "stable/amd64-usr" / NEW / name).read_bytes()
    folder = "current" if name.startswith(VERSION) else NEW
    refusing.mirror.faults({f"*/{folder}/{name}": {"kind": "flip", "offset": where(content)}})
    said = refusing.fetch_here()
    assert said.rc == 4, said.err
    assert f"refused {name.removesuffix('.sig')}" in said.err
    refusing.assert_old_is_whole()


def test_without_the_flips_it_is_taken(site: Site) -> None:
    assert site.fetch_here().rc == 0
    site.assert_old_is_whole(f"{STREAM}@{NEW}")


# ---- in the store ----


def assert_found(site: Site, *words: str) -> None:
    """By the listing and by a verification; both name what is wrong."""
    row = site.rows()[NAME]
    assert row["state"] == "damaged"
    damage = "\n".join(row["damage"])
    for word in words:
        assert word in damage
    listed = site.call("images").out.splitlines()
    assert next(line for line in listed if OLD in line).split()[-1] == "damaged"
    said = site.call("images", "verify")
    assert said.rc == 5
    for word in ("DAMAGED", NAME, *words):
        assert word in said.out
    refused = site.call("images", "use", NAME)
    assert refused.rc == 4
    assert words[0] in refused.err


def assert_mended(site: Site) -> None:
    """By fetching the same release again."""
    said = site.fetch_here(NAME)
    assert said.rc == 0, said.err
    site.assert_old_is_whole()
    assert not list(site.incoming.glob("flatcar"))


@pytest.mark.parametrize("where", [first, middle, last], ids=lambda w: w.__name__)
@pytest.mark.parametrize("name", [KERNEL, INITRD])
def test_a_flipped_byte_in_the_store(site: Site, name: str, where: Position) -> None:
    flip(site.path(name), where)
    assert_found(site, name, "its SHA-512 is")
    assert_mended(site)


def gone(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def a_link(path: Path) -> None:
    """To the very bytes that are pinned: whoever can move the target can move what is served."""
    elsewhere = path.rename(path.parents[5] / "elsewhere")
    path.symlink_to(elsewhere)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (gone, "it is not there"), (cut_short, "bytes, pinned are"), (emptied, "it has 0 bytes"),
        (longer, "bytes, pinned are"), (a_link, "cannot be read"), (a_pipe, "not a regular file"),
        (a_directory, "not a regular file"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)  # fmt: skip
def test_other_harm_to_a_file(site: Site, harm: Callable[[Path], None], word: str) -> None:
    harm(site.path(KERNEL))
    assert_found(site, KERNEL, word)
    if harm is not a_directory:
        assert_mended(site)


def test_two_files_that_changed_places(site: Site) -> None:
    kernel, initrd = site.path(KERNEL), site.path(INITRD)
    kernel.rename(kernel.with_name("other"))
    initrd.rename(kernel)
    kernel.with_name("other").rename(initrd)
    assert_found(site, KERNEL, INITRD)
    assert_mended(site)


def test_bytes_that_rot_below_the_file_system(site: Site) -> None:
    """The kernel saw no write, so the seal still fits: listing believes it, verification does not."""
    assert site.states() == {NAME: "ok"}
    flip(site.path(INITRD), middle)
    seals = Path(site.paths.image_seals)
    facts: dict[str, Any] = json.loads(seals.read_text())
    now = site.path(INITRD).stat()
    facts[str(site.path(INITRD))]["seal"] = [now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns]
    seals.write_text(json.dumps(facts))
    assert site.states() == {NAME: "ok"}

    said = site.call("images", "verify")
    assert said.rc == 5
    assert INITRD in said.out
    assert_found(site, INITRD)  # and what verification found, listing knows from then on
    assert_mended(site)


def test_a_store_without_its_seals_is_hashed_again(site: Site) -> None:
    seals = Path(site.paths.image_seals)
    flip(site.path(KERNEL), middle)
    for raw in (b"", b"[]", b'{"a": {"seal": [1, 2, 3], "sha512": ""}}', b"\xff" * 100):
        seals.write_bytes(raw)
        assert site.states() == {NAME: "damaged"}
    seals.unlink()
    assert site.states() == {NAME: "damaged"}


@pytest.mark.parametrize("where", [first, middle, last], ids=lambda w: w.__name__)
def test_a_flipped_byte_in_the_record(site: Site, where: Position) -> None:
    flip(site.path(RECORD), where)
    assert_found(site, RECORD)
    assert_mended(site)


@pytest.mark.parametrize(
    "where",
    [
        after(b'"name": "', 0), after(b'"sha512": "', 3), after(b'"size": ', 0), after(b'"version": "', 0),
        after(b'"stream": "', 0), after(b'"os": "', 0), after(b'"role": "', 0),
    ],
    ids=["name", "sha512", "size", "version", "stream", "os", "role"],
)  # fmt: skip
def test_a_flipped_bit_in_the_record(site: Site, where: Position) -> None:
    """It may still be a record; then it is not that of this release."""
    flip(site.path(RECORD), where, 1)
    assert_found(site, RECORD)
    assert_mended(site)


@pytest.mark.parametrize("where", [first, middle, last], ids=lambda w: w.__name__)
def test_a_flipped_byte_in_the_lock_is_named_by_every_command(site: Site, where: Position) -> None:
    lock = Path(site.paths.image_lock)
    whole = lock.read_bytes()
    flip(lock, where)
    spoilt = lock.read_bytes()
    for command, code in (
        (("images",), 0), (("images", "verify"), 5), (("images", "fetch", STREAM), 3),
        (("images", "use", NAME), 4), (("images", "prune"), 3),
    ):  # fmt: skip
        said = site.call(*command)
        assert said.rc == code, (command, said)
        assert "images.lock" in said.out + said.err, command
    assert lock.read_bytes() == spoilt, "what an operator may have to mend is not written over"
    lock.write_bytes(whole)
    site.assert_old_is_whole()


def test_a_flipped_bit_in_a_pin(site: Site) -> None:
    flip(Path(site.paths.image_lock), after(b'sha512 = "', 9), 1)
    assert_found(site, KERNEL, "pinned is")
    said = site.fetch_here(NAME)
    assert said.rc == 4
    assert "[changed-since-pinned]" in said.err


def test_a_release_that_the_lock_does_not_know(site: Site) -> None:
    Path(site.paths.image_lock).unlink()
    assert site.states() == {NAME: "unpinned"}
    said = site.call("images", "verify")
    assert (said.rc, "UNPINNED, not served" in said.out) == (5, True)
    said = site.call("images", "verify", "--pin")
    assert said.rc == 0, said.err
    site.assert_old_is_whole()


@pytest.mark.parametrize("name", [KERNEL, INITRD])
def test_what_is_pinned_again_is_proven_again(site: Site, name: str) -> None:
    Path(site.paths.image_lock).unlink()
    flip(site.path(name), middle)
    said = site.call("images", "verify", "--pin")
    assert said.rc == 5
    assert f"refused {name}" in said.err
    assert site.states() == {NAME: "unpinned"}
    assert_mended(site)

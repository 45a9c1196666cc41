"""A fetch that may not pin, as a timer runs it: what it brings waits, and is pinned without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.mirror.site import KERNEL, NEW, OLD, STREAM, Site

WAITING: Final = f"{STREAM}@{NEW}"


def test_a_new_release_waits_for_its_pin(site: Site) -> None:
    before = Path(site.paths.image_lock).read_bytes()
    said = site.fetch_here("--no-pin", "-o", "json")
    assert said.rc == 0, said.err
    row = {"image": STREAM, "version": NEW, "arch": "amd64"}
    assert said.json() == [{**row, "fetched": True, "current": False, "pinned": False}]
    assert Path(site.paths.image_lock).read_bytes() == before
    assert site.current() == [f"{STREAM}@{OLD}"]
    assert site.states()[WAITING] == "unpinned"

    again = site.fetch_here("--no-pin")
    assert again.rc == 0, again.err
    assert "waits for its pin: pxe-appliance images verify --pin" in again.out
    assert len(site.gets(KERNEL)) == 1, "it is not fetched twice"

    pinned = site.call("images", "verify", "--pin")
    assert pinned.rc == 0, pinned.err
    assert site.states()[WAITING] == "ok"
    assert site.current() == [f"{STREAM}@{OLD}"], "it still waits for images use"


def test_the_next_fetch_of_root_pins_it_without_a_download(site: Site) -> None:
    assert site.fetch_here("--no-pin").rc == 0
    said = site.fetch_here("--use")
    assert said.rc == 0, said.err
    assert len(site.gets(KERNEL)) == 1
    assert site.current() == [WAITING]
    site.assert_nothing_unproven()


def test_what_was_changed_while_it_waited_is_fetched_again(site: Site) -> None:
    assert site.fetch_here("--no-pin").rc == 0
    waiting = site.path(KERNEL, NEW)
    content = waiting.read_bytes()
    waiting.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    said = site.fetch_here()
    assert said.rc == 0, said.err
    assert waiting.read_bytes() == content
    assert site.states()[WAITING] == "ok"


def test_what_is_pinned_is_mended_and_the_pins_stay(site: Site) -> None:
    before = Path(site.paths.image_lock).stat()
    site.path(KERNEL).unlink()
    said = site.fetch_here(f"{STREAM}@{OLD}", "--no-pin")
    assert said.rc == 0, said.err
    site.assert_old_is_whole()
    after = Path(site.paths.image_lock).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_first_release_of_a_stream_is_not_current_before_it_is_pinned(site: Site) -> None:
    Path(site.paths.image_lock).unlink()
    (site.images / STREAM / "current").unlink()
    assert site.fetch_here("--no-pin").rc == 0
    assert site.current() == []
    assert site.fetch_here().rc == 0
    assert site.current() == [WAITING]

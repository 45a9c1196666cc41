"""Several at once, on one host: one download of each file, nothing lost of what each of them pins."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.mirror.site import COMMAND, INITRD, KERNEL, NEW, NEW_AT, OLD, SIZES, STREAM, Said, Site, release

DEADLINE: Final = 30.0
SPEED: Final = 2_500_000
FETCH: Final = ("images", "fetch", STREAM)
CHANNELS: Final = ("alpha", "beta", "lts")


class Running:
    """A command that has not ended yet."""

    def __init__(self, site: Site, *args: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "--root", str(site.root), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=site.environment(),
        )

    def ended(self) -> Said:
        out, err = self.process.communicate(timeout=DEADLINE)
        return Said(self.process.returncode, out, err)


def both(site: Site, second: Sequence[str], speed: int = SPEED) -> tuple[Running, Running]:
    """A fetch, and a command that begins while the fetch's kernel arrives."""
    site.mirror.faults({f"*/{NEW}/{KERNEL}": {"kind": "drip", "bytes_per_second": speed}})
    begun = Running(site, *FETCH)
    part = site.incoming / STREAM / NEW / "parts" / f"{KERNEL}.part"
    limit = time.monotonic() + DEADLINE
    while not part.exists():
        assert time.monotonic() < limit, "nothing arrives"
        time.sleep(0.01)
    return begun, Running(site, *second)


def test_two_fetches_are_one_download(site: Site) -> None:
    one, two = both(site, FETCH)
    first, second = one.ended(), two.ended()
    assert (first.rc, second.rc) == (0, 0), first.err + second.err
    assert "is in the store, proven and pinned" in first.out
    assert "waiting: a fetch of flatcar/stable is already running: pid" in second.err
    assert "is in the store already" in second.out
    for name in (KERNEL, INITRD):
        assert [get["sent"] for get in site.gets(name)] == [SIZES[name]]
    site.assert_old_is_whole(f"{STREAM}@{NEW}")


def test_the_second_goes_on_where_the_first_one_died(site: Site) -> None:
    one, two = both(site, FETCH)
    part = site.incoming / STREAM / NEW / "parts" / f"{KERNEL}.part"
    limit = time.monotonic() + DEADLINE
    while part.stat().st_size < 2**20:
        assert time.monotonic() < limit, "nothing arrives"
        time.sleep(0.01)
    one.process.kill()
    one.ended()
    assert two.ended().rc == 0
    assert site.gets(KERNEL)[-1]["status"] == 206
    site.assert_old_is_whole(f"{STREAM}@{NEW}")


def test_the_store_is_used_while_it_is_filled(site: Site) -> None:
    """Listing, verifying and switching do not wait for a download, and see nothing of it."""
    one, two = both(site, ["images", "use", f"{STREAM}@{OLD}"], SPEED // 3)
    assert two.ended().rc == 0
    site.assert_old_is_whole()
    assert one.process.poll() is None, "the fetch is under way still"
    assert one.ended().rc == 0
    site.assert_old_is_whole(f"{STREAM}@{NEW}")


def test_streams_do_not_wait_for_one_another_and_lose_no_pins(site: Site) -> None:
    for n, channel in enumerate(CHANNELS):
        release(site.tree, site.signers.good, f"100{n}.0.0", NEW_AT, channel=channel)
    names = [STREAM, *(f"flatcar/{channel}" for channel in CHANNELS)]
    running = [Running(site, "images", "fetch", name) for name in names]
    for said in [each.ended() for each in running]:
        assert said.rc == 0, said.err
        assert "waiting" not in said.err
    new = {f"flatcar/{channel}@100{n}.0.0" for n, channel in enumerate(CHANNELS)}
    site.assert_old_is_whole(f"{STREAM}@{NEW}", *new)
    assert set(site.current()) == {f"{STREAM}@{OLD}", *new}
    assert not [p for p in Path(site.paths.etc).iterdir() if p.name.startswith(".")]

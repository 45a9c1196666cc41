"""The plug is pulled at every step of a fetch: what is listed as good is good, and the next fetch goes on."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from appliance.images.health import findings
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.system.clock import now
from tests.fakes.steps import call_to_step, run_to_step
from tests.mirror.site import (
    COMMAND,
    INITRD,
    KERNEL,
    NEW,
    NEW_AT,
    OLD,
    OLD_AT,
    PATIENT,
    STREAM,
    Signers,
    Site,
    copied,
    opened,
    release,
)

AT_ONCE: Final = 2
SMALL: Final = {KERNEL: 60_000, INITRD: 100_000}
DEADLINE: Final = 20.0
NEVER_EMPTY: Final = {"locks", "store.lock"}


@dataclass(frozen=True)
class Start:
    """Where the killed fetches begin: a template of a site, and what is current in it."""

    template: Path
    signers: Signers
    current: str | None


@pytest.fixture(scope="module")
def with_small(signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """As `with_old`, with less to copy and to prove."""
    folder = tmp_path_factory.mktemp("small")
    with opened(folder, signers) as site:
        for version, at in ((OLD, OLD_AT), (NEW, NEW_AT)):
            release(site.tree, signers.good, version, at, sizes=SMALL, digests=False)
            if version == OLD:
                assert site.fetch_here().rc == 0
            (site.tree / "stable/amd64-usr" / version / "version.txt.sig").unlink()
    return Start(folder, signers, f"{STREAM}@{OLD}")


@pytest.fixture(scope="module")
def with_nothing(with_small: Start, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """The same mirror, and a site that fetches for the first time."""
    folder = tmp_path_factory.mktemp("nothing")
    with opened(folder, with_small.signers):
        (folder / "tree").rmdir()
        (folder / "tree").symlink_to(with_small.template / "tree")
    return replace(with_small, template=folder, current=None)


def steps_of(start: Start, folder: Path) -> Sequence[str]:
    """What a fetch that nobody disturbs does to the disk."""
    with copied(start.template, folder, start.signers) as site:
        command = [COMMAND, "--root", str(site.root), "images", "fetch", *PATIENT, STREAM]
        ended = run_to_step(command, site.root, None, site.environment())
        assert (ended.killed, ended.rc) == (False, 0)
        return ended.calls


def killed_at(start: Start, folder: Path, steps: Sequence[int]) -> list[str]:
    """What is wrong after a kill at each of these steps; runs in a process of its own."""
    told = []
    with copied(start.template, folder, start.signers) as site:
        for step in steps:
            shutil.rmtree(site.root / "var", ignore_errors=True)
            Path(site.paths.image_lock).unlink(missing_ok=True)
            shutil.copytree(start.template / "root", site.root, symlinks=True, dirs_exist_ok=True)
            site.configure()
            ended = call_to_step(lambda: site.fetch_here().rc, site.root, step)
            try:
                check_after(site, start.current)
            except AssertionError as error:
                told.append(f"WRONG after step {step}, {ended.calls[-1]}: {error}")
            else:
                told.append("killed" if ended.killed else "went through")
    return told


def check_after(site: Site, current: str | None) -> None:
    """The state after the kill, then after the fetch that follows."""
    rows = site.rows()
    assert set(rows) <= {current, f"{STREAM}@{NEW}"}, f"listed: {sorted(rows)}"
    bad = {name: row["damage"] for name, row in rows.items() if row["state"] not in {"ok", "absent"}}
    assert not bad, f"there is {bad}"
    if current:
        assert rows[current]["state"] == "ok", "the old release is not whole"
        assert rows[current]["current"], "the old release is not current"
    if Path(site.paths.image_lock).exists():
        site.assert_nothing_unproven()
    else:
        assert site.served() == [], "something is served that nothing pins"
    complete = {name for name, size in SMALL.items() if is_complete(site, name, size)}
    site.mirror.forget()

    said = site.fetch_here()

    assert said.rc == 0, f"the next fetch says {said.err!r}"
    for name in complete:
        again = sum(int(str(get["sent"])) for get in site.gets(name) if get["status"] != 416)
        assert again == 0, f"{name} was complete, and {again} bytes of it came again"
    rows = site.rows()
    assert rows[f"{STREAM}@{NEW}"]["state"] == "ok"
    leading = [name for name, row in rows.items() if row["current"]]
    assert leading == [current or f"{STREAM}@{NEW}"], f"current is {leading}"
    site.assert_nothing_unproven()
    left = [p for p in site.incoming.iterdir() if p.name not in NEVER_EMPTY]
    assert not left, f"{[str(p.relative_to(site.incoming)) for p in left[0].rglob('*')]} stays for ever"
    store = Store(site.paths)
    wrong = [f.message for f in findings(store, Seals(Path(site.paths.image_seals)), None, now())]
    assert not wrong, f"doctor would say {wrong}"


def is_complete(site: Site, name: str, size: int) -> bool:
    """Whether nothing of a file is missing any more, wherever it is on its way."""
    if site.path(name, NEW).exists():
        return True
    part = site.incoming / STREAM / NEW / "parts" / f"{name}.part"
    return part.exists() and part.stat().st_size == size and part.with_name(f"{part.name}.json").exists()


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """As many fetches at a time as a small host has processors."""
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        yield pool


def kill_at_each(start: Start, folder: Path, pool: ProcessPoolExecutor, steps: Sequence[int]) -> None:
    """One fetch a step."""
    shares = [steps[n::AT_ONCE] for n in range(AT_ONCE)]
    waiting = [pool.submit(killed_at, start, folder / str(n), share) for n, share in enumerate(shares)]
    told = [line for each in waiting for line in each.result()]
    wrong = [line for line in told if line.startswith("WRONG")]
    assert not wrong, "\n".join(wrong)
    # Threads may take turns in another order, so that a run is a call or two shorter; no more than that.
    assert told.count("went through") <= 2, "the steps are those of the installed command"


def test_a_kill_at_any_step_of_a_fetch(
    with_small: Start, workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    calls = steps_of(with_small, tmp_path / "clean")
    text = re.sub(r"\.[0-9]+\.tmp", "", "\n".join(calls))
    # Arriving, putting together, pinning, publishing, cleaning up, sealing: each is among the steps.
    for stage in (
        "write .*part",
        "link .*part",
        "rename .*lock",
        "rename .*ready",
        "unlinkat .*part",
        "rename .*seals",
    ):
        assert re.search(f"^{stage}", text, re.MULTILINE), stage
    kill_at_each(with_small, tmp_path, workers, range(1, len(calls) + 1))


def test_a_kill_while_the_first_release_is_published(
    with_nothing: Start, workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """Then there is a pointer to be made, too."""
    calls = steps_of(with_nothing, tmp_path / "clean")
    assert any(call.startswith("symlink ") for call in calls)
    begin = next(n for n, call in enumerate(calls, start=1) if "images.lock" in call)
    end = next(n for n, call in enumerate(calls, start=1) if call.startswith("unlinkat "))
    kill_at_each(with_nothing, tmp_path, workers, range(begin, end + 1))


def test_what_is_published_is_on_the_disk_before_it_is_seen(with_nothing: Start, tmp_path: Path) -> None:
    """A power cut takes what a kill leaves: of the kernel's memory, only what was synchronised stays."""
    calls = [re.sub(r"/\.(.*)\.[0-9]+\.tmp", r"/\1", c) for c in steps_of(with_nothing, tmp_path / "clean")]

    def at(call: str) -> int:
        """Where a call stands; its last time."""
        assert call in calls, f"{call} is not among\n" + "\n".join(calls)
        return len(calls) - 1 - calls[::-1].index(call)

    state, place = "var/lib/pxe-appliance", f"incoming/{STREAM}/{NEW}"
    ready, shown = f"{state}/{place}/ready", f"{state}/images/{STREAM}"
    published, pinned = at(f"rename {ready}"), at("rename etc/pxe-appliance/images.lock")
    for name in (KERNEL, INITRD):
        assert at(f"write {state}/{place}/parts/{name}.part") < at(f"fsync {ready}/{name}") < published
    assert at(f"fsync {ready}/release.json") < at(f"fsync {ready}") < published
    assert at("fsync etc/pxe-appliance/images.lock") < pinned < at("fsync etc/pxe-appliance") < published
    durable = calls.index(f"fsync {shown}", published)
    assert published < durable < at(f"rename {shown}/current") < at(f"fsync {shown}")
    first_removed = next(n for n, call in enumerate(calls) if call.startswith("unlinkat "))
    assert durable < first_removed, "what was fetched is let go when the release is safe"


def test_an_operator_who_stops_a_fetch_goes_on_later(site: Site) -> None:
    site.mirror.faults({f"*/{NEW}/{KERNEL}": {"kind": "stall", "after": 2_600_000, "method": "GET"}})
    command = [COMMAND, "--root", str(site.root), "images", "fetch", STREAM]
    running = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=site.environment()
    )
    part = site.incoming / STREAM / NEW / "parts" / f"{KERNEL}.part"
    limit = time.monotonic() + DEADLINE
    while not part.exists() or part.stat().st_size < 2**20:
        assert time.monotonic() < limit, "nothing arrives"
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=DEADLINE)

    assert running.returncode == 130, said
    kept = part.stat().st_size
    assert kept >= 2**20
    site.assert_old_is_whole()
    site.mirror.faults({})
    site.mirror.forget()
    assert site.fetch().rc == 0
    (get,) = site.gets(KERNEL)
    assert (get["status"], get["sent"]) == (206, 3_000_000 - kept)
    site.assert_old_is_whole(f"{STREAM}@{NEW}")

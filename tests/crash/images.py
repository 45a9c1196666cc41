"""`images fetch` under faults: from a real mirror, with real signatures, into a store that has nothing or a
release already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from appliance.paths import Paths
from tests.crash.operations import Operation, call
from tests.crash.traced import Run
from tests.fakes.signing import Signer
from tests.mirror.site import (
    INITRD,
    KERNEL,
    NEW,
    NEW_AT,
    OLD,
    OLD_AT,
    STREAM,
    Signers,
    Site,
    opened,
    release,
)

NAMES: Final = ("fetch-first", "fetch")
_SIZES: Final = {KERNEL: 6_000, INITRD: 10_000}
_COMMAND: Final = ("images", "fetch", "--patience", "5", "--deadline", "30", "--tries", "2", STREAM)
# What is fetched is let go of when it is published; a seal that is missing costs one more reading.
_COURTESY: Final = (
    r"image-seals\.json|/incoming/.* (unlink|unlinkat|rmdir)$|lock (ftruncate|pwrite64)$|\.tmp flock$"
    r"|/locks/\S* (ftruncate|pwrite64)$|^tmp/"
)


class _OneHelper(asyncio.DefaultEventLoopPolicy):
    """Loops whose blocking work is done by one thread: then its calls come in the same order in every run."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        return loop


def operations(stack: ExitStack, folder: Path) -> Mapping[str, Operation]:
    """Both, with mirrors in `folder` that run until the stack is closed."""
    signer = stack.enter_context(Signer.make())
    signers = Signers(signer, signer, signer, {"good.asc": signer.cert()})
    made = [_operation(stack, folder / name, signers, name) for name in NAMES]
    return {operation.name: operation for operation in made}


def _operation(stack: ExitStack, folder: Path, signers: Signers, name: str) -> Operation:
    mirror = stack.enter_context(opened(folder, signers)).mirror
    old, new = (OLD, NEW) if name == "fetch" else (None, OLD)

    def site(paths: Paths) -> Site:
        return Site(Path(paths.root), folder / "tree", mirror, signers)

    def lay(paths: Paths) -> None:
        there = site(paths)
        Path(paths.keys).mkdir(parents=True)
        (Path(paths.keys) / "good.asc").write_bytes(signers.certificates["good.asc"])
        Path(paths.inventory).mkdir()
        there.configure(flatcar='mirror = "{url}/{channel}"\nkeys = ["good.asc"]')
        release(there.tree, signers.good, OLD, OLD_AT, sizes=_SIZES, digests=False)
        if old:
            assert call(paths, *_COMMAND) == 0
            release(there.tree, signers.good, NEW, NEW_AT, sizes=_SIZES, digests=False)

    def work(paths: Paths) -> int:
        asyncio.set_event_loop_policy(_OneHelper())
        return call(paths, *_COMMAND)

    def extra(paths: Paths, run: Run) -> Iterator[str]:
        return _store(site(paths), run, old, new)

    return Operation(name, lay, work, courtesy=_COURTESY, serves=False, threads=True, extra=extra)


def _store(site: Site, run: Run, old: str | None, new: str) -> Iterator[str]:
    """The release that was there is whole and current, the new one is there whole or not at all, and nothing
    is served that is not pinned."""
    rows = site.rows()
    known = {f"{STREAM}@{version}" for version in (old, new) if version}
    if not set(rows) <= known:
        yield f"listed are {sorted(rows)}"
    bad = {name: row["damage"] for name, row in rows.items() if row["state"] not in {"ok", "absent"}}
    if bad:
        yield f"there is {bad}"
    before = rows.get(f"{STREAM}@{old}", {})
    if old and (before.get("state"), before.get("current")) != ("ok", True):
        yield "the old release is not whole and current any more"
    if run.rc == 0 and rows.get(f"{STREAM}@{new}", {}).get("state") != "ok":
        yield "the fetch was acknowledged, and the release is not there"
    elif run.rc == 0 and not old and not rows[f"{STREAM}@{new}"]["current"]:
        yield "the first release was acknowledged, and is not current"
    try:
        if Path(site.paths.image_lock).exists():
            site.assert_nothing_unproven()
        elif site.served():
            yield "something is served that nothing pins"
    except AssertionError as error:
        yield str(error)

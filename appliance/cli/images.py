"""The image store from an operator's chair: what `images` and the commands below it do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from appliance.cli.client import ask, daemon_is_running
from appliance.cli.common import Output, print_json, print_lines, print_table, report_error, stderr_console
from appliance.cli.fetching import Screen
from appliance.cli.image_names import ref_named, release_named, stream_named, stream_of_machines
from appliance.errors import ApplianceError, ExitCode, OperatorError, Refused
from appliance.image_ref import LOCAL, ImageRef
from appliance.images.catalogue import SOURCES
from appliance.images.change import prune as prune_store
from appliance.images.change import release_canaries
from appliance.images.change import rollback as roll_back
from appliance.images.change import use as use_version
from appliance.images.health import Row, rows
from appliance.images.model import Stream, parse_release
from appliance.images.run import (
    Fetched,
    Shop,
    fetch,
    pin_again,
    sweep,
    take_local,
    wanted_stream,
    wanted_streams,
)
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.images.wishes import Limits, Wishes
from appliance.inventory.load import load_all, load_settings
from appliance.inventory.model import Inventory
from appliance.paths import Paths
from appliance.settings import ImageSettings, Settings
from appliance.sync.generations import current_id, load_generation
from appliance.system.clock import now

_NONE = "-"
_NOTHING_NAMED = "no profile names an image that could be fetched"


def list_images(paths: Paths, *, output: Output) -> None:
    """Print every release that is there or pinned."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    found = rows(store, seals)
    seals.keep()
    _tell_of_lock(store)
    if output is Output.JSON:
        print_json([row.as_json() for row in found])
        return
    print_table(
        ("IMAGE", "VERSION", "ARCH", "CURRENT", "PINNED", "SIZE", "SIGNER", "FETCHED", "STATE"),
        (_cells(row) for row in found),
        empty="No images: pxe-appliance images fetch flatcar/stable brings one.",
    )


def fetch_images(
    paths: Paths,
    images: Sequence[str],
    *,
    arch: str | None,
    folder: Path | None,
    use: bool,
    wishes: Wishes,
    limits: Limits,
    output: Output,
) -> int:
    """Fetch images, or all that profiles name; each one's failure is told, and the first decides the code."""
    settings = settings_of(paths)
    wanted = [ref_named(image) for image in images] or _named_by_profiles(paths)
    if not wanted and wishes.pin:  # a person asked; a timer that finds nothing to do has not failed
        hint = "name one: pxe-appliance images fetch flatcar/stable"
        raise OperatorError(_NOTHING_NAMED, hint=hint)
    if wishes.digest is not None and len(wanted) != 1:
        raise OperatorError("cannot tell which image the digest is of", hint="fetch one image with --sha256")
    done: list[tuple[Fetched, bool]] = []
    code = ExitCode.FINE
    with Screen() as screen:
        shop = Shop(Store(paths), Seals(Path(paths.image_seals)), settings, screen, now, limits, wishes)
        if not wanted:
            screen.says(f"{_NOTHING_NAMED}: nothing to do")
        for ref in wanted:
            of_os = settings.images.get(ref.os, ImageSettings())
            for stream in (wanted_stream(ref, arch),) if arch else wanted_streams(ref, of_os):
                try:
                    got = _bring(shop, stream, ref.version, folder)
                    if use and got.pinned:
                        use_version(shop.store, shop.seals, got.stream, got.version)
                except ApplianceError as error:
                    code = code or ExitCode(report_error(error))
                    continue
                except KeyboardInterrupt:
                    screen.says("stopped; what came so far is kept, and the next fetch goes on from there")
                    raise
                done.append((got, shop.store.current(got.stream) == got.version))
    if output is Output.JSON:
        print_json([_fetched_json(got, current=current) for got, current in done])
    else:
        print_lines(_fetched_line(shop.store, got, current=current) for got, current in done)
    return code


def verify(paths: Paths, images: Sequence[str], *, pin: bool, local: bool, output: Output) -> int:
    """Hash everything again; 5 when something is damaged or not pinned."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    if pin:
        with Screen() as screen:
            shop = Shop(store, seals, settings_of(paths), screen, now, wishes=Wishes(local=local))
            for row in _chosen(rows(store, seals), images):
                record = store.release(row.stream, row.version)
                if row.state != "unpinned" or record is None:
                    continue
                try:
                    pin_again(shop, record)
                except ApplianceError as error:  # it stays unpinned, which is told below
                    report_error(error)
    found = _chosen(rows(store, seals, believe=False), images)
    seals.keep()
    unsound = _tell_of_lock(store)
    if output is Output.JSON:
        print_json([row.as_json() for row in found])
    else:
        print_lines(line for row in found for line in _verdict_lines(row))
        if not found:
            print_lines(["No images."])
    bad = any(
        row.state in {"damaged", "unpinned"} or (row.state == "absent" and (row.current or row.machines))
        for row in found
    )
    return ExitCode.SURROUNDINGS if bad or unsound else ExitCode.FINE


def use(paths: Paths, words: Sequence[str], machines: Sequence[str], arch: str | None) -> None:
    """Make a release current, or give it to some machines only."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    stream, version = release_named(store, words, arch)
    if version == "current":
        if not machines:
            hint = "name those whose canary ends: --machines node1"
            raise OperatorError(f"cannot use what is current already: {stream}", hint=hint)
        canary, _ = stream_of_machines(paths, machines, stream, arch)
        stream = canary if set(machines) <= set(store.pointers(canary).machines) else stream
        release_canaries(store, stream, machines)
        print_lines([f"{', '.join(machines)}: the current release of {stream} again, from the next boot on."])
        return
    doubts: list[str] = []
    if machines:
        stream, doubts = stream_of_machines(paths, machines, stream, arch)
    use_version(store, seals, stream, version, machines)
    for doubt in doubts:
        stderr_console().print(f"note: {doubt}", markup=False)
    if machines:
        print_lines([f"{', '.join(machines)}: {stream}@{version} from the next boot on."])
    else:
        print_lines([f"{stream}@{version} is current: machines get it from their next boot on."])


def rollback(paths: Paths, image: str | None, arch: str | None) -> None:
    """Go back to the release that was current before."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    stream = stream_named(store, image, arch)
    before, after = roll_back(store, seals, stream)
    print_lines([f"{stream}: back from {before} to {after}; machines get it from their next boot on."])


def prune(paths: Paths, images: Sequence[str], *, keep: int, output: Output) -> None:
    """Remove old releases that nothing needs."""
    store = Store(paths)
    asked = {(ref.os, ref.stream) for ref in map(ref_named, images)}
    streams = [s for s in store.streams() if not asked or (s.os, s.name) in asked]
    removed = prune_store(store, keep, {**_pinned_by_profiles(paths), **_booting(paths)}, streams)
    swept = [(stream, version) for stream in streams for version in sweep(store, stream)]
    if output is Output.JSON:
        print_json([{"image": s.image, "arch": s.arch, "version": v} for s, v in removed])
    else:
        lines = [f"removed {s}@{v}" for s, v in removed]
        lines += [f"removed what was fetched of {s}@{v}" for s, v in swept]
        print_lines(lines or ["Nothing to remove."])


def settings_of(paths: Paths) -> Settings:
    """The settings in force; the projects' own servers and keys where there are none yet."""
    if not Path(paths.settings).exists():
        return Settings(networks={})
    return load_settings(paths)


def chosen_releases(found: Iterable[Row], images: Sequence[str]) -> list[Row]:
    """Of what is fit to be carried away: what is asked for, or what is current."""
    rows_found = list(found)
    fit = [row for row in rows_found if row.state == "ok"]
    if not images:
        unfit = [f"{r.stream}@{r.version} is {r.state}" for r in rows_found if r.current and r.state != "ok"]
        if unfit:
            raise Refused(f"cannot export what is current: {'; '.join(unfit)}", hint="pxe-appliance doctor")
        return [row for row in fit if row.current]
    chosen = []
    for ref in map(ref_named, images):
        of_ref = [r for r in fit if (r.stream.os, r.stream.name) == (ref.os, ref.stream)]
        of_ref = [r for r in of_ref if (r.version == ref.version if ref.version else r.current)]
        if not of_ref:
            raise Refused(f"{ref} is not in the store, or not fit to be used", hint="pxe-appliance images")
        chosen += of_ref
    return chosen


def _tell_of_lock(store: Store) -> bool:
    """Say on standard error what is wrong with images.lock; whether something is."""
    _, problems = store.lock_as_it_is()
    if problems:
        report_error(OperatorError(f"cannot use all of {store.paths.image_lock}", problems=problems))
    return bool(problems)


def _bring(shop: Shop, stream: Stream, version: str | None, folder: Path | None) -> Fetched:
    if stream.os != LOCAL and folder is None:
        return fetch(shop, stream, version)
    if stream.os != LOCAL:
        raise OperatorError(
            f"cannot take {stream} from a directory: it is to be proven by its project's signatures",
            hint=f"name it {LOCAL}/NAME, or import a bundle",
        )
    if folder is None:
        raise OperatorError(
            f"cannot fetch {stream}: it is a local image", hint="say where its files are: --from DIR"
        )
    return take_local(shop, stream, version, folder)


def _named_by_profiles(paths: Paths) -> list[ImageRef]:
    loaded = load_all(paths)
    if loaded.inventory is None:
        raise OperatorError("cannot tell which images profiles name", problems=loaded.problems)
    refs = {p.source for p in loaded.inventory.profiles.values() if isinstance(p.source, ImageRef)}
    return sorted((ref for ref in refs if ref.os in SOURCES), key=str)


def _chosen(found: list[Row], images: Sequence[str]) -> list[Row]:
    if not images:
        return found
    refs = [ref_named(image) for image in images]
    chosen = [
        row
        for row in found
        for ref in refs
        if (row.stream.os, row.stream.name) == (ref.os, ref.stream) and ref.version in (None, row.version)
    ]
    if not chosen:
        raise Refused(f"{', '.join(images)} is not in the store", hint="pxe-appliance images")
    return chosen


def _pinned_by_profiles(paths: Paths) -> dict[tuple[Stream, str], str]:
    """Versions that a profile names, in the inventory as it is written or as it is served."""
    inventories: list[Inventory | None] = []
    if Path(paths.settings).exists() and Path(paths.inventory).exists():
        loaded = load_all(paths)
        if loaded.inventory is None:
            raise OperatorError("cannot tell which images profiles name", problems=loaded.problems)
        inventories.append(loaded.inventory)
    with contextlib.suppress(ApplianceError):
        number = current_id(paths)
        inventories.append(load_generation(paths, number).inventory if number is not None else None)
    needed = {}
    for inventory in inventories:
        for profile in inventory.profiles.values() if inventory else ():
            if isinstance(profile.source, ImageRef) and profile.source.version:
                for arch in ("amd64", "arm64"):
                    needed[Stream.of(profile.source, arch), profile.source.version] = (
                        f"profile {profile.name}"
                    )
    return needed


def _booting(paths: Paths) -> dict[tuple[Stream, str], str]:
    """Versions that a machine is booting from at this moment."""
    if not daemon_is_running(paths):
        return {}
    found = ask(paths, "GET", "/v1/machines")
    needed = {}
    for row in found if isinstance(found, list) else ():
        boot, image = row.get("boot") or {}, row.get("image")
        release = parse_release(image) if isinstance(image, str) else None
        if release is not None and boot.get("state") == "booting":
            needed[release] = f"{row.get('name')} is booting"
    return needed


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.stream.image,
        row.version,
        row.stream.arch,
        "yes" if row.current else ", ".join(row.machines) or _NONE,
        "yes" if row.pinned else "no",
        f"{row.size / 1e6:.1f} MB",
        row.signer[-16:] if row.signer else _NONE,
        f"{row.fetched_at:%Y-%m-%d %H:%M}" if row.fetched_at else _NONE,
        row.state,
    )


def _fetched_json(got: Fetched, *, current: bool) -> dict[str, object]:
    return {
        "image": got.stream.image,
        "version": got.version,
        "arch": got.stream.arch,
        "fetched": got.fresh,
        "current": current,
        "pinned": got.pinned,
    }


def _fetched_line(store: Store, got: Fetched, *, current: bool) -> str:
    name = f"{got.stream}@{got.version}"
    if not got.pinned:
        return f"{name} is in the store, proven, and waits for its pin: pxe-appliance images verify --pin"
    came = "is in the store, proven and pinned" if got.fresh else "is in the store already"
    if current:
        return f"{name} {came}; it is current."
    arch = f" --arch {got.stream.arch}" if got.stream.arch != "amd64" else ""
    command = f"pxe-appliance images use {got.stream.image}@{got.version}{arch}"
    return f"{name} {came}; current is {store.current(got.stream)}. To switch: {command}"


def _verdict_lines(row: Row) -> Iterable[str]:
    if row.state in {"ok", "absent"}:
        yield f"{row.stream}@{row.version}: {row.state}"
        return
    yield f"{row.stream}@{row.version}: {row.state.upper()}, not served"
    yield from (f"  {reason}" for reason in row.damage)

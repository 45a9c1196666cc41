"""The iPXE binaries: found where a distribution put them, published as plain files under the TFTP root.

dnsmasq follows symlinks out of its TFTP root (measured), so a link is never published; `tftp-secure` wants
the files to belong to the user that dnsmasq runs as, which is the owner of our state directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from appliance.boot.firmware import Manifest, Selection
from appliance.errors import SurroundingsError
from appliance.image_ref import IPXE, STREAMS, ImageRef
from appliance.images.catalogue import OSES
from appliance.images.health import release_damage, why_not_each
from appliance.images.model import Stream, parse_asset_path
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.inventory.model import BootPolicy, KernelRef
from appliance.paths import Paths
from appliance.settings import Push
from appliance.sync.plan import Desired, MissingImage
from appliance.system.acting import acting_for
from appliance.system.files import make_directory, read_as_owner, write_atomic

BINARY_LIMIT = 16 * 2**20  # the largest iPXE build known has about 2 MiB


def found_binaries(manifest: Manifest) -> dict[str, str]:
    """The SHA-256 of every binary of the manifest that is on this host, by path."""
    found = {}
    for path in manifest.paths:
        with contextlib.suppress(OSError, ValueError):
            found[path] = hashlib.sha256(read_as_owner(Path(path), BINARY_LIMIT)).hexdigest()
    return found


def publish_binaries(paths: Paths, selection: Selection) -> list[str]:
    """Copy what was chosen to the TFTP root where it is not there already; the names that were written.

    Raises:
        SurroundingsError: a binary changed since it was chosen, or the disk did not do its part.
    """
    root = Path(paths.tftp)
    make_directory(root)
    written = []
    for chosen in selection.binaries:
        target = root / chosen.file
        if _digest(target) == chosen.sha256:
            continue
        try:
            content = read_as_owner(Path(chosen.path), BINARY_LIMIT)
        except (OSError, ValueError) as error:
            raise SurroundingsError(f"cannot read {chosen.path}: {error}") from error
        if hashlib.sha256(content).hexdigest() != chosen.sha256:
            raise SurroundingsError(f"{chosen.path} changed while it was read", hint="run sync again")
        write_atomic(target, content)
        written.append(chosen.file)
    return written


def publish_scripts(paths: Paths, scripts: Mapping[str, bytes]) -> None:
    """Put iPXE's own scripts into the TFTP root where they are not there already."""
    root = Path(paths.tftp)
    make_directory(root)
    for name, content in scripts.items():
        if _digest(root / name) != hashlib.sha256(content).hexdigest():
            write_atomic(root / name, content)


def sweep(root: Path) -> list[str]:
    """Take out of the TFTP root what leads out of it or makes its reader wait; the names of that.

    dnsmasq follows symbolic links, reads what has a second name elsewhere, and waits for ever on a FIFO; we
    never put any of these there. What is only removed is a name: a link's target stays as it is.
    """
    found = []
    with acting_for(root):
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                place = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    status = place.lstat()
                    alone = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
                    if not alone and not stat.S_ISDIR(status.st_mode):
                        place.unlink()
                        found.append(str(place.relative_to(root)))
    return found


def missing_assets(paths: Paths, desired: Desired) -> Iterator[str]:
    """A sentence for each file below /assets/ that a profile names and that is not there to be served."""
    settings = desired.settings
    if not settings.matchbox.builtin:
        return
    root = Path(paths.settle(settings.matchbox.data)) / "assets"
    used = {m.profile for m in desired.inventory.machines}
    for profile in desired.inventory.profiles.values():
        if profile.name not in used or not isinstance(profile.source, KernelRef):
            continue
        for name in (profile.source.kernel, *profile.source.initrd):
            local = name.removeprefix("/assets/")
            if local != name and not (root / local).is_file() and parse_asset_path(name, OSES) is None:
                yield f"profile {profile.name}: {name} is not there yet; put it at {root / local}"


def missing_images(store: Store, seals: Seals, desired: Desired) -> tuple[MissingImage, ...]:
    """Images that machines need and that the store cannot serve, each with the machines and the reason."""
    matchbox = desired.settings.matchbox
    if not matchbox.builtin and matchbox.push is Push.NONE:
        return ()
    wanted: dict[str, tuple[ImageRef, str | None]] = {}
    for machine in desired.inventory.machines:
        profile = desired.inventory.profiles.get(machine.profile or "")
        if profile and isinstance(profile.source, ImageRef) and profile.boot is not BootPolicy.DISK:
            wanted[str(machine.name)] = (profile.source, machine.arch)
    reasons = why_not_each(store, seals, wanted)
    by_image: dict[tuple[str, str, str], list[str]] = {}
    for name, reason in reasons.items():
        ref, arch = wanted[name]
        by_image.setdefault((str(ref), arch or "amd64", reason), []).append(name)
    return tuple(
        MissingImage(image, arch, tuple(names), reason)
        for (image, arch, reason), names in sorted(by_image.items())
    )


def with_store(manifest: Manifest, store: Store, seals: Seals) -> Manifest:
    """The manifest, with the image store's boot files before the distribution's, after the operator's."""
    stream = Stream(IPXE, STREAMS[IPXE][0])
    version = store.current(stream)
    release = store.release(stream, version) if version else None
    if version is None or release is None or release_damage(store, seals, stream, version):
        return manifest
    folder = store.folder(stream) / version
    binaries = dict(manifest.binaries)
    for name, binary in manifest.binaries.items():
        if release.file(name) is None:
            continue
        path = str(folder / name)
        digest = hashlib.sha256(read_as_owner(folder / name, BINARY_LIMIT)).hexdigest()
        paths = (*binary.paths[:1], path, *binary.paths[1:])
        known = {**binary.digests, f"{stream.image}@{version}": digest}
        binaries[name] = replace(binary, paths=paths, digests=MappingProxyType(known))
    return replace(manifest, binaries=MappingProxyType(binaries))


def _digest(path: Path) -> str:
    try:
        if path.is_symlink():
            return ""
        return hashlib.sha256(read_as_owner(path, BINARY_LIMIT)).hexdigest()
    except (OSError, ValueError):
        return ""

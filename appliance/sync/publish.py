"""The iPXE binaries: found where a distribution put them, published as plain files under the TFTP root.

dnsmasq follows symlinks out of its TFTP root (measured), so a link is never published; `tftp-secure` wants
the files to belong to the user that dnsmasq runs as, which is the owner of our state directory.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from appliance.boot.firmware import Manifest, Selection
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync.handover import boot_of
from appliance.sync.plan import Desired
from appliance.system.files import make_directory, read_regular, write_atomic

_LIMIT = 16 * 2**20  # the largest iPXE build known has about 2 MiB


def found_binaries(manifest: Manifest) -> dict[str, str]:
    """The SHA-256 of every binary of the manifest that is on this host, by path."""
    found = {}
    for path in manifest.paths:
        with contextlib.suppress(OSError, ValueError):
            found[path] = hashlib.sha256(read_regular(Path(path), _LIMIT)).hexdigest()
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
            content = read_regular(Path(chosen.path), _LIMIT)
        except (OSError, ValueError) as error:
            raise SurroundingsError(f"cannot read {chosen.path}: {error}") from error
        if hashlib.sha256(content).hexdigest() != chosen.sha256:
            raise SurroundingsError(f"{chosen.path} changed while it was read", hint="run sync again")
        write_atomic(target, content)
        written.append(chosen.file)
    return written


def missing_assets(paths: Paths, desired: Desired) -> Iterator[str]:
    """A sentence for each file below /assets/ that a profile names and that is not there to be served."""
    settings = desired.settings
    if not settings.matchbox.builtin:
        return
    roots = [Path(paths.settle(settings.matchbox.data)) / "assets", Path(paths.images)]
    used = {m.profile for m in desired.inventory.machines}
    for profile in desired.inventory.profiles.values():
        boot = boot_of(profile, "") if profile.name in used else None
        for name in (boot.kernel, *boot.initrd) if boot else ():
            local = name.removeprefix("/assets/")
            if local != name and not any((root / local).is_file() for root in roots):
                places = " or ".join(str(root / local) for root in roots)
                yield f"profile {profile.name}: {name} is not there yet; put it at {places}"


def _digest(path: Path) -> str:
    try:
        if path.is_symlink():
            return ""
        return hashlib.sha256(read_regular(path, _LIMIT)).hexdigest()
    except (OSError, ValueError):
        return ""

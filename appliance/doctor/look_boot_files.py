"""Looks at first stages: what is on this host, what is published, whether it is signed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from appliance.boot.firmware import Selection, choose, parse_manifest
from appliance.doctor.boot_files import Shelf, is_signed
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.paths import Paths
from appliance.sync.publish import found_binaries, with_store
from appliance.system.files import read_regular
from appliance.system.shipped import shipped_manifest, shipped_scripts

_LIMIT = 16 * 2**20
_SHIMS = ("shimx64.efi", "shim.efi", "ipxe-shim.efi", "shimaa64.efi", "shimx64.efi.signed")
_SHELVES = ("/usr/local/lib/ipxe", "/usr/lib/shim")


def look_at_choice(paths: Paths) -> Selection:
    """What each client class is to get, by what is on this host now."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    manifest = with_store(parse_manifest(shipped_manifest()), store, seals)
    return choose(manifest, found_binaries(manifest))


def digests_of(selection: Selection) -> Mapping[str, str]:
    """What the TFTP root should hold, by name: binaries and our own scripts."""
    wanted = {name: hashlib.sha256(content).hexdigest() for name, content in shipped_scripts().items()}
    return wanted | {chosen.file: chosen.sha256 for chosen in selection.binaries}


def look_at_shelf(paths: Paths, selection: Selection, *, applied: bool) -> Shelf:
    """The TFTP root beside the choice; before the first sync nothing is expected in it."""
    wanted = digests_of(selection)
    published, signed = {}, {}
    for name in wanted:
        with contextlib.suppress(OSError, ValueError):
            content = read_regular(Path(paths.tftp / name), _LIMIT)
            published[name] = hashlib.sha256(content).hexdigest()
            if name.endswith(".efi"):
                signed[name] = is_signed(content)
    shims = [Path(shelf) / name for shelf in (*_SHELVES, str(paths.tftp)) for name in _SHIMS]
    return Shelf(
        selection,
        published,
        wanted if applied else None,
        signed,
        tuple(str(shim) for shim in shims if shim.is_file() and not shim.is_relative_to("/usr/lib/shim")),
        str(paths.tftp),
    )

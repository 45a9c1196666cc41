"""From the current generation on disk to what the daemon serves."""

from __future__ import annotations

import json
from types import MappingProxyType

from appliance.daemon.served import Served
from appliance.daemon.signals import Adopted
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations


def adopted_generation(paths: Paths) -> Adopted | None:
    """The current generation, every file held against its digest; None when there is none yet.

    Raises:
        SurroundingsError: it is damaged.
    """
    number = generations.current_id(paths)
    if number is None:
        return None
    manifest = generations.read_manifest(paths, number)
    desired = generations.load_generation(paths, number)
    boot = desired.tree.get("boot.json")
    try:
        facts = json.loads(boot.content) if boot is not None else {}
        refused = {int(arch): str(text) for arch, text in facts["refused"].items()}
        files = tuple(str(name) for name in facts["files"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SurroundingsError(f"cannot understand boot.json of generation {number}: {error}") from error
    ignition = {
        path.removeprefix("ignition/"): file.content
        for path, file in desired.tree.files.items()
        if path.startswith("ignition/")
    }
    return Adopted(
        Served.of(
            desired.settings,
            desired.inventory,
            number=number,
            at=manifest.at,
            proven=manifest.proven,
            boot_files=files,
            refused_classes=MappingProxyType(refused),
            ignition=MappingProxyType(ignition),
        )
    )

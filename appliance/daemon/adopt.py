"""From the current generation on disk to what the daemon serves."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import MappingProxyType

from appliance.daemon.kept_documents import KeptDocuments
from appliance.daemon.served import Served
from appliance.daemon.signals import Adopted
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.generations import Manifest
from appliance.system.files import exclusive_lock


def generation_to_serve(paths: Paths) -> tuple[Adopted | None, Manifest | None]:
    """What a daemon that starts has to serve; makes it the current one.

    The current generation where it is proven and intact. Where it is not (a crash between the change and
    its proof, a sync without a daemon, a damaged disk), the newest one that is; the sync that follows
    brings the change again and proves it. With none proven yet, the current one.

    Returns:
        the generation, None when there is none that can be read; and the manifest of an unproven one that
        was left for it, whose words belong to the change.
    """
    with exclusive_lock(Path(paths.lock), purpose="sync"):
        left = None
        with contextlib.suppress(SurroundingsError):
            current = generations.current_id(paths)
            if current is not None:
                adopted, left = adopted_generation(paths), generations.read_manifest(paths, current)
                if left.proven or left.pinned:
                    return adopted, None
        proven = generations.newest_proven(paths)
        if proven is not None:
            generations.make_current(paths, proven[0])
            return adopted_generation(paths), left
        with contextlib.suppress(SurroundingsError):
            return adopted_generation(paths), None
        return None, None


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
        digests = {str(name): str(file["sha256"]) for name, file in facts["files"].items()}
        # Generations of earlier versions do not say which class gets which file.
        stages = {int(arch): str(name) for arch, name in facts.get("classes", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SurroundingsError(f"cannot understand boot.json of generation {number}: {error}") from error
    directory = generations.generation_directory(paths, number)
    return Adopted(
        Served.of(
            desired.settings,
            desired.inventory,
            number=number,
            at=manifest.at,
            proven=manifest.proven,
            boot_files=tuple(digests),
            refused_classes=MappingProxyType(refused),
            first_stages=MappingProxyType(stages),
            digests=MappingProxyType(digests),
            ignition=KeptDocuments(directory, desired.tree),
        )
    )

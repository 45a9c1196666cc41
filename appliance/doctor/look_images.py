"""Looks at the image store: `images.health` judges it, here its findings become the doctor's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from appliance.doctor.catalogue import CHECKS, ids_of
from appliance.doctor.finding import Finding, Verdict, fine
from appliance.errors import ApplianceError
from appliance.images import health
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.inventory.load import load_settings
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.system.clock import now


def image_findings(paths: Paths) -> list[health.Finding]:
    """Everything that is wrong with the image store."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    try:
        found = health.findings(store, seals, _settings(paths), now())
    except ApplianceError as error:
        message = f"not checked: {error.message}"
        unread = health.Finding("images-keys", "warning", message, "pxe-appliance check")
        found = [*health.findings(store, seals, None, now()), unread]
    seals.keep()
    return found


def judge_images(found: list[health.Finding]) -> Iterator[Finding]:
    """A row for each thing that is wrong, and one for each check that found nothing."""
    for one in found:
        yield Finding(one.id, Verdict(one.severity), one.message, tuple(one.evidence), one.fix)
    for identity in ids_of("images"):
        if not any(one.id == identity for one in found):
            yield fine(identity, CHECKS[identity].words)


def _settings(paths: Paths) -> Settings:
    """The settings in force; the projects' own servers and keys where there are none yet."""
    if not Path(paths.settings).exists():
        return Settings(networks={})
    return load_settings(paths)

"""`images keys` and `images bundle`: whose signatures count, and images for a site without internet."""

from __future__ import annotations

import asyncio
from pathlib import Path

from appliance.cli.common import Output, print_json, print_lines, print_table, report_error
from appliance.cli.fetching import Screen
from appliance.cli.images import chosen_releases, settings_of
from appliance.errors import ApplianceError, ExitCode, Refused
from appliance.images.bundle import export_bundle
from appliance.images.catalogue import SOURCES
from appliance.images.fetch import http_transport
from appliance.images.health import rows
from appliance.images.keys import KnownKey, known_keys, refresh_keys
from appliance.images.run import Shop, import_bundle
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.images.wishes import Limits, Wishes
from appliance.paths import Paths
from appliance.settings import ImageSettings, Settings
from appliance.system.clock import now


def keys(paths: Paths, *, refresh: bool, output: Output) -> int:
    """Print the keys at hand, and the pins for which there is none yet; 5 when a project did not answer."""
    settings, code = settings_of(paths), ExitCode.FINE
    if refresh:
        with Screen() as screen:
            code = asyncio.run(_refresh(paths, settings, screen))
    found = [
        key
        for os_name, source in SOURCES.items()
        for key in known_keys(paths, os_name, source, settings.images.get(os_name, ImageSettings()))
    ]
    if output is Output.JSON:
        print_json([_key_json(key) for key in found])
        return code
    print_table(
        ("OS", "FINGERPRINT", "SIGNS UNTIL", "WHO", "FROM"),
        (
            (
                key.os,
                key.certificate.fingerprint,
                _until(key),
                key.certificate.user,
                key.file,
            )
            for key in found
        ),
        empty="No keys yet: a fetch brings those of its project, and keys.d/ is for yours.",
    )
    missing = [
        f"pinned, not here yet: {os_name} {fingerprint} ({what})"
        for os_name, source in SOURCES.items()
        if not settings.images.get(os_name, ImageSettings()).keys
        for fingerprint, what in source.pins.items()
        if fingerprint not in {key.certificate.fingerprint for key in found}
    ]
    print_lines(missing)
    return code


def _until(key: KnownKey) -> str:
    if not key.certificate.signs:
        return "revoked"
    return f"{key.certificate.expires:%Y-%m-%d}" if key.certificate.expires else "no end"


async def _refresh(paths: Paths, settings: Settings, screen: Screen) -> ExitCode:
    """Those of every project of which something is in the store, or was asked for before."""
    used = {stream.os for stream in Store(paths).streams()} or set(SOURCES)
    code = ExitCode.FINE
    async with http_transport(screen, Limits(), settings.subnets) as transport:
        for os_name, source in SOURCES.items():
            of_os = settings.images.get(os_name, ImageSettings())
            if os_name in used and source.key_url and not of_os.keys:
                try:
                    await refresh_keys(paths, os_name, source, transport)
                except ApplianceError as error:  # one project's trouble must not keep the others' keys
                    code = code or ExitCode(report_error(error))
    return code


def _key_json(key: KnownKey) -> dict[str, object]:
    certificate = key.certificate
    return {
        "os": key.os,
        "fingerprint": certificate.fingerprint,
        "user": certificate.user,
        "revoked": certificate.revoked,
        "expires": certificate.expires.isoformat() if certificate.expires else None,
        "signing": [
            {"fingerprint": k.fingerprint, "expires": k.expires.isoformat() if k.expires else None}
            for k in certificate.signing
        ],
        "file": key.file,
    }


def bundle_export(paths: Paths, file: Path, images: list[str]) -> None:
    """Write a bundle of what is asked for, or of what is current."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    chosen = chosen_releases(rows(store, seals), images)
    releases = [r for row in chosen if (r := store.release(row.stream, row.version)) is not None]
    if not releases:
        raise Refused("there is nothing to export: no release is current", hint="pxe-appliance images")
    with Screen() as screen:
        size = export_bundle(store, releases, file, screen)
    print_lines(f"{r.stream}@{r.version}" for r in releases)
    print_lines([f"wrote {file}, {size / 1e6:.1f} MB: pxe-appliance images bundle import {file.name} there"])


def bundle_import(paths: Paths, file: Path, wishes: Wishes) -> None:
    """Bring a bundle in."""
    with Screen() as screen:
        shop = Shop(
            Store(paths), Seals(Path(paths.image_seals)), settings_of(paths), screen, now, wishes=wishes
        )
        for got in import_bundle(shop, file):
            current = shop.store.current(got.stream)
            state = "it is current" if current == got.version else f"current is {current}"
            came = "proven and pinned" if got.fresh else "there already"
            print_lines([f"{got.stream}@{got.version}: {came}; {state}"])

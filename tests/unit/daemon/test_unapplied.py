"""What a new program that takes over brings, and what it leaves to the operator."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from appliance.daemon.unapplied import unapplied
from appliance.sync import generations
from appliance.sync.run import Request, sync
from tests.unit.sync.rooms import MOVED, SETTINGS, Daemon, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """What is applied is what is asked for."""
    site = Site(tmp_path)
    site.write()
    sync(site.paths, Request(), Daemon())
    return site


def older(site: Site) -> None:
    """As if the version that wrote the generation had had another template."""
    folder = generations.generation_directory(site.paths, 1)
    path = "network/pxe/dnsmasq.conf"
    content = (folder / path).read_bytes() + b"# of old\n"
    (folder / path).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_applied_and_what_the_version_writes_otherwise_is_its_own_to_bring(site: Site) -> None:
    assert unapplied(site.paths) == ""
    older(site)
    assert unapplied(site.paths) == ""


@pytest.mark.parametrize("its_own", [False, True])
@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("inventory", "~machine node1"),
        ("settings", "~network pxe"),
        ("ignition", "file ignition/"),
        ("dnsmasq.d", "~file network/pxe/dnsmasq.conf"),
        ("broken", "cannot use the inventory"),
    ],
)
def test_an_edit_waits_for_its_operator(site: Site, what: str, named: str, its_own: bool) -> None:
    etc = Path(site.paths.etc)
    match what:
        case "inventory":
            site.write(MOVED)
        case "settings":
            site.write(settings=SETTINGS + "mtu = 1400\n")
        case "ignition":
            (etc / "ignition.d/lab.ign").write_bytes(b'{"ignition":{"version":"3.4.0"}}')
        case "dnsmasq.d":
            (etc / "dnsmasq.d/mine.conf").write_text("dhcp-ignore=tag:known\n")
        case "broken":
            site.write("[machine.node1]\n")
    if its_own:
        older(site)
    assert named in unapplied(site.paths)

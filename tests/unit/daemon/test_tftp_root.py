"""What is done about a file in the TFTP root that is not what was published."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path, PurePosixPath

import pytest

from appliance.boot.firmware import parse_manifest
from appliance.daemon.tftp_root import TftpRoot
from appliance.paths import Paths
from appliance.sync.publish import found_binaries, publish_scripts
from appliance.system.files import exclusive_lock
from appliance.system.shipped import shipped_manifest, shipped_scripts

NAME = "undionly.kpxe"
OTHER = hashlib.sha256(b"of an earlier package").hexdigest()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(PurePosixPath(tmp_path))
    publish_scripts(paths, shipped_scripts())
    return paths


def of_this_host() -> bytes:
    manifest = parse_manifest(shipped_manifest())
    there = found_binaries(manifest)
    return next(Path(path).read_bytes() for path in manifest.binaries[NAME].paths if path in there)


def test_what_this_host_has_no_copy_of_is_taken_out_and_told_until_a_sync_brings_it(paths: Paths) -> None:
    place, root = Path(paths.tftp / "foreign.efi"), TftpRoot(paths)
    wanted = {"foreign.efi": hashlib.sha256(b"good").hexdigest()}
    place.write_bytes(b"good")
    root.look(wanted)
    assert not root.findings
    place.write_bytes(b"evil")
    for _ in range(2):
        root.look(wanted)
        assert not place.exists()
        assert [found.id for found in root.findings] == ["boot-published"]
    place.write_bytes(b"good")
    root.look(wanted)
    assert not root.findings


def test_what_a_generation_named_comes_back_before_what_another_package_brought(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    ours, root = of_this_host(), TftpRoot(paths)
    place = Path(paths.tftp / NAME)
    with caplog.at_level(logging.WARNING):
        root.look({NAME: hashlib.sha256(ours).hexdigest()})
    assert place.read_bytes() == ours
    assert "undionly.kpxe in the TFTP root was missing: it is published anew" in caplog.text
    place.write_bytes(b"evil")
    root.look({NAME: OTHER})
    assert place.read_bytes() == ours, "nothing that is better is on this host"


def test_what_a_way_back_leaves_published_is_left_alone(paths: Paths) -> None:
    """Its generation names what an earlier package of iPXE had, and this host has the next one's."""
    ours, root = of_this_host(), TftpRoot(paths)
    place = Path(paths.tftp / NAME)
    place.write_bytes(ours)
    before = place.stat()
    root.look({NAME: OTHER})
    assert (place.stat().st_ino, root.findings) == (before.st_ino, ())


def test_while_a_sync_publishes_nothing_is_touched(paths: Paths) -> None:
    root = TftpRoot(paths)
    with exclusive_lock(Path(paths.lock)):
        root.look({NAME: OTHER})
        assert not Path(paths.tftp / NAME).exists()
    root.look({NAME: OTHER})
    assert Path(paths.tftp / NAME).read_bytes() == of_this_host()


def test_a_disk_that_does_not_take_it_is_told(paths: Paths) -> None:
    root = TftpRoot(paths)
    Path(paths.tftp / NAME).mkdir()
    root.look({NAME: OTHER})
    (found,) = root.findings
    assert (found.id, found.severity) == ("boot-published", "error")
    assert NAME in found.message

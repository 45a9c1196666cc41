"""First stages on their way to the TFTP root."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.boot.firmware import BIOS, CLASSES, Chosen, Selection
from appliance.errors import SurroundingsError
from appliance.inventory.model import Inventory, KernelRef, Profile
from appliance.settings import MatchboxSettings
from appliance.sync.compose import compose
from appliance.sync.publish import found_binaries, missing_assets, publish_binaries
from tests.fakes.full_disk import filled, small_disk
from tests.unit.dnsmasq.rooms import MANIFEST
from tests.unit.sync.rooms import Site, ingredients


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def selection(site: Site, content: bytes = b"binary") -> Selection:
    """A host with one binary, which serves two classes."""
    place = site.root / "usr/undionly.kpxe"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    chosen = Chosen(BIOS, "undionly.kpxe", str(place), hashlib.sha256(content).hexdigest(), None)
    return Selection({0: chosen, 7: replace(chosen, client=CLASSES[2])}, {})


def target(site: Site) -> Path:
    return Path(site.paths.tftp) / "undionly.kpxe"


def test_each_file_is_written_once(site: Site) -> None:
    chosen = selection(site)
    assert publish_binaries(site.paths, chosen) == ["undionly.kpxe"]
    before = target(site).stat()
    assert publish_binaries(site.paths, chosen) == []
    after = target(site).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert target(site).read_bytes() == b"binary"
    assert oct(after.st_mode) == "0o100644"


def test_a_link_in_the_root_becomes_a_plain_file(site: Site) -> None:
    """dnsmasq follows links out of its root, even one to the right content."""
    chosen = selection(site)
    Path(site.paths.tftp).mkdir(parents=True)
    target(site).symlink_to(chosen.binaries[0].path)
    assert publish_binaries(site.paths, chosen) == ["undionly.kpxe"]
    assert not target(site).is_symlink()
    assert target(site).read_bytes() == b"binary"


@pytest.mark.parametrize("harm", [b"", b"binarY", b"binary and more"])
def test_damage_is_repaired(site: Site, harm: bytes) -> None:
    chosen = selection(site)
    publish_binaries(site.paths, chosen)
    target(site).write_bytes(harm)
    assert publish_binaries(site.paths, chosen) == ["undionly.kpxe"]
    assert target(site).read_bytes() == b"binary"


def test_a_newer_package_replaces_the_old_file_whole(site: Site) -> None:
    publish_binaries(site.paths, selection(site))
    with target(site).open("rb") as transfer:
        publish_binaries(site.paths, selection(site, b"newer"))
        assert transfer.read() == b"binary"
    assert target(site).read_bytes() == b"newer"


def test_one_that_changed_since_it_was_chosen_is_not_served(site: Site) -> None:
    chosen = selection(site)
    Path(chosen.binaries[0].path).write_bytes(b"something else")
    with pytest.raises(SurroundingsError, match="changed while it was read"):
        publish_binaries(site.paths, chosen)
    Path(chosen.binaries[0].path).unlink()
    with pytest.raises(SurroundingsError, match="cannot read"):
        publish_binaries(site.paths, chosen)
    assert not target(site).exists()


def test_a_full_disk_leaves_what_is_served(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        site = Site(disk)
        publish_binaries(site.paths, selection(site))
        newer = selection(site, b"newer" * 1000)
        with filled(disk), pytest.raises(SurroundingsError, match="No space left"):
            publish_binaries(site.paths, newer)
        assert target(site).read_bytes() == b"binary"


def test_only_plain_files_count_as_found(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    binary = next(iter(MANIFEST.binaries.values()))
    paths = tuple(str(tmp_path / name) for name in ("gone", "folder", "here"))
    manifest = replace(MANIFEST, binaries={binary.file: replace(binary, paths=paths)})
    assert found_binaries(manifest) == {str(tmp_path / "here"): hashlib.sha256(b"x").hexdigest()}


def test_assets_that_are_not_there_yet_are_named_for_profiles_in_use(site: Site) -> None:
    site.write()
    given = ingredients(paths=site.paths)
    source = KernelRef("/assets/lab/vmlinuz", ("/assets/lab/initrd.gz", "http://files.example.com/more.gz"))
    profiles = {"lab": Profile("lab", source), "idle": Profile("idle", KernelRef("/assets/none"))}
    desired = compose(replace(given, inventory=Inventory(given.inventory.machines, profiles)))
    assets = Path(site.paths.matchbox) / "assets/lab"
    assets.mkdir(parents=True)
    (assets / "vmlinuz").write_bytes(b"")
    (note,) = missing_assets(site.paths, desired)
    assert note.startswith("profile lab: /assets/lab/initrd.gz is not there yet; put it at ")
    assert str(assets / "initrd.gz") in note
    (assets / "initrd.gz").mkdir()
    assert len(list(missing_assets(site.paths, desired))) == 1, "a directory is not a file"
    elsewhere = replace(desired.settings, matchbox=MatchboxSettings("http://matchbox.example.com"))
    assert list(missing_assets(site.paths, replace(desired, settings=elsewhere))) == []

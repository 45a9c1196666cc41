"""From a generation on disk to what is served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from appliance.addresses import Mac
from appliance.daemon.adopt import adopted_generation, generation_to_serve
from appliance.errors import SurroundingsError
from appliance.sync import generations
from appliance.sync.run import Request, sync
from tests.unit.sync.rooms import MOVED, RACK, Daemon, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write()
    return site


def change(site: Site, inventory: str, *, proven: bool) -> None:
    site.write(inventory)
    sync(site.paths, Request(), Daemon() if proven else None)


def harm(site: Site, number: int, path: str, content: bytes) -> None:
    """Write something else, and make the digest agree where it is not to be noticed by that."""
    (generations.generation_directory(site.paths, number) / path).write_bytes(content)


def forge(site: Site, number: int, path: str, content: bytes) -> None:
    harm(site, number, path, content)
    place = generations.generation_directory(site.paths, number) / "manifest.json"
    raw = json.loads(place.read_text())
    raw["files"][path] = hashlib.sha256(content).hexdigest()
    place.write_text(json.dumps(raw))


def served_id(site: Site) -> int | None:
    adopted, _ = generation_to_serve(site.paths)
    return adopted.served.id if adopted else None


def test_nothing_before_the_first(site: Site) -> None:
    assert adopted_generation(site.paths) is None
    assert generation_to_serve(site.paths) == (None, None)


def test_everything_that_serving_needs_is_there(site: Site) -> None:
    change(site, RACK, proven=True)
    adopted = adopted_generation(site.paths)
    assert adopted is not None
    served = adopted.served
    assert (served.id, served.proven) == (1, True)
    assert set(served.machines) == {"node1", "node2"}
    assert str(served.by_mac[Mac.parse("52:54:00:aa:00:12")].name) == "node2"
    assert {"undionly.kpxe", "snponly.efi"} <= set(served.boot_files)
    assert "arm64" not in served.refused_classes[6]
    assert (served.first_stages[0], served.first_stages[16]) == ("undionly.kpxe", "ipxe.efi")
    assert set(served.digests) == set(served.boot_files)
    assert all(len(digest) == 64 for digest in served.digests.values())
    assert json.loads(served.ignition["lab.ign"])["ignition"]["version"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"files":{},"refused":{"x":1}}', b'{"files":1}']
)
def test_boot_files_that_make_no_sense_are_said(site: Site, content: bytes) -> None:
    change(site, RACK, proven=True)
    forge(site, 1, "boot.json", content)
    with pytest.raises(SurroundingsError, match=r"cannot understand boot\.json of generation 1"):
        adopted_generation(site.paths)


def test_a_generation_of_an_earlier_version_names_no_classes(site: Site) -> None:
    change(site, RACK, proven=True)
    forge(site, 1, "boot.json", b'{"files":{"ipxe.efi":{"sha256":"ab","release":null}},"refused":{}}')
    adopted = adopted_generation(site.paths)
    assert adopted is not None
    assert (adopted.served.boot_files, dict(adopted.served.first_stages)) == (("ipxe.efi",), {})


def test_damage_is_noticed(site: Site) -> None:
    change(site, RACK, proven=True)
    harm(site, 1, "network/pxe/hosts", b"")
    with pytest.raises(SurroundingsError, match="its digest differs"):
        adopted_generation(site.paths)


# ---- what a daemon starts with ----


def test_the_current_one_where_it_is_proven(site: Site) -> None:
    change(site, RACK, proven=True)
    change(site, MOVED, proven=True)
    assert served_id(site) == 2


def test_the_last_proven_one_where_the_change_was_never_shown_to_work(site: Site) -> None:
    change(site, RACK, proven=True)
    change(site, MOVED, proven=False)
    adopted, left = generation_to_serve(site.paths)
    assert adopted is not None
    assert left is not None
    assert (adopted.served.id, left.id) == (1, 2)
    assert generations.current_id(site.paths) == 1


def test_a_take_over_goes_on_with_what_is_served_although_nobody_could_be_asked_yet(site: Site) -> None:
    change(site, RACK, proven=True)
    change(site, MOVED, proven=False)
    adopted, left = generation_to_serve(site.paths, 2)
    assert adopted is not None
    assert (adopted.served.id, left) == (2, None)
    harm(site, 2, "boot.json", b"")
    adopted, _ = generation_to_serve(site.paths, 2)
    assert adopted is not None
    assert adopted.served.id == 1


def test_the_last_proven_one_where_the_disk_is_damaged(site: Site) -> None:
    change(site, RACK, proven=True)
    change(site, MOVED, proven=True)
    harm(site, 2, "boot.json", b"")
    assert served_id(site) == 1
    assert generations.current_id(site.paths) == 1


def test_the_first_one_although_nobody_has_proven_it(site: Site) -> None:
    change(site, RACK, proven=False)
    assert served_id(site) == 1


def test_a_rollback_that_was_never_shown_to_work_is_left_and_named(site: Site) -> None:
    change(site, RACK, proven=True)
    change(site, MOVED, proven=True)
    sync(site.paths, Request(to=1), None)
    adopted, left = generation_to_serve(site.paths)
    assert adopted is not None
    assert left is not None
    assert (adopted.served.id, left.id, left.pinned) == (2, 3, True)


def test_a_change_that_nobody_has_confirmed_is_taken_back(site: Site) -> None:
    change(site, RACK, proven=True)
    site.write(MOVED)
    sync(site.paths, Request(confirm_within=60), Daemon())
    assert generations.current_id(site.paths) == 2
    assert served_id(site) == 1
    assert generations.current_id(site.paths) == 1
    left = generations.read_manifest(site.paths, 2)
    assert left.rejected == "not confirmed: the daemon was started anew before that"
    assert left.unconfirmed
    trace = site.trace()
    assert served_id(site) == 1
    assert site.trace() == trace, "and that is done once"


def test_one_that_was_being_taken_back_at_a_crash_is_named_all_the_same(site: Site) -> None:
    change(site, RACK, proven=True)
    site.write(MOVED)
    sync(site.paths, Request(confirm_within=60), Daemon())
    generations.make_current(site.paths, 1)
    assert served_id(site) == 1
    assert generations.read_manifest(site.paths, 2).rejected


def test_a_change_to_be_confirmed_is_served_where_nothing_else_is_left(site: Site) -> None:
    change(site, RACK, proven=True)
    site.write(MOVED)
    sync(site.paths, Request(confirm_within=60), Daemon())
    harm(site, 1, "boot.json", b"")
    assert served_id(site) == 2


def test_none_where_none_can_be_read(site: Site) -> None:
    change(site, RACK, proven=True)
    harm(site, 1, "boot.json", b"")
    assert generation_to_serve(site.paths)[0] is None

"""What a child is started on where the disk has lost some of what is served: without children."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.daemon import footing as module
from appliance.daemon import signals as s
from appliance.daemon.adopt import adopted_generation, settle
from appliance.daemon.children import Children
from appliance.daemon.follow import LogFollower
from appliance.daemon.footing import Footing, damage
from appliance.daemon.running import Running
from appliance.daemon.served import Served
from appliance.daemon.stand_in import clear
from appliance.dnsmasq.correlate import Correlator
from appliance.errors import SurroundingsError
from appliance.sync import confirm, generations
from appliance.sync.run import Request, sync
from tests.unit.sync.rooms import MOVED, RACK, Daemon, Site

PXE = "dhcp:pxe"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two proven generations."""
    site = Site(tmp_path)
    for inventory in (RACK, MOVED):
        site.write(inventory)
        sync(site.paths, Request(), Daemon())
    Path(site.paths.run).mkdir(parents=True, exist_ok=True)
    return site


def served(site: Site, number: int = 2) -> Served:
    adopted = adopted_generation(site.paths, number)
    assert adopted is not None
    return adopted.served


def file(site: Site, path: str = "network/pxe/hosts", number: int = 2) -> Path:
    return generations.generation_directory(site.paths, number) / path


# ---- what is damage ----


def test_what_is_whole_is_read_where_it_is(site: Site) -> None:
    footing = Footing(site.paths)
    assert footing.under(PXE, served(site)) == site.paths.current
    assert footing.under("tftp", served(site)) == site.paths.current
    assert (footing.stands_in, footing.lost, footing.problems) == (None, "", ())


def test_another_childs_damage_is_not_this_ones(site: Site) -> None:
    now = served(site)
    file(site).write_bytes(b"")
    assert damage(site.paths, None, "tftp", now) == ""
    assert damage(site.paths, None, PXE, now) == "network/pxe/hosts is not what sync wrote any more"


def test_while_a_change_is_on_its_way_nothing_is_damaged(site: Site) -> None:
    """Between the change on disk and its adoption, a child that starts reads what it will be told of."""
    before = served(site, 1)
    assert generations.current_id(site.paths) == 2
    assert damage(site.paths, None, PXE, before) == ""
    assert damage(site.paths, 2, PXE, before) == ""
    assert damage(site.paths, None, PXE, Served.nothing()) == ""


def test_a_link_that_is_none_is_damage(site: Site) -> None:
    now, link = served(site), Path(site.paths.current)
    link.unlink()
    assert damage(site.paths, None, PXE, now) == "the link to it is missing"
    link.mkdir()
    assert "is not the link that sync makes" in damage(site.paths, None, PXE, now)


def test_a_disk_that_hangs_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(module, "holds", lambda *_: over.wait(60))
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    footing = Footing(site.paths)
    try:
        place = footing.under(PXE, served(site))
    finally:
        over.set()
    assert Path(place / "network/pxe/hosts").read_bytes() == file(site).read_bytes()
    assert "the disk does not answer" in footing.lost


# ---- what stands in ----


def test_a_copy_of_what_is_served_stands_in(site: Site) -> None:
    now, hosts = served(site), file(site).read_bytes()
    shutil.rmtree(generations.generation_directory(site.paths, 2))
    footing = Footing(site.paths)
    place = footing.under(PXE, now)
    assert place == site.paths.run / "instead-2"
    assert Path(place / "network/pxe/hosts").read_bytes() == hosts
    conf = Path(place / "network/pxe/dnsmasq.conf").read_text()
    assert f"{place}/network/pxe/hosts" in conf
    assert f"{site.paths.current}/" not in conf
    (problem,) = footing.problems
    assert (problem["id"], problem["fix"]) == ("generation", "pxe-appliance sync")
    assert "generation 2 is served from a copy in memory: network/pxe/" in problem["message"]
    clear(site.paths)  # the copy is looked at as well
    assert Path(footing.under(PXE, now) / "network/pxe/hosts").read_bytes() == hosts, (
        "the copy is looked at too"
    )


def test_once_it_is_whole_again_nothing_is_said_of_it(site: Site) -> None:
    now = served(site)
    file(site).unlink()
    footing = Footing(site.paths)
    footing.under(PXE, now)
    assert settle(site.paths, 2, now.files)
    footing.stands_in = None
    assert footing.problems == ()
    assert footing.under(PXE, now) == site.paths.current
    footing.stands_in = 2  # for another reason: the disk is full
    assert footing.problems == ()


def test_without_room_for_a_copy_nobody_is_started_on_what_is_damaged(site: Site) -> None:
    now = served(site)
    file(site).write_bytes(b"")
    shutil.rmtree(site.paths.run)
    Path(site.paths.run).write_bytes(b"")
    with pytest.raises(SurroundingsError):
        Footing(site.paths).under(PXE, now)


# ---- what is written anew ----


@pytest.mark.parametrize("path", ["network/pxe/hosts", "network/pxe/dnsmasq.conf", "tftp/dnsmasq.conf"])
def test_what_was_lost_is_written_anew(site: Site, path: str) -> None:
    now, trace = served(site), site.trace()
    file(site, path).unlink()
    assert settle(site.paths, 2, now.files)
    assert site.trace() == trace


def test_a_link_that_is_gone_is_made_anew_and_gives_up_no_change_that_waits(site: Site) -> None:
    site.write(RACK)
    sync(site.paths, Request(confirm_within=60), Daemon())
    now = served(site, 3)
    Path(site.paths.current).unlink()
    assert settle(site.paths, 3, now.files)
    assert confirm.waiting(site.paths) is not None


@pytest.mark.parametrize("path", ["manifest.json", "inventory.json"])
def test_what_nobody_has_in_memory_is_left_to_a_sync(site: Site, path: str) -> None:
    now = served(site)
    file(site, path).write_bytes(b"{")
    file(site).write_bytes(b"")
    assert not settle(site.paths, 2, now.files)


def test_what_the_manifest_does_not_know_is_not_written(site: Site) -> None:
    file(site).write_bytes(b"")
    assert not settle(site.paths, 2, served(site, 1).files)
    assert file(site).read_bytes() == b""


# ---- what runs ----


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Stands where a dnsmasq does; SIGHUP ends it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_nobody_reads_again_what_is_damaged(site: Site, process: subprocess.Popen[bytes]) -> None:
    told: list[s.Signal] = []
    children, now = Children(site.paths, told.append), served(site)
    log = site.root / "log"
    child = Running(process, LogFollower(log), Correlator("pxe", children._lookup), log)
    children._running[PXE] = child
    hosts = file(site).read_bytes()
    file(site).write_bytes(b"")
    children.reload(PXE, now)
    assert told == [s.RestartChild(PXE)]
    assert process.poll() is None
    file(site).write_bytes(hosts)
    children.reload(PXE, replace(now, proven=True))
    assert process.wait(10) < 0, "it was told"
    assert told == [s.RestartChild(PXE)]

"""A disk that takes nothing any more, or hangs, keeps nobody from being served what was proven."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.system.files import exclusive_lock
from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment, run
from tests.netns.test_confirm import NEW, OLD, address, begin, listed, move, problem, status, until_old
from tests.netns.wire import Client, wait_until

pytestmark = pytest.mark.netns


@pytest.fixture
def state(appliance: Appliance) -> Iterator[Path]:
    """The state directory, a disk of its own with room for few names."""
    place = appliance.root / "var/lib/pxe-appliance"
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "nr_inodes=300", "tmpfs", str(place))
    yield place
    if appliance.process is not None:
        appliance.stop(signal.SIGKILL)
    run("umount", "-l", str(place))


@pytest.fixture
def client(appliance: Appliance, state: Path, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves; node1 has moved in the inventory alone."""
    appliance.serve()
    move(appliance)
    return client_on(segment.links[0])


def fill(state: Path) -> list[Path]:
    """Leave no room for another name; what takes it."""
    taken: list[Path] = []
    while True:
        path = state / f"filler{len(taken)}"
        try:
            path.touch()
        except OSError:
            return taken
        taken.append(path)


def free(taken: list[Path]) -> None:
    for path in taken:
        path.unlink()


def test_at_the_deadline_the_wire_goes_back_and_the_disk_follows(
    appliance: Appliance, client: Client, state: Path
) -> None:
    begin(appliance, "6s")
    assert address(client) == NEW
    taken = fill(state)
    until_old(client, 30)
    wait_until(lambda: "copy in memory" in problem(appliance), "what it says of it")
    assert status(appliance)["generation"]["id"] == 1
    assert status(appliance)["pending"] is None
    assert appliance.run("sync", "--yes", rc=5).stderr
    assert address(client) == OLD
    free(taken)
    wait_until(lambda: (state / "current").readlink() == Path("generations/1"), "the disk", 40)
    assert (2, False, True, False) in listed(appliance)
    appliance.run("sync", "--yes", timeout=90)
    assert address(client) == NEW
    assert status(appliance)["problems"] == []
    appliance.edit(f'ip = "{NEW}"', 'ip = "172.0.1.72"')  # a reload, of the files on disk
    appliance.run("sync", "--yes", timeout=90)
    assert address(client) == "172.0.1.72"


def test_a_start_on_a_disk_that_takes_nothing_serves_what_was_proven(
    appliance: Appliance, client: Client, state: Path
) -> None:
    begin(appliance, "1h")
    appliance.stop(signal.SIGKILL)
    taken = fill(state)
    appliance.serve()
    assert address(client) == OLD
    assert (state / "current").readlink() == Path("generations/2")
    assert "copy in memory" in problem(appliance)
    run("kill", "-KILL", *map(str, children(appliance)))  # they come back with the same
    until_old(client)
    free(taken)
    wait_until(lambda: (state / "current").readlink() == Path("generations/1"), "the disk", 40)
    appliance.run("sync", "--yes", timeout=90)
    assert address(client) == NEW


def test_a_lock_that_is_held_on_keeps_nobody_from_being_served(
    appliance: Appliance, client: Client, state: Path
) -> None:
    begin(appliance, "5s")
    lock = appliance.root / "run/pxe-appliance/lock"
    with exclusive_lock(lock):
        until_old(client, 40)  # the deadline
        appliance.stop(signal.SIGKILL)
        appliance.serve(wait=False)
        wait_until(lambda: says(appliance, "copy in memory"), "a start", 40)
        assert address(client) == OLD
    wait_until(lambda: (state / "current").readlink() == Path("generations/1"), "the disk", 40)


def says(appliance: Appliance, words: str) -> bool:
    """Whether `status` does, once there is somebody to ask."""
    return words in appliance.run("status", rc=None).stdout


def children(appliance: Appliance) -> list[int]:
    pid = appliance.daemon_pid()
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_change_that_waits_is_served_where_nothing_proven_is_intact(
    appliance: Appliance, client: Client, state: Path
) -> None:
    begin(appliance, "1h")
    appliance.stop(signal.SIGKILL)
    (state / "generations/1/boot.json").write_bytes(b"")
    appliance.serve(wait=False)
    wait_until(lambda: says(appliance, "none that was proven is intact"), "it to say so")
    assert address(client) == NEW
    appliance.stop(signal.SIGKILL)
    appliance.serve(wait=False)
    wait_until(lambda: says(appliance, "none that was proven is intact"), "it to say so again")
    assert appliance.run("confirm").stdout == "Generation 2 is confirmed and kept.\n"
    assert status(appliance)["problems"] == []
    assert address(client) == NEW


def test_where_the_one_before_is_damaged_meanwhile_a_sync_decides(
    appliance: Appliance, client: Client, state: Path
) -> None:
    begin(appliance, "5s")
    (state / "generations/1/boot.json").write_bytes(b"")
    wait_until(lambda: "cannot be taken back" in problem(appliance), "the deadline")
    appliance.edit(f'ip = "{NEW}"', 'ip = "172.0.1.72"')
    appliance.run("sync", "--yes")
    assert address(client) == "172.0.1.72"
    assert status(appliance)["problems"] == []


# ---- a disk that hangs ----


@pytest.fixture
def disk(appliance: Appliance, tmp_path: Path) -> Iterator[Path]:
    """The state directory, a disk of its own that can be made to hang: whoever writes waits."""
    image, place = tmp_path / "disk.img", appliance.root / "var/lib/pxe-appliance"
    image.touch()
    os.truncate(image, 64 << 20)
    run("mkfs.ext4", "-q", str(image))
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", "loop", str(image), str(place))
    yield place
    subprocess.run(["fsfreeze", "-u", str(place)], capture_output=True, check=False)
    if appliance.process is not None:
        appliance.stop(signal.SIGKILL)
    run("umount", "-l", str(place))


@pytest.fixture
def asking(appliance: Appliance, disk: Path, segment: Segment, client_on: ClientMaker) -> Client:
    """As `client`, on the disk that can hang."""
    appliance.serve()
    move(appliance)
    return client_on(segment.links[0])


def settled(appliance: Appliance, disk: Path, client: Client) -> None:
    """The disk answers again: the one before is what is current there, and a sync brings the change."""
    run("fsfreeze", "-u", str(disk))
    wait_until(lambda: (disk / "current").readlink() == Path("generations/1"), "the disk", 60)
    wait_until(lambda: (2, False, True, False) in listed(appliance), "what became of the change", 60)
    until_old(client, 60)  # dnsmasq is started anew on it

    def synced() -> bool:
        return appliance.run("sync", "--yes", rc=None, timeout=90).rc == 0

    wait_until(synced, "a sync", 90)
    assert address(client) == NEW
    assert status(appliance)["problems"] == []


def test_a_disk_that_hangs_at_the_deadline_keeps_no_change_on_the_wire(
    appliance: Appliance, asking: Client, disk: Path, figures: Figures
) -> None:
    begin(appliance, "5s")
    began = time.monotonic()
    run("fsfreeze", "-f", str(disk))
    until_old(asking, 60)
    took = time.monotonic() - began - 5
    figures.tell("confirm", "deadline to the old reservation, the disk hangs", f"{took:.1f} s", "< 10 s")
    wait_until(lambda: "copy in memory" in problem(appliance), "what it says of it", 30)
    assert f"the disk does not answer: {disk}" in problem(appliance)
    assert status(appliance)["pending"] is None
    assert "the disk does not answer" in appliance.run("sync", "--yes", rc=5).stderr
    assert address(asking) == OLD
    settled(appliance, disk, asking)


def test_nor_do_those_who_read_the_history_meanwhile(
    appliance: Appliance, asking: Client, disk: Path
) -> None:
    """They wait for a write that hangs, and once held every thread that the way back needs."""
    begin(appliance, "5s")
    run("fsfreeze", "-f", str(disk))
    argv = appliance.argv("events", "-n", "5")
    readers = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(8)]
    try:
        until_old(asking, 60)
        for reader in readers:
            reader.wait(60)
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    settled(appliance, disk, asking)


def test_a_confirmation_that_a_disk_takes_too_late_is_none(
    appliance: Appliance, asking: Client, disk: Path
) -> None:
    begin(appliance, "20s")
    run("fsfreeze", "-f", str(disk))
    assert "the disk does not answer" in appliance.run("confirm", rc=5).stderr
    assert address(asking) == NEW
    until_old(asking, 60)
    settled(appliance, disk, asking)


def test_a_disk_that_hangs_as_a_person_takes_it_back(
    appliance: Appliance, asking: Client, disk: Path
) -> None:
    begin(appliance, "20s")
    run("fsfreeze", "-f", str(disk))
    assert "the disk does not answer" in appliance.run("rollback", "--yes", rc=5).stderr
    until_old(asking, 60)
    settled(appliance, disk, asking)

"""A push into a data directory: whole files, whoever reads and whatever is cut off, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import SurroundingsError
from appliance.matchbox.external import Report, hand_over
from appliance.matchbox.model import Boot, Group, MachineBoot, Profile
from appliance.matchbox.parse import parse_group, parse_profile
from appliance.matchbox.push_directory import DirectoryTarget, text_of
from appliance.matchbox.push_plan import diff, objects_of
from appliance.paths import Paths
from appliance.settings import MatchboxSettings, Push
from tests.fakes.matchbox_grpc import Matchbox, matchbox
from tests.fakes.matchbox_wire import Store
from tests.fakes.steps import call_to_step
from tests.push.rooms import Keys, by_directory, by_grpc, tree, written
from tests.push.test_grpc import FOREIGN, NODE1, NODE2, fine
from tests.unit.matchbox.machines import document, machine


@pytest.fixture
def service(data: Path) -> Iterator[Matchbox]:
    """A Matchbox without gRPC."""
    with matchbox(data) as running:
        yield running


def push(data: Path, *machines: MachineBoot) -> None:
    """The push alone, which raises."""
    target = DirectoryTarget(data)
    wanted = objects_of(machines)
    plan = diff(wanted, target.find(wanted))
    for put in plan.puts:
        target.put(put)
    for delete in plan.deletions:
        target.delete(delete)


def test_a_rack_is_pushed_answered_and_taken_back(service: Matchbox, tmp_path: Path) -> None:
    before = written(service.data, FOREIGN)
    side = by_directory(tmp_path, service.url, service.data)
    assert len(fine(side.hand_over(NODE1, NODE2)).written) == 6
    assert service.calls()["/ignition"] == 1
    report = fine(side.hand_over(NODE2))
    assert [name.partition(" ")[0] for name in report.deleted] == ["group", "group", "profile", "ignition"]
    fine(side.hand_over())
    assert tree(service.data) == before


def test_both_ways_write_the_same_files(keys: Keys, tmp_path: Path) -> None:
    """Byte for byte, and neither finds anything to change in what the other wrote."""
    metadata = {"b": "x", "a": {"z": 1.5, "y": [True]}}
    odd = machine("node3", boot=Boot("/k", (), ("a=<&>", "ü")), metadata=metadata)
    machines = (NODE1, NODE2, odd, machine("node4", boot=Boot()))
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "groups").mkdir(parents=True)
    with matchbox(two, keys.authority, keys.server) as service:
        grpc_side = by_grpc(tmp_path / "root", keys, service)
        fine(grpc_side.hand_over(*machines))
        fine(by_directory(tmp_path, service.url, two).hand_over(*machines))
        push(one, *machines)
        assert tree(one) == tree(two)
        assert fine(by_directory(tmp_path, service.url, two).hand_over(*machines)).written == ()
        shutil.rmtree(two)
        shutil.copytree(one, two)
        service.forget()
        assert fine(grpc_side.hand_over(*machines)).written == ()
    assert all(oct(path.stat().st_mode)[-3:] == "644" for path in one.rglob("*") if path.is_file())


def test_files_are_what_matchbox_would_have_written() -> None:
    group = Group("i", "p", {"mac": "52:54:00:aa:00:01"}, {"b": "<x>", "a": 1}, "")
    assert text_of(group).decode() == (
        '{\n\t"id": "i",\n\t"profile": "p",\n\t"selector": {\n\t\t"mac": "52:54:00:aa:00:01"\n\t},\n'
        '\t"metadata": {\n\t\t"a": 1,\n\t\t"b": "\\u003cx\\u003e"\n\t}\n}'
    )
    profile = Profile("i", "n", Boot("/k", ("a", "b"), ()), "x.ign")
    assert text_of(profile).decode() == (
        '{\n\t"id": "i",\n\t"name": "n",\n\t"ignition_id": "x.ign",\n\t"boot": {\n\t\t"kernel": "/k",\n'
        '\t\t"initrd": [\n\t\t\t"a",\n\t\t\t"b"\n\t\t]\n\t}\n}'
    )
    assert json.loads(text_of(Profile("i"))) == {"id": "i"}
    for value in (Profile("i"), Profile("i", boot=Boot()), profile):
        assert parse_profile(text_of(value)) == value
    assert parse_group(text_of(group), "") == group


def hammered(data: Path, change: Callable[[int], None], rounds: int) -> tuple[list[str], set[int]]:
    """What readers find torn while files change, and the sizes that they saw."""
    files = [path for path in data.rglob("*") if path.is_file()]
    stop = threading.Event()
    torn: list[str] = []
    sizes: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            for path in files:
                try:
                    content = path.read_bytes()
                    sizes.add(len(content))
                    json.loads(content)
                except (OSError, ValueError) as error:
                    torn.append(f"{path.name}: {error}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(rounds):
        change(number)
        if torn:
            break
    stop.set()
    for reader in readers:
        reader.join()
    return torn, sizes


def test_no_reader_ever_sees_half_a_file(data: Path) -> None:
    """What Matchbox's own way of writing, in place, does not survive under the same readers."""
    small, large = (
        machine("node1", ignition=document(content="x" * n), boot=Boot("/k" * n)) for n in (1, 9000)
    )
    push(data, small)
    torn, sizes = hammered(data, lambda number: push(data, small if number % 2 else large), 60)
    assert torn == []
    assert len(sizes) >= 5, "files were seen as they were and as they became"
    place = ("profiles", "pxe-appliance-node1.json")
    profile = data.joinpath(*place).read_bytes()
    torn, _ = hammered(data, lambda _: Store(data).write(profile, *place), 20_000)
    assert torn, "the readers would have seen it"


def test_a_push_that_is_killed_anywhere_leaves_whole_files_and_is_finished(tmp_path: Path) -> None:
    """From one rack to another: new, changed and gone machines."""
    before = (machine("node1", ignition=document(content="old")), machine("node2", ignition=document()))
    after = (machine("node1", ignition=document(content="new")), machine("node3", ignition=document()))
    start, goal = tmp_path / "start", tmp_path / "goal"
    for folder, machines in ((start, before), (goal, after)):
        written(folder, FOREIGN)
        push(folder, *machines)

    def work() -> int:
        push(tmp_path / "data", *after)
        return 0

    step = 1
    while True:
        data = tmp_path / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(start, data)
        ended = call_to_step(work, data, step)
        check_whole(data)
        push(data, *after)
        assert tree(data) == tree(goal), f"after {ended.calls[-1:]}"
        if not ended.killed:
            break
        step += 1
    assert step > 20, "there were steps to be killed at"


def check_whole(data: Path) -> None:
    """Every file that Matchbox would read is whole, and no group of ours leads to what is not there."""
    for path in (data / "groups").glob("pxe-*.json"):
        if "odd" in path.name:
            continue
        name = json.loads(path.read_bytes())["profile"]
        profile = json.loads((data / "profiles" / f"{name}.json").read_bytes())
        json.loads((data / "ignition" / profile["ignition_id"]).read_bytes())
    for name, content in FOREIGN:
        assert (data / name).read_bytes() == content


@pytest.mark.parametrize(
    ("file", "left"),
    [
        ("groups/pxe-appliance-node1.json", 5),
        ("profiles/pxe-appliance-node1.json", 3),
        ("ignition/pxe-appliance-node1.ign", 2),
    ],
)
@pytest.mark.parametrize("kind", ["text", "fifo", "folder", "link"])
def test_whatever_stands_at_our_name_is_left_there(
    service: Matchbox, tmp_path: Path, file: str, left: int, kind: str
) -> None:
    path = service.data / file
    path.parent.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("{}")
    match kind:
        case "text":
            path.write_text('{"id": "mine", "profile": "x"}')
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(elsewhere)
    before = path.lstat()
    report = by_directory(tmp_path, service.url, service.data).hand_over(NODE1, NODE2)
    assert [conflict.partition(" ")[0] for conflict in report.conflicts] == [file]
    assert len(report.written) == left
    assert path.lstat() == before
    assert elsewhere.read_text() == "{}"


def report_of(data: Path, url: str) -> Report:
    settings = MatchboxSettings(url, data=str(data), push=Push.DIRECTORY)
    return asyncio.run(hand_over(settings, Paths(PurePosixPath("/nowhere")), [NODE2]))


def test_a_share_that_is_not_mounted_is_not_written_into(service: Matchbox, tmp_path: Path) -> None:
    empty = tmp_path / "mount"
    missing = report_of(empty, service.url).failure
    assert missing.startswith(f"cannot push to {empty}: there is no such directory (mount")
    empty.mkdir()
    said = report_of(empty, service.url).failure
    assert said.startswith(f"cannot push to {empty}: none of Matchbox's folders (groups, profiles, ...) is")
    assert list(empty.iterdir()) == []
    (empty / "groups").mkdir()
    assert report_of(empty, service.url).failure == ""


def test_a_relative_directory_is_ours(service: Matchbox, tmp_path: Path) -> None:
    data = tmp_path / "etc/pxe-appliance/box"
    (data / "groups").mkdir(parents=True)
    by_directory(tmp_path, service.url, Path("box")).hand_over(NODE2)
    assert (data / "groups/pxe-appliance-node2.json").exists()


def test_what_a_killed_write_left_is_swept_up(data: Path) -> None:
    push(data, NODE2)
    left = data / "groups/.pxe-appliance-node2.json.4711.tmp"
    theirs = data / "groups/.somebody.json.4711.tmp"
    for path in (left, theirs):
        path.write_text("{")
    push(data, NODE2)
    assert (left.exists(), theirs.exists()) == (False, True)


def test_a_disk_that_fails_is_said(data: Path) -> None:
    push(data, NODE2)
    shutil.rmtree(data / "profiles")
    (data / "profiles").write_text("a file")
    with pytest.raises(SurroundingsError, match=r"profiles.*Not a directory"):
        push(data, NODE2)

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path

import pytest

from appliance.matchbox.model import Boot, Group, Profile
from appliance.matchbox.snapshot import (
    Raw,
    Snapshot,
    Unusable,
    default_group_hazard,
    install_hazards,
)
from appliance.matchbox.store import MAX_JSON, DataDirectory, follow
from appliance.matchbox.template_parse import Template

IGNITION = '{"ignition":{"version":"3.3.0"}}'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for folder in ("groups", "profiles", "ignition", "generic", "cloud"):
        (root / folder).mkdir(parents=True)
    put(root, "profiles/worker.json", {"id": "worker", "boot": {"kernel": "k"}, "ignition_id": "w.ign"})
    put(root, "groups/node1.json", {"profile": "worker", "selector": {"mac": "52:54:00:aa:00:01"}})
    put(root, "ignition/w.ign", IGNITION)
    return root


def put(root: Path, file: str, content: object) -> None:
    """Replace by rename, as a careful program does."""
    text = content if isinstance(content, str) else json.dumps(content)
    path = root / file
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def rewrite(root: Path, file: str, content: str) -> None:
    """Write in place, as Matchbox's own API and many editors do."""
    (root / file).write_text(content, "utf-8")


def messages(snapshot: Snapshot) -> list[str]:
    return [str(problem) for problem in snapshot.problems]


def test_reads_what_groups_name_and_nothing_else(data: Path) -> None:
    put(data, "ignition/unnamed.ign", "broken")
    snapshot = DataDirectory(data).refresh()
    assert [group.file for group in snapshot.groups] == ["groups/node1.json"]
    assert snapshot.documents == {"ignition/w.ign": Raw(IGNITION.encode())}
    assert not snapshot.problems


def test_the_same_object_until_something_changes(data: Path) -> None:
    directory = DataDirectory(data)
    first = directory.refresh()
    assert directory.refresh() is first
    put(data, "groups/node2.json", {"profile": "worker", "selector": {"mac": "52:54:00:aa:00:02"}})
    second = directory.refresh()
    assert len(second.groups) == 2
    (data / "groups/node1.json").unlink()
    assert [group.file for group in directory.refresh().groups] == ["groups/node2.json"]


def test_a_file_rewritten_in_place_must_look_the_same_for_a_while(data: Path) -> None:
    directory = DataDirectory(data)
    before = directory.refresh()
    rewrite(data, "groups/node1.json", '{"profile":"worker","selector":{"mac":"52:54:00:aa:00:09"}}')
    started = time.monotonic()
    assert directory.refresh() is before
    while (after := directory.refresh()) is before:
        assert time.monotonic() < started + 10
    assert time.monotonic() > started + 0.4
    assert after.groups[0].selector == {"mac": "52:54:00:aa:00:09"}


def test_a_file_that_is_put_anew_is_never_gone_between(data: Path) -> None:
    """Editors rename the old file away and write another; for a moment there is none."""
    directory = DataDirectory(data)
    before = directory.refresh()
    file, moved = data / "groups/node1.json", data / "groups/node1.json~"
    back_at: list[float] = []

    def put_back() -> None:
        moved.replace(file)
        back_at.append(time.monotonic())

    for _ in range(20):
        file.replace(moved)
        gone_at = time.monotonic()
        timer = threading.Timer(0.005, put_back)
        timer.start()
        during = directory.refresh()
        timer.join()
        if back_at[-1] < gone_at + 0.02:  # this thread was not kept waiting itself
            assert during is before
            return
    pytest.fail("the machine is too busy to look between")


@pytest.mark.parametrize("half", ["", '{"profile":"wor', '{"profile":"worker"} x'])
def test_a_half_written_group_keeps_its_version_before(data: Path, half: str) -> None:
    directory = DataDirectory(data)
    before = directory.refresh()
    put(data, "groups/node1.json", half)
    after = directory.refresh()
    assert after.groups == before.groups
    assert "stays in force" in messages(after)[0]
    assert directory.refresh() is after, "said once, not at every look"
    put(data, "groups/node1.json", {"profile": "worker", "selector": {"mac": "52:54:00:aa:00:07"}})
    assert not directory.refresh().problems


def test_a_broken_ignition_keeps_its_version_before_and_is_never_empty(data: Path) -> None:
    directory = DataDirectory(data)
    directory.refresh()
    put(data, "ignition/w.ign", '{"ignition":{"vers')
    after = directory.refresh()
    assert after.documents["ignition/w.ign"] == Raw(IGNITION.encode())
    fresh = DataDirectory(data).refresh()
    assert isinstance(fresh.documents["ignition/w.ign"], Unusable)
    assert "ignition/w.ign:1" in messages(fresh)[0]


def test_invalid_groups_are_left_out_and_named_once(data: Path) -> None:
    put(data, "groups/bad.json", '{"id": }')
    put(data, "groups/mac.json", {"selector": {"mac": "zz"}})
    (data / "groups/sub.json").mkdir()
    put(data, "groups/readme.txt", "hello")
    directory = DataDirectory(data)
    snapshot = directory.refresh()
    assert len(snapshot.groups) == 1
    assert [problem.file for problem in snapshot.problems] == [
        "groups/bad.json",
        "groups/mac.json",
        "groups/sub.json",
    ]
    assert directory.refresh() is snapshot


def test_missing_references_are_named(data: Path) -> None:
    put(data, "groups/a.json", {"profile": "nope", "selector": {"a": "1"}})
    put(data, "groups/b.json", {"profile": "half", "selector": {"b": "1"}})
    put(
        data,
        "profiles/half.json",
        {"id": "half", "generic_id": "nope.tmpl", "ignition_id": "../../etc/passwd"},
    )
    text = "\n".join(messages(DataDirectory(data).refresh()))
    assert "groups/a.json: profile: profiles/nope.json does not exist" in text
    assert "profiles/half.json: generic_id: generic/nope.tmpl does not exist" in text
    assert "profiles/half.json: ignition_id: ignition/../../etc/passwd does not exist" in text


def test_references_may_leave_their_folder_but_not_the_root(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.ign").write_text(IGNITION)
    put(
        data, "outside.json", {"id": "o", "ignition_id": "../generic/g.ign", "generic_id": "../../secret.ign"}
    )
    put(data, "generic/g.ign", IGNITION)
    put(data, "groups/a.json", {"profile": "../outside", "selector": {"a": "1"}})
    snapshot = DataDirectory(data).refresh()
    assert snapshot.documents.keys() == {"ignition/w.ign", "ignition/../generic/g.ign"}


def test_links_may_not_leave_the_root(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"profile":"worker"}')
    (data / "groups/link.json").symlink_to(tmp_path / "secret.json")
    (data / "groups/inside.json").symlink_to("node1.json")
    os.mkfifo(data / "groups/fifo.json")
    snapshot = DataDirectory(data).refresh()
    assert [group.file for group in snapshot.groups] == ["groups/inside.json", "groups/node1.json"]
    text = "\n".join(messages(snapshot))
    assert "groups/link.json: a symbolic link leads out" in text
    assert "groups/fifo.json: it is neither a regular file" in text
    assert "groups/node1.json: selector: the same selector as groups/inside.json" in text


def test_large_files_are_refused(data: Path) -> None:
    put(data, "groups/large.json", {"profile": "x" * MAX_JSON})
    assert "larger than" in messages(DataDirectory(data).refresh())[0]


def test_templates_are_parsed_when_they_are_read(data: Path) -> None:
    put(data, "profiles/worker.json", {"id": "w", "generic_id": "a.tmpl", "cloud_id": "b.yaml"})
    put(data, "generic/a.tmpl", "x {{.y}}")
    put(data, "cloud/b.yaml", "#cloud-config\n{{if}}")
    snapshot = DataDirectory(data).refresh()
    assert isinstance(snapshot.documents["generic/a.tmpl"], Template)
    assert messages(snapshot) == ["cloud/b.yaml:2: missing value for if"]


def test_no_directory_is_an_empty_one(tmp_path: Path) -> None:
    assert DataDirectory(tmp_path / "nothing").refresh() == Snapshot()


@pytest.mark.parametrize(
    ("selector", "kernel", "hazard"),
    [
        ({}, "k", True),
        ({"serial": ""}, "k", True),
        ({"mac": "52:54:00:aa:00:02"}, "k", False),
        ({}, "", False),
    ],
)
def test_a_default_group_that_boots_something_is_a_hazard(
    data: Path, selector: dict[str, str], kernel: str, hazard: bool
) -> None:
    put(data, "profiles/d.json", {"id": "d", "boot": {"kernel": kernel}})
    put(data, "groups/default.json", {"profile": "d", "selector": selector})
    found = default_group_hazard(DataDirectory(data).refresh())
    assert bool(found) is hazard
    if found:
        assert "groups/default.json" in found


def test_follow_hands_over_each_new_snapshot(data: Path) -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        arrived = asyncio.Event()

        def use(snapshot: Snapshot) -> None:
            seen.append(len(snapshot.groups))
            arrived.set()

        task = asyncio.create_task(follow(DataDirectory(data), use, interval=0.01))
        async with asyncio.timeout(10):
            await arrived.wait()
            arrived.clear()
            put(data, "groups/node2.json", {"profile": "worker", "selector": {"a": "1"}})
            await arrived.wait()
        task.cancel()
        return seen

    assert asyncio.run(main()) == [1, 2]


@pytest.mark.parametrize(
    ("profile", "selector", "hazard"),
    [
        (Profile("flatcar-install", boot=Boot("k")), {}, True),
        (Profile("p", "Reinstall everything", Boot("k")), {}, True),
        (Profile("p", boot=Boot("k", args=("coreos.inst.install_dev=/dev/sda",))), {"os": ""}, True),
        (Profile("rescue", boot=Boot("k", args=("console=ttyS0",))), {}, False),
        (Profile("preinstalled-check", boot=Boot("k")), {}, False),
        (Profile("install"), {}, False),
        (Profile("install", boot=Boot("k")), {"mac": "52:54:00:aa:00:01"}, False),
    ],
)
def test_an_installer_for_everybody_is_an_error(
    profile: Profile, selector: dict[str, str], hazard: bool
) -> None:
    group = Group("g", "p", selector, file="groups/g.json")
    found = install_hazards(Snapshot.of([group], {"p": profile}, {}))
    assert [p.file for p in found] == (["groups/g.json"] if hazard else [])
    assert all(p.hint for p in found)

"""A push by gRPC to a running Matchbox: what is called, what is left alone, what happens when it fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.matchbox.external import Report, hand_over
from appliance.matchbox.model import Boot, MachineBoot
from tests.fakes.matchbox_grpc import Matchbox, matchbox
from tests.push.rooms import Keys, by_grpc, tree, written
from tests.unit.matchbox.machines import document, machine

DEADLINE = 20.0
NODE1 = machine("node1", "52:54:00:aa:00:01", "52:54:00:aa:00:11", ignition=document())
NODE2 = machine("node2")
FOREIGN = [
    ("groups/default.json", b'{"id": "default", "profile": "install"}'),
    ("groups/broken.json", b"{"),
    ("groups/pxe-appliance-odd.json", b'{"id": "pxe-appliance-odd", "profile": "x"}'),
    ("profiles/install.json", b'{"id": "install", "ignition_id": "install.ign"}'),
    ("profiles/mine.json", b'{"id": "mine", "name": "managed by pxe-appliance"}'),
    ("ignition/install.ign", document("3.3.0")),
    ("ignition/pxe-appliance-odd.ign", b"{}"),
    ("generic/x", b"x"),
]


@pytest.fixture
def service(data: Path, keys: Keys) -> Iterator[Matchbox]:
    """A Matchbox that speaks gRPC."""
    with matchbox(data, keys.authority, keys.server) as running:
        yield running


def fine(report: Report) -> Report:
    assert report.problems() == ()
    assert report.reachable
    return report


def writes(service: Matchbox) -> dict[str, int]:
    return {call: n for call, n in service.calls().items() if call.endswith(("Put", "Delete"))}


def test_a_rack_is_pushed_and_answered(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    report = fine(side.hand_over(NODE1, NODE2))
    assert sorted(report.written) == [
        "group pxe-appliance-node1",
        "group pxe-appliance-node1-2",
        "group pxe-appliance-node2",
        "ignition pxe-appliance-node1.ign",
        "profile pxe-appliance-node1",
        "profile pxe-appliance-node2",
    ]
    kinds = [line.partition("Put")[0] for line in service.order()]
    assert kinds == ["Ignition", "Profile", "Profile", "Group", "Group", "Group"]
    assert service.calls()["/ipxe"] == 2
    assert service.calls()["/ignition"] == 1
    group = json.loads((service.data / "groups/pxe-appliance-node1.json").read_bytes())
    assert group == {
        "id": "pxe-appliance-node1",
        "name": "node1",
        "profile": "pxe-appliance-node1",
        "selector": {"mac": "52:54:00:aa:00:01"},
        "metadata": {"managed_by": "pxe-appliance", "rack": "r1"},
    }
    profile = json.loads((service.data / "profiles/pxe-appliance-node1.json").read_bytes())
    assert profile["ignition_id"] == "pxe-appliance-node1.ign"
    assert profile["boot"]["args"] == ["initrd=i.gz", "a=1"]


def test_what_is_there_already_is_not_written_again(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    fine(side.hand_over(NODE1, NODE2))
    service.forget()
    assert fine(side.hand_over(NODE1, NODE2)).written == ()
    assert writes(service) == {}
    assert service.calls()["GroupGet"] == service.calls()["ProfileGet"] == 0, "the lists say it all"
    changed = machine("node1", *(mac.text for mac in NODE1.macs), ignition=document(content="x"))
    report = fine(side.hand_over(changed, machine("node2", boot=Boot("/k", (), ("new",)))))
    assert writes(service) == {"IgnitionPut": 1, "ProfilePut": 1}
    assert sorted(report.written) == ["ignition pxe-appliance-node1.ign", "profile pxe-appliance-node2"]


def test_what_is_not_ours_is_never_touched(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    before = written(service.data, FOREIGN)
    side = by_grpc(tmp_path / "root", keys, service)
    fine(side.hand_over(NODE1, NODE2))
    fine(side.hand_over(NODE2))
    assert sorted(service.order()[-4:]) == [
        "GroupDelete pxe-appliance-node1",
        "GroupDelete pxe-appliance-node1-2",
        "IgnitionDelete pxe-appliance-node1.ign",
        "ProfileDelete pxe-appliance-node1",
    ]
    assert [line.partition("Delete")[0] for line in service.order()[-2:]] == ["Profile", "Ignition"]
    fine(side.hand_over())
    assert tree(service.data) == before


@pytest.mark.parametrize(
    ("file", "content", "left"),
    [
        ("groups/pxe-appliance-node1.json", b'{"id": "other", "profile": "x"}', 5),
        ("groups/pxe-appliance-node1.json", b"{", 5),
        ("profiles/pxe-appliance-node1.json", b'{"id": "other"}', 3),
        ("profiles/pxe-appliance-node1.json", b"{", 3),
        ("ignition/pxe-appliance-node1.ign", b"mine", 2),
    ],
)
def test_a_foreign_file_at_our_name_is_named(
    service: Matchbox, keys: Keys, tmp_path: Path, file: str, content: bytes, left: int
) -> None:
    """Also one that no list shows: its text is of another id, or cannot be read."""
    written(service.data, [(file, content)])
    report = by_grpc(tmp_path / "root", keys, service).hand_over(NODE1, NODE2)
    assert report.conflicts == (
        f"{file} is there and is not ours: node1 is not pushed; rename or delete that file there",
    )
    assert (service.data / file).read_bytes() == content
    assert len(report.written) == left
    assert report.conflicts[0] in report.problems()


def test_a_push_that_died_is_finished_by_the_next(data: Path, keys: Keys, tmp_path: Path) -> None:
    machines = [machine(f"node{n}", ignition=document(content=str(n))) for n in range(1, 5)]
    with matchbox(data, keys.authority, keys.server) as service:
        side = by_grpc(tmp_path / "root", keys, service)
        service.faults(die_after=6)
        report = side.hand_over(*machines)
        assert "cannot push to Matchbox at localhost" in report.failure
        assert "the connection failed" in report.failure
        assert len(report.written) in {5, 6}  # the last answer may be lost with its server
        assert not report.reachable
    with matchbox(data, keys.authority, keys.server) as service:
        side = by_grpc(tmp_path / "again", keys, service)
        report = fine(side.hand_over(*machines))
        assert len(report.written) == 6
        assert writes(service) == {"ProfilePut": 2, "GroupPut": 4}
        # It had got as far as the profiles when another document became necessary.
        assert side.hand_over().deleted


def test_a_document_of_a_push_that_died_is_known_again(data: Path, keys: Keys, tmp_path: Path) -> None:
    with matchbox(data, keys.authority, keys.server) as service:
        service.faults(die_after=1)
        assert by_grpc(tmp_path / "root", keys, service).hand_over(NODE1).failure
    assert [path.name for path in (data / "ignition").iterdir()] == ["pxe-appliance-node1.ign"]
    changed = machine("node1", ignition=document(content="changed"))
    with matchbox(data, keys.authority, keys.server) as service:
        fine(by_grpc(tmp_path / "again", keys, service).hand_over(changed))


def test_what_matchbox_says_is_told(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    service.faults(refuse=["GroupPut"])
    report = side.hand_over(NODE2)
    assert report.failure.startswith(
        f"Matchbox at {service.grpc} did not take group pxe-appliance-node2: open "
    )
    assert "permission denied" in report.failure
    assert report.written == ("profile pxe-appliance-node2",)
    service.faults(refuse=["GroupList"])
    assert "cannot list its groups" in side.hand_over(NODE2).failure


def test_a_document_that_is_too_large_for_grpc_is_said(service: Matchbox, keys: Keys, tmp_path: Path) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    report = side.hand_over(machine(ignition=document(content="x" * (5 << 20))))
    assert "it is too large" in report.failure
    assert "4 MiB" in report.failure


def test_a_machine_that_cannot_be_pushed_is_named_and_the_others_are(
    service: Matchbox, keys: Keys, tmp_path: Path
) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    report = side.hand_over(machine("node1", ignition=document("3.5.0")), NODE2)
    assert report.problems() == (
        (
            "node1 is not pushed: its Ignition is of version '3.5.0', which Matchbox 0.10 and later answer "
            "with an empty configuration: 3.0.0 to 3.4.0 can be pushed"
        ),
        "Matchbox has no group or profile for node1 (52:54:00:aa:00:01)",
    )
    assert len(report.written) == 2


def test_a_matchbox_that_takes_for_ever_holds_nothing_up(
    service: Matchbox, keys: Keys, tmp_path: Path
) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    service.faults(delay=0.5)
    began = time.monotonic()
    report = side.hand_over(*(machine(f"node{n}") for n in range(1, 200)), within=1.0)
    assert time.monotonic() - began < DEADLINE
    assert report.failure == "the push is not done yet (the next one goes on from there)"


def test_a_push_that_is_cancelled_ends_before_the_next_begins(
    service: Matchbox, keys: Keys, tmp_path: Path
) -> None:
    side = by_grpc(tmp_path / "root", keys, service)
    service.faults(delay=0.2)
    machines = [machine(f"node{n}") for n in range(1, 60)]

    async def main() -> int:
        task = asyncio.create_task(hand_over(side.settings, side.paths, machines))
        limit = time.monotonic() + DEADLINE
        while not writes(service):
            assert time.monotonic() < limit
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(service.log())

    seen = asyncio.run(main())
    assert 0 < sum(writes(service).values()) < 59
    service.faults()
    fine(side.hand_over(NODE2))
    lists = [json.loads(line)["call"] for line in service.log()[seen : seen + 2]]
    assert lists == ["GroupList", "ProfileList"], "nothing of the old one came after its end"


def test_ten_thousand_machines_are_listed_in_one_message(
    service: Matchbox, keys: Keys, tmp_path: Path
) -> None:
    """More than the 4 MiB that gRPC takes unless told otherwise."""
    filler = "x" * 2000
    for folder in ("groups", "profiles"):
        written(
            service.data,
            (
                (f"{folder}/f{n}.json", json.dumps({"id": f"f{n}", "name": filler, "profile": "x"}).encode())
                for n in range(3000)
            ),
        )
    fine(by_grpc(tmp_path / "root", keys, service).hand_over(NODE2))


def test_machines_without_a_profile_are_left_to_their_own_groups(
    service: Matchbox, keys: Keys, tmp_path: Path
) -> None:
    written(service.data, FOREIGN)
    bare = MachineBoot("node7", machine("node7").macs)
    report = by_grpc(tmp_path / "root", keys, service).hand_over(bare)
    assert report.written == ()
    assert report.problems() == ("Matchbox has no group or profile for node7 (52:54:00:aa:00:07)",)


def test_nobody_else_pays_for_grpc() -> None:
    """Neither a command, nor the daemon, nor a hand-off that needs none."""
    script = (
        "import sys; import appliance.cli.main, appliance.daemon.run, appliance.daemon.handoff;"
        "import appliance.matchbox.external;"
        "found = [name for name in sys.modules if name.split('.')[0] in ('grpc', 'google')];"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

"""The image store for real: a signed release boots, the next one after `images use`, then the first again.

It needs what `test_lab` needs, and like it never skips.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from appliance.lab import premises
from appliance.lab.premises import Premises
from tests.e2e.test_lab import PREMISES, PROGRAM, lab, left_of

FIRST, SECOND = "flatcar/stable@4593.2.5", "flatcar/stable@4593.2.6"
FILES = {
    "kernel": "flatcar_production_pxe.vmlinuz",
    "initrd": "flatcar_production_pxe_image.cpio.gz",
}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


@dataclass(frozen=True)
class KeptLab:
    """The appliance of a lab that was kept, as its operator reaches it."""

    number: int

    def asked(self, *words: str) -> str:
        """What one of its commands prints."""
        inside = ["ip", "netns", "exec", f"pxelab-{self.number}-srv"]
        command = [*inside, str(PROGRAM), "--root", str(PREMISES / str(self.number) / "root"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def events(self) -> list[Mapping[str, object]]:
        """Everything that happened, oldest first."""
        return [json.loads(line) for line in self.asked("events", "-o", "json", "-n", "10000").splitlines()]


def boots(events: Sequence[Mapping[str, object]]) -> list[tuple[object, ...]]:
    """Machine, release, kernel, initrd and last words of each boot that was gone through."""
    found: list[tuple[object, ...]] = []
    seen: dict[object, dict[object, Mapping[str, str]]] = {}
    for event in events:
        detail = event["detail"]
        assert isinstance(detail, dict)
        machine = seen.setdefault(event["machine"], {})
        machine[event["event"]] = detail
        if event["event"] == "done":
            paths = (machine[kind]["path"] for kind in FILES)
            found.append((event["machine"], machine["script"]["image"], *paths, detail["message"]))
            machine.clear()
    return found


def boot_of(machine: str, address: str, version: str) -> tuple[str, ...]:
    """A boot as it should be."""
    paths = (f"/assets/flatcar/stable/{version}/{name}" for name in FILES.values())
    words = f"{machine} has {address} and its own Ignition, from release {version}"
    return machine, f"flatcar/stable@{version}", *paths, words


def test_a_release_boots_a_machine_the_next_one_after_use_and_a_rollback_brings_it_back() -> None:
    with lab("--image", "--keep") as process:
        kept = KeptLab(process.pid)
        try:
            said, _ = process.communicate(timeout=400)
            assert process.returncode == 0, said
            check_what_was_said(said)
            assert boots(kept.events()) == [
                boot_of("node1", "172.0.1.11", "4593.2.5"),
                boot_of("node2", "172.0.1.12", "4593.2.6"),
                boot_of("node2", "172.0.1.12", "4593.2.5"),
            ]
            check_the_store(kept)
        finally:
            premises.remove(Premises(process.pid))
    assert left_of(process.pid) == []


def check_what_was_said(said: str) -> None:
    """The orders in their order, and each boot's verdict after its order."""
    why = "script, kernel, initrd and what runs on it say so"
    expected = [
        "$ pxe-appliance images fetch flatcar/stable",
        f"{FIRST} is in the store, proven and pinned; it is current.",
        f"powering on node1, to boot {FIRST}",
        "ok     node1: went through every rung",
        "ok     node1's second NIC: got nothing, and the events say so",
        f"ok     node1: booted {FIRST}: {why}",
        "$ pxe-appliance images fetch flatcar/stable",
        f"{SECOND} is in the store, proven and pinned; current is 4593.2.5.",
        f"$ pxe-appliance images use {SECOND}",
        f"powering on node2, to boot {SECOND}",
        "ok     node2: went through every rung",
        f"ok     node2: booted {SECOND}: {why}",
        "$ pxe-appliance images rollback flatcar/stable",
        f"powering on node2, to boot {FIRST}",
        "ok     node2: went through every rung",
        f"ok     node2: booted {FIRST}: {why}",
        "ok     the appliance: changed releases without a restart of anything",
    ]
    left = iter(said.splitlines())
    for line in expected:
        assert any(there.strip().startswith(line) for there in left), f"no {line!r} in its place in:\n{said}"
    assert "FAILED" not in said


def check_the_store(kept: KeptLab) -> None:
    """Both releases are there, by one signer, the first one current; the mirror goes on with the kept lab."""
    rows = json.loads(kept.asked("images", "-o", "json"))
    assert {(row["version"], row["current"], row["pinned"]) for row in rows} == {
        ("4593.2.5", True, True),
        ("4593.2.6", False, True),
    }
    assert len({row["signer"] for row in rows}) == 1
    assert SECOND in kept.asked("images", "fetch", "flatcar/stable")

"""Files, first stages, fetches, the daemon, leases, sources: each both ways."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any, Final

import pytest

from appliance.addresses import Hostname, Mac
from appliance.boot.firmware import BY_ARCH, Chosen, Missing, Selection
from appliance.doctor.boot_files import Shelf, is_signed, judge_boot_files
from appliance.doctor.catalogue import CHECKS
from appliance.doctor.daemon import DaemonFacts, judge_daemon
from appliance.doctor.fetching import Fetched, Taken, judge_fetching
from appliance.doctor.files import Entry, judge_files
from appliance.doctor.finding import Finding, Verdict, fine, merged, wrong
from appliance.doctor.leases import judge_leases
from appliance.doctor.sources import Current, Written, judge_current, judge_written
from appliance.errors import Problem
from appliance.inventory.model import Inventory, Machine
from tests.unit.doctor.rooms import bad, verdicts

OURS: Final = (990, 990)
NODE: Final = Machine(
    Hostname.parse("node1"),
    Hostname.parse("node1"),
    (Mac.parse("525400aa0001"),),
    IPv4Address("172.0.1.21"),
    "pxe",
)
LAB: Final = Inventory((NODE,))
RACK: Final = Entry("/etc/rack.toml", "etc", "file", 0o644, 0, 0)
# What systemd hands over: the daemon's user reads it nowhere else.
SECRET: Final = Entry("/etc/pxe-appliance/secrets.d/hook", "etc", "file", 0o600, 0, 0, True, reachable=False)
HISTORY: Final = Entry("/var/history.db", "state", "file", 0o640, 990, 990, secret=True)
STAGE: Final = Entry("/var/tftp/undionly.kpxe", "tftp", "file", 0o644, 990, 990)
SOCKET: Final = Entry("/run/control.sock", "run", "socket", 0o660, 990, 990)


@pytest.mark.parametrize(
    ("entry", "change", "expected"),
    [
        (RACK, {}, {}),
        (RACK, {"mode": 0o666}, {"files-etc": "error"}),
        (RACK, {"mode": 0o600}, {"files-etc": "error"}),
        (RACK, {"mode": 0o640, "gid": 990}, {}),
        (RACK, {"uid": 990}, {"files-etc": "warning"}),
        (RACK, {"secret": True}, {"files-secrets": "error"}),
        (RACK, {"secret": True, "reachable": False}, {}),
        (SECRET, {}, {}),
        (SECRET, {"kind": "directory", "secret": False, "mode": 0o700}, {}),
        (SECRET, {"mode": 0o646}, {"files-etc": "error"}),
        (SECRET, {"path": "/etc/pxe-appliance/secrets.d/a:b"}, {"files-secrets": "error"}),
        (SECRET, {"path": "/etc/pxe-appliance/secrets.d/schlüssel"}, {"files-secrets": "error"}),
        (SECRET, {"path": "/etc/pxe-appliance/secrets.d/client key~1.pem"}, {}),
        (HISTORY, {}, {}),
        (HISTORY, {"mode": 0o644}, {"files-secrets": "error"}),
        (HISTORY, {"uid": 0}, {"files-state": "error"}),
        (HISTORY, {"mode": 0o642, "secret": False}, {"files-state": "error"}),
        (STAGE, {}, {}),
        (STAGE, {"kind": "link", "target": "/etc/shadow"}, {"files-tftp": "error"}),
        (STAGE, {"kind": "other"}, {"files-tftp": "error"}),
        (STAGE, {"mode": 0o000}, {"files-tftp": "error"}),
        (SOCKET, {}, {}),
        (SOCKET, {"mode": 0o666}, {"files-run": "error"}),
    ],
)
def test_owners_and_modes(entry: Entry, change: dict[str, Any], expected: dict[str, str]) -> None:
    assert bad(judge_files([replace(entry, **change)], OURS)) == expected


def test_before_the_first_start_there_is_no_state_to_judge() -> None:
    assert set(verdicts(judge_files([], None))) == {"files-etc", "files-run", "files-secrets"}


def selection(*missing: int) -> Selection:
    return Selection(
        MappingProxyType(
            {
                a: Chosen(c, f"{a}.efi", f"/x/{a}", "0" * 64, "1")
                for a, c in BY_ARCH.items()
                if a not in missing
            }
        ),
        MappingProxyType({a: Missing(BY_ARCH[a], f"no {a}", "apt install ipxe") for a in missing}),
    )


@pytest.mark.parametrize(
    ("missing", "expected"),
    [((), {}), ((6, 11, 19), {}), ((0,), {"boot-files": "error"}), ((16,), {"boot-files": "warning"}),
     ((7, 9), {"boot-files": "error"})],
)  # fmt: skip
def test_client_classes(missing: tuple[int, ...], expected: dict[str, str]) -> None:
    assert bad(judge_boot_files(Shelf(selection(*missing)), None)) == expected


def test_an_architecture_of_the_inventory_without_a_first_stage() -> None:
    arm = Inventory((replace(LAB.machines[0], arch="arm64"),))
    assert bad(judge_boot_files(Shelf(selection(11, 19)), arm)) == {"boot-arch": "error"}
    assert bad(judge_boot_files(Shelf(selection(6)), arm)) == {}


@pytest.mark.parametrize(
    ("published", "expected"),
    [({"a": "1", "b": "2"}, {}), ({"a": "1"}, {"boot-published": "error"}),
     ({"a": "1", "b": "3"}, {"boot-published": "error"})],
)  # fmt: skip
def test_what_is_published(published: dict[str, str], expected: dict[str, str]) -> None:
    assert bad(judge_boot_files(Shelf(selection(), published, {"a": "1", "b": "2"}), None)) == expected


def test_a_shim_wants_what_it_starts_to_be_signed() -> None:
    unsigned, signed = {"snponly.efi": False}, {"snponly.efi": True}
    shims = ("/var/tftp/shimx64.efi",)
    assert bad(judge_boot_files(Shelf(selection(), signed=unsigned), None)) == {}
    assert bad(judge_boot_files(Shelf(selection(), signed=signed, shims=shims), None)) == {}
    found = bad(judge_boot_files(Shelf(selection(), signed=unsigned, shims=shims), None))
    assert found == {"secure-boot": "warning"}


def test_a_signature_is_seen_in_a_pe_binary() -> None:
    def binary(offset: int, size: int) -> bytes:
        head = bytearray(400)
        head[:2] = b"MZ"
        struct.pack_into("<I", head, 0x3C, 64)
        head[64:68] = b"PE\0\0"
        struct.pack_into("<H", head, 64 + 24, 0x20B)
        struct.pack_into("<II", head, 64 + 24 + 112 + 32, offset, size)
        return bytes(head)

    assert is_signed(binary(4096, 1500))
    assert not is_signed(binary(0, 0))
    assert not is_signed(b"MZ")
    assert not is_signed(b"#!ipxe" * 100)


GOOD: Final = Fetched("tftp://x/a", b"stage")
TAKEN: Final = Taken("pxe0", (("a", GOOD),), (("a", GOOD),), Fetched("h", b"ok\n"), Fetched("s", b"#!ipxe\n"))
DIGESTS: Final = {"a": hashlib.sha256(b"stage").hexdigest()}
LATE: Final = Fetched("x", failure="no answer within 1.4 s")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"tftp": (("a", Fetched("x", b"stagf")),)}, {"tftp-fetch": "error"}),
        ({"tftp": (("a", Fetched("x", b"stag")),)}, {"tftp-fetch": "error"}),
        ({"tftp": (("a", LATE),)}, {"tftp-fetch": "error"}),
        ({"http": (("a", LATE),)}, {"http-fetch": "error"}),
        ({"health": LATE}, {"http-health": "error"}),
        ({"health": Fetched("h", None, 503, "status 503")}, {"http-health": "error"}),
        ({"script": Fetched("s", b"<html>")}, {"http-script": "error"}),
        ({"script": LATE}, {"http-script": "error"}),
    ],
)
def test_fetches(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert bad(judge_fetching([replace(TAKEN, **change)], DIGESTS)) == expected


STATUS: Final[dict[str, object]] = {
    "daemon": {"version": "1.0", "pid": 7},
    "dnsmasq": {"children": [{"name": "tftp", "state": "serving"}]},
    "rogue_servers": [],
    "problems": [],
}
RUNS: Final = DaemonFacts(True, 7, status=STATUS, ours="1.0")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (RUNS, {}),
        (DaemonFacts(False), {"daemon-running": "error"}),
        (DaemonFacts(None), {}),
        (DaemonFacts(True, 7, failure="timed out"), {"daemon-answers": "error"}),
        (DaemonFacts(True, 7, hidden=True), {}),
        (replace(RUNS, others=("pid 9: pxe-appliance serve",)), {"daemon-single": "error"}),
        (replace(RUNS, ours="1.1"), {"daemon-version": "warning"}),
        (replace(RUNS, status={**STATUS, "daemon": {}}), {"daemon-version": "warning"}),
        (replace(RUNS, status={**STATUS, "rogue_servers": ["172.0.1.6"]}), {"rogue-server": "error"}),
        (replace(RUNS, status={**STATUS, "rogue_servers": [{"ip": "1.2.3.4", "mac": "x"}]}),
         {"rogue-server": "error"}),
        (replace(RUNS, status={**STATUS, "dnsmasq": {"children": [{"name": "tftp", "state": "hung"}]}}),
         {"dnsmasq-children": "error"}),
        (replace(RUNS, status={**STATUS, "problems": [
            {"id": "log", "severity": "error", "message": "full", "fix": "df"},
            {"id": "interface", "severity": "error", "message": "down", "fix": "ip"},
            {"id": "images-damaged", "severity": "error", "message": "x", "fix": "y"}]}), {"log": "error"}),
    ],
)  # fmt: skip
def test_the_daemon(facts: DaemonFacts, expected: dict[str, str]) -> None:
    assert bad(judge_daemon(facts)) == expected


def test_what_hangs_on_a_daemon_that_does_not_run_is_not_tried() -> None:
    assert set(verdicts(judge_daemon(DaemonFacts(False)))) == {"daemon-single", "daemon-running"}


def test_leases_against_the_inventory() -> None:
    machine = LAB.machines[0]
    row = {"mac": str(machine.mac), "ip": str(machine.ip), "machine": str(machine.name)}
    assert bad(judge_leases([row], LAB)) == {}
    assert bad(judge_leases([{**row, "ip": "172.0.1.99"}], LAB)) == {"leases-moved": "warning"}
    assert bad(judge_leases([{**row, "mac": "52:54:00:99:99:99"}], LAB)) == {"leases-removed": "warning"}


PROBLEM: Final = Problem("/etc/a.toml", 3, "x", "is wrong", "mend it")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (Written(), {}),
        (Written(settings=(PROBLEM,)), {"settings": "error"}),
        (Written(inventory=(PROBLEM,)), {"inventory": "error"}),
        (Written(doubts=(PROBLEM,)), {"inventory-doubts": "warning"}),
    ],
)
def test_what_is_written(written: Written, expected: dict[str, str]) -> None:
    assert bad(judge_written(written)) == expected


PROVEN: Final = Current(3, "2026", proven=True, pending=())


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (PROVEN, {}),
        (Current(), {"generation": "error"}),
        (replace(PROVEN, damage="its digest differs"), {"generation": "error"}),
        (replace(PROVEN, proven=False), {"generation-proven": "warning"}),
        (replace(PROVEN, pending=("add machine n9",)), {"inventory-synced": "warning"}),
        (replace(PROVEN, pending=None, why_unknown="no boot files"), {"inventory-synced": "warning"}),
        (replace(PROVEN, pending=None), {}),
    ],
)
def test_what_is_served(current: Current, expected: dict[str, str]) -> None:
    assert bad(judge_current(current, daemon_runs=True)) == expected


def test_one_row_for_what_several_networks_have_well_and_one_for_each_that_is_wrong() -> None:
    rows = merged(
        [fine("a", "x is up", "1"), fine("a", "y is up", "2"), fine("b", "well"), wrong("b", "bad", "mend")]
    )
    assert rows == [
        Finding("a", Verdict.OK, "x is up; y is up", ("1", "2")),
        Finding("b", Verdict.ERROR, "bad", (), "mend"),
    ]


def test_ids_are_words_with_dashes_and_every_check_says_what_is_well() -> None:
    for check in CHECKS.values():
        assert check.id.replace("-", "").isalnum(), check
        assert check.id == check.id.lower()
        assert check.words

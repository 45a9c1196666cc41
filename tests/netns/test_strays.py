"""The ledger of strays on a real wire: who is on it, whose they may be, a flood, a restart."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment, run
from tests.netns.test_appliance import NODE1, NODE2, NODE3, OTHER_NIC, STRANGER, discover
from tests.netns.wire import Client, wait_until

pytestmark = pytest.mark.netns

UUID = "4c4c4544-0042-3510-8051-b4c04f4a3231"
NEW_BOARD, PRINTER = "3c:fd:fe:10:20:30", "00:1b:21:0a:0b:0c"
ROWS, SLACK = 4096, 512  # what the ledger promises


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    appliance.serve()
    return client_on(segment.links[0])


def with_uuid(mac: str, text: str) -> bytes:
    return discover(mac, arch=7, o97=b"\0" + uuid.UUID(text).bytes_le)  # SMBIOS's byte order, as on the wire


def strays(appliance: Appliance, *more: str) -> dict[str, Any]:
    return {row["mac"]: row for row in appliance.run("strays", "-o", "json", *more).json()}


def await_stray(appliance: Appliance, mac: str, **facts: object) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        row: dict[str, Any] | None = strays(appliance, "--all").get(mac)
        return row if row and all(row[key] == value for key, value in facts.items()) else None

    found = wait_until(there, f"stray {mac} with {facts}")
    assert found is not None
    return found


def test_everything_that_is_not_served_is_on_the_ledger_with_its_owner(
    appliance: Appliance, client: Client
) -> None:
    named = discover(STRANGER, arch=7, o12=b"<b>evil\x1b[31m")
    client.silence(named, known=discover(NODE1))
    client.silence(discover(OTHER_NIC), known=discover(NODE1))
    client.silence(discover(NODE3, arch=11), known=discover(NODE1))
    stranger = await_stray(appliance, STRANGER, reason_code="not-in-inventory")
    assert (stranger["arch"], stranger["network"], stranger["count"]) == ("x86-64 UEFI (7)", "pxe", 1)
    assert stranger["owner"] == "a virtual machine or container (QEMU or KVM)"
    other = await_stray(appliance, OTHER_NIC, machine="node1")
    assert other["owner"] == "eno2 of node1, on the PXE VLAN: its cable or switch port is wrong"
    refused = await_stray(appliance, NODE3, reason_code="no-boot-file")
    assert refused["owner"].startswith("node3 itself: no boot file")
    assert appliance.status()["strays"] == 3
    shown = appliance.run("strays").stdout
    assert "\x1b" not in shown
    assert other["owner"] in shown
    client.acquire(discover(NODE3))
    wait_until(lambda: NODE3 not in strays(appliance), "the machine that is served to leave")


def test_a_known_uuid_with_a_new_mac_and_a_mac_typed_wrong_are_brought_to_their_machines(
    appliance: Appliance, client: Client
) -> None:
    client.send(with_uuid(NODE1, UUID))
    appliance.await_event("offer", machine="node1")
    client.silence(with_uuid(NEW_BOARD, UUID), known=discover(NODE3))  # node1 is silent by now
    row = await_stray(appliance, NEW_BOARD, uuid=UUID)
    assert row["owner"].startswith("UUID of node1 with a new MAC: replaced board or NIC")
    assert f"if it is the same: pxe-appliance machine replace-mac node1 {NEW_BOARD}" in row["remedy"]
    assert row["remedy"] in appliance.run("strays", "show", NEW_BOARD).stdout
    typed = NODE2[:-2] + "17"
    client.silence(discover(typed), known=discover(NODE1))
    row = await_stray(appliance, typed, machine="node2")
    assert f"differs in one digit from {NODE2} of node2, which was never heard" in row["owner"]


def test_a_stranger_by_http_is_on_it_by_the_mac_behind_its_address(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    wire = segment.links[0]
    url = "http://172.0.1.1:8080/boot.ipxe"
    run("ip", "netns", "exec", wire.clients, "curl", "-s", "-m", "10", "-o", "/dev/null", url)
    facts = json.loads(run("ip", "-n", wire.clients, "-j", "link", "show", "dev", wire.client_device))
    row = await_stray(appliance, facts[0]["address"], reason_code="http-stranger")
    assert row["reason"] == "asked for /boot.ipxe by HTTP from 172.0.1.200, which is no machine's address"


def test_an_adopted_stray_leaves_at_once(appliance: Appliance, client: Client) -> None:
    client.silence(discover(PRINTER), known=discover(NODE1))
    await_stray(appliance, PRINTER)
    appliance.edit(NODE2, PRINTER)
    appliance.run("sync", "--yes")
    assert PRINTER not in strays(appliance)
    client.silence(discover(NODE2), known=discover(PRINTER))
    await_stray(appliance, NODE2)


def test_notes_and_rows_survive_a_restart_and_only_the_control_socket_takes_notes(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    for mac in (PRINTER, STRANGER):
        client.silence(discover(mac), known=discover(NODE1))
        await_stray(appliance, mac)
    said = appliance.run("strays", "ignore", PRINTER.replace(":", "-").upper(), "--note", "the printer")
    assert said.stdout.startswith(f"{PRINTER} is ignored: the printer.")
    appliance.process.kill()  # type: ignore[union-attr]  # what was acknowledged is on disk
    appliance.process.wait(10)  # type: ignore[union-attr]
    appliance.serve()
    row = await_stray(appliance, PRINTER, ignored="the printer")
    assert row["count"] == 1
    assert PRINTER not in strays(appliance)
    assert appliance.status()["strays"] == len(strays(appliance))
    await_stray(appliance, STRANGER)
    client.silence(discover(PRINTER), known=discover(NODE1))
    await_stray(appliance, PRINTER, count=2, ignored="the printer")
    unknown = appliance.run("strays", "ignore", PRINTER[:-2] + "0d", rc=4)
    assert f"did you mean {PRINTER}?" in unknown.stderr
    url = f"http://172.0.1.1:8080/v1/strays/{PRINTER}"
    wire = segment.links[0]

    def curl(*argv: str) -> str:
        inner = ("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", *argv)
        return run("ip", "netns", "exec", wire.server, *inner)

    assert curl(url) == "200"
    assert curl("-X", "POST", f"{url}/unignore") in {"404", "405"}
    assert strays(appliance, "--all")[PRINTER]["ignored"] == "the printer"
    assert appliance.run("strays", "unignore", PRINTER).stdout == f"{PRINTER} is counted again.\n"
    assert strays(appliance)[PRINTER]["ignored"] is None


def test_a_flood_is_bounded_told_and_throws_out_nobody_who_matters(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    for _ in range(2):
        client.silence(discover(STRANGER), known=discover(NODE1))
    client.silence(discover(OTHER_NIC), known=discover(NODE1))
    client.silence(discover(PRINTER), known=discover(NODE1))
    await_stray(appliance, STRANGER, count=2)
    appliance.run("strays", "ignore", PRINTER, "--note", "the printer")
    before = _memory(appliance)
    rng = random.Random(7)
    sent = 0

    def heard() -> int:
        return len(strays(appliance, "--all"))

    while heard() < ROWS - SLACK:  # a burst is larger than dnsmasq's socket buffer: send until enough came
        for _ in range(2000):
            client.send(discover(f"02:{':'.join(f'{rng.getrandbits(8):02x}' for _ in range(5))}"))
        sent += 2000
        client.drain()
        wait_until(lambda: client.ask(discover(NODE1), seconds=1), "the known machine's offer", 30)
        assert sent < 100_000
    for _ in range(10_000):
        client.send(discover(f"02:{':'.join(f'{rng.getrandbits(8):02x}' for _ in range(5))}"))
    client.drain()
    wait_until(lambda: client.ask(discover(NODE1), seconds=1), "the known machine's offer", 30)
    began = appliance.await_event("stray-flood")
    assert began["detail"]["what"] == "begun"
    assert int(began["detail"]["macs"]) >= 256
    (problem,) = [p for p in appliance.status()["problems"] if p["id"] == "stray-flood"]
    assert "new MACs since" in problem["message"]
    rows = strays(appliance, "--all")
    assert len(rows) <= ROWS + SLACK
    assert {STRANGER, OTHER_NIC, PRINTER} <= set(rows)
    assert rows[PRINTER]["ignored"] == "the printer"
    assert not [e for e in appliance.events("offer", "ack") if e["machine"] is None]
    assert _memory(appliance) - before < 80, "MiB; the ledger has its few, the rest are events on their way"


def _memory(appliance: Appliance) -> float:
    """The daemon's resident memory in MiB."""
    facts = Path(f"/proc/{appliance.daemon_pid()}/status").read_text().splitlines()
    (line,) = [line for line in facts if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024

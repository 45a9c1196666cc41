"""A stranger becomes a machine, a board is replaced, a machine goes: by the commands, on the wire."""

from __future__ import annotations

import pytest

from tests.netns.appliance import INVENTORY, Appliance
from tests.netns.conftest import ClientMaker, Segment
from tests.netns.wire import ACK, OFFER, Packet, pxe_options, wait_until

pytestmark = pytest.mark.netns

NODE1, NODE2, NEW_BOARD = "52:54:00:aa:00:01", "52:54:00:aa:00:11", "02:54:00:bb:00:77"
STRANGER, NEXT = "02:54:00:ff:ff:01", "172.0.1.24"
UUID = bytes.fromhex("6f1c2a9e7b3d4c5d8e9f0a1b2c3d4e5f")


def discover(mac: str, uuid: bytes | None = None) -> bytes:
    options = pxe_options(0) | ({97: b"\0" + uuid} if uuid else {})
    return Packet(mac, options=options).payload()


def rack(appliance: Appliance) -> str:
    return (appliance.root / "etc/pxe-appliance/inventory.d/rack.toml").read_text()


def test_a_stranger_is_adopted_and_served(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    client = client_on(segment.links[0])
    client.silence(discover(STRANGER), known=discover(NODE1))
    appliance.await_event("stray", mac=STRANGER)
    said = appliance.run("strays", "adopt", STRANGER, "--name", "node4", "--profile", "lab")
    assert said.stderr == ""
    assert f"+ machine node4: {STRANGER} at {NEXT}, profile lab" in said.stdout
    assert rack(appliance) == (
        f'{INVENTORY}\n[machine.node4]\nmac = "{STRANGER}"\nip = "{NEXT}"\nprofile = "lab"\n'
    )
    client.silence(discover(STRANGER), known=discover(NODE1))  # it is written, not yet applied
    assert "active" in appliance.run("sync", "--yes").stdout
    offer, ack = client.acquire(discover(STRANGER))
    assert (offer.kind, offer.yiaddr, ack.kind, ack.yiaddr) == (OFFER, NEXT, ACK, NEXT)
    again = appliance.run("strays", "adopt", STRANGER, "--name", "node5", rc=3)
    assert f"{STRANGER} is a NIC of node4 already" in again.stderr


def test_an_address_that_is_leased_is_not_given_to_another(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.run("machine", "add", "node4", "--mac", STRANGER)
    appliance.serve()
    client = client_on(segment.links[0])
    assert client.acquire(discover(STRANGER))[1].yiaddr == NEXT
    appliance.await_event("ack", machine="node4")
    appliance.run("machine", "remove", "node4")
    assert rack(appliance) == INVENTORY
    appliance.run("machine", "add", "node5", "--mac", NEW_BOARD)
    assert 'ip = "172.0.1.25"' in rack(appliance)


def test_a_machine_with_a_new_board_is_known_by_its_uuid(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    client = client_on(segment.links[0])
    assert client.acquire(discover(NODE2, UUID))[1].yiaddr == "172.0.1.22"
    client.silence(discover(NEW_BOARD, UUID), known=discover(NODE1))
    appliance.await_event("stray", mac=NEW_BOARD)

    def owner() -> bool:
        rows = appliance.run("strays", "-o", "json").json()
        return any(row["mac"] == NEW_BOARD and row["machine"] == "node2" for row in rows)

    wait_until(owner, "the ledger to know whose UUID it is")
    refused = appliance.run("strays", "adopt", NEW_BOARD, "--name", "node4", rc=4)
    assert f"pxe-appliance machine replace-mac node2 {NEW_BOARD}" in refused.stderr
    assert rack(appliance) == INVENTORY
    assert "node4" in appliance.run("strays", "adopt", NEW_BOARD, "--name", "node4", "--anyway").stdout


def test_a_board_is_replaced_and_a_machine_removed_at_once(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    client = client_on(segment.links[0])
    assert client.acquire(discover(NODE2))[1].yiaddr == "172.0.1.22"
    said = appliance.run("machine", "replace-mac", "node2", NEW_BOARD.upper(), "--sync", "--yes")
    assert "is current" in said.stdout
    assert rack(appliance) == INVENTORY.replace(NODE2, NEW_BOARD)
    assert client.acquire(discover(NEW_BOARD))[1].yiaddr == "172.0.1.22"
    client.silence(discover(NODE2), known=discover(NODE1))
    appliance.run("machine", "remove", "node2", "--sync", "--yes")
    client.silence(discover(NEW_BOARD), known=discover(NODE1))
    assert [g["why"] for g in appliance.run("generations", "-o", "json").json()][-2:] == [
        "machine replace-mac node2", "machine remove node2",
    ]  # fmt: skip

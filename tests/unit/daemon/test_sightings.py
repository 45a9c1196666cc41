"""What machines say of themselves, and what of it does not fit the inventory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from immutables import Map

from appliance.boot.events import Event, EventKind
from appliance.daemon.known import Now, State
from appliance.daemon.served import Served
from appliance.daemon.sightings import Sighting, after_event, after_uuid, doubts, uuid_of, uuids
from appliance.daemon.signals import ClientHeard, Happened, SaveSighting
from appliance.daemon.state import step
from appliance.inventory.model import Inventory
from appliance.settings import Relayed
from tests.unit.daemon.rooms import AT, MAC, PXE, event, served

UUID = "0f0e0d0c-0b0a-0908-0706-050403020100"
OTHER = "1f0e0d0c-0b0a-0908-0706-050403020100"


def script(machine: str | None = "node1", **detail: str) -> Event:
    return replace(event(EventKind.SCRIPT, detail=detail), machine=machine)


def rack(port: str = "", vlan: int | None = None, uuid: str | None = None) -> Served:
    now = served()
    machines = tuple(
        replace(m, port=port, uuid=uuid) if m.name.text == "node1" else m for m in now.inventory.machines
    )
    networks = {**now.settings.networks, "pxe": replace(PXE, vlan=vlan)}
    return Served.of(replace(now.settings, networks=networks), Inventory(machines, now.inventory.profiles))


def test_a_boot_script_tells_switch_port_vlan_and_uuid() -> None:
    seen = after_event(
        Map(), script(uuid=UUID.upper(), switch="sw1", port="Ethernet1/3", vlan="0x64"), rack()
    )
    assert seen["node1"] == Sighting(UUID, "sw1", "Ethernet1/3", "", 100, AT)
    assert seen["node1"].place == "sw1 Ethernet1/3"


def test_what_is_not_said_again_stays_known() -> None:
    seen = after_event(Map(), script(uuid=UUID, switch="sw1", port="e3"), rack())
    assert after_event(seen, script(), rack()) is seen, "iPXE 1.x knows no LLDP"
    assert after_event(seen, script(uuid="0" * 8), rack()) is seen


def test_a_vlan_in_decimal() -> None:
    assert after_event(Map(), script(port="e3", vlan="100"), rack())["node1"].vlan == 100


@pytest.mark.parametrize("vlan", ["", "0", "0x", "0xfff", "4095", "99999999", "-1", "x", "１２"])
def test_a_vlan_that_is_none(vlan: str) -> None:
    seen = after_event(Map(), script(switch="sw1", port="e3", vlan=vlan), rack())
    assert seen["node1"].vlan is None


@pytest.mark.parametrize("name", [None, "nobody"])
def test_nobodys_words_are_nobodys(name: str | None) -> None:
    assert after_event(Map(), script(name, uuid=UUID), rack()) == Map()


def test_a_script_asked_for_in_anothers_name_says_nothing_of_it() -> None:
    assert after_event(Map(), script(uuid=UUID, claims="node2"), rack()) == Map()


@pytest.mark.parametrize("text", ["", "x", "0" * 36, "00000000-0000-0000-0000-000000000000", "f" * 36,
                                  "ffffffff-ffff-ffff-ffff-ffffffffffff", UUID + "\n1"])  # fmt: skip
def test_a_uuid_that_says_nothing(text: str) -> None:
    assert uuid_of(text) == ""


def test_a_uuid_from_dhcp() -> None:
    seen = after_uuid(Map(), "node1", UUID.upper())
    assert seen["node1"].uuid == UUID
    assert after_uuid(seen, "node1", UUID) is seen
    assert uuids(seen, rack()) == {"node1": UUID}
    assert uuids(seen, rack(uuid=OTHER)) == {"node1": OTHER}, "the inventory's word comes first"


def test_it_is_kept_as_it_is() -> None:
    for seen in (Sighting(), Sighting(UUID, "sw1", "e3", "", 100, AT)):
        assert Sighting.from_json(seen.as_json()) == seen


@pytest.mark.parametrize("raw", [None, [], {}, {"uuid": 1}, {**Sighting().as_json(), "vlan": "x"},
                                 {**Sighting().as_json(), "at": "yesterday"}])  # fmt: skip
def test_a_kept_one_that_cannot_be_read(raw: object) -> None:
    with pytest.raises(ValueError):
        Sighting.from_json(raw)


def test_the_decider_learns_and_keeps() -> None:
    state, commands = step(State(served=served()), ClientHeard("pxe", MAC, UUID), Now(AT, 1.0))
    assert commands == [SaveSighting("node1", Sighting(UUID))]
    state, commands = step(state, Happened(script(switch="sw1", port="e3")), Now(AT, 2.0))
    assert SaveSighting("node1", Sighting(UUID, "sw1", "e3", "", None, AT)) in commands


def test_two_machines_at_one_port() -> None:
    seen = {
        "node1": Sighting("", "sw1", "e3", "", None, AT),
        "node2": Sighting("", "sw1", "e3", "", None, AT + timedelta(1)),
    }
    (doubt,) = doubts(seen, rack())
    assert doubt.id == "switch-port-shared"
    assert doubt.message.startswith("node2 reports sw1 e3, where node1")
    assert not doubts({**seen, "node2": Sighting("", "sw2", "e3", "", None, AT)}, rack())


@pytest.mark.parametrize(("written", "fits"), [
    ("sw1 Ethernet1/3", True), ("sw1 eth1/3", True), ("sw1 1/3", True), ("rack 4, sw1 Ethernet 1/3", True),
    ("sw1 1/4", False), ("sw1 Ethernet1/30", False), ("sw1 11/3", False), ("sw1 1/3/3", False),
])  # fmt: skip
def test_a_port_that_is_written_otherwise(written: str, fits: bool) -> None:
    found = doubts({"node1": Sighting("", "sw1", "Ethernet1/3", "", None, AT)}, rack(port=written))
    assert [d.id for d in found] == ([] if fits else ["switch-port-moved"])


def test_two_switches_of_one_name_are_told_apart_by_their_chassis() -> None:
    one = Sighting("", "Switch", "Gi1/0/1", "02-00-00-00-00-01", None, AT)
    other = replace(one, chassis="02-00-00-00-00-02")
    assert not doubts({"node1": one, "node2": other}, rack())
    assert [d.id for d in doubts({"node1": one, "node2": one}, rack())] == ["switch-port-shared"]


def test_a_port_in_another_vlan() -> None:
    seen = {"node1": Sighting("", "sw1", "e3", "", 200, AT)}
    (doubt,) = doubts(seen, rack(vlan=100))
    assert doubt.id == "switch-port-vlan"
    assert "untagged VLAN is 200: pxe is VLAN 100" in doubt.message
    assert not doubts(seen, rack(vlan=200))
    assert not doubts(seen, rack())


def test_another_board() -> None:
    (doubt,) = doubts({"node1": Sighting(UUID)}, rack(uuid=OTHER))
    assert doubt.id == "board-changed"
    assert not doubts({"node1": Sighting(UUID)}, rack(uuid=UUID.upper()))


def test_behind_a_relay_the_vlan_is_that_of_the_relayed_subnet() -> None:
    """Or a healthy machine's switch port would be moved to another VLAN."""
    now = rack(vlan=10)
    behind = Relayed(IPv4Network("172.0.1.16/28"), IPv4Address("172.0.1.17"), 20)  # node1's address is in it
    networks = {**now.settings.networks, "pxe": replace(now.settings.networks["pxe"], relayed=(behind,))}
    now = replace(now, settings=replace(now.settings, networks=networks))
    for vlan, doubted in (("20", False), ("10", True)):
        seen = after_event(Map(), script(switch="sw1", port="e3", vlan=vlan), now)
        assert bool([d for d in doubts(seen, now) if d.id == "switch-port-vlan"]) == doubted

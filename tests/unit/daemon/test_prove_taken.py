"""A sync asks for an address in a name that it disturbs least, and fails when the address is not given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pytest
from immutables import Map

from appliance.boot.dhcp_packet import DhcpPacket, MessageType
from appliance.boot.firmware import CLASSES
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Given
from appliance.daemon.children import Children
from appliance.daemon.known import State
from appliance.daemon.leases import Lease
from appliance.daemon.proof import Answer, Silence
from appliance.daemon.prove_dhcp import Questions, Say
from appliance.daemon.prove_fetch import Fetcher
from appliance.daemon.prove_taken import candidates, taken
from appliance.daemon.prove_walk import Walker
from appliance.dnsmasq.hear import ClientPort
from appliance.errors import NotProven
from appliance.inventory.model import Machine
from appliance.paths import Paths
from tests.unit.daemon.rooms import AT, PXE, served
from tests.unit.dnsmasq.rooms import machine, network

NODES = tuple(machine(f"node{n}", f"52:54:00:aa:00:0{n}", f"172.0.1.2{n}") for n in range(1, 6))


def named(state: State, asked: set[str], at: float = 0.0, machines: tuple[Machine, ...] = NODES) -> list[str]:
    found = candidates(PXE, machines, state, asked, AT + timedelta(seconds=at))
    return [str(machine.name) for machine in found]


def lease(node: Machine, seconds: float = 3600) -> tuple[str, Lease]:
    until = AT + timedelta(seconds=seconds)
    return str(node.ip), Lease(node.ip, node.mac, str(node.name), "pxe", AT, until)


def heard(*names: str) -> Map[str, Ladder]:
    return Map({name: Ladder(last=AT) for name in names})


def test_one_that_was_offered_its_address_a_moment_ago_comes_first() -> None:
    assert named(State(), {"node4"}) == ["node4", "node1", "node2"]


def test_whoever_holds_a_lease_or_boots_comes_last() -> None:
    state = State(leases=Map([lease(NODES[0])]), ladders=heard("node2", "node3"))
    assert named(state, {"node1", "node2"}) == ["node4", "node5", "node1"]
    assert named(state, {"node2"}, machines=NODES[:3]) == ["node1", "node2", "node3"]


def test_what_is_over_counts_no_longer() -> None:
    state = State(leases=Map([lease(NODES[0], 100)]), ladders=heard("node1"))
    assert named(state, {"node1"}, at=99)[0] == "node2"
    assert named(state, {"node1"}, at=301)[0] == "node1"


def test_nobody_behind_a_relay_is_asked_for() -> None:
    wide = network(relayed=(("172.0.2.0/24", "172.0.2.1"),))
    far = replace(NODES[0], ip=machine("far1", "52:54:00:aa:00:05", "172.0.2.15").ip)
    assert candidates(wide, (far,), State(), {"node1"}, AT) == []
    assert candidates(wide, (far, NODES[1]), State(), {"node1"}, AT) == [NODES[1]]


# ---- what its answers mean ----


@dataclass(slots=True)
class Script(Questions):
    """A DHCP child whose answers are written down, one for each question."""

    answers: list[Answer | Silence] = field(default_factory=list)
    heard: list[DhcpPacket] = field(default_factory=list)

    async def ask(self, say: Say, *, elsewhere: bool = False) -> Answer | Silence:
        assert not elsewhere, "nobody behind a relay"
        self.heard.append(say(7))
        return self.answers.pop(0)


def offer(node: Machine, kind: MessageType = MessageType.OFFER) -> Answer:
    server = IPv4Address("172.0.1.1")
    return Answer(kind, node.ip, "undionly.kpxe", server, server)


def ack(node: Machine) -> Answer:
    return offer(node, MessageType.ACK)


NAK = Answer(MessageType.NAK, IPv4Address(0), message="wrong server-ID")
NOBODY = Silence(("no address available",), refused=True)


def asked(tmp_path: Path, *answers: Answer | Silence) -> tuple[str, list[DhcpPacket], set[str]]:
    """The evidence, what was asked, and whose address has to be given back. Node1 is asked for first."""
    stages = MappingProxyType({0: "undionly.kpxe"})
    state = State(served=replace(served((PXE,), NODES), first_stages=stages))
    children = Children(Paths(PurePosixPath(tmp_path)), lambda _: None)
    child = Script(PXE, children, ClientPort(PXE), frozenset(), answers=list(answers))

    def given(_: Machine) -> Given:
        pytest.fail("no script is asked for")

    walker = Walker(state.served, lambda: state, given, Fetcher(""), {"pxe": child}, {})
    told = asyncio.run(taken(walker, PXE, {"node1"}, CLASSES[0]))
    return told, child.heard, set(walker.acknowledged)


def test_an_offer_is_asked_for_and_has_to_be_given_back(tmp_path: Path) -> None:
    told, heard, acknowledged = asked(tmp_path, offer(NODES[0]), ack(NODES[0]))
    assert told == "node1 asked for its address and was given it"
    assert [packet.message_type for packet in heard] == [MessageType.DISCOVER, MessageType.REQUEST]
    assert heard[1].server_id == IPv4Address("172.0.1.1"), "whoever has offered it is asked"
    assert acknowledged == {"node1"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NAK, "asked for the address it was offered, and was refused: wrong server-ID"),
        (Silence(), "asked for the address that it was offered, and got no answer"),
        (ack(NODES[1]), "is offered 172.0.1.22, its reservation is 172.0.1.21"),
    ],
)
def test_what_is_offered_and_not_given_fails_the_change(
    tmp_path: Path, answer: Answer | Silence, why: str
) -> None:
    with pytest.raises(NotProven, match=rf"does not give node1 .* the 172\.0\.1\.21 that it offers: .*{why}"):
        asked(tmp_path, *[offer(NODES[0]), answer] * 2)


def test_a_moment_is_forgiven(tmp_path: Path) -> None:
    told, heard, _ = asked(tmp_path, offer(NODES[0]), NAK, offer(NODES[0]), ack(NODES[0]))
    assert told == "node1 asked for its address and was given it"
    assert len(heard) == 4


def test_what_anybody_on_the_wire_can_disable_proves_nothing_about_the_change(tmp_path: Path) -> None:
    told, _, acknowledged = asked(tmp_path, NOBODY, NOBODY, offer(NODES[1]), ack(NODES[1]))
    assert (told, acknowledged) == ("node2 asked for its address and was given it", {"node2"})
    assert asked(tmp_path, *[NOBODY] * 6)[0] == ""


def test_an_offer_that_is_not_made_any_more_fails_the_change(tmp_path: Path) -> None:
    with pytest.raises(NotProven, match="nothing answered"):
        asked(tmp_path, Silence(), Silence())

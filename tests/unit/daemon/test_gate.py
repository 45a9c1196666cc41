"""Who may open a connection: machines have their room, whatever strangers do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

import pytest
from aiohttp import web

from appliance.daemon.gate import (
    MOST,
    MOST_OF_STRANGERS,
    MOST_PER_PEER,
    MOST_PER_STRANGER,
    Admitted,
    Crowd,
    Open,
    Peer,
    admitted,
    peer_at,
)
from appliance.daemon.served import Served
from appliance.settings import Access, MatchboxSettings, NetworkMode
from tests.unit.daemon.rooms import MAC, PXE, rack, served
from tests.unit.dnsmasq.rooms import machine, network

NODE1, NODE2, HERE, STRANGER = "172.0.1.21", "172.0.1.22", "172.0.1.1", "172.0.1.200"
OWN_NIC, LAPTOP = "52:54:00:bb:00:01", "02:de:ad:be:ef:01"


def at(address: str, mac: str | None = None, now: Served | None = None) -> Peer:
    """Whoever is at an address, with a NIC that the kernel may know."""
    return peer_at(address, now or served(), lambda _, __: mac)


def crowd_of(strangers: int, each: int) -> Open:
    return count({at(f"172.0.1.{100 + number}"): each for number in range(strangers)})


def count(held: Mapping[Peer, int]) -> Open:
    found = Open()
    for peer, connections in held.items():
        found.came(peer, connections)
    return found


@pytest.mark.parametrize("address", ["", "::1", "192.0.2.1", "10.0.0.1", "x"])
def test_peers_of_other_networks_have_none(address: str) -> None:
    assert not admitted(at(address), Open())


@pytest.mark.parametrize(
    ("address", "most"), [(NODE1, MOST_PER_PEER), (HERE, MOST_PER_PEER), (STRANGER, MOST_PER_STRANGER)]
)
@pytest.mark.parametrize("mac", [None, str(MAC)])
def test_each_has_so_many(address: str, most: int, mac: str | None) -> None:
    peer = at(address, mac)
    assert admitted(peer, count({peer: most - 1}))
    assert not admitted(peer, count({peer: most}))


def test_strangers_with_many_addresses_leave_room_for_machines() -> None:
    full = crowd_of(MOST_OF_STRANGERS // MOST_PER_STRANGER, MOST_PER_STRANGER)
    assert not admitted(at(STRANGER), full)
    assert admitted(at(NODE1), full)
    assert admitted(at(NODE1, str(MAC)), full)
    assert admitted(at(HERE), full)
    assert MOST - MOST_OF_STRANGERS >= 512, "a rack that is switched on at once"


def test_machines_take_nothing_of_the_strangers_room_but_the_whole_is_bounded() -> None:
    assert admitted(at(STRANGER), count({at(NODE1): 64}))
    assert not admitted(at(NODE1), count({at(HERE): MOST}))


@pytest.mark.parametrize("thief", [LAPTOP, "52:54:00:aa:00:02"])
def test_a_machine_s_address_is_its_own_only_where_its_nic_answers(thief: str) -> None:
    """40 addresses of machines that are off, on one NIC, took all the connections once."""
    assert at(NODE1).expected
    assert at(NODE1, str(MAC)).expected
    assert at(NODE1, OWN_NIC).expected, "a bond can speak with the MAC of any of its members"
    stolen = at(NODE1, thief)
    assert not stolen.expected
    assert not admitted(stolen, count({stolen: MOST_PER_STRANGER}))
    assert admitted(at(NODE1, str(MAC)), count({stolen: MOST_PER_STRANGER})), "the machine beside its thief"


def test_one_nic_has_no_more_than_a_machine_whatever_addresses_it_says() -> None:
    for mac in (LAPTOP, str(MAC)):
        many = count({at(f"172.0.1.{n}", mac): 16 for n in range(101, 105)})
        assert many.total == MOST_PER_PEER
        assert not admitted(at("172.0.1.105", mac), many)
        assert admitted(at("172.0.1.105", "02:00:00:00:00:01"), many)


def test_a_switch_that_answers_for_all_makes_no_strangers_but_another_machine_s_nic_does() -> None:
    """Private VLANs with local proxy ARP: `ignition = "lease"` is for them."""
    now = served()
    loose = replace(now, settings=replace(now.settings, matchbox=MatchboxSettings(ignition=Access.LEASE)))
    behind = [at(a, LAPTOP, loose) for a in (NODE1, NODE2)]
    assert all(peer.expected for peer in behind)
    assert admitted(behind[0], count({behind[1]: MOST_PER_PEER}))
    assert not at(NODE1, "52:54:00:aa:00:02", loose).expected
    assert not at(STRANGER, LAPTOP, loose).expected


def test_behind_a_relay_the_neighbour_is_the_router_and_nobody_looks() -> None:
    relayed = network(relayed=(("172.0.2.0/24", "172.0.2.1"),))
    now = served((relayed,), (rack()[0], machine("far1", "52:54:00:aa:00:0f", "172.0.2.15")))
    assert at("172.0.2.15", LAPTOP, now) == Peer("172.0.2.15", "172.0.2.15", inside=True, expected=True)


def test_in_proxy_mode_the_nic_tells_and_an_address_does_not() -> None:
    now = served()
    networks = {**now.settings.networks, "pxe": replace(PXE, mode=NetworkMode.PROXY)}
    proxied = Served.of(replace(now.settings, networks=networks), now.inventory)
    assert at(STRANGER, str(MAC), proxied).expected
    assert at(STRANGER, None, proxied).expected
    assert not at(NODE1, LAPTOP, proxied).expected
    assert not at(STRANGER).expected


def test_the_kernel_is_asked_on_the_interface_of_the_network_and_may_fail() -> None:
    asked: list[tuple[str, str]] = []

    def look(address: IPv4Address, interface: str) -> str | None:
        asked.append((str(address), interface))
        raise OSError(24, "no file descriptor left")

    assert peer_at(NODE1, served(), look) == Peer(NODE1, NODE1, inside=True, expected=True)
    peer_at(HERE, served(), look)
    peer_at("192.0.2.1", served(), look)
    assert asked == [(NODE1, PXE.interface)]


class Wire(asyncio.Transport):
    """Nothing but a key."""


def test_a_crowd_is_told_with_who_holds_most() -> None:
    crowd = Crowd()
    assert crowd.problems() == []
    stranger, node1, thief = at(STRANGER), at(NODE1), [at(a, LAPTOP) for a in (NODE1, NODE2)]
    crowd.open = count({stranger: 16, node1: 2})
    crowd.note(strangers=True)
    (found,) = crowd.problems()
    assert (found["id"], found["severity"], found["fix"]) == (
        "http-crowded",
        "warning",
        f"ip neigh show {STRANGER}",
    )
    assert f"{STRANGER}'s (16)" in found["message"]
    crowd.open = count({thief[0]: 16, thief[1]: 16, stranger: 20})
    wire = Wire()
    crowd.seen[wire] = thief[0]
    crowd.note(strangers=False)
    (found,) = crowd.problems()
    assert (found["severity"], found["fix"]) == ("error", f"ip neigh show {NODE1}")
    assert f"{LAPTOP}'s (32)" in found["message"]


def test_what_went_leaves_nothing_behind_and_no_connection_looks_at_the_others() -> None:
    """At 20,000 new ones a second, counting all that were open for each took all of the loop's time."""
    found = Open()
    peers = [at(STRANGER), at(NODE1, LAPTOP), at(NODE1, str(MAC)), at(HERE)]
    for peer in peers * 3:
        found.came(peer)
    assert (found.total, found.of_strangers) == (12, 6)
    assert found.by_address == {STRANGER: 3, NODE1: 3}, "of strangers alone"
    for peer in peers * 3:
        found.left(peer)
    assert found == Open()


def test_connections_are_counted_as_long_as_they_are_there() -> None:
    async def talk() -> None:
        async def answer(_: web.BaseRequest) -> web.Response:
            return web.Response()

        server, crowd = web.Server(answer), Crowd()
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(partial(Admitted, server, served, crowd), "127.0.0.1", 0)
        async with listener:
            address = listener.sockets[0].getsockname()
            clients = [await asyncio.open_connection(*address) for _ in range(5)]
            await _until(lambda: crowd.open.total == 5)
            assert crowd.open.by_holder == {"127.0.0.1": 5}
            clients[0][1].transport.abort()  # a reset
            for _, writer in clients[1:4]:
                writer.close()
            await _until(lambda: crowd.open.total == 1)
            await server.shutdown(0.1)
            await _until(lambda: crowd.open == Open())

    asyncio.run(talk())


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - a connection that ends tells nobody
            await asyncio.sleep(0.01)

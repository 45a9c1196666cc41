"""A question that no server of ours answers, and who answered it: the active probe for other DHCP servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import DhcpPacket, MessageType, Option, discover
from appliance.daemon.ear import Ear, mac_behind
from appliance.daemon.overheard import Overheard, answering_server, offered_address, offered_file
from appliance.daemon.signals import OtherServer
from appliance.dnsmasq.speak import new_xid, probe_mac
from appliance.system.clock import monotonic

_MOST: Final = 64  # answering servers of one question
_ASKS_FOR: Final = bytes([1, 3, 6, 54, 66, 67])
_PXE_CLIENT: Final = b"PXEClient:Arch:00000:UNDI:002001"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When to ask, in seconds. ISC's server tries an address for one second before it offers it, dnsmasq for
    three: so the last answers come late.
    """

    every: float = 60.0
    again: tuple[float, ...] = (0.0, 0.5, 1.0)  # after the start of a question: broadcasts get lost
    window: float = 4.0


@dataclass(frozen=True, slots=True)
class Strangers:
    """Two machines that nobody has: one that wants an address, one that boots by PXE.

    A proxy DHCP server answers the second alone. They stay the same from question to question, so that a
    server that is meant to be there lends its offers to two machines and not to a new pair every minute.
    """

    plain: Mac = field(default_factory=probe_mac)
    booting: Mac = field(default_factory=probe_mac)


class Question:
    """One question on one network, from its first broadcast to the end of the time for answers.

    It is a DISCOVER, and nothing that follows an OFFER is ever sent: no lease is taken.
    """

    def __init__(self, ear: Ear, strangers: Strangers, rhythm: Rhythm, expect: Callable[[int], None]) -> None:
        """Nothing is sent yet. `expect` is told the transaction ids."""
        self._ear = ear
        self._rhythm = rhythm
        self._started = monotonic()
        self._unsent = list(rhythm.again)
        plain = {int(Option.PARAMETERS): _ASKS_FOR}
        self._packets = (
            discover(strangers.plain, new_xid(), options=plain),
            discover(strangers.booting, new_xid(), options={**plain, int(Option.VENDOR_CLASS): _PXE_CLIENT}),
        )
        self._xids = frozenset(packet.xid for packet in self._packets)
        for xid in self._xids:
            expect(xid)
        self._answers: dict[IPv4Address, tuple[IPv4Address, OtherServer]] = {}

    def send(self) -> None:
        """Send what is due.

        Raises:
            OSError: the interface cannot carry it now.
        """
        while self._unsent and monotonic() - self._started >= self._unsent[0]:
            del self._unsent[0]
            for packet in self._packets:
                self._ear.ask(packet)

    def answered_by(self, heard: Overheard, ours: Container[IPv4Address]) -> bool:
        """Take in a server's packet; whether it answers this question."""
        address = answering_server(heard, ours)
        if heard.packet.xid not in self._xids or address is None:
            return False
        if heard.packet.message_type is not MessageType.OFFER:
            return False
        before = self._answers.get(address)
        if before is None and len(self._answers) >= _MOST:
            return True
        server = server_of(address, heard.packet)
        if before is None or (before[1].offered is None and server.offered is not None):
            self._answers[address] = heard.source, server
        return True

    @property
    def over(self) -> bool:
        """Whether the time for answers is over."""
        return monotonic() - self._started >= self._rhythm.window

    async def servers(self, interface: str) -> tuple[OtherServer, ...]:
        """Who answered, with their MACs where the wire tells."""
        found = await asyncio.gather(
            *(with_mac(server, source, interface) for source, server in self._answers.values())
        )
        return tuple(sorted(found, key=lambda server: server.address))


async def ask_now(interface: str, rhythm: Rhythm) -> tuple[OtherServer, ...]:
    """Put one question while no server of ours runs: whoever answers is another one, our own address or not.

    Raises:
        OSError: there is no such interface, it cannot carry a broadcast, or the ports are taken.
    """
    ear = Ear(interface)
    with contextlib.closing(ear):
        question = Question(ear, Strangers(), rhythm, lambda _: None)
        while not question.over:
            question.send()
            for heard in ear.from_servers():
                question.answered_by(heard, ())
            ear.from_clients()
            await asyncio.sleep(min(0.05, rhythm.window / 4))
        return await question.servers(interface)


def server_of(address: IPv4Address, packet: DhcpPacket) -> OtherServer:
    """A server as one packet of it shows it."""
    return OtherServer(address, None, offered_address(packet), offered_file(packet))


async def with_mac(server: OtherServer, source: IPv4Address, interface: str) -> OtherServer:
    """The same server with the MAC of whoever sent its packet: behind a relay, that is the relay."""
    mac = await mac_behind(_addresses(source, server.address), interface)
    return OtherServer(server.address, mac, server.offered, server.boot_file)


def _addresses(*addresses: IPv4Address) -> Iterable[IPv4Address]:
    return (address for address in addresses if not address.is_unspecified)

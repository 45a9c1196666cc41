"""Asking a DHCP child as its clients would, a few at a time, and hearing what it answers.

Few, because dnsmasq is one thread: a client that boots at the same moment waits behind them, and they take a
fraction of a millisecond each. Each question has a transaction id of its own, which the child's log is told
to be ours: nothing that comes of it is an event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from appliance.boot.dhcp_packet import DhcpPacket, MessageType
from appliance.daemon.children import Children
from appliance.daemon.proof import Answer, Silence
from appliance.dnsmasq import records as r
from appliance.dnsmasq.hear import ClientPort
from appliance.dnsmasq.speak import new_xid
from appliance.settings import NetworkSettings
from appliance.system.network import interface_state

WINDOW: Final = 8  # questions that are open at a time
# The log is looked at every twentieth of a second: where it alone answers, more are asked in one go.
_WINDOW_BY_LOG: Final = 48
PATIENCE: Final = (0.7, 1.0, 1.3)  # seconds for an answer; it is asked for again so many times
_GIVE_UP: Final = 12  # questions in a row without an answer: nobody is there
_MESSAGE_TYPE: Final = 53

Say = Callable[[int], DhcpPacket]  # a question, with the transaction id


@dataclass(slots=True)
class _Logged:
    """What the child's log says of one question."""

    kind: MessageType = MessageType.OFFER
    address: IPv4Address = IPv4Address(0)
    boot_file: str = ""
    next_server: IPv4Address | None = None
    message: str = ""

    def answer(self) -> Answer:
        return Answer(self.kind, self.address, self.boot_file, self.next_server, message=self.message)


@dataclass(slots=True)
class _Asked:
    """One open question."""

    by_log: bool
    answer: asyncio.Future[Answer | Silence]
    logged: _Logged = field(default_factory=_Logged)


@dataclass(slots=True)
class Questions:
    """Questions to the child of one network. Open it with `asking`."""

    network: NetworkSettings
    children: Children
    port: ClientPort
    ours: frozenset[IPv4Address]  # of the interface: the kernel sends broadcasts from its first address
    others: set[IPv4Address] = field(default_factory=set)  # servers that answered beside ours
    _open: dict[int, _Asked] = field(default_factory=dict)
    _spent: list[int] = field(default_factory=list)  # answered: nothing more comes of them
    _earlier: list[int] = field(default_factory=list)
    _obstacles: dict[IPv4Address, str] = field(default_factory=dict)
    _silent: int = 0
    _window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))
    _by_log: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_WINDOW_BY_LOG))

    @property
    def hears(self) -> bool:
        """Whether answers are heard as packets, not only read in the log."""
        return self.port.hears is not None

    @property
    def dead(self) -> bool:
        """Whether so many got no answer that asking on makes no sense."""
        return self._silent >= _GIVE_UP

    def once_more(self) -> None:
        """Forget that nobody answered."""
        self._silent = 0

    async def ask(self, say: Say, *, elsewhere: bool = False) -> Answer | Silence:
        """Ask until there is an answer, or it is plain that there will be none.

        Args:
            say: builds the packet from a transaction id.
            elsewhere: the answer goes to a relay, or to the machine's own address: the log has to tell.

        Raises:
            OSError: the interface went away.
        """
        by_log = elsewhere or not self.hears
        last = Silence()
        async with self._by_log if by_log else self._window:
            for patience in PATIENCE:
                if self.dead:
                    break
                found = await self._once(say, patience, by_log=by_log)
                if isinstance(found, Answer):
                    return found
                last = found if found.refused or not last.refused else last
        return last

    async def settle(self) -> None:
        """Read the log to where it tells of everything asked so far.

        Ids of an earlier round are given up: whoever uses one from now on is another. Those of this one wait,
        for a process that comes or goes beside the child may still have to log its own answer.
        """
        await self.children.catch_up()
        self.children.forget(self._earlier)
        self._earlier, self._spent = self._spent, []

    async def release(self, say: Say) -> None:
        """Give an address back, which has no answer: wait until the log has it, for a while.

        Raises:
            OSError: the interface went away.
        """
        async with self._by_log:
            await self._once(say, PATIENCE[0], by_log=True)

    async def _once(self, say: Say, patience: float, *, by_log: bool) -> Answer | Silence:
        xid = self._own_xid()
        asked = _Asked(by_log, asyncio.get_running_loop().create_future())
        self._open[xid] = asked
        try:
            self.port.say(say(xid))
            async with asyncio.timeout(patience):
                found = await asked.answer
                self._silent = 0
                self._spent.append(xid)
                return found
        except TimeoutError:
            self._silent += 1
            return Silence()
        finally:
            del self._open[xid]

    def _own_xid(self) -> int:
        xid = new_xid()
        self.children.expect(xid)
        return xid

    def read(self) -> None:
        """Take in the packets that have come."""
        for packet, server in self.port.heard(self._open):
            asked, kind = self._open.get(packet.xid), packet.message_type
            if server not in self.ours:
                self.others.add(server)
            elif asked is not None and not asked.by_log and kind is not None and not asked.answer.done():
                asked.answer.set_result(Answer.of(packet, kind))

    def see(self, record: r.Record, _pid: int) -> None:
        """Take in what the child logs."""
        if isinstance(record, r.NotUsingConfigured):
            leased = f"it is leased to {record.leased_to}" if record.leased_to else record.reason
            self._obstacles[record.ip] = f"{record.ip} cannot be used, {leased}"
            return
        asked = self._open.get(getattr(record, "xid", None) or -1)
        if asked is None or asked.answer.done():
            return
        match record:
            case r.Ignored() | r.NoAddress():
                said = [record.note, *self._obstacles.values()]
                self._obstacles.clear()
                ignored = isinstance(record, r.Ignored)
                asked.answer.set_result(Silence(tuple(x for x in said if x), True, ignored))
            case r.Offer() | r.Ack() | r.Proxied():
                kinds = {r.Offer: MessageType.OFFER, r.Ack: MessageType.ACK}
                asked.logged.kind = kinds.get(type(record), MessageType.OFFER)
                asked.logged.address = record.ip or IPv4Address(0)
                if isinstance(record, r.Proxied) and record.note != "proxy":
                    asked.logged.boot_file = record.note  # a menu's item stands in that line only
            case r.Release():
                asked.answer.set_result(Silence())
            case r.Nak():
                asked.logged.kind, asked.logged.message = MessageType.NAK, record.note
            case r.BootFile():
                asked.logged.boot_file = record.name
            case r.NextServer():
                with contextlib.suppress(ValueError):
                    asked.logged.next_server = IPv4Address(record.address)
            case r.SentOption(number=int(number)) if number == _MESSAGE_TYPE and asked.by_log:
                asked.answer.set_result(asked.logged.answer())


def _addresses(network: NetworkSettings) -> frozenset[IPv4Address]:
    seen = interface_state(network.interface).addresses
    return frozenset({network.address, *(IPv4Interface(text).ip for text in seen)})


@contextlib.asynccontextmanager
async def asking(network: NetworkSettings, children: Children) -> AsyncIterator[Questions]:
    """Questions to the DHCP child of `network`, for as long as the block runs.

    Raises:
        OSError: the interface is not there, or does not hold our address.
    """
    loop = asyncio.get_running_loop()
    with ClientPort(network) as port:
        questions = Questions(network, children, port, _addresses(network))
        with children.watching(f"dhcp:{network.name}", questions.see):
            if port.hears is not None:
                loop.add_reader(port.hears, questions.read)
            try:
                yield questions
            finally:
                if port.hears is not None:
                    loop.remove_reader(port.hears)
                await questions.settle()


def named(servers: Iterable[IPv4Address]) -> str:
    """Servers in a sentence; empty without any."""
    return ", ".join(str(server) for server in sorted(servers))

"""Heartbeats: time itself, the interfaces, the children's signs of life, the endpoint's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import aiohttp

from appliance.daemon import signals as s
from appliance.daemon.children import Children
from appliance.daemon.known import State
from appliance.dnsmasq.speak import TFTP_PROBE, new_xid, probe_mac, send_probe, tftp_answers
from appliance.settings import NetworkSettings
from appliance.system.clock import monotonic
from appliance.system.command import cpu_nanoseconds
from appliance.system.network import interface_state
from appliance.system.notify import notify, watchdog_seconds
from appliance.system.safety import judge

BEAT = 0.25
_INTERFACES_EVERY = 1.0
_ENDPOINT_EVERY = 15.0
_TFTP_PATIENCE = 1.0
_TFTP_BUSY = 60.0
_WORK_SECONDS = 0.5
_log = logging.getLogger("pxe-appliance")


class Pulse:
    """Reports time and signs of life."""

    def __init__(
        self, children: Children, report: Callable[[s.Signal], None], state: Callable[[], State]
    ) -> None:
        self._children = children
        self._report = report
        self._state = state
        self._mac = probe_mac()
        self._answered_at = monotonic()
        self._watchdog, self._told_at = watchdog_seconds(), float("-inf")
        # Signs of life must not wait behind a sync or a slow disk in the loop's own threads.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="probe")
        self._asking: set[asyncio.Task[None]] = set()

    async def beat(self) -> None:
        """Tick for ever; look at the interfaces."""
        looked = float("-inf")
        while True:
            if monotonic() - looked >= _INTERFACES_EVERY:
                looked = monotonic()
                self.look()
            self._report(s.Ticked())
            await asyncio.sleep(BEAT)

    def decided(self) -> None:
        """A tick went all the way through the decider: tell systemd, now and then, that it decides."""
        if self._watchdog is not None and monotonic() - self._told_at >= self._watchdog / 2:
            self._told_at = monotonic()
            notify("WATCHDOG=1")

    def look(self) -> None:
        """Report the state of every network's interface."""
        for network in self._state().served.settings.networks.values():
            with contextlib.suppress(OSError):  # nothing known is not the same as gone
                seen = interface_state(network.interface)
                self._report(s.InterfaceSeen(network.name, seen))
                self._report(s.SafetySeen(network.name, judge(network, seen)))

    def probe(self, name: str) -> None:
        """Ask a child for a sign of life; the answer, if any, is reported."""
        task = asyncio.create_task(self._probe(name), name=f"probe {name}")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _probe(self, name: str) -> None:
        state = self._state()
        network = state.served.network_of_child(name)
        with contextlib.suppress(OSError):  # the interface went away between two looks: the next look says so
            if network is not None:
                await self._ask_dhcp(name, network)
                return
            usable = [n for n in state.served.settings.networks.values() if state.usable(n.name)]
            if usable and await self._tftp_lives(name, usable[0].address):
                self._report(s.ChildAlive(name))

    async def _ask_dhcp(self, name: str, network: NetworkSettings) -> None:
        """Send a question whose answer is read in the log; or, where the log is full, in the work done."""
        xid = new_xid()
        self._children.expect(xid)
        work = cpu_nanoseconds(self._children.pids.get(name))
        send_probe(network, self._mac, xid)
        if self._children.log_is_full:
            await asyncio.sleep(_WORK_SECONDS)
            if cpu_nanoseconds(self._children.pids.get(name)) > work:
                self._report(s.ChildAlive(name))

    async def _tftp_lives(self, name: str, address: IPv4Address) -> bool:
        """Whether the TFTP child answers, or at least works.

        When all its slots are taken it answers nobody new for up to half a minute, and is well: killing it
        would cut every transfer that still goes on. So for a minute, work counts as an answer.
        """
        loop = asyncio.get_running_loop()
        work = cpu_nanoseconds(self._children.pids.get(name))
        if await loop.run_in_executor(self._threads, tftp_answers, address, TFTP_PROBE, _TFTP_PATIENCE):
            self._answered_at = monotonic()
            return True
        worked = cpu_nanoseconds(self._children.pids.get(name)) > work
        return worked and monotonic() - self._answered_at < _TFTP_BUSY

    async def watch_endpoint(self) -> None:
        """Ask the Matchbox endpoint for its front page, for ever."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                served = self._state().served
                matchbox = served.settings.matchbox
                if served.id is not None and matchbox.builtin:
                    self._report(s.EndpointSeen(reachable=True))
                elif served.id is not None:
                    self._report(s.EndpointSeen(await _answers(session, matchbox.endpoint + "/")))
                await asyncio.sleep(_ENDPOINT_EVERY if served.id is not None else BEAT)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, allow_redirects=False) as answer:
            return answer.status < 500
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False

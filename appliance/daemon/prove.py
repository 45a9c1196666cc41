"""The proof: simulated clients of chosen machines walk from DISCOVER to Ignition, and disturb nobody.

What a walk leaves behind is taken back: a lease that nobody holds is released, and only such a one. It would
do no harm either way: with reservations alone, dnsmasq acknowledges a lease that it has forgotten (measured).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import DhcpPacket, release
from appliance.boot.firmware import BY_ARCH, CLASSES, ClientClass
from appliance.daemon.children import Children
from appliance.daemon.control import unknown_machine
from appliance.daemon.known import State
from appliance.daemon.leases import live
from appliance.daemon.proof import Fault, Tally, Walk
from appliance.daemon.proof_dhcp import cannot_speak, own_options
from appliance.daemon.prove_dhcp import Questions, asking, named
from appliance.daemon.prove_fetch import Fetcher
from appliance.daemon.prove_walk import Walker
from appliance.daemon.served import Served
from appliance.daemon.web import WebSide
from appliance.errors import Refused
from appliance.inventory.model import Machine
from appliance.paths import Paths
from appliance.settings import NetworkMode, NetworkSettings
from appliance.system.clock import monotonic, now
from appliance.system.files import read_regular
from appliance.system.network import interface_state
from appliance.system.safety import judge

_AT_ONCE: Final = 32  # machines
_AGAIN: Final = 64  # walks that are tried again: what failed may have been a moment's
_PATIENCE: Final = 5.0  # seconds for a sync or a relief to be over
_LOOK: Final = 0.1
_CONFIGURATION_LIMIT: Final = 4 << 20


@dataclass(slots=True)
class Prover:
    """Proves what is served.

    `busy`: whether a sync or a relief is under way; `settle` waits until everything that was reported so far
    is decided about.
    """

    paths: Paths
    children: Children
    web: WebSide
    state: Callable[[], State]
    busy: Callable[[], bool]
    settle: Callable[[], Awaitable[object]]
    _running: bool = False

    async def prove(
        self, names: Sequence[str], archs: Sequence[int]
    ) -> AsyncGenerator[dict[str, object], None]:
        """Prove the machines `names` (none: all) for the client classes `archs` (none: all that are served).

        Yields the public lines of a proof: one that says what begins, one for each walk, one that sums up.

        Raises:
            Refused: a machine is unknown, a sync or another proof runs, or one came in between.
        """
        served = self.state().served
        machines = _chosen(served, names)
        classes = _classes(served, archs)
        if self._running:
            raise Refused("another proof is running", hint="wait for its end")
        self._running = True
        try:
            await self._quiet()
            tally = Tally()
            began = monotonic()
            yield {
                "kind": "begin",
                "machines": len(machines),
                "classes": [client.words for client in classes],
                "walks": len(machines) * len(classes),
            }
            async with self.walker(self.state().served) as walker:
                async for walk in self._walks(walker, machines, classes):
                    tally.add(walk)
                    yield {"kind": "result", **walk.as_json()}
                others = {name: named(q.others) for name, q in walker.questions.items() if q.others}
            seconds = round(monotonic() - began, 2)
            yield {"kind": "end", **tally.as_json(), "seconds": seconds, "other_servers": others}
        finally:
            self._running = False

    @contextlib.asynccontextmanager
    async def walker(self, served: Served, *, as_it_runs: bool = False) -> AsyncIterator[Walker]:
        """A walker on a generation, with its pass, connections and sockets, for as long as the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            secret = stack.enter_context(self.web.passes.issued())
            fetcher = await stack.enter_async_context(Fetcher(secret))
            questions: dict[str, Questions] = {}
            unusable: dict[str, Fault] = {}
            for network in served.settings.networks.values():
                if fault := _unusable(network):
                    unusable[network.name] = fault
                    continue
                try:
                    asked = await stack.enter_async_context(asking(network, self.children))
                except OSError as error:
                    unusable[network.name] = cannot_speak(network, error)
                else:
                    questions[network.name] = asked
            free = {name: await asyncio.to_thread(self._own_options, name) for name in questions}
            given = self.web.giving.given
            walker = Walker(
                served, self.state, given, fetcher, questions, unusable, free, as_it_runs=as_it_runs
            )
            try:
                yield walker
            finally:
                await self._take_back(walker)

    async def _walks(
        self, walker: Walker, machines: Sequence[Machine], classes: Sequence[ClientClass]
    ) -> AsyncIterator[Walk]:
        """Every walk once, as they are done; what failed once more at the end."""
        failed: list[tuple[Machine, ClientClass, Walk]] = []
        for first in range(0, len(machines), _AT_ONCE):
            some = machines[first : first + _AT_ONCE]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_all_of(walker, machine, classes)) for machine in some]
            self._still(walker.served)
            await self._take_back(walker)
            for machine, task in zip(some, tasks, strict=True):
                for client, walk in zip(classes, task.result(), strict=True):
                    if walk.fault is None:
                        yield walk
                    else:
                        failed.append((machine, client, walk))
            walker.fetcher.forget_own()
        if 0 < len(failed) <= _AGAIN:
            await self._quiet()
            walker.fetcher.forget()
            for questions in walker.questions.values():
                questions.once_more()
            for machine, client, _ in failed:
                yield await walker.walk(machine, client)
                self._still(walker.served)
        else:
            for _, _, walk in failed:
                yield walk

    async def _take_back(self, walker: Walker) -> None:
        """Release what no machine holds, once all is known that was logged."""
        for questions in walker.questions.values():
            await questions.settle()
        if not walker.acknowledged:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.settle(), _PATIENCE)
        held = {lease.ip for lease in live(self.state().leases, now())}
        releases = []
        for name, mac in walker.acknowledged.items():
            machine = walker.served.machines[name]
            if machine.ip not in held:
                network = walker.served.settings.networks[machine.network]
                say = partial(_release, machine, mac, network)
                releases.append(walker.questions[machine.network].release(say))
        walker.acknowledged.clear()
        await asyncio.gather(*releases, return_exceptions=True)  # an interface that went away: nothing to do

    async def _quiet(self) -> None:
        """Wait a moment until no sync runs and DHCP knows all lives; then refuse.

        Raises:
            Refused: it takes longer.
        """
        until = monotonic() + _PATIENCE
        while self.busy() or not _marked(self.state()):
            if monotonic() > until:
                raise Refused("a sync is running", hint="prove again when it is done")
            await asyncio.sleep(_LOOK)

    def _still(self, served: Served) -> None:
        if self.state().served.id != served.id:
            raise Refused(
                f"generation {self.state().served.id} came into force during the proof", hint="prove again"
            )

    def _own_options(self, network: str) -> frozenset[int]:
        path = Path(self.paths.current / "network" / network / "dnsmasq.conf")
        with contextlib.suppress(OSError, ValueError):
            return own_options(read_regular(path, _CONFIGURATION_LIMIT).decode())
        return frozenset()


async def _all_of(walker: Walker, machine: Machine, classes: Sequence[ClientClass]) -> list[Walk]:
    """A machine's walks, one after the other: two of its clients at once would take turns at its lease."""
    return [await walker.walk(machine, client) for client in classes]


def _chosen(served: Served, names: Sequence[str]) -> tuple[Machine, ...]:
    if unknown := [name for name in names if name not in served.machines]:
        raise unknown_machine(unknown[0], served.machines.keys())
    if not names:
        if not served.machines:
            raise Refused("there is no machine to prove", hint="pxe-appliance machines")
        return served.inventory.machines
    return tuple(served.machines[name] for name in dict.fromkeys(names))


def _classes(served: Served, archs: Sequence[int]) -> tuple[ClientClass, ...]:
    if unknown := [arch for arch in archs if arch not in BY_ARCH]:
        known = ", ".join(f"{client.arch} ({client.name})" for client in CLASSES)
        raise Refused(f"there is no client class {unknown[0]}", hint=f"there are {known}")
    if archs:
        return tuple(BY_ARCH[arch] for arch in dict.fromkeys(archs))
    return tuple(client for client in CLASSES if client.arch not in served.refused_classes)


def _unusable(network: NetworkSettings) -> Fault | None:
    """Why nothing can be asked on a network; None when it can."""
    seen = interface_state(network.interface)
    danger = judge(network, seen)
    if seen.present and seen.up and seen.holds(network.address) and danger is None:
        return None
    if danger is not None:
        words = f"nothing is asked on network {network.name}: {danger.message}"
        return Fault("prove-interface", words, danger.fix)
    why = "is not there" if not seen.present else "is down" if not seen.up else f"lacks {network.address}"
    return Fault(
        "prove-interface",
        f"nothing can be asked on network {network.name}: {network.interface} {why}",
        f"ip -brief address show dev {network.interface}",
    )


def _release(machine: Machine, mac: Mac, network: NetworkSettings, xid: int) -> DhcpPacket:
    return release(mac, xid, address=machine.ip, server=network.address)


def _marked(state: State) -> bool:
    """Whether every DHCP child sends to the disk whom it should."""

    def settled(name: str) -> bool:
        network = state.served.network_of_child(name)
        proxied = network is not None and network.mode is NetworkMode.PROXY
        return proxied or state.marked.get(name, frozenset()) == state.to_disk.get(name, frozenset())

    return all(settled(name) for name in state.children)

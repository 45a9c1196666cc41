"""Taking an applied generation to the running children, and showing by what they say that they have it.

The order matters (measured on 2.90): first the reload, then the releases, because until dnsmasq knows the new
owner the old one could take its lease again; and nothing counts as done before the log says so, because a
SIGHUP with an unreadable hosts file leaves every machine unknown at the cost of one log line.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.children import Children
from appliance.daemon.state import State
from appliance.dnsmasq import records as r
from appliance.dnsmasq.lifecycle import Phase
from appliance.dnsmasq.speak import new_xid, send_discovers, send_releases
from appliance.errors import NotProven
from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.plan import Action, Plan, Release
from appliance.system.clock import now
from appliance.system.network import interface_state
from appliance.tree import Activation

SETTLE = 15.0  # seconds for a child to take up a change; more hosts take longer
_PER_MACHINE = 0.001
_ASKED = 24  # changed machines that are really asked for; the hosts file was read back whole already
_ROUNDS = 3
_ROUND = 1.0


@dataclass(slots=True)
class _Collected:
    """What a child said while it was being watched."""

    ready_when: type[r.HostsRead] | type[r.Started]
    ended_pid: int | None = None
    rejected: list[str] = field(default_factory=list)
    read: asyncio.Event = field(default_factory=asyncio.Event)
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    offered: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    ignored: set[int] = field(default_factory=set)

    def see(self, record: r.Record, pid: int) -> None:
        if pid == self.ended_pid:
            return  # what the process before it had to say, read a moment late
        match record:
            case r.HostsRejected(reason, line, path):
                self.rejected.append(f"line {line} of {path}: {reason}")
            case r.CannotRead(path, reason):
                self.rejected.append(f"cannot read {path}: {reason}")
            case r.StartFailed(reason):
                self.rejected.append(reason)
            case r.HostsRead() | r.Started() if isinstance(record, self.ready_when):
                self.read.set()
            case r.Offer(xid=int(xid)):
                self.offered[xid] = str(record.ip)
                self.progress.set()
            case r.Ignored(xid=int(xid)) | r.NoAddress(xid=int(xid)):
                self.refused[xid] = record.note
                if isinstance(record, r.Ignored):
                    self.ignored.add(xid)
                self.progress.set()


@dataclass(slots=True)
class Activator:
    """Activates one plan at a time on the children of the daemon that owns it."""

    children: Children
    report: Callable[[s.Signal], None]
    state: Callable[[], State]

    async def activate(self, applied: AppliedPlan, adopt: s.Adopted) -> ProvenPlan:
        """Bring every child up to the generation that is current on disk.

        Raises:
            NotProven: a child rejected something, did not come back, or does not offer what it should.
        """
        try:
            return await self._activate(applied, adopt)
        except OSError as error:  # the interface went away in the middle of it
            raise NotProven(f"the exchange failed: {error}") from error

    async def _activate(self, applied: AppliedPlan, adopt: s.Adopted) -> ProvenPlan:
        plan, before = applied.plan, self.state()
        self.children.follow(adopt.served)
        patience = SETTLE + _PER_MACHINE * len(adopt.served.machines)
        running = {n for n, c in before.children.items() if c.phase is Phase.SERVING}
        if before.served.id not in {plan.base, applied.number}:
            running = set()  # the plan starts from a generation that they do not run: none of them has it
        reloads = [n for n, need in plan.activations.items() if need is Activation.RELOAD and n in running]
        restarts = [n for n in adopt.served.children() if n not in reloads and _needs_start(plan, n, running)]
        evidence = [await self._reload(name, patience) for name in reloads]
        evidence += await self._restart(restarts, adopt, patience)
        evidence += await self._release(plan)
        exchanged = True
        if reloads or restarts or not adopt.served.proven:
            answers, exchanged = await self._ask(plan, adopt)
            evidence += answers
        return ProvenPlan(applied, tuple(evidence), exchanged)

    async def _restart(self, names: list[str], adopt: s.Adopted, patience: float) -> list[str]:
        """Adopt the generation, which starts and stops children, and start anew those that have to be."""
        before, pids = self.state().children, self.children.pids
        watched = {name: _Collected(_ready_word(name), pids.get(name)) for name in names}
        with contextlib.ExitStack() as stack:
            for name, seen in watched.items():
                stack.enter_context(self.children.watching(name, seen.see))
            self.report(adopt)
            for name in names:
                # One that is still starting may have read the generation before: it starts again too.
                if name in before and before[name].phase is not Phase.STOPPED:
                    self.report(s.RestartChild(name))
            return [await self._taken_up(name, seen, patience) for name, seen in watched.items()]

    async def _reload(self, name: str, patience: float) -> str:
        seen = _Collected(_ready_word(name))
        with self.children.watching(name, seen.see):
            self.report(s.ChildDeaf(name, patience))
            self.children.signal(name, signal.SIGHUP)
            return await self._taken_up(name, seen, patience)

    async def _taken_up(self, name: str, seen: _Collected, patience: float) -> str:
        """Wait until a child has read its files; then it must not have rejected any of them."""
        try:
            await asyncio.wait_for(seen.read.wait(), patience)
        except TimeoutError:
            said = "; ".join(seen.rejected) or self.state().last_words.get(name) or "it says nothing"
            raise NotProven(f"{name} did not take up the change within {patience:.0f} s: {said}") from None
        if seen.rejected:
            raise NotProven(f"{name} rejected what it was given: {'; '.join(seen.rejected[:5])}")
        return f"{name}: dnsmasq took it up and rejected nothing"

    async def _release(self, plan: Plan) -> list[str]:
        evidence = []
        by_network = itertools.groupby(sorted(plan.releases, key=lambda x: x.network), lambda x: x.network)
        for name, group in by_network:
            network = plan.desired.settings.networks[name]
            leases = [(x.mac, x.ip, self._own_xid()) for x in group]
            if not self._usable(network):
                evidence.append(f"{name}: no lease released, the interface is not usable")
                continue
            await asyncio.to_thread(send_releases, network, leases)
            for mac, ip, _ in leases:
                event = Event(now(), EventKind.RELEASE, None, mac, ip, name, {"by": "sync"})
                self.report(s.Happened(event))
            evidence.append(f"{name}: released {_leases(plan.releases, name)}")
        return evidence

    async def _ask(self, plan: Plan, adopt: s.Adopted) -> tuple[list[str], bool]:
        """A real DISCOVER for changed machines and one unchanged; every one must be offered its address.

        Returns what was seen, and whether every network that has machines could be asked on.
        """
        evidence, everywhere = [], True
        for network in adopt.served.settings.networks.values():
            machines = _worth_asking(plan, network, adopt.served.inventory.machines)
            if not machines:
                continue
            if network.mode is not NetworkMode.DHCP:
                evidence.append(f"{network.name}: no exchange was tried, another server gives addresses")
                continue
            if not self._usable(network):
                why = f"{network.interface} is not there, not up or without {network.address}"
                evidence.append(f"{network.name}: no exchange was tried, {why}")
                everywhere = False
                continue
            evidence.append(await self._exchange(plan, network, machines))
        return evidence, everywhere

    async def _exchange(self, plan: Plan, network: NetworkSettings, machines: list[Machine]) -> str:
        seen = _Collected(r.HostsRead)
        waiting = {machine.mac: machine for machine in machines}
        asked: dict[int, Mac] = {}
        with self.children.watching(f"dhcp:{network.name}", seen.see):
            for _ in range(_ROUNDS):
                xids = {self._own_xid(): mac for mac in waiting}
                asked |= xids
                questions = [(mac, waiting[mac].ip, xid) for xid, mac in xids.items()]
                await asyncio.to_thread(send_discovers, network, questions)
                await _heard(seen, partial(_answered, seen, asked, waiting), _ROUND)
                for xid, ip in seen.offered.items():
                    machine = waiting.get(asked[xid]) if xid in asked else None
                    if machine is not None and ip == str(machine.ip):
                        del waiting[machine.mac]
                if not waiting:
                    return f"{network.name}: {len(machines)} machines asked for, each was offered its address"
        changed = _changed(plan)
        heard = {asked[xid] for xid in seen.offered.keys() | seen.refused.keys() if xid in asked}
        ignored = {asked[xid] for xid in seen.ignored if xid in asked}
        failed = [
            m for mac, m in waiting.items() if str(m.name) in changed or mac in ignored or mac not in heard
        ]
        if not failed:
            # Anybody on the wire can have an unchanged machine's address disabled by a forged DECLINE.
            quiet = ", ".join(f"{m.name} ({m.ip})" for m in waiting.values())
            return (
                f"{network.name}: every changed machine was offered its address; not so, unchanged, {quiet}"
            )
        missing = ", ".join(f"{m.name} ({m.mac}, {m.ip})" for m in failed)
        notes = {note for xid, note in seen.refused.items() if xid in asked}
        raise NotProven(
            f"dnsmasq does not offer what it should to {missing}"
            + (f"; it says: {', '.join(sorted(notes))}" if notes else "; it says nothing"),
            hint="pxe-appliance events shows the lease or the server that is in the way",
        )

    def _usable(self, network: NetworkSettings) -> bool:
        """Look at the interface now: the regular look may be a second old, or not have come yet."""
        seen = interface_state(network.interface)
        self.report(s.InterfaceSeen(network.name, seen))
        return seen.present and seen.up and seen.holds(network.address)

    def _own_xid(self) -> int:
        xid = new_xid()
        self.children.expect(xid)
        return xid


def _ready_word(name: str) -> type[r.HostsRead] | type[r.Started]:
    """The record by which a child says that it has everything: TFTP reads no hosts."""
    return r.Started if name == "tftp" else r.HostsRead


def _needs_start(plan: Plan, name: str, running: set[str]) -> bool:
    return name not in running or plan.activations.get(name) is Activation.RESTART


def _worth_asking(plan: Plan, network: NetworkSettings, machines: Iterable[Machine]) -> list[Machine]:
    changed = _changed(plan)
    ours = [m for m in machines if m.network == network.name]
    moved = [m for m in ours if str(m.name) in changed][:_ASKED]
    return moved + [m for m in ours if str(m.name) not in changed][:1]


def _changed(plan: Plan) -> set[str]:
    return {c.name for c in plan.changes if c.kind == "machine" and c.action is not Action.REMOVE}


def _answered(seen: _Collected, asked: dict[int, Mac], waiting: dict[Mac, Machine]) -> bool:
    answered = {asked[xid] for xid in seen.offered.keys() | seen.refused.keys() if xid in asked}
    return waiting.keys() <= answered


async def _heard(seen: _Collected, done: Callable[[], bool], seconds: float) -> None:
    """Wait until what was heard is enough, at most `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not done():
                seen.progress.clear()
                await seen.progress.wait()


def _leases(releases: Iterable[Release], network: str) -> str:
    mine = [f"{x.ip} from {x.mac}" for x in releases if x.network == network]
    more = f" and {len(mine) - 5} more" if len(mine) > 5 else ""
    return ", ".join(mine[:5]) + more

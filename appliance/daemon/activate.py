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
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace

from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.children import Children
from appliance.daemon.known import State
from appliance.daemon.served import Served
from appliance.dnsmasq import records as r
from appliance.dnsmasq.lifecycle import Phase, reading_time
from appliance.dnsmasq.speak import new_xid, send_releases
from appliance.errors import NotProven
from appliance.settings import NetworkSettings
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.plan import Plan, Release
from appliance.system.clock import now
from appliance.system.network import interface_state
from appliance.system.safety import dangers, judge
from appliance.tree import Activation

SETTLE = 15.0  # seconds for a child to take up a change; more hosts take longer
_PER_MACHINE = 0.001
_STOPPING = 7.0  # seconds that a stop waits for what is under way: systemd kills after twenty


@dataclass(slots=True)
class _Collected:
    """What a child said while it was being watched."""

    ready_when: type[r.HostsRead] | type[r.Started]
    ended_pid: int | None = None
    rejected: list[str] = field(default_factory=list)
    read: asyncio.Event = field(default_factory=asyncio.Event)

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


@dataclass(slots=True)
class Activator:
    """Activates one plan at a time on the children of the daemon that owns it."""

    children: Children
    report: Callable[[s.Signal], None]
    state: Callable[[], State]
    prove: Callable[[Plan, s.Adopted, Served], Awaitable[tuple[list[str], bool]]]  # see `ChangeProver.ask`
    guard: Callable[[Served], Awaitable[None]]  # see `Guard.follow`
    unsure: bool = False  # a way back ended before every child was told: what they serve may be another one
    half: int | None = None  # the generation that some of them may have read without its being adopted
    troubled: bool = False  # the last activation has not ended well, and nothing has shown since that all is
    _over: bool = False
    _under_way: asyncio.Task[object] | None = None

    async def activate(
        self, applied: AppliedPlan, adopt: s.Adopted, stands_in: int | None = None
    ) -> ProvenPlan:
        """Bring every child up to the generation that is current on disk, or to the copy that stands in.

        Raises:
            NotProven: a child rejected something, did not come back, or does not offer what it should.
            CancelledError: the daemon stops.
        """
        self.troubled, self._under_way = True, asyncio.current_task()
        try:
            if self._over:
                raise asyncio.CancelledError
            proven = await self._activate(applied, adopt, stands_in)
            self.troubled = False
            return proven
        except OSError as error:  # the interface went away in the middle of it
            raise NotProven(f"the exchange failed: {error}") from error
        finally:
            self._under_way = None

    async def end_with(self, stopping: asyncio.Event) -> None:
        """Give up, some seconds after `stopping` is set, what is under way and what may still come.

        A child that hangs is waited for longer than a stop may take; who asked for the change is told.
        """
        await stopping.wait()
        await asyncio.sleep(_STOPPING)
        self._over = True
        if self._under_way is not None:
            self._under_way.cancel()

    async def _activate(self, applied: AppliedPlan, adopt: s.Adopted, stands_in: int | None) -> ProvenPlan:
        plan, before = applied.plan, self.state()
        await self.guard(adopt.served)  # before anybody answers by it
        self.children.follow(adopt.served)
        patience = SETTLE + _PER_MACHINE * len(adopt.served.machines)
        running = {n for n, c in before.children.items() if c.phase is Phase.SERVING}
        if before.served.id not in {plan.base, applied.number}:
            running = set()  # the plan starts from a generation that they do not run: none of them has it
        torn = self.half not in {None, plan.base}
        if self.unsure or torn or self.children.stands_in != stands_in:
            running = set()
        self.children.stands_in = stands_in
        self.unsure = self.unsure or applied.again
        self.half = self.half if applied.again else applied.number
        reloads = [n for n, need in plan.activations.items() if need is Activation.RELOAD and n in running]
        found = dangers(adopt.served.settings.networks.values())
        wanted = replace(before, served=adopt.served, dangers=found).wanted
        restarts = [n for n in wanted if n not in reloads and _needs_start(plan, n, running)]
        evidence, deaf = await self._reload(reloads, patience, len(adopt.served.machines))
        if deaf and not applied.again:
            raise next(iter(deaf.values()))
        # On the way back nobody may be left with the change: a child that starts reads what is current.
        evidence += await self._restart([*restarts, *deaf], adopt, patience)
        evidence += await self._release(plan)
        exchanged = True
        if reloads or restarts or applied.again or not adopt.served.proven:
            answers, exchanged = await self.prove(plan, adopt, before.served)
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
            self.unsure, self.half = False, None
            return [await self._taken_up(name, seen, patience) for name, seen in watched.items()]

    async def _reload(
        self, names: list[str], patience: float, hosts: int
    ) -> tuple[list[str], dict[str, NotProven]]:
        """Have children read their files again, all at once: what they show, and those that did not.

        One that hangs meanwhile is killed like any other; the one after it reads what is current.
        """
        watched = {name: _Collected(_ready_word(name)) for name in names}
        with contextlib.ExitStack() as stack:
            for name, seen in watched.items():
                stack.enter_context(self.children.watching(name, seen.see))
                self.report(s.ChildDeaf(name, reading_time(hosts)))
                self.children.signal(name, signal.SIGHUP)
            waits = (self._taken_up(name, seen, patience) for name, seen in watched.items())
            found = await asyncio.gather(*waits, return_exceptions=True)
        evidence, deaf = [], {}
        for name, one in zip(names, found, strict=True):
            if isinstance(one, NotProven):
                deaf[name] = one
            elif isinstance(one, BaseException):
                raise one
            else:
                evidence.append(one)
        return evidence, deaf

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

    def _usable(self, network: NetworkSettings) -> bool:
        """Look at the interface now: the regular look may be a second old, or not have come yet."""
        seen = interface_state(network.interface)
        self.report(s.InterfaceSeen(network.name, seen))
        return seen.present and seen.up and seen.holds(network.address) and judge(network, seen) is None

    def _own_xid(self) -> int:
        xid = new_xid()
        self.children.expect(xid)
        return xid


def _ready_word(name: str) -> type[r.HostsRead] | type[r.Started]:
    """The record by which a child says that it has everything: TFTP reads no hosts."""
    return r.Started if name == "tftp" else r.HostsRead


def _needs_start(plan: Plan, name: str, running: set[str]) -> bool:
    return name not in running or plan.activations.get(name) is Activation.RESTART


def _leases(releases: Iterable[Release], network: str) -> str:
    mine = [f"{x.ip} from {x.mac}" for x in releases if x.network == network]
    more = f" and {len(mine) - 5} more" if len(mine) > 5 else ""
    return ", ".join(mine[:5]) + more

"""What the daemon can be asked, by the command line, by browsers, by machines; and the web side that asks.

Answers come from the decider's state; nothing is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Container, Iterable
from ipaddress import IPv4Address

from appliance.addresses import Mac
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Life
from appliance.daemon import signals as s
from appliance.daemon.address_map import networks_json
from appliance.daemon.children import Children
from appliance.daemon.diagnosis import Outside
from appliance.daemon.feed import Feed
from appliance.daemon.known import State
from appliance.daemon.leases import Lease, live
from appliance.daemon.ledger import NOTED, Ledger
from appliance.daemon.measured import measured
from appliance.daemon.observer import Loads, Observer
from appliance.daemon.page import Page
from appliance.daemon.past_generations import PastGenerations
from appliance.daemon.recorder import Recorder
from appliance.daemon.requests_seen import client_address
from appliance.daemon.served import Served
from appliance.daemon.status import (
    Process,
    booting_image,
    machine_json,
    machines_json,
    problem,
    status_json,
    why_json,
)
from appliance.daemon.strays import on_ledger, stray_facts, stray_rows
from appliance.daemon.web import WebSide
from appliance.errors import Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync.confirm import Pending
from appliance.system.clock import monotonic, now
from appliance.system.shipped import shipped_page

_DECIDE_SECONDS = 5.0  # for everything that was reported before a question
_EVIDENCE = 60  # events of a boot that `why` shows, at most
_STRAYS_FOR = 2.0  # seconds: whose a stray may be depends on more than the ledger
_CATCH_UP_SECONDS = 1.0  # that a machine's question may wait for what was logged before it


class Desk:
    """Readings (control), the owner of the web side (web), and what giving has to know."""

    def __init__(
        self,
        paths: Paths,
        state: Callable[[], State],
        queue: asyncio.Queue[s.Signal],
        recorder: Recorder,
        children: Children,
    ) -> None:
        self._paths = paths
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._children = children
        self.started = now()
        self._telling_strays = asyncio.Lock()
        self._strays_told: dict[bool, tuple[Ledger | None, float, list[dict[str, object]]]] = {}
        self.sync_problem: dict[str, str] | None = None
        self.pending: Pending | None = None
        self.handoff_problems: tuple[dict[str, str], ...] = ()
        self.watch_problems: Callable[[], tuple[dict[str, str], ...]] = tuple
        self._past = PastGenerations(paths)
        self.page = Page(shipped_page())
        self.feed = Feed(self, now, self.page.edition)
        self.observer = Observer(paths, self)
        self.web = WebSide(paths, self, measured(self.observer.metrics.request))

    def take_handoff_problems(self, problems: tuple[dict[str, str], ...]) -> None:
        """What is wrong with the external endpoint, as of now."""
        self.handoff_problems = problems

    # ---- what can be asked (control.Readings) ----

    def status(self) -> dict[str, object]:
        """For `status`."""
        problems = [self.sync_problem] if self.sync_problem else []
        if self._recorder.problem:
            problems.append(
                problem("history", "warning", self._recorder.problem, f"df -h {self._paths.state}")
            )
        if self._children.log_is_full:
            words = "the file system of dnsmasq's log is full: it serves, but nothing of it is seen"
            problems.append(problem("log", "error", words, f"df -h {self._paths.run}"))
        if self._children.skipped:
            words = (
                f"{self._children.skipped} bytes of dnsmasq's log were too many to read: events are missing"
            )
            problems.append(problem("log", "warning", words, "pxe-appliance events"))
        if self._children.crowd.left_out:
            words = f"{self._children.crowd.left_out} events of a flood said nothing new and were left out"
            problems.append(problem("log", "warning", words, "pxe-appliance strays"))
        problems += [*self.web.problems, *self.handoff_problems, *self.watch_problems()]
        problems += self.observer.hooks.problems
        pids, outside = self._children.pids, self.web.outside
        waits = self.pending.as_json() if self.pending else None
        process = Process(os.getpid(), self.started, pids, tuple(problems), outside, waits)
        return status_json(self._state(), process, now())

    def machines(self) -> list[dict[str, object]]:
        """For `machines`."""
        return machines_json(self._state(), now(), self.web.outside)

    def machine(self, name: str) -> dict[str, object] | None:
        """For `machine show`."""
        found = self.served().machines.get(name)
        if found is None:
            return None
        boots = self.web.giving.boots(found)
        return machine_json(self._state(), found, now(), boots, self.web.outside)

    async def why(self, name: str) -> dict[str, object] | None:
        """For `why`: the verdict, and the events of the boot that it is about."""
        lines = await self.events(limit=_EVIDENCE, machine=name)
        found = self.served().machines.get(name)
        if found is None:
            return None
        boots = self.web.giving.boots(found)
        nothing = boots if isinstance(boots, str) else ""
        evidence = [json.loads(line) for line in lines]
        return why_json(self._state(), found, now(), evidence, self.web.outside, nothing)

    def names(self) -> Iterable[str]:
        """Every machine's name."""
        return self.served().machines.keys()

    def leases(self) -> list[dict[str, object]]:
        """For `leases`."""
        return [lease.as_json() for lease in live(self._state().leases, now())]

    async def strays(self, *, ignored: bool) -> list[dict[str, object]]:
        """For `strays`; with or without those that are ignored.

        A full ledger takes a while: in a thread, one at a time, and once for all who ask while nothing new
        is on it.
        """
        async with self._telling_strays:
            ledger = self._state().strays
            told, since, rows = self._strays_told.get(ignored, (None, 0.0, []))
            if told is not ledger or monotonic() - since > _STRAYS_FOR:
                rows = await asyncio.to_thread(stray_rows, self._state(), ignored=ignored)
                self._strays_told[ignored] = (ledger, monotonic(), rows)
            return rows

    async def stray(self, mac: str) -> dict[str, object]:
        """For `strays show`."""
        return await asyncio.to_thread(stray_facts, self._state(), mac)

    async def note_stray(self, mac: str, note: str | None) -> dict[str, object]:
        """Have a stray ignored, or counted again (None); what is known of it afterwards.

        Raises:
            Refused: it is not on the ledger, or too many are ignored.
            SurroundingsError: it is so, and could not be kept: a restart would forget it.
        """
        known = on_ledger(self._state(), mac)
        self.report(s.StrayNoted(known, note))
        durable = await self.kept()
        row = self._state().strays.rows.get(known)
        if row is None or (row.note is None) != (note is None):
            hint = f"{NOTED} are the most: pxe-appliance strays --all lists them, strays unignore frees one"
            raise Refused(f"cannot ignore {known}", hint=hint)
        if not durable:
            hint = f"df -h {self._paths.state}"
            raise SurroundingsError(f"{known}: done, but it cannot be kept now", hint=hint)
        return await self.stray(known.text)

    def networks(self) -> list[dict[str, object]]:
        """For `/v1/networks`."""
        return networks_json(self._state(), now(), self.web.outside)

    async def generations(self) -> list[dict[str, object]]:
        """For `/v1/generations`."""
        return await asyncio.to_thread(self._past.listing)

    async def generation(self, number: int) -> dict[str, object]:
        """For `/v1/generations/N`: what it changed."""
        return await asyncio.to_thread(self._past.one, number)

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """For `/metrics`."""
        return await self.observer.page(accept)

    def loads(self) -> Loads:
        """What waits, and what was lost."""
        children = self._children
        return Loads(self._queue.qsize(), self._recorder.dropped, children.skipped, children.crowd.left_out)

    def outside(self) -> Outside:
        """What the decider cannot know of our own doors."""
        return self.web.outside

    def known(self) -> State:
        """Everything that is known at this moment."""
        return self._state()

    async def images(self) -> list[dict[str, object]]:
        """For `/v1/images`."""
        return await asyncio.to_thread(self.web.images.listing)

    async def events(self, *, limit: int, machine: str | None) -> list[str]:
        """For `events`: the newest `limit` of the past."""
        return await asyncio.to_thread(self._recorder.past, limit, machine)

    def subscribe(self, machine: str | None = None) -> asyncio.Queue[str]:
        """For `events -f`."""
        return self._recorder.subscribe(machine)

    def unsubscribe(self, queue: asyncio.Queue[str]) -> None:
        """The end of `events -f`."""
        self._recorder.unsubscribe(queue)

    # ---- what the HTTP side needs (web.Owner) ----

    def served(self) -> Served:
        """The generation that is being served."""
        return self._state().served

    def life(self, machine: str) -> Life:
        """Where a machine is in its life."""
        return self._state().lives.get(machine, Life())

    def ladder(self, machine: str) -> Ladder | None:
        """How far its boot has come."""
        return self._state().ladders.get(machine)

    def lease(self, address: IPv4Address) -> Lease | None:
        """What is held at an address."""
        return self._state().leases.get(str(address))

    def strangers(self) -> Container[Mac]:
        """MACs that asked and are nobody's."""
        return self._state().strays

    def booting(self, client: str) -> str:
        """The release that the machine behind an address is booting from at this moment; else empty."""
        return booting_image(self._state(), client, now())

    async def caught_up(self, client: str) -> None:
        """Know everything that was logged before a machine's question; at once for anybody else."""
        address = client_address(client)
        if address is None or address not in self.served().by_ip:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                await self._children.catch_up()
                await self._queue.join()

    async def kept(self) -> bool:
        """Whether all that was reported so far is decided about and on disk."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), _DECIDE_SECONDS)
        return await asyncio.to_thread(self._recorder.flush)

    def report(self, signal_seen: s.Signal) -> None:
        """Tell the decider."""
        self._queue.put_nowait(signal_seen)

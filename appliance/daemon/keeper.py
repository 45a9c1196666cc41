"""Proves again what is served and could not be proven, and what a way back has left in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from appliance.daemon import unconfirmed
from appliance.daemon.activate import Activator
from appliance.daemon.adopt import settle
from appliance.daemon.changes import Changes
from appliance.daemon.children import Children
from appliance.daemon.desk import Desk
from appliance.daemon.known import State
from appliance.daemon.rounds import Rounds
from appliance.daemon.status import problem
from appliance.errors import ApplianceError, NotProven, SurroundingsError
from appliance.paths import Paths
from appliance.sync import back, confirm
from appliance.sync import run as route
from appliance.system.clock import monotonic

_LOOK: Final = 1.0


@dataclass(slots=True)
class Keeper:
    """One daemon's. `known` says whether nothing has to be proven."""

    paths: Paths
    desk: Desk
    children: Children
    activator: Activator
    state: Callable[[], State]
    changes: Changes
    rounds: Rounds = field(default_factory=Rounds)
    _doubt: dict[str, str] | None = None  # what we have said

    async def watch(self) -> None:
        """Ask again and again, with pauses; for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            changes, served = self.changes, self.state().served
            idle = changes.awaited is None and not changes.lock.locked() and not changes.leaving
            if served.id is None or self.known or not idle:
                continue
            usable = frozenset(filter(self.state().usable, served.settings.networks))
            copied = self.children.stands_in
            # A way back has not ended well, or the disk has not taken it.
            hurried = copied is not None or (served.proven and self.activator.troubled)
            if not self.rounds.due(served.id, usable, monotonic(), hurried=hurried):
                continue
            if not changes.all_serve() and not self.activator.unsure:
                continue
            if copied is None and await asyncio.to_thread(confirm.waiting, self.paths) is not None:
                continue  # for a person
            async with changes.lock:
                await self._round(copied)

    @property
    def known(self) -> bool:
        """Whether what is current is proven, and known to be what every child serves."""
        copied = self.children.stands_in is not None
        return self.state().served.proven and not self.activator.troubled and not copied

    async def _round(self, copied: int | None) -> None:
        """Ask once, and see what it means."""
        served, fit = self.state().served, self._fit()
        try:
            if copied is not None:
                if not await asyncio.to_thread(settle, self.paths, copied, served.files):
                    self.rounds.open(monotonic())  # the copy goes on standing in for it
                    return
                words = "the disk takes changes again: what it did not take is still to be done"
                if lost := self.children.footing.lost:
                    words = f"generation {copied} had been damaged, and was written anew: {lost}"
                self.desk.sync_problem = problem("sync", "warning", words, "pxe-appliance sync")
            shown = await asyncio.to_thread(route.prove_current, self.paths, self.changes.activate)
            await self.changes.readopt()
        except (ApplianceError, OSError) as error:
            its_own = not served.proven and isinstance(error, NotProven)
            await self._failed(served.id, error, fit=its_own and fit and self._fit())
            return
        if not shown:
            self.rounds.open(monotonic())
            return
        if served.proven:
            unconfirmed.calm(self.desk)
        else:
            self.desk.sync_problem = None

    async def _failed(self, number: int | None, error: ApplianceError | OSError, *, fit: bool) -> None:
        """A round has ended badly: go back when enough of them have, with everything `fit`; say so."""
        failure = error if isinstance(error, ApplianceError) else SurroundingsError(str(error))
        if not fit:
            self.rounds.open(monotonic())
        elif self.rounds.failed(monotonic()) and number is not None:
            try:
                left = await asyncio.to_thread(back.leave, self.paths, number, failure, self.changes.activate)
            except ApplianceError as refused:
                left, failure = None, refused
            if left is not None:
                self.changes.failed(route.Request(why="proven again"), left)
                return
        said = self.desk.sync_problem
        if said is None or said == self._doubt:
            words = f"generation {number} does not prove itself: {failure.message}"
            self._doubt = problem("sync", "warning", words, failure.hint or "pxe-appliance prove")
            self.desk.sync_problem = self._doubt

    def _fit(self) -> bool:
        """Whether a question that gets no answer is nobody's fault but that of what is served."""
        state = self.state()
        asked = {machine.network for machine in state.served.inventory.machines}
        networks = asked & state.served.settings.networks.keys()
        return self.changes.all_serve() and all(map(state.usable, networks)) and not self.children.log_is_full

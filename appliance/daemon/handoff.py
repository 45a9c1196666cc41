"""The hand-off to an external Matchbox: pushed where that is wanted, and asked for every machine.

It follows the generation that is served. Whatever the endpoint does degrades `status` and is tried again;
DHCP never waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from appliance.daemon import signals as s
from appliance.daemon.images import Images
from appliance.daemon.served import Served
from appliance.daemon.status import problem
from appliance.matchbox.model import Boot, MachineBoot
from appliance.paths import Paths
from appliance.settings import MatchboxSettings, Push
from appliance.sync.handover import machine_boots, pushed_boot

_LOOK: Final = 1.0  # seconds between looks at the generation
_AGAIN: Final = 30.0  # after something was wrong
_REGULAR: Final = 600.0
_IN_SYNC: Final = 60.0  # that a sync waits for the endpoint's answers

Problems = tuple[dict[str, str], ...]


class Handoff:
    """Brings a generation to the external endpoint, and keeps what is wrong with it for `status`."""

    def __init__(
        self,
        paths: Paths,
        served: Callable[[], Served],
        images: Images,
        tell: Callable[[Problems], None],
        report: Callable[[s.Signal], None],
    ) -> None:
        self._paths = paths
        self._served = served
        self._images = images
        self._tell = tell
        self._report = report
        self._busy = asyncio.Lock()
        self._done: int | None = None
        self._due = 0.0

    async def follow(self) -> None:
        """Hand over each generation once it is served, and again from time to time, for ever."""
        while True:
            served = self._served()
            now = asyncio.get_running_loop().time()
            if served.id is not None and (served.id != self._done or now >= self._due):
                await self.bring()
            await asyncio.sleep(_LOOK)

    async def within_sync(self) -> list[str]:
        """Hand over what a sync has just applied; what was seen, in words. Never raises for the endpoint."""
        try:
            async with asyncio.timeout(_IN_SYNC):
                return await self.bring()
        except TimeoutError:
            return ["matchbox: the endpoint takes long; it is asked on in the background"]

    async def bring(self) -> list[str]:
        """Hand over the generation that is served now."""
        async with self._busy:
            served = self._served()
            if served.id is None or served.settings.matchbox.builtin:
                self._tell(())
                self._done, self._due = served.id, float("inf")
                return []
            # gRPC is needed here and nowhere else in the daemon
            from appliance.matchbox.external import hand_over

            matchbox = served.settings.matchbox
            machines = await asyncio.to_thread(self._machines, served, matchbox)
            report = await hand_over(matchbox, self._paths, machines)
            found = report.problems()
            severity = "warning" if report.reachable else "error"
            fix = f"curl {matchbox.endpoint}/"
            self._report(s.EndpointSeen(report.reachable))
            # That it does not answer, `status` says by itself.
            told = found if report.reachable else replace(report, findings=()).problems()
            self._tell(tuple(problem("matchbox", severity, words, fix) for words in told))
            wait = _AGAIN if found else _REGULAR
            self._done, self._due = served.id, asyncio.get_running_loop().time() + wait
            well = () if found else (f"{len(machines)} machines asked for, each is answered as it should be",)
            return [f"matchbox: {words}" for words in (*report.summary(), *found, *well)]

    def _machines(self, served: Served, matchbox: MatchboxSettings) -> tuple[MachineBoot, ...]:
        """Every machine as the endpoint should know it. Looks at the image store."""
        boots = machine_boots(served.settings, served.inventory, served.ignition)
        if matchbox.push is Push.NONE:
            return boots
        return tuple(self._pushed(served, boot) for boot in boots)

    def _pushed(self, served: Served, one: MachineBoot) -> MachineBoot:
        """With what our image store has for it now, at our own address: the endpoint has none of it."""
        machine = served.machines[one.name]
        profile = served.inventory.profiles.get(machine.profile or "")
        if one.profile is None or profile is None:
            return one
        ours = replace(served.settings, matchbox=MatchboxSettings())
        found = self._images.boot(ours, machine, profile)
        if not isinstance(found, Boot):
            return one
        boot = pushed_boot(served.settings, served.settings.networks[machine.network], found)
        return replace(one, profile=replace(one.profile, boot=boot))

"""Keeps the guard standing: the table of rules that lets no answer of ours leave by another interface.

It is put up before a child answers, follows what is served, and is mended when somebody flushes the host's
rules. A daemon that dies leaves it; the next one replaces it in one transaction; a clean stop takes it down.
dnsmasq's sockets are bound to their interfaces all the same: where nft is not there, we serve and say so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Set
from typing import Final

from appliance.daemon import signals as s
from appliance.daemon.guard_rules import FORWARDED, ruleset
from appliance.daemon.known import State
from appliance.daemon.limits import LIMITED, STRANGERS_CONNECT, Known
from appliance.daemon.served import Served
from appliance.daemon.status import problem
from appliance.errors import SurroundingsError
from appliance.settings import Settings
from appliance.system import netfilter
from appliance.system.clock import monotonic
from appliance.system.netfilter import FAMILY, TABLE
from appliance.system.safety import dangers

_EVERY: Final = 1.0  # seconds between looks: a number by netlink, as long as nobody changes a rule
_LIST_EVERY: Final = 2.0  # at most: hosts of containers change rules all the time
_AGAIN: Final = 15.0  # after a failure; and where the kernel tells no number
_COUNT_EVERY: Final = 5.0
_REMEMBERED: Final = 600.0 / _COUNT_EVERY
_log = logging.getLogger("pxe-appliance")


class Guard:
    """The one of this daemon. Waits for nft in threads alone."""

    def __init__(self, report: Callable[[s.Signal], None], state: Callable[[], State]) -> None:
        """`report` is told of networks that must not be served; `state` knows which are withheld."""
        self._report = report
        self._state = state
        self._uid = os.geteuid()
        self._busy = threading.Lock()
        self._settings: Settings | None = None
        self._nics = Known()
        self._wanted = ""  # the rules as text,
        self._standing: str | None = None  # as the kernel had them when they were put up,
        self._tried = False  # what nft was given may stand, whatever became of it
        self._number: int | None = None  # and the number of that state of all rules
        self._failure = ""
        self._look_at = float("-inf")
        self._count_at = float("-inf")
        self._passed: deque[int] = deque(maxlen=int(_REMEMBERED))  # packets not forwarded, by looks
        self._turned_away: deque[int] = deque(maxlen=int(_REMEMBERED))  # strangers' connections, by looks

    @property
    def problems(self) -> tuple[dict[str, str], ...]:
        """In the public shape of `status`."""
        found = []
        if self._failure:
            words = f"the guard of the other interfaces does not stand: {self._failure}"
            fix = "apt install nftables" if "not installed" in self._failure else "nft list ruleset"
            found.append(problem("guard-missing", "warning", words, fix))
        if self._passed and self._passed[-1] > self._passed[0]:
            words = (
                f"{self._passed[-1] - self._passed[0]} packets between a PXE network and others were "
                "not forwarded in the last minutes: this host does not route for it"
            )
            fix = 'forwarding = "allow" under [network.NAME] where this host is meant to be its router'
            found.append(problem("forwarding-denied", "warning", words, fix))
        if self._turned_away and self._turned_away[-1] > self._turned_away[0] and self._settings:
            words = (
                f"{self._turned_away[-1] - self._turned_away[0]} new HTTP connections of those who are no "
                "machines were too many, and were dropped in the last minutes: machines go first"
            )
            fix = f"tcpdump -c 50 -eni any tcp dst port {self._settings.http.port}"
            found.append(problem("http-crowded", "warning", words, fix))
        return tuple(found)

    async def follow(self, served: Served) -> None:
        """Put up the guard for what is served from now on, before any child of it is started.

        What must not be served is reported first.
        """
        settings, nics = served.settings, Known.of(served)
        found = await asyncio.to_thread(dangers, settings.networks.values())
        for name in settings.networks:
            self._report(s.SafetySeen(name, found.get(name)))
        await asyncio.to_thread(self._follow, settings, nics, found.keys())

    def _follow(self, settings: Settings, nics: Known, withheld: Set[str]) -> None:
        with self._busy:
            self._settings, self._nics = settings, nics
            wanted = ruleset(settings, withheld, self._uid, nics)
            if wanted != self._wanted or self._standing is None:
                self._put_up(wanted)

    async def keep(self) -> None:
        """Follow what is withheld, and mend what somebody took away, for ever."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(_EVERY)

    async def take_down(self) -> None:
        """Leave the host's rules as they were before us; after the last child has ended."""
        await asyncio.to_thread(self._take_down)

    def _take_down(self) -> None:
        with self._busy:
            self._settings = None
            if self._tried:
                try:
                    netfilter.delete(FAMILY, TABLE)
                except SurroundingsError as error:
                    _log.warning("the guard stays: %s", error.message)

    def _look(self) -> None:
        with self._busy:
            if self._settings is None:
                return
            wanted = ruleset(self._settings, self._state().dangers.keys(), self._uid, self._nics)
            if wanted != self._wanted:
                self._put_up(wanted)
            elif monotonic() < self._look_at:
                return
            elif self._standing is None:
                self._put_up(wanted)
            elif monotonic() >= self._count_at or netfilter.generation() != self._number:
                self._compare(wanted)

    def _compare(self, wanted: str) -> None:
        """Hold the table against what was put up."""
        number, began = netfilter.generation(), monotonic()
        try:
            table = netfilter.table(FAMILY, TABLE)
        except SurroundingsError as error:
            self._failed(error.message)
            return
        if table is None or table.content != self._standing:
            _log.warning("the guard (nft table %s %s) was changed: it is put up again", FAMILY, TABLE)
            self._put_up(wanted)
            return
        self._number = number
        self._look_at = monotonic() + (_LIST_EVERY if number is not None else _AGAIN)
        if monotonic() >= self._count_at:
            self._count(table, monotonic() - began)

    def _count(self, table: netfilter.Table, took: float) -> None:
        # A large inventory is a long table: a hundredth of the time is enough for it.
        self._count_at = monotonic() + max(_COUNT_EVERY, 100 * took)
        self._passed.append(sum(n for rule, n in table.packets.items() if rule.startswith(FORWARDED)))
        self._turned_away.append(table.packets.get(f"{LIMITED}: {STRANGERS_CONNECT}", 0))

    def _put_up(self, wanted: str) -> None:
        self._wanted, self._standing, self._tried = wanted, None, True
        self._passed.clear()  # the counters begin anew
        self._turned_away.clear()
        try:
            table, self._number = netfilter.put_up(wanted, FAMILY, TABLE)
        except SurroundingsError as error:
            self._failed(error.message)
            return
        if self._failure:
            _log.info("the guard stands again")
        self._standing, self._failure = table.content, ""
        self._look_at = float("-inf")
        self._count(table, 0.0)

    def _failed(self, why: str) -> None:
        if why != self._failure:
            _log.warning("the guard cannot be put up: %s", why)
        self._failure, self._standing = why, None
        self._look_at = monotonic() + _AGAIN

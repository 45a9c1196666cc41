"""The watch for other DHCP servers, and for what clients say of themselves, on every network. Only reports.

Nothing in here is needed to serve: whatever goes wrong costs the watch, is told, and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any, Final

from appliance.addresses import Mac
from appliance.daemon import signals as s
from appliance.daemon.claims import Claims
from appliance.daemon.ear import Ear
from appliance.daemon.known import State
from appliance.daemon.overheard import Overheard, answering_server, chosen_server, client_uuid
from appliance.daemon.question import Question, Rhythm, Strangers, server_of, with_mac
from appliance.daemon.served_lately import ServedLately
from appliance.dnsmasq.lifecycle import Phase
from appliance.paths import Paths
from appliance.settings import NetworkMode, NetworkSettings
from appliance.system.clock import monotonic

BEAT: Final = 0.25  # with `ear.AT_ONCE`: so many packets a second are read, and no flood costs more
_AGAIN: Final = 5.0  # seconds after which the same server is worth another report
_ASK_AGAIN: Final = 5.0  # seconds after a question that could not be sent
_REMEMBERED: Final = 4096  # clients and servers; a forged one each packet only empties the memory
_LOOKED_UP: Final = 8  # MACs at a time
_NOTE_EVERY: Final = 5.0
_log = logging.getLogger("pxe-appliance")


@dataclass(slots=True)
class _Post:
    """The watch on one network."""

    network: NetworkSettings
    ear: Ear
    strangers: Strangers = field(default_factory=Strangers)
    ask_at: float = 0.0
    question: Question | None = None


class Lookout:
    """Reports ClientHeard, ServerHeard and ServersProbed; notes which networks are served."""

    def __init__(
        self,
        paths: Paths,
        report: Callable[[s.Signal], None],
        state: Callable[[], State],
        expect: Callable[[int], None],
        rhythm: Rhythm,
    ) -> None:
        """`expect` is told the transaction ids of our own questions."""
        self._report = report
        self._state = state
        self._expect = expect
        self._rhythm = rhythm
        self._lately = ServedLately(Path(paths.served_lately))
        self._posts: dict[str, _Post] = {}
        self._ours: frozenset[IPv4Address] = frozenset()
        self._uuids: OrderedDict[tuple[str, Mac], str] = OrderedDict()
        self._told: OrderedDict[tuple[str, IPv4Address, str], float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._deaf: dict[str, str] = {}
        self._claims = Claims()

    @property
    def problems(self) -> tuple[dict[str, str], ...]:
        """Networks that cannot be watched, or that another of us serves, in the public shape of `status`."""
        twice = tuple(
            {
                "id": "rogue-server",
                "severity": "error",
                "message": f"another pxe-appliance (process {pid}) answers DHCP on {interface}, too",
                "fix": f"ps -fp {pid}",
            }
            for interface, pid in sorted(self._claims.others.items())
        )
        return twice + tuple(
            {
                "id": "rogue-watch",
                "severity": "warning",
                "message": f"cannot watch for other DHCP servers on {name}: {why}",
                "fix": "ss -ulpn '( sport = :67 or sport = :68 )'",
            }
            for name, why in sorted(self._deaf.items())
        )

    def start(self) -> None:
        """Watch from now on, in a task of its own; one that fails is a bug of ours, and begins anew."""
        self._watch = asyncio.create_task(self._keep(), name="lookout")
        self._watch.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End the watch and let go of every socket."""
        tasks = [task for task in (self._watch, *self._tasks) if task is not None]
        self._watch = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close_all()
        self._claims.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None or self._watch is None:
            return
        _log.error("the watch for other DHCP servers failed, and begins anew: %r", error)
        self._close_all()
        asyncio.get_running_loop().call_later(self._rhythm.window, self._restart)

    def _restart(self) -> None:
        if self._watch is not None:  # not stopped in between
            self.start()

    def _close_all(self) -> None:
        for post in self._posts.values():
            post.ear.close()
        self._posts.clear()

    async def _keep(self) -> None:
        """Look around for ever."""
        looked = noted = float("-inf")
        noted_of: set[str] = set()
        while True:
            if monotonic() - looked >= 1.0 or self._newcomers():
                looked = monotonic()
                self._look()
                serving = self._serving()
                if {n.name for n in serving} - noted_of or monotonic() - noted >= _NOTE_EVERY:
                    noted, noted_of = monotonic(), {n.name for n in serving}
                    await asyncio.to_thread(self._lately.note, serving)
            for post in self._posts.values():
                self._listen(post)
                self._ask(post)
            await asyncio.sleep(min(BEAT, self._rhythm.window / 4))

    # ---- where to listen ----

    def _look(self) -> None:
        """Open, close and open again: interfaces come late, go, and get other names."""
        state = self._state()
        networks = state.served.settings.networks
        seen = [text for interface in state.interfaces.values() for text in interface.addresses]
        self._ours = frozenset(
            {*(n.address for n in networks.values()), *(IPv4Interface(a).ip for a in seen)}
        )
        for name, post in list(self._posts.items()):
            wanted = networks.get(name)
            same = wanted is not None and (wanted.interface, wanted.mode, wanted.subnet) == (
                post.network.interface,
                post.network.mode,
                post.network.subnet,
            )
            if not same or not state.usable(name) or not post.ear.attached:
                post.ear.close()
                del self._posts[name]
        self._claims.follow(n.interface for n in networks.values() if n.mode is NetworkMode.DHCP)
        self._deaf = {name: why for name, why in self._deaf.items() if state.usable(name)}
        for name, network in networks.items():
            if name not in self._posts and state.usable(name):
                self._open(name, network)

    def _newcomers(self) -> bool:
        """Whether a network can be listened on that was not a moment ago."""
        state = self._state()
        known = self._posts.keys() | self._deaf.keys()
        return any(n not in known and state.usable(n) for n in state.served.settings.networks)

    def _open(self, name: str, network: NetworkSettings) -> None:
        try:
            self._posts[name] = _Post(network, Ear(network.interface), ask_at=monotonic())
        except OSError as error:
            why = error.strerror or str(error)
            if self._deaf.get(name) != why:
                _log.warning("cannot watch for other DHCP servers on %s: %s", name, why)
            self._deaf[name] = why
        else:
            self._deaf.pop(name, None)

    # ---- what is heard ----

    def _listen(self, post: _Post) -> None:
        for heard in post.ear.from_clients():
            if heard.source not in self._ours:  # our own questions come round to us
                self._client(post, heard)
        for heard in post.ear.from_servers():
            self._server(post, heard)

    def _client(self, post: _Post, heard: Overheard) -> None:
        packet, name = heard.packet, post.network.name
        said = client_uuid(packet)
        if said is not None and self._uuids.get((name, packet.mac)) != said:
            self._uuids[name, packet.mac] = said
            if len(self._uuids) > _REMEMBERED:
                self._uuids.popitem(last=False)
            self._report(s.ClientHeard(name, packet.mac, said))
        chosen = chosen_server(packet, self._ours)
        if chosen is not None:
            self._tell(post.network, s.OtherServer(chosen), chosen, "request")

    def _server(self, post: _Post, heard: Overheard) -> None:
        address = answering_server(heard, self._ours)
        if address is None:
            return
        ours = post.question is not None and post.question.answered_by(heard, self._ours)
        self._tell(
            post.network, server_of(address, heard.packet), heard.source, "probe" if ours else "broadcast"
        )

    def _tell(self, network: NetworkSettings, server: s.OtherServer, source: IPv4Address, how: str) -> None:
        """Report a server, now and then; with its MAC when the wire can be asked for it."""
        key, now = (network.name, server.address, how), monotonic()
        if now - self._told.get(key, float("-inf")) < _AGAIN:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        if network.mode is not NetworkMode.DHCP:
            return  # it is meant to be there; who gives addresses there, the questions tell
        if len(self._tasks) >= _LOOKED_UP:
            self._report(s.ServerHeard(network.name, server, how))
            return
        self._spawn(self._tell_with_mac(network, server, source, how))

    async def _tell_with_mac(
        self, network: NetworkSettings, server: s.OtherServer, source: IPv4Address, how: str
    ) -> None:
        found = await with_mac(server, source, network.interface)
        self._report(s.ServerHeard(network.name, found, how))

    # ---- what is asked ----

    def _ask(self, post: _Post) -> None:
        if post.question is None and monotonic() >= post.ask_at:
            post.ask_at = monotonic() + self._rhythm.every
            post.question = Question(post.ear, post.strangers, self._rhythm, self._expect)
        question = post.question
        if question is None:
            return
        try:
            question.send()
        except OSError:  # down or gone: what was not asked everywhere proves nothing
            post.question = None
            post.ask_at = monotonic() + _ASK_AGAIN
            return
        if question.over:
            post.question = None
            self._spawn(self._conclude(post.network, question))

    async def _conclude(self, network: NetworkSettings, question: Question) -> None:
        self._report(s.ServersProbed(network.name, await question.servers(network.interface)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="other server")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what is noted ----

    def _serving(self) -> list[NetworkSettings]:
        """The networks that are served right now: noted for a daemon that takes our place in a moment."""
        state = self._state()
        return [
            network
            for network in state.served.settings.networks.values()
            if network.mode is NetworkMode.DHCP
            and (child := state.children.get(f"dhcp:{network.name}")) is not None
            and child.phase is Phase.SERVING
            and state.usable(network.name)
        ]

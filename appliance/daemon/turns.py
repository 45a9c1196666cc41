"""Strangers take turns: what their requests cost the one event loop is bounded, however fast they ask.

The gate counts connections. Those that a stranger may have were enough to keep machines waiting for twelve
seconds: each asked again as soon as it was answered (measured). So a request that is no machine's begins when
its turn comes. One NIC after the other has a turn, so that nobody else waits long for one who asks much; and
after each, the loop is for others, three times as long as the turn took. Machines, in what they boot by, and
this host wait for nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from appliance.daemon.gate import TOLD_FOR, Peer
from appliance.daemon.page import from_here
from appliance.daemon.status import problem
from appliance.daemon.visitors import guarded
from appliance.system.clock import monotonic

REST: Final = 3.0  # of the loop's time, strangers together have the fourth part
PATIENCE: Final = 4.0  # seconds that a request waits for its turn: a scrape gives up after ten
LONGEST_LINE: Final = 128  # requests of one NIC that wait: twice what it has connections
_LONGEST_TURN: Final = 5.0  # seconds: a disk that does not answer keeps nobody else from theirs
_LONGEST_REST: Final = 1.0
_AT_LAST: Final = 16  # requests, of some 30 ms at most each
_NAMED: Final = 1024  # NICs whose refused requests are counted

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One request. `begins` is whether it may; `over`: it is answered. A `whole` one is waited for."""

    transport: asyncio.BaseTransport
    whole: bool
    begins: asyncio.Future[bool]
    over: asyncio.Event = field(default_factory=asyncio.Event)


_TURN: Final[ContextVar[Turn | None]] = ContextVar("turn", default=None)  # of the request that is answered


class Turns:
    """Who waits, by the NIC that asks, and who was refused. Of one event loop."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Turn]] = {}  # in the order in which they have their turns
        self._giving: asyncio.Task[None] | None = None
        self._refused = Counter[tuple[str, str]]()  # by NIC and address
        self._refused_at = float("-inf")
        self.leaving = False
        self._last = 0  # so many more are answered before another program takes over

    def leave(self, leaving: bool) -> None:
        """Whether another program takes over: nobody is let wait for a turn, for each is owed an answer.

        A few get theirs at once. The others are refused: all of them would take too long.
        """
        self.leaving, self._last = leaving, _AT_LAST
        for turn in (turn for line in self._lines.values() for turn in line if leaving):
            if not turn.begins.done():
                turn.begins.set_result(self._one_of_the_last())

    def _one_of_the_last(self) -> bool:
        self._last -= 1
        return self._last >= 0

    async def come(self, peer: Peer, transport: asyncio.BaseTransport, *, whole: bool) -> Turn | None:
        """Wait for a turn; None where none came, or who asked is gone.

        Whoever has one says when it is `over`. A `whole` turn is what nothing but this host can draw out: the
        next one waits for its end. The others may wait for their client, and nobody waits for them.
        """
        if self.leaving:
            begins = asyncio.get_running_loop().create_future()
            begins.set_result(True)
            return Turn(transport, whole, begins) if self._one_of_the_last() else None
        line = self._lines.setdefault(peer.holder, deque())
        if len(line) >= LONGEST_LINE:
            self._refuse(peer)
            return None
        turn = Turn(transport, whole, asyncio.get_running_loop().create_future())
        line.append(turn)
        if self._giving is None:
            self._giving = asyncio.create_task(self._give(), name="turns of strangers")
        try:
            async with asyncio.timeout(PATIENCE):
                return turn if await turn.begins else None
        except TimeoutError:
            turn.over.set()  # it may have begun at this very moment
            self._refuse(peer)
            return None

    def problems(self) -> list[dict[str, str]]:
        """What an operator has to know, for as long as it goes on."""
        if monotonic() - self._refused_at > TOLD_FOR:
            return []
        ((holder, address), most) = self._refused.most_common(1)[0]
        message = (
            "those who are no machines ask for more by HTTP than they are answered, and machines go first: "
            f"{self._refused.total()} requests were refused; most are {holder}'s ({most})"
        )
        return [problem("http-crowded", "warning", message, f"ip neigh show {address}")]

    def _refuse(self, peer: Peer) -> None:
        if monotonic() - self._refused_at > TOLD_FOR or len(self._refused) >= _NAMED:
            self._refused.clear()
        self._refused_at = monotonic()
        self._refused[peer.holder, peer.address] += 1

    async def _give(self) -> None:
        """Give turns until nobody waits."""
        while (turn := self._next()) is not None:
            began = monotonic()
            turn.begins.set_result(True)
            await asyncio.sleep(0)  # it goes as far as it comes without waiting
            if turn.whole:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LONGEST_TURN):
                        await turn.over.wait()
            await asyncio.sleep(min(REST * (monotonic() - began), _LONGEST_REST))
        self._giving = None

    def _next(self) -> Turn | None:
        while self._lines:
            holder = next(iter(self._lines))
            line = self._lines.pop(holder)
            turn = line.popleft()
            if line:
                self._lines[holder] = line
            if turn.begins.done():  # it waited too long
                continue
            if not turn.transport.is_closing():
                return turn
            turn.begins.set_result(False)
        return None


def in_turn(turns: Turns, peer_of: Callable[[asyncio.BaseTransport], Peer]) -> Middleware:
    """A middleware that lets strangers' requests wait for their turns, and whatever asks for a listing."""

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport, listing = request.transport, guarded(request.path)
        if from_here(request) or (transport is None and not listing):
            return await handler(request)
        turn = None
        if transport is not None:
            peer = peer_of(transport)
            if peer.expected and not listing:
                return await handler(request)
            turn = await turns.come(peer, transport, whole=listing)
        if turn is None:
            words = {"error": "too much is asked at once, and machines go first"}
            refused = web.json_response(words, status=503, headers={"Retry-After": "5"})
            if turns.leaving:
                refused.force_close()
            return refused
        token = _TURN.set(turn)
        try:
            return await handler(request)
        finally:
            _TURN.reset(token)
            turn.over.set()

    return wait


async def note_answered(_: web.Request, __: web.StreamResponse) -> None:
    """An answer begins to be sent: what is left of it is at its client's pace, and no turn."""
    if (turn := _TURN.get()) is not None:
        turn.over.set()

"""Turns: what no machine asks is answered at a bounded cost, fairly; machines and this host do not wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from appliance.daemon import turns as module
from appliance.daemon.gate import Peer
from appliance.daemon.turns import LONGEST_LINE, REST, Turns, in_turn, note_answered

SECONDS = 20.0


class Wire(asyncio.Transport):
    """A connection that is there until it is told to be gone."""

    gone = False

    def is_closing(self) -> bool:
        return self.gone


def of(number: int, *, expected: bool = False) -> Peer:
    return Peer(f"172.0.3.{number}", f"02:00:00:00:00:{number:02x}", inside=True, expected=expected)


def run(talk: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await talk()

    asyncio.run(bounded())


async def one(turns: Turns, peer: Peer, cost: float, *, whole: bool = True, wire: Wire | None = None) -> bool:
    """A request that takes the loop so many seconds; whether it had its turn."""
    turn = await turns.come(peer, wire or Wire(), whole=whole)
    if turn is None:
        return False
    time.sleep(cost)  # noqa: ASYNC251 - as a listing does
    turn.over.set()
    return True


def test_strangers_together_have_a_fourth_of_the_loop_s_time() -> None:
    async def talk() -> None:
        turns, began = Turns(), time.monotonic()
        told = await asyncio.gather(*(one(turns, of(n), 0.01) for n in range(20)))
        assert all(told)
        # The last one's rest is nobody's to wait for.
        assert time.monotonic() - began >= 0.01 * 20 + REST * 0.01 * 19
        assert turns.problems() == []

    run(talk)


def test_one_nic_after_the_other_has_a_turn() -> None:
    """Who asks once waits for one turn of each, whatever the others have waiting."""
    done: list[Peer] = []

    async def ask(turns: Turns, peer: Peer) -> None:
        assert await one(turns, peer, 0.001)
        done.append(peer)

    async def talk() -> None:
        turns, greedy, scraper = Turns(), of(1), of(2)
        asked = [asyncio.create_task(ask(turns, greedy)) for _ in range(50)]
        await asyncio.sleep(0)
        asked.append(asyncio.create_task(ask(turns, scraper)))
        await asyncio.gather(*asked)
        assert done.index(scraper) <= 2

    run(talk)


def test_who_waits_too_long_is_refused_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)

    async def talk() -> None:
        turns = Turns()
        told = await asyncio.gather(*(one(turns, of(7), 0.02) for _ in range(60)), one(turns, of(8), 0.02))
        assert told[-1] is True, "another NIC had its turn"
        refused = told.count(False)
        assert refused
        (found,) = turns.problems()
        assert (found["id"], found["severity"]) == ("http-crowded", "warning")
        assert found["fix"] == "ip neigh show 172.0.3.7"
        assert f"{refused} requests were refused; most are 02:00:00:00:00:07's" in found["message"]

    run(talk)


def test_a_line_has_an_end() -> None:
    async def talk() -> None:
        turns, asked = Turns(), LONGEST_LINE + 10
        told = await asyncio.gather(*(one(turns, of(7), 0.0, whole=False) for _ in range(asked)))
        assert (told.count(True), told.count(False)) == (LONGEST_LINE, 10)
        assert await one(turns, of(7), 0.0), "and they may come again"

    run(talk)


def test_who_left_takes_no_turn_and_who_is_slow_none_of_others() -> None:
    async def talk() -> None:
        turns, left = Turns(), Wire()
        left.gone = True
        slow = await turns.come(of(1), Wire(), whole=False)  # a body that does not come
        assert slow is not None
        assert not await one(turns, of(2), 0.0, wire=left)
        assert await one(turns, of(3), 0.0)
        assert turns.problems() == [], "nobody was refused"

    run(talk)


def test_a_disk_that_does_not_answer_keeps_nobody_from_his_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_TURN", 0.1)

    async def talk() -> None:
        turns = Turns()
        assert await turns.come(of(1), Wire(), whole=True) is not None, "and it is never over"
        assert await one(turns, of(2), 0.0)

    run(talk)


# ---- as a middleware ----


@dataclass
class Side:
    """A server on every loopback address, and who is taken for whom."""

    port: int = 0
    turns: Turns = field(default_factory=Turns)
    expected: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def ask(self, path: str, source: str) -> int:
        """Ask 127.0.0.1 from another address, or from its own; the status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.readline()
        writer.close()
        return int(answer.split()[1])


@asynccontextmanager
async def serving() -> AsyncIterator[Side]:
    side = Side()

    def peer(transport: asyncio.BaseTransport) -> Peer:
        address = transport.get_extra_info("peername")[0]
        side.asked.append(address)
        return Peer(address, address, inside=True, expected=address in side.expected)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/endless":
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(SECONDS)
        return web.Response(text="ok")

    app = web.Application(middlewares=[in_turn(side.turns, peer)])
    app.on_response_prepare.append(note_answered)
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    side.port = runner.addresses[0][1]
    try:
        yield side
    finally:
        await runner.cleanup()


def test_machines_in_what_they_boot_by_and_this_host_need_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 0)

    async def talk() -> None:
        async with serving() as side:
            side.expected = {"127.0.0.2"}
            for path in ("/boot.ipxe", "/assets/a", "/ignition", "/v1/report", "/healthz"):
                assert await side.ask(path, "127.0.0.2") == 200
                assert await side.ask(path, "127.0.0.3") == 503, "a stranger"
            for path in ("/v1/machines", "/metrics", "/ui/"):
                assert await side.ask(path, "127.0.0.2") == 503, "no machine boots by that"
                assert await side.ask(path, "127.0.0.1") == 200, "a tunnel ends here"

    run(talk)


def test_a_stream_is_no_turn() -> None:
    """Its client draws it out: those who come after it would wait for that."""

    async def talk() -> None:
        async with serving() as side:
            assert await side.ask("/v1/endless", "127.0.0.2") == 200
            waited: Awaitable[int] = side.ask("/v1/machines", "127.0.0.3")
            began = time.monotonic()
            assert await waited == 200
            assert time.monotonic() - began < SECONDS / 4

    run(talk)

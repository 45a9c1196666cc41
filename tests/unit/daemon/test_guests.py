"""Connections that another server goes on with, as if nothing had happened: over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web

from appliance.daemon.door import Door, listens, tcp_listener, unix_listener
from appliance.daemon.guests import Reception, freeze, guests_of, thaw, unanswered
from appliance.daemon.handed_over import Guest
from appliance.matchbox.conditional import Span
from appliance.matchbox.methods import Connection
from appliance.matchbox.request import RequestRecord
from appliance.matchbox.sending import FileResponse

CONTENT = os.urandom(1 << 16) * 128
PATIENCE = 20.0


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


@dataclass
class Side:
    """A server that sends one file, and its door."""

    server: web.Server
    door: Door
    port: int
    slow: asyncio.Event

    async def ready(self) -> tuple[Guest, ...]:
        """Its guests, once nobody waits for anything else."""
        async with asyncio.timeout(PATIENCE):
            while True:
                freeze(self.server)
                if not unanswered(self.server):
                    return guests_of(self.server)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(file: Path) -> AsyncIterator[Side]:
    slow = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            await slow.wait()
            return web.Response(text="late")
        with file.open("rb") as stream:
            response = FileResponse(stream, 200, {}, [Span(0, len(CONTENT))], request.path)
            await response.prepare(request)
        return response

    server = web.Server(answer)
    listener = tcp_listener("127.0.0.1", 0)
    door = Door(listener, lambda: Connection(server))
    await door.open()
    try:
        yield Side(server, door, listener.getsockname()[1], slow)
    finally:
        door.close()
        await server.shutdown(0.1)


class Client:
    """A client that reads no faster than it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, side: Side) -> Client:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", side.port))
        return cls(*await asyncio.open_connection(sock=sock, limit=1 << 14))

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def body(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)


def exec_away(side: Side, guests: tuple[Guest, ...]) -> list[Guest]:
    """What exec does: the guests' descriptors stay open, all of the server is gone."""
    kept = []
    for guest in guests:
        sending = guest.sending and replace(guest.sending, fd=os.dup(guest.sending.fd))
        kept.append(replace(guest, fd=os.dup(guest.fd), sending=sending))
    for connection in side.server.connections:
        assert connection.transport is not None
        connection.transport.abort()
    return kept


def test_a_download_goes_on_where_it_was_and_twice(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(CONTENT)
    seen: list[RequestRecord] = []
    begun: list[tuple[str, int]] = []

    async def talk() -> None:
        async with serving(file) as first, serving(file) as second, serving(file) as third:
            client = await Client.of(first)
            client.writer.write(b"GET /kernel HTTP/1.1\r\nHost: x\r\n\r\n")
            head, got = await client.head(), await client.body(1 << 20)
            assert b" 200 " in head
            (guest,) = exec_away(first, await first.ready())
            assert guest.sending is not None
            assert guest.sending.sent == guest.sending.start > 1 << 20
            reception = Reception(
                second.server, lambda _, path, size: begun.append((path, size)), seen.append
            )
            going = asyncio.create_task(reception.admit(guest))
            got += await client.body(1 << 20)
            (later,) = reception.guests()
            assert later.sending is not None
            assert later.sending.start > guest.sending.start
            again = replace(
                later, fd=os.dup(later.fd), sending=replace(later.sending, fd=os.dup(later.sending.fd))
            )
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            seen.clear()
            last = Reception(third.server, lambda _, path, size: begun.append((path, size)), seen.append)
            going = asyncio.create_task(last.admit(again))
            got += await client.body(len(CONTENT) - len(got))
            assert got == CONTENT
            await asyncio.wait_for(going, PATIENCE)
            assert last.guests() == ()
            client.writer.write(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await client.head()
            assert await client.body(len(CONTENT)) == CONTENT
            client.writer.close()

    asyncio.run(talk())
    (record,) = seen
    assert (record.path, record.sent, record.complete, record.client) == (
        "/kernel", len(CONTENT), True, "127.0.0.1",
    )  # fmt: skip
    assert begun[-1] == ("/kernel", 0)


def test_half_a_request_is_completed_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(CONTENT)

    async def talk() -> None:
        async with serving(file) as first, serving(file) as second:
            fresh, half = await Client.of(first), await Client.of(first)
            half.writer.write(b"GET /ker")
            await until(lambda: any(guest.unread for guest in guests_of(first.server)))
            await until(lambda: len(first.server.connections) == 2)
            guests = exec_away(first, await first.ready())
            assert sorted(guest.unread for guest in guests) == [b"", b"GET /ker"]
            reception = Reception(second.server, lambda *_: None, lambda _: None)
            for guest in guests:
                await reception.admit(guest)
            half.writer.write(b"nel HTTP/1.1\r\nHost: x\r\n\r\n")
            fresh.writer.write(b"GET /kernel HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in (half, fresh):
                assert b" 200 " in await client.head()
                assert await client.body(len(CONTENT)) == CONTENT
                client.writer.close()

    asyncio.run(talk())


def test_half_a_request_of_any_length_is_not_kept(tmp_path: Path) -> None:
    async def talk() -> None:
        async with serving(tmp_path / "none") as side:
            client = await Client.of(side)
            client.writer.write(b"GET / HTTP/1.1\r\n")
            await until(lambda: any(guest.unread for guest in guests_of(side.server)))
            (connection,) = side.server.connections
            connection.data_received(b"".join(b"X-%d: %s\r\n" % (n, b"x" * 8000) for n in range(20)))
            assert guests_of(side.server) == ()
            assert not unanswered(side.server)
            client.writer.close()

    asyncio.run(talk())


def test_an_answer_under_way_is_waited_for_and_reading_can_go_on(tmp_path: Path) -> None:
    async def talk() -> None:
        async with serving(tmp_path / "none") as side:
            client = await Client.of(side)
            client.writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: unanswered(side.server) > 0)
            assert guests_of(side.server) == ()
            side.slow.set()
            (guest,) = await side.ready()
            assert guest.unread == b""
            assert b" 200 " in await client.head()
            assert await client.body(4) == b"late"
            client.writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            thaw(side.server)
            assert b" 200 " in await client.head()
            client.writer.close()

    asyncio.run(talk())


def test_a_door_that_is_paused_turns_nobody_away(tmp_path: Path) -> None:
    async def talk() -> None:
        async with serving(tmp_path / "none") as side:
            side.slow.set()
            side.door.pause()
            client = await Client.of(side)
            client.writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(20):
                await asyncio.sleep(0)
            assert side.server.connections == []
            await side.door.open()
            assert b" 200 " in await client.head()
            client.writer.close()

    asyncio.run(talk())


def test_only_a_listening_socket_listens(tmp_path: Path) -> None:
    with unix_listener(tmp_path / "socket") as listener, (tmp_path / "file").open("wb") as file:
        assert not listens(listener.fileno())
        listener.listen()
        assert listens(listener.fileno())
        assert not listens(file.fileno())
        assert not listens(10_000)

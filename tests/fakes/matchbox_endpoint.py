"""The real endpoint on a loopback port, in a thread of its own, and a client that sends targets verbatim."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web

from appliance.matchbox.assets import AssetRoot
from appliance.matchbox.methods import Connection
from appliance.matchbox.model import MachineBoot
from appliance.matchbox.request import RequestRecord, Resolve, Tell
from appliance.matchbox.server import Endpoint, hide_server
from appliance.matchbox.store import DataDirectory, follow

DEADLINE = 20.0


@dataclass
class Served:
    """A running endpoint; `records` grows as it answers."""

    port: int
    endpoint: Endpoint
    records: list[RequestRecord]
    loop: asyncio.AbstractEventLoop

    def call(self, work: Callable[[], None]) -> None:
        """Do `work` where the endpoint runs, and wait for it."""

        async def main() -> None:
            work()

        asyncio.run_coroutine_threadsafe(main(), self.loop).result(DEADLINE)


@dataclass(frozen=True)
class Reply:
    """An answer as it came off the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header by name in any case."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


@contextlib.contextmanager
def serving(
    data: Path | None = None,
    roots: Sequence[AssetRoot] = (),
    machines: Iterable[MachineBoot] = (),
    resolve: Resolve | None = None,
    tell: Tell | None = None,
    follow_every: float | None = None,
) -> Iterator[Served]:
    """Run the endpoint over a data directory until the block ends; `follow_every`: seconds between looks."""
    records: list[RequestRecord] = []
    endpoint = Endpoint(roots=roots, observer=records.append, resolve=resolve, tell=tell)
    directory = DataDirectory(data) if data is not None else None
    if directory is not None:
        endpoint.use_snapshot(directory.refresh())
    endpoint.use_machines(machines)
    loop = asyncio.new_event_loop()
    ports: list[int] = []
    ready = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        app = web.Application()
        app.add_routes(endpoint.routes())
        app.on_response_prepare.append(hide_server)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        server = await loop.create_server(partial(Connection, runner.server), "127.0.0.1", 0)
        ports.append(int(server.sockets[0].getsockname()[1]))
        ready.set()
        if directory is not None and follow_every is not None:
            following = asyncio.create_task(follow(directory, endpoint.use_snapshot, follow_every))
            await stop.wait()
            following.cancel()
        await stop.wait()
        server.close()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(DEADLINE)
    try:
        yield Served(ports[0], endpoint, records, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)
        assert not thread.is_alive()
        loop.close()


def ask(
    port: int,
    target: str | bytes,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str = "",
    host: str = "127.0.0.1",
) -> Reply:
    """One request on one connection; nothing in `target` is normalised on the way."""
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Host: {host}:{port}", "Connection: close"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    head = b" ".join((method.encode(), raw, b"HTTP/1.1\r\n"))
    with socket.create_connection((host, port), DEADLINE) as link:
        link.sendall(head + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body.encode())
        received = bytearray()
        while chunk := link.recv(65536):
            received += chunk
    return read_reply(bytes(received))


def read_reply(raw: bytes) -> Reply:
    """Split an answer that was read to its end."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(status.split(" ")[1]), headers, body)

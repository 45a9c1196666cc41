"""A forward proxy on loopback: it leads to servers by the names that a test gives them, to nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DEADLINE = 20.0


@dataclass
class Proxy:
    """A running proxy; `asked` holds the first line of each connection: `CONNECT host:443 HTTP/1.1`."""

    hosts: Mapping[str, int]
    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead one connection to its server; whoever asks for a host without a name here gets a 403."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            first = head.split(b"\r\n", 1)[0].decode()
            self.asked.append(first)
            method, target, _ = first.split(" ")
            host = urlsplit(f"//{target}" if method == "CONNECT" else target).hostname
            port = self.hosts.get(host or "")
            if port is None:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
            else:
                above, below = await asyncio.open_connection("127.0.0.1", port)
                # A server has to understand the absolute form, too (RFC 9112 section 3.2.2).
                (writer if method == "CONNECT" else below).write(
                    b"HTTP/1.1 200 Established\r\n\r\n" if method == "CONNECT" else head
                )
                await asyncio.gather(_pump(reader, below), _pump(above, writer))
        writer.close()


@contextlib.contextmanager
def proxy(hosts: Mapping[str, int]) -> Iterator[Proxy]:
    """Run a proxy until the block ends; `hosts` says on which port of this host each name is."""
    running = Proxy(hosts)
    ready: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def run() -> None:
        over = asyncio.Event()
        async with await asyncio.start_server(running.serve, "127.0.0.1", 0) as server:
            ready.put((asyncio.get_running_loop(), over, server.sockets[0].getsockname()[1]))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    loop, over, port = ready.get(timeout=DEADLINE)
    running.url = f"http://127.0.0.1:{port}"
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()

"""Parts of an open file as an HTTP response, by sendfile(2)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from appliance.matchbox.conditional import Span
from appliance.matchbox.methods import Connection

# A whole initrd in one call would make the stall timer useless; small pieces would cost system calls.
PIECE: Final = 4 << 20
STALL: Final = 300.0  # seconds that a client may take for one piece, 14 kB/s: a full rack on one slow link


class FileResponse(web.StreamResponse):
    """Octets and spans of `stream`, in order. The stream stays the caller's to close.

    After `prepare`: `sent` octets of body were handed to the kernel; `complete` tells whether that was all;
    `stalled` whether the client was given up on. Meanwhile `rest` is what another may go on with.
    """

    def __init__(
        self,
        stream: BinaryIO,
        status: int,
        headers: Mapping[str, str],
        pieces: Sequence[bytes | Span],
        path: str = "",
    ) -> None:
        """`path` is what was asked for, printable."""
        super().__init__(status=status, headers=dict(headers))
        self.stream = stream
        self.path = path
        self._pieces = tuple(pieces)
        self.content_length = sum(
            len(piece) if isinstance(piece, bytes) else piece.length for piece in self._pieces
        )
        self.sent = 0
        self.complete = False
        self.stalled = False
        self.rest: Span | None = None  # of the last span; None while anything else waits to be sent

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send head and body."""
        if self.prepared:
            return await super().prepare(request)
        writer = await super().prepare(request)
        if request.method == "HEAD" or self.status == 304:
            self.complete = True
            return writer
        connection = request.protocol
        try:
            if isinstance(connection, Connection):
                connection.sending = self
            for piece in self._pieces:
                await self._send(request, piece)
        except (ConnectionError, TimeoutError):
            self.stalled = True
            if request.transport is not None:
                request.transport.abort()
            return writer
        finally:
            self.rest = None
            if isinstance(connection, Connection):
                connection.sending = None
        self.complete = True
        return writer

    async def _send(self, request: web.BaseRequest, piece: bytes | Span) -> None:
        if isinstance(piece, bytes):
            await self.write(piece)
            self.sent += len(piece)
            return
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        reads = transport.is_reading()
        transport.pause_reading()  # a client that has closed its half still gets its file
        try:
            transport.set_write_buffer_limits(0)
            assert self._payload_writer is not None
            await self._payload_writer.drain()  # what asyncio holds back comes first
            transport.set_write_buffer_limits()
            fd = transport.get_extra_info("socket").fileno()
            await send_span(
                fd, self.stream, piece, self._progress(piece), lambda: request.transport is not None
            )
        finally:
            if reads and not transport.is_closing():
                transport.resume_reading()

    def _progress(self, span: Span) -> Callable[[int], None]:
        last = self._pieces[-1] is span
        before = self.sent

        def note(done: int) -> None:
            self.sent = before + done
            self.rest = Span(span.start + done, span.length - done) if last else None

        note(0)
        return note


async def send_span(
    fd: int, stream: BinaryIO, span: Span, note: Callable[[int], None], goes_on: Callable[[], bool]
) -> None:
    """Send a span of a file on a connected socket that does not block.

    `note` is told after each system call how much of it was handed to the kernel: asyncio's own sendfile
    tells at its end only, and whoever goes on from elsewhere has to know at any moment.

    Raises:
        ConnectionError: the client is gone, or the file became shorter.
        TimeoutError: the client takes nothing.
    """
    own = os.dup(fd)  # the loop lets nobody wait for a descriptor that one of its transports has
    try:
        done = 0
        while done < span.length:
            target = min(done + PIECE, span.length)
            async with asyncio.timeout(STALL):
                while done < target:
                    if not goes_on():
                        raise ConnectionResetError("the client went away")
                    sent = _sendfile(own, stream, span.start + done, target - done)
                    if sent == 0:
                        raise ConnectionResetError("the file became shorter while it was sent")
                    if sent is not None:
                        done += sent
                        note(done)
                    if done < span.length:
                        await _writable(own)
    finally:
        os.close(own)


def _sendfile(fd: int, stream: BinaryIO, start: int, count: int) -> int | None:
    """How many octets went; None when there is no room for any."""
    try:
        return os.sendfile(fd, stream.fileno(), start, count)
    except (BlockingIOError, InterruptedError):
        return None


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)

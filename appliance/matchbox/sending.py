"""Parts of an open file as an HTTP response, by sendfile(2)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from appliance.matchbox.conditional import Span

# A whole initrd in one call would make the stall timer useless; small pieces would cost system calls.
PIECE: Final = 4 << 20
STALL: Final = 300.0  # seconds that a client may take for one piece, 14 kB/s: a full rack on one slow link


class FileResponse(web.StreamResponse):
    """Octets and spans of `stream`, in order. The stream stays the caller's to close.

    After `prepare`: `sent` octets of body were handed to the kernel; `complete` tells whether that was all;
    `stalled` whether the client was given up on.
    """

    def __init__(
        self, stream: BinaryIO, status: int, headers: Mapping[str, str], pieces: Sequence[bytes | Span]
    ) -> None:
        super().__init__(status=status, headers=dict(headers))
        self._stream = stream
        self._pieces = tuple(pieces)
        self.content_length = sum(
            len(piece) if isinstance(piece, bytes) else piece.length for piece in self._pieces
        )
        self.sent = 0
        self.complete = False
        self.stalled = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send head and body."""
        if self.prepared:
            return await super().prepare(request)
        writer = await super().prepare(request)
        if request.method == "HEAD" or self.status == 304:
            self.complete = True
            return writer
        try:
            for piece in self._pieces:
                await self._send(request, piece)
        except (ConnectionError, TimeoutError):
            self.stalled = True
            if request.transport is not None:
                request.transport.abort()
            return writer
        self.complete = True
        return writer

    async def _send(self, request: web.BaseRequest, piece: bytes | Span) -> None:
        if isinstance(piece, bytes):
            await self.write(piece)
            self.sent += len(piece)
            return
        loop = asyncio.get_running_loop()
        end = piece.start + piece.length
        for start in range(piece.start, end, PIECE):
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client went away")
            count = min(PIECE, end - start)
            async with asyncio.timeout(STALL):
                done = await loop.sendfile(transport, self._stream, start, count)
            self.sent += done
            if done < count:
                raise ConnectionResetError("the file became shorter while it was sent")

"""HTTP connections that go on under the program that takes our place: nobody is cut off in a download.

A connection on which nothing is being answered is handed on as it is, with what was received of a next
request. One on which a file is being sent is handed on with the file and what is left of it. Answers that are
neither are a matter of moments, and are waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiohttp import web

from appliance.daemon.handed_over import Guest, Sending
from appliance.matchbox.conditional import Span
from appliance.matchbox.methods import Connection
from appliance.matchbox.request import RequestKind, RequestRecord
from appliance.matchbox.sending import send_span


def unanswered(server: web.Server) -> int:
    """How many connections have an answer under way that cannot be handed on."""
    return sum(_is_open(c) and guest_of(c) is None and not _is_spent(c) for c in server.connections)


def freeze(server: web.Server) -> None:
    """Read no further request on connections where nothing is being answered: they can be handed on."""
    for connection in server.connections:
        transport = connection.transport
        if isinstance(transport, asyncio.Transport) and guest_of(connection) is not None:
            transport.pause_reading()


def thaw(server: web.Server) -> None:
    """Read on: nobody has taken our place."""
    for connection in server.connections:
        transport = connection.transport
        busy = isinstance(connection, Connection) and connection.sending is not None
        if isinstance(transport, asyncio.Transport) and not busy and not transport.is_closing():
            transport.resume_reading()


def guests_of(server: web.Server) -> tuple[Guest, ...]:
    """The connections that can be handed on at this moment."""
    found = (guest_of(connection) for connection in server.connections)
    return tuple(guest for guest in found if guest is not None)


def guest_of(connection: web.RequestHandler) -> Guest | None:
    """A connection as it is handed on; None when it cannot be now."""
    transport = connection.transport
    if not isinstance(connection, Connection) or not isinstance(transport, asyncio.Transport):
        return None
    if transport.is_closing() or transport.get_write_buffer_size():
        return None
    fd = transport.get_extra_info("socket").fileno()
    if connection.sending is None:
        unread = connection.unread
        return Guest(fd, unread) if unread is not None else None
    response, rest = connection.sending, connection.sending.rest
    if rest is None:
        return None
    sending = Sending(
        response.stream.fileno(), rest.start, rest.length, response.sent, response.path, response.status,
        keep=bool(response.keep_alive) and connection.whole,
    )  # fmt: skip
    return Guest(fd, b"", sending)


def _is_open(connection: web.RequestHandler) -> bool:
    return connection.transport is not None and not connection.transport.is_closing()


def _is_spent(connection: web.RequestHandler) -> bool:
    """Whether nothing is owed to whoever is there, though it cannot be said where its next request begins."""
    transport = connection.transport
    written = isinstance(transport, asyncio.Transport) and not transport.get_write_buffer_size()
    return isinstance(connection, Connection) and connection.waits and written


class Reception:
    """Takes in the guests of the program before us, and hands on those whose files are still being sent."""

    def __init__(
        self,
        server: web.Server,
        begun: Callable[[str, str, int], None],
        observe: Callable[[RequestRecord], None],
        connection: Callable[[], Connection] | None = None,
    ) -> None:
        """`begun` and `observe` are told of the downloads, as an `Endpoint`'s are.

        `connection` makes those that are taken in; None: plain ones of the server.
        """
        self._connection = connection or partial(Connection, server)
        self._begun = begun
        self._observe = observe
        self._sending: dict[int, Sending] = {}  # by the connection's file descriptor, as of this moment

    def guests(self) -> tuple[Guest, ...]:
        """Those that are being sent a file here."""
        return tuple(Guest(fd, b"", sending) for fd, sending in self._sending.items())

    async def admit(self, guest: Guest) -> None:
        """Go on with one connection, for as long as it is sent a file."""
        try:
            connection = socket.socket(fileno=guest.fd)
        except OSError:  # no socket after all
            return
        with contextlib.suppress(OSError):
            connection.setblocking(False)
            if guest.sending is None or await self._send(connection, guest.sending):
                _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
                    self._connection, connection
                )
                if guest.unread:
                    protocol.data_received(guest.unread)
                return
        connection.close()

    async def _send(self, connection: socket.socket, sending: Sending) -> bool:
        """Send the rest of a file; whether the client may ask for more."""
        fd, file = connection.fileno(), os.fdopen(sending.fd, "rb", 0)
        try:
            client = str(connection.getpeername()[0])
        except OSError:  # it went away in between
            file.close()
            raise
        span, left = Span(sending.start, sending.length), sending

        def note(done: int) -> None:
            nonlocal left
            left = replace(
                sending, start=span.start + done, length=span.length - done, sent=sending.sent + done
            )
            self._sending[fd] = left

        note(0)
        with file:
            self._begun(client, sending.path, sending.sent + sending.length)
            try:
                await send_span(fd, file, span, note, lambda: True)
            except (ConnectionError, TimeoutError):
                pass
            finally:
                del self._sending[fd]
                self._begun(client, sending.path, 0)
                self._observe(_record(client, left))
        return left.length == 0 and sending.keep


def _record(client: str, left: Sending) -> RequestRecord:
    complete = left.length == 0
    return RequestRecord(
        kind=RequestKind.ASSET,
        client=client,
        method="GET",
        path=left.path,
        status=left.status,
        sent=left.sent,
        complete=complete,
        reason=None if complete else "the client stalled or went away",
    )

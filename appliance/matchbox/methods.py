"""Connections on which any method is a method: Matchbox answers FOO as it answers GET.

aiohttp's fast parser knows the registered methods only and refuses the rest with 400. A connection that
begins with another one gets aiohttp's slower parser, which takes every token (RFC 9110, section 9.1).
"""

from __future__ import annotations

import asyncio
import re
from typing import BinaryIO, Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy
from aiohttp.web_protocol import RequestPayloadError

from appliance.matchbox.conditional import Span

_KEEPALIVE: Final = 30.0  # seconds
_LINGERING: Final = 2.0  # seconds in which what a refused request still sends is read and thrown away
_LONGEST: Final = 32  # octets of a method
_KEPT: Final = 1 << 15  # octets of a request that is not complete yet
_USUAL: Final = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE".split())
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Sending(Protocol):
    """A response that sends a file: `sent` octets have gone, `rest` is all that is left, if not None."""

    stream: BinaryIO
    path: str
    sent: int
    rest: Span | None

    @property
    def status(self) -> int: ...
    @property
    def keep_alive(self) -> bool | None: ...


class Connection(web.RequestHandler):
    """One connection of a server, for `asyncio`."""

    __slots__ = ("_half", "_opening", "sending")

    def __init__(self, server: web.Server) -> None:
        # None stands for no access log; aiohttp's annotation does not say so.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_KEEPALIVE,
            lingering_time=_LINGERING,
            access_log=None,  # type: ignore[arg-type]
        )
        self._opening: bytes | None = b""
        self._half: bytes | None = b""
        self.sending: Sending | None = None  # the file that is being sent

    @property
    def waits(self) -> bool:
        """Whether nothing is being answered: it waits for a next request, or for the rest of one."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def unread(self) -> bytes | None:
        """What was received of a next request; None while something is being answered, or if not known."""
        return self._half if self.waits else None

    @property
    def whole(self) -> bool:
        """Whether all that was received belongs to requests that were answered, or are being answered."""
        return self._half == b""

    def log_exception(self, *args: object, **more: object) -> None:
        """What is no HTTP is nobody's fault here: a log line each would be anybody's to fill the log with."""
        if not isinstance(more.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **more)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; the first method decides who reads the connection."""
        asks = self.waits or not self._request_count  # the first request may come before we wait for it
        if not asks or self._half is None or len(self._half) + len(data) > _KEPT:
            self._half = None  # the body of a request, or one that does not wait for its answer, or too much
        else:
            self._half += data
        self._receive(data)
        if self._messages and self._half is not None:
            self._half = b"" if data.endswith(b"\r\n\r\n") else None

    def _receive(self, data: bytes) -> None:
        if self._opening is not None:
            self._opening += data
            method, blank, _ = self._opening.partition(b" ")
            if not blank and len(self._opening) <= _LONGEST:
                return
            data, self._opening = self._opening, None
            unusual = method not in _USUAL and len(method) <= _LONGEST and _METHOD.fullmatch(method)
            if unusual:
                self._parser = HttpRequestParserPy(
                    self,
                    self._loop,
                    self._read_bufsize,
                    max_line_size=self.max_line_size,
                    max_headers=self.max_headers,
                    max_field_size=self.max_field_size,
                    payload_exception=RequestPayloadError,
                    max_msg_queue_size=self._max_msg_queue_size,
                )
        super().data_received(data)

"""Connections on which any method is a method: Matchbox answers FOO as it answers GET.

aiohttp's fast parser knows the registered methods only and refuses the rest with 400. A connection that
begins with another one gets aiohttp's slower parser, which takes every token (RFC 9110, section 9.1).
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy
from aiohttp.web_protocol import RequestPayloadError

_KEEPALIVE: Final = 30.0  # seconds
_LONGEST: Final = 32  # octets of a method
_USUAL: Final = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE".split())
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Connection(web.RequestHandler):
    """One connection of a server, for `asyncio`."""

    __slots__ = ("_opening",)

    def __init__(self, server: web.Server) -> None:
        # None stands for no access log; aiohttp's annotation does not say so.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_KEEPALIVE,
            access_log=None,  # type: ignore[arg-type]
        )
        self._opening: bytes | None = b""

    def log_exception(self, *args: object, **more: object) -> None:
        """What is no HTTP is nobody's fault here: a log line each would be anybody's to fill the log with."""
        if not isinstance(more.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **more)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; the first method decides who reads the connection."""
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

"""A middleware that counts requests and how long they took, by what was asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from appliance.matchbox.answer import kind_of, signature_path
from appliance.system.clock import monotonic

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Seen = Callable[[str, int, float | None], None]
_OURS: Final = {"/v1/report": "report", "/healthz": "healthz", "/metrics": "metrics", "/ui": "ui"}
_ENDLESS: Final = "text/event-stream"


def measured(seen: Seen) -> Middleware:
    """The middleware; `seen` is told what was asked for, the status, and the seconds that it took.

    Status 0: the client was gone before it was answered. No seconds: the answer goes on until it leaves.
    """

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        began, status, endless = monotonic(), 0, request.query.get("follow") == "1"
        try:
            response = await handler(request)
            status, endless = response.status, endless or response.content_type == _ENDLESS
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            seen(asked_for(request.path), status, None if endless else monotonic() - began)
        return response

    return measure


def asked_for(path: str) -> str:
    """What a path is for, in one of a few words, whatever a client made up."""
    if (known := _OURS.get(path)) is not None:
        return known
    if path.startswith("/v1/"):
        return "api"
    if path.startswith("/ui/"):
        return "ui"
    signed = signature_path(path)
    return kind_of(signed[0] if signed else path).value

"""`/ui/`: the page's files and its stream. Nothing of it writes, and nothing of it comes from elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from appliance.daemon.feed import Feed
from appliance.daemon.visitors import guarded, refusal
from appliance.settings import Settings

_PER_PEER: Final = 8  # streams of one address on the VLAN; a browser opens six
_WRITE_SECONDS: Final = 15.0  # that one who follows may take for a message
_WORTH_PACKING: Final = 4096
_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Text from the wire reaches the page. It is written as text; should that ever fail, nothing of it can run:
# no script but our files, no markup made from strings (Trusted Types), nowhere to send anything to.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    )
)  # fmt: skip
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
_FOR_ALL: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the page, packed once. `etag` is of the content, quoted."""

    content: bytes
    packed: bytes
    kind: str
    etag: str


class Page:
    """The page's files, as they are on disk when the daemon starts."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = {name: _file(name, content) for name, content in files.items()}
        together = b"".join(f.etag.encode() for _, f in sorted(self._files.items()))
        self.edition = hashlib.sha256(together).hexdigest()[:16]

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        app.router.add_get("/ui", self._to_the_page)
        app.router.add_get("/ui/", self._answer)
        app.router.add_get("/ui/{file}", self._answer)
        app.router.add_route("*", "/ui/{rest:.*}", self._nothing)

    async def _to_the_page(self, _: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": "/ui/"})

    async def _nothing(self, _: web.Request) -> web.Response:
        """What is below /ui/ is ours: Matchbox is not asked, and no machine missed anything."""
        return web.Response(status=404, text="404 Not Found\n", headers=_HEADERS)

    async def _answer(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info.get("file") or "index.html")
        if file is None:
            return await self._nothing(request)
        headers = {**_HEADERS, "ETag": file.etag, "Vary": "Accept-Encoding"}
        if file.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = file.kind
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=file.packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=file.content, headers=headers)


class BoardStream:
    """The feed as server-sent events, for a bounded number of followers.

    Whoever comes from this host itself (the control socket, a tunnel that ends here) has a room of their own:
    strangers on the VLAN cannot keep an operator from looking.
    """

    def __init__(self, feed: Feed, followers: int) -> None:
        """At most so many of either kind."""
        self._feed = feed
        self._room = {"here": followers, "elsewhere": followers}
        self._peers: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One who follows, until it leaves or is given up on."""
        kind = "here" if from_here(request) else "elsewhere"
        peer = request.remote or ""
        if self._room[kind] <= 0 or (kind == "elsewhere" and self._peers[peer] >= _PER_PEER):
            return web.Response(status=503, text="too many follow the board already\n")
        self._room[kind] -= 1
        self._peers[peer] += 1
        try:
            return await self._follow(request)
        finally:
            self._room[kind] += 1
            self._peers -= Counter([peer])  # and none that is left at zero

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        kind = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers={**_FOR_ALL, **kind})
        with contextlib.suppress(ConnectionError, TimeoutError):  # gone, or does not read
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            async with self._feed.following() as (follower, past):
                for message in past:
                    await _write(response, message)
                while (message_now := await follower.queue.get()) is not None:
                    await _write(response, message_now)
        return response


ANY_PATH: Final = "/{path:.*}"


def only_for_us(settings: Callable[[], Settings]) -> Middleware:
    """A middleware that turns away what other sites' pages ask; large listings leave it packed."""

    @web.middleware
    async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        nowhere = resource is not None and resource.canonical == "/{path}"  # as aiohttp writes `ANY_PATH`
        machines = nowhere or not guarded(request.path)  # what we do not have, Matchbox's side refuses
        here = from_here(request) or request.remote in {str(n.address) for n in settings().networks.values()}
        if machines and not here:
            return await handler(request)
        if refused := refusal(request.path, request.headers, settings(), here=here):
            status, reason = refused
            return web.json_response({"error": reason}, status=status, headers=_FOR_ALL)
        if machines:
            return await handler(request)
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_FOR_ALL)
            response.headers.setdefault("Cache-Control", "no-store")
            body = response.body if isinstance(response, web.Response) else None
            if isinstance(body, bytes) and len(body) > _WORTH_PACKING and "ETag" not in response.headers:
                response.enable_compression()
        return response

    return look


def from_here(request: web.Request) -> bool:
    """Whether the peer is this host: it has the address that it asks. Who is gone is nobody."""
    if request.transport is None:
        return False
    ours = request.transport.get_extra_info("sockname")
    return not isinstance(ours, tuple) or ours[0] == request.remote


async def _write(response: web.StreamResponse, message: bytes) -> None:
    async with asyncio.timeout(_WRITE_SECONDS):
        await response.write(message)


def _file(name: str, content: bytes) -> _File:
    kind = _KINDS.get(name.rpartition(".")[2], "application/octet-stream")
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content, gzip.compress(content, 9, mtime=0), kind, etag)

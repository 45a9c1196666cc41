"""The endpoint on aiohttp: reads a request, lets the pure part decide, sends, and reports to an observer.

No decision about machines is made here. Content goes out by sendfile(2); a client that stalls is dropped.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from appliance.matchbox.answer import (
    NOT_FOUND,
    TEXT,
    Answer,
    World,
    answer,
    kind_of,
    not_found,
    signature_path,
)
from appliance.matchbox.assets import AssetDirectory, AssetFile, AssetRoot, NoAsset, Vault, open_asset
from appliance.matchbox.conditional import (
    BadRange,
    Decision,
    Failed,
    NotModified,
    Part,
    Span,
    Version,
    Whole,
    decide,
)
from appliance.matchbox.labels import Query, parse_query
from appliance.matchbox.model import MachineBoot
from appliance.matchbox.request import (
    Begun,
    Observer,
    RequestKind,
    RequestRecord,
    Resolve,
    SignatureForm,
    Tell,
)
from appliance.matchbox.select import Rack
from appliance.matchbox.sending import FileResponse
from appliance.matchbox.signing import Busy, Signatures
from appliance.matchbox.snapshot import Snapshot
from appliance.matchbox.target import Target, listing_page, quote_path, read_target, redirect_page

_HTML: Final = "text/html; charset=utf-8"
_LARGE: Final = 1 << 20  # octets; less is sent before anybody could ask about it
_LOADERS: Final = ("iPXE/", "GRUB")
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}


class Endpoint:
    """Matchbox's paths over a snapshot and the machines of the inventory, both replaceable at any time."""

    def __init__(
        self,
        *,
        roots: Sequence[AssetRoot] = (),
        observer: Observer,
        resolve: Resolve | None = None,
        tell: Tell | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._begun: Begun | None = None
        self._roots = tuple(roots)
        self._vault = vault
        self._observer = observer
        self._resolve = resolve
        self._tell = tell
        self._world = World()
        self._signatures: Signatures | str = "signatures are off: the settings name no keyring"

    def for_another(self, *, observer: Observer, resolve: Resolve) -> Endpoint:
        """The same content for somebody who is decided about otherwise; a 404 is told as it is."""
        other = Endpoint(roots=self._roots, observer=observer, resolve=resolve, vault=self._vault)
        other._world, other._signatures = self._world, self._signatures
        return other

    def on_begun(self, begun: Begun) -> None:
        """Have `begun` hear of each large file before it is sent and, with no size, after."""
        self._begun = begun

    def use_snapshot(self, snapshot: Snapshot) -> None:
        """Answer from this data directory from now on."""
        self._world = World(snapshot, self._world.rack)

    def use_machines(self, machines: Iterable[MachineBoot]) -> None:
        """Answer for these machines from now on."""
        self._world = World(self._world.snapshot, Rack.of(machines))

    def use_signatures(self, signatures: Signatures | str) -> None:
        """Sign with these from now on; a text: nothing is signed, for this reason."""
        self._signatures = signatures

    def routes(self) -> list[web.RouteDef]:
        """One route that takes every path and method; add it after the application's own."""
        return [web.route("*", "/{matchbox:.*}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request. Never raises for what a client sends."""
        try:
            target = read_target(request.raw_path)
        except ValueError as error:
            self._report(request, RequestKind.UNKNOWN, request.raw_path, 400, reason=str(error))
            return _text(400, b"400 Bad Request")
        if location := target.redirect:
            return self._redirect(request, kind_of(target.path), target, location)
        if (asked := signature_path(target.path)) is not None:
            return await self._signed(request, target, *asked)
        kind = kind_of(target.path)
        if kind is RequestKind.ASSET and self._roots:
            return await self._asset(request, target)
        return self._rendered(request, kind, target)

    def _rendered(self, request: web.Request, kind: RequestKind, target: Target) -> web.StreamResponse:
        query = parse_query(target.query)
        found = answer(self._world, kind, query, request.remote or "", self._resolve, boots=_boots(request))
        told = self._told(request, kind, found)
        if told is not None:
            return self._recorded(request, kind, target, query, found, _plain(told), found.status)
        response = _ranged(request, found) if found.ranged else _plain(found)
        return self._recorded(request, kind, target, query, found, response, response.status)

    async def _signed(
        self, request: web.Request, target: Target, plain: str, form: SignatureForm
    ) -> web.StreamResponse:
        """A signature over the whole of what `plain` answers now; of a 404 too, as in Matchbox."""
        kind, query, client = kind_of(plain), parse_query(target.query), request.remote or ""
        if isinstance(self._signatures, str):
            found = not_found(self._signatures)
            return self._recorded(request, kind, target, query, found, _plain(found), 404, signature=True)
        found = answer(self._world, kind, query, client, self._resolve, signature=True, boots=_boots(request))
        sent = self._told(request, kind, found) or found
        try:
            body = await self._signatures.over(sent.body, form)
        except Busy:
            found = replace(found, status=503, reason="too many signatures are being waited for")
            response = _plain(Answer(503, b"busy\n"))
            response.headers["Retry-After"] = "1"
        else:
            written_as = TEXT if form is SignatureForm.ARMOURED else "application/octet-stream"
            response = _plain(Answer(sent.status, body, written_as))
        return self._recorded(request, kind, target, query, found, response, found.status, signature=True)

    def _recorded(
        self,
        request: web.Request,
        kind: RequestKind,
        target: Target,
        query: Query,
        found: Answer,
        response: web.Response,
        status: int,
        *,
        signature: bool = False,
    ) -> web.Response:
        """Report an answer; `status` is what it amounts to, whatever iPXE is told."""
        self._observer(
            RequestRecord(
                kind=kind,
                client=request.remote or "",
                method=request.method,
                path=_printable(target.path),
                status=status,
                sent=_length(request, response),
                labels=query.labels,
                machine=found.machine,
                group=found.group,
                reason=found.reason,
                code=found.code,
                kernel=found.kernel,
                to=found.to,
                signature=signature,
            )
        )
        return response

    def _told(self, request: web.Request, kind: RequestKind, found: Answer) -> Answer | None:
        """What iPXE is told in place of a 404; every other client gets Matchbox's answer."""
        asks = kind is RequestKind.SCRIPT and _boots(request)
        if found.status != 404 or not asks or self._tell is None:
            return None
        text = self._tell(request.remote or "", found.reason or "")
        return None if text is None else Answer(200, text.encode())

    async def _asset(self, request: web.Request, target: Target) -> web.StreamResponse:
        path = target.path.removeprefix("/assets").removeprefix("/")
        if target.path == "/assets":
            return self._redirect(request, RequestKind.ASSET, target, target.location("/assets/"))
        if target.path.endswith("/index.html"):
            return self._local_redirect(request, target, "./")
        found = await asyncio.to_thread(self._found, path, request.remote or "")
        if isinstance(found, AssetDirectory) and target.path.endswith("/"):
            index = await asyncio.to_thread(open_asset, self._roots, f"{path}index.html")
            if isinstance(index, AssetFile):
                return await self._file(request, target, index)
            return self._listing(request, target, found)
        match found:
            case AssetDirectory():
                return self._local_redirect(request, target, f"{_base(path)}/")
            case AssetFile() if target.path.endswith("/"):
                found.stream.close()
                return self._local_redirect(request, target, f"../{_base(path)}")
            case AssetFile():
                return await self._file(request, target, found)
        assert isinstance(found, NoAsset)
        self._report(
            request, RequestKind.ASSET, target.path, 404, len(NOT_FOUND), found.reason, code=found.code
        )
        return _text(404, NOT_FOUND)

    def _found(self, path: str, client: str) -> AssetFile | AssetDirectory | NoAsset:
        """Blocks on the disk."""
        kept = self._vault(path, client) if self._vault is not None else None
        return open_asset(self._roots, path) if kept is None else kept

    async def _file(self, request: web.Request, target: Target, file: AssetFile) -> web.StreamResponse:
        decision = decide(request.method, request.headers, file.size, file.version)
        status, headers, pieces = _laid_out(decision, file.size, file.content_type, file.version)
        response = FileResponse(file.stream, status, headers, pieces, _printable(target.path))
        reason = None
        tells = self._begun if request.method == "GET" and (response.content_length or 0) >= _LARGE else None
        try:
            if tells is not None:
                tells(request.remote or "", _printable(target.path), response.content_length or 0)
            await response.prepare(request)
            if response.stalled:
                reason = "the client stalled or went away"
        finally:
            file.stream.close()
            if tells is not None:
                tells(request.remote or "", _printable(target.path), 0)
            self._report(
                request, RequestKind.ASSET, target.path, status, response.sent, reason, response.complete
            )
        return response

    def _listing(self, request: web.Request, target: Target, found: AssetDirectory) -> web.StreamResponse:
        body = listing_page(list(found.names)).encode("utf-8", "surrogateescape")
        headers = {"Last-Modified": format_datetime(found.modified, usegmt=True), "Content-Type": _HTML}
        if decide(request.method, request.headers, len(body), Version("", found.modified)) == NotModified():
            body, status = b"", 304
        else:
            status = 200
        self._report(request, RequestKind.ASSET, target.path, status, len(body))
        return web.Response(status=status, body=body, headers=headers)

    def _redirect(
        self, request: web.Request, kind: RequestKind, target: Target, location: str
    ) -> web.StreamResponse:
        """301 as Go's http.Redirect sends it."""
        self._report(request, kind, target.path, 301)
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=301, headers={"Location": location})
        headers = {"Location": location, "Content-Type": _HTML}
        return web.Response(status=301, headers=headers, body=redirect_page(location).encode())

    def _local_redirect(self, request: web.Request, target: Target, location: str) -> web.StreamResponse:
        """301 as Go's file server sends it: relative, without a body."""
        self._report(request, RequestKind.ASSET, target.path, 301)
        return web.Response(status=301, headers={"Location": target.location(location)})

    def _report(
        self,
        request: web.Request,
        kind: RequestKind,
        path: str,
        status: int,
        sent: int = 0,
        reason: str | None = None,
        complete: bool = True,
        code: str = "",
    ) -> None:
        self._observer(
            RequestRecord(
                kind=kind,
                client=request.remote or "",
                method=request.method,
                path=_printable(path),
                status=status,
                sent=sent,
                complete=complete,
                reason=reason,
                code=code,
            )
        )


def _boots(request: web.Request) -> bool:
    return request.headers.get("User-Agent", "").startswith(_LOADERS)


async def hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: Matchbox names no software in its answers, and neither do we."""
    response.headers.popall("Server", None)


def _plain(found: Answer) -> web.Response:
    headers = {"Content-Type": found.content_type} | (_NOSNIFF if found.status == 404 else {})
    return web.Response(status=found.status, body=found.body, headers=headers)


def _ranged(request: web.Request, found: Answer) -> web.Response:
    decision = decide(request.method, request.headers, len(found.body), Version())
    status, headers, pieces = _laid_out(decision, len(found.body), found.content_type, Version())
    body = b"".join(
        piece if isinstance(piece, bytes) else found.body[piece.start : piece.start + piece.length]
        for piece in pieces
    )
    return web.Response(status=status, headers=headers, body=body)


def _text(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": TEXT, **_NOSNIFF})


def _laid_out(
    decision: Decision, size: int, content_type: str, version: Version
) -> tuple[int, dict[str, str], list[bytes | Span]]:
    """Status, headers and pieces of body for a decision about content of `size` octets."""
    headers: dict[str, str] = {}
    if version.modified is not None:
        headers["Last-Modified"] = format_datetime(version.modified, usegmt=True)
    if version.tag:
        headers["ETag"] = version.tag
    match decision:
        case NotModified():
            return 304, headers, []
        case Failed():
            return 412, headers, []
        case BadRange(well_formed):
            text = b"invalid range: failed to overlap\n" if well_formed else b"invalid range\n"
            extra = {"Content-Range": f"bytes */{size}"} if well_formed else {}
            return 416, {**headers, **extra, **_NOSNIFF, "Content-Type": TEXT}, [text]
        case Part((span,)):
            headers |= {"Content-Range": _content_range(span, size), "Content-Type": content_type}
            return 206, {**headers, "Accept-Ranges": "bytes"}, [span]
        case Part(spans):
            boundary = secrets.token_hex(30)
            headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
            pieces = _multipart(spans, size, content_type, boundary)
            return 206, {**headers, "Accept-Ranges": "bytes"}, pieces
        case Whole():
            pass
    headers |= {"Content-Type": content_type, "Accept-Ranges": "bytes"}
    return 200, headers, [Span(0, size)]


def _multipart(spans: Sequence[Span], size: int, content_type: str, boundary: str) -> list[bytes | Span]:
    pieces: list[bytes | Span] = []
    for i, span in enumerate(spans):
        head = f"{'' if i == 0 else chr(13) + chr(10)}--{boundary}\r\n"
        fields: Mapping[str, str] = {
            "Content-Range": _content_range(span, size),
            "Content-Type": content_type,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        pieces += [f"{head}{lines}\r\n".encode(), span]
    return [*pieces, f"\r\n--{boundary}--\r\n".encode()]


def _content_range(span: Span, size: int) -> str:
    return f"bytes {span.start}-{span.start + span.length - 1}/{size}"


def _base(path: str) -> str:
    """The last part, quoted; with a colon in it, it must not be taken for a scheme."""
    name = quote_path(path.rstrip("/").rpartition("/")[2])
    return f"./{name}" if ":" in name else name


def _length(request: web.Request, response: web.Response) -> int:
    return 0 if request.method == "HEAD" else response.content_length or 0


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

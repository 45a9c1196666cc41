"""The way from a mirror to the disk: HTTP with aiohttp, resumed after any break, bounded in size and time.

A mirror is hostile until what it sent is proven: it may stall, lie about lengths, change the file while it is
read, and send us elsewhere. Each of these has its answer here; what the bytes are worth is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies_environment

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from appliance import __version__
from appliance.errors import SurroundingsError
from appliance.images.intake import Intake, MakeCheck, Origin
from appliance.images.model import Artefact
from appliance.images.progress import Watcher
from appliance.images.reach import Nearness, Reach, TooNear
from appliance.images.trust import Case, Untrusted
from appliance.images.wishes import Limits

T = TypeVar("T")

_REDIRECTS: Final = 3
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", re.ASCII)
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# Flatcar's CDN blocks what calls itself Python (facts of its own scripts); compressed bytes are not what was
# signed.
_HEADERS: Final = {"User-Agent": f"pxe-appliance/{__version__}", "Accept-Encoding": "identity"}


class _Again(Exception):
    """An attempt failed in a way that another one may not. `after`: what Retry-After asked for, seconds."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


@dataclass(slots=True)
class _Effort:
    """How often in a row nothing new came, for one artefact."""

    limits: Limits
    best: int = 0
    idle: int = 0

    def note(self, size: int) -> None:
        """An attempt ended with so many bytes on disk."""
        self.idle = 0 if size >= self.best + self.limits.least_rate else self.idle + 1
        self.best = max(self.best, size)

    def exhausted(self) -> bool:
        """Whether to give up."""
        return self.idle >= self.limits.tries


class HttpTransport:
    """Documents and artefacts from a mirror. Make it with `http_transport`."""

    def __init__(
        self, session: aiohttp.ClientSession, reach: Reach, watcher: Watcher, limits: Limits
    ) -> None:
        self._session, self._reach, self._watcher, self._limits = session, reach, watcher, limits

    async def document(self, url: str, cap: int) -> bytes | None:
        """A small file as a whole; None when the server says that it does not exist.

        Raises:
            SurroundingsError: the server cannot be reached, or does not answer as it should.
            Untrusted: it is larger than `cap`, or leads somewhere else.
        """
        effort = _Effort(self._limits)

        async def attempt() -> bytes | None:
            try:
                return await self._document(url, cap)
            except _Again:
                effort.note(0)
                raise

        return await self._persist(url, effort, attempt)

    async def size(self, url: str) -> int | None:
        """What the server says of a file's size; None when it does not."""
        try:
            async with self._answer("HEAD", url, {}) as response:
                return response.content_length if response.status == 200 else None
        except _Again:
            return None

    async def download(self, artefact: Artefact, part: Path, make_check: MakeCheck | None) -> Intake:
        """Bring an artefact to `part`, going on where an earlier attempt ended.

        Returns:
            the intake, complete; its caller measures and closes it.

        Raises:
            SurroundingsError: the mirror or the disk did not do its part; what is there can be resumed.
            Untrusted: the mirror sent more than may come, or something else than the file.
        """
        intake = Intake(part, make_check, sha256=needs_sha256(artefact))
        effort = _Effort(self._limits)

        async def attempt() -> None:
            try:
                await self._attempt(artefact, intake)
            except _Again as again:
                effort.note(intake.size)
                if not effort.exhausted():
                    self._watcher.says(f"{artefact.name}: {again}; trying again")
                raise

        try:
            async with asyncio.timeout(self._limits.deadline):
                await self._persist(artefact.url, effort, attempt)
        except TimeoutError as error:
            intake.close()
            raise SurroundingsError(
                f"cannot fetch {artefact.url}: not done after {self._limits.deadline / 3600:.2g} h",
                hint="run it again: it goes on where it stopped",
            ) from error
        except OSError as error:
            intake.discard()  # on a full disk, the rest of the appliance needs the room
            hint = f"df -h {part.parent}"
            raise SurroundingsError(f"cannot write {part}: {error.strerror}", hint=hint) from error
        except Untrusted:
            intake.discard()
            raise
        except BaseException:
            intake.close()
            raise
        return intake

    async def _persist(self, url: str, effort: _Effort, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it works, or nothing new has come too often."""
        limits = self._limits
        backoff = wait_exponential_jitter(
            multiplier=limits.first_wait, max=limits.longest_wait, jitter=limits.first_wait
        )

        def wait(state: RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome else None
            asked = failure.after if isinstance(failure, _Again) else 0.0
            return max(backoff(state), min(asked, limits.longest_wait))

        def stop(state: RetryCallState) -> bool:
            return effort.exhausted() or state.attempt_number >= 1000

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again), stop=stop, wait=wait, reraise=True, sleep=asyncio.sleep
        )
        try:
            return await retrying(attempt)
        except _Again as again:
            raise SurroundingsError(
                f"cannot fetch {url}: {again} ({effort.idle} attempts without anything new)",
                hint=_proxy_hint()
                or "the mirror or the way to it is at fault; run it again, it goes on where it stopped",
            ) from again

    async def _document(self, url: str, cap: int) -> bytes | None:
        async with self._answer("GET", url, {}) as response:
            if response.status in {404, 410}:
                return None
            _check_answer(response, url, {200})
            body = bytearray()
            async for chunk in self._chunks(response):
                body += chunk
                if len(body) > cap:
                    raise Untrusted(Case.TOO_LARGE, url, f"it is larger than {cap} bytes")
            return bytes(body)

    async def _attempt(self, artefact: Artefact, intake: Intake) -> None:
        """One request for what is missing."""
        origin = await asyncio.to_thread(intake.resume, artefact.url)
        headers = {}
        if origin is not None:
            headers = {"Range": f"bytes={intake.size}-", "If-Range": origin.validator}
        async with self._answer("GET", artefact.url, headers) as response:
            if response.status == 416 and origin is not None:
                if origin.total == intake.size:  # it was complete already; its digest decides
                    self._watcher.begins(artefact.name, intake.size, intake.size)
                    return
                await asyncio.to_thread(intake.restart)
                raise _Again("the server has another file now")
            if response.status in {404, 410}:
                raise SurroundingsError(f"cannot fetch {artefact.url}: the server says {response.status}")
            _check_answer(response, artefact.url, {200, 206} if origin else {200})
            total = response.content_length
            if response.status == 206:
                total = await self._resumed(response, intake, origin)
            elif origin is not None:
                await asyncio.to_thread(intake.restart)
                self._watcher.says(f"{artefact.name}: the file changed on the server; starting over")
            if total is not None and total > artefact.cap:
                raise Untrusted(
                    Case.TOO_LARGE, artefact.name, f"it has {total} bytes, at most {artefact.cap} may come"
                )
            if response.status == 200:
                etag, modified = (response.headers.get(k, "") for k in ("ETag", "Last-Modified"))
                await asyncio.to_thread(intake.promise, Origin(artefact.url, etag, modified, total))
            self._watcher.begins(artefact.name, total, intake.size)
            await self._take(response, artefact, intake)
            if total is not None and intake.size < total:
                raise _Again(f"it ended after {intake.size} of {total} bytes")

    async def _resumed(self, response: aiohttp.ClientResponse, intake: Intake, origin: Origin | None) -> int:
        """Hold the range of a 206 against what was asked for; the size of the whole file."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        fits = found is not None and int(found[1]) == intake.size and found[3] != "*"
        if not fits or found is None or (origin and origin.total not in (None, int(found[3]))):
            await asyncio.to_thread(intake.restart)
            raise _Again("the server sent another part than was asked for")
        return int(found[3])

    async def _take(self, response: aiohttp.ClientResponse, artefact: Artefact, intake: Intake) -> None:
        """Body to disk: while one piece is written and hashed in a thread, the next one arrives."""
        loop = asyncio.get_running_loop()
        writing: asyncio.Future[None] | None = None
        coming = intake.size
        try:
            async for chunk in self._chunks(response):
                coming += len(chunk)
                if coming > artefact.cap:
                    raise Untrusted(Case.TOO_LARGE, artefact.name, f"more than {artefact.cap} bytes came")
                if writing is not None:
                    await writing
                writing = loop.run_in_executor(None, intake.feed, chunk)
                self._watcher.advances(artefact.name, len(chunk))
        finally:
            if writing is not None:
                await asyncio.shield(writing)

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body as it comes, uncopied; whoever sends less than the least rate is left."""
        limits, loop = self._limits, asyncio.get_running_loop()
        came, until = 0, loop.time() + limits.patience
        while True:
            data: bytes | None = None
            try:
                async with asyncio.timeout_at(until):
                    data = await response.content.readany()
            except TimeoutError:
                pass  # whether enough came is looked at below
            except (aiohttp.ClientError, OSError) as error:
                raise _Again(f"the connection broke: {_words(error)}") from error
            if data == b"":
                return
            if data:
                came += len(data)
                yield data
            if loop.time() >= until:
                if came < limits.least_rate * limits.patience:
                    raise _Again(f"only {came} bytes came in {limits.patience:g} s")
                came, until = 0, loop.time() + limits.patience

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request, a few redirects later."""
        place, limit = url, Nearness.HOST
        for _ in range(_REDIRECTS + 1):
            response = await self._request(method, url, place, headers, limit)
            if response.status not in {301, 302, 303, 307, 308}:
                break
            response.release()
            limit = min(limit, self._reach.of(place))
            place = _redirected(url, place, response.headers.get("Location", ""))
        else:
            raise Untrusted(Case.REDIRECTED, url, f"it leads from one place to the next, {_REDIRECTS} times")
        try:
            yield response
        finally:
            response.close()

    async def _request(
        self, method: str, url: str, place: str, headers: Mapping[str, str], limit: Nearness
    ) -> aiohttp.ClientResponse:
        """One request, for `url` or for where it led."""
        try:
            with self._reach.bound(place, limit):
                async with asyncio.timeout(self._limits.patience):
                    return await self._session.request(method, place, headers=headers, allow_redirects=False)
        except TooNear as near:
            words = f"the server leads to {place[:100]!r}, an address of {near.nearness.words}"
            raise Untrusted(Case.REDIRECTED, url, words) from near
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise SurroundingsError(
                f"cannot trust the server of {place}: {_words(error)}",
                hint="its certificate is not one for this host from an authority that this host knows",
            ) from error
        except ValueError as error:  # InvalidURL is one of these: the URL was looked at, a proxy's was not
            raise SurroundingsError(f"cannot ask for {place}: {_words(error)}", hint=_proxy_hint()) from error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one of these
            raise _Again(f"cannot reach the server: {_words(error)}") from error


@asynccontextmanager
async def http_transport(
    watcher: Watcher, limits: Limits, own: Collection[IPv4Network] = ()
) -> AsyncIterator[HttpTransport]:
    """A transport over HTTP; proxies are taken from the environment (http_proxy, https_proxy, no_proxy).

    `own`: networks of this site, to which no mirror on the Internet may lead.
    """
    # The library's own read timer can outlive its request and fail the next one on that connection (3.14):
    # patience is kept by whoever waits.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.patience)
    reach = Reach(own)
    # Each connection asks for the name anew: a cached address was allowed to somebody else.
    connector = aiohttp.TCPConnector(resolver=reach, use_dns_cache=False)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        timeout=timeout,
        trust_env=True,
        auto_decompress=False,
        read_bufsize=2**19,
    ) as session:
        try:
            yield HttpTransport(session, reach, watcher, limits)
        finally:
            await reach.close()


def needs_sha256(artefact: Artefact) -> bool:
    """Whether a SHA-256 has to be taken, besides the SHA-512 that is always taken."""
    return artefact.sha256 is not None or len(artefact.expected or "") == 64


def _check_answer(response: aiohttp.ClientResponse, url: str, wanted: set[int]) -> None:
    if response.status in _LATER:
        after = response.headers.get("Retry-After", "")
        seconds = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0
        raise _Again(f"the server says {response.status}", seconds)
    if response.status not in wanted:
        raise SurroundingsError(f"cannot fetch {url}: the server says {response.status}")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise Untrusted(
            Case.ENCODED,
            url,
            f"it came encoded as {encoding[:20]!r}, and what is signed are the bytes as they are",
        )


def _redirected(url: str, here: str, location: str) -> str:
    """Where a redirect leads. Elsewhere is allowed (GitHub and CDNs do it); to a weaker scheme is not."""
    try:
        target = urljoin(here, location)
        scheme, before = urlsplit(target).scheme, urlsplit(here).scheme
    except ValueError:
        target, scheme, before = location, "", ""
    if scheme not in {"http", "https"} or (before == "https" and scheme == "http"):
        raise Untrusted(Case.REDIRECTED, url, f"the server leads to {target[:100]!r}")
    return target


def _proxy_hint() -> str:
    """Which proxy the environment names: a forgotten one looks like a dead mirror."""
    proxies = getproxies_environment()
    named = ", ".join(f"{kind}_proxy={where}" for kind, where in proxies.items() if kind in {"http", "https"})
    return f"the environment names a proxy: {named}" if named else ""


def _words(error: BaseException) -> str:
    """A library's error in a line."""
    said = str(error) or type(error).__name__
    return said.splitlines()[0][:200]

"""Fetching what machines load, by TFTP and HTTP, for one run of a proof: what many share is fetched once."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, TypeVar
from urllib.parse import unquote

import aiohttp

from appliance.daemon.passes import REASON, shown
from appliance.daemon.proof_files import HEAD
from appliance.dnsmasq.tftp import TftpRefused, tftp_get
from appliance.system.clock import monotonic

# What a boot loader's User-Agent begins with: an endpoint may answer others otherwise.
AGENT: Final = "iPXE/1.0.0+ (pxe-appliance prove)"
_PARALLEL: Final = 8  # connections to one server; a peer may have 64
_MOST: Final = 32 << 20
_REDIRECTS: Final = 4
_PATIENCE: Final = aiohttp.ClientTimeout(total=30, connect=4, sock_read=10)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came. `failure` empty: something did; `silent`: nobody answers there at all.

    `size` is that of the whole, None where the server does not tell; `reason` what only we are told of a
    refusal.
    """

    status: int = 0
    body: bytes = b""
    size: int | None = None
    failure: str = ""
    silent: bool = False
    reason: str = ""
    digest: str = ""

    @property
    def fine(self) -> bool:
        """Whether the file was given."""
        return not self.failure and self.status in {200, 206}

    @property
    def why_not(self) -> str:
        """Why it was not, in words."""
        if self.failure:
            return self.failure
        return f"HTTP status {self.status}" + (f": {self.reason}" if self.reason else "")


@dataclass(slots=True)
class Fetcher:
    """The connections and the memory of one run. Open it with `async with`."""

    secret: str
    _session: aiohttp.ClientSession = field(init=False)
    _ours: dict[str, aiohttp.ClientSession] = field(default_factory=dict)
    _known: dict[object, asyncio.Task[Fetched]] = field(default_factory=dict)
    _own: set[object] = field(default_factory=set)  # what one machine alone is given
    _tftp: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    async def __aenter__(self) -> Fetcher:
        """Ready to fetch."""
        self._session = _session(None)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._known.values():
            task.cancel()
        await asyncio.gather(*self._known.values(), return_exceptions=True)
        for session in (self._session, *self._ours.values()):
            await session.close()

    async def first_stage(self, address: IPv4Address, name: str) -> Fetched:
        """A boot file by TFTP, whole, from our own child at `address`."""
        return await self._once(("tftp", address, name), lambda: self._by_tftp(address, name))

    async def whole(self, url: str, here: str, machine: str, *, shared: bool = False) -> Fetched:
        """A document that a machine is given; `shared` when all are given the same.

        `here` is our own side on the machine's network, as ADDRESS:PORT.
        """
        key = (url, "" if shared else machine)
        if not shared:
            self._own.add(key)
        return await self._once(key, lambda: self._by_http(url, here, machine, whole=True))

    async def head(self, url: str, here: str, machine: str) -> Fetched:
        """The first bytes of a file that all who name it are given alike."""
        return await self._once((url, HEAD), lambda: self._by_http(url, here, machine, whole=False))

    def forget_own(self) -> None:
        """Let go of documents that belong to one machine: of thousands, they would fill the memory."""
        for key in self._own:
            if (task := self._known.get(key)) is not None and task.done():
                del self._known[key]
        self._own.clear()

    def forget(self) -> None:
        """Fetch again what is asked for from now on."""
        self._known = {key: task for key, task in self._known.items() if not task.done()}

    async def _once(self, key: object, fetch: Callable[[], Awaitable[Fetched]]) -> Fetched:
        task = self._known.get(key)
        if task is None:
            task = asyncio.ensure_future(fetch())
            self._known[key] = task
        return await asyncio.shield(task)

    async def _by_tftp(self, address: IPv4Address, name: str) -> Fetched:
        async with self._tftp:
            try:
                body = await asyncio.to_thread(tftp_get, address, name)
            except TftpRefused as error:
                return Fetched(failure=f"the TFTP server says: {error}")
            except TimeoutError:
                return Fetched(failure="the TFTP server does not answer", silent=True)
            except OSError as error:
                return Fetched(failure=f"TFTP failed: {error.strerror or error}", silent=True)
        return Fetched(200, size=len(body), digest=hashlib.sha256(body).hexdigest())

    async def _by_http(self, url: str, here: str, machine: str, *, whole: bool) -> Fetched:
        ours = url.startswith(f"http://{here}/")  # a pass is shown to nobody else
        headers = shown(self.secret, machine) if ours else {}
        if not whole:
            headers["Range"] = f"bytes=0-{HEAD - 1}"
        try:
            async with self._to(here if ours else None).get(
                url, headers=headers, max_redirects=_REDIRECTS, allow_redirects=not ours
            ) as answer:
                body = await _read(answer.content, _MOST if whole else HEAD)
                return Fetched(
                    answer.status,
                    body,
                    _size(answer),
                    reason=unquote(answer.headers.get(REASON, "")) if ours else "",
                    digest=hashlib.sha256(body).hexdigest() if whole else "",
                )
        except TimeoutError:
            return Fetched(failure="no answer in time", silent=True)
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as error:
            return Fetched(failure=f"cannot connect: {_words(error)}", silent=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Fetched(failure=f"no usable answer: {_words(error)}")

    def _to(self, here: str | None) -> aiohttp.ClientSession:
        """A session that speaks from our own address to our own address, or the one to everybody else."""
        if here is None:
            return self._session
        if here not in self._ours:
            self._ours[here] = _session(here.partition(":")[0])
        return self._ours[here]


def _session(local: str | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
        timeout=_PATIENCE,
        trust_env=False,  # machines know no proxy
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(
            limit=_PARALLEL * 4,
            limit_per_host=_PARALLEL,
            local_addr=(local, 0) if local else None,
            # iPXE trusts other authorities than this host does: whether it trusts them cannot be told here.
            ssl=_any_certificate(),
        ),
    )


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _read(stream: aiohttp.StreamReader, most: int) -> bytes:
    body = bytearray()
    while len(body) < most and (piece := await stream.read(min(most - len(body), 1 << 16))):
        body += piece
    return bytes(body)


def _size(answer: aiohttp.ClientResponse) -> int | None:
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if answer.status == 206:
        return int(total) if total.isdecimal() else None
    return answer.content_length


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or str(error.os_error)
    return str(error)[:200] or type(error).__name__


async def timed(work: Awaitable[T]) -> tuple[T, float]:
    """What `work` gives, and how many milliseconds it took."""
    began = monotonic()
    found = await work
    return found, (monotonic() - began) * 1000

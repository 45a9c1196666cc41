"""One attempt to deliver to a webhook: resolved, connected, verified, answered, within its time.

Nothing of this may cost another hook or the daemon anything: names are resolved by threads of the hook's own
(the loop's threads read files for machines that boot), an answer is read to a bound, and a redirect, which
could lead anywhere, is not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from appliance import __version__
from appliance.daemon.webhook_message import (
    Fate,
    Message,
    answer_words,
    fate,
    retry_after,
)
from appliance.paths import Paths
from appliance.plain_text import safe_text
from appliance.settings import WebhookSettings
from appliance.system.clock import monotonic, now
from appliance.system.credentials import given
from appliance.system.files import read_regular
from appliance.webhook_secret import LONGEST_FILE, SecretError, read_secret

PATIENCE: Final = 10.0  # seconds for all of an attempt
_BODY_SECONDS: Final = 1.0
_LONGEST_ANSWER: Final = 4096
_SHOWN: Final = 200
_LONGEST_CA: Final = 1 << 20
_RESOLVERS: Final = 2


class SendError(Exception):
    """It was not delivered: why, and in `fix` what to do. Neither shows the URL's path or the secret."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


class TryAgain(SendError):
    """Another attempt may do better. `after`: the seconds that the receiver asked for."""

    def __init__(self, why: str, fix: str, after: float = 0.0) -> None:
        super().__init__(why, fix)
        self.after = after


@dataclass(frozen=True, slots=True)
class Answer:
    """A receiver's answer that means it has it; `body` is the beginning of it, safe to show."""

    status: int
    seconds: float
    body: str


class _Resolver(AbstractResolver):
    """The host's own resolver, on threads that wait for nobody else. IPv4, as all of the service."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="webhook")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, socket.getaddrinfo, host, port, socket.AF_INET, socket.SOCK_STREAM
        )
        return [
            ResolveResult(
                hostname=host, host=str(at[0]), port=int(at[1]), family=family, proto=proto, flags=0
            )
            for _, _, proto, _, at in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Sender:
    """Sends to one receiver. The secret's file is read for each attempt: a new one counts at once."""

    def __init__(self, settings: WebhookSettings, paths: Paths) -> None:
        self._settings = settings
        self._secret, self._secrets = Path(paths.in_secrets(settings.secret)), Path(paths.secrets)
        self._ca = Path(paths.in_keys(settings.ca)) if settings.ca else None
        self._session: aiohttp.ClientSession | None = None
        self._trust: ssl.SSLContext | None = None

    async def send(self, message: Message) -> Answer:
        """One attempt.

        Raises:
            TryAgain: it may arrive later.
            SendError: it will not, as things are.
        """
        began = monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                secret, trust = await asyncio.to_thread(self._read)
                return await self._post(message, message.headers(secret, now()), trust, began)
        except TimeoutError as error:
            words = f"no answer within {PATIENCE:g} s"
            raise TryAgain(words, "look whether the receiver is well and can be reached from here") from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise TryAgain(*_tls_words(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            words = f"cannot be reached: {_words(error)}"
            raise TryAgain(words, "look whether the receiver is well and can be reached from here") from error

    async def close(self) -> None:
        """Let go of connections and threads."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(
        self, message: Message, headers: dict[str, str], trust: ssl.SSLContext, began: float
    ) -> Answer:
        session = self._open()
        async with session.post(
            self._settings.url, data=message.body, headers=headers, allow_redirects=False, ssl=trust
        ) as answer:
            match fate(answer.status):
                case Fate.DELIVERED:
                    seconds = monotonic() - began
                    return Answer(answer.status, seconds, await _beginning(answer))
                case Fate.AGAIN:
                    asked = retry_after(answer.headers.get("Retry-After", ""), now())
                    raise TryAgain(*answer_words(answer.status, ""), asked)
                case Fate.REFUSED:
                    location = answer.headers.get("Location", "")
                    raise SendError(*answer_words(answer.status, location))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(), family=socket.AF_INET, limit=2, force_close=True, use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": f"pxe-appliance/{__version__}"},
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _read(self) -> tuple[bytes, ssl.SSLContext]:
        """The secret, and whom to trust. Blocks.

        What is wrong here an operator can mend while the delivery waits.
        """
        file = given(self._secret, self._secrets)
        try:
            if file.stat().st_mode & 0o004:
                raise TryAgain(f"every user of this host may read {file}", f"chmod o= {file}")
            secret = read_secret(read_regular(file, LONGEST_FILE))
        except SecretError as error:
            fix = f"openssl rand -hex 32 > {file}, and the same at the receiver"
            raise TryAgain(f"the secret in {file} cannot be used: {error}", fix) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            fix = f"put it at {self._secret}, then: systemctl restart pxe-appliance"
            raise TryAgain(f"cannot read the secret in {file}: {why}", fix) from error
        if self._ca is not None:
            try:
                self._trust = ssl.create_default_context(
                    cadata=read_regular(self._ca, _LONGEST_CA).decode("ascii")
                )
            except (OSError, ValueError) as error:
                fix = f"openssl x509 -noout -subject -in {self._ca}"
                raise TryAgain(f"cannot use {self._ca} as a certificate: {_words(error)}", fix) from error
        elif self._trust is None:
            self._trust = ssl.create_default_context()
        assert self._trust is not None
        return secret, self._trust


async def _beginning(answer: aiohttp.ClientResponse) -> str:
    """What a receiver says, as far as it comes soon: its status is what counts."""
    said = b""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_SECONDS):
            said = await answer.content.read(_LONGEST_ANSWER)
    return safe_text(said.decode(errors="replace").strip(), limit=_SHOWN)


def _words(error: BaseException) -> str:
    """A library's error in a line. Never its own text where it is aiohttp's: that may name the whole URL."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return "it took the connection and closed it without an answer"
    if isinstance(cause, aiohttp.ClientResponseError):
        return "what it answers is not HTTP"
    if isinstance(cause, ssl.SSLError):
        return safe_text((cause.reason or "unreadable").replace("_", " ").lower(), limit=_SHOWN)
    if isinstance(cause, OSError) and (cause.errno or 0) > 0:  # a resolver's own are negative
        return os.strerror(cause.errno or 0)
    if isinstance(cause, OSError) and cause.strerror:
        return safe_text(cause.strerror.splitlines()[0], limit=_SHOWN)
    return type(cause).__name__


def _tls_words(error: BaseException) -> tuple[str, str]:
    """Why there is no trusted connection, and what to do: the certificate, or no TLS at all."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = safe_text(cause.verify_message, limit=_SHOWN)
        fix = 'name who signed it: ca = "FILE" in keys.d/, or mend it there'
        if "mismatch" in said:
            fix = "write the name that its certificate is for as the host of url"
        return f"its certificate is not trusted: {said}", fix
    reason = (getattr(cause, "reason", None) or type(cause).__name__).replace("_", " ").lower()
    fix = "does it speak TLS at that port, and TLS 1.2 or newer?"
    return f"no TLS with it: {safe_text(reason, limit=_SHOWN)}", fix

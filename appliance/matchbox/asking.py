"""Asking an external Matchbox what it would answer each machine. Nothing it does raises: it is told.

An endpoint may be down, slow, endless, or something else altogether. Each answer is bounded in size and time,
all of them together in time, and an endpoint that is down is one finding, not one for each machine. Matchbox
reads all its groups for each request (0.4 s of its processor with ten thousand): few are asked at once.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from appliance import __version__
from appliance.errors import ApplianceError
from appliance.matchbox.ask import (
    Finding,
    FindingKind,
    compare_script,
    not_a_script,
    parse_script,
    told,
)
from appliance.matchbox.ask_ignition import compare_ignition
from appliance.matchbox.model import MachineBoot
from appliance.plain_text import safe_text

_MOST: Final = 1 << 20  # bytes of one answer; an Ignition may have four times what ours has
_SILENT: Final = 3  # machines in a row without an answer: the endpoint is down
_HEADERS: Final = {"User-Agent": f"pxe-appliance/{__version__}", "Accept-Encoding": "identity"}


async def ask_all(
    endpoint_url: str,
    machines: Sequence[MachineBoot],
    *,
    timeout: float = 5.0,  # noqa: ASYNC109 - of one request among many
    parallel: int = 4,
    within: float = 120.0,
    ignition: bool = False,
) -> tuple[Finding, ...]:
    """Ask for every machine's boot script, and hold it against what the machine should boot.

    Args:
        endpoint_url: the base, without a slash at the end.
        machines: asked by their first MAC, in this order. For one without a profile any script will do; one
            whose profile boots nothing is not asked for.
        timeout: seconds for one answer. `within`: seconds for all; who is left then is counted.
        parallel: how many are asked at once.
        ignition: whether the Ignition there is ours, and has to be what ours is.

    Returns:
        what is wrong, in the machines' order; nothing when all is well.
    """
    asked = [m for m in machines if m.macs and (m.profile is None or m.profile.boot is not None)]
    limits = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        headers=_HEADERS,
        timeout=limits,
        trust_env=False,  # machines know no proxy
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=parallel),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        inquiry = _Inquiry(session, endpoint_url.rstrip("/"), timeout, ignition)
        if not await inquiry.front():
            return tuple(inquiry.general)
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        waiting = iter(enumerate(asked))

        async def work() -> None:
            for number, machine in waiting:
                if inquiry.down or loop.time() > until:
                    inquiry.left += 1
                    continue
                await inquiry.machine(number, machine)

        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, min(parallel, len(asked)))):
                group.create_task(work())
    if inquiry.left and not inquiry.down:
        inquiry.general.append(
            Finding(
                FindingKind.ENDPOINT,
                "",
                f"Matchbox at {endpoint_url} is slow: in {within:g} s it could be asked for "
                f"{len(asked) - inquiry.left} of {len(asked)} machines; the others were not compared",
            )
        )
    return tuple(inquiry.findings())


class _Silent(Exception):
    """No whole answer came. `hard`: there is nobody to ask."""

    def __init__(self, why: str, *, hard: bool = False) -> None:
        super().__init__(why)
        self.hard = hard


class _Strange(Exception):
    """What came is not what Matchbox sends."""


@dataclass(slots=True)
class _Answer:
    status: int
    content_type: str
    body: bytes


@dataclass(slots=True)
class _Inquiry:
    """One round of questions, and what came of it so far."""

    session: aiohttp.ClientSession
    base: str
    timeout: float
    ignition: bool
    general: list[Finding] = field(default_factory=list)
    found: dict[int, list[Finding]] = field(default_factory=dict)
    silent: int = 0
    down: bool = False
    left: int = 0

    def findings(self) -> Iterator[Finding]:
        """All of it; what an endpoint that is down did to single machines says nothing of them."""
        yield from self.general
        for number in sorted(self.found):
            for finding in self.found[number]:
                if not (self.down and finding.kind is FindingKind.SILENT):
                    yield finding

    async def front(self) -> bool:
        """Ask for the script that every machine is sent to; whether there is somebody to ask on."""
        where = f"{self.base}/boot.ipxe"
        try:
            answer = await self._get("/boot.ipxe", _MOST)
        except _Silent as error:
            self._note_down(str(error))
            return False
        except _Strange as error:
            self._general(f"{where}, to which DHCP sends every machine, {error}")
            return False
        if answer.status >= 500:
            self._note_down(f"it says {answer.status}")
            return False
        if answer.status != 200:
            self._general(f"{where}, to which DHCP sends every machine, answers {answer.status}")
            return True
        if not answer.body.startswith(b"#!ipxe"):
            what = not_a_script(answer.content_type, answer.body)
            self._general(f"{where}, to which DHCP sends every machine, is no boot script but {what}")
            return False
        return True

    async def machine(self, number: int, machine: MachineBoot) -> None:
        """Ask what one machine would be told."""
        notes = self.found.setdefault(number, [])
        name = machine.name
        try:
            notes.extend(await self._script(machine))
            known = all(note.kind is FindingKind.SCRIPT for note in notes)
            if known and self.ignition and machine.profile is not None and machine.ignition is not None:
                notes.extend(await self._ignition(machine))
            self.silent = 0
        except _Strange as error:
            self.silent = 0
            notes.append(Finding(FindingKind.STRANGE, name, f"{name}: Matchbox {error}"))
        except _Silent as error:
            self.silent += 1
            notes.append(Finding(FindingKind.SILENT, name, f"{name}: Matchbox does not answer: {error}"))
            if (error.hard or self.silent >= _SILENT) and not self.down:
                self._note_down(str(error))

    async def _script(self, machine: MachineBoot) -> list[Finding]:
        mac = machine.macs[0]
        target = f"/ipxe?mac={mac.dashed}"
        answer = await self._get(target, _MOST)
        name = machine.name
        if answer.status == 404:
            words = f"Matchbox has no group or profile for {name} ({mac})"
            return [Finding(FindingKind.MISSING, name, words)]
        if answer.status != 200:
            raise _Strange(f"says {answer.status} to {target}")
        script = parse_script(answer.body.decode("utf-8", "replace"))
        if script is None:
            raise _Strange(f"answers {target} with {not_a_script(answer.content_type, answer.body)}")
        if machine.profile is None or machine.profile.boot is None:
            return []
        differences = compare_script(machine.profile.boot, script, f"{self.base}/ipxe")
        if not differences:
            return []
        return [Finding(FindingKind.SCRIPT, name, f"{name} would boot something else: {told(differences)}")]

    async def _ignition(self, machine: MachineBoot) -> list[Finding]:
        assert machine.ignition is not None
        name, target = machine.name, f"/ignition?mac={machine.macs[0].dashed}"
        try:
            expected = await asyncio.to_thread(machine.ignition, "")
        except ApplianceError:
            return []  # said where it is pushed
        answer = await self._get(target, max(_MOST, 4 * len(expected)))
        if answer.status != 200:
            words = f"{name}: Matchbox answers {answer.status} where its Ignition should be; its log says why"
            return [Finding(FindingKind.IGNITION, name, words)]
        differences = await asyncio.to_thread(compare_ignition, expected, answer.body)
        if not differences:
            return []
        return [
            Finding(FindingKind.IGNITION, name, f"{name} would be configured otherwise: {told(differences)}")
        ]

    async def _get(self, target: str, most: int) -> _Answer:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self.timeout),
                self.session.get(self.base + target, allow_redirects=False) as response,
            ):
                if 300 <= response.status < 400:
                    place = safe_text(response.headers.get("Location", "nowhere"), limit=120)
                    raise _Strange(f"redirects {target} to {place}")
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > most:
                        raise _Strange(f"sends more than {most} bytes for {target}")
                return _Answer(response.status, response.headers.get("Content-Type", ""), bytes(body))
        except TimeoutError as error:
            raise _Silent(f"not done after {self.timeout:g} s") from error
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise _Silent(f"its certificate is not trusted here: {_words(error)}", hard=True) from error
        except aiohttp.ClientConnectorError as error:
            raise _Silent(_words(error), hard=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _Silent(_words(error)) from error

    def _general(self, words: str) -> None:
        self.general.append(Finding(FindingKind.ENDPOINT, "", words))

    def _note_down(self, why: str) -> None:
        self.down = True
        words = f"Matchbox at {self.base} does not answer: {why}"
        self.general.append(Finding(FindingKind.DOWN, "", words))


def _words(error: BaseException) -> str:
    """A library's error in a line."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number, words = error.os_error.errno or 0, error.os_error.strerror or ""
        # asyncio says "Connect call failed" whatever it was; a resolver's errors have numbers of their own.
        return safe_text(os.strerror(number) if number > 0 else words or str(error), limit=200)
    said = str(error) or type(error).__name__
    return safe_text(said.splitlines()[0], limit=200)

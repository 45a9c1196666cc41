"""`POST /v1/prove` on the control socket: a proof, told as it goes, a JSON object a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from aiohttp import web

from appliance.daemon.control import error_json
from appliance.daemon.control_body import Malformed, object_in
from appliance.errors import ApplianceError

_READ_SECONDS: Final = 30.0  # that a listener may take for one line
_MOST: Final = 100_000  # machines that can be named


class Proves(Protocol):
    """Whoever proves."""

    def prove(self, names: list[str], archs: list[int]) -> AsyncGenerator[dict[str, object], None]: ...


def add_proof(app: web.Application, prover: Proves) -> None:
    """The route. The body is `{"machines": [names], "archs": [numbers]}`, both may be left out.

    A refusal at the start is an error as everywhere; one in the middle is a last line with `kind` `error`.
    """

    async def prove(request: web.Request) -> web.StreamResponse:
        names, archs = await _wishes(request)
        lines = prover.prove(names, archs)
        async with contextlib.aclosing(lines):
            first = await anext(lines)
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            with contextlib.suppress(ConnectionError, TimeoutError):  # gone, or does not read: it ends here
                await response.prepare(request)
                await _write(response, first)
                try:
                    async for line in lines:
                        await _write(response, line)
                except ApplianceError as error:
                    await _write(
                        response, {**error_json(error), "kind": "error", "error": type(error).__name__}
                    )
            return response

    app.router.add_post("/v1/prove", prove)


async def _wishes(request: web.Request) -> tuple[list[str], list[int]]:
    body = await object_in(request, may_lack=True)
    names, archs = body.get("machines", []), body.get("archs", [])
    if not _all(names, str) or not _all(archs, int):
        raise Malformed("machines should be a list of names, archs one of numbers")
    assert isinstance(names, list)
    assert isinstance(archs, list)
    return names, archs


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and len(value) <= _MOST and all(type(one) is kind for one in value)


async def _write(response: web.StreamResponse, line: dict[str, object]) -> None:
    async with asyncio.timeout(_READ_SECONDS):
        await response.write(json.dumps(line).encode() + b"\n")

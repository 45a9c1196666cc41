"""The control socket: everything that reads, and the only door for everything that writes.

It is a Unix socket whose file permissions say who may come in. A browser cannot reach it, and nothing on the
VLAN can.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from typing import Protocol

from aiohttp import web

from appliance.boot.policy import Cue
from appliance.daemon.control_body import Malformed, flag_in, number_in, object_in, text_in
from appliance.daemon.control_strays import (
    StrayActions,
    StrayReadings,
    add_stray_actions,
    add_stray_readings,
)
from appliance.daemon.control_telling import (
    MetricsReadings,
    WebhookActions,
    add_metrics,
    add_webhook_actions,
)
from appliance.daemon.discreet import told_machine
from appliance.daemon.feed import Feed
from appliance.daemon.page import BoardStream
from appliance.errors import ApplianceError, ExitCode, NotProven, OperatorError, Refused
from appliance.reading import shown
from appliance.sync.confirm import LONGEST, SHORTEST
from appliance.sync.run import Request

_STATUS = {
    ExitCode.OPERATOR: 422,
    ExitCode.REFUSED: 409,
    ExitCode.SURROUNDINGS: 503,
    ExitCode.ROLLED_BACK: 502,
}


class Readings(MetricsReadings, StrayReadings, Protocol):
    """What the daemon can be asked."""

    def status(self) -> dict[str, object]: ...
    def machines(self) -> list[dict[str, object]]: ...
    def machine(self, name: str) -> dict[str, object] | None: ...
    async def why(self, name: str) -> dict[str, object] | None: ...
    def names(self) -> Iterable[str]: ...
    def leases(self) -> list[dict[str, object]]: ...
    def networks(self) -> list[dict[str, object]]: ...
    async def generations(self) -> list[dict[str, object]]: ...
    async def generation(self, number: int) -> dict[str, object]: ...
    @property
    def feed(self) -> Feed: ...
    async def images(self) -> list[dict[str, object]]: ...
    async def events(self, *, limit: int, machine: str | None) -> list[str]: ...
    def subscribe(self, machine: str | None = None) -> asyncio.Queue[str]: ...
    def unsubscribe(self, queue: asyncio.Queue[str]) -> None: ...


class Actions(WebhookActions, StrayActions, Protocol):
    """What the daemon can be told."""

    async def sync(self, request: Request) -> dict[str, object]: ...
    async def confirm(self, named: int | None = None) -> dict[str, object]: ...
    async def turn(self, name: str, cue: Cue, reason: str = "") -> dict[str, object]: ...
    def ignition(self, name: str) -> bytes | None: ...


_MOST_GENERATIONS = 10**9
_READ_SECONDS = 30.0  # that a listener may take for what is written at once
_LINES_AT_ONCE = 100  # each write costs the loop as much as forming its line

_CUES = {cue.value: cue for cue in (Cue.REINSTALL, Cue.HOLD, Cue.RELEASE)}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def control_app(readings: Readings, actions: Actions) -> web.Application:
    """The application behind the control socket."""
    app = web.Application(middlewares=[no_browsers, errors_as_json])
    add_readings(app, readings)

    async def sync(request: web.Request) -> web.Response:
        return web.json_response(await actions.sync(_sync_request(await object_in(request))))

    async def confirm(request: web.Request) -> web.Response:
        named = _generation((await object_in(request, may_lack=True)).get("generation"), "to confirm")
        return web.json_response(await actions.confirm(named))

    async def turn(request: web.Request) -> web.Response:
        reason = text_in(await object_in(request, may_lack=True), "reason")
        cue = _CUES[request.match_info["cue"]]
        return web.json_response(await actions.turn(request.match_info["name"], cue, reason))

    # Not among the readings: it holds secrets, and those are asked for on the PXE address, too.
    async def ignition(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        document = actions.ignition(name)
        if document is None:
            raise Refused(f"{name} boots without Ignition", hint="its profile names none")
        return web.Response(body=document, content_type="application/json")

    app.router.add_get("/v1/machines/{name}/ignition", ignition)
    add_stray_actions(app, actions)
    add_webhook_actions(app, actions)
    app.router.add_post("/v1/sync", sync)
    app.router.add_post("/v1/confirm", confirm)
    app.router.add_post(f"/v1/machines/{{name}}/{{cue:{'|'.join(_CUES)}}}", turn)
    return app


def add_readings(
    app: web.Application,
    readings: Readings,
    *,
    followers: int = 256,
    most_events: int = 10_000,
    to_anybody: bool = False,
) -> None:
    """The read-only listings; on the PXE address (`to_anybody`) without what may be a secret."""

    # To find the nearest name takes the longer, the more there are: nobody on the wire has it looked for.
    names: Callable[[], Iterable[str]] = tuple if to_anybody else readings.names

    async def status(_: web.Request) -> web.Response:
        return web.json_response(readings.status())

    async def machines(_: web.Request) -> web.Response:
        return web.json_response(readings.machines())

    async def machine(request: web.Request) -> web.Response:
        found = readings.machine(request.match_info["name"])
        if found is None:
            raise unknown_machine(request.match_info["name"], names())
        return web.json_response(told_machine(found) if to_anybody else found)

    async def why(request: web.Request) -> web.Response:
        found = await readings.why(request.match_info["name"])
        if found is None:
            raise unknown_machine(request.match_info["name"], names())
        return web.json_response(found)

    async def leases(_: web.Request) -> web.Response:
        return web.json_response(readings.leases())

    async def images(_: web.Request) -> web.Response:
        return web.json_response(await readings.images())

    app.router.add_get("/v1/status", status)
    app.router.add_get("/v1/images", images)
    app.router.add_get("/v1/machines", machines)
    app.router.add_get("/v1/machines/{name}", machine)
    app.router.add_get("/v1/machines/{name}/why", why)
    app.router.add_get("/v1/leases", leases)
    add_stray_readings(app, readings)
    add_metrics(app, readings)

    async def networks(_: web.Request) -> web.Response:
        return web.json_response(readings.networks())

    async def generations(_: web.Request) -> web.Response:
        return web.json_response(await readings.generations())

    async def generation(request: web.Request) -> web.Response:
        return web.json_response(await readings.generation(number_in(request.match_info["number"])))

    app.router.add_get("/v1/networks", networks)
    app.router.add_get("/v1/generations", generations)
    app.router.add_get("/v1/generations/{number}", generation)
    app.router.add_get("/v1/board", BoardStream(readings.feed, followers).answer)
    app.router.add_get("/v1/events", EventStream(readings, followers, most_events).answer)


def unknown_machine(name: str, names: Iterable[str]) -> Refused:
    """The error for a machine that nobody knows, with the nearest that somebody does."""
    near = difflib.get_close_matches(name, list(names), 1)
    hint = f"did you mean {near[0]}?" if near else "pxe-appliance machines lists them"
    return Refused(f"there is no machine {name[:64]!r} in the current generation", hint=hint)


class EventStream:
    """`/v1/events`: what happened, a JSON object a line; with `follow=1`, also what happens from now on."""

    def __init__(self, readings: Readings, followers: int, most_events: int) -> None:
        """At most so many may follow at a time, and ask for so many of the past."""
        self._readings = readings
        self._room = followers
        self._most = most_events

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request for events."""
        limit = min(number_in(request.query.get("limit", "200")), self._most)
        machine = request.query.get("machine")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        if request.query.get("follow") != "1":
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._past(request, response, limit, machine)
            return response
        if self._room <= 0:
            return web.Response(status=503, text="too many follow the events already\n")
        self._room -= 1
        queue = self._readings.subscribe(machine)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):  # gone, or does not read
                await self._past(request, response, limit, machine)
                while line := await queue.get():
                    await _write(response, line)
        finally:
            self._room += 1
            self._readings.unsubscribe(queue)
        return response

    async def _past(
        self, request: web.Request, response: web.StreamResponse, limit: int, machine: str | None
    ) -> None:
        lines = await self._readings.events(limit=limit, machine=machine)
        await response.prepare(request)
        for at in range(0, len(lines), _LINES_AT_ONCE):
            await _write(response, "\n".join(lines[at : at + _LINES_AT_ONCE]))


async def _write(response: web.StreamResponse, line: str) -> None:
    async with asyncio.timeout(_READ_SECONDS):
        await response.write(line.encode() + b"\n")


def error_json(error: ApplianceError) -> dict[str, object]:
    """An error as it travels to the command line."""
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == ApplianceError.__module__)
    facts: dict[str, object] = {
        "kind": known.__name__,
        "message": error.message,
        "hint": error.hint,
    }
    if isinstance(error, NotProven):
        facts["evidence"] = list(error.evidence)
    if isinstance(error, OperatorError):
        facts["problems"] = [asdict(p) for p in error.problems]
    return facts


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error of ours as JSON, with a status that says whose turn it is."""
    try:
        return await handler(request)
    except ApplianceError as error:
        status = 400 if isinstance(error, Malformed) else _STATUS.get(error.exit_code, 500)
        return web.json_response(error_json(error), status=status)


@web.middleware
async def no_browsers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn away what a browser asks: should anybody put this socket on a port, other sites' pages find it.

    Browsers name the page that asks (Fetch standard: Origin with every write, Sec-Fetch-Site with all).
    """
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        return web.json_response({"error": "browsers are not served here: /ui/ is their page"}, status=403)
    return await handler(request)


def _sync_request(body: dict[str, object]) -> Request:
    return Request(
        why=text_in(body, "why", otherwise="sync"),
        who=text_in(body, "who", longest=64),
        allow_mass_change=flag_in(body, "allow_mass_change"),
        expected=text_in(body, "expected"),
        to=_generation(body.get("to"), "to go back to"),
        confirm_within=_within(body.get("confirm_within", 0)),
    )


def _generation(raw: object, what: str) -> int | None:
    if raw is None or (isinstance(raw, int) and not isinstance(raw, bool) and 0 < raw < _MOST_GENERATIONS):
        return raw
    raise Malformed(f"the generation {what} is not a number")


def _within(raw: object) -> int:
    """The seconds in which a change has to be confirmed; 0: it has not to be."""
    if isinstance(raw, int) and not isinstance(raw, bool) and (raw == 0 or SHORTEST <= raw <= LONGEST):
        return raw
    raise Malformed(f"a change cannot wait {shown(raw)} seconds for its confirmation")

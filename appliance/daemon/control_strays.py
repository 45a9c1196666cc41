"""The ledger of strays by HTTP: what can be asked on both sides, and what an operator may note in it."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from appliance.daemon.control_body import object_in, text_in


class StrayReadings(Protocol):
    """What can be asked of the ledger."""

    async def strays(self, *, ignored: bool) -> list[dict[str, object]]: ...
    async def stray(self, mac: str) -> dict[str, object]: ...


class StrayActions(Protocol):
    """What an operator can have noted in it."""

    async def note_stray(self, mac: str, note: str | None) -> dict[str, object]: ...


def add_stray_readings(app: web.Application, readings: StrayReadings) -> None:
    """`/v1/strays`, without those that are ignored at `?ignored=0`, and `/v1/strays/MAC` with all clues."""

    async def strays(request: web.Request) -> web.Response:
        return web.json_response(await readings.strays(ignored=request.query.get("ignored") != "0"))

    async def stray(request: web.Request) -> web.Response:
        return web.json_response(await readings.stray(request.match_info["mac"]))

    app.router.add_get("/v1/strays", strays)
    app.router.add_get("/v1/strays/{mac}", stray)


def add_stray_actions(app: web.Application, actions: StrayActions) -> None:
    """`ignore` and `unignore` of one stray: answered when it is on disk."""

    async def ignore(request: web.Request) -> web.Response:
        note = text_in(await object_in(request, may_lack=True), "note")
        return web.json_response(await actions.note_stray(request.match_info["mac"], note))

    async def unignore(request: web.Request) -> web.Response:
        return web.json_response(await actions.note_stray(request.match_info["mac"], None))

    app.router.add_post("/v1/strays/{mac}/ignore", ignore)
    app.router.add_post("/v1/strays/{mac}/unignore", unignore)

"""Requests to a real server, counted by what was asked for, whatever became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from appliance.daemon.measured import asked_for, measured

Seen = list[tuple[str, int, float | None]]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/boot.ipxe", "chain"),
        ("/ipxe", "script"),
        ("/ipxe.sig", "script"),
        ("/ignition", "ignition"),
        ("/assets/flatcar/vmlinuz", "asset"),
        ("/assets", "asset"),
        ("/v1/report", "report"),
        ("/v1/machines", "api"),
        ("/ui", "ui"),
        ("/ui/stream", "ui"),
        ("/metrics", "metrics"),
        ("/healthz", "healthz"),
        ("/", "home"),
        ('/"} 1\nx', "unknown"),
        ("/assetsx", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_a_path_is_for(path: str, kind: str) -> None:
    assert asked_for(path) == kind


def with_server(work: Callable[[str, Seen], Awaitable[None]]) -> None:
    seen: Seen = []

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/v1/slow":
                await asyncio.sleep(60)
            case "/v1/forbidden":
                raise web.HTTPForbidden
            case "/ui/stream":
                return web.Response(text="data: x\n\n", content_type="text/event-stream")
        return web.Response(text="ok")

    async def main() -> None:
        app = web.Application(middlewares=[measured(lambda *told: seen.append(told))])
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            await work(f"http://127.0.0.1:{runner.addresses[0][1]}", seen)
        finally:
            await runner.cleanup()

    asyncio.run(main())


def test_every_answer_is_counted_and_those_without_an_end_are_not_timed() -> None:
    async def work(url: str, seen: Seen) -> None:
        async with aiohttp.ClientSession() as session:
            for path in ("/ipxe", "/v1/forbidden", "/ui/stream", "/v1/events?follow=1"):
                async with session.get(url + path) as response:
                    await response.read()
        assert [(kind, status) for kind, status, _ in seen] == [
            ("script", 200),
            ("api", 403),
            ("ui", 200),
            ("api", 200),
        ]
        assert [seconds is None for _, _, seconds in seen] == [False, False, True, True]

    with_server(work)


def test_who_goes_away_is_counted_without_a_status() -> None:
    async def work(url: str, seen: Seen) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TimeoutError):
                await session.get(f"{url}/v1/slow", timeout=aiohttp.ClientTimeout(total=0.2))
        async with asyncio.timeout(10):
            while not seen:  # noqa: ASYNC110 - the server tells nobody else
                await asyncio.sleep(0.01)
        assert [(kind, status) for kind, status, _ in seen] == [("api", 0)]

    with_server(work)

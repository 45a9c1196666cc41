"""`/metrics`, on both sides, and the test of a webhook, on the control socket alone."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web


class MetricsReadings(Protocol):
    """What Prometheus can ask."""

    async def metrics(self, accept: str) -> tuple[bytes, str]: ...


class WebhookActions(Protocol):
    """What can be tried."""

    async def test_webhook(self, name: str) -> dict[str, object]: ...


def add_metrics(app: web.Application, readings: MetricsReadings) -> None:
    """The page of metrics: plain text, or OpenMetrics for who accepts it."""

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = await readings.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    app.router.add_get("/metrics", metrics)


def add_webhook_actions(app: web.Application, actions: WebhookActions) -> None:
    """A test delivery: only who may write may have us speak to others."""

    async def test(request: web.Request) -> web.Response:
        return web.json_response(await actions.test_webhook(request.match_info["name"]))

    app.router.add_post("/v1/webhooks/{name}/test", test)

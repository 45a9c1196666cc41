"""A page of another site in a real browser: it reads nothing of ours, writes nothing, shows nothing of us.

The name of that site points to loopback, by a rule of the browser's own resolver. For DNS rebinding the page
stays open while its server goes away, and ours comes up at the very address and port: to the browser it is
one site, before and after.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Playwright

from tests.browser.conftest import ARGS, CHROMIUM
from tests.browser.racks import rack
from tests.browser.site import Site, running
from tests.figures import Figures

_PAGE: Final = b"<!doctype html><meta charset=utf-8><title>a page of somebody else's</title><body>"
_SCRIPT: Final = Path(__file__).with_name("other_sites.js").read_text()
_PATHS: Final = (
    *("/v1/status", "/v1/machines", "/v1/machines/node1", "/v1/events", "/v1/board", "/metrics"),
    *("/ui/", "/ui/app.js", "/ui/app.css", "/ui/stream", "/v1/sync", "/v1/machines/node1/hold"),
    *("/ignition", "/generic", "/cloud", "/metadata", "/boot.ipxe", "/ipxe"),
)


@pytest.fixture(scope="module")
def elsewhere(playwright: Playwright) -> Iterator[Browser]:
    """A browser in which every name of evil.example is loopback."""
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP *.evil.example 127.0.0.1"
    found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGS, rules], timeout=60_000)
    yield found
    found.close()


@contextmanager
def _their_site() -> Iterator[int]:
    """A site with one page; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(_PAGE)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(_PAGE)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own word
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_page_of_another_site(elsewhere: Browser, tmp_path: Path, figures: Figures) -> None:
    tried = 0
    with running(tmp_path, rack(3)) as site, _their_site() as port:
        page = elsewhere.new_page()
        statuses: list[tuple[str, int]] = []
        page.on("response", lambda answer: statuses.append((answer.url, answer.status)))
        page.goto(f"http://evil.example:{port}/")
        home = f"http://127.0.0.1:{site.port}"
        page.evaluate(_SCRIPT)
        for path in _PATHS:
            for name in page.evaluate("window.attempts"):
                got = page.evaluate("([name, url]) => window.attempt(name, url)", [name, home + path])
                assert got == "", f"{name} of {path} got {got[:200]!r}"
                tried += 1
        asked = [(url, status) for url, status in statuses if url.startswith(home)]
        assert asked, "nothing was asked at all"
        assert {status for _, status in asked} <= {403, 404, 405}, asked
        page.close()
        assert _unharmed(site)
    figures.tell(
        "routes", "attempts of another site's page in Chromium", f"{tried}", "nothing read or written"
    )


def test_a_name_that_comes_to_point_here(elsewhere: Browser, tmp_path: Path, figures: Figures) -> None:
    """DNS rebinding: to the browser, ours is the site that the page came from."""
    page = elsewhere.new_page()
    with _their_site() as port:
        page.goto(f"http://evil.example:{port}/")
        assert page.evaluate("fetch('/again').then((r) => r.status)") == 200
    site = Site(tmp_path, rack(3), port)
    site.start()
    try:
        for path in _PATHS:
            status, text = page.evaluate(
                f"fetch({path!r}).then(async (r) => [r.status, await r.text()])",
            )
            assert status in {421, 404, 405}, (path, status, text)
            assert "node1" not in text
            assert status == 421 or path in {"/v1/sync", "/v1/machines/node1/hold"}, path
            told = page.evaluate(f"fetch({path!r}, {{method: 'POST', body: '{{}}'}}).then((r) => r.status)")
            assert told in {421, 404, 405}
        answer = page.goto(f"http://rebound.evil.example:{port}/ui/")
        assert answer is not None
        assert answer.status == 421
        assert "node1" not in page.content()
        assert _unharmed(site)
        ours = page.goto(f"http://127.0.0.1:{port}/ui/")
        assert ours is not None
        assert ours.status == 200
    finally:
        site.stop()
        page.close()
    figures.tell(
        "routes", "paths by a rebound name in Chromium", f"{2 * len(_PATHS) + 1}", "421, or not there"
    )


def _unharmed(site: Site) -> bool:
    """Nobody is held, and nobody follows."""
    return site.followers == 0 and not any(life.held for life in site.state.lives.values())

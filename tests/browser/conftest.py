"""A real Chromium, and pages that must not complain."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from appliance.daemon.known import State
from tests.browser.racks import rack
from tests.browser.site import Site

CHROMIUM: Final = "/usr/bin/chromium"
ARGS: Final = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# What a browser says when a connection is lost.
_LOST: Final = ("CONNECTION_REFUSED", "INCOMPLETE_CHUNKED_ENCODING", "EMPTY_RESPONSE", "CONNECTION_RESET")


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Its event loop stays in this thread until the end: of this folder, no later, others need one too."""
    assert shutil.which(CHROMIUM), "apt install chromium"
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS, timeout=60_000)
    yield found
    found.close()


@dataclass
class Tab:
    """One page, and what it complained about: errors, violations of its policy, requests to elsewhere."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    losses: bool = False  # whether the connection may be lost in this test

    def listen(self, origin: str) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on(
            "request",
            lambda r: None if r.url.startswith(origin) else self.complaints.append(f"asked {r.url}"),
        )
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not (self.losses and any(word in text for word in _LOST)):
            self.complaints.append(f"{kind}: {text}")


Open = Callable[..., Tab]


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Callable[[State], Site]]:
    """Starts the application with a state; stopped at the end."""
    with ExitStack() as stack:

        def start(state: State) -> Site:
            site = Site(tmp_path, state)
            site.start()
            stack.callback(site.stop)
            return site

        yield start


@pytest.fixture
def site(planted: Callable[[State], Site]) -> Site:
    """Two hundred machines: most have booted, some boot, a few are stuck."""
    return planted(rack(200))


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page and waits until it is live; what it complained about fails the test."""
    with ExitStack() as stack:
        tabs: list[Tab] = []

        def visit(site: Site, where: str = "", *, width: int = 1280, height: int = 800, dark: bool = False,
                  still: bool = False) -> Tab:  # fmt: skip
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce" if still else "no-preference",
            )
            stack.callback(context.close)
            context.set_default_timeout(15_000)
            tab = Tab(context.new_page())
            tab.listen(site.url.removesuffix("/ui/"))
            tabs.append(tab)
            tab.page.goto(site.url + where)
            tab.page.wait_for_selector("#link[data-state=live]")
            return tab

        yield visit
    for tab in tabs:
        assert tab.complaints == []

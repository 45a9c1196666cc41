"""The page of the real daemon, in a namespace: a machine boots by DHCP, and the board shows it live.

Chromium runs in the same namespace: the page is open to the PXE VLAN only.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import ARGS, CHROMIUM
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment, appliance, client_on, open_tmp, segment
from tests.netns.wire import Packet, pxe_options, wait_until

__all__ = ["appliance", "client_on", "open_tmp", "segment"]
pytestmark = pytest.mark.netns
NODE1 = "52:54:00:aa:00:01"
UI = "http://172.0.1.1:8080/ui/"


@pytest.fixture
def inside(playwright: Playwright, segment: Segment, tmp_path: Path) -> Iterator[Browser]:
    """A browser in the server's namespace."""
    wrapper = tmp_path / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {segment.server} {CHROMIUM} "$@"\n')
    wrapper.chmod(0o755)
    found = playwright.chromium.launch(executable_path=str(wrapper), args=ARGS, timeout=60_000)
    yield found
    found.close()


def test_a_machine_boots_on_the_board_and_a_restart_is_survived(
    appliance: Appliance, inside: Browser, client_on: ClientMaker, segment: Segment
) -> None:
    appliance.serve()
    page = inside.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(UI)
    page.wait_for_selector("#link[data-state=live]")
    expect(page.locator("#sentence")).to_contain_text("All well: 3 machines")
    row = page.locator('.row[data-machine="node1"]')
    expect(row.locator(".mood")).to_contain_text("idle")
    client = client_on(segment.links[0])
    _, ack = client.acquire(Packet(NODE1, options=pxe_options(7)).payload())
    assert ack.yiaddr == "172.0.1.21"
    expect(row.locator('[data-cell="c"]')).to_have_attribute("title", re.compile("^ack: "), timeout=10_000)
    row.click()
    expect(page.locator("#panel")).to_contain_text("52:54:00:aa:00:02")
    expect(page.locator("#panel .evidence")).to_contain_text("discover")
    page.click("#sections a[href='#networks']")
    expect(page.locator("[data-ip='172.0.1.21']")).to_have_attribute("data-kind", "booting")
    page.click("#sections a[href='#generations']")
    expect(page.locator("#generations-body")).to_contain_text("machine node1")
    appliance.stop(signal.SIGKILL)
    expect(page.locator("#link-word")).to_have_text("not connected", timeout=10_000)
    appliance.serve()
    expect(page.locator("#link-word")).to_have_text("live", timeout=15_000)
    page.click("#sections a[href='#board']")
    expect(row.locator('[data-cell="r"]').first).to_be_attached()
    assert errors == []


def test_the_same_board_on_a_terminal(appliance: Appliance) -> None:
    appliance.serve()
    ours, theirs = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30", "NO_COLOR": "1"}
    watching = subprocess.Popen(
        appliance.argv("status", "--watch"), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, env={**os.environ, **terminal},
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def read() -> str:
        nonlocal shown
        while select.select([ours], [], [], 0.05)[0]:
            try:
                shown += os.read(ours, 1 << 16).decode(errors="replace")
            except OSError:  # the far end is closed: it has ended
                break
        return shown

    try:
        wait_until(lambda: "All well: 3 machines" in read(), "the board")
        wait_until(lambda: "node3" in read() and "idle" in read(), "the machines")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown), "NO_COLOR"
        appliance.stop(signal.SIGKILL)
        shown = ""
        wait_until(lambda: "not connected" in read(), "the loss", 15)
        appliance.serve()
        shown = ""
        wait_until(
            lambda: "All well" in read() and "not connected" not in shown[-3000:], "the board again", 15
        )
    finally:
        watching.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 10
        while watching.poll() is None and time.monotonic() < deadline:
            read()
        os.close(ours)
        assert watching.wait(5) == 130

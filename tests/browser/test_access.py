"""For everybody: phones, dark rooms, no mouse, a screen reader, colours that not all can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from appliance.daemon.known import State
from tests.browser.conftest import Open
from tests.browser.racks import generations, rack, rogues, strays
from tests.browser.site import Site

Start = Callable[[State], Site]
SECTIONS = ["#board", "#strays", "#networks", "#images", "#generations", "#problems", "#machine/node17"]
BODIES = {"#board": ".row", "#strays": "#strays-body .card", "#networks": ".map", "#images": "#images-body *",
          "#generations": "#generations-body .card", "#problems": "#problems-body .card",
          "#machine/node17": "#panel .facts-list"}  # fmt: skip


@pytest.fixture
def full(planted: Start, tmp_path: Path) -> Site:
    """A rack with something in every section."""
    state = replace(rack(120), strays=strays(), rogue_servers=rogues())
    generations(tmp_path, state)
    return planted(state)


def open_each(page: Page) -> Any:
    for section in SECTIONS:
        page.evaluate(f"location.hash = '{section}'")
        expect(page.locator(BODIES[section]).first).to_be_attached()
        yield section


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2560])
def test_nothing_has_to_be_scrolled_sideways(full: Site, visit: Open, width: int) -> None:
    page = visit(full, width=width, height=800).page
    for section in open_each(page):
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, section


def test_a_phone_shows_name_state_ladder_and_reason(full: Site, visit: Open) -> None:
    page = visit(full, width=390, height=844).page
    first = page.locator(".row").first
    for part in (".name", ".mood", ".ladder", ".reason"):
        expect(first.locator(part)).to_be_visible()
    box = first.locator(".reason").bounding_box()
    assert box is not None
    assert box["width"] > 300
    first.tap() if page.evaluate("'ontouchstart' in window") else first.click()
    expect(page.locator("#panel h2")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#panel")).to_be_hidden()


CONTRAST = """() => {
    const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const numbers = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const colour = numbers(getComputedStyle(e).backgroundColor);
            if (colour.length < 4 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
    };
    const seen = (e) => e.getClientRects().length && getComputedStyle(e).visibility === 'visible' &&
        parseFloat(getComputedStyle(e).fontSize) > 0;
    const poor = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !seen(e)) continue;
        const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push(`${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
    }
    return poor;
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(full: Site, visit: Open, dark: bool) -> None:
    page = visit(full, dark=dark, still=True).page
    for section in open_each(page):
        poor = [line for line in page.evaluate(CONTRAST) if "glyph" not in line]
        assert poor == [], section


def test_dark_is_dark_and_light_is_light(full: Site, visit: Open) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, light = (visit(full, dark=chosen).page.evaluate(paper) for chosen in (True, False))
    assert sum(int(n) for n in dark[4:-1].split(",")) < 120
    assert sum(int(n) for n in light[4:-1].split(",")) > 600


NAMELESS = """() => {
    const name = (e) => (e.getAttribute('aria-label') || e.innerText || e.title ||
        (e.labels && [...e.labels].map((l) => l.textContent).join(' ')) || '').trim();
    const all = [...document.querySelectorAll('a, button, input, select, [role=grid], aside, nav')];
    return all.filter((e) => e.getClientRects().length && !name(e)).map((e) => e.outerHTML.slice(0, 80));
}"""


SMALL = """() => [...document.querySelectorAll('button, select, input, nav a')]
    .filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 20)
    .map((e) => e.outerHTML.slice(0, 80))"""


def test_everything_that_can_be_used_has_a_name(full: Site, visit: Open) -> None:
    page = visit(full).page
    for section in open_each(page):
        assert page.evaluate(NAMELESS) == [], section
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids)), section
        assert page.locator("h1").count() == 1
        assert page.locator("main").count() == 1
        small = page.evaluate(SMALL)
        assert small == [], section


def test_the_board_is_a_grid_to_a_screen_reader(full: Site, visit: Open) -> None:
    page = visit(full).page
    grid = page.locator("[role=grid]")
    expect(grid).to_have_attribute("aria-rowcount", "121")
    assert page.evaluate(
        "[...document.querySelectorAll('.row')].every((row) => row.role === 'row' && row.ariaRowIndex > 1 &&"
        " [...row.children].every((cell) => cell.role === 'gridcell'))"
    )
    ladder = page.locator(".row .ladder").first
    assert "bootfile, rung 5 of 11" in (ladder.get_attribute("aria-label") or "")
    spoken = page.locator("#spoken")
    expect(spoken).to_contain_text("192.168.1.1")
    assert spoken.get_attribute("aria-live") == "polite"


def test_states_differ_by_sign_and_word_too(full: Site, visit: Open) -> None:
    page = visit(full).page
    signs = set()
    for mood in ("stuck", "held", "booting", "booted", "idle"):
        chip = page.locator(f"#moods button[data-mood={mood}]")
        if chip.is_visible():
            signs.add(chip.locator(".glyph").inner_text())
            assert mood in chip.inner_text().lower()
    assert len(signs) >= 4


def test_who_wants_no_motion_gets_none(full: Site, visit: Open) -> None:
    moving = "document.getAnimations().length"
    assert visit(full).page.evaluate(moving) > 0
    assert visit(full, still=True).page.evaluate(moving) == 0


def test_focus_can_be_seen(full: Site, visit: Open) -> None:
    page = visit(full).page
    unseen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if outline == "none":
            unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
    assert unseen == []

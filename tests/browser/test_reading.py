"""What a person reads at 3 a.m.: a short headline, the causes of many, whole remedies and names, UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.boot.ladder import RUNGS
from appliance.daemon.known import State
from appliance.dnsmasq.lifecycle import Child, Phase
from tests.browser.conftest import Open
from tests.browser.racks import boot, machine, network, rack
from tests.browser.racks import planted as known
from tests.browser.site import Site
from tests.browser.test_board import await_names, row

Start = Callable[[State], Site]
SIZES = [(1280, 800), (1440, 900), (900, 700), (390, 844)]
LONG_NAMES = [f"very-long-rack17-storage-node-{n:04d}" for n in range(1, 41)]


def stuck_rack(names: list[str]) -> State:
    """Most stand on one rung, each fourth on another, none goes on."""
    pxe = network()
    machines = tuple(machine(n, pxe, name=name) for n, name in enumerate(names, 1))
    ladders = {name: boot(3 if n % 4 else 5, 400) for n, name in enumerate(names, 1)}
    return known((pxe,), machines, ladders)


def overlaps(page: Page) -> list[str]:
    """Rows that lie on each other, or whose text is cut."""
    found: list[str] = page.evaluate("""() => {
        const rows = [...document.querySelectorAll('.row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex);
        const bad = [];
        let end = -Infinity;
        rows.forEach((row) => {
            const [box, name] = [row.getBoundingClientRect(), row.dataset.machine];
            if (box.top < end - 1) bad.push(`${name} overlaps`);
            end = box.bottom;
            for (const line of row.querySelectorAll('.reason b, .reason span')) {
                if (line.scrollHeight > line.clientHeight + 1) bad.push(`${name} clamped`);
                if (line.getBoundingClientRect().bottom > end + 1) bad.push(`${name} cut`);
            }
        });
        return bad;
    }""")
    return found


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_reason_and_remedy_are_whole_in_every_row(
    planted: Start, visit: Open, width: int, height: int
) -> None:
    page = visit(planted(stuck_rack(LONG_NAMES)), width=width, height=height).page
    first = page.locator(row(LONG_NAMES[0]))
    expect(first.locator(".reason span")).to_contain_text("→ ")
    ahead = first.locator(".ladder i[data-cell='-']").first
    assert ahead.evaluate("(cell) => getComputedStyle(cell).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert overlaps(page) == []
    page.evaluate("scrollTo(0, 700)")
    page.wait_for_timeout(100)
    assert overlaps(page) == []
    page.set_viewport_size({"width": width - 60, "height": height})
    page.wait_for_timeout(200)
    assert overlaps(page) == []


def test_rows_stay_where_they_belong_when_a_panel_takes_their_room(planted: Start, visit: Open) -> None:
    page = visit(planted(stuck_rack(LONG_NAMES))).page
    page.locator(row(LONG_NAMES[1])).click()
    expect(page.locator("#panel h2")).to_have_text(LONG_NAMES[1])
    page.wait_for_timeout(200)
    assert overlaps(page) == []


def test_the_causes_of_many_are_counted_and_filter_the_board(planted: Start, visit: Open) -> None:
    names = [f"node{n}" for n in range(1, 13)]
    page = visit(planted(stuck_rack(names))).page
    expect(page.locator("#sentence")).to_have_text("12 of 12 machines are stuck")
    causes = page.locator("#causes button")
    expect(causes).to_have_count(2)
    expect(causes.nth(0)).to_have_text(re.compile(r"^9 × [a-z-]+$"))
    expect(causes.nth(1)).to_have_text(re.compile(r"^3 × [a-z-]+$"))
    page.click("#sections a[href='#strays']")
    causes.nth(1).click()
    expect(page.locator("#view-board")).to_be_visible()
    await_names(page, ["node4", "node8", "node12"])
    expect(causes.nth(1)).to_have_attribute("aria-pressed", "true")
    causes.nth(1).click()
    expect(page.locator("#board")).to_have_attribute("aria-rowcount", "13")
    assert page.evaluate("document.activeElement.dataset.cause"), "the button keeps the focus"


def test_a_filter_whose_cause_is_gone_can_be_taken_off(planted: Start, visit: Open) -> None:
    site = planted(stuck_rack(["node1", "node2", "node3", "node4"]))
    page = visit(site).page
    page.locator("#causes button").nth(1).click()
    await_names(page, ["node4"])
    site.change(lambda state: replace(state, ladders=state.ladders.set("node4", boot(10, 1))))
    expect(page.locator("#board-empty")).to_have_text("No machine is like that.")
    page.locator("#causes button[aria-pressed=true]").click()
    expect(page.locator("#board")).to_have_attribute("aria-rowcount", "5")


@pytest.mark.parametrize(("width", "height", "most"), [(1280, 800, 2), (390, 844, 4)])
def test_a_long_problem_is_a_short_headline_with_the_rest_folded(
    planted: Start, visit: Open, width: int, height: int, most: int
) -> None:
    state = rack(30)
    words = "exited 2: " + "; ".join(f"nothing answered node{n:05d} as BIOS (0) on eno4" for n in range(22))
    children = {"dhcp:pxe": Child("dhcp:pxe", Phase.BACKOFF)}
    state = replace(state, children=children, last_words={"dhcp:pxe": words})
    page = visit(planted(state), width=width, height=height).page
    expect(page.locator("#sentence")).to_have_text(
        re.compile("^Dhcp:pxe does not stay up: exited 2: nothing answered node00000 [^;]*$")
    )
    lines = page.evaluate(
        "(() => { const s = document.getElementById('sentence');"
        " return s.offsetHeight / parseFloat(getComputedStyle(s).lineHeight); })()"
    )
    assert lines <= most + 0.2
    whole = page.locator("#whole-text")
    assert not whole.is_visible()
    assert page.locator("#board").bounding_box()["y"] < height, "the board is in sight"  # type: ignore[index]
    page.click("#whole summary")
    expect(whole).to_be_visible()
    expect(whole).to_contain_text("node00003")


def test_an_arrow_stands_before_its_remedy(planted: Start, visit: Open) -> None:
    page = visit(planted(known((network(),), (), {}))).page
    fix = page.locator("#fix")
    expect(fix.locator("code")).to_be_visible()
    box, code = fix.bounding_box(), fix.locator(".say").bounding_box()
    assert box is not None
    assert code is not None
    assert box["height"] <= code["height"] + 1, "one line"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_long_names_keep_their_ends(planted: Start, visit: Open, width: int, height: int) -> None:
    page = visit(planted(stuck_rack(LONG_NAMES)), width=width, height=height).page
    name = page.locator(row(LONG_NAMES[0])).locator(".name")
    expect(name).to_have_text(LONG_NAMES[0])
    expect(name).to_have_attribute("title", LONG_NAMES[0])
    ends = name.evaluate("(cell) => cell.lastChild.getBoundingClientRect().right")
    edge = name.evaluate("(cell) => cell.getBoundingClientRect().right")
    assert ends <= edge + 1
    assert name.locator("span").last.inner_text() == "node-0001"


@pytest.mark.parametrize("width", [1180, 1280, 1440])
def test_a_panel_has_margins(site: Site, visit: Open, width: int) -> None:
    page = visit(site, "#machine/node17", width=width).page
    box = page.locator("#panel").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= page.evaluate("document.documentElement.clientWidth") - 16
    assert page.evaluate("getComputedStyle(document.getElementById('panel')).borderRightWidth") == "1px"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_all_times_are_utc_wherever_the_browser_is(site: Site, browser: Browser) -> None:
    context = browser.new_context(timezone_id="America/New_York", locale="en-US")
    try:
        page = context.new_page()
        page.goto(f"{site.url}#machine/node17")
        panel = page.locator("#panel")
        step = panel.locator(".steps li[data-cell=f] .at").first
        expect(step).to_have_text(re.compile(r"^\d\d:\d\d:\d\dZ$"))
        at = site.state.ladders["node17"].rungs[RUNGS[4]]
        assert step.inner_text() == f"{at:%H:%M:%S}Z"
        expect(panel).to_contain_text("Last boot (UTC)")
        lease = panel.locator("dd", has_text="until ")
        ends = site.state.leases["172.0.1.36"].expires
        expect(lease).to_have_text(f"until {ends:%Y-%m-%d %H:%M}Z")
    finally:
        context.close()


def test_the_legend_of_blocks_is_of_blocks(planted: Start, visit: Open) -> None:
    page = visit(planted(rack(600)), "#networks").page
    legend = page.locator(".legend")
    expect(legend).to_contain_text("filled by the share in use")
    expect(legend).to_contain_text("somebody is stuck there")
    expect(legend).not_to_contain_text("this appliance")
    page.locator(".map button.block").nth(0).click()
    expect(legend).to_contain_text("this appliance")

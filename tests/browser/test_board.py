"""The boot board in a real browser: order, clicks, keys, filters, live, lost and found again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from appliance.daemon.known import State
from appliance.inventory.model import Inventory
from tests.browser.conftest import Open
from tests.browser.racks import LOOP, boot, machine, network, rack
from tests.browser.racks import planted as known
from tests.browser.site import Site, with_ladder


def names(page: Page) -> list[str]:
    """Machines as the board shows them, from the top."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
        ".map((row) => row.dataset.machine)"
    )
    return found


def until(page: Page, expression: str, seconds: float = 15.0) -> None:
    """Wait for a JavaScript expression; Playwright's own waiting needs eval, which the policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"not so within {seconds} s: {expression}"
        page.wait_for_timeout(40)


def await_names(page: Page, wanted: list[str], seconds: float = 15.0) -> None:
    """Wait until the board shows these machines and no others."""
    deadline = time.monotonic() + seconds
    while (found := names(page)) != wanted:
        assert time.monotonic() < deadline, found
        page.wait_for_timeout(40)


def row(name: str) -> str:
    return f'.row[data-machine="{name}"]'


def test_the_stuck_come_first_with_their_reason(site: Site, visit: Open) -> None:
    page = visit(site).page
    first = page.locator(row("node17"))
    assert names(page)[0] == "node17"
    expect(first).to_contain_text("stuck")
    expect(first.locator(".reason")).to_contain_text("3 times in a row")
    cells = first.locator(".ladder i").evaluate_all("(all) => all.map((cell) => cell.dataset.cell).join('')")
    assert cells == "rrrrfe-----"
    expect(page.locator("#sentence")).to_contain_text("of 200 machines are stuck")
    expect(page.locator("#causes")).to_contain_text("1 × boot-loop")
    assert "stuck" in page.title()


def test_a_well_rack_says_so_in_one_line(planted: Callable[[State], Site], visit: Open) -> None:
    page = visit(planted(rack(2))).page
    expect(page.locator("#sentence")).to_have_text("All well: 2 machines, 1 booted, 1 booting")
    assert page.locator("#rogue").is_hidden()
    assert page.locator("#problems-count").is_hidden()


def test_an_empty_inventory_says_what_to_do(planted: Callable[[State], Site], visit: Open) -> None:
    page = visit(planted(known((network(),), (), {}))).page
    expect(page.locator("#board-empty")).to_contain_text("inventory.d/")
    expect(page.locator("#sentence")).to_have_text("No machines yet")
    expect(page.locator("#health")).to_have_attribute("data-level", "empty")
    assert "✓" not in page.title()


def test_a_boot_climbs_before_our_eyes(site: Site, visit: Open) -> None:
    page = visit(site).page
    page.fill("#search", "node8")
    line = page.locator(row("node8"))
    expect(line.locator(".mood")).to_contain_text("idle")
    site.change(with_ladder("node8", boot(3, 0)))
    expect(line.locator('[data-cell="c"]')).to_have_attribute("title", "ack: stands here")
    expect(line.locator('[data-cell="e"]')).to_have_attribute("title", "bootfile: comes next")
    site.change(with_ladder("node8", boot(4, 300, verdict=LOOP)))
    expect(line.locator(".mood")).to_contain_text("stuck")
    site.change(with_ladder("node8", boot(4, 3)))
    expect(line.locator('[data-cell="c"]')).to_have_text(re.compile("^0:"))
    site.change(with_ladder("node8", boot(4, 300, verdict=LOOP)))
    expect(line.locator('[data-cell="f"]')).to_have_text("")
    site.change(with_ladder("node8", boot(10, 0)))
    expect(line.locator(".mood")).to_contain_text("booted")


def test_the_time_on_the_rung_goes_on(planted: Callable[[State], Site], visit: Open) -> None:
    page = visit(planted(rack(2)), still=True).page
    clock = page.locator(row("node2")).locator('[data-cell="c"]')
    before = clock.inner_text()
    assert before.startswith("0:")
    for _ in range(2):
        expect(clock).not_to_have_text(before)
        before, earlier = clock.inner_text(), before
        assert before > earlier


def test_machines_come_and_go_with_the_inventory(site: Site, visit: Open) -> None:
    page = visit(site).page
    pxe = site.state.served.settings.networks["pxe"]
    new = machine(210, pxe, name="brand-new")

    def resync(state: State) -> State:
        machines = (*state.served.inventory.machines[1:], new)
        inventory = Inventory(machines, state.served.inventory.profiles)
        return replace(state, served=replace(state.served, inventory=inventory))

    site.change(resync)
    page.fill("#search", "brand-new")
    expect(page.locator(row("brand-new"))).to_be_visible()
    page.fill("#search", "52:54:00:aa:00:01")
    expect(page.locator("#board-empty")).to_have_text("No machine is like that.")


# ---- filters ----


def test_filters_by_state_profile_and_text(site: Site, visit: Open) -> None:
    page = visit(site).page
    page.click("#moods button[data-mood=stuck]")
    # The board draws in the browser's next frame.
    expect(page.locator("#moods button[data-mood=stuck]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".row").first).to_be_visible()
    until(page, "[...document.querySelectorAll('.row')].every((row) => row.dataset.mood === 'stuck')")
    page.click("#moods button[data-mood=stuck]")
    page.select_option("#by-profile", "storage")
    until(page, "document.querySelector('.row[data-machine=\"node7\"]')")
    assert all(int(name.removeprefix("node")) % 7 == 0 for name in names(page))
    page.select_option("#by-profile", "")
    page.fill("#search", "52:54:00:aa:00:2a")
    await_names(page, ["node42"])
    page.fill("#search", "boot-loop bootfile")
    await_names(page, ["node17"])
    page.fill("#search", "nothing like it")
    expect(page.locator("#board-empty")).to_have_text("No machine is like that.")


def test_a_network_can_be_chosen_when_there_are_two(planted: Callable[[State], Site], visit: Open) -> None:
    pxe, lab = network(), network("lab", "172.0.9.0/24", "eno5")
    machines = (machine(1, pxe), machine(2, lab))
    page = visit(planted(known((pxe, lab), machines, {}))).page
    page.select_option("#by-network", "lab")
    await_names(page, ["node2"])


# ---- a machine ----


def test_a_click_opens_a_machine_and_escape_closes_it(site: Site, visit: Open) -> None:
    page = visit(site).page
    page.click(row("node17"))
    panel = page.locator("#panel")
    expect(panel.locator("h2")).to_have_text("node17")
    expect(panel.locator(".why")).to_contain_text("3 times in a row")
    expect(panel).to_contain_text("52:54:00:aa:00:11")
    expect(panel).to_contain_text("52:54:00:bb:00:11")
    expect(panel).to_contain_text("pxe-appliance why node17")
    expect(panel.locator(".steps li[data-cell=f]")).to_contain_text("bootfile")
    assert page.url.endswith("#machine/node17")
    assert page.evaluate("document.activeElement.textContent") == "node17"
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "board"


def test_an_open_machine_follows_its_boot(site: Site, visit: Open) -> None:
    page = visit(site, "#machine/node8").page
    expect(page.locator("#panel .why")).to_contain_text("idle")
    site.change(with_ladder("node8", boot(6, 0)))
    expect(page.locator("#panel .steps li[data-cell=c]")).to_contain_text("script")
    expect(page.locator("#panel .steps li[data-cell=c] .at").first).not_to_be_empty()


def test_a_machine_that_is_not_there_is_told_as_such(site: Site, visit: Open) -> None:
    page = visit(site, "#machine/gone").page
    expect(page.locator("#panel")).to_contain_text("No machine of the inventory is called gone.")
    page.evaluate("location.hash = '#machine/node1700'")
    expect(page.locator("#panel")).to_contain_text("is called node1700")
    page.locator("#panel").get_by_role("link", name="node170", exact=True).click()
    expect(page.locator("#panel h2")).to_have_text("node170")


def test_a_machine_that_leaves_is_no_longer_there(site: Site, visit: Open) -> None:
    page = visit(site, "#machine/node1").page
    expect(page.locator("#panel")).to_contain_text("52:54:00:aa:00:01")
    inventory = site.state.served.inventory
    fewer = Inventory(inventory.machines[1:], inventory.profiles)
    site.change(lambda state: replace(state, served=replace(state.served, inventory=fewer)))
    expect(page.locator("#panel")).to_contain_text("no longer in the inventory")


# ---- keys ----


def test_all_by_keyboard(site: Site, visit: Open) -> None:
    page = visit(site).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "board"
    order = names(page)
    chosen = "document.querySelector('[aria-selected=true]')?.dataset.machine"
    for key in ("ArrowDown", "j", "ArrowUp", "k", "j"):
        page.keyboard.press(key)
    assert page.evaluate(chosen) == order[1]
    board = "document.getElementById('board')"
    pointed = f"document.getElementById({board}.getAttribute('aria-activedescendant')).dataset.machine"
    assert page.evaluate(pointed) == order[1]
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text(order[1])
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    until(page, f"{chosen} === 'node194'")  # idle ones come last
    assert page.evaluate("scrollY") > 1000
    page.keyboard.press("Home")
    until(page, f"{chosen} === 'node17'")
    page.keyboard.press("/")
    until(page, "document.activeElement.id === 'search'")
    page.keyboard.type("node99")
    await_names(page, ["node99"])
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("3")
    expect(page.locator("#view-networks")).to_be_visible()
    page.keyboard.press("1")
    expect(page.locator("#view-board")).to_be_visible()


def test_letters_in_the_search_are_letters(site: Site, visit: Open) -> None:
    page = visit(site).page
    page.focus("#search")
    page.keyboard.type("jk?3/")
    assert page.input_value("#search") == "jk?3/"
    assert page.locator("#help").is_hidden()


# ---- lost and found ----


def test_a_restart_of_the_daemon_is_seen_and_survived(site: Site, visit: Open) -> None:
    tab = visit(site)
    tab.losses, page = True, tab.page
    site.stop()
    expect(page.locator("#lost")).to_contain_text("what you see is of")
    assert page.evaluate("document.body.classList.contains('stale')")
    expect(page).to_have_title("… not connected · PXE board")
    expect(page.locator("#link-word")).to_have_text("not connected")
    assert names(page)[0] == "node17", "what is known stays in sight"
    site.state = with_ladder("node17", boot(10, 1))(site.state)
    site.start()
    expect(page.locator("#link-word")).to_have_text("live")
    expect(page.locator("#lost")).to_be_hidden()
    page.fill("#search", "node17")
    until(page, "document.querySelector('.row[data-machine=\"node17\"]')?.dataset.mood === 'booted'")
    assert not page.evaluate("document.body.classList.contains('stale')")
    expect(page).not_to_have_title("… not connected · PXE board")


def test_machines_that_left_meanwhile_are_gone_after_it(site: Site, visit: Open) -> None:
    tab = visit(site)
    tab.losses, page = True, tab.page
    site.stop()
    site.state = rack(30)
    site.start()
    until(page, "document.getElementById('board').ariaRowCount === '31'")


def test_closed_pages_are_followers_no_more(site: Site, visit: Open) -> None:
    page = visit(site).page
    assert site.followers == 1
    page.goto("about:blank")
    until = time.monotonic() + 10
    while site.followers and time.monotonic() < until:
        site.change(with_ladder("node8", boot(int(time.monotonic() * 10) % 10, 0)))
        page.wait_for_timeout(50)
    assert site.followers == 0


# ---- many ----


@pytest.fixture
def large(planted: Callable[[State], Site]) -> Site:
    return planted(rack(5000))


def test_five_thousand_machines_stay_light(large: Site, visit: Open) -> None:
    page = visit(large).page
    expect(page.locator("#board")).to_have_attribute("aria-rowcount", "5001")
    assert page.locator(".row").count() < 80
    slowest = page.evaluate("""async () => {
        let slowest = 0;
        const height = document.documentElement.scrollHeight;
        for (let n = 0; n <= 60; n += 1) {
            scrollTo(0, (height * n) / 60);
            const before = performance.now();
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            slowest = Math.max(slowest, performance.now() - before);
        }
        return slowest;
    }""")
    assert slowest < 500, "two frames while scrolling (a busy machine is given time)"
    assert page.locator(".row").count() < 80
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    gap = page.evaluate("""() => {
        const boxes = [...document.querySelectorAll('.row')].map((row) => row.getBoundingClientRect());
        const rows = boxes.sort((a, b) => a.top - b.top);
        return Math.max(...rows.slice(1).map((r, n) => Math.abs(r.top - rows[n].bottom)));
    }""")
    assert gap < 1, "rows join without gaps or overlaps"


def test_five_thousand_machines_can_be_searched_and_stay_live(large: Site, visit: Open) -> None:
    page = visit(large).page
    page.fill("#search", "node4321")
    await_names(page, ["node4321"])
    large.change(with_ladder("node4321", boot(7, 0)))
    expect(page.locator(row("node4321")).locator('[data-cell="c"]')).to_have_attribute(
        "title", "kernel: stands here"
    )
    page.fill("#search", "")

    def storm(state: State) -> State:
        ladders = state.ladders.mutate()
        for number in range(1, 5001):
            ladders[f"node{number}"] = boot(2, 1)
        return replace(state, ladders=ladders.finish())

    large.change(storm)
    expect(page.locator("#moods button[data-mood=booting] b")).not_to_have_text("0")
    until(page, "Number(document.querySelector('#moods button[data-mood=booting] b').textContent) > 4900")

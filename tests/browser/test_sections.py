"""The other sections: strays, rogue banner, networks, generations, problems; hostile text in all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from immutables import Map
from playwright.sync_api import expect

from appliance.daemon.known import State
from appliance.daemon.ledger import Ledger
from appliance.daemon.rogues import Rogues
from appliance.dnsmasq.reasons import Reason
from tests.browser.conftest import Open
from tests.browser.racks import LOOP, boot, generations, machine, network, rack, rogues, stray, strays
from tests.browser.racks import planted as known
from tests.browser.site import Site, with_ladder
from tests.unit.images.stores import Shelf

Start = Callable[[State], Site]


def test_strays_with_reason_owner_and_commands_to_copy(planted: Start, visit: Open) -> None:
    page = visit(planted(replace(rack(30), strays=strays()))).page
    expect(page.locator("#strays-count")).to_have_text("2")
    page.click("#sections a[href='#strays']")
    cards = page.locator("#strays-body > .cards > .card")
    expect(cards).to_have_count(2)
    laptop = cards.filter(has_text="3c:52:82:1f:77:0a")
    expect(laptop).to_contain_text("not in the inventory")
    expect(laptop).to_contain_text("calls itself laptop-7")
    expect(laptop).to_contain_text("pxe-appliance strays adopt 3c:52:82:1f:77:0a --name NAME")
    expect(laptop).to_contain_text("61 times")
    page.click("#strays-body summary")
    expect(page.locator("#strays-body details")).to_contain_text("printer, rack 3")


def test_a_command_is_copied(planted: Start, visit: Open) -> None:
    tab = visit(planted(replace(rack(2), strays=strays())), "#strays")
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = tab.page.get_by_role("button", name="Copy: pxe-appliance strays ignore 3c:52:82:1f:77:0a")
    button.click()
    expect(button).to_have_text("Copied")
    assert (
        tab.page.evaluate("navigator.clipboard.readText()") == "pxe-appliance strays ignore 3c:52:82:1f:77:0a"
    )


def test_strays_that_come_are_shown_without_a_word(planted: Start, visit: Open) -> None:
    site = planted(rack(2))
    page = visit(site, "#strays").page
    expect(page.locator("#strays-body")).to_contain_text("Nobody asked")
    site.change(lambda state: replace(state, strays=strays()))
    expect(page.locator("#strays-body .card").first).to_be_visible(timeout=10_000)


def test_a_rogue_server_is_on_every_section_until_it_is_gone(planted: Start, visit: Open) -> None:
    site = planted(replace(rack(2), rogue_servers=rogues()))
    page = visit(site).page
    banner = page.locator("#rogue")
    for section in ("#strays", "#networks", "#board"):
        page.click(f"#sections a[href='{section}']")
        expect(banner).to_contain_text("192.168.1.1, c4:ad:34:00:11:22")
    expect(page.locator("#sentence")).to_contain_text("192.168.1.1")
    site.change(lambda state: replace(state, rogue_servers=Rogues()))
    expect(banner).to_be_hidden()
    expect(page.locator("#sentence")).to_contain_text("All well")


def test_the_map_of_a_24_shows_every_address_and_follows(planted: Start, visit: Open) -> None:
    site = planted(rack(200))
    page = visit(site, "#networks").page
    cells = page.locator(".map > *")
    expect(cells.first).to_be_attached()
    assert cells.count() - page.locator(".legend .map > *").count() == 256
    expect(page.locator("[data-ip='172.0.1.1']")).to_have_attribute("data-kind", "ours")
    expect(page.locator("[data-ip='172.0.1.36']")).to_have_attribute("data-kind", "stuck")
    idle = page.locator("[data-ip='172.0.1.27']")  # node8
    expect(idle).to_have_attribute("data-kind", "reserved")
    site.change(with_ladder("node8", boot(3, 0)))
    expect(idle).to_have_attribute("data-kind", "booting")
    idle.hover()
    expect(page.locator(".caption").first).to_contain_text("172.0.1.27 node8, booting")
    idle.click()
    expect(page.locator("#panel h2")).to_have_text("node8")


def test_the_map_by_keyboard(planted: Start, visit: Open) -> None:
    page = visit(planted(rack(200)), "#networks").page
    expect(page.locator("[data-ip='172.0.1.1']")).to_be_attached()
    page.focus(".map [tabindex='0']")
    at = "document.activeElement.dataset.ip"
    assert page.evaluate(at) == "172.0.1.1"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at) == "172.0.1.20"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(at) == "172.0.1.52"
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text("node33")


def test_a_16_is_shown_in_blocks_that_open(planted: Start, visit: Open) -> None:
    page = visit(planted(rack(600)), "#networks").page
    blocks = page.locator(".map button.block")
    expect(blocks).to_have_count(256)
    expect(blocks.nth(1)).to_have_attribute(
        "aria-label", "172.16.1.0/24: 256 of 256 in use, 1 stuck, 10 booting"
    )
    blocks.nth(0).click()
    expect(page.locator("[data-ip='172.16.0.36']")).to_have_attribute("data-kind", "stuck")
    expect(page.locator(".crumb")).to_contain_text("172.16.0.0/24")
    page.get_by_role("button", name="all blocks").click()
    expect(blocks).to_have_count(256)


def test_generations_say_who_when_why_and_what_changed(planted: Start, visit: Open, tmp_path: Path) -> None:
    state = rack(5)
    generations(tmp_path, state)
    page = visit(planted(state), "#generations").page
    newest = page.locator("#generations-body .card").first
    expect(newest).to_contain_text("Generation 2")
    expect(newest).to_contain_text("new board in node1")
    expect(newest).to_contain_text("by ada")
    expect(newest).to_contain_text("52:54:00:aa:00:01 -> 52:54:00:aa:ff:01")
    expect(newest).to_contain_text("machine node5")
    expect(newest).to_contain_text("api_token=(not shown)")
    assert "hunter2" not in page.content()
    older = page.locator("#generations-body .card").nth(1)
    older.get_by_role("button", name="What changed").click()
    expect(older).to_contain_text("This was the first.")
    assert older.get_by_role("button", name="What changed").get_attribute("aria-expanded") == "true"


def test_problems_are_listed_with_their_fix(planted: Start, visit: Open) -> None:
    state = rack(30)
    site = planted(replace(state, interfaces={}))
    page = visit(site, "#problems").page
    expect(page.locator("#problems-body")).to_contain_text("interface eno4 does not exist")
    expect(page.locator("#problems-body")).to_contain_text("ip link show")
    expect(page.locator("#sentence")).to_contain_text("Network pxe waits")


def test_images_with_releases_and_what_is_wrong_with_them(
    planted: Start, visit: Open, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("4230.2.1", current=True)
    shelf.put("4230.2.2")
    shelf.put("4152.2.3", pinned=False)
    (shelf.folder("4230.2.2") / "vmlinuz").write_bytes(b"other")
    page = visit(planted(rack(10)), "#images").page
    rows = page.locator("#images-body tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="4230.2.1")).to_contain_text("current")
    expect(rows.filter(has_text="4230.2.1")).to_contain_text("verified")
    expect(rows.filter(has_text="4230.2.1")).to_contain_text("machines")  # that booted it
    expect(rows.filter(has_text="4230.2.2")).to_contain_text("damaged")
    expect(rows.filter(has_text="4152.2.3")).to_contain_text("not pinned")


def test_an_empty_store_says_how_to_fill_it(planted: Start, visit: Open) -> None:
    page = visit(planted(rack(2)), "#images").page
    expect(page.locator("#images-body")).to_contain_text("pxe-appliance images fetch")


# ---- what the wire can say ----

EVIL = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
BIDI = "\u202egnp.exe\u2066"
ESCAPE = "\x1b[31mred\x1b]0;t\x07"


TEXTS = [EVIL, BIDI + EVIL, ESCAPE + EVIL, "${7*7}{{7*7}}", "a" * 4000, "javascript:alert(1)"]
ATTRIBUTES = "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes]).map((a) => a.name)"
MADE = "document.querySelectorAll('body script, main img, aside img, #rogue img, #health img').length"


@pytest.mark.parametrize("text", TEXTS)
def test_a_script_in_a_clients_name_is_text(planted: Start, visit: Open, text: str) -> None:
    reason = Reason("not-in-inventory", f"not in the inventory {text}")
    mac, name, vendor_class = "3c:52:82:1f:77:0a", text[:64], text[:128]
    row = stray(mac, reason, client_name=name, vendor_class=vendor_class, arch=text[:40])
    verdict = replace(LOOP, message=f"fetched {text} 3 times", remedy=f"look at {text}")
    pxe = network()
    state = known((pxe,), (machine(1, pxe),), {"node1": replace(boot(4, 214, verdict=verdict), file=text)})
    state = replace(state, strays=Ledger(rows=Map({row.mac: row})), last_words={"dhcp:pxe": text})
    page = visit(planted(state), "#strays").page
    card = page.locator("#strays-body .card")
    expect(card).to_contain_text("3c:52:82:1f:77:0a")
    for section in ("#machine/node1", "#problems", "#networks", "#strays", "#board"):
        page.evaluate(f"location.hash = '{section}'")
        page.wait_for_timeout(150)
        assert not set(page.evaluate("document.body.innerText")) & set("\x1b\x07\u202e\u2066"), section
    assert page.title() != "owned"
    assert page.evaluate(MADE) == 0
    assert not [name for name in page.evaluate(ATTRIBUTES) if name.startswith("on")]
    page.evaluate("location.hash = '#strays'")
    if text == EVIL:
        expect(card).to_contain_text("<script>document.title")
    if text.startswith(BIDI):
        expect(card).to_contain_text("\\u202egnp.exe\\u2066")
    if text.startswith(ESCAPE):
        expect(card).to_contain_text("\\x1b[31mred")
    commands = [said for said in page.locator(".say code").all_inner_texts() if "strays" in said]
    assert commands
    assert not [said for said in commands if "alert" in said]

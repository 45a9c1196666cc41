"""`strays …` as an operator sees it: the table, the JSON of the contract, what is ready to paste."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from appliance.addresses import Mac
from appliance.daemon import signals as s
from appliance.daemon.strays import stray_facts, stray_rows
from tests.dialogue.test_state import Dialogue
from tests.dialogue.test_strays import ENO2, OTHER, UUID, K, mac_of, stray
from tests.unit.cli.command import Operator
from tests.unit.cli.test_output import ESCAPES, EVIL
from tests.unit.daemon.rooms import MAC, event, served

CONTRACT = {
    "mac", "vendor", "network", "first", "last", "count", "arch", "reason", "owner", "reason_code", "remedy",
    "machine", "vendor_class", "client_name", "uuid", "ignored",
}  # fmt: skip
INTEL, EVIL_ONE = Mac.parse("00:1b:21:0a:0b:0c"), mac_of(0xEE)


def told() -> Dialogue:
    """A decider that has heard a replaced board, another NIC, one with an evil name, and a printer."""
    dialogue = Dialogue()
    hostile = {"client_name": EVIL, "vendor_class": EVIL, "code": "not-in-inventory", "reason": EVIL}
    dialogue.say(
        s.Adopted(served()),
        s.ClientHeard("pxe", MAC, UUID),
        s.Happened(event(K.STRAY, None, mac=INTEL, ip=None, detail={"class": "x86-64 UEFI (7)"})),
        s.ClientHeard("pxe", INTEL, UUID),
        s.Happened(event(K.IGNORED, "node1", mac=ENO2, ip=None, after=1, detail=OTHER)),
        s.Happened(event(K.STRAY, None, mac=EVIL_ONE, ip=None, after=2, detail=hostile)),
        stray(
            1, 3, {"client_name": "printer-3", "code": "not-in-inventory", "reason": "not in the inventory"}
        ),
        s.StrayNoted(mac_of(1), "the printer"),
    )
    return dialogue


STATE = told().state
ALL, COUNTED = stray_rows(STATE), stray_rows(STATE, ignored=False)
PATHS = {mac: f"strays/{mac}" for mac in (INTEL, ENO2, EVIL_ONE, mac_of(1))}


ANSWERS = {path: (200, stray_facts(STATE, mac.text)) for mac, path in PATHS.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Somebody whose daemon each test makes."""
    made = Operator(tmp_path_factory.mktemp("root"))
    made.write()
    return made


@pytest.fixture
def operator(alone: Operator) -> Iterator[Operator]:
    """Somebody whose daemon has heard them all."""
    with alone.daemon(strays=(200, COUNTED), **ANSWERS):
        yield alone


def test_json_is_the_contract_and_nothing_else(operator: Operator) -> None:
    rows = operator.call("strays", "-o", "json").json()
    assert rows == COUNTED
    for row in ALL:
        assert set(row) == CONTRACT
    shown = operator.call("strays", "show", str(INTEL), "-o", "json").json()
    assert set(shown) == CONTRACT | {"clues"}


def test_the_table_has_named_ones_first_and_names_the_owner(operator: Operator) -> None:
    lines = operator.call("strays").out.splitlines()
    assert lines[0].split() == [
        "MAC",
        "VENDOR",
        "NETWORK",
        "LAST",
        "COUNT",
        "ARCH",
        "NAME",
        "REASON",
        "OWNER",
    ]
    found = {line.split()[0]: line for line in lines[1:]}
    assert list(found)[-1] == str(EVIL_ONE), "those whose machine is known come first, made-up MACs last"
    assert "eno2 of node1, on the PXE VLAN: its cable or switch port is wrong" in found[str(ENO2)]
    assert "Intel Corporate" in found[str(INTEL)]
    assert "x86-64 UEFI (7)" in found[str(INTEL)]
    assert "UUID of node1 with a new MAC: replaced board or NIC" in found[str(INTEL)]


def test_nothing_that_a_client_says_moves_a_cursor(operator: Operator) -> None:
    for said in (operator.call("strays"), operator.call("strays", "show", str(EVIL_ONE))):
        assert (said.rc, said.err) == (0, "")
        assert not ESCAPES.search(said.out)
        assert "[bold]" in said.out
        assert "--name NAME" in said.out or "show" not in said.out


def test_all_asks_for_those_that_are_ignored_too(alone: Operator) -> None:
    with alone.daemon(strays=(200, ALL)) as daemon:
        lines = alone.call("strays", "--all").out.splitlines()
        alone.call("strays")
        assert [asked for asked, _ in daemon.asked] == [
            "GET /v1/strays?ignored=1",
            "GET /v1/strays?ignored=0",
        ]
    assert lines[0].split()[-1] == "IGNORED"
    (printer,) = [line for line in lines if line.startswith(str(mac_of(1)))]
    assert printer.endswith("the printer")


def test_show_says_what_to_do_ready_to_paste(operator: Operator) -> None:
    replaced = operator.call("strays", "show", str(INTEL)).out
    assert f"if it is the same: pxe-appliance machine replace-mac node1 {INTEL}" in replaced
    assert f"    pxe-appliance strays adopt {INTEL} --name NAME" in replaced
    assert f'    pxe-appliance strays ignore {INTEL} --note "whose it is"' in replaced
    other = operator.call("strays", "show", str(ENO2)).out
    assert "strays adopt" not in other, "it has its place in the inventory"
    printer = operator.call("strays", "show", str(mac_of(1))).out
    assert f"    pxe-appliance strays adopt {mac_of(1)} --name printer-3" in printer
    assert f"    pxe-appliance strays unignore {mac_of(1)}" in printer
    assert "ignored       the printer" in printer


def test_a_name_that_a_shell_would_read_is_never_ready_to_paste(alone: Operator) -> None:
    for name in ("$(reboot)", "a;b", "12h", "-rf", "", "x" * 64, "ignore", "007", "a b"):
        facts = {**stray_facts(STATE, str(EVIL_ONE)), "client_name": name}
        with alone.daemon(**{PATHS[EVIL_ONE]: (200, facts)}):
            shown = alone.call("strays", "show", str(EVIL_ONE)).out
        assert f"strays adopt {EVIL_ONE} --name NAME\n" in shown, name


def test_ignore_sends_the_note_and_says_what_it_means(alone: Operator) -> None:
    facts = stray_facts(STATE, str(mac_of(1)))
    answers = {f"post_strays/{mac_of(1)}/{turn}": (200, facts) for turn in ("ignore", "unignore")}
    with alone.daemon(**answers) as daemon:
        ignored = alone.call("strays", "ignore", str(mac_of(1)), "--note", "the printer")
        back = alone.call("strays", "unignore", str(mac_of(1)))
        assert daemon.asked == [
            (f"POST /v1/strays/{mac_of(1)}/ignore", {"note": "the printer"}),
            (f"POST /v1/strays/{mac_of(1)}/unignore", None),
        ]
    assert ignored.out.startswith(f"{mac_of(1)} is ignored: the printer. It still gets nothing.\n")
    assert back.out == f"{mac_of(1)} is counted again.\n"


def test_an_empty_ledger_says_so(alone: Operator) -> None:
    empty = replace(STATE, strays=type(STATE.strays)())
    with alone.daemon(strays=(200, stray_rows(empty))):
        assert alone.call("strays").out == "No strays: everything that asked was served.\n"

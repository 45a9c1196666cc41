"""Strays as a dialogue with the decider: rows, floods, owners, notes, what is kept and when."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from appliance.addresses import Mac
from appliance.boot.events import EventKind
from appliance.daemon import signals as s
from appliance.daemon.ledger import FLOOD, ROWS, SLACK, WINDOW, Stray, restored
from appliance.daemon.status import Process, status_json
from appliance.daemon.strays import on_ledger, stray_facts, stray_rows
from appliance.errors import Refused
from tests.dialogue.test_state import Dialogue, recorded
from tests.unit.daemon.rooms import AT, MAC, event, rack, served

K = EventKind
UUID = "4c4c4544-0042-3510-8051-b4c04f4a3231"
MADE_UP = "a made-up MAC (locally administered): a virtual machine, a container, a phone or a forger"
ENO2 = Mac.parse("52:54:00:bb:00:01")
OTHER1 = rack()[2].mac
UNKNOWN = {"code": "not-in-inventory", "reason": "not in the inventory"}
OTHER = {"code": "other-nic", "reason": "eno2 of node1 is not a NIC it boots from"}


def mac_of(number: int) -> Mac:
    return Mac("02:" + ":".join(f"{number >> shift & 255:02x}" for shift in (32, 24, 16, 8, 0)))


def stray(number: int, after: float = 0.0, detail: Mapping[str, str] = UNKNOWN) -> s.Happened:
    return s.Happened(event(K.STRAY, None, mac=mac_of(number), ip=None, after=after, detail=detail))


def saves(commands: list[s.Command]) -> dict[Mac, Stray | None]:
    return {mac: row for c in commands if isinstance(c, s.SaveStrays) for mac, row in c.rows.items()}


def row_of(dialogue: Dialogue, mac: Mac) -> dict[str, object]:
    (row,) = [row for row in stray_rows(dialogue.state) if row["mac"] == mac.text]
    return row


@pytest.fixture
def serving() -> Dialogue:
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served()))
    return dialogue


def test_a_stranger_and_another_nic_are_listed_as_the_contract_says(serving: Dialogue) -> None:
    said = {**UNKNOWN, "class": "BIOS (0)", "client_name": "<b>"}
    serving.say(stray(1, detail=said), stray(1, 5))
    serving.say(s.Happened(event(K.IGNORED, "node1", mac=ENO2, ip=None, after=9, detail=OTHER)))
    other, stranger = stray_rows(serving.state)
    assert stranger == {
        "mac": "02:00:00:00:00:01",
        "vendor": None,
        "network": "pxe",
        "first": "2025-01-31T04:05:06.789Z",
        "last": "2025-01-31T04:05:11.789Z",
        "count": 2,
        "arch": "BIOS (0)",
        "vendor_class": None,
        "client_name": "<b>",
        "reason_code": "not-in-inventory",
        "reason": "not in the inventory",
        "remedy": "pxe-appliance strays adopt 02:00:00:00:00:01 --name NAME, "
        'or pxe-appliance strays ignore 02:00:00:00:00:01 --note "..."',
        "uuid": None,
        "machine": None,
        "owner": MADE_UP,
        "ignored": None,
    }
    assert (other["owner"], other["machine"]) == (
        "eno2 of node1, on the PXE VLAN: its cable or switch port is wrong",
        "node1",
    )
    assert mac_of(1) in serving.state.strays
    assert ENO2 not in serving.state.strays, "a machine's NIC is no stranger"
    assert status_json(serving.state, Process(1, AT, {}), AT)["strays"] == 2


def test_a_machine_that_is_served_has_no_row_and_a_refused_one_has_until_it_is(serving: Dialogue) -> None:
    serving.say(s.Happened(event(K.DISCOVER)), s.Happened(event(K.OFFER)))
    assert len(serving.state.strays) == 0
    refused = {"code": "no-boot-file", "reason": "no boot file", "remedy": "get one"}
    serving.say(s.Happened(event(K.IGNORED, detail=refused)))
    assert row_of(serving, MAC)["owner"] == "node1 itself: no boot file"
    assert row_of(serving, MAC)["remedy"] == "get one"
    serving.say(s.Happened(event(K.ACK)))
    assert len(serving.state.strays) == 0


@pytest.mark.parametrize("early", [True, False])
def test_a_uuid_before_or_after_the_log_names_the_machine_that_said_it(
    serving: Dialogue, early: bool
) -> None:
    heard = s.ClientHeard("pxe", mac_of(1), UUID)
    serving.say(s.ClientHeard("pxe", MAC, UUID))  # node1, at its last boot
    serving.say(*((heard, stray(1)) if early else (stray(1), heard)))
    row = row_of(serving, mac_of(1))
    assert (row["uuid"], row["machine"]) == (UUID, "node1")
    assert row["owner"] == "UUID of node1 with a new MAC: replaced board or NIC, or another port of it"
    assert row["remedy"] == (
        "compare with the label of node1; if it is the same: pxe-appliance machine replace-mac node1 "
        "02:00:00:00:00:01"
    )


def test_a_uuid_of_a_machine_s_own_nic_makes_no_row(serving: Dialogue) -> None:
    serving.say(s.ClientHeard("pxe", MAC, UUID))
    assert len(serving.state.strays) == 0
    assert not serving.state.strays.uuids


def test_a_machine_that_was_never_heard_and_a_mac_like_its_own_are_brought_together(
    serving: Dialogue,
) -> None:
    typed = Mac.parse("52:54:00:aa:00:07")  # node1 is ...:01, node2 ...:02 and :12, other1 ...:09
    happened = s.Happened(event(K.STRAY, None, mac=typed, ip=None, detail=UNKNOWN))
    serving.say(happened)
    assert "MACs of node1, node2 and other1" in str(row_of(serving, typed)["owner"])
    serving.say(s.Happened(event(K.DISCOVER, "node2")))
    serving.say(s.Happened(event(K.IGNORED, "other1", mac=OTHER1, detail={"code": "wrong-network"})))
    serving.say(s.Happened(event(K.IGNORED, "node1", mac=ENO2, ip=None, detail=OTHER)))
    row = row_of(serving, typed)
    assert row["machine"] == "node1"
    assert "never heard" in str(row["owner"])


def test_an_adopted_stray_leaves_at_once_and_for_good(serving: Dialogue) -> None:
    serving.say(stray(1), stray(2))
    serving.at += 10
    assert set(saves(serving.wait(0.25))) == {mac_of(1), mac_of(2)}
    node1, *others = rack()
    serving.say(s.Adopted(served(machines=(replace(node1, macs=(mac_of(1),)), *others))))
    assert list(serving.state.strays.rows) == [mac_of(2)]
    assert saves(serving.wait(3)) == {mac_of(1): None}


def test_a_note_is_kept_at_once_and_survives_a_restart(serving: Dialogue) -> None:
    serving.say(stray(1), stray(2))
    commands = serving.say(s.StrayNoted(mac_of(1), "the printer"))
    kept = saves(commands)
    assert kept[mac_of(1)] == serving.state.strays.rows[mac_of(1)]
    assert status_json(serving.state, Process(1, AT, {}), AT)["strays"] == 1
    again = Dialogue(
        replace(serving.state, strays=restored({m.text: r.as_json() for m, r in kept.items() if r}))
    )
    again.say(s.Adopted(served()), stray(1, 60))
    assert row_of(again, mac_of(1))["ignored"] == "the printer"
    assert [row["mac"] for row in stray_rows(again.state, ignored=False)] == [mac_of(2).text]
    again.say(s.StrayNoted(mac_of(1), None))
    assert row_of(again, mac_of(1))["ignored"] is None


def test_a_note_on_nobody_changes_nothing(serving: Dialogue) -> None:
    assert serving.say(s.StrayNoted(mac_of(1), "x")) == []
    assert len(serving.state.strays) == 0


def test_rows_are_kept_every_other_second_and_at_the_end(serving: Dialogue) -> None:
    assert saves(serving.say(stray(1))) == {}
    assert set(saves(serving.wait(0.25))) == {mac_of(1)}
    serving.say(*(stray(1, n) for n in range(20)))
    commands = serving.wait(4.0)
    assert len([c for c in commands if isinstance(c, s.SaveStrays)]) == 1
    serving.say(stray(2))
    assert set(saves(serving.say(s.StopRequested()))) == {mac_of(2)}


def test_a_flood_is_told_once_stands_in_the_status_and_is_over(serving: Dialogue) -> None:
    commands = serving.say(*(stray(n) for n in range(3 * FLOOD)))
    assert [(d["what"], d["macs"]) for d in recorded(commands, K.STRAY_FLOOD)] == [("begun", str(FLOOD))]
    problems = status_json(serving.state, Process(1, AT, {}), AT)["problems"]
    assert isinstance(problems, list)
    (flood,) = [p for p in problems if p["id"] == "stray-flood"]
    assert f"{3 * FLOOD} new MACs" in flood["message"]
    assert "switch port" in flood["fix"]
    commands = serving.wait(3 * WINDOW)
    assert [(d["what"], d["macs"]) for d in recorded(commands, K.STRAY_FLOOD)] == [("over", str(3 * FLOOD))]
    assert serving.state.strays.flood is None


def test_a_hundred_thousand_macs_cost_bounded_memory_and_little_time(serving: Dialogue) -> None:
    serving.say(stray(1), stray(1, 1), stray(2), s.StrayNoted(mac_of(2), "the printer"))
    serving.say(s.Happened(event(K.IGNORED, "node1", mac=ENO2, ip=None, detail=OTHER)))
    uuids = s.ClientHeard("pxe", MAC, UUID), stray(3), s.ClientHeard("pxe", mac_of(3), UUID)
    serving.say(*uuids)
    rng = random.Random(7)
    signals = [stray(rng.getrandbits(40), 10 + number / 1000) for number in range(100_000)]
    began = time.process_time()
    for number, signal in enumerate(signals):
        serving.say(signal)
        if number % 2500 == 0:
            serving.wait(0.25)
    assert time.process_time() - began < 10  # some 4 s here
    assert ROWS <= len(serving.state.strays) <= ROWS + SLACK
    assert len(serving.state.strays.unsaved) < 100_000 / 4, "what is kept is given away now and then"
    assert {mac_of(1), mac_of(2), mac_of(3), ENO2} <= set(serving.state.strays.rows)
    assert len(stray_rows(serving.state)) == len(serving.state.strays)


def test_who_is_asked_for_is_found_in_any_spelling_or_the_nearest_is_named(serving: Dialogue) -> None:
    serving.say(stray(1))
    assert on_ledger(serving.state, "02-00-00-00-00-01") == mac_of(1)
    assert stray_facts(serving.state, "020000000001")["clues"] == [
        {
            "kind": "maker",
            "text": MADE_UP,
            "machine": None,
            "remedy": None,
        }
    ]
    with pytest.raises(Refused) as unknown:
        on_ledger(serving.state, "02:00:00:00:00:07")
    assert unknown.value.hint == "did you mean 02:00:00:00:00:01?"
    with pytest.raises(Refused) as machine:
        on_ledger(serving.state, str(MAC))
    assert "node1" in machine.value.hint
    with pytest.raises(Refused, match="not a MAC address"):
        on_ledger(serving.state, "node1")

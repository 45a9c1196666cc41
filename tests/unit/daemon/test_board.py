"""The board's order, cells and words, and the line above it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from appliance.daemon.board import (
    RUNG_NAMES,
    Mood,
    board_row,
    cause_of,
    cells,
    census,
    headline,
    health,
    mood_of,
    moods_of,
    natural,
    sort_key,
    words,
)

AT = "2025-01-31T04:05:06.789Z"
SOME = ("discover", "offer", "request", "ack", "ipxe", "script", "kernel", "ignition")
VERDICT = {"id": "boot-loop", "message": "fetched x.efi 3 times", "remedy": "turn Secure Boot off"}


def machine(
    name: str = "node1", state: str = "idle", rung: str | None = None, **more: object
) -> dict[str, Any]:
    row = {
        "name": name, "macs": ["52:54:00:aa:00:01"], "ip": "172.0.1.21", "network": "pxe", "profile": None,
        "boot": {"policy": "always", "state": state}, "lifecycle": "new", "rung": rung,
        "rung_at": AT if rung else None, "verdict": None, "image": None,
    }  # fmt: skip
    return {**row, **more}


def test_names_are_sorted_as_people_count() -> None:
    names = [
        "node10",
        "node2",
        "Node1",
        "node02",
        "node2a",
        "n100000000000",
        "n9",
        "rack-2-node-10",
        "rack-2-node-9",
    ]
    in_order = sorted(names, key=natural)
    assert in_order.index("node2") < in_order.index("node10")
    assert in_order.index("rack-2-node-9") < in_order.index("rack-2-node-10")
    assert in_order.index("n9") < in_order.index("n100000000000")
    assert natural("node2") == natural("node02")


def test_what_needs_a_person_comes_first() -> None:
    rows = [
        machine("a", "idle"),
        machine("b", "booted", "done"),
        machine("c", "booting", "ack"),
        machine("d", "booted", "done", verdict=VERDICT),
        machine("e", "booted", "done", lifecycle="held", verdict=VERDICT),
        machine("f", "stuck", "ack", verdict=VERDICT),
    ]
    assert [r["name"] for r in sorted(rows, key=sort_key)] == ["f", "e", "d", "c", "b", "a"]
    assert [mood_of(r) for r in sorted(rows, key=sort_key)] == list(Mood)


def test_moods_are_counted_from_the_keys() -> None:
    keys = [sort_key(machine("a", "stuck", "ack")), sort_key(machine("b")), sort_key(machine("c"))]
    assert {m: n for m, n in moods_of(keys).items() if n} == {"stuck": 1, "idle": 2}


@pytest.mark.parametrize(
    ("row", "reached", "expected"),
    [
        (machine(), (), "-" * 11),
        (machine(state="booting", rung="discover"), ("discover",), "ce---------"),
        (machine(state="booting", rung="bootfile"), RUNG_NAMES[:5], "rrrrce-----"),
        (machine(state="stuck", rung="bootfile"), RUNG_NAMES[:5], "rrrrfe-----"),
        # UEFI HTTP boot has no TFTP; a kernel may have no initrd
        (machine(state="booting", rung="ignition"), SOME, "rrrrsrrrsce"),
        (machine(state="booted", rung="done"), RUNG_NAMES, "r" * 11),
        (machine(state="booted", rung="script"), RUNG_NAMES[:7], "rrrrrrr----"),
        # what the diagnosis expects wins over what stands next on the ladder
        (machine(state="booting", rung="kernel", expected="ignition"), RUNG_NAMES[:8], "rrrrrrrc-e-"),
    ],
)  # fmt: skip
def test_cells(row: dict[str, Any], reached: tuple[str, ...], expected: str) -> None:
    assert cells(row, reached) == expected


def test_every_rung_and_state_gives_eleven_known_letters() -> None:
    states = ("idle", "booting", "booted", "stuck", "something new")
    for rung, state in itertools.product((None, *RUNG_NAMES, "something new"), states):
        drawn = cells(machine(state=state, rung=rung))
        assert len(drawn) == 11
        assert set(drawn) <= set("rcfes-")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (machine(), "has not asked yet"),
        (machine(state="booting", rung="ack"), "on ack, bootfile comes next"),
        (machine(state="booting", rung="ack", expected="ipxe"), "on ack, ipxe comes next"),
        (machine(state="booting", rung="done"), "on done"),
        (machine(state="booted", rung="done"), "up"),
        (machine(state="stuck", rung="ack"), "does not go on from ack"),
        (machine(state="stuck", rung="ack", verdict=VERDICT), "fetched x.efi 3 times"),
    ],
)
def test_words(row: dict[str, Any], said: str) -> None:
    assert words(row) == said


def test_a_machine_that_goes_to_its_disk_says_so() -> None:
    assert words(machine(state="booted", rung="script"), to_disk=True) == "boots from its disk"


def test_a_row_has_no_empty_fields_and_nothing_of_the_moment() -> None:
    row = board_row(
        machine(state="stuck", rung="ack", verdict=VERDICT), RUNG_NAMES[:4], lease=AT, place="sw1 e7"
    )
    assert row == board_row(
        machine(state="stuck", rung="ack", verdict=VERDICT), RUNG_NAMES[:4], lease=AT, place="sw1 e7"
    )
    assert None not in row.values()
    assert row["mood"] == "stuck"
    assert row["verdict"] == VERDICT
    assert row["place"] == "sw1 e7"
    assert "image" not in row


# ---- the line about everything ----

COUNTS = {"stuck": 0, "held": 0, "noted": 0, "booting": 2, "booted": 198, "idle": 0}


def status(*problems: tuple[str, str, str], state: str = "serving") -> dict[str, Any]:
    rows = [{"id": "x", "severity": s, "message": m, "fix": f} for s, m, f in problems]
    return {"dnsmasq": {"state": state}, "problems": rows}


def test_all_is_well() -> None:
    line = health(status(), COUNTS)
    assert (line.level, line.sentence, line.fix) == (
        "well",
        "All well: 200 machines, 198 booted, 2 booting",
        "",
    )
    assert census({"booted": 1}) == "1 machine, 1 booted"


def test_an_error_comes_before_a_stuck_machine() -> None:
    found = status(("warning", "a", "b"), ("error", "network pxe waits", "ip link set eno4 up"))
    line = health(found, {**COUNTS, "stuck": 3})
    assert (line.level, line.sentence, line.fix) == ("error", "Network pxe waits", "ip link set eno4 up")
    assert line.detail == "and 1 more problem and 3 of 203 machines are stuck"


def test_a_stuck_machine_comes_before_a_warning_and_is_named() -> None:
    worst = board_row(machine("node17", "stuck", "bootfile", verdict=VERDICT))
    line = health(status(("warning", "a", "b")), {**COUNTS, "stuck": 3}, worst)
    assert line.level == "error"
    assert line.sentence == "3 of 203 machines are stuck"
    assert line.detail == "node17: fetched x.efi 3 times"
    assert line.fix == "turn Secure Boot off"
    assert health(status(), {"stuck": 1}).sentence == "1 of 1 machine is stuck"


def test_a_reason_that_names_its_machine_is_not_told_twice() -> None:
    verdict = {**VERDICT, "message": "node17 fetched x.efi"}
    line = health(status(), {"stuck": 1}, board_row(machine("node17", "stuck", "ack", verdict=verdict)))
    assert line.detail == "node17 fetched x.efi"


def test_dnsmasq_that_does_not_serve_is_told() -> None:
    assert health(status(state="waiting"), COUNTS).level == "warning"


def test_a_warning_is_told() -> None:
    line = health(status(("warning", "the clock is off", "timedatectl")), COUNTS)
    assert (line.level, line.sentence, line.fix) == ("warning", "The clock is off", "timedatectl")


PROOF = (
    "not in sync: generation 1 is current, not proven, and the only one: dnsmasq does not offer what it "
    "should to node00001 (52:54:00:aa:00:01, 172.16.0.21), node00002 (52:54:00:aa:00:02, 172.16.0.22) and 19 "
    "more: nothing answered 52:54:01:00:00:01 as BIOS (0) on eno4"
)


def test_a_long_problem_is_a_short_headline_and_the_rest_below() -> None:
    line = health(status(("error", PROOF, "pxe-appliance doctor")), COUNTS)
    assert line.sentence == "Not in sync: generation 1 is current, not proven, and the only one"
    assert line.whole == f"N{PROOF[1:]}"
    assert line.fix == "pxe-appliance doctor"
    assert health(status(("error", "short", "x")), COUNTS).whole == ""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("short: and whole", "short: and whole"),
        ("a" * 60 + ": " + "b" * 60, "a" * 60),
        ("a" * 40 + "; " + "b" * 40 + " (" + "c" * 40, "a" * 40 + "; " + "b" * 40),
        ("too: " + "word " * 40, "too:" + " word" * 16 + "…"),
        ("x" * 300, "x" * 89 + "…"),
    ],
)
def test_headlines_end_with_a_clause(message: str, said: str) -> None:
    assert headline(message) == said
    assert len(headline(message)) <= 90


def test_a_long_reason_is_folded_and_never_names_its_machine_twice() -> None:
    long = f"iPXE on node17 has an address since 04:05:06Z and {'asked for nothing ' * 20}"
    verdict = {**VERDICT, "message": long}
    line = health(status(), {"stuck": 2}, board_row(machine("node17", "stuck", "ack", verdict=verdict)))
    assert line.detail.startswith("iPXE on node17 has an address")
    assert len(line.detail) <= 160
    assert line.whole == long
    other = health(status(), {"stuck": 2}, board_row(machine("node1", "stuck", "ack", verdict=verdict)))
    assert other.detail.startswith("node1: iPXE on node17"), "node1 is not named by node17"


def test_the_causes_are_counted_most_first() -> None:
    worst = board_row(machine("node17", "stuck", "bootfile", verdict=VERDICT))
    line = health(status(), {"stuck": 6}, worst, ["b", "a", "b", "", "c", "c"])
    assert (line.sentence, line.detail, line.fix) == ("6 of 6 machines are stuck", "", ""), "about all"
    assert line.causes == (("b", 2), ("c", 2), ("a", 1))
    assert line.as_json()["causes"] == [
        {"id": "b", "count": 2},
        {"id": "c", "count": 2},
        {"id": "a", "count": 1},
    ]
    assert cause_of(board_row(machine(state="stuck", rung="ack", verdict=VERDICT))) == "boot-loop"
    assert cause_of(board_row(machine(state="booted", rung="done", verdict=VERDICT))) == ""
    assert cause_of(board_row(machine(state="stuck", rung="ack"))) == ""


def test_with_no_machine_there_is_nothing_to_be_well() -> None:
    line = health(status(), dict.fromkeys(COUNTS, 0))
    assert (line.level, line.sentence, line.fix) == ("empty", "No machines yet", "pxe-appliance sync")
    assert "inventory.d/" in line.detail
    asking = health({**status(), "strays": 3}, dict.fromkeys(COUNTS, 0))
    assert "3 that ask are listed under Strays" in asking.detail
    assert health(status(("warning", "a", "b")), dict.fromkeys(COUNTS, 0)).level == "warning"

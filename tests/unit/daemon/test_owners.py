"""Whose a stray may be: each clue by itself, their order, and what is never guessed."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.addresses import Mac
from appliance.daemon.ledger import Stray
from appliance.daemon.owners import Clue, Clues, Nics, is_junk, swapped
from appliance.dnsmasq.reasons import Reason
from appliance.inventory.model import Machine
from tests.unit.daemon.rooms import AT, LAB, PXE, served
from tests.unit.dnsmasq.rooms import machine

UUID = "4c4c4544-0042-3510-8051-b4c04f4a3231"
OTHER_UUID = "fa0a9a3c-0d3b-4e5e-9b4b-0d6b5a2f8f11"
NODE7 = machine("node7", "3c:fd:fe:10:20:30", "172.0.1.27", nics=(("eno2", "3c:fd:fe:10:20:31"),))
NODE8 = machine("node8", "3c:fd:fe:55:66:77", "172.0.1.28")
EVERYBODY = {"node7", "node8", "node9"}


def clues(
    mac: str,
    *machines: Machine,
    heard: set[str] | frozenset[str] = frozenset(EVERYBODY),
    uuids: dict[str, str] | None = None,
    **said: object,
) -> tuple[Clue, ...]:
    row = Stray(Mac.parse(mac), "pxe", AT, AT)
    nics = Nics.of(served((PXE, LAB), machines or (NODE7, NODE8)))
    before = dict.fromkeys(heard, AT - timedelta(hours=1))
    return Clues(nics, before, uuids or {}).of(replace(row, **said))  # type: ignore[arg-type]


def kinds(found: tuple[Clue, ...]) -> list[str]:
    return [clue.kind for clue in found]


# ---- a NIC of the inventory ----


def test_another_nic_of_a_machine_names_nic_machine_and_what_is_wrong() -> None:
    (clue, *_) = clues("3c:fd:fe:10:20:31")
    assert clue.text == "eno2 of node7, on the PXE VLAN: its cable or switch port is wrong"
    assert clue.machine == "node7"
    # `machine replace-mac` refuses a MAC that the inventory has.
    assert "replace-mac" not in clue.remedy
    assert "exchange its mac and that of eno2 in the inventory, then pxe-appliance sync" in clue.remedy


def test_a_machine_on_another_network_and_one_that_is_refused() -> None:
    (clue, *_) = clues("3c:fd:fe:10:20:30", network="lab")
    assert clue.text == "node7 of network pxe, on network lab: its cable or switch port is wrong"
    reason = Reason("no-boot-file", "no boot file for client class arm64 UEFI (11)", "install one")
    (clue, *_) = clues("3c:fd:fe:10:20:30", reason=reason)
    assert (clue.text, clue.remedy) == (
        "node7 itself: no boot file for client class arm64 UEFI (11)",
        "install one",
    )


# ---- a UUID ----


@pytest.mark.parametrize("said", [UUID, swapped(UUID)])
def test_a_known_uuid_with_a_new_mac_is_a_replaced_board(said: str) -> None:
    named = replace(NODE7, uuid=UUID.upper())
    by_inventory = clues("00:1b:21:0a:0b:0c", named, NODE8, heard=set(), uuid=said)
    by_itself = clues("00:1b:21:0a:0b:0c", uuids={"node7": UUID, "node8": OTHER_UUID}, heard=set(), uuid=said)
    expected = Clue(
        "uuid",
        "UUID of node7 with a new MAC: replaced board or NIC, or another port of it",
        "compare with the label of node7; if it is the same: "
        "pxe-appliance machine replace-mac node7 00:1b:21:0a:0b:0c",
        "node7",
    )
    assert by_inventory == by_itself == (expected,)
    (doubtful,) = clues("00:1b:21:0a:0b:0c", replace(NODE7, uuid=UUID), heard={"node7"}, uuid=said)
    assert doubtful.text == f"{expected.text}; or node7 is still there, and somebody says its UUID"


def test_a_uuid_of_a_machine_that_was_heard_since_is_no_replaced_board() -> None:
    """Another port of a healthy machine asks at each of its boots, and anybody can say a UUID."""
    row = Stray(Mac.parse("00:1b:21:0a:0b:0c"), "pxe", AT, AT + timedelta(days=1), uuid=UUID)
    nics = Nics.of(served((PXE, LAB), (NODE7, NODE8)))
    for seconds, kind in ((-1, "uuid"), (1, "port")):
        heard = {"node7": AT + timedelta(seconds=seconds)}
        (clue,) = Clues(nics, heard, {"node7": UUID}).of(row)
        assert clue.kind == kind
        assert ("replace-mac" in clue.remedy) == (kind == "uuid")


def test_of_several_macs_the_command_says_which_one_goes() -> None:
    lone, pair = machine("node7", "3c:fd:fe:10:20:30", "172.0.1.27"), Mac.parse("3c:fd:fe:aa:bb:cc")
    several = replace(lone, macs=(*lone.macs, pair), uuid=UUID)
    (typo, *_) = clues("3c:fd:fe:aa:bb:cd", several, heard=set())
    assert typo.remedy.endswith("replace-mac node7 3c:fd:fe:aa:bb:cd --old 3c:fd:fe:aa:bb:cc")
    (board, *_) = clues("00:1b:21:0a:0b:0c", several, uuid=UUID)
    assert "--old 3c:fd:fe:10:20:30 (or whichever of its MACs is gone)" in board.remedy


def test_a_uuid_on_another_network_says_so() -> None:
    (clue,) = clues("00:1b:21:0a:0b:0c", uuids={"node7": UUID}, uuid=UUID, network="lab")
    assert clue.text.endswith("(it belongs to network pxe, this is network lab)")


def test_a_uuid_that_machines_share_names_them_and_guesses_none() -> None:
    (clue,) = clues("00:1b:21:0a:0b:0c", uuids={"node7": UUID, "node8": UUID}, uuid=UUID)
    assert clue.machine is None
    assert "node7 and node8" in clue.text


@pytest.mark.parametrize(
    "uuid",
    [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "78563412-3412-7856-90ab-cddeefaabbcc",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "no uuid",
        "",
    ],
)
def test_what_many_boards_say_is_nobodys(uuid: str) -> None:
    assert is_junk(uuid)
    assert clues("00:1b:21:0a:0b:0c", replace(NODE7, uuid=uuid), uuids={"node7": uuid}, uuid=uuid) == ()


def test_a_uuid_of_a_machine_that_is_no_more_is_nobodys() -> None:
    assert clues("00:1b:21:0a:0b:0c", uuids={"gone": UUID}, uuid=UUID) == ()


# ---- typing mistakes ----


@pytest.mark.parametrize(
    ("mac", "how"),
    [
        ("3c:fd:fe:55:66:7f", "in one digit"),
        ("38:fd:fe:55:66:77", "in one digit"),
        ("3c:df:fe:55:66:77", "in two digits that are swapped"),
        ("3c:fd:f5:e5:66:77", "in two digits that are swapped"),
        ("3c:fd:fe:55:88:77", "in two digits"),
        ("3c:ad:fe:55:66:76", "in two digits"),
        ("30:fd:fe:05:66:77", "in two digits"),
        ("3c:fd:fe:00:06:77", ""),
    ],
)
def test_a_near_miss_of_a_mac_that_was_never_heard(mac: str, how: str) -> None:
    found = [clue for clue in clues(mac, heard={"node7"}) if clue.kind == "typo"]
    if not how:
        assert found == []
        return
    assert found[0].text.startswith(f"differs {how} from 3c:fd:fe:55:66:77 of node8, which was never heard")
    assert found[0].remedy.endswith(f"if it is the same: pxe-appliance machine replace-mac node8 {mac}")
    assert "typo" not in kinds(clues(mac)), "one that was heard has the right MAC"


def test_a_near_miss_of_two_machines_names_both() -> None:
    node9 = machine("node9", "3c:fd:fe:55:66:97", "172.0.1.29")
    (clue, *_) = clues("3c:fd:fe:55:66:87", NODE8, node9, heard=frozenset())
    assert (clue.kind, clue.machine) == ("typo", None)
    assert "node8 and node9" in clue.text


MACS = st.integers(0, 2**48 - 1).map(lambda n: n & ~(1 << 40) or 2)


def _mac(number: int) -> str:
    return ":".join(f"{number:012x}"[i : i + 2] for i in range(0, 12, 2))


@given(MACS, st.integers(0, 11), st.integers(1, 15), st.integers(0, 11), st.integers(1, 15))
def test_any_one_or_two_wrong_digits_are_found(
    number: int, first: int, wrong: int, second: int, too: int
) -> None:
    typed = number ^ wrong << 4 * first
    if second != first:
        typed ^= too << 4 * second
    assume(not typed >> 40 & 1 and typed and typed != number)
    lone = machine("node7", _mac(number), "172.0.1.27")
    found = clues(_mac(typed), lone, heard=frozenset())
    assert [c.machine for c in found if c.kind == "typo"] == ["node7"]


@given(MACS, st.integers(0, 10))
def test_any_two_neighbours_that_are_swapped_are_found(number: int, place: int) -> None:
    digits = list(f"{number:012x}")
    digits[place], digits[place + 1] = digits[place + 1], digits[place]
    typed = int("".join(digits), 16)
    assume(not typed >> 40 & 1 and typed != number)
    lone = machine("node7", _mac(number), "172.0.1.27")
    (clue,) = [c for c in clues(_mac(typed), lone, heard=frozenset()) if c.kind == "typo"]
    assert "swapped" in clue.text


@given(MACS, MACS)
def test_macs_that_have_little_in_common_are_no_near_miss(number: int, other: int) -> None:
    apart = sum(number >> shift & 15 != other >> shift & 15 for shift in range(0, 48, 4))
    assume(apart > 2)
    lone = machine("node7", _mac(number), "172.0.1.27")
    assert "typo" not in kinds(clues(_mac(other), lone, heard=frozenset()))


# ---- neighbours, names, makers ----


@pytest.mark.parametrize(("step", "near"), [(-8, True), (1, True), (8, True), (9, False), (-9, False)])
def test_a_mac_right_beside_a_known_one_is_probably_its_other_port(step: int, near: bool) -> None:
    mac = _mac(0x3CFDFE556677 + step)
    found = [c for c in clues(mac) if c.kind == "neighbour"]
    assert bool(found) is near
    if near:
        assert found[0].text == "next to 3c:fd:fe:55:66:77 of node8: probably another port of it"
        assert found[0].machine == "node8"


def test_beside_two_machines_both_are_named() -> None:
    node9 = machine("node9", "3c:fd:fe:55:66:79", "172.0.1.29")
    (clue, *_) = clues("3c:fd:fe:55:66:78", NODE8, node9)
    assert (clue.kind, clue.machine) == ("neighbour", None)
    assert "node8 and node9" in clue.text


def test_the_next_prefix_is_another_maker_s() -> None:
    last = machine("node9", "3c:fd:fe:ff:ff:ff", "172.0.1.29")
    assert clues("3c:fd:ff:00:00:00", last) == ()


@pytest.mark.parametrize("name", ["node7", "NODE7", "node7.example.net"])
def test_a_name_that_is_a_machine_s(name: str) -> None:
    (clue,) = clues("00:1b:21:0a:0b:0c", client_name=name)
    assert (clue.kind, clue.machine) == ("name", "node7")


@pytest.mark.parametrize(
    ("mac", "vendor_class", "words"),
    [
        ("52:54:00:12:34:56", "", "QEMU"),
        ("00:50:56:12:34:56", "", "VMware"),
        ("00:1b:21:0a:0b:0c", "iDRAC", "iDRAC"),
        ("00:1b:21:0a:0b:0c", "udhcp 1.30.1", "management controller"),
        ("06:11:22:33:44:55", "", "made-up MAC"),
    ],
)
def test_a_maker_or_a_vendor_class_that_tells_what_it_is(mac: str, vendor_class: str, words: str) -> None:
    (clue,) = clues(mac, vendor_class=vendor_class)
    assert clue.kind == "maker"
    assert words in clue.text
    assert clue.machine is None


def test_of_somebody_unknown_nothing_is_said() -> None:
    assert clues("00:1b:21:0a:0b:0c", client_name="printer", uuid=OTHER_UUID) == ()


def test_the_best_comes_first() -> None:
    for mac, best in (
        ("3c:fd:fe:10:20:32", ["uuid", "typo", "neighbour"]),
        ("3c:fd:fe:10:20:31", ["nic", "uuid"]),
    ):
        found = clues(
            mac,
            heard=frozenset(),
            uuids={"node8": UUID},
            uuid=UUID,
            client_name="node8",
            vendor_class="udhcp 1.30",
        )
        assert kinds(found) == [*best, "name", "maker"]


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=60))
def test_nothing_that_a_client_says_breaks_it_or_is_repeated(name: str, vendor: str, uuid: str) -> None:
    found = clues("00:1b:21:0a:0b:0c", client_name=name, vendor_class=vendor, uuid=uuid)
    for clue in found:
        assert len(clue.text) + len(clue.remedy) < 600


def test_a_large_rack_that_never_booted_is_looked_through_quickly() -> None:
    rack = tuple(
        machine(f"m{n}", _mac(0x3CFDFE000000 + 3 * n), f"172.0.{n >> 8}.{n & 255}") for n in range(2000)
    )
    nics = Nics.of(served((replace(PXE, subnet=PXE.subnet.supernet(new_prefix=16)),), rack))
    rng = random.Random(7)
    rows = [Stray(Mac(_mac(0x3CFDFE000000 + rng.getrandbits(24))), "pxe", AT, AT) for _ in range(4096)]
    began = time.process_time()
    both = Clues(nics, {}, {})
    assert sum(both.named(row) for row in rows) <= sum(bool(both.of(row)) for row in rows)
    assert time.process_time() - began < 5  # some 0.4 s here

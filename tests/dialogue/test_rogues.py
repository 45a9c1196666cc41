"""Other DHCP servers as a dialogue: what is heard, when the alarm comes and goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from appliance.addresses import Mac
from appliance.boot.events import EventKind
from appliance.daemon import rogues
from appliance.daemon import signals as s
from appliance.daemon.known import State
from appliance.settings import NetworkMode
from tests.dialogue.test_state import Dialogue, recorded
from tests.unit.daemon.rooms import LAB, PXE, event, served

K = EventKind
THIEF = IPv4Address("172.0.1.66")
THIEF_MAC = Mac.parse("00:0c:29:aa:00:66")
OTHER = IPv4Address("10.9.9.9")
FOUND = s.OtherServer(THIEF, THIEF_MAC, IPv4Address("172.0.1.150"), "evil.0")
PROXY = replace(LAB, mode=NetworkMode.PROXY)


@pytest.fixture
def watch() -> Dialogue:
    """A network that is ours, and one in proxy mode."""
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served((PXE, PROXY))))
    return dialogue


def heard(how: str = "broadcast", server: s.OtherServer = FOUND, network: str = "pxe") -> s.ServerHeard:
    return s.ServerHeard(network, server, how)


def probed(*servers: s.OtherServer, network: str = "pxe") -> s.ServersProbed:
    return s.ServersProbed(network, servers)


def alarms(commands: list[s.Command]) -> list[Mapping[str, str]]:
    return recorded(commands, K.ROGUE_SERVER)


def told(state: State) -> list[tuple[str, str, str]]:
    found = rogues.problems(state.rogue_servers, state.served.settings)
    return [(p["id"], p["severity"], p["message"]) for p in found]


def rows(dialogue: Dialogue) -> list[dict[str, object]]:
    return dialogue.state.rogue_servers.as_json()


@pytest.mark.parametrize("sign", [heard(), heard("probe"), heard("request"), probed(FOUND)])
def test_the_first_sign_is_the_alarm(watch: Dialogue, sign: s.Signal) -> None:
    (command,) = watch.say(sign)
    assert isinstance(command, s.Record)
    assert (command.event.kind, command.event.network) == (K.ROGUE_SERVER, "pxe")
    assert (command.event.ip, command.event.mac, command.event.machine) == (THIEF, THIEF_MAC, None)
    (row,) = rows(watch)
    assert (row["ip"], row["mac"], row["network"]) == ("172.0.1.66", "00:0c:29:aa:00:66", "pxe")
    ((identity, severity, message),) = told(watch.state)
    assert (identity, severity) == ("rogue-server", "error")
    for word in ("172.0.1.66", "00:0c:29:aa:00:66 (VMware, Inc.)", "pxe (pxe0)"):
        assert word in message


def test_what_is_known_already_is_no_event(watch: Dialogue) -> None:
    watch.say(heard("request"))
    watch.at += 10
    assert watch.say(heard(), probed(FOUND), heard("request")) == []
    (row,) = rows(watch)
    assert row["how"] == "probe", "the best evidence stays"
    assert str(row["first"]) < str(row["last"])


def test_two_clean_probes_end_it(watch: Dialogue) -> None:
    watch.say(heard())
    assert watch.say(probed()) == []
    (gone,) = alarms(watch.say(probed()))
    assert gone["what"] == "gone"
    assert "172.0.1.66" in gone["message"]
    assert (rows(watch), told(watch.state)) == ([], [])
    assert watch.say(probed()) == []
    assert len(alarms(watch.say(heard()))) == 1, "it came back"


def test_a_sign_between_two_probes_keeps_it(watch: Dialogue) -> None:
    watch.say(heard())
    for _ in range(5):
        assert watch.say(probed(), heard("request")) == []
    watch.say(probed(FOUND), probed())
    assert len(rows(watch)) == 1


def test_a_probe_elsewhere_proves_nothing(watch: Dialogue) -> None:
    watch.say(s.Adopted(served((PXE, LAB))), heard())
    watch.say(*[probed(network="lab")] * 3, *[probed(network="nowhere")] * 3)
    assert len(rows(watch)) == 1


def test_a_word_that_anybody_can_forge_says_so(watch: Dialogue) -> None:
    watch.say(heard("request", s.OtherServer(OTHER)))
    ((_, _, message),) = told(watch.state)
    assert "forge" in message
    assert "MAC not known" in message
    watch.say(heard(server=s.OtherServer(OTHER, THIEF_MAC)))
    ((_, _, message),) = told(watch.state)
    assert "forge" not in message
    assert str(THIEF_MAC) in message


def test_a_mac_that_comes_later_is_taken_and_another_one_is_news(watch: Dialogue) -> None:
    watch.say(heard(server=s.OtherServer(THIEF)))
    assert watch.say(heard()) == []
    assert rows(watch)[0]["mac"] == str(THIEF_MAC)
    assert watch.say(heard(server=s.OtherServer(THIEF))) == []
    assert rows(watch)[0]["mac"] == str(THIEF_MAC)
    other = replace(FOUND, mac=Mac.parse("00:0c:29:aa:00:67"))
    assert len(alarms(watch.say(heard(server=other)))) == 1


def test_a_refused_client_is_evidence_until_the_server_has_a_name(watch: Dialogue) -> None:
    nak = event(K.ROGUE_SERVER, ip="172.0.1.150")
    assert watch.say(s.Happened(nak))[0] == s.Record(nak)
    (row,) = rows(watch)
    assert (row["ip"], row["offered"], row["how"]) == (None, "172.0.1.150", "request")
    assert "whose address is not known" in told(watch.state)[0][2]
    assert len(alarms(watch.say(heard("request")))) == 1
    assert [row["ip"] for row in rows(watch)] == ["172.0.1.66"]
    watch.say(s.Happened(nak))
    assert len(rows(watch)) == 1, "it is the one that is known"


def test_a_refused_client_alone_is_forgotten_like_the_rest(watch: Dialogue) -> None:
    watch.say(s.Happened(event(K.ROGUE_SERVER, ip="172.0.1.150")), probed())
    (gone,) = alarms(watch.say(probed()))
    assert gone["what"] == "gone"
    assert rows(watch) == []


def test_our_own_address_at_another_host_is_named_as_that(watch: Dialogue) -> None:
    watch.say(probed(s.OtherServer(PXE.address, None, IPv4Address("172.0.1.150"))))
    assert "which is our own address" in told(watch.state)[0][2]


# ---- a flood of words ----


def _forged(number: int) -> s.OtherServer:
    return s.OtherServer(IPv4Address(0x0A000000 + number))


def test_forged_words_are_bounded_and_push_out_nobody(watch: Dialogue) -> None:
    watch.say(heard())
    watch.at += 1
    events = alarms(watch.say(*(heard("request", _forged(n)) for n in range(5000))))
    assert len(rows(watch)) == rogues.MOST
    assert len(events) == rogues.MOST - 1
    assert rows(watch)[-1]["ip"] == "172.0.1.66"
    messages = told(watch.state)
    assert len(messages) == 9
    assert "172.0.1.66" in messages[0][2], "the best evidence comes first"
    assert messages[-1][2].startswith(f"{rogues.MOST - 8} more")


def test_what_was_heard_takes_the_place_of_a_word(watch: Dialogue) -> None:
    watch.say(*(heard("request", _forged(n)) for n in range(100)))
    assert len(alarms(watch.say(heard(), probed(s.OtherServer(OTHER))))) == 2
    ips = {row["ip"] for row in rows(watch)}
    assert {"172.0.1.66", "10.9.9.9"} <= ips
    assert len(ips) == rogues.MOST


# ---- proxy mode ----


def test_where_another_server_gives_addresses_it_is_no_alarm(watch: Dialogue) -> None:
    giver = s.OtherServer(IPv4Address("172.0.9.254"), THIEF_MAC, IPv4Address("172.0.9.50"))
    said = watch.say(
        heard("request", giver, "lab"), heard("broadcast", giver, "lab"), probed(giver, network="lab"),
        s.Happened(event(K.ROGUE_SERVER, ip="172.0.9.50", network="lab")),
    )  # fmt: skip
    assert [c for c in said if isinstance(c, s.Record)][:-1] == []
    assert (rows(watch), told(watch.state)) == ([], [])


def test_its_absence_is_told_after_two_probes(watch: Dialogue) -> None:
    giver = s.OtherServer(IPv4Address("172.0.9.254"), THIEF_MAC, IPv4Address("172.0.9.50"))
    watch.say(probed(network="lab"))
    assert told(watch.state) == []
    watch.say(probed(network="lab"))
    ((identity, severity, message),) = told(watch.state)
    assert (identity, severity) == ("no-dhcp-server", "warning")
    assert "lab (eno4.7)" in message
    watch.say(probed(giver, network="lab"))
    assert told(watch.state) == []
    watch.say(probed(giver, replace(giver, address=IPv4Address("172.0.9.253")), network="lab"))
    ((identity, severity, message),) = told(watch.state)
    assert (identity, severity) == ("several-dhcp-servers", "warning")
    assert "172.0.9.253" in message


def test_a_second_boot_server_is_a_rogue_there_too(watch: Dialogue) -> None:
    rival = s.OtherServer(IPv4Address("172.0.9.66"), THIEF_MAC, None, "other.efi")
    assert len(alarms(watch.say(probed(rival, network="lab")))) == 1
    assert ("rogue-server", "error") in [(i, v) for i, v, _ in told(watch.state)]
    watch.say(s.Adopted(served((PXE, PROXY), number=5)))
    assert len(rows(watch)) == 1, "a sync changes nothing about it"
    watch.say(probed(network="lab"), probed(network="lab"))
    assert rows(watch) == []


# ---- generations ----


def test_it_goes_with_its_network(watch: Dialogue) -> None:
    watch.say(heard(), *[probed(network="lab")] * 2)
    watch.say(s.Adopted(served((PXE,))))
    assert [i for i, _, _ in told(watch.state)] == ["rogue-server"]
    watch.say(s.Adopted(served((replace(PXE, mode=NetworkMode.PROXY),))))
    assert (rows(watch), told(watch.state)) == ([], [])

"""The tokens of boot scripts: one per boot, kept as digests, known again after a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address

from appliance.boot.arming import digest_of
from appliance.daemon import signals as s
from appliance.daemon.arming import Arming
from tests.unit.daemon.rooms import AT

IP = IPv4Address("172.0.1.21")
LATER = AT + timedelta(minutes=5)


@dataclass
class Desk:
    """Tokens, and what was reported of them."""

    said: list[s.Signal] = field(default_factory=list)
    arming: Arming = field(init=False)

    def __post_init__(self) -> None:
        self.arming = Arming(self.said.append)

    def kept(self) -> dict[str, object]:
        """What a restart finds: the newest of each machine, as the decider has it written."""
        found: dict[str, object] = {}
        for signal in self.said:
            assert isinstance(signal, s.TokensGiven)
            found[signal.machine] = json.loads(json.dumps([one.as_json() for one in signal.tokens]))
        return found


def test_a_boot_has_one_token_and_the_next_boot_another() -> None:
    arming = Desk().arming
    first = arming.arm("node1", AT, AT, IP)
    assert arming.arm("node1", AT, AT + timedelta(seconds=9), IP) == first
    second = arming.arm("node1", LATER, LATER, IP)
    assert second != first
    assert arming.why_not_read("node1", second, IP, LATER) == ""
    assert "not that of this boot" in arming.why_not_read("node1", first, IP, LATER)


def test_a_token_is_long_and_needs_no_quoting_and_two_machines_never_share_one() -> None:
    arming = Desk().arming
    tokens = {arming.arm(f"node{n}", AT, AT, IP) for n in range(500)}
    assert len(tokens) == 500
    assert all(len(token) == 24 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)


def test_the_token_of_another_machine_opens_nothing_and_reports_nothing() -> None:
    arming = Desk().arming
    mine, theirs = arming.arm("node1", AT, AT, IP), arming.arm("node2", AT, AT, IP)
    assert arming.why_not_read("node1", theirs, IP, AT) != ""
    assert arming.why_not_report("node1", theirs) != ""
    assert arming.why_not_report("node1", mine) == ""
    assert arming.why_not_report("node3", "") != "", "it never had one"


def test_a_machine_that_called_home_reads_nothing_more_in_this_boot() -> None:
    desk = Desk()
    token = desk.arming.arm("node1", AT, AT, IP)
    desk.arming.close("node1")
    assert "called home" in desk.arming.why_not_read("node1", token, IP, AT)
    assert desk.arming.why_not_report("node1", token) == ""
    assert "called home" in desk.arming.why_not_arm("node1", AT, AT)
    assert desk.arming.why_not_arm("node1", LATER, LATER) == ""
    told = len(desk.said)
    desk.arming.close("node1")
    desk.arming.close("node2")
    assert len(desk.said) == told, "nothing new"


def test_a_boot_without_a_token_makes_those_of_before_worthless() -> None:
    desk = Desk()
    token = desk.arming.arm("node1", AT, AT, IP)
    desk.arming.forget("node1")
    assert desk.arming.why_not_read("node1", token, IP, AT) != ""
    assert desk.arming.why_not_report("node1", token) != ""
    assert desk.kept() == {"node1": []}
    told = len(desk.said)
    desk.arming.forget("node1")
    assert len(desk.said) == told
    assert desk.arming.arm("node1", AT, AT, IP) != token


def test_what_is_kept_is_digests_and_enough_to_go_on() -> None:
    before = Desk()
    token = before.arming.arm("node1", AT, AT, IP)
    assert token not in json.dumps(before.kept())
    assert digest_of(token) in json.dumps(before.kept())
    after = Desk()
    after.arming.remember(before.kept())
    assert after.arming.why_not_read("node1", token, IP, AT) == ""
    assert after.arming.why_not_report("node1", token) == ""
    fresh = after.arming.arm("node1", AT, AT, IP)
    assert fresh != token
    assert after.arming.why_not_read("node1", token, IP, AT) == "", "the script of before is still running"


def test_a_boot_belongs_to_the_neighbour_that_asked_first_also_after_a_restart() -> None:
    before = Desk()
    before.arming.arm("node1", AT, AT, IP, "52:54:00:aa:00:01")
    after = Desk()
    after.arming.remember(before.kept())
    for arming in (before.arming, after.arming):
        assert "answers for its address now" in arming.why_not_arm("node1", AT, AT, "00:1b:21:0a:0b:0c")
        assert arming.why_not_arm("node1", AT, AT, "52:54:00:aa:00:01") == ""


def test_what_cannot_be_read_opens_nothing_and_harms_nobody_else() -> None:
    before = Desk()
    token = before.arming.arm("node1", AT, AT, IP)
    arming = Desk().arming
    arming.remember({**before.kept(), "node2": "x", "node3": [1], "node4": [{}], "node5": None})
    assert arming.why_not_read("node1", token, IP, AT) == ""
    assert all(arming.why_not_read(f"node{n}", token, IP, AT) for n in (2, 3, 4, 5))

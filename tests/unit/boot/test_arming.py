"""Which boot may read: the window, the address, the token, and what closes it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.arming import (
    WINDOW,
    Armed,
    Tokens,
    armed_with,
    closed,
    digest_of,
    why_not_arm,
    why_not_read,
    why_not_report,
)

BOOT = datetime(2025, 1, 31, 4, 0, 0, tzinfo=UTC)
LATER_BOOT = BOOT + timedelta(minutes=5)
IP, THIEF = IPv4Address("172.0.1.21"), IPv4Address("172.0.1.22")
TOKEN, OTHER = "A" * 24, "B" * 24
ONE: Tokens = armed_with((), TOKEN, BOOT, BOOT, IP)


def reads(tokens: Tokens, token: str = TOKEN, ip: IPv4Address | None = IP, after: float = 0.0) -> str:
    return why_not_read(tokens, token, ip, BOOT + timedelta(seconds=after))


def test_the_boot_that_was_given_the_token_reads() -> None:
    assert reads(ONE) == ""
    assert reads(ONE, after=WINDOW.total_seconds()) == ""


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (reads(ONE, after=WINDOW.total_seconds() + 0.001), "more than 30 minutes ago"),
        (reads(ONE, ip=THIEF), "was given to 172.0.1.21"),
        (reads(ONE, ip=None), "was given to 172.0.1.21"),
        (reads(ONE, ""), "has no token"),
        (reads((), ""), "has no token"),
        (reads((), TOKEN), "not that of this boot"),
        (reads(ONE, OTHER), "not that of this boot"),
        (reads(ONE, TOKEN[:-1]), "not that of this boot"),
        (reads(ONE, TOKEN.lower()), "not that of this boot"),
        (reads(ONE, digest_of(TOKEN)), "not that of this boot"),  # whoever read what is kept has nothing
        (reads(ONE, "\udcff\udc00"), "not that of this boot"),
        (reads(closed(ONE)), "has called home since"),
        (reads(armed_with(ONE, OTHER, LATER_BOOT, LATER_BOOT, IP)), "not that of this boot"),
    ],
)
def test_nothing_else_opens_it_and_the_reason_is_told(reason: str, why: str) -> None:
    assert why in reason
    assert TOKEN not in reason


def test_a_new_boot_is_worth_all_the_others() -> None:
    tokens = armed_with(ONE, OTHER, LATER_BOOT, LATER_BOOT, IP)
    assert len(tokens) == 1
    assert reads(tokens, OTHER) == ""


def test_the_same_boot_may_ask_again_and_with_another_token() -> None:
    """A daemon that was started in between has forgotten the token; the script of before is still running."""
    tokens = armed_with(ONE, OTHER, BOOT, BOOT + timedelta(minutes=1), IP)
    assert reads(tokens) == reads(tokens, OTHER) == ""
    again = armed_with(ONE, TOKEN, BOOT, BOOT + timedelta(minutes=20), IP)
    assert len(again) == 1
    assert reads(again, after=45 * 60) == "", "the window begins with the newest script"


def test_what_is_kept_of_a_boot_is_bounded() -> None:
    tokens: Tokens = ()
    for number in range(1000):
        tokens = armed_with(tokens, f"token {number}", BOOT, BOOT, IP)
    assert len(tokens) <= 8
    assert reads(tokens, "token 999") == ""


def test_a_closed_token_still_signs_reports_and_the_next_boot_opens_again() -> None:
    shut = closed(ONE)
    assert why_not_report(shut, TOKEN) == ""
    assert "called home" in why_not_arm(shut, BOOT, BOOT)
    assert why_not_arm(shut, LATER_BOOT, LATER_BOOT) == ""
    assert why_not_arm(ONE, BOOT, BOOT) == why_not_arm((), BOOT, BOOT) == ""
    assert reads(armed_with(shut, OTHER, LATER_BOOT, LATER_BOOT, IP), OTHER) == ""


def test_a_boot_is_that_of_whoever_asked_first() -> None:
    mine, theirs = "52:54:00:aa:00:01", "00:1b:21:0a:0b:0c"
    tokens = armed_with((), TOKEN, BOOT, BOOT, IP, mine)
    assert why_not_arm(tokens, BOOT, BOOT, mine) == ""
    assert f"{theirs} answers for its address now, and {mine} did" in why_not_arm(tokens, BOOT, BOOT, theirs)
    assert why_not_arm(tokens, BOOT, BOOT, "") == "", "the kernel knows no neighbour: nothing is known"
    assert why_not_arm(tokens, LATER_BOOT, LATER_BOOT, theirs) == ""
    assert tuple(Armed.from_json(json.loads(json.dumps(one.as_json()))) for one in tokens) == tokens
    older = {key: value for key, value in tokens[0].as_json().items() if key != "seen"}
    assert Armed.from_json(older).seen == "", "kept before neighbours were"


def test_no_boot_gets_a_token_long_after_it_began() -> None:
    """Else whoever has the address of a machine that is off for long needs nothing but the address."""
    assert why_not_arm((), BOOT, BOOT + WINDOW) == ""
    assert "began to boot more than 30 minutes ago" in why_not_arm((), BOOT, BOOT + WINDOW + timedelta(0, 1))


def test_reports_need_the_token_of_the_last_boot() -> None:
    assert "has no token" in why_not_report((), "")
    assert "not that of the machine's last boot" in why_not_report((), TOKEN)
    assert "has no token" in why_not_report(ONE, "")
    assert "not that of the machine's last boot" in why_not_report(ONE, OTHER)
    assert why_not_report(ONE, TOKEN) == ""
    later = armed_with(ONE, OTHER, LATER_BOOT, LATER_BOOT, IP)
    assert why_not_report(later, TOKEN) != "", "an old system does not speak for the new one"


def test_only_the_digest_is_kept() -> None:
    kept = json.dumps([one.as_json() for one in ONE])
    assert TOKEN not in kept
    assert hashlib.sha256(TOKEN.encode()).hexdigest() in kept
    assert TOKEN not in repr(ONE)
    assert tuple(Armed.from_json(one) for one in json.loads(kept)) == ONE


KEPT = ONE[0].as_json()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "x",
        {},
        {k: v for k, v in KEPT.items() if k != "closed"},
        {**KEPT, "ip": "x"},
        {**KEPT, "ip": None},
        {**KEPT, "ip": []},
        {**KEPT, "boot": None},
        {**KEPT, "boot": 1},
        {**KEPT, "at": "now"},
    ],
)
def test_what_is_no_token_is_refused(raw: object) -> None:
    with pytest.raises(ValueError):
        Armed.from_json(raw)


@given(st.text(max_size=64), st.integers(0, 4000), st.booleans(), st.booleans())
def test_only_the_token_of_that_boot_from_there_and_in_time(
    token: str, after: int, thief: bool, shut: bool
) -> None:
    tokens = closed(ONE) if shut else ONE
    reason = reads(tokens, token, THIEF if thief else IP, after)
    assert reason != ""
    right = reads(tokens, TOKEN, THIEF if thief else IP, after)
    assert (right == "") is (not thief and not shut and after <= WINDOW.total_seconds())

"""A delivery's body, signature and fate; the signature held against the scheme's own published example."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.events import EventKind
from appliance.daemon.log_lines import Severity
from appliance.daemon.notable import Note, of_event
from appliance.daemon.webhook_message import (
    Fate,
    Message,
    answer_words,
    fate,
    retry_after,
    sign,
)
from appliance.settings import Notice
from appliance.webhook_secret import SecretError, read_secret
from tests.unit.daemon.rooms import AT, event


def test_the_signature_is_the_one_that_the_scheme_publishes() -> None:
    secret = read_secret(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_the_line_of_its_file_or_what_follows_whsec() -> None:
    key = bytes(range(24))
    assert read_secret(b"  " + b"s" * 24 + b"\n") == b"s" * 24
    assert read_secret(b"whsec_" + base64.b64encode(key) + b"\n") == key


@pytest.mark.parametrize("raw", [b"", b"short", b"whsec_c2hvcnQ=", b"whsec_!!!!" + b"x" * 40])
def test_a_secret_that_cannot_be_used_is_named_and_not_shown(raw: bytes) -> None:
    with pytest.raises(SecretError) as caught:
        read_secret(raw)
    assert "short" not in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)


def note(**more: object) -> Note:
    made = of_event(event(EventKind.HELD, detail={"reason": "a \x1b[2J loop", "remedy": "r"}), first=False)
    assert made is not None
    return made


def test_the_same_event_has_the_same_id_and_body_at_each_attempt_and_after_a_restart() -> None:
    message, again = Message.of(note(), AT, "a" * 32), Message.of(note(), AT, "b" * 32)
    assert message.id == again.id
    first, second = (message.headers(b"s" * 24, AT + timedelta(seconds=n)) for n in (0, 60))
    assert first["webhook-id"] == second["webhook-id"] == message.id
    assert first["webhook-signature"] != second["webhook-signature"], "a replay later is no attempt of ours"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60


def test_what_has_no_subject_has_an_id_of_its_own() -> None:
    problem = Note("problem", Severity.ERROR, "x", notice=Notice.PROBLEM)
    assert Message.of(problem, AT, "a").id != Message.of(problem, AT, "b").id


def test_the_body_is_typed_and_has_no_control_character() -> None:
    body = json.loads(Message.of(note(), AT, "").body)
    assert body["type"] == "held"
    assert body["timestamp"] == "2025-01-31T04:05:06.789Z"
    assert body["data"]["machine"] == "node1"
    assert body["data"]["detail"]["reason"] == "a \\x1b[2J loop"
    assert "\x1b" not in body["text"]


@given(st.dictionaries(st.text(), st.text()))
def test_any_detail_makes_a_body_of_bounded_size(detail: Mapping[str, str]) -> None:
    made = of_event(event(EventKind.HELD, detail=detail), first=False)
    assert made is not None
    body = Message.of(made, AT, "").body
    assert len(body) < 64 << 10
    assert json.loads(body)["data"]["event"] == "held"


@pytest.mark.parametrize(
    ("status", "wanted"),
    [(200, Fate.DELIVERED), (204, Fate.DELIVERED), (301, Fate.REFUSED), (307, Fate.REFUSED)]
    + [(n, Fate.REFUSED) for n in (400, 401, 404, 408, 410, 422)]
    + [(n, Fate.AGAIN) for n in (429, 500, 502, 503, 504)],
)
def test_what_a_status_means(status: int, wanted: Fate) -> None:
    assert fate(status) is wanted


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("-7", 0),
        ("soon", 0),
        ("9" * 400, 999999999),
        ("Fri, 31 Jan 2025 04:05:36 GMT", 29),
        ("Fri, 31 Jan 2025 04:05:00 GMT", 0),
        ("Mon, 1 Jan 99999999999999999999 00:00:00 +0000", 0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after(value, datetime(2025, 1, 31, 4, 5, 7, tzinfo=UTC)) == seconds


def test_words_about_a_redirect_show_where_it_leads_without_its_path() -> None:
    why, fix = answer_words(302, "https://other.example.com/secret?token=1")
    assert "other.example.com" in why
    assert "secret" not in why + fix
    assert "token" not in why + fix

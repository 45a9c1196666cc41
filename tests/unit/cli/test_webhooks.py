"""`webhook test` and what `check` says of a webhook's secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command import Operator

HOOK = '[webhook.pager]\nurl = "https://h.example.com/x"\nsecret = "pager"\n'
ANSWER = {
    "webhook": "pager",
    "place": "https://h.example.com/…",
    "id": "msg_1",
    "status": 204,
    "seconds": 0.25,
    "body": "thank\x1b[31m",
}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    made = Operator(tmp_path)
    made.write()
    return made


def test_an_answer_is_printed_and_harmless(operator: Operator) -> None:
    with operator.daemon(**{"post_webhooks/pager/test": (200, ANSWER)}) as state:
        said = operator.call("webhook", "test", "pager")
        assert operator.call("webhook", "test", "pager", "-o", "json").json() == ANSWER
    assert said.rc == 0
    assert "delivered to https://h.example.com/… as msg_1" in said.out
    assert "it answered 204 after 0.25 s: thank\\x1b[31m" in said.out
    assert state.asked[0] == ("POST /v1/webhooks/pager/test", None)


def test_a_failure_is_one_of_the_surroundings(operator: Operator) -> None:
    failed = {"kind": "SurroundingsError", "message": "not delivered: it answers 500", "hint": "look there"}
    with operator.daemon(**{"post_webhooks/pager/test": (503, failed)}):
        said = operator.call("webhook", "test", "pager")
    assert said.rc == 5
    assert "it answers 500" in said.err
    assert "look there" in said.err


def test_without_a_daemon_it_says_so(operator: Operator) -> None:
    said = operator.call("webhook", "test", "pager")
    assert said.rc == 5
    assert "not running" in said.err


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "does not exist, and webhook pager signs with it"),
        ("short", 0o640, "24 are the least"),
        ("x" * 32, 0o644, "can be read by every user"),
        ("x" * 32, 0o640, ""),
    ],
)
def test_check_doubts_a_secret_that_would_not_do(
    operator: Operator, content: str | None, mode: int, words: str
) -> None:
    settings = Path(operator.paths.settings)
    settings.write_text(settings.read_text() + HOOK)
    if content is not None:
        secret = Path(operator.paths.secrets) / "pager"
        secret.parent.mkdir()
        secret.write_text(content)
        secret.chmod(mode)
    said = operator.call("check")
    assert said.rc == 0, said.err
    assert (words in said.err + said.out) if words else "secrets.d" not in said.err + said.out

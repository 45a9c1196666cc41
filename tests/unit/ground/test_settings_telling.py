"""`[log]` and `[webhook.NAME]`: what they may say, and what is never shown of them."""

from __future__ import annotations

import pytest

from appliance.errors import OperatorError
from appliance.settings import LogFormat, LogLevel, LogSettings, Notice, WebhookSettings
from appliance.settings_parse import describe_settings, parse_settings
from appliance.sync.plan import _settings

_ONE = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'
HIDDEN = "T0K3N"
_HOOK = f'[webhook.pager]\nurl = "https://h.example.com:8443/{HIDDEN}?k={HIDDEN}"\nsecret = "pager"\n'


def _problems(text: str) -> list[str]:
    with pytest.raises(OperatorError) as caught:
        parse_settings(_ONE + text, "a.toml")
    return [str(problem) for problem in caught.value.problems]


def test_the_log() -> None:
    assert parse_settings(_ONE, "a").log == LogSettings(None, LogLevel.INFO)
    log = parse_settings(_ONE + '[log]\nformat = "json"\nlevel = "error"\n', "a").log
    assert log == LogSettings(LogFormat.JSON, LogLevel.ERROR)
    assert _problems('[log]\nformat = "jornal"\n') == [
        "a.toml:5: log.format: 'jornal' is not a log format (did you mean 'journal'?)"
    ]


def test_a_webhook_and_its_defaults() -> None:
    hook = parse_settings(_ONE + _HOOK, "a").webhooks["pager"]
    assert hook == WebhookSettings("pager", f"https://h.example.com:8443/{HIDDEN}?k={HIDDEN}", "pager")
    assert Notice.STUCK in hook.events
    assert Notice.STRAY not in hook.events
    more = parse_settings(_ONE + _HOOK + 'events = ["done"]\nca = "own.pem"\n', "a").webhooks["pager"]
    assert (more.events, more.ca) == ((Notice.DONE,), "own.pem")


def test_an_unknown_word_names_the_nearest() -> None:
    assert _problems(_HOOK + 'events = ["rouge-server"]\n') == [
        "a.toml:7: webhook.pager.events[0]: 'rouge-server' is not an event (did you mean 'rogue-server'?)"
    ]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "https://",
        "https://user:T0K3N@h/",
        "https://h/a b",
        "h.example.com/T0K3N",
        "https://h:99999/x",
    ],
)
def test_a_url_that_cannot_be_used_is_not_echoed(url: str) -> None:
    (problem,) = _problems(f'[webhook.pager]\nurl = "{url}"\nsecret = "pager"\n')
    assert "webhook.pager.url" in problem
    assert HIDDEN not in problem
    assert "a b" not in problem


@pytest.mark.parametrize("secret", ["whsec_T0K3N", "T0K3N=", "../T0K3N", "T0K 3N"])
def test_a_secret_where_a_file_should_be_named_is_not_echoed(secret: str) -> None:
    (problem,) = _problems(f'[webhook.pager]\nurl = "https://h/x"\nsecret = "{secret}"\n')
    assert "put the secret into a file in secrets.d/" in problem
    assert "T0K" not in problem


def test_both_are_needed_and_a_ca_needs_https() -> None:
    assert len(_problems("[webhook.pager]\n")) == 2
    (problem,) = _problems('[webhook.a]\nurl = "http://h/x"\nsecret = "s"\nca = "x.pem"\n')
    assert "https only" in problem


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://h.example.com/hooks/x?k=v", "https://h.example.com/…"),
        ("https://h.example.com?k=v", "https://h.example.com"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
    ],
)
def test_what_is_shown_of_a_url(url: str, place: str) -> None:
    assert WebhookSettings("a", url, "s").place == place


def test_neither_config_show_nor_a_plan_shows_the_path_and_a_plan_sees_it_change() -> None:
    before = parse_settings(_ONE + _HOOK, "a")
    after = parse_settings(_ONE + _HOOK.replace(HIDDEN, "OTHER"), "a")
    shown = str(describe_settings(before)) + str(_settings(before))
    assert HIDDEN not in shown
    assert "https://h.example.com:8443/…" in shown
    assert _settings(before) != _settings(after), "else sync would say that there is nothing to do"

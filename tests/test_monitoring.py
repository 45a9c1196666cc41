"""docs/monitoring.md, the alert rules and the board name metrics that exist, with labels that they have."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.boot.events import EventKind
from appliance.daemon.metrics import SYNC_RESULTS
from appliance.daemon.notable import of_event
from appliance.daemon.webhook_message import Message
from appliance.settings import USUAL_NOTICES, Notice
from appliance.settings_parse import parse_settings
from tests.unit.daemon.moments import metrics, moment, page, parsed
from tests.unit.daemon.rooms import event

ROOT = Path(__file__).parent.parent
MONITORING = (ROOT / "docs/monitoring.md").read_text()
RULES = ROOT / "docs/alerts/pxe-appliance.rules.yml"
BOARD = ROOT / "docs/grafana/pxe-appliance.json"
SOURCE = "\n".join(p.read_text() for p in (ROOT / "appliance").rglob("*.py"))
# What Prometheus itself adds to every series, and its own.
ADDED = {"job", "instance"}
METRIC = re.compile(r"\b(?:pxe_appliance|process)_[a-z_]+\b")
SELECTOR = re.compile(r"(\b(?:(?:pxe_appliance|process)_[a-z_]+|up)\b)\{([^}]*)\}")
MATCHER = re.compile(r'([a-z_]+)(=~|!=|!~|=)"([^"]*)"')


def exposed() -> dict[str, tuple[str, set[str]]]:
    """Every metric by the name that it is asked for: its type, its labels."""
    found = {}
    for family in parsed(page(metrics(), moment())).values():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, labels)
    return found


def series() -> dict[str, set[str]]:
    """Every name that an expression may use, with the labels of its series."""
    found = {"up": set[str]()}
    for name, (kind, labels) in exposed().items():
        found[name] = labels
        if kind == "histogram":
            found |= {f"{name}_{end}": labels for end in ("bucket", "sum", "count")}
            found[f"{name}_bucket"] = labels | {"le"}
    return found


def documented() -> dict[str, tuple[str, set[str]]]:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| (.*?) \| .+ \|$", MONITORING, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_table_is_the_registry() -> None:
    assert documented() == exposed()


def expressions_of_rules() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def expressions_of_the_board() -> Iterator[tuple[str, str]]:
    board = json.loads(BOARD.read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for note in board["annotations"]["list"]:
        yield note["name"], note["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


EXPRESSIONS = [*expressions_of_rules(), *expressions_of_the_board()]


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_expression_names_metrics_and_labels_that_exist(where: str, text: str) -> None:
    known = series()
    named = set(METRIC.findall(text)) | ({"up"} if re.search(r"\bup\b", text) else set())
    assert named, f"{where} asks for nothing of ours"
    assert named <= known.keys(), where
    for name, inside in SELECTOR.findall(text):
        for label, _, _ in MATCHER.findall(inside):
            assert label in known[name] | ADDED, f"{where}: {name} has no label {label}"
    for grouped in re.findall(r"\bby \(([^)]*)\)", text):
        labels = {each.strip() for each in grouped.split(",")}
        assert labels <= set.union(*(known[n] for n in named)) | ADDED, where
    assert text.count("(") == text.count(")")
    if "_total" in text:
        assert re.search(r"\b(rate|increase)\(", text), f"{where}: a counter alone says nothing"
    if "_bucket" in text:
        assert "histogram_quantile(" in text
        assert "le" in re.findall(r"\bby \(([^)]*)\)", text)[0]


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_value_that_is_asked_for_can_be(where: str, text: str) -> None:
    """A misspelt state never fires."""
    possible = {
        sample.labels[name]
        for family in parsed(page(metrics(), moment())).values()
        for sample in family.samples
        for name in sample.labels
    } | set(SYNC_RESULTS)
    for _, inside in SELECTOR.findall(text):
        for label, operator, value in MATCHER.findall(inside):
            if label in ADDED or "$" in value:
                continue
            for each in value.split("|") if "~" in operator else [value]:
                there = f'"{each}"' in SOURCE if label == "id" else each in possible
                assert there, f"{where}: {label} is never {each!r}"


def test_every_rule_says_what_happened_and_what_to_do() -> None:
    rules = [r for group in yaml.safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names) >= 15
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            labels = set.union(*(series()[n] for n in METRIC.findall(rule["expr"]) or ["up"])) | ADDED
            assert label in labels, rule["alert"]


def test_the_board_is_one_that_grafana_imports() -> None:
    board: dict[str, Any] = json.loads(BOARD.read_text())
    assert {"title", "uid", "panels", "templating", "schemaVersion"} <= board.keys()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])


# ---- webhooks and log, as documented ----


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", MONITORING, re.DOTALL)


def test_the_documented_receiver_takes_our_deliveries_and_nothing_else() -> None:
    (program,) = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(program, "docs/monitoring.md", "exec"), names)
    note = of_event(event(EventKind.HELD, detail={"reason": "loop"}), first=False)
    assert note is not None
    secret, message = b"s" * 32, Message.of(note, datetime.now(UTC), "")
    headers = message.headers(secret, datetime.now(UTC))
    assert names["verified"](secret, headers, message.body)["type"] == "held"
    old = message.headers(secret, datetime.fromtimestamp(time.time() - 900, UTC))
    for wrong in (
        (b"t" * 32, headers, message.body),
        (secret, headers, message.body + b" "),
        (secret, {**headers, "webhook-id": "msg_other"}, message.body),
        (secret, {**headers, "webhook-timestamp": str(int(time.time()) - 1)}, message.body),
        (secret, old, message.body),
    ):
        with pytest.raises(ValueError):
            names["verified"](*wrong)


def test_the_documented_settings_are_settings() -> None:
    base = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'
    log, hook = blocks("toml")
    assert tomllib.loads(log)
    settings = parse_settings(base + log + hook, "docs/monitoring.md")
    assert set(settings.webhooks["pager"].events) == set(USUAL_NOTICES)


def test_every_word_of_a_webhook_is_documented() -> None:
    table = MONITORING[MONITORING.index("| event | told when |") :]
    words = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))
    assert words == {notice.value for notice in Notice}

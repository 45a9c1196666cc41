"""`why` and `explain` as an operator reads them; and a page for every id that they can meet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.boot.verdicts import RULES
from appliance.cli.why import why_lines
from appliance.doctor.catalogue import CHECKS
from appliance.system.shipped import explained_ids, explanation
from tests.unit.cli.command import Operator
from tests.unit.cli.test_output import ESCAPES, EVENT, EVIL

PACKAGE = Path(__file__).parents[3] / "appliance"
SECTIONS = ["What it means", "How it is known", "Likely causes", "What to do"]
WHY = {
    "machine": "node1",
    "state": "stuck",
    "rung": "bootfile",
    "expected": "ipxe",
    "since": "2025-01-31T04:05:06.789Z",
    "deadline": "2025-01-31T04:05:56.789Z",
    "verdict": {"id": "ipxe-silent", "message": "it is silent", "remedy": "make its port an edge port"},
    "explain": "ipxe-silent",
    "evidence": [{**EVENT, "event": "bootfile", "machine": "node1", "detail": {"file": "snponly.efi"}}],
}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


def test_one_screen_says_where_why_what_to_do_and_what_was_seen(operator: Operator) -> None:
    with operator.daemon(**{"machines/node1/why": (200, WHY)}):
        said = operator.call("why", "node1")
    assert (said.rc, said.err) == (0, "")
    assert said.out.splitlines()[:6] == [
        "node1: stuck, on bootfile since 2025-01-31T04:05:06.789Z",
        "expected    ipxe by 2025-01-31T04:05:56.789Z",
        "why         it is silent",
        "do          make its port an edge port",
        "more        pxe-appliance explain ipxe-silent",
        "seen",
    ]
    assert "snponly.efi" in said.out.splitlines()[6]


def test_json_is_the_daemon_s_own(operator: Operator) -> None:
    with operator.daemon(**{"machines/node1/why": (200, WHY)}):
        assert operator.call("why", "node1", "-o", "json").json() == WHY


def test_a_machine_that_is_well_says_so() -> None:
    lines = list(why_lines({"machine": "n", "state": "idle", "rung": None, "verdict": None, "evidence": []}))
    assert lines == [
        "n: idle, nothing was heard of it",
        "why         nothing is wrong, as far as can be seen",
    ]


def test_many_events_fit_on_a_screen_and_a_download_has_no_deadline() -> None:
    facts = {**WHY, "deadline": None, "evidence": [EVENT] * 60}
    lines = list(why_lines(facts))
    assert len(lines) <= 32
    assert "ipxe, when its download is over" in lines[1]
    assert "last 24 of 60" in lines[5]


def test_what_the_wire_says_moves_no_cursor(operator: Operator) -> None:
    evil = {**WHY, "verdict": {"id": EVIL, "message": EVIL, "remedy": EVIL}, "evidence": [EVENT]}
    with operator.daemon(**{"machines/node1/why": (200, evil)}):
        for form in ([], ["-o", "json"]):
            assert not ESCAPES.search(operator.call("why", "node1", *form).out)


def test_an_unknown_machine_is_refused_with_the_nearest(operator: Operator) -> None:
    refusal = {"kind": "Refused", "message": "there is no machine 'node11'", "hint": "did you mean node1?"}
    with operator.daemon(**{"machines/node11/why": (409, refusal)}):
        said = operator.call("why", "node11")
    assert (said.rc, said.out) == (4, "")
    assert "did you mean node1?" in said.err


# ---- explain ----


def test_explain_lists_and_prints_without_a_daemon(operator: Operator) -> None:
    listed = operator.call("explain")
    assert listed.rc == 0
    assert re.search(r"(?m)^ipxe-silent +the boot file was fetched", listed.out)
    assert operator.call("explain", "ipxe-silent").out == explanation("ipxe-silent")


@pytest.mark.parametrize("name", ["ipxe-silnt", "IPXE-silent", "../../README", "", "x" * 500])
def test_an_unknown_id_is_refused_and_reads_no_file(operator: Operator, name: str) -> None:
    said = operator.call("explain", name)
    assert (said.rc, said.out) == (4, "")
    assert "did you mean ipxe-silent?" in said.err or "lists them" in said.err


def literal_ids(callee: str, *, folder: str) -> Iterator[str]:
    """First arguments of calls of `callee` that are plain texts."""
    for path in (PACKAGE / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if (
                isinstance(node, ast.Call)
                and isinstance(called, ast.Name)
                and called.id in {callee, f"_{callee}"}
            ):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def test_every_id_that_can_be_met_has_a_page() -> None:
    met = {rule.id for rule in RULES} | set(CHECKS)
    problems = set(literal_ids("problem", folder="daemon"))
    findings = set(literal_ids("Finding", folder="images"))
    doubts = set(literal_ids("Doubt", folder="daemon"))
    assert {"dnsmasq", "interface", "sync", "http"} <= problems
    assert {"images-damaged", "images-keys"} <= findings
    missing = (met | problems | findings | doubts) - set(explained_ids())
    assert not missing, f"docs/explain/ID.md is missing for: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("identity", explained_ids())
def test_a_page_has_its_four_parts(identity: str) -> None:
    page = explanation(identity)
    assert re.match(rf"# {identity}: \S", page)
    assert re.findall(r"(?m)^## (.+)$", page) == SECTIONS
    parts = re.split(r"(?m)^## .+$", page)[1:]
    assert all(part.strip() for part in parts)
    assert re.search(r"(?m)^(1\.|- ) ?\S", parts[2]), "causes are a list"
    assert 10 <= page.count("\n") <= 60
    assert all(len(line) <= 130 for line in page.splitlines())


@pytest.mark.parametrize("rule", {rule.id: rule for rule in RULES}.values(), ids=lambda rule: rule.id)
def test_a_verdict_s_page_has_its_title(rule: object) -> None:
    identity, title = getattr(rule, "id", ""), getattr(rule, "title", "")
    if identity not in CHECKS:
        assert explanation(identity).splitlines()[0] == f"# {identity}: {title}"

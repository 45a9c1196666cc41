"""`prove` as an operator reads it, and a page for every fault that it can name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from appliance.system.shipped import explained_ids
from tests.unit.cli.command import Operator

PACKAGE = Path(__file__).parents[3] / "appliance"


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def result(machine: str, arch: int, fault: str = "", message: str = "") -> dict[str, Any]:
    failure = {"rung": "kernel", "id": fault, "message": message, "remedy": "do this"} if fault else None
    rungs = [{"rung": "offer", "state": "passed", "ms": 1.0, "detail": "172.0.1.21, snponly.efi"}]
    return {
        "kind": "result", "machine": machine, "mac": "m", "ip": "i", "network": "pxe", "arch": arch,
        "class": f"class ({arch})", "proven": not fault, "rungs": rungs, "failure": failure, "notes": [],
        "ms": 2.5,
    }  # fmt: skip


def lines(*results: dict[str, Any], others: object = None) -> str:
    failed = sum(r["failure"] is not None for r in results)
    begin = {"kind": "begin", "machines": 2, "classes": ["class (7)"], "walks": len(results)}
    end = {"kind": "end", "walks": len(results), "proven": len(results) - failed, "failed": failed,
           "not_tried": 0, "failures": {}, "seconds": 0.5, "other_servers": others or {}}  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in (begin, *results, end))


def test_all_is_well(operator: Operator) -> None:
    with operator.daemon(post_prove=(200, lines(result("node1", 7), result("node2", 7)))) as daemon:
        said = operator.call("prove", "--arch", "7")
    assert (said.rc, said.err) == (0, "")
    assert "Proven: 2 of 2 walks (2 machines, 1 client class, 0.5 s)." in said.out
    assert daemon.asked[-1] == ("POST /v1/prove", {"machines": [], "archs": [7]})


def test_faults_are_told_once_with_their_machines(operator: Operator) -> None:
    several = [result(f"node{i}", 7, "prove-kernel", "/assets/k: HTTP status 404") for i in range(5)]
    with operator.daemon(post_prove=(200, lines(result("a", 7), *several, others={"pxe": "172.0.1.66"}))):
        said = operator.call("prove")
        facts = operator.call("prove", "-o", "json")
    assert said.rc == facts.rc == 5
    assert said.out.count("HTTP status 404") == 1
    assert "node0, node1, node2 and 2 more" in said.out
    assert "prove-kernel: do this" in said.out
    assert "pxe-appliance explain prove-kernel" in said.out
    assert "Another DHCP server answered too, on pxe: 172.0.1.66" in said.out
    assert "NOT proven: 5 of 6 walks failed" in said.out
    assert facts.json()["proven"] is False
    assert len(facts.json()["results"]) == 6
    assert "kind" not in facts.json()["results"][0]


def test_a_named_machine_is_shown_rung_by_rung(operator: Operator) -> None:
    hostile = result("node1", 7)
    hostile["rungs"][0]["detail"] = "\x1b[31mred"
    with operator.daemon(post_prove=(200, lines(hostile))):
        said = operator.call("prove", "node1")
    assert "ok   offer" in said.out
    assert "\x1b" not in said.out


def test_what_ends_it_early_is_an_error(operator: Operator) -> None:
    begin = json.dumps({"kind": "begin", "machines": 1, "classes": [], "walks": 1}) + "\n"
    error = {
        "kind": "error",
        "error": "Refused",
        "message": "generation 2 came into force",
        "hint": "prove again",
    }
    with operator.daemon(post_prove=(200, begin + json.dumps(error) + "\n")):
        said = operator.call("prove")
    assert said.rc == 4
    assert "generation 2 came into force" in said.err
    with operator.daemon(post_prove=(200, begin)):
        assert operator.call("prove").rc == 5
    assert operator.call("prove").rc == 5  # nobody listens


def test_every_fault_has_a_page() -> None:
    found: set[str] = set()
    for path in (PACKAGE / "daemon").glob("pro*.py"):
        found |= set(re.findall(r'"(prove-[a-z-]+)"', path.read_text()))
    assert {"prove-kernel", "prove-dhcp-silent", "prove-endpoint", "prove-interface"} <= found
    assert found == {name for name in explained_ids() if name.startswith("prove-")}

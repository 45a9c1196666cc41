"""Machines that call home, and whoever says that it is one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.events import EventKind
from appliance.daemon.report import LIMIT, Accepted, Rejected, read_report
from appliance.settings import NetworkMode
from tests.unit.daemon.rooms import AT, LAB, PXE, served

NODE1 = "172.0.1.21"
SERVED = served()


def report(facts: object, client: str = NODE1) -> Accepted | Rejected:
    return read_report(json.dumps(facts).encode(), client, SERVED, AT)


def accepted(facts: object, client: str = NODE1) -> Accepted:
    verdict = report(facts, client)
    assert isinstance(verdict, Accepted)
    return verdict


def test_a_report_is_an_event_of_the_machine_at_that_address() -> None:
    event = accepted({"stage": "installing", "message": "42 %", "facts": {"disk": "sda"}}).event
    assert event.as_json() == {
        "at": "2025-01-31T04:05:06.789Z",
        "event": "report",
        "machine": "node1",
        "mac": "52:54:00:aa:00:01",
        "ip": NODE1,
        "network": "pxe",
        "detail": {"stage": "installing", "message": "42 %", "disk": "sda"},
    }


@pytest.mark.parametrize(
    ("stage", "kind", "installed"),
    [
        ("done", EventKind.DONE, False),
        ("installed", EventKind.DONE, True),
        ("Installed", EventKind.REPORT, False),
        ("", EventKind.REPORT, False),
        ("installed ", EventKind.REPORT, False),
    ],
)
def test_the_stages_that_end_a_boot(stage: str, kind: EventKind, installed: bool) -> None:
    verdict = accepted({"stage": stage})
    assert (verdict.event.kind, verdict.installed) == (kind, installed)


@pytest.mark.parametrize(
    ("facts", "client", "status"),
    [
        ({"stage": "done"}, "172.0.1.99", 403),
        ({"stage": "done"}, "127.0.0.1", 403),
        ({"stage": "done"}, "", 403),
        ({"stage": "done", "mac": "52:54:00:aa:00:02"}, NODE1, 403),
        ({"stage": "done", "mac": "52:54:00:aa:00:02"}, "172.0.1.99", 403),
        ({"stage": "done", "mac": "52:54:00:bb:00:01"}, NODE1, 403),
        ({"stage": "done", "mac": "nonsense"}, NODE1, 403),
        ({"stage": "done", "mac": 5}, NODE1, 403),
        ({"stage": "done", "mac": ["52:54:00:aa:00:01"]}, NODE1, 403),
        ({"stage": 1}, NODE1, 400),
        ({"stage": None}, NODE1, 400),
        ({}, NODE1, 400),
        ([], NODE1, 400),
        ("done", NODE1, 400),
        (None, NODE1, 400),
    ],
)
def test_reports_that_do_not_count(facts: object, client: str, status: int) -> None:
    verdict = report(facts, client)
    assert isinstance(verdict, Rejected)
    assert verdict.status == status
    assert verdict.reason


def test_any_of_its_own_macs_in_any_spelling_is_its_own() -> None:
    assert accepted({"stage": "done", "mac": "52-54-00-AA-00-12"}, "172.0.1.22").event.machine == "node2"


def test_behind_another_server_the_mac_says_who_it_is() -> None:
    now = served((replace(PXE, mode=NetworkMode.PROXY), LAB))
    body = json.dumps({"stage": "done", "mac": "52:54:00:aa:00:02"}).encode()
    verdict = read_report(body, "172.0.1.99", now, AT)
    assert isinstance(verdict, Accepted)
    assert verdict.event.machine == "node2"
    assert isinstance(read_report(body, "172.0.9.99", now, AT), Rejected)


def test_what_it_adds_cannot_pass_for_what_it_said() -> None:
    detail = accepted({"stage": "x", "message": "m", "facts": {"stage": "installed", "message": "z"}}).event
    assert detail.detail == {"stage": "x", "message": "m"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"stage":"\xff"}',
        b"[" * LIMIT,
        b'{"stage":' * 900,
        b"9" * LIMIT,
        b'{"stage":NaN,"a":' + b"1" * 5000 + b"}",
    ],
)
def test_what_is_no_json_is_refused_and_not_a_fault_of_ours(body: bytes) -> None:
    assert isinstance(read_report(body, NODE1, SERVED, AT), Rejected)


def test_no_depth_of_nesting_is_a_fault_of_ours() -> None:
    for depth in (*range(1, 800, 97), *range(800, 1010)):  # where the parser gives up depends on its caller
        body = b'{"stage":"x","message":' + b"[" * depth + b"]" * depth + b"}"
        verdict = read_report(body, NODE1, SERVED, AT)
        assert isinstance(verdict, Rejected) or len(verdict.event.detail["message"]) <= 512


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=600),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=50), below, max_size=20),
    max_leaves=20,
)
_REPORTS = st.fixed_dictionaries(
    {"stage": st.sampled_from(["done", "installed"]) | st.text(max_size=100)},
    optional={"message": _JSON, "mac": _JSON, "facts": _JSON},
)


@given(st.binary(max_size=200) | _REPORTS.map(lambda facts: json.dumps(facts).encode()))
def test_whatever_comes_is_refused_or_a_small_event_of_that_machine(body: bytes) -> None:
    verdict = read_report(body, NODE1, SERVED, AT)
    if isinstance(verdict, Rejected):
        assert verdict.status in {400, 403}
        return
    event = verdict.event
    assert (event.machine, str(event.ip)) == ("node1", NODE1)
    assert len(event.detail) <= 18
    assert all(len(key) <= 32 and len(value) <= 512 for key, value in event.detail.items())
    assert verdict.installed == (event.detail["stage"] == "installed")
    assert json.loads(json.dumps(event.as_json())) == event.as_json()

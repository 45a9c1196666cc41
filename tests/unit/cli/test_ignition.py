"""`machine show NAME --ignition`: of a daemon that runs, of a generation on disk, and of nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.command import Operator

ASKED = {"machines/node1/ignition": (200, '{"ignition":{"version":"3.3.0"},"a":"\u202e"}')}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


def test_the_daemon_s_answer_is_printed_pretty_and_in_ascii(operator: Operator) -> None:
    Path(operator.paths.run).mkdir(parents=True)
    with operator.daemon(**ASKED) as daemon:
        said = operator.call("machine", "show", "node1", "--ignition")
    assert said.rc == 0
    assert said.out == '{\n  "ignition": {\n    "version": "3.3.0"\n  },\n  "a": "\\u202e"\n}\n'
    assert ("GET /v1/machines/node1/ignition", None) in daemon.asked


def test_the_daemon_s_refusal_is_told(operator: Operator) -> None:
    Path(operator.paths.run).mkdir(parents=True)
    refusal = {"kind": "Refused", "message": "node1 boots without Ignition", "hint": "its profile names none"}
    with operator.daemon(**{"machines/node1/ignition": (409, refusal)}):
        said = operator.call("machine", "show", "node1", "--ignition")
    assert said.rc == 4
    assert "boots without Ignition" in said.err


def test_without_a_daemon_it_is_the_current_generation_s(operator: Operator) -> None:
    assert operator.call("sync", "--yes").rc == 0
    said = operator.call("machine", "show", "node1", "--ignition")
    assert said.rc == 0, said.err
    document = json.loads(said.out)
    paths = [file["path"] for file in document["storage"]["files"]]
    assert "/etc/pxe-appliance/call-home.env" in paths
    assert "TOKEN-OF-THE-BOOT" in said.out
    assert "generation 1" in said.err


@pytest.mark.parametrize(
    ("name", "message"),
    [("node2", "node2 boots without Ignition"), ("nobody", "there is no machine 'nobody'")],
)
def test_what_has_none_is_refused(name: str, message: str, operator: Operator) -> None:
    assert operator.call("sync", "--yes").rc == 0
    said = operator.call("machine", "show", name, "--ignition")
    assert (said.rc, said.out) == (4, "")
    assert message in said.err


def test_before_the_first_generation_there_is_nothing(operator: Operator) -> None:
    said = operator.call("machine", "show", "node1", "--ignition")
    assert (said.rc, said.out) == (5, "")
    assert "sync" in said.err

"""An external Matchbox is asked for every machine: what it would boot, who it does not know, and its lies."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.addresses import Mac
from appliance.matchbox.ask import Finding, FindingKind
from appliance.matchbox.asking import ask_all
from appliance.matchbox.external import hand_over
from appliance.matchbox.model import MachineBoot
from appliance.paths import Paths
from appliance.settings import MatchboxSettings, Push
from tests.fakes.matchbox_grpc import Matchbox, matchbox
from tests.push.rooms import Side, by_directory, written
from tests.push.test_grpc import NODE1, NODE2, fine
from tests.unit.matchbox.machines import document, machine

DEADLINE = 30.0
RACK = tuple(machine(f"node{n}") for n in range(1, 13))


@pytest.fixture
def service(data: Path) -> Iterator[Matchbox]:
    """A Matchbox that knows the whole rack."""
    with matchbox(data) as running:
        fine(by_directory(data.parent, running.url, data).hand_over(*RACK))
        running.forget()
        yield running


def ask(
    url: str, *machines: MachineBoot, ignition: bool = False, within: float = 60.0, parallel: int = 4
) -> tuple[Finding, ...]:
    """Ask with little patience, and take no longer than anybody would wait."""
    began = time.monotonic()
    asking = ask_all(url, machines, timeout=1.0, within=within, parallel=parallel, ignition=ignition)
    found = asyncio.run(asking)
    assert time.monotonic() - began < DEADLINE
    return found


def messages(found: tuple[Finding, ...]) -> list[str]:
    return [finding.message for finding in found]


def test_a_rack_that_is_as_it_should_be(service: Matchbox) -> None:
    assert ask(service.url, *RACK) == ()
    asked = [json.loads(line) for line in service.log()]
    assert {"call": "/ipxe", "id": "mac=52-54-00-aa-00-01"} in asked
    assert service.calls() == {"/boot.ipxe": 1, "/ipxe": len(RACK)}


def test_nothing_is_asked_for_a_machine_that_boots_nothing(service: Matchbox) -> None:
    assert ask(service.url, machine("node99", boot=None), MachineBoot("x", ())) == ()
    assert service.calls() == {"/boot.ipxe": 1}


def test_who_is_not_known_is_named(service: Matchbox) -> None:
    bare = MachineBoot("node98", (Mac.parse("52:54:00:aa:00:98"),))
    assert messages(ask(service.url, machine("node99"), *RACK, bare)) == [
        "Matchbox has no group or profile for node99 (52:54:00:aa:00:63)",
        "Matchbox has no group or profile for node98 (52:54:00:aa:00:98)",
    ]


def test_what_a_machine_would_boot_instead_is_named(service: Matchbox) -> None:
    path = service.data / "profiles/pxe-appliance-node7.json"
    path.write_text(path.read_text().replace("a=1", "a=2").replace("/assets/k", "/assets/old"))
    (found,) = ask(service.url, *RACK)
    assert (found.kind, found.machine) == (FindingKind.SCRIPT, "node7")
    assert found.message == (
        "node7 would boot something else: the kernel is http://172.0.1.1:8080/assets/old, "
        "not http://172.0.1.1:8080/assets/k; the argument a is 2, not 1"
    )


def test_a_prefix_of_the_endpoint_is_kept(service: Matchbox) -> None:
    (found,) = ask(f"{service.url}/prefix", NODE1)[:1]
    assert found.message == (
        f"{service.url}/prefix/boot.ipxe, to which DHCP sends every machine, answers 404"
    )
    assert service.log()[0] == json.dumps({"call": "/prefix/boot.ipxe", "id": ""})


# ---- Ignition ----


@pytest.mark.parametrize("flavour", ["0.9", "0.11"])
def test_a_document_is_compared_by_what_it_does(data: Path, tmp_path: Path, flavour: str) -> None:
    machines = (NODE1, machine("node3", ignition=document("3.1.0")))
    with matchbox(data, flavour=flavour) as service:
        fine(by_directory(tmp_path, service.url, data).hand_over(*machines))
        assert service.calls()["/ignition"] == 2
        changed = machine("node3", ignition=document(content="another"))
        assert messages(ask(service.url, NODE1, changed, ignition=True)) == [
            "node3 would be configured otherwise: storage.files./etc/hostname.contents.source differs"
        ]
        assert ask(service.url, NODE1, changed) == (), "only where it is ours"


@pytest.mark.parametrize("content", [document("3.5.0"), document("2.3.0"), b"{", b""])
def test_an_empty_answer_with_status_200_is_found_out(data: Path, tmp_path: Path, content: bytes) -> None:
    with matchbox(data) as service:
        fine(by_directory(tmp_path, service.url, data).hand_over(NODE1))
        written(data, [("ignition/pxe-appliance-node1.ign", content)])
        assert messages(ask(service.url, NODE1, ignition=True)) == [
            (
                "node1 would be configured otherwise: it is an empty configuration: "
                "Matchbox could not read the document (see its log)"
            )
        ]
        (data / "ignition/pxe-appliance-node1.ign").unlink()
        assert messages(ask(service.url, NODE1, ignition=True)) == [
            "node1: Matchbox answers 404 where its Ignition should be; its log says why"
        ]


def test_a_large_document_is_no_lie(data: Path, tmp_path: Path) -> None:
    large = machine("node1", ignition=document(content="x" * (2 << 20)))
    with matchbox(data) as service:
        fine(by_directory(tmp_path, service.url, data).hand_over(large))


# ---- down, slow, lying ----


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("html", "node5: Matchbox answers /ipxe?mac=52-54-00-aa-00-05 with a web page: is there a proxy or"),
        ("endless", "node5: Matchbox sends more than 1048576 bytes for /ipxe?mac=52-54-00-aa-00-05"),
        ("redirect", "node5: Matchbox redirects /ipxe?mac=52-54-00-aa-00-05 to https://login.example.com/"),
        ("stall", "node5: Matchbox does not answer: not done after 1 s"),
        ("drip", "node5: Matchbox does not answer: not done after 1 s"),
        ("close", "node5: Matchbox does not answer: Server disconnected"),
        (500, "node5: Matchbox says 500 to /ipxe?mac=52-54-00-aa-00-05"),
        (403, "node5: Matchbox says 403 to /ipxe?mac=52-54-00-aa-00-05"),
    ],
)
def test_one_answer_that_is_wrong_is_that_machine_s(service: Matchbox, fault: object, expected: str) -> None:
    service.faults(http={"/ipxe?mac=52-54-00-aa-00-05": fault})
    (found,) = ask(service.url, *RACK)
    assert found.machine == "node5"
    assert found.message.startswith(expected)


@pytest.mark.parametrize(
    ("fault", "kind", "expected"),
    [
        ("html", FindingKind.ENDPOINT, ", to which DHCP sends every machine, is no boot script but a web"),
        ("endless", FindingKind.ENDPOINT, ", to which DHCP sends every machine, sends more than 1048576"),
        ("redirect", FindingKind.ENDPOINT, ", to which DHCP sends every machine, redirects /boot.ipxe to"),
        ("stall", FindingKind.DOWN, " does not answer: not done after 1 s"),
        ("drip", FindingKind.DOWN, " does not answer: not done after 1 s"),
        ("close", FindingKind.DOWN, " does not answer: Server disconnected"),
        (502, FindingKind.DOWN, " does not answer: it says 502"),
    ],
)
def test_an_endpoint_that_is_wrong_is_one_finding(
    service: Matchbox, fault: object, kind: FindingKind, expected: str
) -> None:
    service.faults(http=dict.fromkeys(("/boot.ipxe", "/ipxe"), fault))
    (found,) = ask(service.url, *RACK)
    assert (found.kind, found.machine) == (kind, "")
    assert expected in found.message
    assert service.calls()["/ipxe"] == 0


@pytest.mark.parametrize("fault", ["stall", "close"])
def test_an_endpoint_that_falls_silent_is_one_finding(service: Matchbox, fault: str) -> None:
    service.faults(http={"/ipxe": fault})
    many = [machine(f"node{n}") for n in range(1, 100)]
    (found,) = ask(service.url, *many)
    assert found.kind is FindingKind.DOWN
    assert service.calls()["/ipxe"] < 20, "nobody asks on"


def test_nobody_there_is_one_finding() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        (found,) = ask(url, *RACK)
    assert found.kind is FindingKind.DOWN
    assert found.message == f"Matchbox at {url} does not answer: Connection refused"


def test_an_endpoint_that_was_never_ours_to_trust(service: Matchbox) -> None:
    (found,) = ask(service.url.replace("http:", "https:"), *RACK)
    assert found.kind is FindingKind.DOWN


def test_a_slow_endpoint_is_asked_for_as_many_as_there_is_time(service: Matchbox) -> None:
    service.faults(http={f"/ipxe?mac={m.macs[0].dashed}": "slow" for m in RACK})
    (found,) = ask(service.url, *RACK, within=1.0, parallel=2)
    assert found.kind is FindingKind.ENDPOINT
    assert found.message.startswith(f"Matchbox at {service.url} is slow: in 1 s it could be asked for ")
    assert found.message.endswith(" of 12 machines; the others were not compared")
    assert service.calls()["/ipxe"] < len(RACK)


# ---- the hand-off as a whole ----


def test_without_a_push_it_is_only_asked(service: Matchbox, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in service.data.rglob("*.json")}
    side = Side(tmp_path, MatchboxSettings(service.url))
    report = side.hand_over(*RACK[:3], machine("node99"))
    assert report.written == report.deleted == ()
    assert report.problems() == ("Matchbox has no group or profile for node99 (52:54:00:aa:00:63)",)
    assert report.reachable
    assert {p: p.read_bytes() for p in service.data.rglob("*.json")} == before


def test_a_rack_that_nobody_knows_is_a_few_sentences(service: Matchbox, tmp_path: Path) -> None:
    strangers = [machine(f"node{n}") for n in range(100, 140)]
    report = Side(tmp_path, MatchboxSettings(service.url)).hand_over(*strangers)
    assert len(report.findings) == 40
    assert [finding.machine for finding in report.findings] == [m.name for m in strangers]
    assert len(report.problems()) == 11
    assert report.problems()[-1] == "the same (missing) for 30 more machines"


def test_an_endpoint_that_is_down_is_in_the_report(tmp_path: Path, data: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        report = by_directory(tmp_path, f"http://127.0.0.1:{port}", data).hand_over(NODE2)
    assert len(report.written) == 2, "the files are no less right for that"
    assert not report.reachable
    assert report.problems() == (f"Matchbox at http://127.0.0.1:{port} does not answer: Connection refused",)


def test_what_is_done_is_said_while_it_is_done(service: Matchbox, tmp_path: Path) -> None:
    said: list[str] = []
    settings = MatchboxSettings(service.url, data=str(service.data), push=Push.DIRECTORY)
    report = asyncio.run(hand_over(settings, Paths(), RACK[:2], said.append))
    assert said == ["pushing 0 objects, deleting 20", f"asking {service.url} for 2 machines"]
    assert report.summary() == ("0 objects written, 20 deleted",)

"""Which rung an answered request is, and whose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.boot.events import EventKind, Refusal
from appliance.daemon.requests_seen import client_address, event_of, machine_of
from appliance.daemon.served import Served
from appliance.inventory.model import Machine
from appliance.matchbox.request import RequestKind, RequestRecord
from appliance.settings import MatchboxSettings, NetworkMode
from tests.unit.daemon.rooms import AT, LAB, PXE, served

R, K = RequestKind, EventKind
NODE1 = "172.0.1.21"


def asked(
    kind: RequestKind,
    path: str,
    client: str = NODE1,
    *,
    status: int = 200,
    method: str = "GET",
    complete: bool = True,
    machine: str | None = None,
    reason: str | None = None,
    to: str = "",
) -> RequestRecord:
    return RequestRecord(
        kind, client, method, path, status, 7, complete, machine=machine, reason=reason, to=to
    )


def rung(record: RequestRecord) -> EventKind | None:
    event = event_of(record, served(), AT)
    return event.kind if event else None


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        (R.SCRIPT, "/ipxe", K.SCRIPT),
        (R.GRUB, "/grub", K.SCRIPT),
        (R.IGNITION, "/ignition", K.IGNITION),
        (R.ASSET, "/assets/ipxe/undionly.kpxe", K.BOOTFILE),
        (R.ASSET, "/assets/ipxe/autoexec.ipxe", None),
        (R.ASSET, "/assets/lab/vmlinuz", K.KERNEL),
        (R.ASSET, "/assets/lab/initrd.gz", K.INITRD),
        (R.ASSET, "/assets/lab/other", None),
        (R.ASSET, "/assets/lab/vmlinuz.sig", None),
        (R.METADATA, "/metadata", None),
        (R.GENERIC, "/generic", None),
    ],
)
def test_what_a_request_says_of_a_boot(kind: RequestKind, path: str, expected: EventKind | None) -> None:
    assert rung(asked(kind, path)) is expected


def test_a_part_counts_and_a_question_does_not() -> None:
    kernel = asked(R.ASSET, "/assets/lab/vmlinuz")
    assert rung(replace(kernel, status=206)) is K.KERNEL
    assert rung(replace(kernel, status=304)) is None
    assert rung(replace(kernel, method="HEAD")) is None


@pytest.mark.parametrize("status", [400, 403, 404, 416, 500, 503])
def test_an_error_is_told_with_its_reason(status: int) -> None:
    event = event_of(asked(R.SCRIPT, "/ipxe", status=status, reason="no group"), served(), AT)
    assert event is not None
    assert event.kind is K.HTTP_ERROR
    assert event.detail == {"path": "/ipxe", "status": str(status), "reason": "no group"}


@pytest.mark.parametrize(
    ("kind", "path"),
    [(R.SCRIPT, "/ipxe"), (R.IGNITION, "/ignition"), (R.ASSET, "/assets/ipxe/snponly.efi")],
)
def test_a_stranger_who_is_given_something_is_a_stray_and_on_no_ladder(kind: RequestKind, path: str) -> None:
    event = event_of(asked(kind, path, "172.0.1.99", machine="node2"), served(), AT)
    assert event is not None
    assert (event.kind, event.machine, event.detail["claims"]) == (K.STRAY, None, "node2")
    ourselves = asked(kind, path, str(PXE.address))
    assert event_of(ourselves, served(), AT) is None


def test_a_transfer_that_broke_off_is_an_error() -> None:
    assert rung(asked(R.ASSET, "/assets/lab/vmlinuz", complete=False)) is K.HTTP_ERROR
    assert rung(asked(R.ASSET, "/assets/lab/vmlinuz", complete=False, status=206)) is K.HTTP_ERROR
    assert rung(asked(R.ASSET, "/assets/lab/vmlinuz", complete=False, status=304)) is None


def test_an_event_says_who_and_what() -> None:
    event = event_of(asked(R.ASSET, "/assets/ipxe/snponly.efi"), served(), AT)
    assert event is not None
    assert event.as_json() == {
        "at": "2025-01-31T04:05:06.789Z",
        "event": "bootfile",
        "machine": "node1",
        "mac": "52:54:00:aa:00:01",
        "ip": NODE1,
        "network": "pxe",
        "detail": {
            "path": "/assets/ipxe/snponly.efi",
            "status": "200",
            "bytes": "7",
            "file": "snponly.efi",
        },
    }


@pytest.mark.parametrize("to", ["disk", "held"])
def test_only_a_script_sends_elsewhere(to: str) -> None:
    script = event_of(asked(R.SCRIPT, "/ipxe", to=to), served(), AT)
    ignition = event_of(asked(R.IGNITION, "/ignition", to=to), served(), AT)
    assert script is not None
    assert ignition is not None
    assert script.detail["to"] == to
    assert "to" not in ignition.detail


def test_the_first_script_counts_where_it_is_the_last_that_we_see() -> None:
    """An external Matchbox tells nothing of its own; on its way to its disk a machine asks no more."""
    ours, theirs = served(), _external()
    chain = asked(R.CHAIN, "/boot.ipxe")
    assert event_of(chain, ours, AT) is None
    for to in ("disk", "held"):
        script = event_of(replace(chain, to=to), ours, AT)
        assert script is not None
        assert (script.kind, script.detail["to"]) == (K.SCRIPT, to)
    script = event_of(chain, theirs, AT)
    assert script is not None
    assert (script.kind, script.machine) == (K.SCRIPT, "node1")
    assert "to" not in script.detail


def test_a_held_machine_s_event_names_the_way_out() -> None:
    held = event_of(asked(R.SCRIPT, "/ipxe", machine="node1", to="held", reason="why"), served(), AT)
    assert held is not None
    assert held.detail["remedy"] == "pxe-appliance machine release node1"
    assert held.detail["reason"] == "why"
    assert "claims" not in held.detail


def _external() -> Served:
    now = served()
    matchbox = MatchboxSettings("http://matchbox.example.com:8080")
    return replace(now, settings=replace(now.settings, matchbox=matchbox))


def test_an_address_that_we_give_outranks_a_claim() -> None:
    event = event_of(asked(R.SCRIPT, "/ipxe", machine="node2"), served(), AT)
    assert event is not None
    assert (event.machine, event.detail["claims"]) == ("node1", "node2")


@pytest.mark.parametrize(
    ("mode", "client", "claims", "expected"),
    [
        (NetworkMode.DHCP, "172.0.1.99", "node2", None),
        (NetworkMode.PROXY, "172.0.1.99", "node2", "node2"),
        (NetworkMode.PROXY, "172.0.1.99", None, None),
        (NetworkMode.PROXY, "172.0.1.99", "ghost", None),
        (NetworkMode.PROXY, "172.0.9.99", "node2", None),
        (NetworkMode.PROXY, NODE1, "node2", "node1"),
        (NetworkMode.PROXY, "", "node2", None),
        (NetworkMode.PROXY, "::1", "node2", None),
    ],
)
def test_a_claim_counts_where_another_server_gives_the_addresses(
    mode: NetworkMode, client: str, claims: str | None, expected: str | None
) -> None:
    now = served((replace(PXE, mode=mode), LAB))
    found: Machine | None = machine_of(asked(R.SCRIPT, "/ipxe", client, machine=claims), now)
    assert (str(found.name) if found else None) == expected


@pytest.mark.parametrize("text", ["", "::1", "::ffff:172.0.1.21", "172.0.1.021", "172.0.1", "x", "1" * 5000])
def test_what_is_no_ipv4_address_is_none(text: str) -> None:
    assert client_address(text) is None


def test_what_is_told_of_a_hostile_request_is_bounded() -> None:
    record = asked(R.ASSET, "/assets/" + "x" * 8000, "10.9.9.9", status=404, reason="y" * 8000)
    event = event_of(record, served(), AT)
    assert event is not None
    assert event.machine is None
    assert sum(map(len, event.detail.values())) < 600


def test_the_name_of_a_refusal_stands_beside_its_sentence() -> None:
    """Verdicts go by the name: a sentence may be worded anew."""
    refused = RequestRecord(
        RequestKind.SCRIPT,
        "172.0.1.21",
        "GET",
        "/ipxe",
        404,
        reason="no group matches",
        code=Refusal.NO_PROFILE,
    )
    found = event_of(refused, served(), AT)
    assert found is not None
    assert (found.kind, found.detail["code"]) == (EventKind.HTTP_ERROR, "no-profile")

"""Which rung an answered request is, and whose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.boot.events import EventKind
from appliance.daemon.requests_seen import client_address, event_of, machine_of
from appliance.inventory.model import Machine
from appliance.matchbox.request import RequestKind, RequestRecord
from appliance.settings import NetworkMode
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
) -> RequestRecord:
    return RequestRecord(
        kind, client, method, path, status, 7, complete, machine=machine, group=None, reason=reason
    )


def rung(record: RequestRecord) -> EventKind | None:
    event = event_of(record, served(), AT, to_disk=False)
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
    event = event_of(asked(R.SCRIPT, "/ipxe", status=status, reason="no group"), served(), AT, to_disk=False)
    assert event is not None
    assert event.kind is K.HTTP_ERROR
    assert event.detail == {"path": "/ipxe", "status": str(status), "reason": "no group"}


@pytest.mark.parametrize(
    ("kind", "path"),
    [(R.SCRIPT, "/ipxe"), (R.IGNITION, "/ignition"), (R.ASSET, "/assets/ipxe/snponly.efi")],
)
def test_a_stranger_who_is_given_something_is_a_stray_and_on_no_ladder(kind: RequestKind, path: str) -> None:
    event = event_of(asked(kind, path, "172.0.1.99", machine="node2"), served(), AT, to_disk=False)
    assert event is not None
    assert (event.kind, event.machine, event.detail["claims"]) == (K.STRAY, None, "node2")
    ourselves = asked(kind, path, str(PXE.address))
    assert event_of(ourselves, served(), AT, to_disk=False) is None


def test_a_transfer_that_broke_off_is_an_error() -> None:
    assert rung(asked(R.ASSET, "/assets/lab/vmlinuz", complete=False)) is K.HTTP_ERROR
    assert rung(asked(R.ASSET, "/assets/lab/vmlinuz", complete=False, status=206)) is K.HTTP_ERROR
    assert rung(asked(R.ASSET, "/assets/lab/vmlinuz", complete=False, status=304)) is None


def test_an_event_says_who_and_what() -> None:
    event = event_of(asked(R.ASSET, "/assets/ipxe/snponly.efi"), served(), AT, to_disk=False)
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


def test_only_a_script_sends_to_the_disk() -> None:
    script = event_of(asked(R.SCRIPT, "/ipxe"), served(), AT, to_disk=True)
    ignition = event_of(asked(R.IGNITION, "/ignition"), served(), AT, to_disk=True)
    assert script is not None
    assert ignition is not None
    assert script.detail["to"] == "disk"
    assert "to" not in ignition.detail


def test_an_address_that_we_give_outranks_a_claim() -> None:
    event = event_of(asked(R.SCRIPT, "/ipxe", machine="node2"), served(), AT, to_disk=False)
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
    event = event_of(record, served(), AT, to_disk=False)
    assert event is not None
    assert event.machine is None
    assert sum(map(len, event.detail.values())) < 600

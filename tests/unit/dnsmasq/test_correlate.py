"""Log lines in, events out."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.dnsmasq.correlate import Correlator
from appliance.dnsmasq.log import parse
from tests.unit.dnsmasq.test_log import lines

AT = datetime(2025, 1, 31, 4, 5, 6, tzinfo=UTC)
NODE1 = "52:54:00:00:00:01"


class Rack:
    def machine_of(self, mac: Mac) -> tuple[str, str] | None:
        known = {
            NODE1: ("node1", "pxe"),
            "52:54:00:00:00:02": ("node2", "pxe"),
            "52:54:00:00:00:07": ("node7", "lab"),
        }
        return known.get(str(mac))

    def other_nic(self, mac: Mac) -> tuple[str, str] | None:
        return ("node1", "eno2") if str(mac) == "52:54:00:00:00:f1" else None

    def machine_at(self, ip: IPv4Address) -> tuple[str, Mac] | None:
        return ("node1", Mac.parse(NODE1)) if str(ip) == "172.0.1.11" else None


def fold(*said: str, service: str = "-dhcp", flush: bool = True) -> list[Event]:
    made = Correlator("pxe", Rack(), first_stage=frozenset({"snponly.efi"}), refused={11: "apt install it"})
    events = [event for line in said for event in made.step(parse(f"dnsmasq{service}[1]: {line}"), AT)]
    return events + (made.flush(AT) if flush else [])


SUBNET = "1 available DHCP subnet: 172.0.1.0/255.255.255.0"


def heard(mac: str, *more: str, xid: int = 1) -> tuple[str, ...]:
    return (SUBNET.replace("1 ", f"{xid} ", 1), *more, f"{xid} DHCPDISCOVER(pxe0) {mac} ignored")


def test_the_recorded_session_with_and_without_details() -> None:
    for name in ("corpus-log-dhcp.log", "corpus-plain.log"):
        made = Correlator("pxe", Rack())
        events = [e for line in lines(name) for e in made.step(parse(line), AT)] + made.flush(AT)
        kinds = [e.kind for e in events]
        assert kinds.count(EventKind.DISCOVER) == 6
        assert kinds.count(EventKind.OFFER) == 6
        assert kinds.count(EventKind.ACK) == 7, "an INFORM's answer gives no address"
        assert kinds.count(EventKind.NAK) == 4
        assert kinds.count(EventKind.ROGUE_SERVER) == 1
        assert kinds.count(EventKind.DECLINE) == 1
        assert kinds.count(EventKind.IPXE) == (1 if "log-dhcp" in name else 0)


def test_one_exchange_becomes_events_with_everything_known() -> None:
    said = (
        SUBNET,
        "1 vendor class: PXEClient:Arch:00007:UNDI:003000",
        f"1 DHCPDISCOVER(pxe0) {NODE1} ",
        "1 tags: b-7, known, pxe0",
        f"1 DHCPOFFER(pxe0) 172.0.1.11 {NODE1} ",
        "1 bootfile name: snponly.efi",
        "1 next server: 172.0.1.1",
        "1 sent size:  1 option: 53 message-type  2",
    )
    discover, offer = fold(*said, flush=False)
    assert (discover.kind, discover.machine, discover.network, discover.at) == (
        EventKind.DISCOVER,
        "node1",
        "pxe",
        AT,
    )
    assert discover.detail == {
        "xid": "1",
        "stage": "firmware",
        "class": "x86-64 UEFI (7)",
        "vendor_class": "PXEClient:Arch:00007:UNDI:003000",
        "subnet": "172.0.1.0/24",
    }
    assert (offer.kind, offer.ip, offer.detail["boot_file"]) == (
        EventKind.OFFER,
        IPv4Address("172.0.1.11"),
        "snponly.efi",
    )


def test_the_stage_comes_from_tag_user_class_or_vendor_class() -> None:
    def stage(*said: str) -> str:
        return fold(SUBNET, *said[:-1], f"1 DHCPDISCOVER(pxe0) {NODE1} ", said[-1])[0].detail["stage"]

    assert stage("1 vendor class: PXEClient", "1 tags: known") == "firmware"
    assert stage("1 vendor class: PXEClient", "1 user class: iPXE", "1 tags: known") == "ipxe"
    assert stage("1 vendor class: PXEClient", "1 tags: known, ipxe") == "ipxe"
    assert stage("1 vendor class: udhcp 1.35.0", "1 tags: known") == "os"


def test_a_refusal_has_a_reason() -> None:
    arm = "1 vendor class: PXEClient:Arch:00011:UNDI:003000"
    cases = {
        heard("52:54:00:00:00:99"): (EventKind.STRAY, None, "not-in-inventory"),
        heard("52:54:00:00:00:f1"): (EventKind.IGNORED, "node1", "other-nic"),
        heard("52:54:00:00:00:07"): (EventKind.IGNORED, "node7", "wrong-network"),
        heard(NODE1, arm): (EventKind.IGNORED, "node1", "no-boot-file"),
        heard(NODE1, "1 vendor class: HTTPClient:Arch:00015:UNDI:1"): (
            EventKind.IGNORED,
            "node1",
            "no-boot-file",
        ),
        heard(NODE1): (EventKind.IGNORED, "node1", "not-served"),
        (SUBNET, f"1 BOOTP(pxe0) {NODE1} ignored"): (EventKind.IGNORED, "node1", "bootp"),
        (SUBNET, f"1 DHCPDISCOVER(pxe0) {NODE1} no address available"): (
            EventKind.IGNORED,
            "node1",
            "no-address",
        ),
    }
    for said, (kind, machine, code) in cases.items():
        (event,) = fold(*said, flush=False)
        assert (event.kind, event.machine, event.detail["code"]) == (kind, machine, code)
    (event,) = fold(*heard(NODE1, arm))
    assert event.detail["reason"] == "no boot file for client class arm64 UEFI (11)"
    assert event.detail["remedy"] == "apt install it"


def test_lost_lines_join_nothing_that_does_not_belong_together() -> None:
    events = fold(
        SUBNET,
        "1 user class: iPXE",
        f"1 DHCPDISCOVER(pxe0) {NODE1} ",
        "2 DHCPOFFER(pxe0) 172.0.1.12 52:54:00:00:00:02 ",
    )
    assert [(e.kind, e.machine, e.detail["stage"]) for e in events] == [
        (EventKind.DISCOVER, "node1", "ipxe"),
        (EventKind.OFFER, "node2", "os"),
    ]


def test_client_text_is_cut() -> None:
    (event,) = fold(*heard("52:54:00:00:00:99", f"1 vendor class: {'A' * 900}"))
    assert len(event.detail["vendor_class"]) == 255


def test_tftp() -> None:
    (sent,) = fold("sent /t/snponly.efi to 172.0.1.11", service="-tftp")
    assert (sent.kind, sent.machine, str(sent.mac), sent.detail) == (
        EventKind.BOOTFILE,
        "node1",
        NODE1,
        {"file": "snponly.efi"},
    )
    assert fold("sent /t/other to 172.0.1.11", service="-tftp") == []
    assert fold("file /t/autoexec.ipxe not found for 172.0.1.11", service="-tftp") == []
    (missing,) = fold("file /t/x not found for 172.0.1.99", service="-tftp")
    assert (missing.kind, missing.machine, missing.ip) == (
        EventKind.TFTP_ERROR,
        None,
        IPv4Address("172.0.1.99"),
    )
    # UEFI asks for the size, then breaks off: two lines, no fault.
    probe = (
        "error 8 User aborted the transfer received from 172.0.1.11",
        "failed sending /t/snponly.efi to 172.0.1.11",
    )
    assert fold(*probe, service="-tftp") == []
    assert [e.kind for e in fold(probe[1], service="-tftp")] == [EventKind.TFTP_ERROR]


def test_memory_is_bounded() -> None:
    made = Correlator("pxe", Rack())
    for i in range(5000):
        ip = f"10.{i // 250 % 250}.{i % 250}.1"
        made.step(parse(f"dnsmasq-dhcp[1]: DHCPACK(pxe0) {ip} 52:54:00:00:00:99"), AT)
        made.step(parse(f"dnsmasq-tftp[1]: error 0 x received from {ip}"), AT)
    assert len(made._seen_at) <= 1024
    assert len(made._aborted) <= 1024

"""Every line of the recorded logs is accounted for; hostile ones stay data."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.addresses import Mac
from appliance.dnsmasq import records as r
from appliance.dnsmasq.log import LONGEST_LINE, parse

CORPUS = Path(__file__).parent.parent.parent / "corpus" / "dnsmasq-logs"
NODE1 = Mac.parse("52:54:00:00:00:01")


def lines(name: str) -> list[str]:
    """The log lines of a recording; lines with ### say what was done to provoke the next ones."""
    text = (CORPUS / name).read_text(errors="replace")
    return [line for line in text.split("\n") if line and not line.startswith("###")]


@pytest.mark.parametrize("name", ["corpus-log-dhcp.log", "corpus-plain.log"])
def test_no_recorded_line_is_unrecognised(name: str) -> None:
    parsed = [parse(line) for line in lines(name)]
    assert [record for record in parsed if isinstance(record, r.Unrecognised)] == []
    counts = Counter(type(record).__name__ for record in parsed)
    assert (counts["Discover"], counts["Offer"], counts["Request"], counts["Ack"]) == (6, 6, 11, 8)
    assert (counts["Nak"], counts["Ignored"], counts["NoAddress"]) == (4, 4, 4)
    assert (counts["HostsRead"], counts["HostsRejected"], counts["CannotRead"]) == (2, 2, 1)


def test_the_time_stamp_of_a_log_file_changes_nothing() -> None:
    for line in lines("corpus-log-dhcp.log"):
        assert parse(f"Nov  2 22:19:15 {line}") == parse(line)


X = "dnsmasq-dhcp[7]: 3198197565 "


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (f"{X}DHCPDISCOVER(pxe0) 52:54:00:00:00:01 ", r.Discover(3198197565, "pxe0", None, NODE1, "")),
        (
            f"{X}DHCPDISCOVER(pxe0) 172.0.1.9 52:54:00:00:00:01 ignored",
            r.Ignored(3198197565, "pxe0", IPv4Address("172.0.1.9"), NODE1, "ignored", "DHCPDISCOVER"),
        ),
        (
            "dnsmasq-dhcp: DHCPACK(eno4.7) 172.0.1.11 52:54:00:00:00:01 node1",
            r.Ack(None, "eno4.7", IPv4Address("172.0.1.11"), NODE1, "node1"),
        ),
        (
            f"{X}BOOTP(pxe0) 06-52:54:00:00:00:02 ignored",
            r.Ignored(3198197565, "pxe0", None, None, "ignored", "BOOTP"),
        ),
        (f"{X}tags: b-7, known, pxe0", r.Tags(3198197565, frozenset({"b-7", "known", "pxe0"}))),
        (f"{X}sent size:  1 option: 53 message-type  5", r.SentOption(3198197565, 53, "message-type  5")),
        (
            "dnsmasq[7]: bad DHCP host name at line 4 of /var/lib/x/hosts",
            r.HostsRejected("bad DHCP host name", 4, "/var/lib/x/hosts"),
        ),
        (
            "dnsmasq[7]: cannot read /var/lib/x/hosts: No such file or directory",
            r.CannotRead("/var/lib/x/hosts", "No such file or directory"),
        ),
        (
            "dnsmasq-dhcp: not using configured address 172.0.1.21 because it is leased to 52:54:00:00:00:01",
            r.NotUsingConfigured(IPv4Address("172.0.1.21"), "it is leased to another", NODE1),
        ),
        ("dnsmasq-tftp[7]: sent /t/a b to 172.0.1.5", r.TftpSent("/t/a b", IPv4Address("172.0.1.5"))),
        ("dnsmasq[7]: overflow: 12 log entries lost", r.LinesLost(12)),
        (
            "dnsmasq: failed to create listening socket: x",
            r.StartFailed("failed to create listening socket: x"),
        ),
    ],
)
def test_lines(line: str, record: r.Record) -> None:
    assert parse(line) == record


@pytest.mark.parametrize(
    "line",
    [
        "",
        "DHCPACK(pxe0) 172.0.1.11 52:54:00:00:00:01 node1",
        "dnsmasq-dhcp[7]: 999.1.1.1",
        "dnsmasq-dhcp[7]: 1 DHCPACK(pxe0) 999.0.1.11 52:54:00:00:00:01 x",
        "dnsmasq-dhcp[7]: 1 available DHCP subnet: 172.0.1.0/25.255.255.0",
        "dnsmasq-dhcp[7]: 1 something new: x",
        "dnsmasq-tftp[7]: read /var/lib/x/hosts",
        "other[7]: read /var/lib/x/hosts",
    ],
)
def test_what_it_does_not_know_it_says_so(line: str) -> None:
    assert parse(line) == r.Unrecognised(line)


def test_a_client_cannot_forge_a_line() -> None:
    """What a client says stands behind the words of dnsmasq, whatever it imitates."""
    fake = "dnsmasq-dhcp[7]: 1 DHCPACK(pxe0) 172.0.1.11 52:54:00:00:00:01 node1"
    assert parse(f"{X}vendor class: {fake}") == r.VendorClass(3198197565, fake)
    assert parse(f"{X}client provides name: {fake}") == r.ClientName(3198197565, fake)
    sent = parse("dnsmasq-tftp[7]: file /t/x to 9.9.9.9 not found for 1.1.1.1 not found for 172.0.1.5")
    assert isinstance(sent, r.TftpError)
    assert sent.ip == IPv4Address("172.0.1.5")


@given(st.text(max_size=3000))
def test_any_text_is_read_without_a_fault_and_bounded(text: str) -> None:
    for prefix in (
        "",
        "dnsmasq[1]: ",
        "dnsmasq-dhcp[1]: 12 ",
        "dnsmasq-dhcp[1]: 12 tags: ",
        "dnsmasq-tftp[1]: sent /",
    ):
        record = parse(prefix + text)
        if isinstance(record, r.Unrecognised):
            assert len(record.text) <= LONGEST_LINE

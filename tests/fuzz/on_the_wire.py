"""Parsers of what the wire says: clients, servers that are not ours, and whoever writes what dnsmasq logs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Final

from immutables import Map

from appliance.addresses import Mac
from appliance.boot import firmware
from appliance.boot.dhcp_packet import DhcpPacket, encode, parse, without_options
from appliance.boot.events import Event
from appliance.boot.ladder import Ladder, climb
from appliance.daemon import ledger, sightings
from appliance.daemon.log_lines import Line, Severity, as_journal, as_json, as_text
from appliance.daemon.overheard import (
    Overheard,
    answering_server,
    chosen_server,
    client_uuid,
    offered_address,
    offered_file,
)
from appliance.daemon.passes import HEADER, Passes
from appliance.daemon.report import LIMIT, Accepted, Rejected, read_report
from appliance.daemon.requests_seen import event_of
from appliance.daemon.visitors import refusal
from appliance.dnsmasq.correlate import Correlator
from appliance.dnsmasq.log import LONGEST_LINE
from appliance.dnsmasq.log import parse as parse_line
from appliance.dnsmasq.records import Record
from appliance.matchbox.answer import World, answer, kind_of, signature_path
from appliance.matchbox.conditional import Decision, Version, decide
from appliance.matchbox.labels import parse_query
from appliance.matchbox.model import Boot, Group, Profile
from appliance.matchbox.request import RequestRecord
from appliance.matchbox.snapshot import Snapshot
from appliance.matchbox.target import Target, quote_path, read_target
from appliance.matchbox.template_parse import parse_template
from tests.fuzz.parser import Parser, any_text
from tests.fuzz.tftp_liar import ask_doctor, ask_prove
from tests.unit.daemon.rooms import AT, served

_SERVED: Final = served()
_NODE1: Final = "172.0.1.21"
_OURS: Final = frozenset({IPv4Address("172.0.1.1")})
_CHANGED: Final = datetime(2025, 1, 31, 4, 5, 6, tzinfo=UTC)
_WORLD: Final = World(
    Snapshot.of(
        [
            Group("g1", "p1", {"mac": "52:54:00:aa:00:01"}, {"pass": "a b"}, file="groups/g1.json"),
            Group("g2", "p1", {"os": "installed"}, {"deep": {"er": 1}}, file="groups/g2.json"),
        ],
        {"p1": Profile("p1", "", Boot("/k", ("/i",), ("a=${uuid}",)), "p1.ign", "p1.txt", "p1.yaml")},
        {
            "generic/p1.txt": parse_template("{{.mac}} {{.request.query.os}} {{.request.raw_query}}\n"),
            "cloud/p1.yaml": parse_template("#cloud-config\nx: {{.request.query.os}}\n"),
        },
    )
)


def _line(data: bytes) -> object:
    return parse_line(any_text(data))


def _log(data: bytes) -> list[Event]:
    """A whole log on its way to events, ladders, ledger, sightings, and the daemon's own log."""
    correlator = Correlator("pxe", _Rack())
    events: list[Event] = []
    climbed, strays, seen = Ladder(), ledger.Ledger(), Map[str, sightings.Sighting]()
    for line in any_text(data).split("\n")[:2000]:
        events += correlator.step(parse_line(line), AT)
    events += correlator.flush(AT)
    for event in events:
        climbed = climb(climbed, event)
        strays = ledger.after_event(strays, event, _SERVED, 1.0, lambda _: False)
        seen = sightings.after_event(seen, event, _SERVED)
        said = Line(
            AT, Severity.INFO, str(event.detail), {"event": event.kind.value, "machine": event.machine or ""}
        )
        for written in (as_text(said, timed=True), as_journal(said), as_json(said)):
            assert not set(written) & set(range(9)), "a control character in our log"
        event.as_json()
    return events


class _Rack:
    """node1 and its other NIC are known."""

    def machine_of(self, mac: Mac) -> tuple[str, str] | None:
        return ("node1", "pxe") if mac.text == "52:54:00:aa:00:01" else None

    def other_nic(self, mac: Mac) -> tuple[str, str] | None:
        return ("node1", "eno2") if mac.text == "52:54:00:bb:00:01" else None

    def machine_at(self, ip: IPv4Address) -> tuple[str, Mac] | None:
        return ("node1", Mac.parse("52:54:00:aa:00:01")) if str(ip) == _NODE1 else None


def _packet(data: bytes) -> DhcpPacket:
    packet = parse(data)
    heard = Overheard(packet, IPv4Address("172.0.1.77"))
    client_uuid(packet), chosen_server(packet, _OURS), answering_server(heard, _OURS)
    offered_address(packet), offered_file(packet)
    assert len(without_options(data, {82, 97})) <= len(data)
    # What was understood is said again in the same sense.
    again = parse(encode(packet))
    assert (again.mac, again.xid, again.message_type) == (packet.mac, packet.xid, packet.message_type)
    return packet


def _vendor_class(data: bytes) -> object:
    said = firmware.read_vendor_class(any_text(data))
    return said.words if said else ""


def _query(data: bytes) -> object:
    """A query string, all that Matchbox's paths make of it, and the event that comes of it."""
    query = parse_query(any_text(data))
    for path in ("/ipxe", "/grub", "/ignition", "/generic", "/cloud", "/metadata"):
        found = answer(_WORLD, kind_of(path), query, _NODE1, None)
        record = RequestRecord(
            kind=kind_of(path),
            client=_NODE1,
            method="GET",
            path=path,
            status=found.status,
            labels=query.labels,
        )
        event = event_of(record, _SERVED, AT)
        if event is not None:
            sightings.after_event(Map(), event, _SERVED)
            climb(Ladder(), event)
    return query.labels


def _target(data: bytes) -> Target:
    target = read_target(any_text(data))
    assert "\n" not in target.redirect
    assert "\r" not in target.redirect
    quote_path(target.path)
    kind_of(target.path)
    signature_path(target.path)
    return target


def _conditional(data: bytes) -> Decision:
    decision: Decision | None = None
    for size in (0, 1, 1000, 1 << 40):
        for method in ("GET", "POST"):
            decision = decide(method, _Headers(data), size, Version('"tag-1"', _CHANGED))
    assert decision is not None
    return decision


def _visitor(data: bytes) -> object:
    return refusal("/v1/status", _Headers(data), _SERVED.settings) or ()


def _pass(data: bytes) -> object:
    passes = Passes()
    with passes.issued():
        assert passes.machine("172.0.1.1", {HEADER: any_text(data)}, _SERVED) is None, "a pass was guessed"
    return None


class _Headers(dict[str, str]):
    """Lines `Name: value`; asked in any case, as aiohttp's are."""

    def __init__(self, data: bytes) -> None:
        pairs = (line.partition(":")[::2] for line in any_text(data).splitlines())
        super().__init__((name.strip().lower(), value.strip()) for name, value in pairs)

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(key.lower(), default)


def _report(data: bytes) -> Accepted | Rejected:
    verdict = read_report(data, _NODE1, _SERVED, AT)
    if isinstance(verdict, Accepted):
        verdict.event.as_json()
        climb(Ladder(), verdict.event)
        "".join(f"{k}{v}" for k, v in verdict.event.detail.items()).encode()
    return verdict


def _parsers() -> Iterator[Parser]:
    yield Parser("dnsmasq-line", _line, Record, most=LONGEST_LINE * 4, words=_DNSMASQ)
    yield Parser("dnsmasq-log", _log, list, most=1 << 16, words=_DNSMASQ, cost=10)
    yield Parser(
        "dhcp-packet", _packet, DhcpPacket, (ValueError,), most=4096, words=("c\x82Sc", "\x35\x01\x01")
    )
    yield Parser("vendor-class", _vendor_class, str, most=255, words=("PXEClient", "HTTPClient", ":Arch:"))
    yield Parser("tftp-answer-prove", ask_prove, (bytes, str), (TimeoutError,), most=1 << 12, cost=10)
    yield Parser("tftp-answer-doctor", ask_doctor, (bytes, str), most=1 << 12, cost=10)
    yield Parser("http-query", _query, object, most=8190, words=("mac=", "uuid=", "serial=", "os=", "%5"))
    yield Parser(
        "http-target", _target, Target, (ValueError,), most=8190, words=("/ipxe", "/assets/", "http://")
    )
    yield Parser("http-conditional", _conditional, Decision, most=8190, words=_CONDITIONS)
    yield Parser("http-visitor", _visitor, tuple, most=8190, words=("Host:", "Origin:", "Sec-Fetch-Site:"))
    yield Parser("http-pass", _pass, type(None), most=8190)
    yield Parser(
        "http-report", _report, (Accepted, Rejected), most=LIMIT, words=("stage", "facts", "mac", "token")
    )


_DNSMASQ: Final = (
    *(
        "DHCPDISCOVER(eth0) ",
        "DHCPACK(eth0) ",
        "dnsmasq-dhcp: ",
        "dnsmasq-tftp: ",
        "tags: ",
        "vendor class: ",
    ),
    *(
        "sent size:  1 option: 53 ",
        "not using configured address ",
        " at line 1 of /",
        "sent /",
        " to 1.2.3.4",
    ),
)
_CONDITIONS: Final = (
    *("Range: bytes=", "If-Range: ", "If-Match: ", "If-None-Match: *", "0-", "-1", ",", 'W/"tag-1"'),
    *("Fri, 31 Jan 2025 04:05:06 GMT", "If-Modified-Since: ", "If-Unmodified-Since: "),
)
ON_THE_WIRE: Final = tuple(_parsers())

"""Records of one dnsmasq's log to events: a pure fold.

dnsmasq is one thread that finishes a packet before it reads the next, so the lines of a packet stand
together in its log. That bounds the memory of this fold: one packet is open at a time. A packet's event
is complete when its last telling line has come; `flush` gives out what is open when no line follows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from appliance.addresses import Mac
from appliance.boot.events import TO_DISK, Event, EventKind
from appliance.boot.firmware import DISK_TAG, Asking, read_vendor_class
from appliance.dnsmasq import records as r
from appliance.dnsmasq.reasons import Reason, about_dnsmasq, why_ignored

_K = TypeVar("_K")
_V = TypeVar("_V")

# What a client may put into an event's detail, in characters.
LONGEST_TEXT: Final = 255
_REMEMBERED: Final = 1024
_MESSAGE_TYPE: Final = 53
_ACK_TYPE: Final = "5"
# A newer iPXE looks for these of its own accord; that they are not there is no fault.
_MISSED_BY_HABIT: Final = frozenset({"autoexec.ipxe"})
# Said better by the kind of the event.
_EMPTY_NOTES: Final = frozenset({"ignored", "proxy", "proxy-ignored"})
_STEPS: Final[Mapping[type[r.Packet], EventKind]] = MappingProxyType(
    {
        r.Discover: EventKind.DISCOVER,
        r.Offer: EventKind.OFFER,
        r.Request: EventKind.REQUEST,
        r.Ack: EventKind.ACK,
        r.Nak: EventKind.NAK,
        r.Decline: EventKind.DECLINE,
        r.Release: EventKind.RELEASE,
    }
)


class Lookup(Protocol):
    """What the fold has to know about machines; the caller's inventory answers."""

    def machine_of(self, mac: Mac) -> tuple[str, str] | None:
        """(machine, network) of a NIC that may boot."""

    def other_nic(self, mac: Mac) -> tuple[str, str] | None:
        """(machine, NIC) of a NIC that must stay silent."""

    def machine_at(self, ip: IPv4Address) -> tuple[str, Mac] | None:
        """(machine, its first MAC) that an address is reserved for."""


@dataclass(slots=True)
class _Open:
    """The packet whose lines are being read."""

    xid: int | None
    subnet: IPv4Network | None = None
    vendor_class: str = ""
    user_class: str = ""
    client_name: str = ""
    tags: frozenset[str] = frozenset()
    boot_file: str = ""
    next_server: str = ""
    informs: bool = False  # the client has an address already and asks for options only
    waiting: list[r.Packet] = field(default_factory=list)

    @property
    def asking(self) -> Asking | None:
        return read_vendor_class(self.vendor_class)

    @property
    def stage(self) -> str:
        """firmware, ipxe or os: who speaks with this MAC right now."""
        if "ipxe" in self.tags or "iPXE" in self.user_class:
            return "ipxe"
        return "firmware" if self.asking else "os"


class Correlator:
    """Call `step` with each record in order. `network` is the one that this dnsmasq serves, empty for TFTP.

    `refused` says, by option-93 value, why a client class gets no boot file and what to do about it;
    `first_stage` is the set of published file names.
    """

    def __init__(
        self,
        network: str,
        lookup: Lookup,
        *,
        first_stage: frozenset[str] = frozenset(),
        refused: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self._network = network
        self._lookup = lookup
        self._first_stage = first_stage
        self._refused = refused
        self._open = _Open(None)
        self._seen_at: OrderedDict[IPv4Address, Mac] = OrderedDict()
        self._aborted: OrderedDict[IPv4Address, None] = OrderedDict()

    def step(self, record: r.Record, at: datetime) -> list[Event]:
        """The events that `record` completes; `at` is the reader's clock, aware."""
        match record:
            case r.Subnet():
                done = self.flush(at)
                prefix = IPv4Network((int(record.network), str(record.netmask)), strict=False)
                self._open = _Open(record.xid, prefix)
                return done
            case r.VendorClass() | r.UserClass() | r.ClientName() | r.Tags() | r.BootFile() | r.NextServer():
                return self._note(record, at)
            case r.SentOption():
                return self._sent(record, at)
            case r.Packet():
                return self._packet(record, at)
            case r.TftpSent() | r.TftpError() | r.TftpAborted():
                return self._tftp(record, at)
            case r.Remark():
                return []
            case _:
                return [*self.flush(at), *about_dnsmasq(record, at, self._network)]

    @property
    def waits(self) -> bool:
        """Whether `flush` would give out anything."""
        return bool(self._open.waiting)

    def flush(self, at: datetime) -> list[Event]:
        """Give out what still waits for more lines: the child is gone, or its log has long been quiet."""
        events = [event for packet in self._open.waiting for event in self._events(packet, at)]
        self._open.waiting.clear()
        return events

    def _note(
        self,
        record: r.VendorClass | r.UserClass | r.ClientName | r.Tags | r.BootFile | r.NextServer,
        at: datetime,
    ) -> list[Event]:
        before = self._switch(record.xid, at)
        match record:
            case r.VendorClass():
                self._open.vendor_class = record.text[:LONGEST_TEXT]
            case r.UserClass():
                self._open.user_class = record.text[:LONGEST_TEXT]
            case r.ClientName():
                self._open.client_name = record.text[:LONGEST_TEXT]
            case r.BootFile():
                self._open.boot_file = record.name[:LONGEST_TEXT]
            case r.NextServer():
                self._open.next_server = record.address[:LONGEST_TEXT]
            case r.Tags():
                self._open.tags = record.names
                # What was heard is complete now; a ProxyDHCP answer still has to say what it was.
                if not any(isinstance(packet, r.Proxied) for packet in self._open.waiting):
                    return [*before, *self.flush(at)]
        return before

    def _switch(self, xid: int | None, at: datetime) -> list[Event]:
        """Lines of another packet without its first one: some were lost. Begin anew."""
        if xid == self._open.xid:
            return []
        done = self.flush(at)
        self._open = _Open(xid)
        return done

    def _packet(self, packet: r.Packet, at: datetime) -> list[Event]:
        before = self._switch(packet.xid, at)
        if not isinstance(packet, r.Ack):
            self._open.informs = isinstance(packet, r.Inform)
        elif self._open.informs:
            return [*before, *self.flush(at)]
        if not isinstance(packet, r.Discover | r.Request | r.Offer | r.Ack | r.Proxied | r.Ignored):
            return [*before, *self.flush(at), *self._events(packet, at)]
        # Without log-dhcp there are no transaction ids and nothing more to wait for; an ignored packet's
        # tags follow in proxy mode only.
        alone = packet.xid is None or (isinstance(packet, r.Ignored) and packet.of != "PXE")
        if isinstance(packet, r.Offer | r.Ack):
            before = [*before, *self.flush(at)]
        self._open.waiting.append(packet)
        return [*before, *self.flush(at)] if alone else before

    def _sent(self, record: r.SentOption, at: datetime) -> list[Event]:
        before = self._switch(record.xid, at)
        if record.number != _MESSAGE_TYPE:
            return before
        if record.text.split()[-1:] == [_ACK_TYPE]:
            # A ProxyDHCP answer on port 4011: the same line as on 67, told apart by its message type. For a
            # menu's item the file stands in that line only.
            for packet in self._open.waiting:
                if isinstance(packet, r.Proxied) and packet.note != "proxy":
                    self._open.boot_file = packet.note[:LONGEST_TEXT]
            self._open.waiting = [
                r.Ack(p.xid, p.interface, p.ip, p.mac, "4011") if isinstance(p, r.Proxied) else p
                for p in self._open.waiting
            ]
        return [*before, *self.flush(at)]

    def _events(self, packet: r.Packet, at: datetime) -> list[Event]:
        """The events of one packet, with everything known about its exchange."""
        if isinstance(packet, r.Ignored | r.NoAddress):
            return [self._refusal(packet, at)]
        if isinstance(packet, r.Proxied):
            heard = self._event(EventKind.DISCOVER, packet, at)
            offered = replace(heard, kind=EventKind.OFFER, detail=self._detail(packet, answer=True))
            # The other server acknowledges the address: our offer is the last that is seen of an iPXE here.
            loaded = [replace(offered, kind=EventKind.IPXE)] if self._open.stage == "ipxe" else []
            return [heard, offered, *loaded]
        kind = _STEPS.get(type(packet))
        if kind is None:
            return []
        self._remember(packet)
        event = self._event(kind, packet, at)
        if kind is EventKind.ACK and self._open.stage == "ipxe":
            return [event, replace(event, kind=EventKind.IPXE)]
        if kind is EventKind.NAK and packet.note == "wrong server-ID":
            # The client took another server's offer: on a network that we own, there should be none.
            return [event, replace(event, kind=EventKind.ROGUE_SERVER)]
        return [event]

    def _event(self, kind: EventKind, packet: r.Packet, at: datetime) -> Event:
        known = self._lookup.machine_of(packet.mac) if packet.mac else None
        answer = kind in {EventKind.OFFER, EventKind.ACK}
        detail = self._detail(packet, answer=answer)
        machine = known[0] if known else None
        return Event(at, kind, machine, packet.mac, packet.ip, self._network, detail)

    def _detail(
        self, packet: r.Packet, *, answer: bool = False, reason: Reason | None = None
    ) -> Mapping[str, str]:
        now = self._open
        asking = now.asking
        said = {
            "xid": "" if packet.xid is None else str(packet.xid),
            "stage": now.stage if now.subnet or packet.xid is not None else "",
            "class": asking.words if asking else "",
            "vendor_class": now.vendor_class,
            "user_class": now.user_class,
            "client_name": now.client_name,
            "subnet": str(now.subnet or ""),
            "boot_file": now.boot_file if answer else "",
            "next_server": now.next_server if answer else "",
            "to": TO_DISK if answer and DISK_TAG in now.tags and now.stage != "os" else "",
            "note": "" if packet.note in _EMPTY_NOTES else packet.note[:LONGEST_TEXT],
            "code": reason.code if reason else "",
            "reason": reason.text if reason else "",
            "remedy": reason.remedy if reason else "",
        }
        return MappingProxyType({key: value for key, value in said.items() if value})

    def _refusal(self, packet: r.Ignored | r.NoAddress, at: datetime) -> Event:
        mac = packet.mac
        known = self._lookup.machine_of(mac) if mac else None
        other = self._lookup.other_nic(mac) if mac else None
        reason = why_ignored(
            packet, self._open.asking, self._network, known, other, self._refused, self._open.stage
        )
        machine = known[0] if known else other[0] if other else None
        kind = EventKind.IGNORED if machine else EventKind.STRAY
        detail = self._detail(packet, reason=reason)
        return Event(at, kind, machine, mac, packet.ip, self._network, detail)

    def _remember(self, packet: r.Packet) -> None:
        if packet.ip and packet.mac and isinstance(packet, r.Offer | r.Ack):
            _bounded_put(self._seen_at, packet.ip, packet.mac)

    def _tftp(self, record: r.TftpSent | r.TftpError | r.TftpAborted, at: datetime) -> list[Event]:
        match record:
            case r.TftpAborted():
                # Firmware asks for the size first and breaks off; the line about the failed transfer follows.
                _bounded_put(self._aborted, record.ip, None)
                return []
            case r.TftpSent():
                name = record.path.rpartition("/")[2]
                if self._first_stage and name not in self._first_stage:
                    return []
                return [self._tftp_event(EventKind.BOOTFILE, record.ip, {"file": name}, at)]
            case r.TftpError():
                if record.ip is not None and record.ip in self._aborted:
                    del self._aborted[record.ip]
                    return []
                name = record.path.rpartition("/")[2]
                if name in _MISSED_BY_HABIT:
                    return []
                detail = {"file": name, "reason": record.reason}
                return [self._tftp_event(EventKind.TFTP_ERROR, record.ip, detail, at)]

    def _tftp_event(
        self, kind: EventKind, ip: IPv4Address | None, detail: dict[str, str], at: datetime
    ) -> Event:
        reserved = self._lookup.machine_at(ip) if ip else None
        mac = (self._seen_at.get(ip) if ip else None) or (reserved[1] if reserved else None)
        known = self._lookup.machine_of(mac) if mac else None
        machine, network = known or (reserved[0] if reserved else None, self._network)
        short = {key: value[:LONGEST_TEXT] for key, value in detail.items() if value}
        return Event(at, kind, machine, mac, ip, network or None, MappingProxyType(short))


def _bounded_put(table: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > _REMEMBERED:
        table.popitem(last=False)

"""DHCP messages as values: build what a client says, read what anybody said (RFC 2131, 2132, 3396).

Pure bytes to values and back. Sockets, frames and patience belong to whoever sends. Everything read is
bounded by the packet itself: a length that points outside it is an error, never a guess.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68
PROXY_PORT: Final = 4011

# op htype hlen hops xid secs flags ciaddr yiaddr siaddr giaddr chaddr sname file
_HEADER: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_COOKIE: Final = b"\x63\x82\x53\x63"
_OPTIONS_AT: Final = _HEADER.size + len(_COOKIE)
_ETHERNET: Final = 1
_BROADCAST: Final = 0x8000
# RFC 2131 lets a message be as short as its options, but relays of old drop what is below BOOTP's 300 bytes.
_SHORTEST_SENT: Final = 300
# The largest UDP payload that IPv4 can carry: nothing longer came from a wire.
_LONGEST_READ: Final = 65507
_PAD: Final = 0
_END: Final = 255
_NOWHERE: Final = IPv4Address(0)


class Opcode(IntEnum):
    """Who speaks."""

    REQUEST = 1  # the client
    REPLY = 2  # the server


class MessageType(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """The options that this project names; all others are carried by number."""

    HOST_NAME = 12
    VENDOR_SPECIFIC = 43
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    PARAMETERS = 55
    MESSAGE = 56
    MAX_SIZE = 57
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    TFTP_SERVER = 66
    BOOTFILE = 67
    USER_CLASS = 77
    RELAY_AGENT = 82
    CLIENT_ARCH = 93
    CLIENT_NDI = 94
    CLIENT_UUID = 97
    IPXE = 175


@dataclass(frozen=True, slots=True)
class DhcpPacket:
    """One DHCP message. `options` keep the order of the wire; addresses that are not set are 0.0.0.0.

    `file` and `sname` are the header fields up to their first NUL; empty when option 52 lends them away.
    """

    op: Opcode
    xid: int
    mac: Mac
    options: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))
    ciaddr: IPv4Address = _NOWHERE
    yiaddr: IPv4Address = _NOWHERE
    siaddr: IPv4Address = _NOWHERE
    giaddr: IPv4Address = _NOWHERE
    secs: int = 0
    hops: int = 0
    broadcast: bool = False
    file: bytes = b""
    sname: bytes = b""

    @property
    def message_type(self) -> MessageType | None:
        """Option 53; None for BOOTP, or for a number that RFC 2132 does not know."""
        raw = self.options.get(Option.MESSAGE_TYPE, b"")
        return MessageType(raw[0]) if len(raw) == 1 and raw[0] in set(MessageType) else None

    @property
    def server_id(self) -> IPv4Address | None:
        """Option 54: the server that speaks, or that is spoken to."""
        raw = self.options.get(Option.SERVER_ID, b"")
        return IPv4Address(raw) if len(raw) == 4 else None

    @property
    def bootfile(self) -> str:
        """What to boot: option 67 if given, else the header field; bytes outside ASCII are escaped."""
        raw = self.options.get(Option.BOOTFILE, b"").rstrip(b"\0") or self.file
        return raw.decode("ascii", "backslashreplace")


def discover(
    mac: Mac,
    xid: int,
    *,
    options: Mapping[int, bytes] | None = None,
    broadcast: bool = True,
    giaddr: IPv4Address = _NOWHERE,
    secs: int = 0,
) -> DhcpPacket:
    """A DHCPDISCOVER. With `giaddr` it speaks as a relay, and the answer comes to that address, port 67."""
    return _said(MessageType.DISCOVER, mac, xid, options, broadcast=broadcast, giaddr=giaddr, secs=secs)


def request(
    mac: Mac,
    xid: int,
    *,
    address: IPv4Address,
    server: IPv4Address | None = None,
    options: Mapping[int, bytes] | None = None,
    broadcast: bool = True,
    giaddr: IPv4Address = _NOWHERE,
    secs: int = 0,
) -> DhcpPacket:
    """A DHCPREQUEST: SELECTING when a `server` is named, else INIT-REBOOT (RFC 2131 section 4.3.2)."""
    words = {int(Option.REQUESTED_ADDRESS): address.packed}
    if server is not None:
        words[Option.SERVER_ID] = server.packed
    return _said(
        MessageType.REQUEST,
        mac,
        xid,
        {**words, **(options or {})},
        broadcast=broadcast,
        giaddr=giaddr,
        secs=secs,
    )


def release(
    mac: Mac,
    xid: int,
    *,
    address: IPv4Address,
    server: IPv4Address,
    options: Mapping[int, bytes] | None = None,
) -> DhcpPacket:
    """A DHCPRELEASE of `address`, for unicast to `server` from any host of the network; it has no answer."""
    words = {int(Option.SERVER_ID): server.packed, **(options or {})}
    return _said(MessageType.RELEASE, mac, xid, words, ciaddr=address)


def encode(packet: DhcpPacket) -> bytes:
    """The message as bytes, padded to BOOTP's 300; long options are split (RFC 3396).

    Raises:
        ValueError: a field does not fit the header.
    """
    if len(packet.file) > 128 or len(packet.sname) > 64:
        raise ValueError("the boot file is longer than 128 or the server name longer than 64 bytes")
    if not 0 <= packet.xid < 2**32 or not 0 <= packet.secs < 2**16:
        raise ValueError("the transaction id or the seconds do not fit their fields")
    header = _HEADER.pack(
        packet.op,
        _ETHERNET,
        6,
        packet.hops,
        packet.xid,
        packet.secs,
        _BROADCAST if packet.broadcast else 0,
        packet.ciaddr.packed,
        packet.yiaddr.packed,
        packet.siaddr.packed,
        packet.giaddr.packed,
        packet.mac.octets,
        packet.sname,
        packet.file,
    )
    body = b"".join(_encoded(code, value) for code, value in packet.options.items())
    return (header + _COOKIE + body + bytes([_END])).ljust(_SHORTEST_SENT, b"\0")


def parse(raw: bytes) -> DhcpPacket:
    """Read one DHCP message.

    Raises:
        ValueError: with a sentence that says why it is none: too short, no magic cookie, not Ethernet, an
            option that reaches past the end.
    """
    if not _OPTIONS_AT <= len(raw) <= _LONGEST_READ:
        raise ValueError(f"{len(raw)} bytes cannot be a DHCP message")
    if raw[_HEADER.size : _OPTIONS_AT] != _COOKIE:
        raise ValueError("the magic cookie of RFC 2131 is missing")
    op, htype, hlen, hops, xid, secs, flags, ci, yi, si, gi, chaddr, sname, file = _HEADER.unpack_from(raw)
    if op not in set(Opcode) or htype != _ETHERNET or hlen != 6:
        raise ValueError(f"op {op}, hardware type {htype}, address length {hlen}: not DHCP over Ethernet")
    options, sname, file = _all_options(raw[_OPTIONS_AT:], sname, file)
    return DhcpPacket(
        op=Opcode(op),
        xid=xid,
        mac=Mac.parse(chaddr[:6].hex()),
        options=MappingProxyType(options),
        ciaddr=IPv4Address(ci),
        yiaddr=IPv4Address(yi),
        siaddr=IPv4Address(si),
        giaddr=IPv4Address(gi),
        secs=secs,
        hops=hops,
        broadcast=bool(flags & _BROADCAST),
        file=file.split(b"\0", 1)[0],
        sname=sname.split(b"\0", 1)[0],
    )


def without_options(raw: bytes, codes: Iterable[int]) -> bytes:
    """The same message, byte for byte, except that the options `codes` are gone and it is shorter by them.

    Raises:
        ValueError: it is not a DHCP message.
    """
    unwanted = frozenset(codes)
    parse(raw)
    kept = bytearray(raw[:_OPTIONS_AT])
    end = _OPTIONS_AT
    for code, start, stop in _spans(raw[_OPTIONS_AT:]):
        end = _OPTIONS_AT + stop
        if code not in unwanted:
            kept += raw[_OPTIONS_AT + start : end]
    return bytes(kept + raw[end:])


def _said(
    kind: MessageType,
    mac: Mac,
    xid: int,
    options: Mapping[int, bytes] | None,
    *,
    broadcast: bool = False,
    giaddr: IPv4Address = _NOWHERE,
    ciaddr: IPv4Address = _NOWHERE,
    secs: int = 0,
) -> DhcpPacket:
    words = {int(Option.MESSAGE_TYPE): bytes([kind]), **(options or {})}
    return DhcpPacket(
        op=Opcode.REQUEST,
        xid=xid,
        mac=mac,
        options=MappingProxyType(words),
        ciaddr=ciaddr,
        giaddr=giaddr,
        hops=1 if giaddr != _NOWHERE else 0,
        secs=secs,
        broadcast=broadcast,
    )


def _encoded(code: int, value: bytes) -> bytes:
    if not _PAD < code < _END:
        raise ValueError(f"{code} is not an option number")
    pieces = [value[i : i + 255] for i in range(0, len(value), 255)] or [b""]
    return b"".join(bytes([code, len(piece)]) + piece for piece in pieces)


def _all_options(area: bytes, sname: bytes, file: bytes) -> tuple[dict[int, bytes], bytes, bytes]:
    """Options of the area and of the fields that option 52 lends it (RFC 3396's order); then the fields."""
    options = _joined({}, area)
    lent = options.get(Option.OVERLOAD, b"\0")[:1] or b"\0"
    if lent[0] & 1:
        options, file = _joined(options, file), b""
    if lent[0] & 2:
        options, sname = _joined(options, sname), b""
    return options, sname, file


def _joined(options: dict[int, bytes], area: bytes) -> dict[int, bytes]:
    for code, start, stop in _spans(area):
        if code not in (_PAD, _END):
            options[code] = options.get(code, b"") + area[start + 2 : stop]
    return options


def _spans(area: bytes) -> Iterator[tuple[int, int, int]]:
    """Each option of `area` as code, first byte, byte behind it; pads and the end mark are spans of one."""
    at = 0
    while at < len(area):
        code = area[at]
        if code in (_PAD, _END):
            yield code, at, at + 1
            if code == _END:
                return
            at += 1
            continue
        if at + 1 >= len(area) or at + 2 + area[at + 1] > len(area):
            raise ValueError(f"option {code} reaches past the end of the message")
        stop = at + 2 + area[at + 1]
        yield code, at, stop
        at = stop

"""DHCP messages: every recorded client is read whole, what we build reads back, nothing hostile gets in."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import (
    DhcpPacket,
    MessageType,
    Opcode,
    Option,
    discover,
    encode,
    parse,
    release,
    request,
    without_options,
)

PACKETS = Path(__file__).parents[2] / "corpus" / "pxe-packets"
INDEX: list[dict[str, Any]] = json.loads((PACKETS / "index.json").read_text())
MAC = Mac.parse("52:54:00:aa:00:01")
SERVER = IPv4Address("172.0.1.1")
ADDRESS = IPv4Address("172.0.1.21")


def recorded(name: str) -> bytes:
    return (PACKETS / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("entry", INDEX, ids=lambda e: e["name"])
def test_a_recorded_packet_is_read_as_its_index_says(entry: dict[str, Any]) -> None:
    packet = parse(recorded(entry["name"]))
    assert packet.op is Opcode.REQUEST
    assert str(packet.mac) == entry["mac"]
    assert packet.broadcast == bool(entry["flags"] & 0x8000)
    assert packet.message_type is MessageType[entry["options"]["53"]]
    assert list(packet.options) == entry["order"]
    if "60" in entry["options"]:
        assert packet.options[Option.VENDOR_CLASS].decode() == entry["options"]["60"]
    if "54" in entry["options"]:
        assert str(packet.server_id) == entry["options"]["54"]


@pytest.mark.parametrize("entry", INDEX, ids=lambda e: e["name"])
def test_a_recorded_packet_survives_encoding(entry: dict[str, Any]) -> None:
    packet = parse(recorded(entry["name"]))
    assert parse(encode(packet)) == packet


def test_every_recorded_file_is_in_the_index() -> None:
    assert {p.stem for p in PACKETS.glob("*.bin")} == {entry["name"] for entry in INDEX}


def test_a_discover_is_a_broadcast_of_at_least_300_bytes() -> None:
    raw = encode(discover(MAC, 7, options={Option.CLIENT_ARCH: b"\0\7"}))
    packet = parse(raw)
    assert len(raw) == 300
    assert packet.message_type is MessageType.DISCOVER
    assert packet.broadcast
    assert (packet.xid, packet.mac, packet.hops) == (7, MAC, 0)
    assert packet.options[Option.CLIENT_ARCH] == b"\0\7"


def test_a_discover_through_a_relay_names_it_and_counts_the_hop() -> None:
    packet = parse(encode(discover(MAC, 7, giaddr=SERVER, broadcast=False)))
    assert (packet.giaddr, packet.hops, packet.broadcast) == (SERVER, 1, False)


def test_a_request_selects_a_server_or_reboots() -> None:
    selecting = parse(encode(request(MAC, 7, address=ADDRESS, server=SERVER)))
    assert selecting.server_id == SERVER
    assert selecting.options[Option.REQUESTED_ADDRESS] == ADDRESS.packed
    assert parse(encode(request(MAC, 7, address=ADDRESS))).server_id is None


def test_a_release_speaks_for_the_address_that_is_given_back() -> None:
    packet = parse(encode(release(MAC, 7, address=ADDRESS, server=SERVER)))
    assert packet.message_type is MessageType.RELEASE
    assert (packet.ciaddr, packet.server_id, packet.broadcast) == (ADDRESS, SERVER, False)


def test_the_boot_file_is_option_67_or_the_header_field() -> None:
    base: dict[int, bytes] = {Option.MESSAGE_TYPE: b"\2"}
    in_header = DhcpPacket(Opcode.REPLY, 1, MAC, base, file=b"ipxe.efi")
    in_option = DhcpPacket(Opcode.REPLY, 1, MAC, {**base, Option.BOOTFILE: b"other.efi\0"}, file=b"ipxe.efi")
    assert parse(encode(in_header)).bootfile == "ipxe.efi"
    assert parse(encode(in_option)).bootfile == "other.efi"
    assert DhcpPacket(Opcode.REPLY, 1, MAC, file=b"\xff\x1b[2J").bootfile == "\\xff\x1b[2J"


def test_lent_header_fields_are_read_as_options() -> None:
    raw = bytearray(encode(DhcpPacket(Opcode.REPLY, 1, MAC, {Option.OVERLOAD: b"\3"})))
    raw[108:112] = bytes([Option.BOOTFILE, 1]) + b"f" + b"\xff"
    raw[44:48] = bytes([Option.TFTP_SERVER, 1]) + b"s" + b"\xff"
    packet = parse(bytes(raw))
    assert packet.options[Option.BOOTFILE] == b"f"
    assert packet.options[Option.TFTP_SERVER] == b"s"
    assert (packet.file, packet.sname) == (b"", b"")


def test_a_long_option_is_split_and_joined() -> None:
    value = bytes(range(256)) * 3
    raw = encode(DhcpPacket(Opcode.REPLY, 1, MAC, {Option.VENDOR_SPECIFIC: value}))
    assert parse(raw).options[Option.VENDOR_SPECIFIC] == value


def test_taking_options_out_leaves_every_other_byte() -> None:
    raw = recorded("bios-ipxe-rom-virtio-01-discover")
    stripped = without_options(raw, [Option.USER_CLASS, Option.IPXE])
    before, after = parse(raw), parse(stripped)
    assert stripped[:240] == raw[:240]
    assert set(before.options) - set(after.options) == {Option.USER_CLASS, Option.IPXE}
    assert all(before.options[code] == value for code, value in after.options.items())
    assert len(raw) - len(stripped) == 2 + 4 + 2 + 48
    assert without_options(raw, []) == raw


def test_a_stripped_rom_says_what_a_recorded_plain_rom_says() -> None:
    stripped = without_options(recorded("bios-ipxe-rom-virtio-01-discover"), [Option.USER_CLASS, Option.IPXE])
    plain = parse(recorded("bios-plain-undionly-virtio-01-discover"))
    assert list(parse(stripped).options) == list(plain.options)
    assert len(stripped) == len(recorded("bios-plain-undionly-virtio-01-discover"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda raw: raw[:239], "239 bytes", id="too short"),
        pytest.param(lambda raw: raw + bytes(70000), "cannot be a DHCP message", id="too long"),
        pytest.param(lambda raw: raw[:236] + b"\0\0\0\0" + raw[240:], "magic cookie", id="no cookie"),
        pytest.param(lambda raw: b"\3" + raw[1:], "op 3", id="neither question nor answer"),
        pytest.param(lambda raw: raw[:1] + b"\x20" + raw[2:], "hardware type 32", id="InfiniBand"),
        pytest.param(lambda raw: raw[:28] + b"\xff" * 6 + raw[34:], "multicast", id="broadcast client"),
        pytest.param(lambda raw: raw[:240] + b"\x0c\x20abc", "option 12 reaches past", id="option too long"),
        pytest.param(lambda raw: raw[:240] + b"\x0c", "option 12 reaches past", id="no length"),
    ],
)
def test_what_is_no_dhcp_message_is_refused_with_a_sentence(change: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(change(encode(discover(MAC, 7))))


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(tail: bytes) -> None:
    raw = encode(discover(MAC, 7))[:240] + tail
    try:
        packet = parse(raw)
    except ValueError:
        return
    assert sum(map(len, packet.options.values())) <= len(raw)


@given(
    st.dictionaries(st.integers(1, 254).filter(lambda c: c != Option.OVERLOAD), st.binary(max_size=600)),
    st.binary(max_size=128).map(lambda b: b.split(b"\0")[0]),
)
def test_any_packet_reads_back_as_it_was_built(options: dict[int, bytes], file: bytes) -> None:
    packet = DhcpPacket(Opcode.REPLY, 7, MAC, options, file=file)
    assert parse(encode(packet)) == packet


@pytest.mark.parametrize("bad", [{0: b""}, {255: b""}, {256: b""}])
def test_pads_and_end_marks_are_no_options(bad: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="not an option number"):
        encode(discover(MAC, 7, options=bad))


def test_a_field_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="boot file"):
        encode(DhcpPacket(Opcode.REPLY, 7, MAC, file=b"x" * 129))
    with pytest.raises(ValueError, match="transaction id"):
        encode(discover(MAC, 2**32))

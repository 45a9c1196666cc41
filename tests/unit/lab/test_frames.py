"""Frames: what is encoded reads back, checksums are right, and cut or foreign frames are nothing."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from appliance.lab.frames import BROADCAST_MAC, UdpFrame, checksum, read_udp

FRAME = UdpFrame(
    bytes.fromhex("525400aa0001"),
    BROADCAST_MAC,
    IPv4Address("0.0.0.0"),
    IPv4Address("255.255.255.255"),
    68,
    67,
    b"some words",
)


@given(st.binary(max_size=1400))
def test_a_frame_reads_back(payload: bytes) -> None:
    frame = UdpFrame(FRAME.src_mac, FRAME.dst_mac, FRAME.src, FRAME.dst, 68, 67, payload)
    assert read_udp(frame.encode()) == frame


def test_an_independent_reader_agrees_on_the_checksums() -> None:
    seen = Ether(FRAME.encode())
    recomputed = Ether(FRAME.encode())
    del recomputed[IP].chksum
    del recomputed[UDP].chksum
    recomputed = Ether(bytes(recomputed))
    assert seen[IP].chksum == recomputed[IP].chksum
    assert seen[UDP].chksum == recomputed[UDP].chksum
    assert bytes(seen[UDP].payload) == FRAME.payload


def test_padding_of_short_frames_is_not_payload() -> None:
    assert read_udp(FRAME.encode() + bytes(20)) == FRAME


@pytest.mark.parametrize("length", range(len(FRAME.encode())))
def test_a_cut_frame_is_nothing(length: int) -> None:
    assert read_udp(FRAME.encode()[:length]) is None


@pytest.mark.parametrize(
    ("at", "value"),
    [
        pytest.param(12, 0x86, id="not IPv4"),
        pytest.param(14, 0x65, id="wrong version"),
        pytest.param(14, 0x44, id="header too short"),
        pytest.param(20, 0x20, id="a fragment"),
        pytest.param(23, 6, id="TCP"),
        pytest.param(39, 0xFF, id="UDP longer than its packet"),
        pytest.param(39, 7, id="UDP shorter than its header"),
    ],
)
def test_a_foreign_or_broken_frame_is_nothing(at: int, value: int) -> None:
    raw = bytearray(FRAME.encode())
    raw[at] = value
    assert read_udp(bytes(raw)) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_nothing(raw: bytes) -> None:
    read_udp(raw)


def test_the_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert checksum(b"\x01") == checksum(b"\x01\x00")

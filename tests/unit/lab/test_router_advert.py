"""Router solicitations get an advertisement of lifetime zero; nothing else gets anything."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

from appliance.lab.router_advert import answer

OWN = bytes.fromhex("0255aa000001")
GUEST = "52:54:00:1a:b0:01"


def solicitation(source: str = "fe80::5054:ff:fe1a:b001", hops: int = 255) -> bytes:
    ether = Ether(src=GUEST, dst="33:33:00:00:00:02")
    return bytes(
        ether
        / IPv6(src=source, dst="ff02::2", hlim=hops)
        / ICMPv6ND_RS()
        / ICMPv6NDOptSrcLLAddr(lladdr=GUEST)
    )


@pytest.mark.parametrize(
    ("source", "to", "to_mac"),
    [
        ("fe80::5054:ff:fe1a:b001", "fe80::5054:ff:fe1a:b001", GUEST),
        ("::", "ff02::1", "33:33:00:00:00:01"),
    ],
)
def test_the_answer_routes_nothing_and_goes_back_to_the_asker(source: str, to: str, to_mac: str) -> None:
    raw = answer(solicitation(source), OWN)
    assert raw is not None
    said = Ether(raw)
    assert (said.dst, said[IPv6].dst, said[IPv6].src) == (to_mac, to, "fe80::55:aaff:fe00:1")
    assert said[IPv6].hlim == 255
    assert (said[ICMPv6ND_RA].routerlifetime, said[ICMPv6ND_RA].M, said[ICMPv6ND_RA].O) == (0, 0, 0)
    again = Ether(raw)
    del again[ICMPv6ND_RA].cksum
    assert bytes(again) == raw


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(solicitation(hops=64), id="from another link"),
        pytest.param(solicitation()[:57], id="cut"),
        pytest.param(bytes(100), id="no IPv6"),
        pytest.param(bytes(Ether() / IPv6(hlim=255) / ICMPv6ND_RA()), id="an advertisement"),
    ],
)
def test_all_else_is_left_unanswered(frame: bytes) -> None:
    assert answer(frame, OWN) is None

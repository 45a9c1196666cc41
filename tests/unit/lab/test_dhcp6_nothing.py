"""DHCPv6 solicitations get a server that has nothing to boot; nothing else gets anything."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_Advertise,
    DHCP6_Request,
    DHCP6_Solicit,
    DHCP6OptBootFileUrl,
    DHCP6OptClientId,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptPref,
    DHCP6OptServerId,
)
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from appliance.lab.dhcp6_nothing import answer

OWN = bytes.fromhex("0255aa000001")
GUEST = "52:54:00:1a:b0:01"
SOURCE = "fe80::5054:ff:fe1a:b001"


def frame(message: Packet, port: int = 547) -> bytes:
    ether = Ether(src=GUEST, dst="33:33:00:01:00:02")
    ids = DHCP6OptClientId(duid=DUID_LL(lladdr=GUEST)) / DHCP6OptIA_NA(iaid=0x1234)
    return bytes(ether / IPv6(src=SOURCE, dst="ff02::1:2") / UDP(sport=546, dport=port) / message / ids)


def test_the_answer_is_an_advertisement_without_a_boot_file() -> None:
    raw = answer(frame(DHCP6_Solicit(trid=0xABCDEF)), OWN)
    assert raw is not None
    said = Ether(raw)
    assert (said.dst, said[IPv6].dst, said[IPv6].src) == (GUEST, SOURCE, "fe80::55:aaff:fe00:1")
    assert (said[UDP].sport, said[UDP].dport) == (547, 546)
    assert said[DHCP6_Advertise].trid == 0xABCDEF
    assert said[DHCP6OptClientId].duid.lladdr == GUEST
    assert said[DHCP6OptServerId].duid.lladdr == OWN.hex(":")
    assert said[DHCP6OptPref].prefval == 255
    assert said[DHCP6OptIA_NA].iaid == 0x1234
    assert said[DHCP6OptIAAddress].addr.startswith("fd00:")
    assert not said.haslayer(DHCP6OptBootFileUrl)
    again = Ether(raw)
    del again[UDP].chksum
    assert bytes(again) == raw


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(frame(DHCP6_Request(trid=1)), id="a request"),
        pytest.param(frame(DHCP6_Solicit(trid=1), port=546), id="another port"),
        pytest.param(frame(DHCP6_Solicit(trid=1))[:64], id="cut"),
        pytest.param(bytes(200), id="no IPv6"),
    ],
)
def test_all_else_is_left_unanswered(other: bytes) -> None:
    assert answer(other, OWN) is None


@pytest.mark.parametrize("length", range(66, 100, 3))
def test_options_that_are_cut_are_no_reason_to_stop(length: int) -> None:
    raw = answer(frame(DHCP6_Solicit(trid=1))[:length], OWN)
    assert raw is not None
    assert Ether(raw)[DHCP6_Advertise].trid == 1

"""Reasons that lie with others on the wire: strangers, a machine's other NICs, other DHCP servers. Pure.

Anybody can say any MAC, UUID or server. So none of that alone makes a machine stuck, and none of it hides
what was seen of the machine itself.
"""

from __future__ import annotations

from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.evidence import Evidence, Suspect, clock, expected
from appliance.boot.reasons import EVERY, IDLE, PATIENCE, Rule, at, replace_mac, rungs, times, told
from appliance.boot.signs import Sign

K = EventKind
_RECENT: Final = 3600.0  # seconds that a NIC which asked in vain stays of interest
_PATIENT: Final = 60.0  # EDK II gives a NIC that nobody answers up after so long, and takes the next one
_BY_FIRMWARE: Final = frozenset({"", "firmware", "ipxe"})
_OTHERS_TITLE: Final = "another DHCP server answers on its network"


def suspect(evidence: Evidence) -> Suspect | None:
    """A MAC that may be this machine's and asks, while the MAC of the inventory was not heard since it came.

    In a listing only once it asks for so long that firmware would have gone on to the machine's next NIC.
    """
    last = evidence.ladder.last
    found = [
        s
        for s in evidence.suspects
        if (evidence.now - s.last).total_seconds() < _RECENT
        and (last is None or s.first > last)
        and (evidence.asked or (evidence.now - s.first).total_seconds() >= _PATIENT)
    ]
    return max(found, key=lambda s: s.last, default=None)


def _wrong_mac(evidence: Evidence) -> Suspect | None:
    """Of a machine that is in the middle of a boot it says nothing: its MAC is the right one."""
    boots = evidence.ladder.rung is not None and expected(evidence.ladder, evidence.course) is not None
    return None if boots else suspect(evidence)


def _wrong_mac_words(evidence: Evidence) -> str:
    found = _wrong_mac(evidence)
    mac, words = (found.mac, found.words) if found else ("a stranger", "")
    listed = f"{evidence.machine}, listed as {', '.join(evidence.macs)}"
    return f"{mac} asks and gets nothing; it may be {listed}: {words}"


def _wrong_mac_remedy(evidence: Evidence) -> str:
    """Servers of one delivery differ in a digit, too: look first."""
    found = _wrong_mac(evidence)
    return _compare(evidence, found.mac, found.old) if found else ""


def _compare(evidence: Evidence, mac: str, old: str = "") -> str:
    command = replace_mac(evidence.machine, evidence.macs, mac, old)
    return (
        f"compare with {evidence.machine}'s label; if it is the same: {command}; if it is another machine: "
        f"pxe-appliance strays adopt {mac} --name NAME"
    )


def _other_nic(evidence: Evidence) -> Sign | None:
    """Another NIC of the machine that asks, while the right one is silent."""
    if evidence.ladder.rung is not None and not evidence.ladder.finished:
        return None
    last = evidence.ladder.last
    for sign in evidence.signs(K.IGNORED, code="other-nic"):
        # Of a machine that runs, one packet of a NIC is no reboot: it has to go on asking.
        until = sign.last if evidence.ladder.finished else evidence.now
        lasting = (until - sign.first).total_seconds() >= _PATIENT
        later = last is None or sign.last > last
        if sign.get("stage") in _BY_FIRMWARE and lasting and later and evidence.age(sign) < _RECENT:
            return sign
    return None


def _other_nic_words(evidence: Evidence) -> str:
    sign = _other_nic(evidence)
    if sign is None:
        return evidence.machine
    reason = sign.get("reason") or "it is none that it boots from"
    return (
        f"{evidence.machine} asks through {sign.mac} ({reason}), {times(sign.count)}, last at {at(sign)}; "
        f"nothing was heard of {' or '.join(evidence.macs)} since"
    )


def other_nic_note(evidence: Evidence) -> str:
    """For a machine that has booted: that another NIC of it asks on the PXE VLAN; empty when none does."""
    sign = evidence.sign(K.IGNORED, code="other-nic")
    if sign is None or evidence.age(sign) >= _RECENT or not evidence.ladder.finished:
        return ""
    return (
        f"{evidence.machine} runs, and its NIC {sign.mac} asks on the PXE VLAN, too: {times(sign.count)}, "
        f"last at {clock(sign.last)}"
    )


def _names_another(evidence: Evidence) -> bool:
    """Whether dnsmasq refused a request of its MAC because it was meant for another server."""
    if evidence.place.proxy:
        return False
    return bool(evidence.sign(K.ROGUE_SERVER) or evidence.sign(K.NAK, note="wrong server-ID"))


def _named_words(evidence: Evidence) -> str:
    place, heard = evidence.place, ", ".join(evidence.place.servers)
    who = told(evidence.sign(K.ROGUE_SERVER), "server")
    named = f"{evidence.machine} asks another DHCP server for its address, not us{f': {who}' if who else ''}"
    return f"{named}; on network {place.network} {heard} answers, too" if heard else named


def _named_remedy(evidence: Evidence) -> str:
    place = evidence.place
    if place.servers:
        return _find_server(evidence)
    return (
        f"tcpdump -eni {place.interface or 'IF'} udp src port 67 shows who answers; find the switch port of "
        f"that MAC and shut it; then power-cycle {evidence.machine}"
    )


def _find_server(evidence: Evidence) -> str:
    return (
        f"find the switch port of {', '.join(evidence.place.servers)} and shut it, or turn its DHCP off; "
        f"then power-cycle {evidence.machine}"
    )


def _never_asked(evidence: Evidence) -> str:
    listed = f"{evidence.machine} ({', '.join(evidence.macs)})"
    words = f"nothing was heard of {listed} since it came into the inventory"
    strangers = evidence.place.strangers
    if not strangers:
        return f"{words}, and no unknown MAC asks on network {evidence.place.network} either"
    return f"{words}; meanwhile an unknown MAC asks on network {evidence.place.network}: {strangers[0]}"


def _never_asked_remedy(evidence: Evidence) -> str:
    power = "is it on, is network boot first in its firmware, is its cable in a port of that VLAN?"
    strangers = evidence.place.strangers
    return f"{power} if so: {_compare(evidence, strangers[0])}" if strangers else power


OTHER_NIC_ASKS: Final = Rule(
    "other-nic-asks",
    "another NIC of the machine is on the PXE VLAN",
    EVERY,
    _other_nic,
    _other_nic_words,
    lambda e: (
        f"move the cable (or the port's VLAN) of {s.mac} to its own network, or put network boot "
        f"of {e.macs[0] if e.macs else 'the right NIC'} first; or correct the NICs in the inventory"
        if (s := _other_nic(e))
        else ""
    ),
    ended=True,
    needs=K.IGNORED,
)
SERVER_NAMED: Final = Rule(
    "second-server",
    _OTHERS_TITLE,
    rungs(K.DISCOVER, K.REQUEST),
    _names_another,
    _named_words,
    _named_remedy,
    stuck_after=PATIENCE[K.OFFER],
)
SERVER_HEARD: Final = Rule(
    "second-server",
    _OTHERS_TITLE,
    rungs(K.OFFER),
    lambda e: (
        e.place.servers and not e.place.proxy and (e.ladder.attempts >= 3 or e.waited >= PATIENCE[K.OFFER])
    ),
    lambda e: (
        f"{', '.join(e.place.servers)} answers DHCP on network {e.place.network}, too, and {e.machine}, "
        f"which was offered its address {times(e.ladder.attempts)} since {e.rung_clock}, does not ask for it"
    ),
    _find_server,
    after=20,
    silent=True,
)
WRONG_MAC: Final = Rule(
    "wrong-mac",
    "it seems to ask with a MAC that the inventory does not have",
    EVERY,
    _wrong_mac,
    _wrong_mac_words,
    _wrong_mac_remedy,
    stuck_after=None,
    ended=True,
)
NEVER_ASKED: Final = Rule(
    "never-asked",
    "nothing was heard of it since it came into the inventory",
    IDLE,
    lambda e: e.asked,
    _never_asked,
    _never_asked_remedy,
    stuck_after=None,
    listed=False,
)

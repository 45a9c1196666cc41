"""Reasons between silence and an address: from machines that nobody hears to those that got an ACK."""

from __future__ import annotations

from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.evidence import Evidence
from appliance.boot.policy import way_out
from appliance.boot.reasons import EVERY, IDLE, PATIENCE, Rule, ago, always, at, rungs, times, told
from appliance.boot.reasons_strangers import OTHER_NIC_ASKS, SERVER_HEARD, SERVER_NAMED

K = EventKind
_DOWN: Final = 5  # seconds: a link that flaps is no verdict


def _ignored(evidence: Evidence, code: str) -> str:
    sign = evidence.sign(K.IGNORED, code=code)
    return f"{evidence.machine}: {told(sign, 'reason', code)} ({times(sign.count if sign else 1)})"


def _blocked(evidence: Evidence) -> str:
    """What dnsmasq said about a reservation that it does not give, shortened to the owner."""
    return told(evidence.sign(K.DNSMASQ, what="reservation-blocked"), "reason", "another machine holds it")


def _declined(evidence: Evidence) -> bool:
    return evidence.age(evidence.sign(K.DECLINE)) < 120


def _classes(evidence: Evidence) -> str:
    return told(evidence.sign(K.OFFER), "class", "its firmware")


RULES: Final = (
    Rule(
        "boot-loop",
        "the same first stage is fetched again and again",
        EVERY,
        lambda e: e.ladder.held or (e.life.held and e.life.by == "boot-loop"),
        lambda e: f"{e.machine} is held: {e.ladder.verdict.message if e.ladder.verdict else e.life.reason}",
        lambda e: (
            "turn Secure Boot off in its firmware, or publish another iPXE build (sync); then "
            f"{way_out(e.machine)}, and power-cycle it"
        ),
        ended=True,
    ),
    Rule(
        "install-loop",
        "the installer ran again and again and never called home",
        EVERY,
        lambda e: e.life.held and e.life.by == "install-loop",
        lambda e: (
            f"{e.machine} is held: {e.life.reason}; its console shows why its installer does not report"
        ),
        lambda e: way_out(e.machine),
        ended=True,
    ),
    Rule(
        "held",
        "it is held and gets nothing to boot",
        EVERY,
        lambda e: e.life.held or (e.ladder.verdict is not None and e.ladder.verdict.id == "held"),
        lambda e: (
            f"held: {e.life.reason}"
            if e.life.held
            else (e.ladder.verdict.message if e.ladder.verdict else "held")
        ),
        lambda e: way_out(e.machine),
        ended=True,
    ),
    OTHER_NIC_ASKS,
    Rule(
        "interface-down",
        "our interface on its network cannot be used",
        IDLE,
        lambda e: e.place.down,
        lambda e: f"nobody on network {e.place.network} can be heard: {e.place.down}",
        lambda e: e.place.up_again,
        listed=False,
    ),
    Rule(
        "interface-down",
        "our interface on its network cannot be used",
        rungs(K.DISCOVER, K.INITRD),
        lambda e: e.place.down and e.awaits,
        lambda e: f"{e.machine} cannot be answered on network {e.place.network}: {e.place.down}",
        lambda e: e.place.up_again,
        after=_DOWN,
    ),
    Rule(
        "no-boot-file",
        "there is no boot file for its kind of firmware",
        rungs(K.DISCOVER),
        lambda e: e.ladder.verdict is not None and e.ladder.verdict.id == "no-boot-file",
        lambda e: e.ladder.verdict.message if e.ladder.verdict else "no boot file",
        lambda e: (e.ladder.verdict.remedy if e.ladder.verdict else "") or "choose another boot mode",
    ),
    Rule(
        "wrong-network",
        "it asks on a network that is not its own",
        rungs(K.DISCOVER),
        lambda e: e.sign(K.IGNORED, code="wrong-network"),
        lambda e: _ignored(e, "wrong-network"),
        lambda e: (
            f"move its cable, or its switch port's VLAN, to network {e.place.network}; or change network and "
            f"ip of {e.machine} in the inventory and run pxe-appliance sync"
        ),
        needs=K.IGNORED,
    ),
    Rule(
        "address-taken",
        "its address is still leased to another",
        rungs(K.DISCOVER, K.REQUEST),
        lambda e: (
            e.age(e.sign(K.DNSMASQ, what="reservation-blocked")) < 120
            and "declin" not in _blocked(e)
            and not _declined(e)
        ),
        lambda e: f"the address of {e.machine} is not given to it: {_blocked(e)}",
        (
            "pxe-appliance leases shows who holds it; pxe-appliance sync releases what has moved; else "
            "switch that machine off until its lease has run out"
        ),
        needs=K.DNSMASQ,
    ),
    Rule(
        "declined",
        "it found its own address in use and gave it back",
        rungs(K.DISCOVER, K.ACK),
        _declined,
        lambda e: (
            f"{e.machine} declined its address {times(e.count(K.DECLINE))}, last at {at(e.sign(K.DECLINE))}: "
            "somebody on the network answers for it"
        ),
        lambda e: (
            f"arping -D -I {e.place.interface or 'IF'} {e.ip or 'ADDRESS'} names the MAC that uses it; take "
            f"the address off that host, or give {e.machine} another"
        ),
        needs=K.DECLINE,
    ),
    Rule(
        "no-address",
        "dnsmasq has no address for it",
        rungs(K.DISCOVER),
        lambda e: e.sign(K.IGNORED, code="no-address"),
        lambda e: _ignored(e, "no-address"),
        lambda e: f"pxe-appliance events --machine {e.machine} shows what came before; pxe-appliance sync",
        needs=K.IGNORED,
    ),
    Rule(
        "bootp",
        "its ROM speaks BOOTP, not DHCP",
        rungs(K.DISCOVER),
        lambda e: e.sign(K.IGNORED, code="bootp"),
        lambda e: _ignored(e, "bootp"),
        "set its boot ROM to PXE or DHCP, or update the ROM",
        needs=K.IGNORED,
    ),
    Rule(
        "not-served",
        "dnsmasq does not have its reservation on this wire",
        rungs(K.DISCOVER),
        lambda e: e.sign(K.IGNORED, code="not-served"),
        lambda e: _ignored(e, "not-served"),
        (
            "pxe-appliance sync; behind a relay, check that its address lies in that relay's subnet "
            "(relayed = ... in appliance.toml)"
        ),
        needs=K.IGNORED,
    ),
    Rule(
        "dhcp-down",
        "our DHCP does not run",
        rungs(K.DISCOVER, K.REQUEST),
        lambda e: e.place.dhcp_down,
        lambda e: f"{e.machine} cannot be answered: {e.place.dhcp_down}",
        "pxe-appliance status says why; pxe-appliance doctor names who holds the port",
        after=_DOWN,
    ),
    SERVER_NAMED,
    Rule(
        "nak",
        "its request was refused",
        rungs(K.OFFER, K.REQUEST),
        lambda e: e.age(e.sign(K.NAK)) < 120,
        lambda e: (
            f"the request of {e.machine} was refused {times(e.count(K.NAK))}: "
            f"{told(e.sign(K.NAK), 'note', 'no reason given')}"
        ),
        (
            "it asks for an address that is not its own and begins again by itself; if it goes on, "
            "pxe-appliance sync, and power-cycle it"
        ),
        needs=K.NAK,
    ),
    Rule(
        "no-offer",
        "it was heard and not answered",
        rungs(K.DISCOVER),
        lambda e: e.ladder.verdict is None,
        lambda e: f"{e.machine} asked at {e.rung_clock} and got no offer for {ago(e)}",
        "pxe-appliance status: is dnsmasq serving? pxe-appliance events shows what it said",
        after=PATIENCE[K.DISCOVER],
        silent=True,
    ),
    Rule(
        "proxy-not-merged",
        "it does not put the other server's address and our boot file together",
        rungs(K.OFFER),
        lambda e: e.place.proxy,
        lambda e: (
            f"{e.machine} was offered a boot file beside another server's address {times(e.ladder.attempts)} "
            f"and never asked for it: {_classes(e)} may not merge two offers"
        ),
        (
            "check that UDP 4011 is open (pxe-appliance doctor); if this firmware takes one offer only, let "
            'the appliance give the addresses: mode = "dhcp" in appliance.toml'
        ),
        after=PATIENCE[K.OFFER],
        silent=True,
    ),
    SERVER_HEARD,
    Rule(
        "offer-not-taken",
        "it was offered an address and does not take it",
        rungs(K.OFFER),
        lambda e: not e.place.proxy and (e.ladder.attempts >= 3 or e.waited >= PATIENCE[K.OFFER]),
        lambda e: (
            f"{e.machine} was offered its address {times(e.ladder.attempts)} since {e.rung_clock} and never "
            f"asked for it: our answers do not reach it, or {_classes(e)} takes another server's"
        ),
        lambda e: (
            "we hear it and it does not hear us: with DHCP snooping on the switches, trust the port of this "
            "appliance; its port untagged in the right VLAN; a firewall here (pxe-appliance doctor); "
            f"tcpdump -eni {e.place.interface or 'IF'} port 67 or port 68"
        ),
        after=20,
        silent=True,
    ),
    Rule(
        "no-ack",
        "its request was not answered",
        rungs(K.REQUEST),
        always,
        lambda e: f"{e.machine} asked for its address at {e.rung_clock} and got no answer for {ago(e)}",
        lambda e: f"pxe-appliance status: is dnsmasq serving? pxe-appliance events --machine {e.machine}",
        after=PATIENCE[K.REQUEST],
        silent=True,
    ),
)

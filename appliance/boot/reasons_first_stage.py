"""Reasons between an address and iPXE: the boot file, by TFTP or HTTP, and what becomes of it. Pure."""

from __future__ import annotations

from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.evidence import Evidence
from appliance.boot.reasons import (
    PATIENCE,
    Rule,
    ago,
    always,
    at,
    lost,
    refused_files,
    rungs,
    times,
    told,
)
from appliance.boot.signs import Sign

K = EventKind
_FIRST_STAGES: Final = "/assets/ipxe/"
# dnsmasq says "sent" after 29 s for a transfer that nobody ever took a block of (measured).
_NEVER_TAKEN: Final = 25.0
_EDGE: Final = (
    "make its switch port an edge port (spanning tree portfast; LACP with fallback to a single port), "
)
_ONE_PORT: Final = "a bundle on the switch sends answers to another of its ports: LACP needs a fallback; "


def _first_stage(evidence: Evidence) -> Sign | None:
    return next((s for s in refused_files(evidence) if s.get("path").startswith(_FIRST_STAGES)), None)


def _tftp_missing(evidence: Evidence) -> Sign | None:
    return evidence.sign(K.TFTP_ERROR, reason="no such file")


def _tftp_broken(evidence: Evidence) -> Sign | None:
    return next((s for s in evidence.signs(K.TFTP_ERROR) if s.get("reason") != "no such file"), None)


def _tftp_missing_words(evidence: Evidence) -> str:
    file = told(_tftp_missing(evidence), "file", "a file")
    ours = file in evidence.place.boot_files
    more = "" if ours else "; that is no boot file of ours, so another server or its firmware named it"
    return f"{evidence.machine} asked TFTP for {file} and it is not there{more}"


def by_http(evidence: Evidence) -> bool:
    """Whether its firmware was told to load its boot file by HTTP."""
    return any(s.get("boot_file").startswith("http") for s in evidence.signs(K.ACK, stage="firmware"))


def _named(evidence: Evidence) -> str:
    return told(evidence.sign(K.ACK, stage="firmware"), "boot_file", "its boot file")


def _nameless(evidence: Evidence) -> bool:
    ack = evidence.sign(K.ACK, stage="firmware")
    return ack is not None and not ack.get("boot_file") and bool(ack.get("class"))


def _never_taken(evidence: Evidence) -> bool:
    ack, sent = evidence.ladder.rungs.get(K.ACK), evidence.ladder.rungs.get(K.BOOTFILE)
    return ack is not None and sent is not None and (sent - ack).total_seconds() >= _NEVER_TAKEN


def _driver(evidence: Evidence) -> str:
    file = evidence.ladder.file
    if file.startswith("snponly"):
        return "ipxe.efi (own drivers) in place of snponly.efi"
    if file.startswith("undionly"):
        return "ipxe.pxe (own drivers) in place of undionly.kpxe"
    return "snponly.efi or undionly.kpxe (the firmware's driver) in place of it"


def _ipxe_asks(evidence: Evidence) -> int:
    return evidence.count(K.DISCOVER, stage="ipxe")


RULES: Final = (
    Rule(
        "tftp-missing",
        "it asks TFTP for a file that is not there",
        rungs(K.ACK, K.BOOTFILE),
        _tftp_missing,
        _tftp_missing_words,
        (
            "pxe-appliance sync publishes what is missing; a file that is none of ours: look for a second "
            "server (pxe-appliance status) or a boot entry in its firmware"
        ),
        needs=K.TFTP_ERROR,
    ),
    Rule(
        "tftp-broken",
        "the transfer of its boot file broke off",
        rungs(K.ACK, K.BOOTFILE),
        _tftp_broken,
        lambda e: (
            f"the transfer of {told(s, 'file', 'its boot file')} to {e.machine} failed {times(s.count)}, "
            f"last at {at(s)}: {s.get('reason')}"
            if (s := _tftp_broken(e))
            else e.machine
        ),
        (
            "open UDP 69 and the ports above 1023 from our address to it (pxe-appliance doctor prints the "
            "lines); check the MTU of the VLAN (1500) and errors on its switch port"
        ),
        needs=K.TFTP_ERROR,
    ),
    Rule(
        "tftp-down",
        "our TFTP does not run",
        rungs(K.ACK),
        lambda e: e.place.tftp_down and not by_http(e),
        lambda e: f"{e.machine} cannot fetch {_named(e)}: {e.place.tftp_down}",
        "pxe-appliance status says why; pxe-appliance doctor names who holds UDP 69",
        after=5,
    ),
    Rule(
        "first-stage-refused",
        "its boot file was asked for by HTTP and refused",
        rungs(K.ACK, K.BOOTFILE),
        _first_stage,
        lambda e: lost(_first_stage(e), e, "boot file"),
        "pxe-appliance sync publishes it; pxe-appliance doctor checks it",
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "no-file-named",
        "it got an address and no boot file was named",
        rungs(K.ACK),
        _nameless,
        lambda e: (
            f"{e.machine} got its address at {e.rung_clock} and no boot file with it: "
            f"{told(e.sign(K.ACK), 'class', 'its class')}"
        ),
        "pxe-appliance sync; its firmware says PXE-E53: pxe-appliance check lists boot files",
        after=5,
    ),
    Rule(
        "bootfile-not-asked",
        "it has an address and never fetches its boot file",
        rungs(K.ACK),
        always,
        lambda e: (
            f"{e.machine} has its address since {e.rung_clock} and never fetched {_named(e)} "
            f"({'HTTP' if by_http(e) else 'TFTP'}) in {ago(e)}"
        ),
        lambda e: (
            f"open {f'TCP {e.place.port}' if by_http(e) else 'UDP 69'} towards us (pxe-appliance doctor "
            "prints the lines); PXE-E32 on its screen says the same; an access list on the switch can do it, "
            "too"
        ),
        after=PATIENCE[K.ACK],
        silent=True,
    ),
    Rule(
        "tftp-not-taken",
        "its boot file was sent, and nobody took it",
        rungs(K.BOOTFILE),
        lambda e: _never_taken(e) and not _ipxe_asks(e),
        lambda e: (
            f"{e.ladder.file} counts as sent to {e.machine} half a minute after its address: so long dnsmasq "
            "keeps trying when no packet of the file is answered"
        ),
        (
            "open the UDP ports above 1023 from our address to it, there and back: pxe-appliance doctor "
            "prints the lines; check the MTU of the VLAN (1500)"
        ),
        after=30,  # an iPXE of 2019 that did get it may wait 16 s for an IPv6 router
        silent=True,
    ),
    Rule(
        "ipxe-dhcp-unanswered",
        "iPXE runs, and our answers to its DHCP do not reach it",
        rungs(K.BOOTFILE),
        lambda e: _ipxe_asks(e) >= 3 or (_ipxe_asks(e) and e.waited >= 20),
        lambda e: (
            f"iPXE on {e.machine} asked for an address {times(_ipxe_asks(e))} since "
            f"{e.rung_clock} and takes none of our offers"
        ),
        lambda e: f"{_ONE_PORT}then power-cycle it; or publish {_driver(e)}",
    ),
    Rule(
        "first-stage-again",
        "the same first stage is fetched a second time",
        rungs(K.BOOTFILE),
        lambda e: e.ladder.fetches >= 2 and not _ipxe_asks(e),
        lambda e: (
            f"{e.machine} fetched {e.ladder.file} {times(e.ladder.fetches)} in a row and iPXE never spoke: "
            "it is not run, or it does not find the NIC"
        ),
        lambda e: (
            f"turn Secure Boot off in its firmware (it refuses without a word), or publish {_driver(e)}; at "
            "the third time it is held"
        ),
        stuck_after=PATIENCE[K.BOOTFILE],
    ),
    Rule(
        "ipxe-silent",
        "the boot file was fetched and iPXE never asked for an address",
        rungs(K.BOOTFILE),
        lambda e: not _ipxe_asks(e),
        lambda e: (
            f"{e.machine} fetched {e.ladder.file or 'its boot file'} at {e.rung_clock} and iPXE never asked "
            f"for an address ({ago(e)})"
        ),
        lambda e: (
            f"{_EDGE}turn Secure Boot off, or publish {_driver(e)}: iPXE's screen tells which (Access "
            "denied; initialising devices; No configuration methods succeeded)"
        ),
        after=PATIENCE[K.BOOTFILE],
        silent=True,
    ),
)

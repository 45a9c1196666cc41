"""Reasons between iPXE's address and its script: our HTTP, an external Matchbox, refusals. Pure."""

from __future__ import annotations

from typing import Final

from appliance.boot.events import EventKind, Refusal
from appliance.boot.evidence import Evidence
from appliance.boot.reasons import IDLE, PATIENCE, Rule, ago, rungs, times, told
from appliance.boot.reasons_first_stage import by_http
from appliance.boot.signs import Sign

K = EventKind
_HAS_IT: Final = 30.0  # seconds after which a machine that was sent to the endpoint has its script
_SCRIPTS: Final = ("/ipxe", "/boot.ipxe", "/boot.ipxe.0", "/grub")


def _script(evidence: Evidence) -> Sign | None:
    """The newest refusal of a script, when nothing was answered after it."""
    refused = [s for s in evidence.signs(K.HTTP_ERROR) if s.get("path") in _SCRIPTS]
    newest = max(refused, key=lambda s: s.last, default=None)
    given = evidence.sign(K.SCRIPT)
    return newest if newest and (given is None or newest.last > given.last) else None


def _script_reason(evidence: Evidence) -> str:
    sign = _script(evidence)
    return told(sign, "reason", f"status {told(sign, 'status', '?')}") if sign else ""


def _script_code(evidence: Evidence) -> str:
    return told(_script(evidence), "code")


def _endpoint_was_down(evidence: Evidence) -> bool:
    """Whether it waits for the endpoint's script, which nobody tells us of: not one that had it before."""
    since, last = evidence.place.endpoint_since, evidence.ladder.last
    if since is None or last is None:
        return False
    return evidence.awaits or (since - last).total_seconds() < _HAS_IT


def _seen(sign: Sign | None) -> int:
    return sign.count if sign else 0


RULES: Final = (
    Rule(
        "http-down",
        "our HTTP does not run",
        rungs(K.ACK, K.INITRD),
        lambda e: e.place.http_down and e.awaits and (e.reached(K.IPXE) or by_http(e)),
        lambda e: f"{e.machine} cannot load anything: {e.place.http_down}",
        "ss -ltnp shows who holds the port; pxe-appliance status says when it is free again",
        after=5,
    ),
    Rule(
        "image-missing",
        "the image that it boots is not in the store",
        IDLE,
        lambda e: e.nothing,
        lambda e: f"{e.machine} would get no script: {e.nothing}",
        "pxe-appliance images fetch; pxe-appliance images shows what is there",
        listed=False,
    ),
    Rule(
        "image-missing",
        "the image that it boots is not in the store",
        rungs(K.IPXE, K.SCRIPT),
        lambda e: _script_code(e) == Refusal.IMAGE,
        lambda e: f"{e.machine} got no script: {_script_reason(e)}",
        "pxe-appliance images fetch; pxe-appliance images shows what is there",
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "not-itself",
        "whoever asks at its address is not taken for it",
        rungs(K.IPXE, K.INITRD),
        # Its next DHCP exchange, which its script brings about, can mend that: twice is a reason.
        lambda e: _script_code(e) == Refusal.NOT_ITSELF and _seen(_script(e)) > 1,
        lambda e: f"{e.machine} got no script: {_script_reason(e)}",
        (
            'two machines use one address, or a switch answers for it (proxy ARP: ignition = "lease" in '
            "[matchbox]); power-cycle it, so that it asks DHCP first"
        ),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "no-profile",
        "nothing says what it boots",
        rungs(K.IPXE, K.SCRIPT),
        lambda e: _script_code(e) == Refusal.NO_PROFILE,
        lambda e: f"{e.machine} asked what to boot and there is nothing for it: {_script_reason(e)}",
        lambda e: (
            f"give {e.machine} a profile in the inventory, or a group in the Matchbox data directory; then "
            "pxe-appliance sync"
        ),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "script-refused",
        "its boot script was refused",
        rungs(K.IPXE, K.INITRD),
        lambda e: _script(e) and _script_code(e) != Refusal.NOT_ITSELF,
        lambda e: f"{e.machine} asked for {told(_script(e), 'path')} and was refused: {_script_reason(e)}",
        lambda e: f"pxe-appliance machine show {e.machine} says what it boots; pxe-appliance check",
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "endpoint-down",
        "the external Matchbox does not answer",
        rungs(K.SCRIPT),
        _endpoint_was_down,
        lambda e: f"{e.machine} waits for {e.place.endpoint}, which does not answer",
        lambda e: (
            f"curl -i {e.place.endpoint}/ from here; start Matchbox there; {e.machine} tries on by itself"
        ),
        after=5,
    ),
    Rule(
        "endpoint-silent",
        "it gets nothing from the external Matchbox, which answers us",
        rungs(K.SCRIPT),
        lambda e: e.place.endpoint and e.count(K.ACK, stage="ipxe") >= 3,
        lambda e: (
            f"{e.machine} was sent to {e.place.endpoint} and came back to DHCP "
            f"{times(e.count(K.ACK, stage='ipxe') - 1)}: Matchbox has no group for it, or it cannot reach it"
        ),
        lambda e: (
            f"curl -i '{e.place.endpoint}/ipxe?mac={e.macs[0].replace(':', '-') if e.macs else 'MAC'}'; "
            "check the route from the PXE VLAN to it"
        ),
    ),
    Rule(
        "script-not-asked",
        "iPXE has an address and never asks for a script",
        rungs(K.IPXE),
        lambda e: e.waited >= PATIENCE[K.IPXE] or e.count(K.ACK, stage="ipxe") >= 3,
        lambda e: (
            f"iPXE on {e.machine} has an address since {e.rung_clock} and asked for no script in {ago(e)}; "
            f"it asked DHCP {times(e.count(K.ACK, stage='ipxe') or 1)}"
        ),
        lambda e: (
            f"open TCP {e.place.port} towards {e.place.address or 'us'} (pxe-appliance doctor prints the "
            f"lines); curl -i http://{e.place.address or 'ADDRESS'}:{e.place.port}/boot.ipxe from that VLAN"
        ),
        after=10,
        silent=True,
    ),
)

"""Looks at the packet filter: nft, iptables, ufw, firewalld, as far as they are there and may be asked."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.doctor.firewall import Firewall, Zone
from appliance.doctor.iptables_rules import is_legacy, parse_iptables
from appliance.doctor.nft_ruleset import parse_ruleset
from appliance.doctor.packet_walk import Chain
from appliance.doctor.reach import Reach


def look_at_firewall(reach: Reach, interfaces: Iterable[str]) -> Firewall:
    """The rules in force, and what the two usual front ends say of themselves."""
    chains, notes, hidden = _chains(reach)
    ufw = reach.run("ufw", "status", "verbose")
    return Firewall(
        chains=tuple(chains),
        ufw=ufw.stdout if ufw and ufw.rc == 0 and "Status: active" in ufw.stdout else "",
        zones=_zones(reach, interfaces),
        notes=tuple(notes),
        hidden=hidden,
    )


def look_at_chains(reach: Reach) -> list[Chain]:
    """The rules alone; none when they may not be seen."""
    return _chains(reach)[0]


def _chains(reach: Reach) -> tuple[list[Chain], list[str], bool]:
    if not reach.root:
        reach.hidden("the rules of the packet filter")
        return [], [], True
    notes = []
    ruleset = reach.run("nft", "-j", "list", "ruleset")
    saved = reach.run("iptables-save")
    chains = parse_ruleset(ruleset.stdout) if ruleset and ruleset.rc == 0 else []
    if not reach.has("nft"):
        notes.append("nft is not installed: its rules, if any, were not looked at")
    if saved and saved.rc == 0 and saved.stdout.strip():
        theirs = parse_iptables(saved.stdout)
        if not is_legacy(saved.stdout):
            known = {(c.family, c.table, c.name) for c in theirs}
            chains = [c for c in chains if (c.family, c.table, c.name) not in known]
        chains += theirs
    legacy = reach.run("iptables-legacy-save")
    if legacy and legacy.rc == 0 and not (saved and is_legacy(saved.stdout)):
        chains += [c for c in parse_iptables(legacy.stdout) if c.rules or c.policy == "drop" or not c.hook]
    unknown = reach.has("nft") and ruleset is None
    return chains, notes, bool(unknown)


def _zones(reach: Reach, interfaces: Iterable[str]) -> dict[str, Zone]:
    state = reach.run("firewall-cmd", "--state")
    if state is None or state.rc != 0:
        return {}
    found = {}
    for interface in interfaces:
        named = reach.run("firewall-cmd", f"--get-zone-of-interface={interface}")
        name = named.stdout.strip() if named and named.rc == 0 else ""
        if not name:
            default = reach.run("firewall-cmd", "--get-default-zone")
            name = default.stdout.strip() if default else "public"
        listed = reach.run("firewall-cmd", f"--zone={name}", "--list-all")
        found[interface] = _zone(name, listed.stdout if listed else "")
    return found


def _zone(name: str, text: str) -> Zone:
    values = {
        key.strip(): value.split()
        for key, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    }
    target = values.get("target", ["default"])
    return Zone(
        name,
        target[0] if target else "default",
        frozenset(values.get("services", ())),
        frozenset(values.get("ports", ())),
    )

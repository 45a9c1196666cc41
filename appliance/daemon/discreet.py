"""What changed between two generations, without what a reader on the VLAN must not learn. Pure.

The listings are open to everybody on the PXE VLAN. Kernel arguments may carry a token, a URL may carry a
password: of those, names are told and values are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from appliance.sync.plan import Change, Facts
from appliance.sync.show import change_lines

MOST: Final = 500  # changes that are told; the rest is counted
_LINES: Final = 40  # of one change
HIDDEN: Final = "(not shown)"
_SECRET: Final = re.compile(
    r"secret|token|passw|credential|authorization|(^|_)url(_|$)|(^|_)key$", re.IGNORECASE
)
# Arguments whose values say nothing that the wire does not say.
_HARMLESS: Final = frozenset(
    {
        "console", "ip", "rd.neednet", "rw", "ro", "quiet", "BOOTIF", "net.ifnames", "biosdevname",
        "ignition.firstboot", "ignition.platform.id", "flatcar.first_boot", "flatcar.oem.id", "coreos.oem.id",
        "coreos.first_boot", "mitigations", "systemd.unified_cgroup_hierarchy", "intel_iommu", "iommu",
        "nomodeset",
    }
)  # fmt: skip
_URL_SECRETS: Final = re.compile(r"//[^/@\s]*@|\?\S*")


def told_changes(changes: Iterable[Change]) -> dict[str, object]:
    """Changes as the page shows them: a sentence for each, and lines for what differs in it."""
    told: list[dict[str, object]] = []
    more = 0
    for change in changes:
        if len(told) >= MOST:
            more += 1
            continue
        head, *lines = change_lines(_masked(change))
        told.append(
            {
                "action": change.action.value,
                "kind": change.kind,
                "name": change.name,
                "line": head,
                "details": [line.strip() for line in lines[:_LINES]] or _silent(change, head),
            }
        )
    return {"changes": told, "more": more}


def told_machine(facts: Mapping[str, object]) -> dict[str, object]:
    """What `machine show` says, for whoever is on the VLAN."""
    told = dict(facts)
    profile, boots = facts.get("profile_facts"), facts.get("boots")
    if isinstance(profile, Mapping):
        told["profile_facts"] = {key: _masked_value("profile", str(key), v) for key, v in profile.items()}
    if isinstance(boots, Mapping):
        told["boots"] = {key: _masked_boot(str(key), value) for key, value in boots.items()}
    return told


def _masked_boot(key: str, value: object) -> object:
    match value:
        case str():
            return masked_url(value)
        case list():
            return masked_args(value) if key == "args" else [masked_url(str(url)) for url in value]
    return value


def masked_args(args: Iterable[object]) -> list[str]:
    """Kernel arguments with the values of all but harmless ones taken out."""
    return [_masked_arg(str(arg)) for arg in args]


def masked_url(url: str) -> str:
    """A URL or path without credentials and query."""
    return _URL_SECRETS.sub(lambda found: "//" if found[0].startswith("//") else f"?{HIDDEN}", url)


def _silent(change: Change, head: str) -> list[str]:
    """What is said of a change of which nothing else may be."""
    if change.before is None or change.after is None or ":" in head:
        return []
    return ["its content"] if change.kind == "file" else [f"differs in what is {HIDDEN[1:-1]}"]


def _masked(change: Change) -> Change:
    return replace(
        change,
        before=_masked_facts(change.kind, change.before),
        after=_masked_facts(change.kind, change.after),
    )


def _masked_facts(kind: str, facts: Facts | None) -> Facts | None:
    if facts is None:
        return None
    return {key: _masked_value(kind, key, value) for key, value in facts.items()}


def _masked_value(kind: str, key: str, value: object) -> object:
    if kind == "profile" and key == "args" and isinstance(value, list):
        return masked_args(value)
    if kind == "profile" and key == "source" and isinstance(value, str):
        return masked_url(value)
    if _SECRET.search(key):
        return HIDDEN
    if isinstance(value, Mapping):
        return {name: _masked_value(kind, str(name), inner) for name, inner in value.items()}
    return value


def _masked_arg(arg: str) -> str:
    name, is_set, _ = arg.partition("=")
    return arg if not is_set or name in _HARMLESS else f"{name}={HIDDEN}"

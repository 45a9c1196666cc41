"""Judges the systemd unit: installed, enabled, active, and its sandbox still the shipped one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.doctor.finding import Finding, doubtful, fine, wrong

UNIT: Final = "pxe-appliance.service"
PROPERTIES: Final = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "FragmentPath",
    "DropInPaths",
    "NeedDaemonReload",
)
_INSTALL: Final = "pxe-appliance service install"
# Of the shipped unit: what shuts the service in. systemd merges these when they are given more than once.
_WORDS: Final = """
    AmbientCapabilities CapabilityBoundingSet NoNewPrivileges ProtectSystem ProtectHome PrivateTmp
    PrivateDevices PrivateMounts ProtectClock ProtectHostname ProtectKernelLogs ProtectKernelModules
    ProtectKernelTunables ProtectControlGroups ProtectProc ProcSubset RestrictNamespaces RestrictRealtime
    RestrictSUIDSGID LockPersonality MemoryDenyWriteExecute RemoveIPC KeyringMode DevicePolicy
    SystemCallArchitectures SystemCallErrorNumber SystemCallFilter RestrictAddressFamilies LimitCORE User
    UMask StateDirectoryMode RuntimeDirectoryMode
"""
_SANDBOX: Final = frozenset(_WORDS.split())
_TRUE: Final = {"yes", "true", "on", "1"}
_MANY: Final = 5


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """`systemctl show` (None: systemd does not run this host), `systemctl cat`, and the shipped text."""

    shown: Mapping[str, str] | None = None
    text: str = ""
    shipped: str = ""
    notes: tuple[str, ...] = field(default=())


def judge_unit(facts: UnitFacts) -> Iterator[Finding]:
    """What systemd makes of our service; nothing is tried where there is no systemd, or no unit."""
    shown = facts.shown
    if shown is None:
        yield fine(
            "unit-installed", "systemd does not run this host: there is no unit to look at", *facts.notes
        )
        return
    seen = tuple(f"{key}={shown[key]}" for key in PROPERTIES if shown.get(key))
    if shown.get("LoadState") != "loaded":
        words = f"{UNIT} is not installed: nothing starts the daemon with the host, or after a crash"
        if shown.get("LoadState") == "masked":
            yield wrong("unit-installed", f"{UNIT} is masked", f"systemctl unmask {UNIT}", *seen)
            return
        yield doubtful("unit-installed", words, _INSTALL, *seen)
        return
    yield fine(
        "unit-installed", f"{UNIT} is installed", *seen[:1], f"FragmentPath={shown.get('FragmentPath')}"
    )
    if shown.get("UnitFileState") in ("enabled", "enabled-runtime", "static"):
        yield fine("unit-enabled", f"{UNIT} starts with the host", f"UnitFileState={shown['UnitFileState']}")
    else:
        words = f"{UNIT} does not start with the host"
        yield doubtful("unit-enabled", words, f"systemctl enable {UNIT}", *seen)
    yield _judge_active(shown, seen)
    yield _judge_sandbox(facts, shown)
    yield _judge_restarts(shown, seen)


def _judge_active(shown: Mapping[str, str], seen: Sequence[str]) -> Finding:
    state = shown.get("ActiveState", "")
    if state == "active":
        return fine(
            "unit-active", f"{UNIT} is active", f"ActiveState={state} SubState={shown.get('SubState')}"
        )
    fix = f"systemctl start {UNIT}; journalctl -u {UNIT} -n 50"
    return wrong("unit-active", f"{UNIT} is {state or 'in an unknown state'}", fix, *seen)


def _judge_restarts(shown: Mapping[str, str], seen: Sequence[str]) -> Finding:
    text = shown.get("NRestarts", "0")
    count = int(text) if text.isdecimal() else 0
    if count <= _MANY:
        return fine("unit-restarts", f"systemd restarted the daemon {count} times", f"NRestarts={count}")
    words = f"systemd restarted the daemon {count} times since it was started"
    return doubtful("unit-restarts", words, f"journalctl -u {UNIT} -p warning -n 100", *seen)


def _judge_sandbox(facts: UnitFacts, shown: Mapping[str, str]) -> Finding:
    ours, theirs = directives(facts.shipped), directives(facts.text)
    drift = [
        f"{key}: {' '.join(theirs.get(key, ())) or 'missing'}; shipped: {' '.join(value)}"
        for key, value in ours.items()
        if key in _SANDBOX and _weaker(key, value, theirs.get(key, ()))
    ]
    stale = shown.get("NeedDaemonReload") == "yes"
    if not drift and not stale:
        count = len(_SANDBOX & set(ours))
        return fine("unit-hardening", f"{count} directives of the sandbox are as shipped", *facts.notes)
    if not drift:
        words = "the unit on disk is newer than what systemd goes by"
        return doubtful("unit-hardening", words, f"systemctl daemon-reload && systemctl restart {UNIT}")
    where = shown.get("DropInPaths") or shown.get("FragmentPath") or UNIT
    words = f"the sandbox is weaker than shipped: {drift[0].partition(':')[0]} and {len(drift) - 1} more"
    words = words if len(drift) > 1 else f"the sandbox is weaker than shipped: {drift[0]}"
    fix = f"look at {where}; systemd-analyze security {UNIT}; to go back: {_INSTALL}"
    return doubtful("unit-hardening", words, fix, *drift)


def _weaker(key: str, shipped: tuple[str, ...], real: tuple[str, ...]) -> bool:
    """Whether a directive lets more through: fewer capabilities or families, a tighter mask are no drift."""
    if key in ("AmbientCapabilities", "CapabilityBoundingSet", "RestrictAddressFamilies"):
        return not real or not set(real) <= set(shipped)
    if key == "SystemCallFilter":
        return not set(shipped) <= set(real)
    if key in ("UMask", "StateDirectoryMode", "RuntimeDirectoryMode"):
        return _mode(key, real) & ~_mode(key, shipped) != 0
    if shipped and shipped[0].lower() in _TRUE:
        return not real or real[0].lower() not in _TRUE
    return real != shipped


def _mode(key: str, words: tuple[str, ...]) -> int:
    """What a mode (or the complement of a mask) lets through."""
    try:
        value = int(words[0], 8)
    except (ValueError, IndexError):
        return 0o777
    return 0o777 & ~value if key == "UMask" else value


def directives(text: str) -> dict[str, tuple[str, ...]]:
    """The words of each directive of [Service]; later ones add or replace as systemd.syntax(7) has it."""
    found: dict[str, tuple[str, ...]] = {}
    section = ""
    lists = {"SystemCallFilter", "AmbientCapabilities", "CapabilityBoundingSet", "RestrictAddressFamilies"}
    for raw in text.replace("\\\n", " ").splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            key, words = key.strip(), tuple(value.split())
            known = found.get(key, ()) if key in lists and words else ()
            found[key] = (*known, *words)
    return found

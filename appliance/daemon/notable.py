"""What of everything that happens is worth a line in the log, and which webhooks are told of it. Pure.

A rack that boots, a flood of strangers and a machine that asks every second must all leave a log that can be
read: a rung is told once for each boot, a stranger once, and each kind of line has so many in a while.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.boot.events import Event, EventKind, rfc3339
from appliance.boot.ladder import RUNGS, BootState, Ladder
from appliance.daemon.log_lines import Severity
from appliance.plain_text import safe_text
from appliance.settings import Notice

K = EventKind
_HEIGHT: Final = MappingProxyType({rung: n for n, rung in enumerate(RUNGS)})
_STUCK: Final = BootState.STUCK.value
_LONGEST: Final = 256  # characters of a text of a client's
_DETAILS: Final = 24  # of an event, for a webhook
# A problem of `status` that an event tells already, or a verdict that does.
_TOLD_BY_EVENT: Final = frozenset({"held", "rogue-server", "stray-flood", "sync"})
_NUMBERS: Final = re.compile(r"(?<![\w.])\d+(?![\w.])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is worth telling.

    `kind` is what it is rationed with; `subject` names it where it is told again after a restart: it has the
    same one then. `data` is what a webhook gets, safe to show and plain JSON.
    """

    kind: str
    severity: Severity
    message: str
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notice: Notice | None = None
    subject: str = ""
    data: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Climb:
    """A step of a machine's boot. `seconds` since the rung before, None where the boot begins.

    `whole` is the time of the boot, from its beginning, where this is its end; `to` then says where it
    ended: image or disk.
    """

    rung: EventKind
    seconds: float | None
    whole: float | None = None
    to: str = ""


def climbed(before: Ladder, event: Event, after: Ladder) -> Climb | None:
    """The step that an event was; None when the machine stands where it stood."""
    at = after.rungs.get(event.kind)
    if after.rung is not event.kind or at is None or at == before.rungs.get(event.kind):
        return None
    lower = [t for rung, t in after.rungs.items() if _HEIGHT[rung] < _HEIGHT[event.kind]]
    # The wall clock can be set back in between; no step takes less than no time.
    seconds = max(0.0, (at - max(lower)).total_seconds()) if lower else None
    if not after.finished:
        return Climb(event.kind, seconds)
    began = after.rungs.get(K.DISCOVER)
    whole = max(0.0, (at - began).total_seconds()) if began else None
    return Climb(event.kind, seconds, whole, "disk" if after.handed_to_disk else "image")


def of_climb(event: Event, climb: Climb) -> Note:
    """A rung that a machine has reached."""
    name = event.machine or ""
    took = f", {climb.seconds:.1f} s after the rung before" if climb.seconds is not None else ""
    end = f"; it goes on to its {climb.to}" if climb.to == "disk" else ""
    done = Notice.DONE if climb.rung is K.DONE else None
    message = f"{name}: {climb.rung.value}{took}{end}"
    return _of_event(event, message, Severity.INFO, done, kind="rung", stage=climb.rung.value)


def of_event(event: Event, *, first: bool) -> Note | None:
    """An event that an operator wants to read of; `first`: of its stranger, or of its NIC and reason."""
    detail = event.detail
    reason = detail.get("reason", "")
    who = event.machine or str(event.mac or event.ip or "somebody")
    match event.kind:
        case K.STRAY if first:
            words = f"stranger {who} on {event.network or 'HTTP'}: {reason or 'not in the inventory'}"
            return _of_event(event, words, Severity.INFO, Notice.STRAY)
        case K.IGNORED if first:
            return _of_event(event, f"{event.mac} of {who} got nothing: {reason}", Severity.INFO)
        case K.HELD:
            remedy = detail.get("remedy", "")
            words = f"{who} is held: {reason or 'by an operator'}; let it go with {remedy}"
            return _of_event(event, words, Severity.WARNING, Notice.HELD)
        case K.LIFECYCLE:
            words = f"{who}: {detail.get('from', '?')} -> {detail.get('to', '?')}"
            return _of_event(event, words, Severity.INFO, Notice.LIFECYCLE)
        case K.ROGUE_SERVER:
            return _rogue(event)
        case K.SYNC if reason:
            return _of_event(event, f"sync failed: {reason}", Severity.ERROR, Notice.SYNC)
        case K.SYNC:
            until = f" until {detail['until']}, unless it is confirmed" if "until" in detail else ""
            words = f"generation {detail.get('generation', '?')} is current{until}: {detail.get('why', '')}"
            return _of_event(event, words, Severity.INFO, Notice.SYNC)
        case K.ROLLBACK:
            return _of_event(event, f"rolled back: {reason}", Severity.ERROR, Notice.ROLLBACK)
        case K.DNSMASQ if "message" in detail:
            return _of_event(event, detail["message"], Severity.INFO)
    if event.kind is K.STRAY_FLOOD:
        words = detail.get("message") or reason or "too many strangers ask for an address"
        severity = Severity.INFO if detail.get("what") == "over" else Severity.WARNING
        return _of_event(event, words, severity, Notice.STRAY_FLOOD)
    return None


def _rogue(event: Event) -> Note:
    server = event.detail.get("server") or str(event.ip or "")
    mac = f" ({event.mac})" if event.mac else ""
    network = event.network or "a network of ours"
    if event.detail.get("what") == "gone":
        words = event.detail.get("message") or f"the other DHCP server {server}{mac} on {network} is gone"
        return _of_event(event, words, Severity.INFO, Notice.ROGUE_SERVER)
    words = event.detail.get("message") or f"another DHCP server answers on {network}: {server}{mac}"
    return _of_event(event, words, Severity.ERROR, Notice.ROGUE_SERVER)


def _of_event(
    event: Event,
    message: str,
    severity: Severity,
    notice: Notice | None = None,
    *,
    kind: str = "",
    stage: str = "",
) -> Note:
    found = {
        "machine": event.machine or "",
        "mac": event.mac.text if event.mac else "",
        "stage": stage or event.detail.get("stage", ""),
        "network": event.network or "",
        "event": event.kind.value,
        "code": event.detail.get("code", ""),
    }
    facts = MappingProxyType({name: value for name, value in found.items() if value})
    subject = f"{event.kind.value} {rfc3339(event.at)} {event.machine} {event.mac} {event.ip}"
    data = _safe(event) if notice is not None else MappingProxyType({})
    return Note(kind or event.kind.value, severity, message, facts, notice, subject, data)


def _safe(event: Event) -> dict[str, object]:
    short = list(event.detail.items())[:_DETAILS]
    detail = {safe_text(k, limit=64): safe_text(v, limit=_LONGEST) for k, v in short}
    return {**event.as_json(), "detail": detail}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is wrong at a moment: by machine the verdict on its boot, and the problems of `status`, by key."""

    verdicts: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    problems: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, object]], problems: Iterable[Mapping[str, str]]) -> Outlook:
        """From the public rows of `machines` and of `status`."""
        verdicts: dict[str, Mapping[str, str]] = {}
        for row in rows:
            verdict, rung_at = row.get("verdict"), row.get("rung_at")
            if isinstance(verdict, Mapping):
                words = {str(k): str(v) for k, v in verdict.items()}
                boot = row.get("boot")
                state = str(boot.get("state")) if isinstance(boot, Mapping) else ""
                place = {"network": str(row.get("network", "")), "rung": str(row.get("rung") or "")}
                at = {"at": str(rung_at), "state": state}
                verdicts[str(row["name"])] = MappingProxyType({**words, **place, **at})
        return cls(MappingProxyType(verdicts), MappingProxyType({_key(p): p for p in problems}))


def _key(problem: Mapping[str, str]) -> str:
    """Which problem it is: a number in its words that grows does not make it another one."""
    return f"{problem.get('id')} {_NUMBERS.sub('#', problem.get('message', ''))}"


def lasting(before: Outlook, seen: Outlook, kept: Outlook) -> Outlook:
    """`seen`, but for problems that came or went since `before`, a look ago: these are as in `kept`."""
    both = before.problems.keys() & seen.problems.keys()
    either = before.problems.keys() | seen.problems.keys()
    problems = {k: p for k, p in seen.problems.items() if k in both or k in kept.problems}
    problems |= {k: p for k, p in kept.problems.items() if k in either and k not in problems}
    return Outlook(seen.verdicts, MappingProxyType(problems))


def changes(before: Outlook, after: Outlook) -> Iterator[Note]:
    """What has become wrong between two outlooks, and what is well again."""
    for name, verdict in after.verdicts.items():
        was = before.verdicts.get(name)
        if was is None or (was["id"], was["state"]) != (verdict["id"], verdict["state"]):
            yield from _of_verdict(name, verdict, was)
    for name, verdict in before.verdicts.items():
        if name not in after.verdicts:
            yield from _of_end(name, verdict)
    for key, problem in after.problems.items():
        if key not in before.problems and problem["id"] not in _TOLD_BY_EVENT:
            yield _of_problem(problem, gone=False)
    for key, problem in before.problems.items():
        if key not in after.problems and problem["id"] not in _TOLD_BY_EVENT:
            yield _of_problem(problem, gone=True)


def _of_verdict(name: str, verdict: Mapping[str, str], was: Mapping[str, str] | None) -> Iterator[Note]:
    """A verdict, on a boot that stopped or that looks odd; and the end of one that had stopped."""
    if verdict["id"] == "held":
        return  # its event tells
    if verdict["state"] == _STUCK:
        words = f"{name} is stuck: {verdict['message']}; {verdict['remedy']}"
        yield _on_boot(name, verdict, words, Severity.WARNING, Notice.STUCK)
        return
    if was is not None and was["state"] == _STUCK:
        yield from _of_end(name, was)
    yield _on_boot(name, verdict, f"{name}: {verdict['message']}; {verdict['remedy']}", Severity.INFO)


def _of_end(name: str, verdict: Mapping[str, str]) -> Iterator[Note]:
    if verdict["id"] != "held":
        told = Notice.STUCK if verdict["state"] == _STUCK else None
        yield _on_boot(name, verdict, f"{name} goes on", Severity.INFO, told, gone=True)


def _on_boot(
    name: str,
    verdict: Mapping[str, str],
    words: str,
    severity: Severity,
    notice: Notice | None = None,
    *,
    gone: bool = False,
) -> Note:
    told = {k: safe_text(verdict.get(k, ""), limit=_LONGEST) for k in ("id", "message", "remedy")}
    found = {"machine": name, "stage": verdict.get("rung", ""), "network": verdict.get("network", "")}
    facts = {**{k: v for k, v in found.items() if v}, "event": "stuck", "code": told["id"]}
    data = {"machine": name, "network": found["network"] or None, "verdict": told, "gone": gone}
    subject = f"stuck {name} {told['id']} {verdict.get('at')} {gone}"
    return Note("verdict", severity, words, MappingProxyType(facts), notice, subject, data)


def _of_problem(problem: Mapping[str, str], *, gone: bool) -> Note:
    told = {k: safe_text(problem.get(k, ""), limit=1000) for k in ("id", "severity", "message", "fix")}
    severity = Severity.ERROR if told["severity"] == "error" else Severity.WARNING
    words = f"no longer: {told['message']}" if gone else told["message"]
    facts = MappingProxyType({"event": "problem", "code": told["id"]})
    data = {"problem": told, "gone": gone}
    return Note("problem", Severity.INFO if gone else severity, words, facts, Notice.PROBLEM, "", data)


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    withheld: int = 0


# Lines of a kind at once, and a second. Rungs are bounded by the inventory, strangers by nothing.
_RATIONS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"rung": (20_000.0, 200.0), "stray": (50.0, 1.0), "verdict": (1000.0, 10.0)}
)
_USUAL: Final = (100.0, 5.0)


class Rations:
    """How many notes of a kind may still be told."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, kind: str, at: float) -> bool:
        """Whether one more may be told at `at`, monotonic seconds."""
        most, rate = _RATIONS.get(kind, _USUAL)
        bucket = self._buckets.setdefault(kind, _Bucket(most, at))
        bucket.left = min(most, bucket.left + (at - bucket.at) * rate)
        bucket.at = at
        if bucket.left < 1:
            bucket.withheld += 1
            return False
        bucket.left -= 1
        return True

    def withheld(self) -> Iterator[Note]:
        """What was not told since this was asked last."""
        for kind, bucket in self._buckets.items():
            count, bucket.withheld = bucket.withheld, 0
            if count:
                words = f"{count} more lines of the kind {kind} were left out: pxe-appliance events has all"
                yield Note("withheld", Severity.INFO, words, MappingProxyType({"event": kind}))

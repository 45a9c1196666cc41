"""A plan as lines for a person. Pure; colours are the caller's business."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.sync.plan import Action, Change, Facts, Plan
from appliance.tree import Activation

_SIGNS = {Action.ADD: "+", Action.CHANGE: "~", Action.REMOVE: "-"}
_MEANS = {
    Activation.NONE: "nothing has to be reloaded",
    Activation.RELOAD: "reload (SIGHUP, no exchange is lost)",
    Activation.RESTART: "restart (dnsmasq is away for some 10 to 40 ms)",
}
_LIMIT = 400  # lines; the JSON form has no limit


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan, one fact a line: `+` comes, `~` changes, `-` goes."""
    if plan.empty:
        yield "No changes: the current generation is what settings and inventory ask for."
        yield from (f"note: {note}" for note in plan.desired.notes)
        yield from _refusal_lines(plan)
        return
    lines = [line for change in plan.changes for line in change_lines(change)]
    yield from lines[:_LIMIT]
    if len(lines) > _LIMIT:
        yield f"… and {len(lines) - _LIMIT} lines more (-o json prints everything)"
    for release in plan.releases[:_LIMIT]:
        yield f"! release the lease of {release.ip} held by {release.mac}"
    if len(plan.releases) > _LIMIT:
        yield f"… and {len(plan.releases) - _LIMIT} releases more"
    yield ""
    counts = [f"{sum(c.action is a for c in plan.changes)} to {a.value}" for a in Action]
    yield f"Plan: {', '.join(counts)}. Activation: {_MEANS[plan.activation]}."
    yield from (f"note: {note}" for note in plan.desired.notes)
    if any(c.name == "boot.json" for c in plan.changes):
        yield from (f"note: {refusal}" for refusal in plan.desired.refusals)
    yield from _refusal_lines(plan)


def _refusal_lines(plan: Plan) -> Iterator[str]:
    """For what a sync will be refused."""
    for danger in plan.unsafe:
        yield f"UNSAFE {danger.message}"
        yield f"    {danger.fix}"
    for missing in plan.desired.missing:
        yield f"MISSING {missing}"
        yield f"    {missing.remedy}"


def change_lines(change: Change) -> Iterator[str]:
    """One change: a head line, and below it a line for each fact that differs."""
    head = f"{_SIGNS[change.action]} {change.kind} {change.name}"
    match change.action:
        case Action.CHANGE:
            assert change.before is not None
            assert change.after is not None
            yield head
            for key in sorted(change.before.keys() | change.after.keys()):
                old, new = change.before.get(key), change.after.get(key)
                if old != new:
                    yield f"    {key}: {_value(old)} -> {_value(new)}"
        case _:
            facts = change.after or change.before or {}
            yield f"{head}{_brief(change.kind, facts)}"


def _brief(kind: str, facts: Facts) -> str:
    match kind:
        case "machine":
            macs = facts.get("macs")
            names = ", ".join(macs) if isinstance(macs, list) else ""
            return f": {names} at {facts.get('ip')}, profile {facts.get('profile') or 'none'}"
        case "network":
            return f": {facts.get('subnet')} on {facts.get('interface')}, mode {facts.get('mode')}"
        case "settings":
            return ": " + ", ".join(f"{k} {_value(v)}" for k, v in facts.items())
        case "profile":
            return f": {facts.get('source') or 'no image'}, boot {facts.get('boot')}"
        case _:
            return ""


def _value(value: object) -> str:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}={_nested(v)}" for k, v in sorted(value.items()))
    text = str(value)
    return text[:12] + "…" if len(text) == 64 and text.isalnum() else text


def _nested(value: object) -> str:
    text = _value(value)
    return f"({text})" if isinstance(value, dict | list) else text

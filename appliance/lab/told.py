"""What a lifecycle trial's turn shows besides: reports in full, states of lives, a thief's refusals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from appliance.boot.events import Event, EventKind
from appliance.lab.rack import LabMachine
from appliance.lab.watch import Finding, Watch


def judge_report(watch: Watch, machine: LabMachine, ending: str, words: str) -> Finding:
    """Whether the machine's report ends as that of one that did its duty; `words` say what that means."""
    reports = watch.details.get(machine.name, {}).get(EventKind.DONE, ())
    said = reports[0].get("message", "") if reports else "nothing"
    if said.endswith(ending):
        return Finding(machine.name, True, words)
    return Finding(machine.name, False, f"was to say that it has done its duty ({ending}), and said {said}")


def judge_lives(lives: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[Finding, ...]:
    """Whether `machines` says of each machine what it is in its life by now."""
    wrong = {name: state for name, state in wanted.items() if lives.get(name) != state}
    return tuple(
        Finding(name, False, f"is said to be {lives.get(name) or 'unknown'}, and should be {state}")
        for name, state in wrong.items()
    )


def judge_refusals(events: Sequence[Event], *, thief: LabMachine, victim: LabMachine) -> tuple[Finding, ...]:
    """Whether the events show that the thief asked for the victim's, from both addresses, and was refused.

    What it got is the thief's own word, in its report; this is the appliance's.
    """
    refused = [event for event in events if event.kind is EventKind.HTTP_ERROR]
    own = [e for e in refused if e.machine == thief.name and e.detail.get("claims") == victim.name]
    posed = [e for e in refused if e.ip == victim.ip and thief.name in e.detail.get("reason", "")]
    if not own:
        return (Finding(thief.name, False, f"asked for {victim.name}'s Ignition, and no event says so"),)
    if not posed:
        words = f"asked for it from {victim.name}'s address, and no event names {thief.name}"
        return (Finding(thief.name, False, words),)
    times = len(own) + len(posed)
    words = f"was refused {victim.name}'s Ignition {times} times, from its own address and from {victim.ip}"
    return (Finding(thief.name, True, words),)

"""Which release machines booted: by their script, by what they loaded, by what then runs on them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.boot.events import EventKind
from appliance.images.model import release_name
from appliance.lab.payload import says_release
from appliance.lab.rack import LabMachine
from appliance.lab.release import INITRD, KERNEL, STREAM
from appliance.lab.watch import Finding, Watch


def judge_release(watch: Watch, version: str) -> tuple[Finding, ...]:
    """Whether each machine booted this `version`, and nothing of another one."""
    return tuple(_machine(watch, machine, version) for machine in watch.rack.machines)


def _machine(watch: Watch, machine: LabMachine, version: str) -> Finding:
    release = release_name(STREAM, version)
    said = watch.details.get(machine.name, {})
    base = f"/assets/{STREAM.folder}/{version}"
    wanted: Mapping[EventKind, tuple[str, str]] = {
        EventKind.SCRIPT: ("image", release),
        EventKind.KERNEL: ("path", f"{base}/{KERNEL}"),
        EventKind.INITRD: ("path", f"{base}/{INITRD}"),
    }
    for rung, (key, right) in wanted.items():
        seen = [detail.get(key, "") for detail in said.get(rung, ())]
        if wrong := next((value or "nothing" for value in seen or [""] if value != right), None):
            return Finding(machine.name, False, f"was to boot {release}: its {rung} was {wrong}")
    messages = [detail.get("message", "") for detail in said.get(EventKind.DONE, ())]
    if not messages or not all(message.endswith(says_release(version)) for message in messages):
        heard = messages[0] if messages else "nothing"
        return Finding(machine.name, False, f"was to boot {release}: what runs on it says {heard}")
    return Finding(machine.name, True, f"booted {release}: script, kernel, initrd and what runs on it say so")

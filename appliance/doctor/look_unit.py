"""Looks at the systemd unit, and at the shipped one beside it."""

from __future__ import annotations

from appliance.doctor.reach import Reach
from appliance.doctor.unit import PROPERTIES, UNIT, UnitFacts
from appliance.system.shipped import shipped


def look_at_unit(reach: Reach) -> UnitFacts:
    """What systemctl says; nothing where systemd does not run."""
    done = reach.run("systemctl", "show", UNIT, f"--property={','.join(PROPERTIES)}")
    if done is None or done.rc != 0:
        why = done.stderr.strip().splitlines()[:1] if done else ["systemctl is not here, or does not answer"]
        return UnitFacts(notes=tuple(why))
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    text = reach.run("systemctl", "cat", UNIT)
    return UnitFacts(
        shown,
        text.stdout if text else "",
        (shipped("systemd") / UNIT).read_text(encoding="utf-8"),
    )

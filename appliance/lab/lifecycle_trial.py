"""`lab run --lifecycle`: machines through their lives, with real firmware.

install → disk → reinstall       a BIOS and a UEFI machine
lost → lost → held → released    a machine whose installer never calls home
a thief                          tries to read and to speak for the one whose boot is still open
a bond                           whose machine compares its Ignition with its own NICs
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from rich.console import Console

from appliance.boot.events import Event
from appliance.lab import disk, segment
from appliance.lab.aims import Aim
from appliance.lab.follow import boot
from appliance.lab.kernel import Kernel
from appliance.lab.payload import initramfs
from appliance.lab.payload_script import EXPECT, INSTALL, LOOP, MAKES, NOTHING_OF, STEAL
from appliance.lab.premises import Premises
from appliance.lab.rack import Firmware, LabMachine, Rack, other_mac
from appliance.lab.root_files import Duty, files
from appliance.lab.service import Service
from appliance.lab.told import judge_lives, judge_refusals, judge_report
from appliance.lab.watch import Finding, Watch, event_from_json
from appliance.plain_text import safe_text
from appliance.system.files import make_directory
from appliance.tree import Tree

AT_ONCE: Final = 3  # machines that are on at the same time
_BIOS: Final = LabMachine(1, Firmware.BIOS, disk=True)
_UEFI: Final = LabMachine(2, Firmware.UEFI, disk=True)
_LOOPING: Final = LabMachine(3, Firmware.BIOS, disk=True)
_THIEF: Final = LabMachine(4, Firmware.BIOS)
_BONDED: Final = LabMachine(5, Firmware.BIOS, (other_mac(5, 1), other_mac(5, 2)))
RACK: Final = Rack((_BIOS, _UEFI, _LOOPING, _THIEF, _BONDED), stranger=None)
_BOND: Final = ("bond0", 100, "10.0.100.15/24")
_NETWORKS: Final = ",".join(str(word) for word in _BOND)
_PREY: Final = f"{_LOOPING.mac.dashed},{_LOOPING.ip}"
_INSTALLS: Final = Duty("install-once", (f"{INSTALL}=/dev/vda",))
_DUTIES: Final[Mapping[str, Duty]] = {
    _BIOS.name: _INSTALLS,
    _UEFI.name: _INSTALLS,
    _LOOPING.name: Duty("install-once", (f"{LOOP}=yes",)),
    _THIEF.name: Duty(args=(f"{STEAL}={_PREY}",)),
    _BONDED.name: Duty(args=(f"{EXPECT}={_NETWORKS}",), bond=_BOND),
}
_ALL_EVENTS: Final = "10000"


def operators_files(kernel: Kernel, busybox: bytes) -> Tree:
    """What the operator of this rack has written."""
    initrd = initramfs(busybox, kernel.modules)
    return files(RACK, kernel=kernel.image, initrd=initrd, disk=disk.image(), duties=_DUTIES)


def show(place: Premises, under_trial: Service, timeout: float, console: Console) -> None:
    """Power the machines on, five times, and give the orders in between.

    Raises:
        NotProven: a machine did not come to what it should.
    """

    def turn(number: int, words: str, aims: Mapping[LabMachine, Aim]) -> None:
        names = ", ".join(machine.name for machine in aims)
        console.print(f"{number}: powering on {names}: {words}", highlight=False)
        logs = under_trial.logs / f"{number}"
        make_directory(logs)
        for machine in aims:
            segment.place(place.segment, machine)
        to = {machine.name: aim for machine, aim in aims.items()}
        by_itself = replace(under_trial, logs=logs)

        def also(watch: Watch) -> tuple[Finding, ...]:
            return _seen_besides(under_trial, watch, aims)

        boot(place, Rack(tuple(aims), stranger=None), by_itself, timeout, console, aims=to, also=also)

    turn(
        1,
        "two install, one never calls home",
        {_BIOS: Aim.INSTALL, _UEFI: Aim.INSTALL, _LOOPING: Aim.LOST},
    )
    turn(
        2,
        "two are installed, one never calls home, again",
        {_BIOS: Aim.DISK, _UEFI: Aim.DISK, _LOOPING: Aim.LOST},
    )
    _order(under_trial, console, "machine", "reinstall", _BIOS.name)
    _order(under_trial, console, "machine", "reinstall", _UEFI.name)
    turn(
        3,
        f"two install again, a thief is after {_LOOPING.name}",
        {_BIOS: Aim.REINSTALL, _UEFI: Aim.REINSTALL, _THIEF: Aim.HOME},
    )
    turn(4, "one installs for the third time, one becomes a bond", {_LOOPING: Aim.HELD, _BONDED: Aim.HOME})
    _order(under_trial, console, "machine", "release", _LOOPING.name)
    turn(5, "released", {_LOOPING: Aim.LOST})


def _seen_besides(under_trial: Service, watch: Watch, aims: Mapping[LabMachine, Aim]) -> tuple[Finding, ...]:
    """What the lives have come to, as an operator sees it; what the thief got, and the bond's machine."""
    rows: object = json.loads(under_trial.call("machines", "-o", "json").stdout)
    lives = {
        str(row.get("name")): str(row.get("lifecycle"))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping)
    }
    wanted = {machine.name: _AFTERWARDS[aim] for machine, aim in aims.items() if aim in _AFTERWARDS}
    found = judge_lives(lives, wanted)
    if _THIEF in aims:
        words = f"got nothing of {_LOOPING.name}'s, and spoke for nobody but itself"
        found += (judge_report(watch, _THIEF, f"{NOTHING_OF} {_PREY}", words),)
        found += judge_refusals(_events(under_trial), thief=_THIEF, victim=_LOOPING)
    if _BONDED in aims:
        words = f"its Ignition makes {_BOND[0]} of its own NICs, and VLAN {_BOND[1]} on it"
        found += (judge_report(watch, _BONDED, f"{MAKES} {_NETWORKS}", words),)
    return found


_AFTERWARDS: Final[Mapping[Aim, str]] = {
    Aim.INSTALL: "installed",
    Aim.REINSTALL: "installed",
    Aim.DISK: "installed",
    Aim.LOST: "installing",
    Aim.HELD: "held",
}


def _events(under_trial: Service) -> Sequence[Event]:
    said = under_trial.call("events", "-o", "json", "-n", _ALL_EVENTS).stdout
    found = (event_from_json(line) for line in said.splitlines() if line)
    return [event for event in found if event is not None]


def _order(under_trial: Service, console: Console, *words: str) -> None:
    """Run a command, and show what an operator sees."""
    console.print(f"$ pxe-appliance {' '.join(words)}", highlight=False, markup=False)
    for line in under_trial.call(*words).stdout.splitlines():
        console.print(f"  {safe_text(line, limit=1000)}", highlight=False, markup=False, soft_wrap=True)

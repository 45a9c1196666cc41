"""The isolated wire: two namespaces, a bridge, and what is plugged into it.

    appliance namespace            wire namespace
    pxe0 172.0.1.1/24 ──veth── srv0 ─┐
                                     ├─ br0 ── tap1 … (machines; a BIOS ROM joins through its relay's veth)
                                     ├─ adv1 ─ adv0 (router advertisements)
                                     └─ str1 ─ str0 (the stranger)

Everything lives inside the namespaces, and every process of a lab runs inside one of them: removing the two
by name removes a lab, whatever became of the run that built it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.errors import SurroundingsError
from appliance.lab.namespace import NAMESPACES
from appliance.lab.rack import INTERFACE, SERVER, SUBNET, Firmware, LabMachine, Rack
from appliance.system.command import run

BRIDGE: Final = "br0"
ADVERTISER: Final = "adv0"
STRANGERS: Final = "str0"
_PREFIX: Final = "pxelab-"
_OURS: Final = re.compile(r"pxelab-(?P<lab>[0-9]{1,10})-(?:srv|wire)", re.ASCII)
_PATIENCE: Final = 20.0  # seconds for one ip(8) command on a busy host
_GRACE: Final = 3.0  # seconds between TERM and KILL


@dataclass(frozen=True, slots=True)
class Segment:
    """The two namespaces of one lab, by its number."""

    lab: int

    @property
    def appliance(self) -> str:
        return f"{_PREFIX}{self.lab}-srv"

    @property
    def wire(self) -> str:
        return f"{_PREFIX}{self.lab}-wire"


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` in `namespace`."""
    return ["ip", "netns", "exec", namespace, *argv]


def build(segment: Segment, rack: Rack) -> None:
    """Lay the wire, with a place for each machine of `rack`, all of them powered off."""
    for namespace in (segment.appliance, segment.wire):
        _ip("netns", "add", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
    wire = ("-n", segment.wire)
    _ip(*wire, "link", "add", BRIDGE, "type", "bridge", *_bridge_options())
    _up(segment.wire, BRIDGE)
    _ip(*wire, "link", "add", "srv0", "type", "veth", "peer", "name", INTERFACE, "netns", segment.appliance)
    _plug(segment.wire, "srv0")
    _ip("-n", segment.appliance, "addr", "add", f"{SERVER}/{SUBNET.prefixlen}", "dev", INTERFACE)
    _up(segment.appliance, INTERFACE)
    # With checksums left to a NIC that does not exist, raw readers and guests see broken UDP.
    for namespace, name in ((segment.wire, "srv0"), (segment.appliance, INTERFACE)):
        run(inside(namespace, ["ethtool", "-K", name, "tx", "off"]), timeout=_PATIENCE)
    _leg(segment.wire, "adv1", ADVERTISER)
    _leg(segment.wire, "str1", STRANGERS)
    for machine in rack.machines:
        place(segment, machine)


def place(segment: Segment, machine: LabMachine) -> None:
    """Give `machine` fresh taps, as before its first power-on."""
    for name in (machine.tap, *machine.other_taps, machine.inner_leg):
        run(["ip", "-n", segment.wire, "link", "del", name], timeout=_PATIENCE, check=False)
    _tap(segment.wire, machine.tap)
    if machine.firmware is Firmware.BIOS:
        _leg(segment.wire, machine.inner_leg, machine.outer_leg)
    else:
        _plug(segment.wire, machine.tap)
    for tap in machine.other_taps:
        _tap(segment.wire, tap)
        _plug(segment.wire, tap)


def join(segment: Segment, machine: LabMachine) -> None:
    """Make the machine's tap a port of the bridge, and take its relay's veth away."""
    _ip("-n", segment.wire, "link", "del", machine.inner_leg)
    _plug(segment.wire, machine.tap)


def remove(segment: Segment) -> None:
    """End every process in both namespaces, and remove them; nothing there is fine."""
    for namespace in (segment.wire, segment.appliance):
        if (NAMESPACES / namespace).exists():
            _end_all(namespace)
            _ip("netns", "del", namespace)


def segments() -> list[Segment]:
    """All labs that have a namespace on this host, ours by their name, the oldest number first."""
    if not NAMESPACES.is_dir():
        return []
    found = (_OURS.fullmatch(path.name) for path in NAMESPACES.iterdir())
    return [Segment(lab) for lab in sorted({int(match["lab"]) for match in found if match})]


def _bridge_options() -> tuple[str, ...]:
    return ("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")


def _leg(namespace: str, inner: str, outer: str) -> None:
    _ip("-n", namespace, "link", "add", inner, "type", "veth", "peer", "name", outer)
    _plug(namespace, inner)
    _up(namespace, outer)


def _tap(namespace: str, name: str) -> None:
    _ip("-n", namespace, "tuntap", "add", "dev", name, "mode", "tap")
    _up(namespace, name)


def _plug(namespace: str, name: str) -> None:
    _ip("-n", namespace, "link", "set", name, "master", BRIDGE)
    _up(namespace, name)


def _up(namespace: str, name: str) -> None:
    # A link-local address of the host's own would only add noise; a kernel without IPv6 refuses the word.
    run(["ip", "-n", namespace, "link", "set", name, "addrgenmode", "none"], timeout=_PATIENCE, check=False)
    _ip("-n", namespace, "link", "set", name, "up")


def _ip(*words: str) -> None:
    run(["ip", *words], timeout=_PATIENCE)


def _end_all(namespace: str) -> None:
    """TERM, then KILL, for whatever still runs in `namespace`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _pids(namespace):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + _GRACE
        while _pids(namespace):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
    raise SurroundingsError(f"cannot empty namespace {namespace}: processes {_pids(namespace)} do not end")


def _pids(namespace: str) -> list[int]:
    said = run(["ip", "netns", "pids", namespace], timeout=_PATIENCE, check=False).stdout
    return [int(word) for word in said.split()]

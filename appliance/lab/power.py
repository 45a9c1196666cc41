"""Machines powered on: their QEMU processes, the relays of BIOS ROMs, the router advertisements."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.errors import SurroundingsError
from appliance.lab import segment
from appliance.lab.firmware_relay import relay
from appliance.lab.machine import OVMF_VARS, command
from appliance.lab.namespace import packet_socket
from appliance.lab.payload import SAYS
from appliance.lab.rack import Firmware, LabMachine
from appliance.lab.router_advert import advertise
from appliance.lab.segment import Segment
from appliance.system.command import ending, spawn

_GRACE: Final = 3.0  # seconds that a machine has to end by itself, and then QEMU
_SERIAL_TAIL: Final = 16384
_DISK: Final = 4 << 20


@dataclass(slots=True)
class Power:
    """The machines that are on."""

    logs: Path
    machines: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)  # what stopped a relay before its time

    def ended(self, machine: LabMachine) -> str:
        """How the machine's QEMU ended, in words; empty while it runs."""
        rc = self.machines[machine.name].poll()
        if rc is None:
            return ""
        return "powered off" if rc == 0 else ending("qemu", rc)

    def last_words(self, machine: LabMachine) -> str:
        """What stopped its relay; else the payload's last words, QEMU's complaint, the firmware's last."""
        if machine.name in self.troubles:
            return self.troubles[machine.name]
        printed = [line.strip() for line in _tail(self.serial_log(machine)) if line.strip()]
        said = [line.partition(SAYS)[2] for line in printed if SAYS in line]
        complaints = [line for line in _tail(self.logs / f"{machine.name}.qemu.log") if line]
        return (said or complaints or printed or [""])[-1]

    def printed(self, machine: LabMachine) -> str:
        """The end of what it printed on its serial line."""
        return "\n".join(_tail(self.serial_log(machine)))

    def serial_log(self, machine: LabMachine) -> Path:
        return self.logs / f"{machine.name}.serial.log"


@contextlib.contextmanager
def powered(
    where: Segment, machines: Sequence[LabMachine], *, directory: Path, logs: Path
) -> Iterator[Power]:
    """Power `machines` on, all at once; off again at the end.

    Args:
        directory: takes the machines' variable stores, and their disks, which keep what is on them.
        logs: takes a serial log and QEMU's own words per machine.
    """
    stop = threading.Event()
    power = Power(logs)
    with contextlib.ExitStack() as held:
        held.callback(_switch_off, power.machines)
        threads = [_advertiser(where, stop, held)]
        roms = [m for m in machines if m.firmware is Firmware.BIOS]
        threads += [_relay(where, m, stop, held, power.troubles) for m in roms]
        held.callback(_stop, stop, threads)
        for thread in threads:
            thread.start()
        for machine in machines:
            power.machines[machine.name] = _switch_on(where, machine, directory, power)
        yield power


def _switch_on(where: Segment, machine: LabMachine, directory: Path, power: Power) -> subprocess.Popen[bytes]:
    variables, disk = directory / f"{machine.name}.vars", directory / f"{machine.name}.disk"
    if machine.firmware is not Firmware.BIOS:
        shutil.copyfile(OVMF_VARS, variables)
    if machine.disk and not disk.exists():
        with disk.open("wb") as empty:
            empty.truncate(_DISK)
    argv = command(
        machine,
        serial_log=PurePosixPath(power.serial_log(machine)),
        variables=PurePosixPath(variables),
        disk=PurePosixPath(disk),
    )
    with (power.logs / f"{machine.name}.qemu.log").open("wb") as complaints:
        return spawn(segment.inside(where.wire, argv), stdout=complaints.fileno(), stderr=complaints.fileno())


def _switch_off(machines: Mapping[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _GRACE
    for process in machines.values():
        process.terminate()
    for process in machines.values():
        try:
            process.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _advertiser(where: Segment, stop: threading.Event, held: contextlib.ExitStack) -> threading.Thread:
    leg = held.enter_context(packet_socket(where.wire, segment.ADVERTISER))
    return threading.Thread(target=advertise, args=(leg, stop))


def _relay(
    where: Segment,
    machine: LabMachine,
    stop: threading.Event,
    held: contextlib.ExitStack,
    troubles: dict[str, str],
) -> threading.Thread:
    tap, leg, bridge = (
        held.enter_context(packet_socket(where.wire, name))
        for name in (machine.tap, machine.outer_leg, segment.BRIDGE)
    )

    def join() -> None:
        segment.join(where, machine)

    def work() -> None:
        try:
            relay(tap, leg, bridge, join, stop)
        except (OSError, SurroundingsError) as error:
            troubles[machine.name] = f"the relay of its ROM failed: {error}"

    return threading.Thread(target=work)


def _stop(stop: threading.Event, threads: Sequence[threading.Thread]) -> None:
    stop.set()
    for thread in threads:
        if thread.ident is not None:
            thread.join()


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - _SERIAL_TAIL, 0))
            return stream.read(_SERIAL_TAIL).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []

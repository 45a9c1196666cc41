"""`lab run --faults`: five things that go wrong in every rack, and how soon the appliance names each.

a kernel that is not there      a MAC that was written down wrong      a second NIC on the VLAN
another DHCP server             a Matchbox endpoint that is stopped
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from appliance.errors import NotProven
from appliance.lab import named, segment, service
from appliance.lab.board import print_findings
from appliance.lab.kernel import Kernel
from appliance.lab.named import Told
from appliance.lab.payload import initramfs
from appliance.lab.power import powered
from appliance.lab.premises import Premises
from appliance.lab.rack import HTTP_PORT, SERVER, SUBNET, Firmware, LabMachine, Rack, other_mac
from appliance.lab.root_files import Duty, appliance_toml, files
from appliance.lab.service import Service
from appliance.lab.watch import Finding
from appliance.plain_text import safe_text
from appliance.system.command import run, spawn
from appliance.system.files import make_directory, write_atomic
from appliance.tree import Tree

AT_ONCE: Final = 3  # machines that are on at the same time
WITHIN: Final = 65.0  # seconds from the cause to its name
_BROKEN: Final = LabMachine(1, Firmware.UEFI)
_MISTYPED: Final = LabMachine(2, Firmware.BIOS)
_TWO_NICS: Final = LabMachine(3, Firmware.UEFI, (other_mac(3, 1),))
_LEFT_ALONE: Final = LabMachine(4, Firmware.UEFI)
RACK: Final = Rack((_BROKEN, _MISTYPED, _TWO_NICS, _LEFT_ALONE), stranger=None)
_WRITTEN: Final = _MISTYPED.mac.text[:-1] + "9"  # for …:02
_ROGUE: Final = SUBNET.network_address + 66
_STOPPED: Final = f"http://{SERVER}:{HTTP_PORT + 15}"  # nobody listens there
_BETWEEN: Final = 1.0  # seconds between looks
_DUTIES: Final[Mapping[str, Duty]] = {
    _BROKEN.name: Duty(kernel="/assets/lab/vmlinuz-of-last-year"),
    _MISTYPED.name: Duty(mac=_WRITTEN),
}


@dataclass(frozen=True, slots=True)
class _Case:
    """A cause in words, the command that shall name it, and how its answer tells."""

    cause: str
    command: tuple[str, ...]
    told: Callable[[object], Told | None]


_AT_POWER_ON: Final = (
    _Case(
        f"{_BROKEN.name}'s kernel is not where its profile says", ("why", _BROKEN.name), named.kernel_missing
    ),
    _Case(
        f"{_MISTYPED.name} has the MAC {_MISTYPED.mac}, written down as {_WRITTEN}",
        ("why", _MISTYPED.name),
        named.mistyped(_MISTYPED.mac),
    ),
    _Case(
        f"the second NIC of {_TWO_NICS.name} is on the PXE VLAN",
        ("strays",),
        named.other_nic(_TWO_NICS.others[0], _TWO_NICS.name),
    ),
)


def operators_files(kernel: Kernel, busybox: bytes) -> Tree:
    """What the operator of this rack has written, mistakes and all."""
    initrd = initramfs(busybox, kernel.modules)
    return files(RACK, kernel=kernel.image, initrd=initrd, duties=_DUTIES)


def show(place: Premises, under_trial: Service, console: Console) -> None:
    """Let it go wrong, and see what the operator is told, by whom, how soon.

    Raises:
        NotProven: something was not named in time, or not with its remedy.
    """
    findings: list[Finding] = []
    machines = (_BROKEN, _MISTYPED, _TWO_NICS)
    console.print(f"1: powering on {', '.join(m.name for m in machines)}", highlight=False)
    with _on(place, under_trial, machines, "1"):
        findings += _await(under_trial, _AT_POWER_ON, console)
    console.print(f"2: another DHCP server, {_ROGUE}, comes up on the wire", highlight=False)
    with _rogue(place, under_trial) as mac:
        case = _Case("another DHCP server answers", ("status",), named.rogue(_ROGUE, mac))
        findings += _await(under_trial, (case,), console)
    console.print(
        f"3: the Matchbox endpoint {_STOPPED} is stopped; powering on {_LEFT_ALONE.name}", highlight=False
    )
    settings = under_trial.root / "etc/pxe-appliance/appliance.toml"
    write_atomic(settings, (appliance_toml() + f'\n[matchbox]\nendpoint = "{_STOPPED}"\n').encode())
    under_trial.call("sync", "--yes")
    with _on(place, under_trial, (_LEFT_ALONE,), "3"):
        cases = (
            _Case("the endpoint is stopped", ("doctor",), named.endpoint_in_doctor(_STOPPED)),
            _Case(
                f"{_LEFT_ALONE.name} waits for it", ("why", _LEFT_ALONE.name), named.endpoint_in_why(_STOPPED)
            ),
        )
        findings += _await(under_trial, cases, console)
    print_findings(console, findings)
    failed = [finding for finding in findings if not finding.holds]
    if failed:
        raise NotProven(
            f"not everything was named: {'; '.join(f'{f.subject}: {f.reason}' for f in failed)}",
            hint=f"serial logs and the daemon's words are in {under_trial.logs}",
        )


@contextlib.contextmanager
def _on(place: Premises, under_trial: Service, machines: Sequence[LabMachine], number: str) -> Iterator[None]:
    logs = under_trial.logs / number
    make_directory(logs)
    for machine in machines:
        segment.place(place.segment, machine)
    with powered(place.segment, machines, directory=place.directory, logs=logs):
        yield


def _await(under_trial: Service, cases: Sequence[_Case], console: Console) -> list[Finding]:
    """Look again and again until each cause is named, or its time is up."""
    began = time.monotonic()
    waiting = list(cases)
    findings: list[Finding] = []
    while waiting and time.monotonic() - began < WITHIN:
        for case in list(waiting):
            said = under_trial.call(*case.command, "-o", "json", check=False).stdout
            told = case.told(_parsed(said))
            if told is None:
                continue
            waiting.remove(case)
            seconds = time.monotonic() - began
            command = f"pxe-appliance {' '.join(case.command)}"
            _print(console, f"{seconds:6.1f} s  $ {command}")
            _print(console, f"           {told.message}")
            _print(console, f"           → {told.remedy}")
            findings.append(Finding(case.cause, True, f"named by {command} after {seconds:.0f} s"))
        time.sleep(_BETWEEN)
    for case in waiting:
        said = under_trial.call(*case.command, "-o", "json", check=False).stdout
        command = f"pxe-appliance {' '.join(case.command)}"
        words = f"not named by {command} within {WITHIN:.0f} s, which says {safe_text(said, limit=2000)}"
        findings.append(Finding(case.cause, False, words))
    return findings


@contextlib.contextmanager
def _rogue(place: Premises, under_trial: Service) -> Iterator[str]:
    """A DHCP server on the wire that gives addresses to anybody; its MAC."""
    wire, bridge = place.segment.wire, segment.BRIDGE
    run(["ip", "-n", wire, "addr", "add", f"{_ROGUE}/{SUBNET.prefixlen}", "dev", bridge], timeout=20)
    pool = f"{SUBNET.network_address + 200},{SUBNET.network_address + 220},1h"
    argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", f"--interface={bridge}"]
    argv += [
        "--bind-interfaces",
        f"--dhcp-range={pool}",
        "--leasefile-ro",
        "--pid-file=",
        "--user=root",
        "--group=",
    ]
    with (under_trial.logs / "rogue.log").open("wb") as log:
        process = spawn(segment.inside(wire, argv), stdout=log.fileno(), stderr=subprocess.STDOUT)
    try:
        shown = run(["ip", "-n", wire, "-j", "link", "show", bridge], timeout=20).stdout
        yield str(json.loads(shown)[0]["address"])
    finally:
        service.stop(process)
        run(["ip", "-n", wire, "addr", "flush", "dev", bridge], timeout=20, check=False)


def _parsed(said: str) -> object:
    try:
        value: object = json.loads(said)
    except ValueError:
        return None
    return value


def _print(console: Console, line: str) -> None:
    console.print(safe_text(line, limit=1000), highlight=False, markup=False, soft_wrap=True)

"""The lab's commands, each a route that reads from top to bottom.

run: requirements → premises → payload → segment → appliance → power → follow → judge → everything away again;
with an image, the release is fetched before the appliance starts, and there are three boots; with lives, the
rack is one of its own, and there are five; with faults, it is another one.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console

from appliance.errors import OperatorError, Refused
from appliance.lab import fault_trial, image_trial, lifecycle_trial, premises, requirements, segment, service
from appliance.lab.follow import boot
from appliance.lab.kernel import CACHE, Kernel, kernel
from appliance.lab.payload import initramfs
from appliance.lab.premises import Premises
from appliance.lab.rack import DEFAULT_TIMEOUT, FirmwareChoice, Rack, fill
from appliance.lab.release import BuildServer
from appliance.lab.root_files import files
from appliance.lab.service import Service
from appliance.system.files import write_tree
from appliance.tree import Tree

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator asked `lab run` and `lab up` for. `timeout` in seconds after power-on."""

    machines: int = 2
    firmware: FirmwareChoice = FirmwareChoice.MIXED
    keep: bool = False
    timeout: float = DEFAULT_TIMEOUT
    cache: Path = CACHE
    image: bool = False  # boot from the image store
    lifecycle: bool = False  # install, boot from disk, install again; with a rack of its own
    faults: bool = False  # what goes wrong in every rack; with a rack of its own

    @property
    def own_rack(self) -> bool:
        """Whether the trial brings its own machines."""
        return self.lifecycle or self.faults


def lab_run(wishes: Wishes, console: Console) -> None:
    """Build a rack, boot it through the appliance, and show that it came up and that outsiders got nothing.

    Raises:
        NotProven: a machine did not call home, or an outsider was answered; the reasons are printed.
        SurroundingsError: the lab could not be built here.
    """
    rack = _filled(wishes)
    requirements.check(_at_once(wishes))
    with _one_interrupt(), premises.claimed() as place, contextlib.ExitStack() as held:
        if not wishes.keep:
            held.callback(_remove, place)
        logs = premises.log_directory(place)
        console.print(_what_is_laid(place))
        payload = kernel(wishes.cache)
        project = _project(place, payload) if wishes.image else None
        under_trial = _lay(
            place, rack, logs, project.files(rack) if project else _files(wishes, rack, payload)
        )
        if project:
            mirror = image_trial.begin(project, under_trial, console)
            if not wishes.keep:
                held.callback(service.stop, mirror)
        daemon = service.start(under_trial)
        if wishes.keep:
            premises.keep(place, 0 if wishes.own_rack else wishes.machines, wishes.firmware)
            console.print(_how_to_go_on(place, boots=not wishes.own_rack))
        else:
            held.callback(service.stop, daemon)
        if wishes.lifecycle:
            lifecycle_trial.show(place, under_trial, wishes.timeout, console)
        elif wishes.faults:
            fault_trial.show(place, under_trial, console)
        elif project:
            image_trial.show(project, place, rack, under_trial, wishes.timeout, console)
        else:
            console.print(f"powering on {len(rack.machines)} machines")
            boot(place, rack, under_trial, wishes.timeout, console)
        if not wishes.keep:
            shutil.rmtree(logs, ignore_errors=True)


def lab_up(wishes: Wishes, console: Console) -> None:
    """Build a rack with its machines powered off, and leave it there with the appliance running."""
    rack = _filled(wishes)
    requirements.check(wishes.machines)
    if found := premises.kept():
        raise Refused(f"a lab is already up: number {found[0][0].lab}", hint="pxe-appliance lab down")
    with _one_interrupt(), premises.claimed() as place, contextlib.ExitStack() as held:
        held.callback(_remove, place)
        logs = premises.log_directory(place)
        console.print(_what_is_laid(place))
        service.start(_lay(place, rack, logs, _files(wishes, rack, kernel(wishes.cache))))
        premises.keep(place, wishes.machines, wishes.firmware)
        held.pop_all()
    console.print(_how_to_go_on(place))


def lab_boot(name: str, timeout: float, console: Console) -> None:
    """Power on one machine of the lab that is up, and follow its boot."""
    requirements.check()
    found = premises.kept()
    if not found:
        raise Refused("no lab is up", hint="pxe-appliance lab up")
    place, rack = found[0]
    if not rack.machines:
        raise Refused("the lab that is up brought its own rack: only its own run powers its machines on")
    machine = rack.named(name)
    if machine is None:
        known = ", ".join(m.name for m in rack.machines)
        raise OperatorError(f"no machine {name!r} stands in the lab: there are {known}")
    with _one_interrupt():
        logs = premises.log_directory(place)
        segment.place(place.segment, machine)
        under_trial = Service(place.root, place.segment.appliance, logs)
        boot(place, Rack((machine,), stranger=None), under_trial, timeout, console)
    console.print(f"serial log in {logs}", soft_wrap=True)


def lab_down(console: Console) -> None:
    """Take every lab on this host away."""
    requirements.check_root()
    gone = premises.remove_all()
    console.print(f"removed {len(gone)} lab{'' if len(gone) == 1 else 's'}")


def _filled(wishes: Wishes) -> Rack:
    if wishes.image + wishes.lifecycle + wishes.faults > 1:
        hint = "one of --image, --lifecycle, --faults"
        raise OperatorError("cannot show more than one thing in one run", hint=hint)
    if wishes.lifecycle:
        return lifecycle_trial.RACK
    if wishes.faults:
        return fault_trial.RACK
    try:
        return fill(wishes.machines, wishes.firmware)
    except ValueError as error:
        raise OperatorError(f"cannot fill the rack: {error}") from error


def _at_once(wishes: Wishes) -> int:
    """Machines that are on at the same time."""
    if wishes.lifecycle:
        return lifecycle_trial.AT_ONCE
    return fault_trial.AT_ONCE if wishes.faults else wishes.machines


def _files(wishes: Wishes, rack: Rack, payload: Kernel) -> Tree:
    """The operator's files, with what machines boot among them."""
    busybox = requirements.BUSYBOX.read_bytes()
    if wishes.lifecycle:
        return lifecycle_trial.operators_files(payload, busybox)
    if wishes.faults:
        return fault_trial.operators_files(payload, busybox)
    initrd = initramfs(busybox, payload.modules)
    return files(rack, kernel=payload.image, initrd=initrd)


def _project(place: Premises, payload: Kernel) -> image_trial.Project:
    """Whoever publishes what machines boot."""
    busybox = requirements.BUSYBOX.read_bytes()
    return image_trial.Project(BuildServer.make(), payload, busybox, place.directory / "mirror")


def _lay(place: Premises, rack: Rack, logs: Path, written: Tree) -> Service:
    """Everything but power: what the operator has `written`, and the wire."""
    write_tree(place.root, written)
    segment.build(place.segment, rack)
    return Service(place.root, place.segment.appliance, logs)


def _what_is_laid(place: Premises) -> str:
    return f"laying the wire in namespaces {place.segment.appliance} and {place.segment.wire}"


def _how_to_go_on(place: Premises, *, boots: bool = True) -> str:
    boot_one = "boot a machine: pxe-appliance lab boot node1; " if boots else ""
    return (
        f"the lab stays; {boot_one}remove it all: pxe-appliance lab down\n"
        f"its appliance: ip netns exec {place.segment.appliance} pxe-appliance --root {place.root} status"
    )


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Make TERM and HUP what Ctrl-C is, and take only one of them: the way out must not be cut short."""

    def interrupt(*_: object) -> NoReturn:
        _ignore_interrupts()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _ignore_interrupts() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _remove(place: Premises) -> None:
    _ignore_interrupts()
    premises.remove(place)

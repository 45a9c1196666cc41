"""The lab's commands, each a route that reads from top to bottom.

run: requirements → premises → payload → segment → appliance → power → follow → judge → everything away again.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NoReturn

from rich.console import Console

from appliance.addresses import Mac
from appliance.errors import NotProven, OperatorError, Refused, SurroundingsError
from appliance.lab import premises, requirements, segment, service
from appliance.lab.board import Board, print_result
from appliance.lab.kernel import CACHE, kernel
from appliance.lab.namespace import packet_socket
from appliance.lab.payload import initramfs
from appliance.lab.power import Power, powered
from appliance.lab.premises import Premises
from appliance.lab.rack import FirmwareChoice, LabMachine, Rack, fill
from appliance.lab.root_files import files
from appliance.lab.service import Service
from appliance.lab.strangers import Heard, knock
from appliance.lab.watch import Finding, Watch, event_from_json, judge
from appliance.system.files import write_tree

DEFAULT_TIMEOUT: Final = 300.0
_TICK: Final = 0.25
# A machine that powers off right after its report: the event is on its way.
_LATE_EVENT: Final = 3.0
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator asked `lab run` and `lab up` for. `timeout` in seconds after power-on."""

    machines: int = 2
    firmware: FirmwareChoice = FirmwareChoice.MIXED
    keep: bool = False
    timeout: float = DEFAULT_TIMEOUT
    cache: Path = CACHE


def lab_run(wishes: Wishes, console: Console) -> None:
    """Build a rack, boot it through the appliance, and show that it came up and that outsiders got nothing.

    Raises:
        NotProven: a machine did not call home, or an outsider was answered; the reasons are printed.
        SurroundingsError: the lab could not be built here.
    """
    rack = _filled(wishes)
    requirements.check(wishes.machines)
    with _one_interrupt(), premises.claimed() as place, contextlib.ExitStack() as held:
        if not wishes.keep:
            held.callback(_remove, place)
        logs = premises.log_directory(place)
        service_under_trial = _lay(place, rack, logs, wishes.cache, console)
        daemon = service.start(service_under_trial)
        if wishes.keep:
            premises.keep(place, wishes.machines, wishes.firmware)
            console.print(_how_to_go_on(place))
        else:
            held.callback(service.stop, daemon)
        console.print(f"powering on {len(rack.machines)} machines")
        _boot(place, rack, service_under_trial, wishes.timeout, console)
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
        service.start(_lay(place, rack, logs, wishes.cache, console))
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
    machine = rack.named(name)
    if machine is None:
        known = ", ".join(m.name for m in rack.machines)
        raise OperatorError(f"no machine {name!r} stands in the lab: there are {known}")
    with _one_interrupt():
        logs = premises.log_directory(place)
        segment.place(place.segment, machine)
        under_trial = Service(place.root, place.segment.appliance, logs)
        _boot(place, Rack((machine,), stranger=None), under_trial, timeout, console)
    console.print(f"serial log in {logs}", soft_wrap=True)


def lab_down(console: Console) -> None:
    """Take every lab on this host away."""
    requirements.check_root()
    gone = premises.remove_all()
    console.print(f"removed {len(gone)} lab{'' if len(gone) == 1 else 's'}")


def _filled(wishes: Wishes) -> Rack:
    try:
        return fill(wishes.machines, wishes.firmware)
    except ValueError as error:
        raise OperatorError(f"cannot fill the rack: {error}") from error


def _lay(place: Premises, rack: Rack, logs: Path, cache: Path, console: Console) -> Service:
    """Everything but power: the operator's files, and the wire."""
    console.print(f"laying the wire in namespaces {place.segment.appliance} and {place.segment.wire}")
    found = kernel(cache)
    initrd = initramfs(requirements.BUSYBOX.read_bytes(), found.modules)
    write_tree(place.root, files(rack, kernel=found.image, initrd=initrd))
    segment.build(place.segment, rack)
    return Service(place.root, place.segment.appliance, logs)


def _boot(place: Premises, rack: Rack, under_trial: Service, timeout: float, console: Console) -> None:
    """Power on, follow, judge.

    Raises:
        NotProven: something that the lab set out to show did not hold.
    """
    logs = under_trial.logs
    with contextlib.ExitStack() as held:
        lines = held.enter_context(service.events(under_trial))
        stranger = _send_stranger(place, rack, held)
        watch = Watch(rack, powered_on=datetime.now(UTC))
        power = held.enter_context(
            powered(place.segment, rack.machines, directory=place.directory, logs=logs)
        )
        with Board(console, watch) as board:
            _follow(watch, lines, power, board, timeout)
            heard = stranger.result() if stranger else []
            # What the stranger tried last may still be on its way through the log.
            _drain(watch, lines, board, until=time.monotonic() + _LATE_EVENT, wanted=_all_outsiders_seen)
        findings = judge(watch, notes=_notes(watch, power), answered=_answers(rack, heard))
    print_result(console, watch, findings)
    failed = [finding for finding in findings if not finding.holds]
    if failed:
        raise NotProven(
            f"the lab did not show what it should: {'; '.join(_said(f) for f in failed)}",
            hint=f"serial logs, the daemon's words and the events are in {logs}",
        )


def _follow(watch: Watch, lines: SimpleQueue[str], power: Power, board: Board, timeout: float) -> None:
    """Take in events until every machine has called home or cannot any more, or time is up."""
    deadline = time.monotonic() + timeout
    ended: dict[str, float] = {}
    while (now := time.monotonic()) < deadline:
        for machine in watch.rack.machines:
            if power.ended(machine):
                ended.setdefault(machine.name, now)
        if all(_settled(watch, machine, ended, now) for machine in watch.rack.machines):
            return
        if not _take_one(watch, lines, board):
            raise SurroundingsError("the appliance's event stream ended in the middle of the boots")


def _settled(watch: Watch, machine: LabMachine, ended: dict[str, float], now: float) -> bool:
    return watch.done(machine) or now - ended.get(machine.name, now) > _LATE_EVENT


def _drain(
    watch: Watch,
    lines: SimpleQueue[str],
    board: Board,
    *,
    until: float,
    wanted: Callable[[Watch], bool],
) -> None:
    while time.monotonic() < until and not wanted(watch) and _take_one(watch, lines, board):
        pass


def _all_outsiders_seen(watch: Watch) -> bool:
    return set(watch.outsiders) >= set(watch.rack.outsiders())


def _take_one(watch: Watch, lines: SimpleQueue[str], board: Board) -> bool:
    """Wait a tick for one event; False when there will be no more."""
    board.tick()
    try:
        line = lines.get(timeout=_TICK)
    except Empty:
        return True
    if not line:
        return False
    event = event_from_json(line)
    if event is not None and (machine := watch.see(event)) is not None:
        board.reached(machine, event.kind)
    return True


def _send_stranger(place: Premises, rack: Rack, held: contextlib.ExitStack) -> Future[list[Heard]] | None:
    """Let the stranger knock while the machines boot."""
    if rack.stranger is None:
        return None
    wire = held.enter_context(packet_socket(place.segment.wire, segment.STRANGERS))
    # Behind the socket on the stack: it is the first to end.
    pool = held.enter_context(ThreadPoolExecutor(max_workers=1))
    xid = random.getrandbits(31)
    return pool.submit(knock, wire, rack.stranger, covet=rack.machines[0].ip, xid=xid)


def _answers(rack: Rack, heard: Sequence[Heard]) -> dict[Mac, list[str]]:
    if rack.stranger is None:
        return {}
    words = [
        f"{kind.name if (kind := h.packet.message_type) else 'BOOTP'} {h.packet.yiaddr} from {h.server_mac}"
        for h in heard
    ]
    return {rack.stranger: words}


def _notes(watch: Watch, power: Power) -> dict[str, str]:
    notes: dict[str, str] = {}
    for machine in watch.rack.machines:
        words = [power.ended(machine) or "still running", power.last_words(machine)]
        notes[machine.name] = ", ".join(word for word in words if word)
    return notes


def _said(finding: Finding) -> str:
    return f"{finding.subject} {finding.reason}"


def _how_to_go_on(place: Premises) -> str:
    return (
        "the lab stays; boot a machine: pxe-appliance lab boot node1; remove it all: pxe-appliance lab down\n"
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

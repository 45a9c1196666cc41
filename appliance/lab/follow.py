"""One power-on: the stranger sent, the machines switched on and followed home, the whole judged."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Final

from rich.console import Console

from appliance.addresses import Mac
from appliance.errors import NotProven, SurroundingsError
from appliance.lab import segment, service
from appliance.lab.aims import Aim, Aims, arrived, judge
from appliance.lab.board import Board, print_result
from appliance.lab.namespace import packet_socket
from appliance.lab.power import Power, powered
from appliance.lab.premises import Premises
from appliance.lab.rack import Rack
from appliance.lab.service import Service
from appliance.lab.strangers import Heard, knock
from appliance.lab.watch import Finding, Watch, event_from_json

_TICK: Final = 0.25
# A machine that powers off right after its report: the event is on its way.
_LATE_EVENT: Final = 3.0


def boot(
    place: Premises,
    rack: Rack,
    under_trial: Service,
    timeout: float,
    console: Console,
    *,
    aims: Aims = MappingProxyType({}),
    also: Callable[[Watch], tuple[Finding, ...]] = lambda _: (),
) -> None:
    """Power on, follow, judge: by what each machine is to come to, and `also` by what else is to be seen.

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
            _follow(watch, lines, power, board, timeout, aims)
            heard = stranger.result() if stranger else []
            # What the stranger tried last may still be on its way through the log.
            _drain(watch, lines, board, until=time.monotonic() + _LATE_EVENT, wanted=_all_outsiders_seen)
        printed = {machine.name: power.printed(machine) for machine in rack.machines}
        notes, answered = _notes(watch, power), _answers(rack, heard)
        findings = judge(watch, aims, notes=notes, printed=printed, answered=answered) + also(watch)
    print_result(console, watch, findings)
    failed = [finding for finding in findings if not finding.holds]
    if failed:
        raise NotProven(
            f"the lab did not show what it should: {'; '.join(_said(f) for f in failed)}",
            hint=f"serial logs, the daemon's words and the events are in {logs}",
        )


def _follow(
    watch: Watch, lines: SimpleQueue[str], power: Power, board: Board, timeout: float, aims: Aims
) -> None:
    """Take in events until every machine is where it should come to or cannot any more, or time is up."""
    deadline = time.monotonic() + timeout
    ended: dict[str, float] = {}
    while (now := time.monotonic()) < deadline:
        for machine in watch.rack.machines:
            if power.ended(machine):
                ended.setdefault(machine.name, now)
        if all(
            now - ended.get(machine.name, now) > _LATE_EVENT
            or arrived(aims.get(machine.name, Aim.HOME), watch, machine, power.printed(machine))
            for machine in watch.rack.machines
        ):
            return
        if not _take_one(watch, lines, board):
            raise SurroundingsError("the appliance's event stream ended in the middle of the boots")


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

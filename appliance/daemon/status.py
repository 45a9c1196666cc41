"""The listings as JSON values: what `status`, `machines` and `machine show` say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance import __version__
from appliance.boot.events import EventKind, rfc3339
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Life, way_out
from appliance.daemon import rogues
from appliance.daemon.diagnosis import Diagnosis, Outside, up_again, why_down
from appliance.daemon.known import State
from appliance.daemon.requests_seen import client_address
from appliance.daemon.sightings import Sighting, doubts
from appliance.dnsmasq.lifecycle import Phase
from appliance.inventory.model import Machine
from appliance.matchbox.handoff import boot_url
from appliance.matchbox.model import Boot
from appliance.sync.plan import machine_facts, profile_facts

_NAMED = 20  # held machines that are named as problems
_BEFORE = timedelta(
    minutes=2
)  # of a boot, that are its evidence, too: what was refused, what another NIC asked
_BOOTS_FOR = timedelta(minutes=30)  # since it was heard last: an installer that loads and says nothing
_WORST_FIRST = (
    Phase.BACKOFF,
    Phase.HUNG,
    Phase.STOPPED,
    Phase.STOPPING,
    Phase.RESTARTING,
    Phase.STARTING,
    Phase.SERVING,
)


@dataclass(frozen=True, slots=True)
class Process:
    """What the decider cannot know: process ids, when we started, what the last sync said."""

    pid: int
    since: datetime
    child_pids: Mapping[str, int]
    problems: tuple[dict[str, str], ...] = ()
    outside: Outside = Outside()
    pending: Mapping[str, object] | None = None  # the change that waits for its confirmation


def status_json(state: State, process: Process, now: datetime) -> dict[str, object]:
    """The public shape of `status`."""
    diagnosis = Diagnosis(state, now, process.outside)
    boards = [diagnosis.of(m).state.value for m in state.served.inventory.machines]
    matchbox = state.served.settings.matchbox
    return {
        "version": 1,
        "daemon": {
            "running": True,
            "pid": process.pid,
            "since": rfc3339(process.since),
            "version": __version__,
        },
        "dnsmasq": {
            "state": _dnsmasq_state(state),
            "pid": next((p for n, p in sorted(process.child_pids.items()) if n.startswith("dhcp:")), None),
            "restarts": sum(c.restarts for c in state.children.values()),
            "children": [
                {
                    "name": name,
                    "state": child.phase.value,
                    "pid": process.child_pids.get(name),
                    "restarts": child.restarts,
                    "said": state.last_words.get(name),
                }
                for name, child in sorted(state.children.items())
            ],
        },
        "generation": {
            "id": state.served.id,
            "at": state.served.at or None,
            "proven": state.served.proven,
        },
        "pending": process.pending,
        "networks": [
            {
                "name": n.name,
                "interface": n.interface,
                "subnet": str(n.subnet),
                "mode": n.mode.value,
                "up": state.usable(n.name),
                "address": str(n.address),
                "boot_url": boot_url(n.address, state.served.settings.http.port),
            }
            for n in state.served.settings.networks.values()
        ],
        "machines": {
            "known": len(boards),
            "booting": boards.count("booting"),
            "booted": boards.count("booted"),
            "stuck": boards.count("stuck"),
            "held": sum(_life(state, m).held for m in state.served.inventory.machines),
        },
        "strays": state.strays.counted,
        "rogue_servers": state.rogue_servers.as_json(),
        "matchbox": {"endpoint": matchbox.endpoint, "reachable": state.endpoint_reachable},
        "problems": [*_problems(state), *process.problems],
    }


def machines_json(state: State, now: datetime, outside: Outside | None = None) -> list[dict[str, object]]:
    """The public shape of `machines`."""
    diagnosis = Diagnosis(state, now, outside)
    return [machine_row(state, m, diagnosis) for m in state.served.inventory.machines]


def why_json(
    state: State,
    machine: Machine,
    now: datetime,
    evidence: Sequence[object],
    outside: Outside | None = None,
    nothing: str = "",
) -> dict[str, object]:
    """The public shape of `why`.

    Args:
        state: what is known.
        machine: the machine in question.
        now: when it is asked.
        evidence: its events, oldest first; those of the present boot are shown.
        outside: what the decider cannot know.
        nothing: why there is nothing for it to boot.
    """
    judged = Diagnosis(state, now, outside).of(machine, asked=True, nothing=nothing)
    ladder = state.ladders.get(str(machine.name), Ladder())
    began = ladder.rungs.get(EventKind.DISCOVER)
    since = rfc3339(began - _BEFORE) if began else ""
    return {
        "machine": str(machine.name),
        "state": judged.state.value,
        "rung": ladder.rung.value if ladder.rung else None,
        "expected": judged.expected.value if judged.expected else None,
        "since": rfc3339(ladder.rung_at) if ladder.rung_at else None,
        "deadline": rfc3339(judged.deadline) if judged.deadline else None,
        "verdict": judged.verdict.as_json() if judged.verdict else None,
        "explain": judged.verdict.id if judged.verdict else None,
        "evidence": [e for e in evidence if isinstance(e, dict) and str(e.get("at", "")) >= since],
    }


def machine_json(
    state: State,
    machine: Machine,
    now: datetime,
    boots: Boot | str | None = None,
    outside: Outside | None = None,
) -> dict[str, object]:
    """One machine in full: its row, what the inventory says, the times of its last boot's rungs.

    `boots` is what it would load now, with the release of its image; or why there is nothing to load.
    """
    ladder = state.ladders.get(str(machine.name), Ladder())
    profile = state.served.inventory.profiles.get(machine.profile or "")
    held = state.leases.get(str(machine.ip))
    return {
        **machine_row(state, machine, Diagnosis(state, now, outside)),
        "inventory": machine_facts(machine),
        "profile_facts": {"name": profile.name, **profile_facts(profile)} if profile else None,
        "boots": _boots_json(boots),
        "life": _life(state, machine).as_json(),
        "seen": state.sightings.get(str(machine.name), Sighting()).as_json(),
        "lease": held.as_json() if held and held.expires > now else None,
        "origin": str(machine.origin) or None,
        "rungs": {rung.value: rfc3339(at) for rung, at in ladder.rungs.items()},
    }


def _boots_json(boots: Boot | str | None) -> dict[str, object] | None:
    match boots:
        case Boot(kernel, initrd, args):
            return {"kernel": kernel, "initrd": list(initrd), "args": list(args)}
        case str() as reason:
            return {"nothing": reason}
    return None


def booting_image(state: State, client: str, now: datetime) -> str:
    """The release that the machine at a peer's address is booting from at this moment; else empty."""
    address = client_address(client)
    machine = state.served.by_ip.get(address) if address else None
    ladder = state.ladders.get(str(machine.name)) if machine else None
    if ladder is None or ladder.finished or ladder.last is None or now - ladder.last > _BOOTS_FOR:
        return ""
    return ladder.image


def _life(state: State, machine: Machine) -> Life:
    return state.lives.get(str(machine.name), Life())


def machine_row(state: State, machine: Machine, diagnosis: Diagnosis) -> dict[str, object]:
    """One row of `machines`; a diagnosis serves for all rows of one moment."""
    ladder = state.ladders.get(str(machine.name), Ladder())
    profile = state.served.inventory.profiles.get(machine.profile or "")
    life = _life(state, machine)
    judged = diagnosis.of(machine)
    return {
        "name": str(machine.name),
        "macs": [str(m) for m in machine.macs],
        "ip": str(machine.ip),
        "network": machine.network,
        "profile": machine.profile,
        "boot": {
            "policy": profile.boot.value if profile else None,
            "state": judged.state.value,
        },
        "lifecycle": life.state.value,
        "rung": ladder.rung.value if ladder.rung else None,
        "rung_at": rfc3339(ladder.rung_at) if ladder.rung_at else None,
        "expected": judged.expected.value if judged.expected else None,
        "deadline": rfc3339(judged.deadline) if judged.deadline else None,
        "verdict": judged.verdict.as_json() if judged.verdict else None,
        "image": ladder.image or None,
    }


def _dnsmasq_state(state: State) -> str:
    phases = {c.phase for c in state.children.values()}
    worst = next((p for p in _WORST_FIRST if p in phases), Phase.STOPPED)
    serves = worst is Phase.SERVING or (not phases and state.dangers)  # all that could run is withheld
    if serves and not all(state.usable(n) for n in state.served.settings.networks):
        return "waiting"
    return worst.value


def _problems(state: State) -> list[dict[str, str]]:
    found = []
    for network in state.served.settings.networks.values():
        if not state.usable(network.name):
            why = why_down(state, network)
            fix = up_again(state, network)
            danger = state.dangers.get(network.name)
            if danger:
                found.append(problem(danger.id, "error", f"network {network.name} is not served: {why}", fix))
            else:
                found.append(problem("interface", "error", f"network {network.name} waits: {why}", fix))
    held = [m for m in state.served.inventory.machines if _life(state, m).held]
    for machine in held[:_NAMED]:
        words = f"{machine.name} is held: {_life(state, machine).reason}"
        found.append(problem("held", "warning", words, way_out(str(machine.name))))
    for name, child in sorted(state.children.items()):
        if child.phase in (Phase.BACKOFF, Phase.HUNG):
            said = state.last_words.get(name, "")
            found.append(
                problem("dnsmasq", "error", f"{name} does not stay up: {said}", "pxe-appliance events")
            )
    found += rogues.problems(state.rogue_servers, state.served.settings)
    found += [problem(d.id, "warning", d.message, d.fix) for d in doubts(state.sightings, state.served)]
    if state.strays.flood is not None:
        fix = "find the switch port that learns these MACs and shut it; pxe-appliance strays lists them"
        found.append(problem("stray-flood", "warning", state.strays.flood.words, fix))
    if state.endpoint_reachable is False:
        endpoint = state.served.settings.matchbox.endpoint
        found.append(problem("matchbox", "error", f"{endpoint} does not answer", f"curl -i {endpoint}/"))
    return found


def problem(identity: str, severity: str, message: str, fix: str) -> dict[str, str]:
    """Something that an operator should know, in the public shape of `status`."""
    return {"id": identity, "severity": severity, "message": message, "fix": fix}

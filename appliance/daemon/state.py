"""The decider: `step(state, signal, now)` gives the next state and what has to be done. Pure.

Tasks only report; nothing but this function decides whether a child is started, killed or probed, how far a
machine has come, or what is worth remembering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.policy import Cue, Impossible, Life
from appliance.daemon import lives as life_of
from appliance.daemon import signals as s
from appliance.daemon.leases import Lease, after_event
from appliance.daemon.served import Served
from appliance.dnsmasq.lifecycle import Child, Order, Patience, Phase
from appliance.dnsmasq.lifecycle import Signal as ChildSignal
from appliance.system.network import InterfaceState

K = TypeVar("K")
V = TypeVar("V")

STRAYS_COUNTED = 4096
ROGUES_NAMED = 64  # their addresses are what a client says: whoever forges one can name them all
_REMEMBERED = timedelta(days=1)
OWN_PAUSE = 1.0  # seconds between ticks from which on it is we who were away
RELOAD_EVERY = 5.0  # seconds between reloads that bring declined addresses back
RELIEVE_EVERY = 1.0  # seconds between two processes that follow the machines' lives; a rack installs at once
PROBE_EVERY = 1.0  # seconds; with `Patience.hang` a hang is over within five


@dataclass(frozen=True, slots=True)
class Now:
    """The two clocks at the moment of a step."""

    wall: datetime
    monotonic: float


@dataclass(frozen=True, slots=True)
class State:
    """Everything the daemon knows."""

    served: Served = field(default_factory=Served.nothing)
    patience: Patience = Patience()
    children: Mapping[str, Child] = field(default_factory=lambda: MappingProxyType({}))
    probed_at: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    last_words: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    interfaces: Mapping[str, InterfaceState] = field(default_factory=lambda: MappingProxyType({}))
    ladders: Map[str, Ladder] = field(default_factory=Map)  # these two change with every packet of a boot:
    leases: Map[str, Lease] = field(default_factory=Map)  # a copy for each would cost with every machine
    lives: Map[str, Life] = field(default_factory=Map)
    to_disk: Mapping[str, frozenset[Mac]] = field(default_factory=lambda: MappingProxyType({}))  # by child
    marked: Mapping[str, frozenset[Mac]] = field(default_factory=lambda: MappingProxyType({}))  # as they run
    relieved_at: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    relieving: frozenset[str] = frozenset()
    strays: Mapping[Mac, datetime] = field(default_factory=lambda: MappingProxyType({}))
    rogue_servers: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    endpoint_reachable: bool | None = None
    ticked_at: float | None = None
    declined: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    reloaded_at: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    stopping: bool = False

    @property
    def stopped(self) -> bool:
        """Whether a requested stop is complete."""
        return self.stopping and all(c.phase is Phase.STOPPED for c in self.children.values())

    def usable(self, network: str) -> bool:
        """Whether a network's interface can carry our probes: there, up, with our address."""
        seen, wanted = self.interfaces.get(network), self.served.settings.networks.get(network)
        return bool(seen and wanted and seen.present and seen.up and seen.holds(wanted.address))


Stepped = tuple[State, list[s.Command]]


def step(state: State, signal: s.Signal, now: Now) -> Stepped:  # noqa: C901 - a dispatch, a line a signal
    """The state after `signal`, and the commands for the hands."""
    match signal:
        case s.Happened(event):
            return _happened(state, event)
        case s.Adopted(served):
            return _adopted(state, served, now)
        case s.ChildReady(name):
            return _child(state, name, ChildSignal.READY, now)
        case s.ChildExited(name, rc, said):
            return _exited(state, name, rc, said, now)
        case s.ChildAlive(name):
            return _touch(state, name, alive_at=now.monotonic), []
        case s.ChildDeaf(name, seconds):
            return _touch(state, name, grace_until=now.monotonic + seconds), []
        case s.RestartChild(name):
            return _child(state, name, ChildSignal.RESTART, now)
        case s.AddressDisabled(name):
            due = state.reloaded_at.get(name, float("-inf")) + RELOAD_EVERY
            return _reload_due(replace(state, declined=_with(state.declined, name, due)), name, now)
        case s.Remembered(leases, strays, assumed):
            newest = dict(list(strays.items())[-STRAYS_COUNTED:])
            lives = life_of.assumed_installed(state.lives, assumed, now.wall)
            known = replace(state, leases=leases, strays=MappingProxyType(newest), lives=lives)
            return known, [s.SaveLife(name, lives[name]) for name in assumed]
        case s.InterfaceSeen(network, seen):
            return replace(state, interfaces=_with(state.interfaces, network, seen)), []
        case s.EndpointSeen(reachable):
            return replace(state, endpoint_reachable=reachable), []
        case s.LifeWanted(machine, cue, reason):
            return _wanted(state, machine, cue, reason, now)
        case s.TokensGiven(machine, tokens):
            return state, [s.SaveTokens(machine, tokens)]
        case s.Marked(name, macs):
            rest = replace(state, relieving=state.relieving - {name})
            return (rest if macs is None else replace(rest, marked=_with(rest.marked, name, macs))), []
        case s.Ticked():
            return _ticked(state, now)
        case s.StopRequested():
            return _all_children(replace(state, stopping=True), ChildSignal.STOP, now)


def _happened(state: State, event: Event) -> Stepped:
    commands: list[s.Command] = [s.Record(event)]
    leases = after_event(state.leases, event, state.served)
    if leases is not state.leases:
        state = replace(state, leases=leases)
    match event.kind:
        case EventKind.STRAY if event.mac is not None:
            state = replace(state, strays=_newest(state.strays, event.mac, event.at, STRAYS_COUNTED))
        case EventKind.ROGUE_SERVER:
            name = event.detail.get("server", str(event.ip))
            rogues = _newest(state.rogue_servers, name, event.at, ROGUES_NAMED)
            state = replace(state, rogue_servers=rogues)
    if event.machine is None or event.machine not in state.served.machines:
        return state, commands
    before = state.ladders.get(event.machine, Ladder())
    after = climb(before, event)
    if after != before:
        state = replace(state, ladders=state.ladders.set(event.machine, after))
        commands.append(s.SaveLadder(event.machine, after))
    if event.kind is EventKind.DONE:
        commands.append(s.CloseTokens(event.machine))
    machine = state.served.machines[event.machine]
    life = state.lives.get(event.machine, Life())
    deaf = event.kind is EventKind.SCRIPT and state.endpoint_reachable is False
    # A machine that an external Matchbox does not answer was given no installer: that is no install.
    lived = (
        life if deaf else life_of.after_event(life, event, life_of.policy_of(state.served, machine), after)
    )
    state, more = _lived(state, event.machine, life, lived, event.at)
    return state, commands + more


def _lived(state: State, name: str, before: Life, after: Life, at: datetime) -> Stepped:
    """Note a machine's life: kept, told where it took a turn, and given to DHCP."""
    if after == before:
        return state, []
    machine = state.served.machines[name]
    after = life_of.of(machine, after)
    state = replace(
        state,
        lives=state.lives.set(name, after),
        to_disk=life_of.marked_with(state.to_disk, state.served, machine, after),
    )
    turns = [s.Record(event) for event in life_of.turn(machine, before, after, at)]
    return state, [s.SaveLife(name, after), *turns]


def _wanted(state: State, name: str, cue: Cue, reason: str, now: Now) -> Stepped:
    """What an operator asks for; who asked was told already when it makes no sense."""
    if name not in state.served.machines:
        return state, []
    life = state.lives.get(name, Life())
    try:
        after = life.after(cue, now.wall, reason=reason)
    except Impossible:
        return state, []
    commands: list[s.Command] = []
    ladder = state.ladders.get(name)
    if cue is Cue.RELEASE and ladder is not None:
        ladder = replace(ladder, verdict=None, fetches=0)
        state = replace(state, ladders=state.ladders.set(name, ladder))
        commands = [s.SaveLadder(name, ladder)]
    state, more = _lived(state, name, life, after, now.wall)
    return state, commands + more


def _adopted(state: State, served: Served, now: Now) -> Stepped:
    wanted = served.children()
    children = dict(state.children)
    for name in wanted:
        children.setdefault(name, Child(name))
    machines = served.machines
    moved = life_of.renamed(state.lives, state.served, served)
    lives = state.lives.update(moved)
    if served.settings.matchbox.endpoint != state.served.settings.matchbox.endpoint:
        state = replace(state, endpoint_reachable=None)
    state = replace(
        state,
        served=served,
        children=MappingProxyType(children),
        ladders=Map({m: ladder for m, ladder in state.ladders.items() if m in machines}),
        leases=Map({k: v for k, v in state.leases.items() if v.machine in machines}),
        interfaces=MappingProxyType(
            {n: i for n, i in state.interfaces.items() if n in served.settings.networks}
        ),
        lives=lives,
        to_disk=life_of.marked(served, lives),
    )
    commands: list[s.Command] = [s.SaveLife(name, life) for name, life in moved.items()]
    for name in sorted(children):
        state, more = _child(state, name, ChildSignal.START if name in wanted else ChildSignal.STOP, now)
        commands += more
    return _without_gone(state), commands


def _child(state: State, name: str, signal: ChildSignal, now: Now) -> Stepped:
    child = state.children.get(name)
    if child is None:
        return state, []
    if state.stopping and signal is not ChildSignal.EXITED:
        signal = ChildSignal.STOP if signal is not ChildSignal.LOST else signal
    after, orders = child.after(signal, now.monotonic, state.patience)
    commands = [_order(state, o, name) for o in orders if o is not Order.ARM_BACKOFF]  # `due` sees to that
    if Order.SPAWN in orders:
        state = replace(state, marked=_with(state.marked, name, state.to_disk.get(name, frozenset())))
    if after.phase is not child.phase:
        commands += _phase_event(state, child, after, now)
    return replace(state, children=_with(state.children, name, after)), commands


def _order(state: State, order: Order, name: str) -> s.Command:
    match order:
        case Order.TERM:
            return s.Terminate(name)
        case Order.KILL:
            return s.Kill(name)
        case _:
            return s.Spawn(name, state.to_disk.get(name, frozenset()))


def _exited(state: State, name: str, rc: int, said: str, now: Now) -> Stepped:
    state = replace(state, last_words=_with(state.last_words, name, said or f"exit code {rc}"))
    state, commands = _child(state, name, ChildSignal.EXITED, now)
    return _without_gone(state), commands


def _without_gone(state: State) -> State:
    """Forget children that have ended and that no network wants any more."""
    wanted = set(state.served.children())
    kept = {n: c for n, c in state.children.items() if n in wanted or c.phase is not Phase.STOPPED}
    return replace(state, children=MappingProxyType(kept)) if len(kept) != len(state.children) else state


def _reload_due(state: State, name: str, now: Now) -> Stepped:
    """A DECLINE, which anybody can forge, takes a reservation away for ten minutes; a reload brings it back.

    At once, and for those that follow shortly after, when the time between two reloads has passed.
    """
    if name not in state.declined or now.monotonic < state.declined[name]:
        return state, []
    rest = {n: at for n, at in state.declined.items() if n != name}
    state = replace(
        state,
        declined=MappingProxyType(rest),
        reloaded_at=_with(state.reloaded_at, name, now.monotonic),
    )
    return state, [s.Reload(name)]


def _ticked(state: State, now: Now) -> Stepped:
    commands: list[s.Command] = []
    # After a pause of our own (a stopped process, a suspended host) the answers are still unread.
    slept = state.ticked_at is not None and now.monotonic - state.ticked_at > OWN_PAUSE
    state = replace(state, ticked_at=now.monotonic)
    for name in sorted(state.children):
        if slept or not _can_be_probed(state, name):
            # Without interface or address nothing can be asked: silence says nothing about the child.
            state = _touch(state, name, alive_at=now.monotonic)
        state, reloads = _reload_due(state, name, now)
        commands += reloads
        due = state.children[name].due(now.monotonic, state.patience)
        if due is not None:
            state, more = _child(state, name, due, now)
            commands += more
        elif _wants_probe(state, name, now):
            state = replace(state, probed_at=_with(state.probed_at, name, now.monotonic))
            commands.append(s.Probe(name))
        if _wants_relief(state, name, now):
            commands.append(s.Relieve(name, state.to_disk[name]))
            at = _with(state.relieved_at, name, now.monotonic)
            state = replace(state, relieving=state.relieving | {name}, relieved_at=at)
    return state, commands


def _can_be_probed(state: State, name: str) -> bool:
    network = state.served.network_of_child(name)
    if network is not None:
        return state.usable(network.name)
    return any(state.usable(n) for n in state.served.settings.networks)


def _wants_probe(state: State, name: str, now: Now) -> bool:
    if state.children[name].phase is not Phase.SERVING or not _can_be_probed(state, name):
        return False
    return now.monotonic - state.probed_at.get(name, float("-inf")) >= PROBE_EVERY


def _wants_relief(state: State, name: str, now: Now) -> bool:
    """Whether a DHCP child runs with other machines sent to their disks than should be."""
    wanted = state.to_disk.get(name)
    if wanted is None or wanted == state.marked.get(name, frozenset()) or name in state.relieving:
        return False
    rested = now.monotonic - state.relieved_at.get(name, float("-inf")) >= RELIEVE_EVERY
    return rested and not state.stopping and state.children[name].phase is Phase.SERVING


def _phase_event(state: State, before: Child, after: Child, now: Now) -> list[s.Command]:
    """The changes of phase that an operator wants to read in `events`."""
    detail = {"child": after.name, "phase": after.phase.value}
    match before.phase, after.phase:
        case _, Phase.BACKOFF:
            said = state.last_words.get(after.name, "")
            detail |= {"message": f"{after.name} ended by itself and is started again", "said": said}
        case _, Phase.HUNG:
            detail |= {"message": f"{after.name} answered nothing for too long and was killed"}
        case Phase.STARTING, Phase.SERVING:
            detail |= {"message": f"{after.name} is serving"}
        case _:
            return []
    network = state.served.network_of_child(after.name)
    event = Event(now.wall, EventKind.DNSMASQ, network=network.name if network else None, detail=detail)
    return [s.Record(event)]


def _all_children(state: State, signal: ChildSignal, now: Now) -> Stepped:
    commands: list[s.Command] = []
    for name in sorted(state.children):
        state, more = _child(state, name, signal, now)
        commands += more
    return state, commands


def _touch(state: State, name: str, *, alive_at: float = 0.0, grace_until: float = 0.0) -> State:
    child = state.children.get(name)
    if child is None:
        return state
    child = replace(
        child,
        alive_at=max(child.alive_at, alive_at),
        grace_until=max(child.grace_until, grace_until),
    )
    return replace(state, children=_with(state.children, name, child))


def _newest(seen: Mapping[K, datetime], key: K, at: datetime, most: int) -> Mapping[K, datetime]:
    """What was seen in the last day, `key` last; the newest `most` of it when a flood brings more."""
    kept = _copy(seen)
    kept.pop(key, None)
    while kept:
        oldest = next(iter(kept))
        if len(kept) < most and at - kept[oldest] < _REMEMBERED:
            break
        del kept[oldest]
    kept[key] = at
    return MappingProxyType(kept)


def _with(mapping: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    copied = _copy(mapping)
    copied[key] = value
    return MappingProxyType(copied)


def _copy(mapping: Mapping[K, V]) -> dict[K, V]:
    """A proxy copies its dict as it stands; unpacking it hashes each key anew, fifty times slower."""
    return mapping.copy() if isinstance(mapping, MappingProxyType) else dict(mapping)

"""Minding the dnsmasq children: when one is started, killed, probed, reloaded, relieved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.known import Now, State
from appliance.daemon.outages import after_look
from appliance.dnsmasq.lifecycle import Child, Order, Phase, reading_time
from appliance.dnsmasq.lifecycle import Signal as ChildSignal
from appliance.system.safety import Danger

K = TypeVar("K")
V = TypeVar("V")

OWN_PAUSE = 1.0  # seconds between ticks from which on it is we who were away
RELOAD_EVERY = 5.0  # seconds between reloads that bring declined addresses back
RELIEVE_EVERY = 1.0  # seconds between two processes that follow the machines' lives; a rack installs at once
PROBE_EVERY = 1.0  # seconds; with `Patience.hang` a hang is over within five

Stepped: TypeAlias = tuple[State, list[s.Command]]


def turn_child(state: State, name: str, signal: ChildSignal, now: Now) -> Stepped:
    """A child after a signal of its life, and what its new phase needs."""
    child = state.children.get(name)
    if child is None:
        return state, []
    if state.stopping and signal is not ChildSignal.EXITED:
        signal = ChildSignal.STOP if signal is not ChildSignal.LOST else signal
    after, orders = child.after(signal, now.monotonic, state.patience)
    commands = [_order(state, o, name) for o in orders if o is not Order.ARM_BACKOFF]  # `due` sees to that
    if Order.SPAWN in orders:
        after = replace(after, reading=_reading(state, name))
        state = replace(state, marked=put(state.marked, name, state.to_disk.get(name, frozenset())))
    if after.phase is not child.phase:
        commands += _phase_event(state, child, after, now)
    return replace(state, children=put(state.children, name, after)), commands


def _reading(state: State, name: str) -> float:
    """How long a child may take to read all hosts that there are; TFTP has none."""
    return 0.0 if name == "tftp" else reading_time(len(state.served.machines))


def _order(state: State, order: Order, name: str) -> s.Command:
    match order:
        case Order.TERM:
            return s.Terminate(name)
        case Order.KILL:
            return s.Kill(name)
        case _:
            return s.Spawn(name, state.to_disk.get(name, frozenset()))


def exited(state: State, name: str, rc: int, said: str, now: Now) -> Stepped:
    """A child is gone: its last words are kept, and it comes back or not."""
    state = replace(state, last_words=put(state.last_words, name, said or f"exit code {rc}"))
    state, commands = turn_child(state, name, ChildSignal.EXITED, now)
    return without_gone(state), commands


def without_gone(state: State) -> State:
    """Forget children that have ended and that no network wants any more."""
    wanted = set(state.wanted)
    kept = {n: c for n, c in state.children.items() if n in wanted or c.phase is not Phase.STOPPED}
    return replace(state, children=MappingProxyType(kept)) if len(kept) != len(state.children) else state


def taken_over(state: State, before: s.TakenOver, now: Now) -> State:
    """The state with the children of the program before us: all of them just gave a sign of life.

    A back-off is over: who takes over tries at once.
    """
    children = {
        child.name: replace(
            child, alive_at=now.monotonic, wake_at=now.monotonic if child.phase is Phase.BACKOFF else None
        )
        for child in before.children
    }
    return replace(
        state,
        children=MappingProxyType(children),
        marked=before.marked,
        declined=MappingProxyType(dict.fromkeys(before.declined, now.monotonic)),
    )


def reload_due(state: State, name: str, now: Now) -> Stepped:
    """A DECLINE, which anybody can forge, takes a reservation away for ten minutes; a reload brings it back.

    At once, and for those that follow shortly after, when the time between two reloads has passed.
    """
    if name not in state.declined or now.monotonic < state.declined[name]:
        return state, []
    rest = {n: at for n, at in state.declined.items() if n != name}
    state = replace(
        state,
        declined=MappingProxyType(rest),
        reloaded_at=put(state.reloaded_at, name, now.monotonic),
    )
    return touched(state, name, reading=_reading(state, name)), [s.Reload(name)]


def ticked(state: State, now: Now) -> Stepped:
    """What time alone brings: back-offs that end, silence that lasts, probes, reloads, reliefs."""
    commands: list[s.Command] = []
    # After a pause of our own (a stopped process, a suspended host) the answers are still unread.
    slept = state.ticked_at is not None and now.monotonic - state.ticked_at > OWN_PAUSE
    state = replace(state, ticked_at=now.monotonic)
    for name in sorted(state.children):
        if slept or not _can_be_probed(state, name):
            # Without interface or address nothing can be asked: silence says nothing about the child.
            state = touched(state, name, alive_at=now.monotonic)
        state, reloads = reload_due(state, name, now)
        commands += reloads
        due = state.children[name].due(now.monotonic, state.patience)
        if due is not None:
            state, more = turn_child(state, name, due, now)
            commands += more
        elif _wants_probe(state, name, now):
            state = replace(state, probed_at=put(state.probed_at, name, now.monotonic))
            commands.append(s.Probe(name))
        if _wants_relief(state, name, now):
            commands.append(s.Relieve(name, state.to_disk[name]))
            at = put(state.relieved_at, name, now.monotonic)
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


def with_wanted(state: State, now: Now) -> Stepped:
    """Every child that shall run is started, every other one ends."""
    wanted = state.wanted
    children = dict(state.children)
    for name in wanted:
        children.setdefault(name, Child(name))
    state = replace(state, children=MappingProxyType(children))
    commands: list[s.Command] = []
    for name in sorted(children):
        state, more = turn_child(state, name, ChildSignal.START if name in wanted else ChildSignal.STOP, now)
        commands += more
    return without_gone(state), commands


def judged(state: State, network: str, danger: Danger | None, now: Now) -> Stepped:
    """A network became unsafe, or is safe again: what answers on it ends, or comes back."""
    if state.dangers.get(network) == danger:
        return state, []
    others = {name: known for name, known in state.dangers.items() if name != network}
    withheld, was_withheld = danger is not None, network in state.dangers
    state = replace(state, dangers=MappingProxyType(others | ({network: danger} if danger else {})))
    if network not in state.served.settings.networks or withheld == was_withheld:
        return state, []
    words = f"it is not served: {danger.message}" if danger else "it is safe again, and served"
    detail = {"phase": "withheld" if danger else "released", "message": f"network {network}: {words}"}
    told = s.Record(Event(now.wall, EventKind.DNSMASQ, network=network, detail=detail))
    state, commands = with_wanted(after_look(state, now.wall), now)
    return state, [told, *commands]


def turn_all(state: State, signal: ChildSignal, now: Now) -> Stepped:
    """One signal to every child."""
    commands: list[s.Command] = []
    for name in sorted(state.children):
        state, more = turn_child(state, name, signal, now)
        commands += more
    return state, commands


def touched(state: State, name: str, *, alive_at: float = 0.0, reading: float = 0.0) -> State:
    """A child that gave a sign of life, or that is excused while it reads."""
    child = state.children.get(name)
    if child is None:
        return state
    child = replace(
        child,
        alive_at=max(child.alive_at, alive_at),
        reading=max(child.reading, reading),
    )
    return replace(state, children=put(state.children, name, child))


def put(mapping: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    """The mapping with one more value."""
    copied = _copy(mapping)
    copied[key] = value
    return MappingProxyType(copied)


def _copy(mapping: Mapping[K, V]) -> dict[K, V]:
    """A proxy copies its dict as it stands; unpacking it hashes each key anew, fifty times slower."""
    return mapping.copy() if isinstance(mapping, MappingProxyType) else dict(mapping)

"""The decider: `step(state, signal, now)` gives the next state and what has to be done. Pure.

Tasks only report; nothing but this function decides whether a child is started, killed or probed, how far a
machine has come, or what is worth remembering.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from immutables import Map

from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import Ladder, climb, loading
from appliance.boot.policy import Cue, Impossible, Life
from appliance.daemon import lives as life_of
from appliance.daemon import rogues
from appliance.daemon import signals as s
from appliance.daemon import strays as stray_of
from appliance.daemon.known import Now, State
from appliance.daemon.leases import after_event
from appliance.daemon.minding import (
    RELOAD_EVERY,
    Stepped,
    exited,
    judged,
    put,
    reload_due,
    taken_over,
    ticked,
    touched,
    turn_all,
    turn_child,
    with_wanted,
)
from appliance.daemon.outages import after_look
from appliance.daemon.served import Served
from appliance.daemon.sightings import Sightings, after_uuid
from appliance.daemon.sightings import after_event as after_sighting
from appliance.dnsmasq.lifecycle import Signal as ChildSignal


def step(state: State, signal: s.Signal, now: Now) -> Stepped:  # noqa: C901 - a dispatch, a line a signal
    """The state after `signal`, and the commands for the hands."""
    match signal:
        case s.Happened(event):
            return _happened(state, event, now)
        case s.Adopted(served):
            return _adopted(state, served, now)
        case s.ChildReady(name):
            return turn_child(state, name, ChildSignal.READY, now)
        case s.ChildExited(name, rc, said):
            return exited(state, name, rc, said, now)
        case s.ChildAlive(name):
            return touched(state, name, alive_at=now.monotonic), []
        case s.ChildDeaf(name, seconds):
            return touched(state, name, reading=seconds), []
        case s.RestartChild(name):
            return turn_child(state, name, ChildSignal.RESTART, now)
        case s.AddressDisabled(name):
            due = state.reloaded_at.get(name, float("-inf")) + RELOAD_EVERY
            return reload_due(replace(state, declined=put(state.declined, name, due)), name, now)
        case s.TakenOver() as before:
            return taken_over(state, before, now), []
        case s.Leaving():
            return stray_of.last_words(state, now)
        case s.Remembered(leases, assumed):
            return _remembered(replace(state, leases=leases), assumed, now)
        case s.InterfaceSeen(network, seen):
            return after_look(replace(state, interfaces=put(state.interfaces, network, seen)), now.wall), []
        case s.SafetySeen(network, danger):
            return judged(state, network, danger, now)
        case s.ClientHeard(_, mac, uuid) if mac in state.served.by_mac:
            machine = str(state.served.by_mac[mac].name)
            return _seen(state, machine, after_uuid(state.sightings, machine, uuid))
        case s.ClientHeard() as heard:  # a machine's own NIC has a row only while it is refused
            return stray_of.after_client(state, heard), []
        case s.StrayNoted() as wish:
            return stray_of.after_note(state, wish, now)
        case s.ServerHeard() as heard:
            return _rivals(state, *rogues.heard(state.rogue_servers, heard, state.served.settings, now.wall))
        case s.ServersProbed() as probe:
            return _rivals(state, *rogues.probed(state.rogue_servers, probe, state.served.settings, now.wall))
        case s.Loading(machine, path, size):
            return _loading(state, machine, path, size, now), []
        case s.EndpointSeen(reachable):
            return after_look(replace(state, endpoint_reachable=reachable), now.wall), []
        case s.LifeWanted(machine, cue, reason):
            return _wanted(state, machine, cue, reason, now)
        case s.TokensGiven(machine, tokens):
            return state, [s.SaveTokens(machine, tokens)]
        case s.Marked(name, macs):
            rest = replace(state, relieving=state.relieving - {name})
            return (rest if macs is None else replace(rest, marked=put(rest.marked, name, macs))), []
        case s.Ticked():
            state, commands = ticked(state, now)
            state, more = stray_of.ticked(state, now)
            return state, commands + more
        case s.StopRequested():
            state, commands = turn_all(replace(state, stopping=True), ChildSignal.STOP, now)
            state, more = stray_of.last_words(state, now)
            return state, commands + more


def _remembered(state: State, assumed: Iterable[str], now: Now) -> Stepped:
    lives = life_of.assumed_installed(state.lives, assumed, now.wall)
    return replace(state, lives=lives), [s.SaveLife(name, lives[name]) for name in assumed]


def _happened(state: State, event: Event, now: Now) -> Stepped:
    commands: list[s.Command] = [s.Record(event)]
    leases = after_event(state.leases, event, state.served)
    if leases is not state.leases:
        state = replace(state, leases=leases)
    state, told = stray_of.after_event(state, event, now)
    commands += told
    if event.kind is EventKind.ROGUE_SERVER:
        known = rogues.refused(state.rogue_servers, event, state.served.settings)
        state = replace(state, rogue_servers=known)
    if event.machine is None and event.kind is EventKind.DNSMASQ:
        state, told = _about_address(state, event)
        return state, commands + told
    if event.machine is None or event.machine not in state.served.machines:
        return state, commands
    state, seen = _seen(state, event.machine, after_sighting(state.sightings, event, state.served))
    commands += seen
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


def _about_address(state: State, event: Event) -> Stepped:
    """What dnsmasq says of a reservation that it does not give is a sign of the machine that waits for it."""
    machine = state.served.by_ip.get(event.ip) if event.ip else None
    if machine is None:
        return state, []
    name = str(machine.name)
    ladder = climb(state.ladders.get(name, Ladder()), event)
    return replace(state, ladders=state.ladders.set(name, ladder)), [s.SaveLadder(name, ladder)]


def _loading(state: State, name: str, path: str, size: int, now: Now) -> State:
    ladder = state.ladders.get(name)
    if ladder is None or name not in state.served.machines:
        return state
    return replace(state, ladders=state.ladders.set(name, loading(ladder, path, size, now.wall)))


def _rivals(state: State, known: rogues.Rogues, events: list[Event]) -> Stepped:
    return replace(state, rogue_servers=known), [s.Record(event) for event in events]


def _seen(state: State, machine: str, sightings: Sightings) -> Stepped:
    if sightings is state.sightings:
        return state, []
    return replace(state, sightings=sightings), [s.SaveSighting(machine, sightings[machine])]


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
        ladder = replace(ladder, verdict=None, fetches=0, to_disk=())
        state = replace(state, ladders=state.ladders.set(name, ladder))
        commands = [s.SaveLadder(name, ladder)]
    state, more = _lived(state, name, life, after, now.wall)
    return state, commands + more


def _adopted(state: State, served: Served, now: Now) -> Stepped:
    machines = served.machines
    moved = life_of.renamed(state.lives, state.served, served)
    lives = state.lives.update(moved)
    if served.settings.matchbox.endpoint != state.served.settings.matchbox.endpoint:
        state = replace(state, endpoint_reachable=None)
    state = replace(
        state,
        served=served,
        rogue_servers=rogues.within(state.rogue_servers, served.settings),
        dangers=MappingProxyType({n: d for n, d in state.dangers.items() if n in served.settings.networks}),
        sightings=Map({m: seen for m, seen in state.sightings.items() if m in machines}),
        ladders=Map({m: ladder for m, ladder in state.ladders.items() if m in machines}),
        leases=Map({k: v for k, v in state.leases.items() if v.machine in machines}),
        interfaces=MappingProxyType(
            {n: i for n, i in state.interfaces.items() if n in served.settings.networks}
        ),
        lives=lives,
        to_disk=life_of.marked(served, lives),
    )
    state = after_look(stray_of.after_adoption(state), now.wall)
    commands: list[s.Command] = [s.SaveLife(name, life) for name, life in moved.items()]
    state, more = with_wanted(state, now)
    return state, commands + more

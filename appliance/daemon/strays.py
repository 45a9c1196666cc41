"""Strays and the rest of what the daemon knows: what changes the ledger, and how it is listed. Pure."""

from __future__ import annotations

import difflib
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from appliance.addresses import Mac
from appliance.boot.events import Event
from appliance.daemon import ledger as book
from appliance.daemon import signals as s
from appliance.daemon.known import Now, State
from appliance.daemon.ledger import Ledger, Stray
from appliance.daemon.owners import Clue, Clues, Nics
from appliance.errors import Refused

_MAKERS = 4096  # prefixes whose maker is remembered: the IEEE's list is a file
_NO_NOTE = ""

Turned = tuple[State, list[s.Command]]


def after_event(state: State, event: Event, now: Now) -> Turned:
    """The state after an event, told once already."""
    clues: list[Clues] = []

    def named(row: Stray) -> bool:
        if not clues:
            clues.append(clues_of(state))
        return clues[0].named(row)

    return _turned(state, book.after_event(state.strays, event, state.served, now.monotonic, named), now)


def after_client(state: State, heard: s.ClientHeard) -> State:
    """The state after a client said its UUID."""
    strays = book.after_client(state.strays, heard.mac, heard.uuid)
    return state if strays is state.strays else replace(state, strays=strays)


def after_adoption(state: State) -> State:
    """The state once another generation is in force."""
    return replace(state, strays=book.after_adoption(state.strays, state.served), nics=Nics.of(state.served))


def after_note(state: State, wish: s.StrayNoted, now: Now) -> Turned:
    """The state after an operator's wish; kept at once, because who asked waits for that."""
    return _kept(replace(state, strays=book.after_note(state.strays, wish.mac, wish.note)), now)


def ticked(state: State, now: Now) -> Turned:
    """What time alone brings: floods end, old rows go, changes are kept."""
    state, commands = _turned(state, book.ticked(state.strays, now.monotonic, now.wall), now)
    if not book.due(state.strays, now.monotonic):
        return state, commands
    state, more = _kept(state, now)
    return state, commands + more


def last_words(state: State, now: Now) -> Turned:
    """What is to be kept before the end."""
    return _kept(state, now)


def clues_of(state: State) -> Clues:
    """What is known at this moment of whose a stray may be."""
    uuids = {name: seen.uuid for name, seen in state.sightings.items() if seen.uuid}
    return Clues(state.nics, _heard(state), uuids)


def _heard(state: State) -> dict[str, datetime]:
    """When each machine was heard last by a MAC of its own that may boot.

    It climbs, it renews its lease, or is refused; another NIC of it says nothing.
    """
    heard = {name: ladder.last for name, ladder in state.ladders.items() if ladder.rung and ladder.last}
    own = state.served.by_mac
    signs = [(lease.machine, lease.granted) for lease in state.leases.values()]
    signs += [(str(own[mac].name), row.last) for mac, row in state.strays.rows.items() if mac in own]
    for name, at in signs:
        heard[name] = max(at, heard.get(name, at))
    return heard


def stray_rows(state: State, *, ignored: bool = True) -> list[dict[str, object]]:
    """The public shape of `strays`, with or without those that are ignored.

    Those whose machine can be named come first, then MACs that a maker gave, then made-up ones, of which a
    flood brings thousands; among each, the latest first.
    """
    clues = clues_of(state)
    rows = [row for row in state.strays.rows.values() if ignored or row.note is None]
    rows.sort(key=lambda row: (row.last, row.mac), reverse=True)
    told = [(row, _public(row, clues.of(row))) for row in rows]
    told.sort(key=lambda pair: (pair[1]["machine"] is None, bool(pair[0].mac.octets[0] & 2)))
    return [facts for _, facts in told]


def stray_facts(state: State, raw: str) -> dict[str, object]:
    """One row of `strays`, with all clues to its owner.

    Raises:
        Refused: it is no MAC, or not on the ledger; names the nearest that is.
    """
    row = state.strays.rows[on_ledger(state, raw)]
    found = clues_of(state).of(row)
    return {**_public(row, found), "clues": [clue.as_json() for clue in found]}


def on_ledger(state: State, raw: str) -> Mac:
    """The MAC that an operator names, in any spelling.

    Raises:
        Refused: as for `stray_facts`.
    """
    try:
        mac = Mac.parse(raw)
    except ValueError as error:
        raise Refused(str(error), hint="pxe-appliance strays lists them") from error
    if mac in state.strays.rows:
        return mac
    near = difflib.get_close_matches(mac.text, [m.text for m in state.strays.rows], 1)
    hint = f"did you mean {near[0]}?" if near else "pxe-appliance strays lists them"
    if mac in state.served.by_mac:
        hint = f"it is a NIC of {state.served.by_mac[mac].name}: pxe-appliance machines"
    raise Refused(f"{mac} is no stray: it is not on the ledger", hint=hint)


def _public(row: Stray, clues: tuple[Clue, ...]) -> dict[str, object]:
    best = clues[0] if clues else None
    remedy = (best.remedy if best else "") or row.reason.remedy or _usual_remedy(row)
    return {
        **row.as_json(),
        "vendor": _maker(row.mac.text[:8]) or None,
        "owner": best.text if best else None,
        "machine": best.machine if best else None,
        "remedy": remedy,
    }


def _usual_remedy(row: Stray) -> str:
    return (
        f"pxe-appliance strays adopt {row.mac} --name NAME, "
        f'or pxe-appliance strays ignore {row.mac} --note "..."'
    )


@lru_cache(maxsize=_MAKERS)
def _maker(prefix: str) -> str:
    return Mac.parse(f"{prefix}:00:00:01").vendor


def _turned(state: State, after: Ledger, now: Now) -> Turned:
    if after is state.strays:
        return state, []
    event = book.told(state.strays.flood, after.flood, now.wall)
    return replace(state, strays=after), [s.Record(event)] if event else []


def _kept(state: State, now: Now) -> Turned:
    strays, changed = book.saved(state.strays, now.monotonic)
    return replace(state, strays=strays), [s.SaveStrays(changed)] if changed else []

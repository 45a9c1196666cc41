"""The ledger of strays: every MAC that asked and was not served, and why. Bounded. Pure.

Whoever is on the wire can invent as many MACs as they like. So a row is small, the ledger holds so many, and
when it is full, those that came once and are nobody's go first. Times called `at` are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind, rfc3339
from appliance.daemon.served import Served
from appliance.dnsmasq.reasons import Reason, standing

ROWS: Final = 4096
SLACK: Final = 512  # rows beyond that, before it is put in order: so doing it costs little for each
NOTED: Final = 2048  # rows that an operator may have ignored
KEPT: Final = timedelta(weeks=4)  # after the last time it was heard
FLOOD: Final = 256  # new MACs within a window: more than racks that are switched on together bring
FLOOD_OVER: Final = 64  # new MACs within a whole window, at most, that end a flood
WINDOW: Final = 60.0  # seconds
SAVE_EVERY: Final = 2.0  # seconds
SWEEP_EVERY: Final = 600.0  # seconds between looks for rows that are old
UUIDS: Final = 1024  # of MACs that are not in here yet: dnsmasq's log is a moment behind the wire

_CLASS, _NAME, _NOTE = 128, 64, 200  # characters that are kept of what a client, or an operator, says
_MANY: Final = 10  # times, from which on one that was heard more often is no better known
# Told by the inventory alone: another generation may say something else.
_BY_INVENTORY: Final = frozenset({"not-in-inventory", "other-nic", "wrong-network", "not-served"})
_REFUSALS: Final = frozenset({EventKind.STRAY, EventKind.IGNORED})
_SERVED: Final = frozenset({EventKind.OFFER, EventKind.ACK})


@dataclass(frozen=True, slots=True)
class Stray:
    """One MAC that asked and was not served. Texts are a client's own: hostile until escaped.

    `arch` is its firmware's class in words; `machine` is whose NIC the inventory says it is; `note` is what
    an operator wrote who had it ignored, None while it is not.
    """

    mac: Mac
    network: str | None
    first: datetime
    last: datetime
    count: int = 1
    arch: str = ""
    vendor_class: str = ""
    client_name: str = ""
    reason: Reason = Reason("not-in-inventory", "not in the inventory")
    uuid: str = ""
    machine: str | None = None
    note: str | None = None

    def as_json(self) -> dict[str, object]:
        """Plain JSON, for keeping, and for the listing to complete."""
        return {
            "mac": self.mac.text,
            "network": self.network,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "count": self.count,
            "arch": self.arch or None,
            "vendor_class": self.vendor_class or None,
            "client_name": self.client_name or None,
            "reason_code": self.reason.code,
            "reason": self.reason.text,
            "remedy": self.reason.remedy or None,
            "uuid": self.uuid or None,
            "machine": self.machine,
            "ignored": self.note,
        }

    @classmethod
    def from_json(cls, raw: object) -> Stray:
        """Read what `as_json` wrote.

        Raises:
            ValueError: when it is something else; the row is lost then.
        """
        if not isinstance(raw, dict):
            raise ValueError("a kept stray should be an object")
        try:
            network, machine, note = raw["network"], raw["machine"], raw["ignored"]
            return cls(
                mac=Mac.parse(str(raw["mac"])),
                network=None if network is None else str(network),
                first=datetime.fromisoformat(str(raw["first"])).astimezone(UTC),
                last=datetime.fromisoformat(str(raw["last"])).astimezone(UTC),
                count=int(raw["count"]),
                arch=str(raw["arch"] or ""),
                vendor_class=str(raw["vendor_class"] or "")[:_CLASS],
                client_name=str(raw["client_name"] or "")[:_NAME],
                reason=Reason(str(raw["reason_code"]), str(raw["reason"]), str(raw["remedy"] or "")),
                uuid=str(raw["uuid"] or ""),
                machine=None if machine is None else str(machine),
                note=None if note is None else str(note)[:_NOTE],
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a kept stray cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Flood:
    """More new MACs than machines bring: since when, how many so far, and on which networks."""

    since: datetime
    macs: int
    networks: frozenset[str] = frozenset()

    @property
    def words(self) -> str:
        """For an operator: how many, where, since when."""
        where = f"network {', '.join(sorted(self.networks))}" if self.networks else "the wire"
        return f"a flood of strangers on {where}: {self.macs} new MACs since {rfc3339(self.since)}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """All strays. `mac in ledger` asks whether a MAC asked and is nobody's; `len` counts the rows.

    `unsaved` names rows that changed or went since they were last kept; `uuids` holds what MACs said that
    have no row yet; `window` is when the present count of `new` MACs began.
    """

    rows: Map[Mac, Stray] = field(default_factory=Map)
    unsaved: Map[Mac, bool] = field(default_factory=Map)
    uuids: Map[Mac, str] = field(default_factory=Map)
    noted: int = 0
    window: float | None = None
    new: int = 0
    flood: Flood | None = None
    saved_at: float = 0.0
    swept_at: float = 0.0

    def __contains__(self, mac: object) -> bool:
        row = self.rows.get(mac) if isinstance(mac, Mac) else None
        return row is not None and row.machine is None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counted(self) -> int:
        """Rows that no operator has had ignored."""
        return len(self.rows) - self.noted


Named = Callable[[Stray], bool]  # whether somebody is known whose a row may be


def restored(raw: Mapping[str, object]) -> Ledger:
    """The ledger from what was kept of it, by MAC; what cannot be read is left out."""
    rows: dict[Mac, Stray] = {}
    for value in raw.values():
        try:
            row = Stray.from_json(value)
        except ValueError:
            continue
        rows[row.mac] = row
    noted = sum(row.note is not None for row in rows.values())
    return _in_order(Ledger(Map(rows), noted=noted), lambda _: False)


def after_event(ledger: Ledger, event: Event, served: Served, at: float, named: Named) -> Ledger:
    """The ledger after an event; all events may be told.

    Args:
        ledger: as it was.
        event: what happened.
        served: the generation in force.
        at: the monotonic clock.
        named: asked of rows that would have to go.
    """
    if event.mac is None:
        return ledger
    before = ledger.rows.get(event.mac)
    if event.kind in _SERVED:
        served_now = before is not None and before.network == event.network
        return _without(ledger, [event.mac]) if served_now else ledger
    if event.kind not in _REFUSALS:
        return ledger
    row = _heard(before, event, event.mac, served)
    if before is not None:
        return _with(ledger, row)
    if event.mac in ledger.uuids:
        row = replace(row, uuid=ledger.uuids[event.mac])
        ledger = replace(ledger, uuids=ledger.uuids.delete(event.mac))
    ledger = _counted(_with(ledger, row), event, at)
    return _in_order(ledger, named) if len(ledger.rows) > ROWS + SLACK else ledger


def after_client(ledger: Ledger, mac: Mac, uuid: str) -> Ledger:
    """The ledger after a client said its UUID, which the log may follow or have preceded."""
    row = ledger.rows.get(mac)
    if row is not None:
        return ledger if row.uuid == uuid else _with(ledger, replace(row, uuid=uuid))
    if ledger.uuids.get(mac) == uuid:
        return ledger
    full = mac not in ledger.uuids and len(ledger.uuids) >= UUIDS
    # It says it again with its next packet, when it has a row: nothing is lost for good.
    known: Map[Mac, str] = Map() if full else ledger.uuids
    return replace(ledger, uuids=known.set(mac, uuid))


def after_adoption(ledger: Ledger, served: Served) -> Ledger:
    """The ledger under another generation: who is served now leaves, others may have another reason."""
    gone: list[Mac] = []
    for row in list(ledger.rows.values()):
        known, other = _whose(row.mac, served)
        reason = standing(row.network or (known[1] if known else ""), known, other)
        if reason is None:
            if row.reason.code in _BY_INVENTORY or row.machine is None:
                gone.append(row.mac)
            continue
        machine = known[0] if known else other[0] if other else None
        if machine != row.machine or (row.reason.code in _BY_INVENTORY and row.reason != reason):
            ledger = _with(ledger, replace(row, reason=reason, machine=machine))
    return _without(ledger, gone)


def after_note(ledger: Ledger, mac: Mac, note: str | None) -> Ledger:
    """The ledger after an operator had a row ignored, with a note, or counted again (None)."""
    row = ledger.rows.get(mac)
    if row is None or (note is not None and row.note is None and ledger.noted >= NOTED):
        return ledger
    return _with(ledger, replace(row, note=None if note is None else note[:_NOTE]))


def ticked(ledger: Ledger, at: float, wall: datetime) -> Ledger:
    """What time alone brings: a flood that is over, rows that are old."""
    if ledger.window is not None and at - ledger.window >= WINDOW:
        ledger = _next_window(ledger, at)
    if at - ledger.swept_at < SWEEP_EVERY:
        return ledger
    old = [m for m, row in ledger.rows.items() if row.note is None and wall - row.last > KEPT]
    ledger = _without(ledger, old)
    for row in [row for row in ledger.rows.values() if row.last > wall]:  # the clock was ahead, before NTP
        ledger = _with(ledger, replace(row, last=wall, first=min(row.first, wall)))
    return replace(ledger, swept_at=at)


def due(ledger: Ledger, at: float) -> bool:
    """Whether what changed is to be kept now."""
    return bool(ledger.unsaved) and at - ledger.saved_at >= SAVE_EVERY


def saved(ledger: Ledger, at: float) -> tuple[Ledger, dict[Mac, Stray | None]]:
    """What has changed and must be kept, None for a row that went; and the ledger as it is then."""
    changed = {mac: ledger.rows.get(mac) for mac in ledger.unsaved}
    return replace(ledger, unsaved=Map(), saved_at=at), changed


def told(before: Flood | None, after: Flood | None, wall: datetime) -> Event | None:
    """The event of a flood that began or is over; None in between."""
    if (before is None) == (after is None):
        return None
    flood = after or before
    assert flood is not None
    what = "begun" if after else "over"
    message = flood.words if after else f"over: {flood.words}"
    network = min(flood.networks) if len(flood.networks) == 1 else None
    detail = {"what": what, "macs": str(flood.macs), "message": message}
    return Event(wall, EventKind.STRAY_FLOOD, network=network, detail=detail)


def _heard(before: Stray | None, event: Event, mac: Mac, served: Served) -> Stray:
    said = event.detail
    network = event.network or (before.network if before else None)
    row = before or Stray(mac, network, event.at, event.at, count=0)
    return replace(
        row,
        network=network,
        last=event.at,
        count=row.count + 1,
        arch=said.get("class", "")[:_CLASS] or row.arch,
        vendor_class=said.get("vendor_class", "")[:_CLASS] or row.vendor_class,
        client_name=said.get("client_name", "")[:_NAME] or row.client_name,
        reason=_reason(event, mac, served),
        machine=_machine(mac, served),
    )


def _reason(event: Event, mac: Mac, served: Served) -> Reason:
    said = event.detail
    if "code" in said:
        return Reason(said["code"], said.get("reason", ""), said.get("remedy", ""))
    path = said.get("path", "")[:_NAME]
    machine = served.by_mac.get(mac)
    if machine is not None:
        text = f"{machine.name} asks by HTTP from {event.ip}, not from its address {machine.ip}"
        return Reason("wrong-address", text, "have it take its address by DHCP, or change its entry")
    text = f"asked for {path} by HTTP from {event.ip}, which is no machine's address"
    return Reason("http-stranger", text, "")


def _whose(mac: Mac, served: Served) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """(machine, network) of a NIC that may boot, and (machine, NIC) of one that must stay silent."""
    machine, other = served.by_mac.get(mac), served.other_nics.get(mac)
    known = (str(machine.name), machine.network) if machine else None
    return known, (str(other[0].name), other[1].name) if other else None


def _machine(mac: Mac, served: Served) -> str | None:
    known, other = _whose(mac, served)
    return known[0] if known else other[0] if other else None


def _counted(ledger: Ledger, event: Event, at: float) -> Ledger:
    """One more new MAC; from a certain number on within a window it is a flood."""
    if ledger.window is None:
        ledger = replace(ledger, window=at, new=0)
    elif at - ledger.window >= WINDOW:
        ledger = _next_window(ledger, at)
        ledger = ledger if ledger.window is not None else replace(ledger, window=at)
    new, flood = ledger.new + 1, ledger.flood
    networks = frozenset({event.network} if event.network else ())
    if flood is not None:
        flood = replace(flood, macs=flood.macs + 1, networks=flood.networks | networks)
    elif new >= FLOOD:
        flood = Flood(event.at, new, networks)
    return replace(ledger, new=new, flood=flood)


def _next_window(ledger: Ledger, at: float) -> Ledger:
    """Count anew; without a flood, from the next new MAC on, so that a burst lies within one window."""
    goes_on = ledger.flood is not None and ledger.new > FLOOD_OVER
    return replace(ledger, window=at if goes_on else None, new=0, flood=ledger.flood if goes_on else None)


def _with(ledger: Ledger, row: Stray) -> Ledger:
    before = ledger.rows.get(row.mac)
    noted = (row.note is not None) - (before is not None and before.note is not None)
    return replace(
        ledger,
        rows=ledger.rows.set(row.mac, row),
        unsaved=ledger.unsaved.set(row.mac, True),
        noted=ledger.noted + noted,
    )


def _without(ledger: Ledger, macs: Iterable[Mac]) -> Ledger:
    rows, unsaved, noted = ledger.rows.mutate(), ledger.unsaved.mutate(), ledger.noted
    for mac in macs:
        noted -= rows.pop(mac).note is not None
        unsaved[mac] = True
    if len(rows) == len(ledger.rows):
        return ledger
    return replace(ledger, rows=rows.finish(), unsaved=unsaved.finish(), noted=noted)


def _in_order(ledger: Ledger, named: Named) -> Ledger:
    """As many rows as the ledger holds: the least known go, of these the oldest."""
    excess = len(ledger.rows) - ROWS
    if excess <= 0:
        return ledger
    ranked = sorted(ledger.rows.values(), key=_worth)
    nobodys = sum(row.note is None and row.machine is None for row in ranked)
    leaving: list[Mac] = []
    spared: list[Mac] = []
    for row in ranked[:nobodys]:
        if len(leaving) == excess:
            break
        (spared if named(row) else leaving).append(row.mac)
    rest = [*spared, *(row.mac for row in ranked[nobodys:])]
    return _without(ledger, [*leaving, *rest[: excess - len(leaving)]])


def _worth(row: Stray) -> tuple[bool, bool, int, datetime]:
    return row.note is not None, row.machine is not None, min(row.count, _MANY), row.last

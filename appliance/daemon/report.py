"""A machine calls home: `POST /v1/report` with a stage and a message. Reading it is pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon.requests_seen import asker, client_address
from appliance.daemon.served import Served

LIMIT = 8192  # bytes of a report
_TEXT = 512
_FACTS = 16
# A stage that ends a boot; `installed` also ends an install-once machine's need of the installer.
_FINAL = frozenset({"done", "installed"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A report that belongs to a machine."""

    event: Event
    installed: bool
    token: str = ""  # of the machine's last boot, for whoever can tell whether it is


@dataclass(frozen=True, slots=True)
class Rejected:
    """A report that does not count: the HTTP status and why."""

    status: int
    reason: str


def read_report(body: bytes, client: str, served: Served, at: datetime) -> Accepted | Rejected:
    """Read a report that came from `client`.

    Only the machine whose reserved address it came from may report, and only for itself: a MAC in the
    report must be one of its own.
    """
    try:
        facts = json.loads(body)
    except (ValueError, RecursionError):
        return Rejected(400, "the report is not JSON")
    if not isinstance(facts, dict) or not isinstance(facts.get("stage"), str):
        return Rejected(400, 'a report looks like {"stage": "done", "message": "…"}')
    mac = _mac(facts.get("mac"))
    machine = asker(client, served.by_mac.get(mac) if mac else None, served)
    if machine is None:
        return Rejected(403, f"{client} is not the address of a machine in the inventory")
    if facts.get("mac") is not None and mac not in machine.macs:
        return Rejected(403, f"the report names a MAC that is not {machine.name}'s")
    stage = _text(facts["stage"], 64)
    kind = EventKind.DONE if stage in _FINAL else EventKind.REPORT
    detail = {"stage": stage, "message": _text(facts.get("message", ""), _TEXT)}
    more = facts.get("facts")
    if isinstance(more, Mapping):
        said = {_text(k, 32): _text(v, _TEXT) for k, v in list(more.items())[:_FACTS] if k != "token"}
        detail = {**said, **detail}
    event = Event(
        at,
        kind,
        str(machine.name),
        machine.mac,
        client_address(client),
        machine.network,
        MappingProxyType(detail),
    )
    token = facts.get("token")
    return Accepted(event, stage == "installed", token if isinstance(token, str) else "")


def _text(value: object, limit: int) -> str:
    """What a machine says, as text that can be written: JSON may hold lone surrogates, UTF-8 may not."""
    return str(value)[:limit].encode("utf-8", "replace").decode()


def _mac(raw: object) -> Mac | None:
    try:
        return Mac.parse(raw) if isinstance(raw, str) else None
    except ValueError:
        return None

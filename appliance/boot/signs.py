"""What is remembered of a boot besides its rungs, so that whoever asks why it stopped needs no history. Pure.

A sign is an event without its noise: what kind, with which telling details, when first and last, how often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from appliance.boot.events import Event, EventKind, rfc3339

K = EventKind
MOST: Final = 24  # of a boot; a healthy one leaves nine
_LONGEST: Final = 160  # characters of a detail
# A running system renews its lease for years: how often it did says nothing.
_OS_COUNTED: Final = 3
# Which details tell one sign from another. A kind that is not here leaves none: the rungs say it already.
_TELLING: Final[Mapping[EventKind, tuple[str, ...]]] = MappingProxyType(
    {
        K.DISCOVER: ("stage",),
        K.OFFER: ("stage", "class", "boot_file"),
        K.ACK: ("stage", "class", "boot_file"),
        K.SCRIPT: ("to", "again", "reason"),
        K.NAK: ("note",),
        K.DECLINE: (),
        K.IGNORED: ("code", "stage", "class", "reason", "remedy"),
        K.TFTP_ERROR: ("file", "reason"),
        K.HTTP_ERROR: ("path", "status", "code", "reason", "claims"),
        K.ROGUE_SERVER: ("server",),
        K.REPORT: ("stage", "message"),
        K.DNSMASQ: ("what", "reason"),
    }
)
# Of interest, and different each time: the last one is kept.
_PASSING: Final = ("bytes",)
# Parts of one conversation about an address, in which a client begins again from DISCOVER.
_CARRIED: Final = frozenset({K.NAK, K.DECLINE, K.ROGUE_SERVER, K.DNSMASQ})
_CARRIED_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that was seen `count` times; `detail` holds text from the wire, hostile until escaped."""

    kind: EventKind
    first: datetime
    last: datetime
    count: int = 1
    detail: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    mac: str = ""

    def get(self, key: str) -> str:
        """A detail; empty when the event had none."""
        return self.detail.get(key, "")

    def as_json(self) -> dict[str, object]:
        """Plain JSON, for keeping."""
        return {
            "kind": self.kind.value,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "count": self.count,
            "detail": dict(self.detail),
            "mac": self.mac,
        }


def read_sign(raw: object) -> Sign:
    """Read what `as_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError: when it is something else.
    """
    if not isinstance(raw, dict):
        raise ValueError("a kept sign should be an object")
    return Sign(
        kind=EventKind(str(raw["kind"])),
        first=_time(raw["first"]),
        last=_time(raw["last"]),
        count=int(raw["count"]),
        detail=MappingProxyType({str(k): str(v) for k, v in raw["detail"].items()}),
        mac=str(raw["mac"]),
    )


def noted(signs: tuple[Sign, ...], event: Event) -> tuple[Sign, ...]:
    """The signs after an event: one more, or one of them seen again; the stalest goes when there are many."""
    telling = _TELLING.get(event.kind)
    if telling is None:
        return signs
    said = event.detail
    mac = str(event.mac) if event.kind is K.IGNORED and event.mac else ""
    detail = {key: said[key][:_LONGEST] for key in telling if said.get(key)}
    for place, sign in enumerate(signs):
        if sign.kind is event.kind and sign.mac == mac and _same(sign.detail, detail, telling):
            if event.kind is K.OFFER:
                return signs  # who asks is counted already
            if detail.get("stage") == "os" and sign.count >= _OS_COUNTED and event.kind is not K.IGNORED:
                return signs
            passing = {key: said[key][:_LONGEST] for key in _PASSING if said.get(key)}
            last, count = max(sign.last, event.at), sign.count + 1
            again = replace(sign, last=last, count=count, detail=MappingProxyType({**sign.detail, **passing}))
            return (*signs[:place], again, *signs[place + 1 :])
    detail |= {key: said[key][:_LONGEST] for key in _PASSING if said.get(key)}
    new = Sign(event.kind, event.at, event.at, 1, MappingProxyType(detail), mac)
    if len(signs) >= MOST:
        stalest = min(signs, key=lambda sign: sign.last)
        signs = tuple(sign for sign in signs if sign is not stalest)
    return (*signs, new)


def carried(signs: tuple[Sign, ...], at: datetime) -> tuple[Sign, ...]:
    """Those that still count for a boot that begins `at`."""
    return tuple(
        sign
        for sign in signs
        if sign.kind in _CARRIED and (at - sign.last).total_seconds() <= _CARRIED_SECONDS
    )


def _same(known: Mapping[str, str], new: Mapping[str, str], telling: tuple[str, ...]) -> bool:
    return all(known.get(key, "") == new.get(key, "") for key in telling)


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)

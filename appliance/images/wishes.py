"""How a fetch is wanted: what it may cost, and what is believed on the operator's own word. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a mirror may cost. In each `patience` seconds at least `least_rate` bytes a second must arrive.

    `tries` counts attempts in a row that brought nothing new; `deadline` bounds one artefact in seconds.
    """

    patience: float = 30.0
    least_rate: int = 1024
    tries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    deadline: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a release is wanted. `digest` is one that the operator gives for what nobody signs.

    `legacy_sha1` asks gpgv for the retired CoreOS keys. `local`: images that nobody signs are believed as a
    bundle brings them. Without `pin`, images.lock stays as it is: what it does not pin is brought, and waits.
    """

    allow_downgrade: bool = False
    legacy_sha1: bool = False
    local: bool = False
    pin: bool = True
    digest: str | None = None

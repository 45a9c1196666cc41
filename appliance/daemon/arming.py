"""The tokens that boot scripts carried: made, kept, and known again. The decider has them written."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import IPv4Address

from appliance.boot.arming import Armed, Tokens, armed_with, closed, why_not_arm, why_not_read, why_not_report
from appliance.daemon import signals as s

_OCTETS = 18  # 144 bits: 24 characters that need no quoting in a URL


class Arming:
    """Tokens by machine. What is written is their digests; a token itself is in the script alone."""

    def __init__(self, report: Callable[[s.Signal], None]) -> None:
        self._report = report
        self._tokens: dict[str, Tokens] = {}
        self.unkept = False  # whether a token was given that may not be on disk yet
        self._given: dict[str, tuple[datetime, str]] = {}  # the boot that has it, and the token

    def remember(self, kept: Mapping[str, object]) -> None:
        """Take up what was kept, JSON by machine; a machine whose tokens cannot be read has none."""
        for machine, raw in kept.items():
            try:
                self._tokens[machine] = tuple(Armed.from_json(one) for one in _listed(raw))
            except ValueError:
                self._tokens.pop(machine, None)

    def arm(self, machine: str, boot: datetime, at: datetime, ip: IPv4Address, seen: str = "") -> str:
        """The token for a machine's boot script: one per boot; earlier ones are worth nothing any more."""
        given = self._given.get(machine)
        token = given[1] if given and given[0] == boot else secrets.token_urlsafe(_OCTETS)
        self._given[machine] = boot, token
        self._set(machine, armed_with(self._tokens.get(machine, ()), token, boot, at, ip, seen))
        return token

    def close(self, machine: str) -> None:
        """The machine has called home: nothing opens its Ignition until it boots again."""
        tokens = self._tokens.get(machine, ())
        if any(not one.closed for one in tokens):
            self._set(machine, closed(tokens))
            self._given.pop(machine, None)

    def forget(self, machine: str) -> None:
        """The machine boots without a token: those of earlier boots are worth nothing any more."""
        self._given.pop(machine, None)
        if self._tokens.get(machine):
            self._set(machine, ())

    def why_not_arm(self, machine: str, boot: datetime, now: datetime, seen: str = "") -> str:
        """Why the boot that began at `boot` gets no token any more; empty when it may have one."""
        return why_not_arm(self._tokens.get(machine, ()), boot, now, seen)

    def why_not_read(self, machine: str, token: str, ip: IPv4Address | None, now: datetime) -> str:
        """Why `token` does not open the machine's Ignition; empty when it does."""
        return why_not_read(self._tokens.get(machine, ()), token, ip, now)

    def why_not_report(self, machine: str, token: str) -> str:
        """Why a report with `token` is not believed to be the machine's; empty when it is."""
        return why_not_report(self._tokens.get(machine, ()), token)

    def _set(self, machine: str, tokens: Tokens) -> None:
        self._tokens[machine] = tokens
        self.unkept = True
        self._report(s.TokensGiven(machine, tokens))


def _listed(raw: object) -> list[object]:
    if not isinstance(raw, list):
        raise ValueError("kept tokens should be a list")
    return raw

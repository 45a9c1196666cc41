"""Which boot may read a machine's Ignition: one that was given a token, for as long as it takes. Pure.

A boot script that goes to the machine itself carries a token in the URL of its Ignition; the token is good
for this boot, from this address, for a while, and until the machine has called home. What is kept of it is
its digest.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

# From a boot script to the last try of Ignition: a big initrd over a slow link, and Ignition's own retries.
WINDOW: Final = timedelta(minutes=30)
# A boot may ask for its script several times, when a kernel did not arrive.
_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Armed:
    """One token, given to the boot that began at `boot`. `closed`: that machine has called home since.

    `seen` is the MAC that answered for the address when it was given, as text; empty where none was known.
    """

    digest: str
    boot: datetime
    at: datetime
    ip: IPv4Address
    closed: bool = False
    seen: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain JSON, for keeping."""
        return {
            "digest": self.digest,
            "boot": self.boot.isoformat(),
            "at": self.at.isoformat(),
            "ip": str(self.ip),
            "closed": self.closed,
            "seen": self.seen,
        }

    @classmethod
    def from_json(cls, raw: object) -> Armed:
        """Read what `as_json` wrote.

        Raises:
            ValueError: when it is something else.
        """
        if not isinstance(raw, dict):
            raise ValueError("a kept token should be an object")
        try:
            return cls(
                str(raw["digest"]),
                datetime.fromisoformat(raw["boot"]).astimezone(UTC),
                datetime.fromisoformat(raw["at"]).astimezone(UTC),
                IPv4Address(raw["ip"]),
                bool(raw["closed"]),
                str(raw.get("seen", "")),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a kept token cannot be read: {error!r}") from error


Tokens = tuple[Armed, ...]


def digest_of(token: str) -> str:
    """What is kept of a token: enough to know it again, of no use to a thief."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def armed_with(
    tokens: Tokens, token: str, boot: datetime, at: datetime, ip: IPv4Address, seen: str = ""
) -> Tokens:
    """The tokens after one more; those of earlier boots are worth nothing from now on."""
    digest = digest_of(token)
    same = [one for one in tokens if one.boot == boot and one.digest != digest]
    return (*same, Armed(digest, boot, at, ip, seen=seen))[-_KEPT:]


def closed(tokens: Tokens) -> Tokens:
    """The tokens once the machine has called home: they still sign its reports, and open nothing."""
    return tuple(replace(one, closed=True) for one in tokens)


def why_not_arm(tokens: Iterable[Armed], boot: datetime, now: datetime, seen: str = "") -> str:
    """Why the boot that began at `boot` gets no token any more; empty when it may have one.

    Once it has called home, who asks from its address is a running system, and any of its processes. `seen`
    is the MAC that answers for the address now: a boot is that of whoever asked first.
    """
    same = [one for one in tokens if one.boot == boot]
    if any(one.closed for one in same):
        return "the machine has called home since it booted"
    if now - boot > WINDOW:
        minutes = int(WINDOW.total_seconds() // 60)
        return f"it began to boot more than {minutes} minutes ago: it has to ask for its address again"
    first = next((one.seen for one in same if one.seen), "")
    if first and seen and seen != first:
        return f"{seen} answers for its address now, and {first} did when this boot asked first"
    return ""


def why_not_read(tokens: Iterable[Armed], token: str, ip: IPv4Address | None, now: datetime) -> str:
    """Why `token` from `ip` does not open the machine's Ignition now; empty when it does."""
    if not token:
        return "the request has no token: only the URL in the machine's own boot script has it"
    found = _find(tokens, token)
    if found is None:
        return "the token is not that of this boot"
    if found.ip != ip:
        return f"the token was given to {found.ip}"
    if found.closed:
        return "the machine has called home since"
    if now - found.at > WINDOW:
        minutes = int(WINDOW.total_seconds() // 60)
        return f"the boot script was given more than {minutes} minutes ago"
    return ""


def why_not_report(tokens: Tokens, token: str) -> str:
    """Why a report with `token` is not believed; empty when it is."""
    if not token:
        return "the report has no token: that of the machine's last boot belongs into it"
    return "" if _find(tokens, token) else "the token is not that of the machine's last boot"


def _find(tokens: Iterable[Armed], token: str) -> Armed | None:
    wanted = digest_of(token)
    return next((one for one in tokens if hmac.compare_digest(one.digest, wanted)), None)

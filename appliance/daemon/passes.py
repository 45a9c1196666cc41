"""What lets a proof ask by HTTP as if it were a machine, from this very host and for as long as it runs.

A pass is a secret that is made for one run and never leaves this process but in a request from our own
address to our own address, which no wire carries (Linux drops a packet from outside that claims one of its
host's addresses, RFC 1812 section 5.3.8). So nobody can use one, and nobody can learn one.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Final

from appliance.daemon.requests_seen import client_address
from appliance.daemon.served import Served
from appliance.inventory.model import Machine

HEADER: Final = "X-Pxe-Appliance-Proof"
REASON: Final = "X-Pxe-Appliance-Reason"  # why not, which no machine is told
_OCTETS: Final = 32


class Passes:
    """The passes that are valid now."""

    def __init__(self) -> None:
        self._valid: list[str] = []

    @contextlib.contextmanager
    def issued(self) -> Iterator[str]:
        """A pass for as long as the block runs."""
        secret = secrets.token_urlsafe(_OCTETS)
        self._valid.append(secret)
        try:
            yield secret
        finally:
            self._valid.remove(secret)

    def machine(self, peer: str, headers: Mapping[str, str], served: Served) -> Machine | None:
        """The machine in whose place `peer` asks; None for everybody who is not a proof."""
        said = headers.get(HEADER)
        if said is None or not self._valid:
            return None
        secret, _, name = said.partition(" ")
        address = client_address(peer)
        if not any(address == network.address for network in served.settings.networks.values()):
            return None
        raw = secret.encode("utf-8", "replace")
        if not any(hmac.compare_digest(raw, valid.encode()) for valid in self._valid):
            return None
        return served.machines.get(name)


def shown(secret: str, machine: str) -> dict[str, str]:
    """The header that shows a pass."""
    return {HEADER: f"{secret} {machine}"}

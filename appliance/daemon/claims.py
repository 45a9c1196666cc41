"""Who answers DHCP on an interface of this host: one of us for each, whatever root it has.

Another of our daemons answers from the same address and hardware address, so no packet tells it from us. A
name that the kernel knows for each network namespace does: an abstract socket (unix(7)), which ends with its
process. Anybody may bind such a name, so only root's and our own user's count.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from appliance.system.clock import monotonic

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred (unix(7))
_BACKLOG: Final = 16
_INSISTS: Final = 3  # questions: one that starts asks once
_FRESH: Final = 5.0  # seconds; each look is a question


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asked for an interface that is ours: how often in a row, and when at last."""

    pid: int
    times: int
    at: float


def holder(interface: str) -> int | None:
    """The process id of the daemon that answers on an interface; None when there is none that counts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(_name(interface))
            return _peer(asking)
        except OSError:  # nobody, or somebody who accepts nobody: ours does
            return None


class Claims:
    """Those of one daemon, on a running event loop."""

    def __init__(self) -> None:
        self._held: dict[str, socket.socket] = {}
        self._asked: dict[str, _Asked] = {}
        self.others: dict[str, int] = {}  # interfaces that another daemon answers on, and its process id

    def follow(self, interfaces: Iterable[str]) -> None:
        """Claim these, and no others."""
        wanted = set(interfaces)
        for interface in self._held.keys() - wanted:
            self._release(interface)
        self.others = {}
        for interface in wanted - self._held.keys():
            other = None if self._claim(interface) else holder(interface)
            if other is not None:
                self.others[interface] = other
        for interface, asked in self._asked.items():
            if asked.times >= _INSISTS and monotonic() - asked.at < _FRESH:
                self.others[interface] = asked.pid

    def close(self) -> None:
        """Give all of them up."""
        for interface in list(self._held):
            self._release(interface)

    def _claim(self, interface: str) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            claim.bind(_name(interface))
            claim.listen(_BACKLOG)
        except OSError:
            claim.close()
            return False
        asyncio.get_running_loop().add_reader(claim.fileno(), self._turn_away, interface, claim)
        self._held[interface] = claim
        return True

    def _release(self, interface: str) -> None:
        claim = self._held.pop(interface)
        asyncio.get_running_loop().remove_reader(claim.fileno())
        claim.close()

    def _turn_away(self, interface: str, claim: socket.socket) -> None:
        """Whoever asks knows by now who we are; one that asks again and again serves there, too."""
        with contextlib.suppress(OSError):  # it has gone already
            asking, _ = claim.accept()
            with asking:
                pid = _peer(asking)
            if pid is not None:
                before, at = self._asked.get(interface), monotonic()
                again = before is not None and before.pid == pid and at - before.at < _FRESH
                self._asked[interface] = _Asked(pid, before.times + 1 if before and again else 1, at)


def _peer(sock: socket.socket) -> int | None:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return int(pid) if uid in {0, os.geteuid()} else None


def _name(interface: str) -> str:
    return f"\0pxe-appliance/dhcp/{interface}"

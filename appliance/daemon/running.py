"""One dnsmasq child that runs, and whose names its log is read with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from appliance.addresses import Mac
from appliance.daemon.follow import LogFollower
from appliance.daemon.overlap import Overlap
from appliance.daemon.served import Served
from appliance.dnsmasq.correlate import Correlator
from appliance.errors import SurroundingsError
from appliance.system.clock import monotonic
from appliance.system.files import make_directory
from appliance.system.inherited import Process

LAST_LINES: Final = 40  # that are kept for its last words
_log = logging.getLogger("pxe-appliance")


@dataclass(slots=True)
class Running:
    """One child that has been started."""

    process: Process
    follower: LogFollower
    correlator: Correlator
    errors: Path
    ready: bool = False
    started: float = field(default_factory=monotonic)
    task: asyncio.Task[None] | None = None
    overlap: Overlap | None = None  # with another process that writes to the same log
    successor: asyncio.Event | None = None  # set when the process that shall take over is ready
    declined: bool = False  # the successor has put an address out of service already
    relieved: bool = False
    stands_in: int | None = None  # the generation whose copy it reads instead of `current`
    behind: bool = False  # much of its log has not been read
    mute: bool = False  # it could not write its log, and has given up on it
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def keep_log(self, name: str, *, full: bool) -> None:
        """Hold its log to a size, and see to it that it writes one: whoever took it away, or filled the disk.

        `full`: there is no room for it at this moment. dnsmasq gives its log up then, until it is told.
        """
        room_again, self.mute = self.mute and not full, full
        with contextlib.suppress(OSError, SurroundingsError):
            taken_away = self.follower.taken_away
            if self.follower.keep_short(alone=self.overlap is None) or room_again:
                make_directory(self.follower.path.parent, 0o750)
                self.begin_log()
                if taken_away:
                    _log.warning("the log of %s was taken away: it begins a new one", name)

    def begin_log(self) -> None:
        """Have dnsmasq open the file that has its log's name now, or make one."""
        self.process.send_signal(signal.SIGUSR2)


@dataclass(slots=True)
class Names:
    """Whose MAC or address it is, in the generation that is being served right now."""

    served: Served

    def machine_of(self, mac: Mac) -> tuple[str, str] | None:
        machine = self.served.by_mac.get(mac)
        return (str(machine.name), machine.network) if machine else None

    def other_nic(self, mac: Mac) -> tuple[str, str] | None:
        found = self.served.other_nics.get(mac)
        return (str(found[0].name), found[1].name) if found else None

    def machine_at(self, ip: IPv4Address) -> tuple[str, Mac] | None:
        machine = self.served.by_ip.get(ip)
        return (str(machine.name), machine.mac) if machine else None

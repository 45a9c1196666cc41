"""250 machines that boot at once, driven from one socket, with the patience of firmware."""

from __future__ import annotations

import heapq
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Final

from tests.netns.wire import OFFER, Packet, Reply, pxe_options, request_of
from tests.wire.frames import Wiretap, frame

SETTINGS: Final = """
[network.pxe]
interface = "pxe0"
subnet = "172.0.0.0/22"
address = "172.0.1.1"
other_servers = "tell"
"""
_PROFILE: Final = """
[profile.lab]
kernel = "/assets/lab/vmlinuz"
initrd = ["/assets/lab/initrd.gz"]
args = ["console=ttyS0"]
ignition = "lab.ign"
boot = "always"
"""
# PXE 2.1, 2.4.1, begins with 4 s; iPXE and every DHCP client of a system with 1 s, doubled (RFC 2131, 4.1).
_WAITS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)


def mac_of(number: int) -> str:
    """Of machine `number`, from 0 on."""
    return f"52:54:00:ac:{number >> 8:02x}:{number & 255:02x}"


def ip_of(number: int) -> str:
    """Its reservation."""
    return f"172.0.{2 + number // 250}.{1 + number % 250}"


def inventory(count: int) -> str:
    """The inventory of `count` machines."""
    tables = (
        f'[machine.n{i}]\nmac = "{mac_of(i)}"\nip = "{ip_of(i)}"\nprofile = "lab"\n' for i in range(count)
    )
    return _PROFILE + "\n".join(tables)


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


@dataclass
class _Booting:
    """One machine on its way to an address."""

    number: int
    discover: bytes
    began: float
    sent: bytes = b""
    tries: int = 0
    requesting: bool = False


@dataclass
class Swarm:
    """Machines that ask for their addresses all at once, or one after the other."""

    tap: Wiretap
    source: socket.socket
    count: int
    took: dict[int, float] = field(default_factory=dict)  # seconds to the ACK, by number
    wrong: list[tuple[int, str]] = field(default_factory=list)

    def boot(self, within: float) -> None:
        """All of them, until each has its address or the time is over."""
        began = time.monotonic()
        waiting = {i: _Booting(i, self._discover(i), began) for i in range(self.count)}
        timers = [(began, i) for i in waiting]
        by_xid = {b.discover[4:8]: i for i, b in waiting.items()}
        while waiting and time.monotonic() < began + within:
            while timers and timers[0][0] <= time.monotonic():
                number = heapq.heappop(timers)[1]
                if number in waiting:
                    heapq.heappush(timers, (self._say(waiting[number]), number))
            pause = min(0.2, max(0.0, timers[0][0] - time.monotonic())) if timers else 0.2
            for payload in self.tap.replies(pause):
                asked = by_xid.get(payload[4:8])
                if asked is not None and asked in waiting and self._heard(waiting[asked], payload):
                    del waiting[asked]

    def _discover(self, number: int) -> bytes:
        return Packet(mac_of(number), options=pxe_options(0)).payload()

    def _say(self, machine: _Booting) -> float:
        """Send, or send again from the beginning; when to try next."""
        if machine.tries:
            machine.requesting = False
        machine.sent = machine.discover
        self._send(machine)
        machine.tries += 1
        return time.monotonic() + _WAITS[min(machine.tries, len(_WAITS)) - 1]

    def _send(self, machine: _Booting) -> None:
        self.source.send(frame(machine.sent))

    def _heard(self, machine: _Booting, payload: bytes) -> bool:
        reply = Reply.parse(payload)
        if reply.yiaddr != ip_of(machine.number):
            self.wrong.append((machine.number, reply.yiaddr))
        if reply.kind == OFFER:
            if not machine.requesting:
                machine.requesting = True
                machine.sent = request_of(machine.discover, reply)
                self._send(machine)
            return False
        self.took[machine.number] = time.monotonic() - machine.began
        return True


def strange_mac(number: int) -> bytes:
    """Of a stranger: locally administered, and no machine's."""
    return struct.pack("!HI", 0x0200 | (number >> 32 & 0xFF), number & 0xFFFFFFFF)

"""The network that must not be hurt: a wire beside every PXE wire, with everything that is sent on it.

Each namespace in which a test runs an appliance has a second NIC, `lan0`, which carries the default route as
that of a usual host. What arrives at its other end is kept and judged when the test is over; the sums are a
figure of the whole run.
"""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import pytest

from tests.figures import Figures
from tests.netns.wire import inside

NIC: Final = "lan0"
OURS: Final = "10.9.9.1"
GATEWAY: Final = "10.9.9.254"
_FAR: Final = "prodfar"
_BOOT_PORTS: Final = frozenset({67, 69, 4011})
_EVERY_PROTOCOL: Final = 3
_OUTGOING: Final = 4  # PACKET_OUTGOING: what the production host itself sends
_SOL_PACKET, _STATISTICS = 263, 6
_ROOM: Final = 4 << 20


@dataclass
class Total:
    """Of all wires of a run."""

    wires: int = 0
    frames: int = 0
    ours: int = 0


def judge(frame: bytes, nic: bytes, ours: Callable[[IPv4Address], bool], http: int) -> str:
    """Why a frame on the production wire is one of ours; empty when it is not.

    Args:
        frame: as it arrived.
        nic: the MAC of the appliance's host there.
        ours: whether an address lies on a PXE network.
        http: our HTTP port.
    """
    if frame[6:12] != nic:
        return f"bridged from {frame[6:12].hex(':')}"
    if frame[12:14] != b"\x08\x00" or len(frame) < 34:
        return ""
    source, to = IPv4Address(frame[26:30]), IPv4Address(frame[30:34])
    words = f"{source} to {to}, protocol {frame[23]}"
    if ours(source):
        return f"a PXE address: {words}"
    at = 14 + (frame[14] & 15) * 4
    if len(frame) < at + 4 or struct.unpack_from("!H", frame, 20)[0] & 0x1FFF:
        return ""
    port = struct.unpack_from("!H", frame, at)[0]
    if frame[23] == socket.IPPROTO_UDP and port in _BOOT_PORTS:
        return f"a boot answer from port {port}: {words}"
    if frame[23] == socket.IPPROTO_TCP and port == http:
        return f"from our HTTP port: {words}"
    return ""


@dataclass
class Production:
    """The production network of one appliance's namespace."""

    server: str
    total: Total
    default: bool = True
    http: int = 8080
    violations: list[str] = field(default_factory=list)
    _nic: bytes = b""
    _ears: list[socket.socket] = field(default_factory=list)
    _own: list[IPv4Network] = field(default_factory=lambda: [IPv4Network("172.0.0.0/16")])

    @property
    def namespace(self) -> str:
        """Where its hosts are."""
        return f"prod-{self.server}"

    def lay(self) -> None:
        """Make the namespace and the wire, and begin to listen."""
        _ip("netns", "add", self.namespace)
        _ip("-n", self.namespace, "-batch", "-", said=(
            "link set lo up\n"
            f"link add {_FAR} type veth peer name {NIC} netns {self.server}\n"
            f"addr add {GATEWAY}/24 dev {_FAR}\nlink set {_FAR} up\n"))  # fmt: skip
        self._ears = inside(self.namespace, lambda: [_ear(_ROOM)])
        route = f"route add default via {GATEWAY} dev {NIC}\n" if self.default else ""
        _ip("-n", self.server, "-batch", "-", said=(
            f"addr add {OURS}/24 dev {NIC}\nlink set {NIC} up\n{route}"))  # fmt: skip
        self._nic = inside(self.server, lambda: _mac_of(NIC))
        self.total.wires += 1

    def pxe(self, network: str) -> None:
        """Another network whose addresses have no business here."""
        self._own.append(IPv4Network(network, strict=False))

    def look(self) -> None:
        """Take in what arrived since the last look."""
        ear = self._ears[0]
        ear.settimeout(0)
        while True:
            try:
                frame, about = ear.recvfrom(2048)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue  # its other end went away; that is said once, and what came before can still be read
            if about[2] == _OUTGOING:
                continue
            self.total.frames += 1
            why = judge(frame, self._nic, self._is_ours, self.http)
            if why:
                self.violations.append(why)
        _, dropped = struct.unpack("II", ear.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        if dropped:
            self.violations.append(f"{dropped} frames were too many to be looked at")

    def take(self) -> list[str]:
        """What was ours until now, forgotten by that: for a test that provokes it."""
        self.look()
        found, self.violations = self.violations, []
        return found

    def end(self) -> list[str]:
        """What was ours in all; the namespace is gone afterwards."""
        try:
            if self._ears:
                self.look()
            self.total.ours += len(self.violations)
            return self.violations
        finally:
            for ear in self._ears:
                ear.close()
            subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)

    def _is_ours(self, address: IPv4Address) -> bool:
        return any(address in network for network in self._own)


@contextmanager
def beside(server: str, total: Total, *, default: bool = True) -> Iterator[Production]:
    """A production network for a namespace; that nothing of ours was sent on it is asserted at the end."""
    made = Production(server, total, default)
    try:
        made.lay()
        yield made
    finally:
        found = made.end()
    assert not found, f"{len(found)} frames on the production network are ours: {found[:10]}"


@pytest.fixture(scope="session")
def production_total(figures: Figures) -> Iterator[Total]:
    """The sums of this run; told at its end."""
    total = Total()
    yield total
    told = f"{total.frames:,} / {total.ours}"
    figures.tell("production", f"frames captured on {total.wires} wires / ours", told, "0 of ours")


def _ear(room: int) -> socket.socket:
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    ear.setsockopt(socket.SOL_SOCKET, 33, room)  # SO_RCVBUFFORCE
    ear.bind((_FAR, _EVERY_PROTOCOL))
    return ear


def _mac_of(device: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
        channel.bind((device, 0))
        address = channel.getsockname()[4]
        assert isinstance(address, bytes)
        return address


def _ip(*argv: str, said: str = "") -> None:
    done = subprocess.run(["ip", *argv], input=said, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"ip {' '.join(argv)}: {done.stderr}"

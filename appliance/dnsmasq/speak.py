"""Speaking DHCP and TFTP to our own children, from the host they run on.

A DHCP child listens on its interface only (SO_BINDTODEVICE), so what reaches it must arrive there. A
broadcast does: the kernel loops a limited broadcast back to listeners on the interface it leaves by
(ip_mc_output in Linux; measured with 2.90). Its answers are read in the child's log, so nothing of ours needs
the client port, and no other server's answer can be mistaken for its own.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import (
    PROXY_PORT,
    SERVER_PORT,
    DhcpPacket,
    Option,
    discover,
    encode,
    release,
)
from appliance.settings import NetworkMode, NetworkSettings

_TFTP_PORT = 69
_EVERYBODY = "255.255.255.255"
# Asked for as a sign of life; there is no such file, and its refusal in the log is no fault of anybody's.
TFTP_PROBE = ".pxe-appliance-alive"
_BURST = 64  # of these fit in a socket's buffer with room to spare (measured: about 166)
_PAUSE = 0.02


def new_xid() -> int:
    """A transaction id that nobody can foresee."""
    return secrets.randbits(32)


def probe_mac() -> Mac:
    """A locally administered address that no machine has, for questions that must not be answered."""
    return Mac.parse("02" + secrets.token_hex(5))


def send_probe(network: NetworkSettings, mac: Mac, xid: int) -> None:
    """Ask the DHCP child of `network` something that it logs and does not answer: a stranger's DISCOVER.

    In proxy mode it goes to port 4011, where no DHCP server listens: the one that gives the addresses
    there would otherwise make an offer to nobody every second (measured: 2.90 logs it as proxy-ignored).

    Raises:
        OSError: the interface is not there, or does not hold our address.
    """
    proxied = network.mode is NetworkMode.PROXY
    options = {int(Option.VENDOR_CLASS): b"PXEClient:Arch:00000:UNDI:002001"} if proxied else None
    with _broadcaster(network) as channel:
        packet = encode(discover(mac, xid, options=options))
        channel.sendto(packet, (_EVERYBODY, PROXY_PORT if proxied else SERVER_PORT))


def send_discovers(network: NetworkSettings, questions: Iterable[tuple[Mac, IPv4Address, int]]) -> None:
    """Ask as these machines would: (MAC, its reserved address, transaction id).

    A DISCOVER changes no lease; an OFFER that nobody waits for is forgotten.

    Raises:
        OSError: as for `send_probe`.
    """
    options = {int(Option.PARAMETERS): bytes([1, 3, 28, 51, 54, 66, 67])}
    with _broadcaster(network) as channel:
        for mac, ip, xid in _paced(questions):
            _send(channel, discover(mac, xid, options=options, giaddr=_relay_of(network, ip)))


def send_releases(network: NetworkSettings, leases: Iterable[tuple[Mac, IPv4Address, int]]) -> None:
    """Take leases back: (MAC, address, transaction id). dnsmasq logs each as DHCPRELEASE.

    Until then a live lease keeps its address from the next owner (measured), even past a reload.

    Raises:
        OSError: as for `send_probe`.
    """
    with _broadcaster(network) as channel:
        for mac, ip, xid in _paced(leases):
            packet = release(mac, xid, address=ip, server=network.address)
            _send(channel, replace(packet, giaddr=_relay_of(network, ip)))


def tftp_answers(address: IPv4Address, name: str, timeout: float) -> bool:
    """Whether the TFTP child gives the first block of `name` (or says that it has none) within `timeout`.

    Raises:
        OSError: the address is not one of ours.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(timeout)
        channel.bind((str(address), 0))
        channel.sendto(b"\0\x01" + name.encode() + b"\0octet\0", (str(address), _TFTP_PORT))
        try:
            answer, peer = channel.recvfrom(2048)
        except TimeoutError:
            return False
        if answer[:2] == b"\0\x03":  # data: say at once that we want no more, or a slot is held for 29 s
            channel.sendto(b"\0\x05" + struct.pack("!H", 0) + b"enough\0", peer)
        return answer[:2] in (b"\0\x03", b"\0\x05")


@contextmanager
def _broadcaster(network: NetworkSettings) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, network.interface.encode() + b"\0")
        channel.bind((str(network.address), 0))
        yield channel


def _send(channel: socket.socket, packet: DhcpPacket) -> None:
    channel.sendto(encode(packet), (_EVERYBODY, SERVER_PORT))


def _paced(
    items: Iterable[tuple[Mac, IPv4Address, int]],
) -> Iterator[tuple[Mac, IPv4Address, int]]:
    for number, item in enumerate(items, 1):
        yield item
        if number % _BURST == 0:
            time.sleep(_PAUSE)


def _relay_of(network: NetworkSettings, ip: IPv4Address) -> IPv4Address:
    """The relay that a machine at `ip` speaks through: dnsmasq picks the subnet by giaddr."""
    for relayed in network.relayed:
        if ip in relayed.subnet:
            return relayed.router
    return IPv4Address(0)

"""Fetches for real, as a machine would: TFTP (RFC 1350, 2348) and HTTP, from our own address."""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial

from appliance.boot.firmware import Selection, Transport
from appliance.doctor.fetching import Fetched, Taken
from appliance.doctor.reach import Reach
from appliance.matchbox.handoff import boot_url
from appliance.settings import NetworkSettings, Settings
from appliance.system.clock import monotonic

_TFTP_PORT = 69
_BLOCK = 1468  # fits in an Ethernet frame
_LARGEST = 16 * 2**20
_PATIENCE = 0.7  # seconds for one packet; then it is asked for once more
_AGAIN = 2
_HTTP_PATIENCE = 1.5


def look_at_tftp(reach: Reach, settings: Settings, selection: Selection) -> list[Taken]:
    """Each first stage once from each network's address; what is served to no class is not asked for."""
    wanted = _files(selection, Transport.PXE)
    return [
        Taken(n.interface, tftp=_each(wanted, partial(fetch_tftp, reach, str(n.address))))
        for n in settings.networks.values()
    ]


def look_at_http(reach: Reach, settings: Settings, selection: Selection) -> list[Taken]:
    """Health, the first script and the first stages for HTTP boot, from each network's address."""
    return [_take(reach, settings, network, selection) for network in settings.networks.values()]


def _take(reach: Reach, settings: Settings, network: NetworkSettings, selection: Selection) -> Taken:
    address, port = str(network.address), settings.http.port
    base = f"http://{address}:{port}"
    health = fetch_http(reach, address, f"{base}/healthz")
    if health.content is None:
        return Taken(network.interface, health=health)
    ours, theirs = boot_url(network.address, port), f"{settings.matchbox.endpoint}/boot.ipxe"
    return Taken(
        network.interface,
        http=_each(
            _files(selection, Transport.HTTP),
            lambda name: fetch_http(reach, address, f"{base}/assets/ipxe/{name}"),
        ),
        health=health,
        script=fetch_http(reach, address, ours if settings.matchbox.builtin else theirs),
    )


def _files(selection: Selection, transport: Transport) -> list[str]:
    return sorted({c.file for c in selection.served.values() if c.client.transport is transport})


def _each(wanted: Sequence[str], fetch: Callable[[str], Fetched]) -> tuple[tuple[str, Fetched], ...]:
    """One after the other; after a failure nothing more is asked of the same server."""
    found: list[tuple[str, Fetched]] = []
    for name in wanted:
        found.append((name, fetch(name)))
        if found[-1][1].content is None:
            break
    return tuple(found)


def fetch_http(reach: Reach, source: str, url: str) -> Fetched:
    """One GET from `source`, within what is left of the round."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    timeout = min(_HTTP_PATIENCE, reach.spare)
    link = http.client.HTTPConnection(name, int(port or 80), timeout=timeout, source_address=(source, 0))
    try:
        link.request("GET", f"/{path}", headers={"User-Agent": "pxe-appliance-doctor"})
        answer = link.getresponse()
        content = answer.read(_LARGEST)
    except (OSError, http.client.HTTPException) as error:
        return Fetched(url, failure=_why(error, timeout))
    finally:
        link.close()
    failure = "" if answer.status == 200 else f"status {answer.status}"
    return Fetched(url, content if answer.status == 200 else None, answer.status, failure)


def fetch_tftp(reach: Reach, address: str, name: str) -> Fetched:
    """A whole file in blocks of 1,468 bytes, from our own address to our own address."""
    url = f"tftp://{address}/{name}"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.bind((address, 0))
            return Fetched(url, _receive(channel, address, name, reach))
    except OSError as error:
        return Fetched(url, failure=_why(error, _PATIENCE * _AGAIN))


def _receive(channel: socket.socket, address: str, name: str, reach: Reach) -> bytes:
    request = b"\0\x01" + b"\0".join([name.encode(), b"octet", b"blksize", str(_BLOCK).encode(), b""])
    peer, last = (address, _TFTP_PORT), request
    content, expected, block = bytearray(), 1, 512
    while len(content) < _LARGEST:
        if monotonic() > reach.deadline:  # what answers says the same thing for ever
            raise TimeoutError
        packet, peer = _exchange(channel, last, peer, reach)
        kind, number = struct.unpack("!HH", packet[:4])
        if kind == 5:
            raise OSError(packet[4:].rstrip(b"\0").decode(errors="replace") or "refused")
        if kind == 6:  # our block size is taken
            block, last = _BLOCK, b"\0\x04\0\0"
            continue
        if kind != 3 or number != expected & 0xFFFF:
            continue
        content += packet[4:]
        last = struct.pack("!HH", 4, number)
        expected += 1
        if len(packet) - 4 < block:
            channel.sendto(last, peer)
            break
    return bytes(content)


def _exchange(
    channel: socket.socket, packet: bytes, peer: tuple[str, int], reach: Reach
) -> tuple[bytes, tuple[str, int]]:
    for _ in range(_AGAIN):
        channel.sendto(packet, peer)
        channel.settimeout(min(_PATIENCE, reach.spare))
        try:
            answer, source = channel.recvfrom(65536)
        except TimeoutError:
            continue
        if len(answer) >= 4:
            return answer, source
    raise TimeoutError


def _why(error: OSError | http.client.HTTPException, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:.1f} s"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"no HTTP: {type(error).__name__}"

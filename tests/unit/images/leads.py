"""A mirror on the Internet, a host with all that such a mirror may not lead to, and names for all of it.

`python -m tests.unit.images.leads WORLD` in the host's namespace, the mirror in the namespace WORLD: reads
`[[where to ask, where the mirror leads], …]` as JSON, and prints what became of each and who was reached.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from typing import Final, cast

from scapy.layers.dns import DNS, DNSRR

from appliance.errors import ApplianceError
from appliance.images.fetch import http_transport
from appliance.images.wishes import Limits
from tests.netns.wire import inside
from tests.unit.images.bench import Notes

GATE: Final = "9.9.9.1"  # the address of the host on the Internet
MIRROR: Final = "9.9.9.9"
OTHER: Final = "9.9.9.10"
VICTIMS: Final = ("127.0.0.1", "127.0.0.53", "169.254.169.254", "10.0.0.5", "192.168.7.7", "172.16.0.1",
                  "100.64.0.1", "172.0.1.21", GATE)  # fmt: skip
OWN: Final = (IPv4Network("172.0.1.0/24"),)
# One answer for each question, the last one from then on.
NAMES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "mirror.example.com.": ((MIRROR,),),
    "other.example.com.": ((OTHER,),),
    "inner.example.com.": (("10.0.0.5",),),
    "loop.example.com.": (("127.0.0.1",),),
    "both.example.com.": (("127.0.0.1", OTHER),),
    "rebinds.example.com.": ((OTHER,), ("127.0.0.1",)),
}


@dataclass
class Names(asyncio.DatagramProtocol):
    """A name server that may answer the second question otherwise than the first."""

    asked: dict[str, int] = field(default_factory=dict)
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A selector's transport does not say that it is one of datagrams.
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = DNS(data)
        question = query.qd[0]
        name, answers = question.qname.decode(), []
        if question.qtype == 1 and name in NAMES:
            turn = self.asked.get(name, 0)
            self.asked[name] = turn + 1
            found = NAMES[name][min(turn, len(NAMES[name]) - 1)]
            answers = [DNSRR(rrname=name, type="A", ttl=0, rdata=address) for address in found]
        assert self.transport is not None
        self.transport.sendto(bytes(DNS(id=query.id, qr=1, ra=1, qd=query.qd, an=answers or None)), addr)


@dataclass
class Site:
    """Every server of this host: the mirror leads where `to` says, the others count who came."""

    to: str = ""
    came: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = writer.get_extra_info("sockname")[0]
        self.came.append(here)
        with suppress(OSError, asyncio.IncompleteReadError):
            asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"
            if here == MIRROR and asked == b"/leads":
                head = f"HTTP/1.1 302 Found\r\nlocation: {self.to}\r\ncontent-length: 4\r\n"
            writer.write(f"{head}connection: close\r\n\r\nbody".encode())
            await writer.drain()
        writer.close()


async def _ask(start: str) -> str:
    try:
        async with http_transport(Notes(), Limits(patience=2, tries=1), OWN) as transport:
            return (await transport.document(start, 1000) or b"").decode()
    except ApplianceError as error:
        return error.message


async def main() -> None:
    """See the module."""
    site, loop = Site(), asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 53))
    for address in (*VICTIMS, "::1"):
        await asyncio.start_server(site.serve, address, 80)
    for address in (MIRROR, OTHER):
        there = inside(sys.argv[1], partial(socket.create_server, (address, 80)))
        await asyncio.start_server(site.serve, sock=there)
    results = []
    for start, to in json.load(sys.stdin):
        site.to, site.came = to, []
        said = await _ask(start)
        results.append({"to": to, "said": said, "came": site.came})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())

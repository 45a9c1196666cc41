"""What real dnsmasq takes for a host name in a hosts file: everything that `Hostname` lets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.addresses import Hostname
from appliance.dnsmasq.render import render_dhcp, render_hosts
from tests.netns.conftest import ClientMaker, Dnsmasqs, Segment
from tests.netns.wire import OFFER, Packet
from tests.unit.dnsmasq.rooms import TEMPLATES, machine, network, selection

pytestmark = pytest.mark.netns

NAMES = (
    "1a",
    "7xk2m1",
    "0x10",
    "1e5",
    "12h3",
    "1-w",
    "1hh",
    "h",
    "dw",
    "0-0",
    "52-54-00-aa-00-01",
    "9" * 62 + "a",
)
WORDS = ("12h", "7", "0", "3w", "5d", "10m", "150s", "1234567890", "infinite", "525400000001")
_HOST_NAME = 12


def _mac(number: int) -> str:
    return f"52:54:00:0a:00:{number:02x}"


def test_names_are_names_and_words_are_not(
    segment: Segment, dnsmasqs: Dnsmasqs, client_on: ClientMaker, open_tmp: Path
) -> None:
    net = network()
    link = segment.wire(net.interface, str(net.address), str(net.address + 200))
    hosts, log, conf = (open_tmp / name for name in ("hosts", "log", "conf"))
    named = [machine(name, _mac(n), f"172.0.1.{20 + n}") for n, name in enumerate(NAMES)]
    # Our own renderer refuses the words: they are written by hand, to see what they would have done.
    lines = [f"{_mac(100 + n)},172.0.1.{100 + n},{word}\n" for n, word in enumerate(WORDS)]
    hosts.write_text(render_hosts(named, net) + "".join(lines))
    conf.write_text(
        render_dhcp(
            net,
            templates=TEMPLATES,
            boot_url="http://172.0.1.1:8080/boot.ipxe",
            http_port=8080,
            hosts_path=str(hosts),
            log_path=str(log),
            boot_files=selection().boot_files,
        )
    )
    dnsmasqs.start(segment.server, conf, log, ready=f"read {hosts}")
    client = client_on(link)

    def offered(number: int) -> tuple[int, str, str]:
        reply = client.expect(Packet(_mac(number), options={55: bytes([_HOST_NAME])}).payload())
        return reply.kind, reply.yiaddr, reply.options.get(_HOST_NAME, b"").decode()

    for n, name in enumerate(NAMES):
        assert offered(n) == (OFFER, f"172.0.1.{20 + n}", name)
    for n, word in enumerate(WORDS):
        assert offered(100 + n) == (OFFER, f"172.0.1.{100 + n}", ""), word
        with pytest.raises(ValueError, match="dnsmasq reads as"):
            Hostname.parse(word)

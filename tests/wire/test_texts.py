"""What strangers and machines call themselves: no control character of theirs gets to a terminal or page."""

from __future__ import annotations

import json
import re
import socket
import struct
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from tests.fakes.webhook_receiver import Receiver, receiving
from tests.figures import Figures
from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Link, Segment
from tests.netns.machines import IPXE, Machine, put_on
from tests.netns.test_appliance import NODE1, NODE2, NODE3, STRANGER, discover
from tests.netns.wire import REQUEST, Packet, inside, pxe_options, udp_socket, wait_until

pytestmark = pytest.mark.netns

TEXTS = {
    "colours": b"\x1b[31mEVIL\x1b[0m",
    "title": b"\x1b]0;owned\x07",
    "link": b"\x1b]8;;http://evil\x1b\\x",
    "clear": b"\x1b[2J\x1b[H\x1bc",
    "C1": b"\x9b31m\x9d0;x\x9c",
    "C1 in UTF-8": "\u009b31m\u0085\u0090".encode(),
    "script": b"<script>alert(1)</script>",
    "attribute": b"\"><img src=x onerror=alert(1)>'",
    "bidi": "a\u202egpj.exe\u2066\u2069\u200f".encode(),
    "invisible": "a\u200b\ufeff\u00ad\u2028b\u2029".encode(),
    "format": b"%s%n%x%99999999d{0}{{7*7}}",
    "ipxe": b"${net0/mac}||shell&&reboot",
    "NUL": b"a\0b\0\0",
    "line ends": b"a\r\nFake: 1\nNov 27 00:00:00 dnsmasq[1]: exiting on receipt of SIGTERM\r",
    "fake line": b"x 172.0.1.21 52:54:00:aa:00:01 node1",
    "json": b'","machine":"node2","x":"\\u0000\\',
    "metrics": b'"} 1\npxe_appliance_evil 1\n#',
    "longest": b"\x1b" * 255,
    "long": b"A" * 255,
    "not UTF-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "backspace": b"abc\x08\x08\x08xyz\x7f\x7f",
    "empty": b"",
}
LISTINGS = (
    ("status",),
    ("machines",),
    ("strays",),
    ("strays", "--all"),
    ("events", "-n", "10000"),
    ("leases",),
    ("machine", "show", "node1"),
    ("machine", "show", "node2"),
    ("why", "node1"),
    ("why", "node2"),
    ("why", "node3"),
    ("strays", "show", STRANGER),
    ("generations",),
    ("doctor",),
)
PAGES = (
    "/ui/",
    "/v1/status",
    "/v1/machines",
    "/v1/machines/node1",
    "/v1/machines/node2/why",
    "/v1/strays",
    "/v1/leases",
    "/v1/events",
    f"/v1/strays/{STRANGER}",
    "/metrics",
    "/v1/networks",
    "/v1/generations",
)
SECRET = b"a secret of thirty-two bytes....."
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


@pytest.fixture
def receiver(segment: Segment) -> Iterator[Receiver]:
    """A receiver of webhooks on the appliance's own loopback."""
    listener = inside(segment.server, lambda: socket.create_server(("127.0.0.1", 0)))
    with receiving(SECRET, listener=listener) as made:
        made.port = listener.getsockname()[1]
        yield made


def raw_controls(text: str) -> list[str]:
    """What a terminal would act upon, or what would hide; the ends of lines are our own."""
    return sorted({f"U+{ord(c):04X}" for c in text if unicodedata.category(c) in HIDDEN and c != "\n"})


def options(text: bytes) -> dict[int, bytes]:
    """The text wherever a client may put one: its name, classes, ids, vendor data, its domain."""
    codes = (12, 60, 77, 61) if len(text) > 100 else (12, 60, 77, 61, 43, 81, 15, 56, 116, 119)
    return {code: text for code in codes if text}


def said_by_everybody(link: Link, client_on: ClientMaker) -> int:
    """Each text from a stranger, from a machine that is served, from one whose class is refused; how many."""
    client = client_on(link)
    sent = 0
    for number, text in enumerate(TEXTS.values()):
        stranger = f"02:00:00:00:00:{number:02x}"
        packets = [
            Packet(mac, options=pxe_options(arch) | options(text)).payload()
            for mac, arch in ((STRANGER, 7), (stranger, 0), (NODE1, 0), (NODE2, 7), (NODE3, 11))
        ]
        for code in (12, 60, 61, 77):  # alone, so that the rest is as usual: a machine that is served says it
            if text:
                packets.append(discover(NODE1, 0, **{f"o{code}": text}))
                packets.append(Packet(NODE2, kind=REQUEST, options=pxe_options(0) | {code: text}).payload())
        # RFC 3004 has a length before each class; RFC 951 has names in the header.
        packets.append(discover(STRANGER, o77=struct.pack("B", min(len(text), 254)) + text[:254]))
        in_header = bytearray(discover(stranger))
        in_header[44:108] = text[:63].ljust(64, b"\0")
        in_header[108:236] = text[:127].ljust(128, b"\0")
        packets.append(bytes(in_header))
        for packet in packets:
            client.send(packet)
            sent += 1
        client.drain()
        assert wait_until(lambda: client.ask(discover(NODE1), seconds=0.5), "an offer")
    return sent


def asked_by_tftp(link: Link, address: str) -> None:
    """Each text as a file's name, as a mode and an option's name, and as the words of a client's error."""
    for text in TEXTS.values():
        name = text.replace(b"\0", b"") or b"x"
        with udp_socket(link.clients, address) as sock:
            for request in (b"\0\1" + name + b"\0octet\0", b"\0\1" + name + b".efi\0" + name + b"\0"):
                answer = wait_until(partial(told, sock, request, link.address), "an answer", 20)
                assert answer[:2] == b"\0\5", (name, answer[:40])
            sock.sendto(b"\0\5\0\1" + text + b"\0", (link.address, 69))


def told(sock: socket.socket, request: bytes, server: str) -> bytes:
    """The answer; nothing when it did not come soon: then whoever asks asks again."""
    sock.settimeout(1)
    sock.sendto(request, (server, 69))
    with suppress(TimeoutError):
        return sock.recv(2048)
    return b""


def told_by_http(machine: Machine) -> None:
    """Reports with the machine's own token, labels in a script's query, agents, paths."""
    for text in TEXTS.values():
        words = text.decode("utf-8", "replace")
        quoted = "".join(f"%{b:02x}" for b in text)
        machine.ask(f"/ipxe?{machine.query}&hostname={quoted}&switch={quoted}&port={quoted}", agent=IPXE)
        machine.ask(f"/assets/{quoted}")
        machine.ask(f"/ignition?mac={quoted}&uuid={quoted}&token={quoted}")
        machine.ask("/v1/machines/node1", headers={"X-Real-IP": re.sub(r"[^\x20-\x7e]", "?", words)})
        machine.boot()
        told = machine.report(f"step {words}", message=words, facts={words: words, "disk": words})
        assert told.status == 200, told


class Page(HTMLParser):
    """Finds elements that nobody of ours wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.evil: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if any(name.startswith("on") for name, _ in attrs):
            self.evil.append(f"<{tag} {attrs}>")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script" and "alert(1)" in data:
            self.evil.append(data[:80])


def test_no_text_of_theirs_is_more_than_text(
    appliance: Appliance,
    segment: Segment,
    client_on: ClientMaker,
    receiver: Receiver,
    figures: Figures,
) -> None:
    link = segment.links[0]
    url = f"http://127.0.0.1:{receiver.port}/"
    hook = f'[webhook.pager]\nurl = "{url}"\nsecret = "pager"\nevents = ["stray", "stuck", "done"]\n'
    appliance.write(settings=SETTINGS + hook)
    secret = appliance.root / "etc/pxe-appliance/secrets.d/pager"
    secret.parent.mkdir(mode=0o750)
    secret.write_bytes(SECRET)
    secret.chmod(0o640)
    appliance.serve()
    node1 = put_on(link, "node1", client_on)
    sent = said_by_everybody(link, client_on)
    asked_by_tftp(link, node1.ip)
    told_by_http(node1)
    appliance.await_event("stray", mac=STRANGER)
    looked: dict[str, str] = {}
    for listing in LISTINGS:
        looked[" ".join(listing)] = appliance.run(*listing, rc=None).stdout
        if listing[0] != "doctor":
            as_json = appliance.run(*listing, "-o", "json", rc=None).stdout
            looked[f"{' '.join(listing)} -o json"] = as_json
            valid(as_json, lines=listing[0] == "events")
    for path in PAGES:
        looked[path] = node1.ask(path).text
    looked["log"] = appliance.log()
    for place, text in looked.items():
        assert raw_controls(text.replace("\r\n", "\n")) == [], place
    pages = [text for path, text in looked.items() if path.startswith("/ui")]
    for text in pages:
        page = Page()
        page.feed(text)
        assert page.evil == []
    names = {f.name for f in families(looked["/metrics"])}
    assert names
    assert not [n for n in names if "evil" in n]
    for delivery in receiver.deliveries:
        assert delivery.genuine
        assert raw_controls(json.dumps(delivery.body, ensure_ascii=False)) == []
    for needle in ("EVIL", "alert(1)"):
        assert needle in looked["events -n 10000"], "what was said is still there to be read"
    assert appliance.dnsmasq()["restarts"] == 0
    figures.tell("wire", f"control characters of {sent} packets in {len(looked)} outputs", "0", "0")


def valid(text: str, *, lines: bool) -> Any:
    return [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)

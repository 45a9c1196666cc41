"""Whoever asks for files and acknowledges nothing keeps slots: machines get their files all the same."""

from __future__ import annotations

import time

import pytest

from appliance.daemon.limits import LIMITED
from appliance.system import netfilter
from appliance.system.netfilter import FAMILY, TABLE
from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import Link, Segment, run
from tests.netns.test_appliance import NODE1, NODE2
from tests.netns.wire import inside, mac_bytes, tftp_get
from tests.wire.frames import Asker, frame, mac_at
from tests.wire.watched import Watched

pytestmark = pytest.mark.netns

FIRST_STAGE = "undionly.kpxe"
READ = b"\0\1" + FIRST_STAGE.encode() + b"\0octet\0"
WITHIN = 5.0  # seconds: firmware asks again after a lost packet, and gives up after half a minute
STRANGER, IP1, IP2 = mac_bytes("02:de:ad:be:ef:01"), "172.0.1.21", "172.0.1.22"


@pytest.fixture
def link(appliance: Appliance, segment: Segment) -> Link:
    """The wire, with node1 at the clients' end: its MAC, its address."""
    found = segment.links[0]
    run("ip", "-n", found.clients, "link", "set", found.client_device, "address", NODE1)
    run("ip", "-n", found.clients, "addr", "add", f"{IP1}/24", "dev", found.client_device)
    appliance.serve()
    return found


def holders(kind: str, number: int) -> tuple[bytes, str]:
    """The MAC and the address that the request of this number comes from."""
    match kind:
        case "a stranger":
            return STRANGER, "172.0.1.201"
        case "90 strangers":
            return STRANGER[:5] + bytes([number % 90]), f"172.0.1.{100 + number % 90}"
        case "a stranger with machines' addresses":
            return STRANGER, f"172.0.1.{21 + number % 3}"
        case "a machine with 250 addresses":
            return mac_bytes(NODE2), f"172.0.1.{2 + number % 250}"
        case "everybody with a machine's address":
            return bytes([2, *number.to_bytes(5)]), IP2
        case _:
            return mac_bytes(NODE2), IP2


@pytest.mark.parametrize(
    "kind",
    [
        "a stranger",
        "90 strangers",
        "a stranger with machines' addresses",
        "everybody with a machine's address",
        "a machine",
        "a machine with 250 addresses",
    ],
)
def test_held_slots_keep_no_machine_from_its_file(
    appliance: Appliance, link: Link, figures: Figures, kind: str
) -> None:
    watched = Watched(appliance)
    server = mac_at(link.server, link.device)
    guard = inside(link.server, lambda: netfilter.table(FAMILY, TABLE))
    assert guard is not None
    whole = tftp_get(link.clients, IP1, link.address, FIRST_STAGE)
    waits: dict[int, float] = {}
    sent = 0
    with Asker(link) as asker:
        for held in (60, 200, 1200, 4000):  # the last two are more than the server has
            while sent < held:
                mac, ip = holders(kind, sent)
                asker.send(
                    frame(
                        READ,
                        source=ip,
                        to="172.0.1.1",
                        ports=(10_000 + sent, 69),
                        from_mac=mac,
                        to_mac=server,
                    )
                )
                sent += 1
            waits[held] = fetched(link, whole)
    watched.is_unhurt()
    # The kernel itself adds to the sets of who asked: that is nobody's change of the guard.
    table = inside(link.server, lambda: netfilter.table(FAMILY, TABLE))
    assert table is not None
    assert table.content == guard.content
    assert sum(n for words, n in table.packets.items() if words.startswith(LIMITED)) > 2000
    figures.tell("wire", f"a boot file past 60 / 200 / 1,200 / 4,000 held requests of {kind}",
                 " / ".join(f"{w:.2f}" for w in waits.values()) + " s", f"<= {WITHIN:g} s")  # fmt: skip
    assert max(waits.values()) <= WITHIN


def fetched(link: Link, whole: bytes) -> float:
    """Seconds until node1 has its file, asking again as firmware would."""
    began = time.monotonic()
    while time.monotonic() < began + 40:
        try:
            assert tftp_get(link.clients, IP1, link.address, FIRST_STAGE) == whole
        except TimeoutError:
            continue
        return time.monotonic() - began
    raise AssertionError("no file within 40 s")

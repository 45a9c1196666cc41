"""The hostile wire: an appliance of ours with its real dnsmasq, 250 machines, and whoever wishes them ill."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.appliance import Appliance
from tests.netns.conftest import Link, Segment, appliance, client_on, dnsmasqs, open_tmp, segment
from tests.wire.rack import SETTINGS, inventory

__all__ = ["appliance", "client_on", "dnsmasqs", "open_tmp", "rack", "rack_link", "segment"]


@pytest.fixture
def rack_link(segment: Segment) -> Link:
    """A wire that is wide enough for 250 machines."""
    return segment.wire("pxe0", "172.0.1.1", "172.0.3.200", prefix=22)


@pytest.fixture
def rack(rack_link: Link, segment: Segment, open_tmp: Path) -> Iterator[Appliance]:
    """An appliance with 250 machines on that wire; its daemon is not started yet."""
    made = Appliance(open_tmp / "root", segment.server)
    made.write(settings=SETTINGS, inventory=inventory(250))
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait(10)
        sys.stdout.write(made.log()[-20_000:])  # shown by pytest when the test failed

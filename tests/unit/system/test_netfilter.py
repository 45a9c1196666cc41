"""The packet filter as nft and netlink tell of it, in a namespace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest

from appliance.errors import SurroundingsError
from appliance.system import netfilter
from tests.netns.wire import inside

pytestmark = pytest.mark.netns

RULES: Final = """\
table inet pxe-appliance {
  chain output {
    type filter hook output priority filter; policy accept;
    ip daddr 127.0.0.9 counter drop comment "nine"
    ip daddr 127.0.0.8 counter drop comment "eight"
  }
}
"""


@pytest.fixture
def host() -> Iterator[str]:
    """A namespace without a rule."""
    name = f"pxe-nf{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_table_is_loaded_read_and_deleted_and_every_change_is_counted(host: str) -> None:
    def look() -> netfilter.Table | None:
        return netfilter.table(netfilter.FAMILY, netfilter.TABLE)

    def work() -> None:
        first = netfilter.generation()
        assert first is not None
        assert look() is None
        netfilter.load(RULES)
        loaded, second = look(), netfilter.generation()
        assert loaded is not None
        assert (second, loaded.packets) != (first, {})
        assert loaded.packets == {"nine": 0, "eight": 0}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel, suppress(PermissionError):
            channel.sendto(b"", ("127.0.0.9", 9))
        counted = look()
        assert counted is not None
        assert counted.packets == {"nine": 1, "eight": 0}
        assert counted.content == loaded.content  # a counter is no change
        assert netfilter.generation() == second
        subprocess.run(["nft", "flush", "chain", "inet", netfilter.TABLE, "output"], check=True)
        flushed = look()
        assert flushed is not None
        assert flushed.content != loaded.content
        assert netfilter.generation() != second
        netfilter.delete(netfilter.FAMILY, netfilter.TABLE)
        netfilter.delete(netfilter.FAMILY, netfilter.TABLE)
        assert look() is None

    inside(host, work)


def test_what_nft_does_not_take_is_told(host: str) -> None:
    def work() -> None:
        with pytest.raises(SurroundingsError, match="nft"):
            netfilter.load("table inet {")

    inside(host, work)

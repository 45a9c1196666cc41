"""The packet filter as nft and netlink tell of it, in a namespace of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
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


MEDDLER: Final = """\
#!/bin/sh
# nft, after which somebody else flushes a chain at once, as often as a file says.
{nft} "$@" || exit
left=$(cat {left})
if [ "$1" = -f ] && [ "$left" -gt 0 ]; then
    echo $((left - 1)) > {left}
    {nft} flush chain inet pxe-appliance output
fi
"""


@pytest.mark.parametrize("times", [0, 1, 3, 1000])
def test_a_change_between_putting_up_and_reading_back_is_not_taken_for_ours(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    nft, left = shutil.which("nft"), tmp_path / "left"
    assert nft
    left.write_text(str(times))
    (tmp_path / "nft").write_text(MEDDLER.format(nft=nft, left=left))
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    again = f"add table inet pxe-appliance\ndelete table inet pxe-appliance\n{RULES}"

    def work() -> None:
        if times > 100:
            with pytest.raises(SurroundingsError, match="others change rules as often as it is read back"):
                netfilter.put_up(again, netfilter.FAMILY, netfilter.TABLE)
            return
        table, number = netfilter.put_up(again, netfilter.FAMILY, netfilter.TABLE)
        assert table.packets == {"nine": 0, "eight": 0}
        assert number == netfilter.generation()
        assert netfilter.table(netfilter.FAMILY, netfilter.TABLE) == table

    inside(host, work)
    assert int(left.read_text()) == (0 if times < 100 else times - 4)

"""No mirror leads this host to an address that is nearer than its own: 30 places, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from appliance.images.reach import Nearness, literal, nearness
from tests.unit.images.leads import GATE, MIRROR, OTHER, VICTIMS

PROJECT: Final = Path(__file__).parents[3]
REFUSED: Final = (
    *(f"http://{victim}/" for victim in VICTIMS),
    "http://localhost/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://0/", "http://0.0.0.0/", "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a00:5]/", "http://[64:ff9b::a00:5]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/",
    "http://[fd00::1]/", "http://10.0.0.5:80/", "http://user:word@10.0.0.5/", "//10.0.0.5/x",
    "http://loop.example.com/", "http://inner.example.com/", "http://INNER.example.com./",
    "file:///etc/hostname", "gopher://127.0.0.1:80/", "ftp://127.0.0.1/",
)  # fmt: skip


class Said(NamedTuple):
    """What became of a fetch, and who was connected to."""

    words: str
    came: list[str]


class Host(NamedTuple):
    """Two namespaces: a host with the addresses of `leads`, and the world with a mirror in it."""

    name: str
    world: str

    def fetch(self, *ways: tuple[str, str]) -> list[Said]:
        """What became of fetches, each from its place, from which the mirror leads to the other."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "tests.unit.images.leads",
             self.world],
            input=json.dumps(ways), capture_output=True, text=True, cwd=PROJECT, timeout=120, check=True,
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        )  # fmt: skip
        return [Said(row["said"], row["came"]) for row in json.loads(done.stdout)]

    def leads(self, places: Sequence[str], start: str = f"http://{MIRROR}/leads") -> list[Said]:
        """The same for one place of the mirror's."""
        return self.fetch(*((start, place) for place in places))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    name, world = f"pxe-leads{os.getpid()}", f"pxe-world{os.getpid()}"
    etc = Path(f"/etc/netns/{name}")
    etc.mkdir(parents=True)

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    try:
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:2\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        for namespace in (name, world):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", world)
        for namespace, addresses in ((name, (GATE,)), (world, (MIRROR, OTHER))):
            for address in addresses:
                ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "up0")
            ip("-n", namespace, "link", "set", "up0", "up")
        for address in set(VICTIMS) - {GATE, "127.0.0.1", "127.0.0.53"}:
            ip("-n", name, "addr", "add", f"{address}/32", "dev", "lo")
        yield Host(name, world)
    finally:
        for namespace in (name, world):
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        for file in etc.iterdir():
            file.unlink()
        etc.rmdir()


@pytest.mark.netns
def test_a_mirror_on_the_internet_leads_to_nothing_nearer(host: Host) -> None:
    assert len(REFUSED) >= 30
    for place, said in zip(REFUSED, host.leads(REFUSED), strict=True):
        assert said.came == [MIRROR], place
        assert said.words.startswith(f"refused http://{MIRROR}/leads: the server leads to "), place
        assert said.words.endswith("[redirected]"), place


@pytest.mark.netns
def test_what_it_may_lead_to(host: Host) -> None:
    (other, named, both) = host.leads(
        [f"http://{OTHER}/", "http://other.example.com/", "http://both.example.com/"]
    )
    for said in (other, named, both):
        assert said == ("body", [MIRROR, OTHER])


@pytest.mark.netns
def test_a_name_that_means_something_else_at_the_second_look(host: Host) -> None:
    first, second = host.leads(["http://rebinds.example.com/"] * 2)
    assert first == ("body", [MIRROR, OTHER]), "one look, and that address is connected to"
    assert second.came == [MIRROR]
    assert "an address of this host or its link" in second.words


@pytest.mark.netns
def test_what_the_operator_wrote_may_be_anywhere_and_his_mirror_leads_within_the_site(host: Host) -> None:
    written = [*(f"http://{victim}/" for victim in VICTIMS), "http://inner.example.com/", "http://localhost/"]
    for said in host.fetch(*((place, "") for place in written)):
        assert said.words == "body"
        assert len(said.came) == 1


@pytest.mark.netns
def test_a_mirror_that_is_named_leads_no_nearer_than_one_with_an_address(host: Host) -> None:
    for start in ("http://mirror.example.com/leads", f"http://{MIRROR}:80/leads"):
        said, site = host.leads(["http://10.0.0.5/", "http://10.0.0.77/"], start)
        assert said.came == site.came == [MIRROR]
        assert "leads to 'http://10.0.0.5/', an address of this host or its link" in said.words
        assert "leads to 'http://10.0.0.77/', an address of a private network" in site.words


@pytest.mark.parametrize(
    ("address", "near"),
    [("8.8.8.8", Nearness.WORLD), ("2600::1", Nearness.WORLD), ("10.1.1.1", Nearness.SITE),
     ("100.64.0.1", Nearness.SITE), ("198.18.0.1", Nearness.SITE), ("fc00::1", Nearness.SITE),
     ("172.0.1.9", Nearness.SITE), ("172.0.2.9", Nearness.WORLD), ("224.0.0.1", Nearness.HOST),
     ("255.255.255.255", Nearness.HOST), ("240.0.0.1", Nearness.HOST), ("fe80::1%eth0", Nearness.HOST),
     ("ff02::1", Nearness.HOST), ("::ffff:8.8.8.8", Nearness.WORLD), ("64:ff9b::7f00:1", Nearness.HOST)],
)  # fmt: skip
def test_how_near_an_address_is(address: str, near: Nearness) -> None:
    assert nearness(address, (IPv4Network("172.0.1.0/24"),)) is near


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1", "10.0.0.1"), ("127.1", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("017700000001", "127.0.0.1"),
     ("::1", "::1"), ("fe80::1%1", "fe80::1"), ("example.com", None), ("", None), ("1.2.3.4.5", None)],
)  # fmt: skip
def test_which_hosts_are_addresses_by_themselves(host: str, address: str | None) -> None:
    assert literal(host) == address

"""Whoever says that he is another machine, by address, MAC, name or token, reads nothing of it: 200 ways."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
from collections.abc import Iterator

import pytest

from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Link, Segment, run
from tests.netns.machines import SERVER, Answer, Machine, put_on, take_away
from tests.netns.wire import inside

pytestmark = pytest.mark.netns

SECRET = "hunter2-in-the-ignition-of-every-node"
UUID = "4c4c4544-0042-3510-8051-b4c04f4a3231"
KINDS = ("ignition", "ignition.sig", "ignition.asc", "generic", "cloud", "metadata", "ipxe", "grub")
THIEF = "00:1b:21:0a:0b:0d"


@pytest.fixture
def link(appliance: Appliance, segment: Segment) -> Link:
    etc = appliance.root / "etc/pxe-appliance"
    document = {
        "ignition": {"version": "3.3.0"},
        "passwd": {"users": [{"name": "core", "passwordHash": SECRET}]},
    }
    (etc / "ignition.d/lab.ign").write_text(json.dumps(document))
    appliance.edit('mac = "52:54:00:aa:00:01"', f'uuid = "{UUID}"\nserial = "SN1"\nmac = "52:54:00:aa:00:01"')
    appliance.serve()
    return segment.links[0]


@pytest.fixture
def node1(link: Link, client_on: ClientMaker) -> Machine:
    machine = put_on(link, "node1", client_on)
    assert "token=" in machine.boot().text
    return machine


@pytest.fixture
def node2(link: Link, client_on: ClientMaker) -> Machine:
    machine = put_on(link, "node2", client_on)
    assert "token=" in machine.boot().text
    return machine


def names_of_node1() -> Iterator[tuple[str, dict[str, str]]]:
    """Queries and headers by which somebody claims to be node1."""
    yield "mac=52-54-00-aa-00-01", {}
    yield "mac=52:54:00:AA:00:01&mac=52-54-00-aa-00-11", {}
    yield f"uuid={UUID}", {}
    yield "serial=SN1", {}
    yield "hostname=node1", {}
    yield "mac=52-54-00-aa-00-01", {"X-Forwarded-For": "172.0.1.21", "X-Real-IP": "172.0.1.21"}
    yield "mac=52-54-00-aa-00-01", {"Forwarded": "for=172.0.1.21", "X-Pxe-Appliance-Proof": "x node1"}


def asked_from(link: Link, source: str, path: str, headers: dict[str, str], namespace: str = "") -> Answer:
    """One request from any address of the clients' end, or of the host itself."""

    def connect() -> socket.socket:
        return socket.create_connection((SERVER, 8080), 10, (source, 0))

    connection = http.client.HTTPConnection(SERVER, 8080)
    connection.sock = inside(namespace or link.clients, connect)
    try:
        connection.request("GET", path, None, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode("latin-1"))
    finally:
        connection.close()


def gives_nothing(answer: Answer, token: str, path: str) -> bool:
    """No secret, and no token but the one that was in the question (Matchbox's metadata repeats a query)."""
    return SECRET not in answer.text and (token in path or token not in answer.text)


def test_200_claims_read_nothing(
    appliance: Appliance, link: Link, node1: Machine, node2: Machine, figures: Figures
) -> None:
    first = node1.token
    node1.boot()  # the window of the boot before is over
    tokens = {"none": "", "node1's": node1.token, "before": first, "node2's": node2.token, "wrong": "A" * 24}
    tried = 0
    claims = list(itertools.product(KINDS, tokens.values(), names_of_node1()))
    for kind, token, (query, headers) in claims:
        path = f"/{kind}?{query}" + (f"&token={token}" if token else "")
        for asker in ("node2", "nobody", "host"):
            if asker == "node2":
                answer = node2.ask(path, headers=headers)
            elif asker == "nobody":
                answer = asked_from(link, link.client_address, path, headers)
            elif headers:
                continue
            else:
                answer = asked_from(link, SERVER, path, headers, link.server)
            tried += 1
            assert gives_nothing(answer, node1.token, path), (asker, path, headers)
            if kind in {"ignition", "ignition.sig", "ignition.asc", "generic", "cloud"}:
                assert answer.status in {403, 404}, (asker, path, answer)
    assert tried >= 200
    own = f"/ignition?{node1.query}"
    for token in (first, node2.token, "", "A" * 24):
        assert node1.ask(f"{own}&token={token}").status == 404, "its own address is not enough"
        tried += 1
    assert node1.ignition().status == 200
    # Its own last token, once it has called home: a replay.
    assert node1.report("done").status == 200
    for kind in KINDS:
        answer = node1.ask(f"/{kind}?{node1.query}&token={node1.token}")
        assert SECRET not in answer.text
        tried += 1
    for machine, token in ((node2, node1.token), (node2, first)):
        assert machine.report("installed", token, mac=node1.mac).status == 403
        tried += 1
    events = appliance.run("events", "-o", "json", "-n", "10000").stdout
    assert "http-error" in events
    assert "172.0.1.22 is node2's address" in events
    assert SECRET not in events
    figures.tell("wire", f"Ignitions given to {tried:,} claims to be another machine", "0", "0")


def test_a_thief_of_address_and_token_is_seen_by_his_mac(
    appliance: Appliance, link: Link, node1: Machine, client_on: ClientMaker
) -> None:
    node1.boot()
    take_away(node1)
    thief = put_on(link, "node1", client_on, mac=THIEF)
    for query, headers in names_of_node1():
        for kind in KINDS:
            answer = thief.ask(f"/{kind}?{query}&token={node1.token}", headers=headers)
            assert SECRET not in answer.text
            assert node1.token not in answer.text
    # He takes over the address in the midst of it, too: gratuitous ARP, before the appliance asks again.
    run("ip", "-n", link.clients, "link", "set", thief.device, "arp", "off")
    run("ip", "-n", link.clients, "link", "set", thief.device, "arp", "on")
    assert SECRET not in thief.ignition(node1.token).text
    assert "answered for by" in appliance.run("events", "-o", "json", "-n", "10000").stdout

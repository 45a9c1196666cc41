"""Who may read an Ignition on the wire, who is refused and told why, and where no secret ever stands."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Link, Segment, run
from tests.netns.machines import IPXE, Machine, put_on, take_away
from tests.netns.test_appliance import NODE2, discover
from tests.netns.wire import wait_until

pytestmark = pytest.mark.netns

SECRET = "hunter2-in-the-ignition-of-every-node"
LAPTOP = "00:1b:21:0a:0b:0c"
DOCUMENT = {
    "ignition": {"version": "3.3.0"},
    "passwd": {"users": [{"name": "core", "passwordHash": SECRET}]},
}


@pytest.fixture
def armed(appliance: Appliance) -> Appliance:
    """An appliance whose Ignition holds a secret."""
    etc = appliance.root / "etc/pxe-appliance"
    (etc / "ignition.d/lab.ign").write_text(json.dumps(DOCUMENT))
    appliance.serve()
    return appliance


@pytest.fixture
def link(segment: Segment, armed: Appliance) -> Link:
    return segment.links[0]


@pytest.fixture
def node1(link: Link, client_on: ClientMaker) -> Machine:
    machine = put_on(link, "node1", client_on)
    machine.boot()
    assert machine.token
    return machine


@pytest.fixture
def node2(link: Link, client_on: ClientMaker) -> Machine:
    machine = put_on(link, "node2", client_on)
    machine.boot()
    assert machine.token
    return machine


def curl(namespace: str, *args: str) -> tuple[str, str]:
    """Status and body."""
    out = run("ip", "netns", "exec", namespace, "curl", "-s", "-m", "10", "-w", "\n%{http_code}", *args)
    body, _, status = out.rpartition("\n")
    return status, body


def refused(appliance: Appliance, why: str) -> Any:
    """The http-error event that gives this reason, and its path without what stood behind the `?`."""

    def find() -> Any:
        return next((e for e in appliance.events("http-error") if why in e["detail"].get("reason", "")), None)

    event = wait_until(find, f"the refusal: {why}")
    assert "?" not in event["detail"]["path"]
    return event


def test_the_machine_itself_reads_its_own(armed: Appliance, node1: Machine) -> None:
    answer = node1.ignition()
    assert (answer.status, SECRET in answer.text) == (200, True)
    assert node1.ask(node1.script().url).text == answer.text, "the URL in its script is the one"
    armed.await_event("ignition", machine="node1")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "has no token"),
        ("A" * 24, "not that of this boot"),
        ("theirs", "not that of this boot"),
        ("%27%3B%20DROP%20TABLE%20tokens%3B%20--", "not that of this boot"),
        ("%00%ff%0a", "not that of this boot"),
        ("x" * 5000, "not that of this boot"),
    ],
)
def test_without_its_token_it_reads_nothing(
    armed: Appliance, node1: Machine, node2: Machine, token: str, why: str
) -> None:
    answer = node1.ignition(node2.token if token == "theirs" else token)
    assert (answer.status, answer.text) == (404, "404 page not found\n")
    event = refused(armed, why)
    assert (event["machine"], event["detail"]["status"]) == ("node1", "404")
    assert node1.ignition().status == 200, "and its own still opens"


def test_another_machine_reads_nothing_of_it_and_cannot_speak_for_it(
    armed: Appliance, node1: Machine, node2: Machine
) -> None:
    for token in (node1.token, node2.token, ""):
        for kind in ("ignition", "metadata", "generic", "cloud"):
            answer = node2.ask(f"/{kind}?{node1.query}&token={token}")
            assert (answer.status, answer.text) == (404, "404 page not found\n"), kind
    assert refused(armed, "172.0.1.22 is node2's address")["detail"]["claims"] == "node1"
    assert "token" not in node2.ask(f"/ipxe?{node1.query}", agent=IPXE).text
    # A report in its name, by whatever token.
    for token in (node1.token, node2.token):
        assert node2.report("installed", token, mac=node1.mac).status == 403
    assert node2.report("installed", node1.token).status == 403, "a token of another boot is none of its own"
    assert node1.report("installed", node2.token).status == 403
    assert node1.report("installed", "").status == 403
    refused(armed, "names a MAC that is not node2's")
    refused(armed, "not that of the machine's last boot")
    states = {m["name"]: m["lifecycle"] for m in armed.run("machines", "-o", "json").json()}
    assert states == {"node1": "new", "node2": "new", "node3": "new"}
    assert node1.ignition().status == 200, "nothing of that closed it"


def test_an_address_that_is_nobody_s_reads_nothing(armed: Appliance, link: Link, node1: Machine) -> None:
    base = "http://172.0.1.1:8080"
    for query in (f"{node1.query}&token={node1.token}", node1.query, ""):
        status, body = curl(link.clients, "--interface", "172.0.1.200", f"{base}/ignition?{query}")
        assert (status, body) == ("404", "404 page not found\n")
    assert refused(armed, "172.0.1.200 is no machine's address")["machine"] is None
    told = curl(link.clients, "--interface", "172.0.1.200", "-A", IPXE, f"{base}/ipxe?mac={LAPTOP}")
    assert told[0] == "200"
    assert "refuses to boot ${netX/mac}: it is not known here" in told[1]
    assert "node1" not in told[1]
    assert curl(link.clients, "--interface", "172.0.1.200", f"{base}/ipxe?mac={LAPTOP}")[0] == "404"


def test_this_host_is_no_machine(armed: Appliance, link: Link, node1: Machine) -> None:
    status, _ = curl(link.server, f"http://172.0.1.1:8080/ignition?{node1.query}&token={node1.token}")
    assert status == "404"
    refused(armed, "this host asks")


def test_a_call_home_shuts_it_until_the_next_boot(armed: Appliance, node1: Machine) -> None:
    assert node1.report("done").status == 200
    assert node1.ignition().status == 404
    refused(armed, "has called home since")
    assert node1.report("done").status == 200, "it may say more"
    # Whatever runs on it now has its address, its MAC, its lease, and asks for a script once more.
    again = node1.script(agent="curl/8")
    assert again.token == ""
    assert "refuses" in node1.script().text
    before = node1.token
    assert "refuses" not in node1.boot().text
    assert node1.ignition(before).status == 404
    assert node1.ignition().status == 200


def test_a_machine_that_never_asked_for_its_address_is_not_known(
    armed: Appliance, link: Link, client_on: ClientMaker
) -> None:
    node1 = put_on(link, "node1", client_on)
    told = node1.script()
    assert "no lease of node1 at 172.0.1.21 is known" in told.text
    assert node1.script(agent="curl/8").token == ""
    assert node1.report("installed", "A" * 24).status in {403, 503}
    refused(armed, "no lease of node1")
    assert "refuses" not in node1.boot().text


@pytest.mark.parametrize("mac", [NODE2, LAPTOP])
def test_a_thief_with_its_address_and_its_token_is_told_by_its_own_mac(
    armed: Appliance, link: Link, node1: Machine, client_on: ClientMaker, mac: str
) -> None:
    """The machine is off, its lease still lasts, and somebody has heard its token on the wire."""
    take_away(node1)
    thief = put_on(link, "node1", client_on, mac=mac)
    assert thief.ignition(node1.token).status == 404
    refused(armed, f"172.0.1.21 is answered for by {mac}")
    told = thief.script()
    assert f"answered for by {mac}" in told.text
    assert told.token == ""
    assert thief.script(agent="curl/8").token == ""
    assert thief.report("installed", node1.token).status == 403
    assert armed.run("machine", "show", "node1", "-o", "json").json()["lifecycle"] == "new"


def test_where_a_switch_answers_for_all_a_boot_belongs_to_whoever_asked_first(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.write(settings=SETTINGS + '[matchbox]\nignition = "lease"\n')
    appliance.serve()
    link = segment.links[0]
    behind = put_on(link, "node1", client_on, mac=LAPTOP)  # all that is heard of it, but for DHCP
    behind.client.acquire(discover("52:54:00:aa:00:01"))
    script = behind.script()
    assert script.token
    assert behind.ignition(script.token).status == 200
    take_away(behind)
    thief = put_on(link, "node1", client_on, mac="00:1b:21:0a:0b:0d")
    assert "did when this boot asked first" in thief.script().text


def test_open_is_open_to_all(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> None:
    appliance.write(settings=SETTINGS + '[matchbox]\nignition = "open"\n')
    appliance.serve()
    link = segment.links[0]
    node2 = put_on(link, "node2", client_on)
    url = "http://172.0.1.1:8080/ignition?mac=52-54-00-aa-00-01"
    assert curl(link.clients, "--interface", "172.0.1.200", url)[0] == "200"
    assert curl(link.server, url)[0] == "200"
    assert node2.ask("/ignition?mac=52-54-00-aa-00-01").status == 200
    assert node2.script().token == ""
    assert node2.report("installed", "").status == 200


# ---- secrets ----


def everything_said(appliance: Appliance, node1: Machine) -> dict[str, str]:
    """Whatever the appliance has written or would tell, by where it stands."""
    found = {
        "log": appliance.log(),
        "events": appliance.run("events", "-n", "10000").stdout,
        "events -o json": appliance.run("events", "-n", "10000", "-o", "json").stdout,
        "status": appliance.run("status").stdout,
        "status -o json": appliance.run("status", "-o", "json").stdout,
        "machines": appliance.run("machines", "-o", "json").stdout,
        "machine show": appliance.run("machine", "show", "node1").stdout,
        "machine show -o json": appliance.run("machine", "show", "node1", "-o", "json").stdout,
        "plan": appliance.run("plan", "-o", "json").stdout,
    }
    paths = ("status", "machines", "machines/node1", "events", "leases", "images", "machines/node1/ignition")
    for path in paths:
        found[f"/v1/{path}"] = node1.ask(f"/v1/{path}").text
    found["/metrics"] = node1.ask("/metrics").text
    for file in (appliance.root / "run").rglob("*"):
        if file.is_file():
            found[str(file)] = file.read_bytes().decode("latin-1")
    return found


def test_no_secret_stands_anywhere_but_in_the_machine_s_own_document(
    armed: Appliance, node1: Machine, node2: Machine
) -> None:
    assert node1.ignition().status == 200
    for token in (node1.token, node2.token):  # every way to be refused with the right token in hand
        node2.ask(f"/ignition?{node1.query}&token={token}")
        node1.ask(f"/ignition/?{node1.query}&token={token}")
        node1.ask(f"/ignition.sig?{node1.query}&token={token}")
        node2.ask(f"/ignition?mac={LAPTOP}&token={token}")
        node2.ask(f"/nothing?token={token}", agent=IPXE)
        node1.ask(f"/assets/nothing?token={token}")
        node2.report("installed", token, mac=node1.mac, message="m")
        node2.ask(f"/v1/report?token={token}", body={"stage": "x"})
        node2.ask("/v1/report", body={"stage": "x"}, headers={"Authorization": f"Bearer {token}"})
        node1.report("more", token, facts={"token": token, "disk": "sda"})
    assert node1.report("done").status == 200
    assert node1.ignition().status == 404
    armed.await_event("done", machine="node1")
    secrets = {"secret": SECRET, "token of node1": node1.token, "token of node2": node2.token}
    for place, text in everything_said(armed, node1).items():
        for name, secret in secrets.items():
            assert secret not in text, f"the {name} stands in {place}"
    state = armed.root / "var/lib/pxe-appliance"
    armed.stop()
    with closing(sqlite3.connect(state / "history.db")) as db:
        assert db.execute("SELECT count(*) FROM tokens").fetchone() == (2,)
    for file in state.rglob("*"):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            for name, secret in secrets.items():
                document = name == "secret" and "ignition" in file.parts
                assert document or secret.encode() not in content, f"the {name} stands in {file}"
            if SECRET.encode() in content:
                assert file.stat().st_mode & 0o007 == 0, f"everybody on this host reads {file}"

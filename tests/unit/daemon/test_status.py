"""The JSON of the contract, value by value. Fields may be added here; none may be renamed or go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest
from immutables import Map

from appliance import __version__
from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.policy import Cue, Life
from appliance.daemon import ledger
from appliance.daemon.known import State
from appliance.daemon.leases import Lease
from appliance.daemon.ledger import Stray
from appliance.daemon.rogues import Rogue, Rogues
from appliance.daemon.status import Process, machine_json, machines_json, status_json
from appliance.dnsmasq.lifecycle import Child, Phase
from appliance.settings import MatchboxSettings
from appliance.system.network import InterfaceState
from tests.unit.daemon.rooms import AT, LAB, MAC, PXE, event, served

K = EventKind
P = Phase
CHILDREN = ("dhcp:lab", "dhcp:pxe", "tftp")
UP = {n.name: InterfaceState(n.interface, True, True, "", 1500, (f"{n.address}/24",)) for n in (PXE, LAB)}
THIEF = Rogue("pxe", IPv4Address("172.0.1.66"), AT, AT, "probe", MAC, IPv4Address("172.0.1.150"))
PROCESS = Process(4711, AT, {"dhcp:pxe": 4712, "tftp": 4713}, ())


def climbed(*kinds: EventKind, after: float = 0.0, **detail: str) -> Ladder:
    ladder = Ladder()
    for kind in kinds:
        ladder = climb(ladder, event(kind, after=after, detail=detail))
    return ladder


def state(**changed: object) -> State:
    children = {name: Child(name, P.SERVING) for name in CHILDREN}
    return replace(
        State(served=served(), children=children, interfaces=UP, endpoint_reachable=True),
        **changed,  # type: ignore[arg-type]
    )


def keys(facts: object, *path: str) -> list[str]:
    for key in path:
        assert isinstance(facts, dict)
        facts = facts[key]
    assert isinstance(facts, dict)
    return sorted(facts)


def dnsmasq_state(*phases: Phase, interfaces: object = UP) -> object:
    children = {name: Child(name, phase) for name, phase in zip(CHILDREN, phases, strict=False)}
    facts = status_json(state(children=children, interfaces=interfaces), PROCESS, AT)["dnsmasq"]
    assert isinstance(facts, dict)
    return facts["state"]


def problems(**changed: object) -> list[tuple[str, str, str]]:
    found = status_json(state(**changed), PROCESS, AT)["problems"]
    assert isinstance(found, Sequence)
    return [(p["id"], p["severity"], p["message"]) for p in found]


def test_status() -> None:
    ladders = Map({"node1": climbed(K.DISCOVER), "node2": climbed(K.DONE, stage="done")})
    found = status_json(
        state(
            ladders=ladders,
            strays=ledger.restored({str(MAC): Stray(MAC, "pxe", AT, AT).as_json()}),
            rogue_servers=Rogues({("pxe", THIEF.address): THIEF}),
        ),
        PROCESS,
        AT,
    )
    children = found["dnsmasq"].pop("children")  # type: ignore[attr-defined]
    networks = found.pop("networks")
    assert found == {
        "version": 1,
        "daemon": {
            "running": True,
            "pid": 4711,
            "since": "2025-01-31T04:05:06.789Z",
            "version": __version__,
        },
        "dnsmasq": {"state": "serving", "pid": 4712, "restarts": 0},
        "generation": {"id": 3, "at": "2025-01-31T04:00:00.000Z", "proven": True},
        "pending": None,
        "machines": {"known": 3, "booting": 1, "booted": 1, "stuck": 0, "held": 0},
        "strays": 1,
        "rogue_servers": [
            {
                "ip": "172.0.1.66",
                "mac": "52:54:00:aa:00:01",
                "network": "pxe",
                "first": "2025-01-31T04:05:06.789Z",
                "last": "2025-01-31T04:05:06.789Z",
                "how": "probe",
                "offered": "172.0.1.150",
                "boot_file": None,
            }
        ],
        "matchbox": {"endpoint": "builtin", "reachable": True},
        "problems": [
            {
                "id": "rogue-server",
                "severity": "error",
                "message": "another DHCP server answers on pxe (pxe0): 172.0.1.66, MAC 52:54:00:aa:00:01; "
                "it offers 172.0.1.150",
                "fix": "find the switch port of 52:54:00:aa:00:01 (show mac address-table address "
                "5254.00aa.0001), stop that server; DHCP snooping on the switches keeps others away",
            }
        ],
    }
    assert isinstance(networks, list)
    assert networks[0] == {
        "name": "pxe",
        "interface": "pxe0",
        "subnet": "172.0.1.0/24",
        "mode": "dhcp",
        "up": True,
        "address": "172.0.1.1",
        "boot_url": "http://172.0.1.1:8080/boot.ipxe",
    }
    assert [c["name"] for c in children] == list(CHILDREN)
    assert keys(children[0]) == ["name", "pid", "restarts", "said", "state"]


def test_status_before_the_first_generation() -> None:
    found = status_json(State(), replace(PROCESS, child_pids={}), AT)
    assert found["generation"] == {"id": None, "at": None, "proven": False}
    assert keys(found, "dnsmasq") == ["children", "pid", "restarts", "state"]
    assert (found["networks"], found["matchbox"]) == ([], {"endpoint": "builtin", "reachable": None})


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ((P.SERVING, P.SERVING, P.SERVING), "serving"),
        ((P.SERVING, P.STARTING, P.SERVING), "starting"),
        ((P.RESTARTING, P.STARTING, P.SERVING), "restarting"),
        ((P.SERVING, P.HUNG, P.RESTARTING), "hung"),
        ((P.BACKOFF, P.HUNG, P.SERVING), "backoff"),
        ((P.STOPPING, P.SERVING, P.STOPPED), "stopped"),
        ((), "stopped"),
    ],
)
def test_the_worst_child_speaks_for_all(phases: tuple[Phase, ...], expected: str) -> None:
    assert dnsmasq_state(*phases) == expected


def test_without_a_usable_interface_it_waits() -> None:
    serving = (P.SERVING,) * 3
    assert dnsmasq_state(*serving, interfaces={**UP, "lab": InterfaceState("eno4.7", False)}) == "waiting"
    assert dnsmasq_state(*serving, interfaces={}) == "waiting"


@pytest.mark.parametrize(
    ("seen", "why", "fix"),
    [
        (None, "interface pxe0 does not exist", "ip link show; name"),
        (InterfaceState("pxe0", False), "interface pxe0 does not exist", "ip link show; name"),
        (
            InterfaceState("pxe0", True, False, "", 1500, ("172.0.1.1/24",)),
            "interface pxe0 is down",
            "ip link set pxe0 up",
        ),
        (
            InterfaceState("pxe0", True, True, "", 1500, ()),
            "interface pxe0 does not hold 172.0.1.1",
            "ip addr add 172.0.1.1/24 dev pxe0 && ip link set pxe0 up",
        ),
    ],
)
def test_an_interface_that_cannot_be_used_is_a_problem_with_its_cure(
    seen: InterfaceState | None, why: str, fix: str
) -> None:
    interfaces = {"lab": UP["lab"]} | ({"pxe": seen} if seen else {})
    (one,) = problems(interfaces=interfaces)
    assert one == ("interface", "error", f"network pxe waits: {why}")
    found = status_json(state(interfaces=interfaces), PROCESS, AT)["problems"]
    assert isinstance(found, list)
    assert found[0]["fix"].startswith(fix)


def test_a_child_that_does_not_stay_up_is_a_problem_in_its_own_words() -> None:
    children = {"tftp": Child("tftp", P.BACKOFF)}
    (one,) = problems(children=children, last_words={"tftp": "port 69 is taken"})
    assert one == ("dnsmasq", "error", "tftp does not stay up: port 69 is taken")


def test_an_endpoint_that_is_silent_is_a_problem_and_one_not_asked_yet_is_none() -> None:
    external = served()
    matchbox = MatchboxSettings("http://matchbox.example.com:8080")
    external = replace(external, settings=replace(external.settings, matchbox=matchbox))
    assert problems(served=external, endpoint_reachable=None) == []
    (one,) = problems(served=external, endpoint_reachable=False)
    assert one == ("matchbox", "error", "http://matchbox.example.com:8080 does not answer")


def test_machines() -> None:
    row, idle, _ = machines_json(state(ladders=Map({"node1": climbed(K.DISCOVER, K.OFFER)})), AT)
    assert row == {
        "name": "node1",
        "macs": ["52:54:00:aa:00:01"],
        "ip": "172.0.1.21",
        "network": "pxe",
        "profile": "worker",
        "boot": {"policy": "install-once", "state": "booting"},
        "lifecycle": "new",
        "rung": "offer",
        "rung_at": "2025-01-31T04:05:06.789Z",
        "expected": "request",
        "deadline": "2025-01-31T04:05:51.789Z",
        "verdict": None,
        "image": None,
    }
    assert idle["boot"] == {"policy": None, "state": "idle"}
    assert (idle["rung"], idle["rung_at"], idle["profile"]) == (None, None, None)


def test_a_held_machine_says_why_and_what_lets_it_go() -> None:
    held = Life().after(Cue.HOLD, AT, reason="disk 3 is broken")
    for ladders in (Map(), Map({"node1": climbed(K.DISCOVER, K.OFFER)})):  # switched off, or waiting for ever
        known = state(lives=Map({"node1": held}), ladders=ladders)
        row = machines_json(known, AT + timedelta(hours=1))[0]
        assert row["lifecycle"] == "held"
        assert row["verdict"] == {
            "id": "held",
            "message": "held: disk 3 is broken",
            "remedy": "pxe-appliance machine release node1",
        }
    machines = status_json(known, PROCESS, AT)["machines"]
    assert isinstance(machines, dict)
    assert machines["held"] == 1
    assert problems(lives=Map({"node1": held})) == [("held", "warning", "node1 is held: disk 3 is broken")]
    life = machine_json(known, known.served.machines["node1"], AT)["life"]
    assert isinstance(life, dict)
    assert (life["state"], life["by"], life["reason"]) == ("held", "operator", "disk 3 is broken")
    assert keys(life) == ["before", "by", "facts", "installs", "macs", "reason", "since", "state"]


def test_a_machine_that_stays_on_a_rung_is_stuck_and_says_where() -> None:
    stuck = state(ladders=Map({"node1": climbed(K.DISCOVER, K.OFFER)}))
    later = AT + timedelta(hours=1)
    row = machines_json(stuck, later)[0]
    assert row["boot"] == {"policy": "install-once", "state": "stuck"}
    assert keys(row, "verdict") == ["id", "message", "remedy"]
    assert status_json(stuck, PROCESS, later)["machines"] == {
        "known": 3,
        "booting": 0,
        "booted": 0,
        "stuck": 1,
        "held": 0,
    }


def test_a_machine_in_full() -> None:
    lease = Lease(served().machines["node1"].ip, MAC, "node1", "pxe", AT, AT + timedelta(hours=1))
    full = state(ladders=Map({"node1": climbed(K.DISCOVER)}), leases=Map({"172.0.1.21": lease}))
    machine = full.served.machines["node1"]
    shown = machine_json(full, machine, AT)
    assert shown["origin"] == "rack.toml:7"
    assert shown["rungs"] == {"discover": "2025-01-31T04:05:06.789Z"}
    assert shown["lease"] == lease.as_json()
    assert keys(shown, "profile_facts") == ["args", "boot", "ignition", "name", "source"]
    assert keys(shown, "inventory") == ["hostname", "ip", "labels", "macs", "network", "nics", "profile"]
    assert set(machines_json(full, AT)[0]) <= set(shown)
    assert machine_json(full, machine, AT + timedelta(hours=1))["lease"] is None, "it has expired"


def test_events_and_leases() -> None:
    assert event(K.ACK, detail={"a": "b"}).as_json() == {
        "at": "2025-01-31T04:05:06.789Z",
        "event": "ack",
        "machine": "node1",
        "mac": "52:54:00:aa:00:01",
        "ip": "172.0.1.21",
        "network": "pxe",
        "detail": {"a": "b"},
    }
    lease = Lease(served().machines["node1"].ip, MAC, "node1", "pxe", AT, AT)
    assert sorted(lease.as_json()) == ["expires", "granted", "ip", "mac", "machine", "network"]
    words = "discover offer request ack bootfile ipxe script kernel initrd ignition done nak decline release "
    words += "ignored stray tftp-error http-error rogue-server sync rollback"
    assert set(words.split()) <= {kind.value for kind in EventKind}

"""How the lab tells that an answer names a cause."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from appliance.addresses import Mac
from appliance.lab import named
from appliance.lab.named import Told

MAC = Mac.parse("52:54:00:1a:b1:03")
WHY = {"verdict": {"id": "x", "message": "the kernel is not there", "remedy": "look for it"}}


def test_a_kernel_that_is_missing() -> None:
    assert named.kernel_missing(WHY) == Told("the kernel is not there", "look for it")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"verdict": None},
        {"verdict": {"message": "overdue", "remedy": "look"}},
        {"verdict": {"message": "the kernel is not there", "remedy": ""}},
    ],
)
def test_what_names_no_kernel(answer: object) -> None:
    assert named.kernel_missing(answer) is None


def test_a_mac_that_was_mistyped() -> None:
    told = named.mistyped(MAC)
    remedy = f"pxe-appliance machine replace-mac node3 {MAC}"
    verdict = {"message": f"nothing heard; {MAC} asks", "remedy": remedy}
    assert told({"verdict": verdict}) == Told(verdict["message"], remedy)
    assert told({"verdict": {**verdict, "remedy": "look"}}) is None
    assert told({"verdict": {"message": "another", "remedy": "machine replace-mac node3"}}) is None


def test_another_nic() -> None:
    told = named.other_nic(MAC, "node3")
    row = {"mac": str(MAC), "owner": "eth1 of node3, on the PXE VLAN", "remedy": "pull the cable"}
    assert told([{"mac": "x"}, row]) == Told(f"{MAC}: {row['owner']}", "pull the cable")
    for broken in ({**row, "owner": None}, {**row, "remedy": ""}, {**row, "mac": "52:54:00:1a:b1:04"}):
        assert told([broken]) is None


def test_another_server() -> None:
    told = named.rogue(IPv4Address("172.0.1.66"), "02:00:00:00:00:66")
    row = {"id": "rogue-server", "message": "172.0.1.66 (02:00:00:00:00:66) answers", "fix": "find the port"}
    assert told({"problems": [row]}) == Told(row["message"], "find the port")
    assert told({"problems": [{**row, "message": "172.0.1.66 answers"}]}) is None
    assert told({"problems": [{**row, "id": "http"}]}) is None


def test_a_stopped_endpoint() -> None:
    endpoint = "http://172.0.1.1:8095"
    row = {"id": "matchbox", "verdict": "error", "message": f"{endpoint} does not answer", "fix": "curl"}
    assert named.endpoint_in_doctor(endpoint)([row]) == Told(f"matchbox: {row['message']}", "curl")
    assert named.endpoint_in_doctor(endpoint)([{**row, "verdict": "ok"}]) is None
    verdict = {"message": f"waits for {endpoint}", "remedy": "curl"}
    assert named.endpoint_in_why(endpoint)({"verdict": verdict}) == Told(verdict["message"], "curl")
    assert named.endpoint_in_why(endpoint)(WHY) is None

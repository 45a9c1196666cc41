"""What changed is told, and what a reader on the VLAN must not learn is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.daemon.discreet import MOST, masked_args, masked_url, told_changes, told_machine
from appliance.inventory.model import Inventory, KernelRef
from appliance.settings import Settings
from appliance.sync.plan import Action, Change, Desired, make_plan
from appliance.tree import Tree
from tests.unit.daemon.rooms import PXE, WORKER, rack

SECRET = "hunter2"


def desired(*args: str, kernel: str = "/assets/lab/vmlinuz", machines: int = 1) -> Desired:
    profile = replace(WORKER, args=args, source=KernelRef(kernel, ()))
    inventory = Inventory(rack()[:machines], {"worker": profile})
    return Desired(Settings({"pxe": PXE}), inventory, Tree())


def told(before: Desired | None, after: Desired) -> str:
    return str(told_changes(make_plan(1, before, after).changes))


ARGS = ("token=", "coreos.key=", "x.y=a=", "ignition.config.url=http://h/i?t=")


@pytest.mark.parametrize("arg", [f"{arg}{SECRET}" for arg in ARGS])
def test_values_of_arguments_are_hidden_and_names_are_not(arg: str) -> None:
    said = told(desired("console=ttyS0"), desired("console=ttyS0", arg))
    assert SECRET not in said
    assert arg.partition("=")[0] in said
    assert "console=ttyS0" in said


def test_an_argument_whose_value_alone_changed_is_still_a_change() -> None:
    found = told_changes(make_plan(1, desired("token=a1"), desired("token=b2")).changes)
    assert found["changes"] == [
        {"action": "change", "kind": "profile", "name": "worker", "line": "~ profile worker",
         "details": ["differs in what is not shown"]}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "url", [f"http://user:{SECRET}@mirror.example/k", f"http://mirror.example/k?sig={SECRET}"]
)
def test_credentials_in_urls_are_hidden(url: str) -> None:
    said = told(desired(), desired(kernel=url))
    assert SECRET not in said
    assert "mirror.example/k" in said
    assert SECRET not in masked_url(url)


def test_machines_are_told_in_full() -> None:
    said = told(desired(), desired(machines=2))
    assert "+ machine node2: 52:54:00:aa:00:02, 52:54:00:aa:00:12 at 172.0.1.22, profile none" in said


def test_flags_and_harmless_arguments_are_as_they_are() -> None:
    assert masked_args(["quiet", "console=ttyS0", "rd.neednet=1", "x=y"]) == [
        "quiet", "console=ttyS0", "rd.neednet=1", "x=(not shown)",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["secret", "api_token", "password", "url", "key"])
def test_settings_and_labels_that_sound_like_secrets_are_hidden(key: str) -> None:
    changes = [
        Change(Action.ADD, "settings", "webhook.x", None, {key: SECRET}),
        Change(Action.CHANGE, "machine", "n", {"labels": {}}, {"labels": {key: SECRET}}),
    ]
    assert SECRET not in str(told_changes(changes))


def test_a_huge_change_is_told_in_part() -> None:
    changes = [Change(Action.ADD, "machine", f"n{n}", None, {"macs": [], "ip": "1"}) for n in range(MOST + 7)]
    found = told_changes(changes)
    assert len(found["changes"]) == MOST  # type: ignore[arg-type]
    assert found["more"] == 7


def test_a_machine_is_told_on_the_vlan_without_what_its_arguments_say() -> None:
    facts = {
        "name": "node1",
        "profile_facts": {"name": "worker", "args": [f"token={SECRET}"], "source": f"http://u:{SECRET}@h/k"},
        "boots": {
            "kernel": f"http://h/k?t={SECRET}",
            "initrd": [f"http://h/i?t={SECRET}"],
            "args": [f"a={SECRET}"],
        },
        "rungs": {},
    }
    told = told_machine(facts)
    assert SECRET not in str(told)
    assert (told["name"], told["rungs"]) == ("node1", {})
    assert told["boots"] == {
        "kernel": "http://h/k?(not shown)",
        "initrd": ["http://h/i?(not shown)"],
        "args": ["a=(not shown)"],
    }
    assert told_machine({"boots": {"nothing": "no image"}, "profile_facts": None}) == {
        "boots": {"nothing": "no image"},
        "profile_facts": None,
    }

"""A pass lets a proof ask in a machine's place, and nobody else, from nowhere else, and not afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.boot.policy import Cue, Life
from appliance.daemon import signals as s
from appliance.daemon.giving import PROOF_TOKEN
from appliance.daemon.passes import HEADER, Passes, shown
from appliance.matchbox.request import BootRequest, Deny, Instead, LocalBoot, RequestKind, Script
from tests.unit.daemon.rooms import AT, served
from tests.unit.daemon.test_giving import Rack

HERE = "172.0.1.1"


def test_a_pass_names_a_machine_from_our_own_address_alone() -> None:
    passes, now = Passes(), served()
    with passes.issued() as secret:
        headers = shown(secret, "node1")
        machine = passes.machine(HERE, headers, now)
        assert machine is not None
        assert str(machine.name) == "node1"
        for peer in ("172.0.1.21", "172.0.1.99", "127.0.0.1", "", "fe80::1", "172.0.1.1.example"):
            assert passes.machine(peer, headers, now) is None
        for said in (
            "node1",
            f" {secret} node1",
            f"{secret[:-1]} node1",
            f"{secret}x node1",
            "é node1",
            secret,
            "",
        ):
            assert passes.machine(HERE, {HEADER: said}, now) is None
        assert passes.machine(HERE, shown(secret, "nobody"), now) is None
        assert passes.machine(HERE, {}, now) is None
    assert passes.machine(HERE, headers, now) is None


def test_two_runs_have_two_passes() -> None:
    passes, now = Passes(), served()
    with passes.issued() as first, passes.issued() as second:
        assert first != second
        assert len(first) >= 43
        for secret in (first, second):
            assert passes.machine(HERE, shown(secret, "node2"), now) is not None


@pytest.fixture
def site(tmp_path: Path) -> Rack:
    return Rack(tmp_path)


def asked(site: Rack, kind: RequestKind, machine: str | None = "node1", **labels: str) -> object:
    return site.giving.as_to(site.now.machines["node1"], BootRequest(kind, HERE, labels, machine, boots=True))


def test_it_is_answered_as_the_machine_and_mints_nothing(site: Rack) -> None:
    """No lease, no neighbour, no boot: the machine itself would be refused; nothing is reported or kept."""
    chain, script = asked(site, RequestKind.CHAIN), asked(site, RequestKind.SCRIPT)
    assert isinstance(chain, Script)
    assert isinstance(script, Instead)
    assert f"token={PROOF_TOKEN}" in " ".join(script.boot.args)
    assert asked(site, RequestKind.IGNITION, token=PROOF_TOKEN) is None
    assert site.said == []
    assert site.arming.unkept is False
    site.boot()
    real = site.token()
    assert any(isinstance(signal, s.TokensGiven) for signal in site.said)
    before = list(site.said)
    asked(site, RequestKind.SCRIPT)
    assert site.said == before
    # What stands in a proof's script opens nothing, and the boot that is under way keeps its own.
    assert "not that of this boot" in site.reads(PROOF_TOKEN)
    assert site.reads(real) == ""


def test_it_follows_the_machines_life(site: Rack) -> None:
    site.lives["node1"] = Life().after(Cue.INSTALLED, AT)
    assert isinstance(asked(site, RequestKind.CHAIN), LocalBoot)
    assert isinstance(asked(site, RequestKind.SCRIPT), LocalBoot)
    site.lives["node1"] = Life().after(Cue.HOLD, AT, reason="a test")
    held = asked(site, RequestKind.SCRIPT)
    assert isinstance(held, Script)
    assert "is held: a test" in held.text
    assert asked(site, RequestKind.IGNITION) == Deny("it is held")


def test_it_speaks_for_one_machine(site: Rack) -> None:
    assert asked(site, RequestKind.SCRIPT, "node2") is None
    assert asked(site, RequestKind.IGNITION, "node2") is None

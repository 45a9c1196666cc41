"""A network, and how findings are told apart in these tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from appliance.doctor.finding import Finding, Verdict
from appliance.settings import HttpSettings, NetworkMode, NetworkSettings, Settings

PXE: Final = NetworkSettings("pxe", "pxe0", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))
PROXY: Final = replace(PXE, name="old", interface="old0", mode=NetworkMode.PROXY)


def settings(*networks: NetworkSettings, port: int = 8080) -> Settings:
    """Settings of these networks."""
    return Settings({n.name: n for n in networks or (PXE,)}, http=HttpSettings(port))


def verdicts(findings: Iterable[Finding]) -> dict[str, str]:
    """The worst verdict by id; every finding that is not ok has a fix."""
    found: dict[str, str] = {}
    for one in findings:
        assert one.verdict is Verdict.OK or one.fix, one
        order = ["ok", "warning", "error"]
        before = found.get(one.id, "ok")
        found[one.id] = max(before, one.verdict.value, key=order.index)
    return found


def bad(findings: Iterable[Finding]) -> dict[str, str]:
    """Those that are not ok."""
    return {identity: verdict for identity, verdict in verdicts(findings).items() if verdict != "ok"}

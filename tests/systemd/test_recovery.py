"""The service goes on: killed, hung, rebooted, and replaced by a newer version under a rack that boots."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.figures import Figures
from tests.netns.conftest import ClientMaker
from tests.netns.machines import NAMES
from tests.netns.machines import Machine as Client
from tests.netns.test_appliance import discover
from tests.netns.test_takeover import Exchanges, doing, get_anew
from tests.netns.wire import tftp_get, wait_until
from tests.systemd.machine import ADDRESS, CLIENT_ADDRESS, Machine
from tests.systemd.operator import PROGRAM, put_program

pytestmark = pytest.mark.netns
UNIT = "pxe-appliance.service"
_PATIENCE = 15.0  # seconds, of a host that does many other things; how long it took is told


@pytest.fixture
def exchanges(host: Machine) -> Iterator[Exchanges]:
    """A known client of its own on the host's wire."""
    maker = ClientMaker()
    yield Exchanges(maker(host.link), NAMES["node2"][0])
    for client in maker.made:
        client.close()


def _main(host: Machine) -> int:
    """The daemon's pid in the machine, 0 while it has none."""
    return int(host.show(UNIT, "MainPID")["MainPID"])


def _status(host: Machine) -> dict[str, Any]:
    said = json.loads(host.run("pxe-appliance", "status", "-o", "json", check=False).stdout)
    assert isinstance(said, dict)
    return said


def _served_again(exchanges: Exchanges, began: float, seconds: float = 40) -> float:
    """Seconds until a client that asks ten times a second is offered its address."""

    def offered() -> bool:
        return exchanges.client.ask(discover(exchanges.mac), seconds=0.1) is not None

    wait_until(offered, "an offer", seconds)
    return time.monotonic() - began


def _await_serving(host: Machine, than: int = 0) -> None:
    def serving() -> bool:
        main = _main(host)
        return main not in (0, than) and host.show(UNIT, "ActiveState")["ActiveState"] == "active"

    wait_until(serving, "the daemon to serve", 40)


def test_killed(host: Machine, exchanges: Exchanges, figures: Figures) -> None:
    """Its children go with it: none of them answers from what nobody watches."""
    _await_serving(host)
    before, children = _main(host), {p["Pid"] for p in host.processes(UNIT) if p["Name"] == "dnsmasq"}
    assert len(children) == 2
    began = time.monotonic()
    host.run("kill", "-KILL", str(before))
    wait_until(lambda: _main(host) not in (0, before), "a new daemon")
    assert children.isdisjoint(p["Pid"] for p in host.processes(UNIT))
    took = _served_again(exchanges, began)
    figures.tell("service", "daemon killed: an address again after", f"{took:.1f} s", "<= 5 s")
    assert took <= _PATIENCE
    _await_serving(host, than=before)
    assert _status(host)["generation"]["proven"] is True


def test_dnsmasq_killed(host: Machine, exchanges: Exchanges, figures: Figures) -> None:
    _await_serving(host)
    before = _main(host)
    began = time.monotonic()
    for process in host.processes(UNIT):
        if process["Name"] == "dnsmasq":
            host.run("kill", "-KILL", process["NSpid"].split()[-1])
    took = _served_again(exchanges, began)
    figures.tell("service", "dnsmasq killed in its sandbox: an address again after", f"{took:.2f} s", "< 1 s")
    assert took < 5, "a second, and what a busy machine takes"
    assert _main(host) == before


def test_hung(host: Machine, exchanges: Exchanges, figures: Figures) -> None:
    """DHCP does not need the daemon to turn; systemd sees that it does not, and starts it again."""
    _await_serving(host)
    before = _main(host)
    began = time.monotonic()
    host.run("kill", "-STOP", str(before))
    exchanges.once()
    assert _main(host) == before, "it was served by who is left"
    wait_until(lambda: _main(host) not in (0, before), "a new daemon", 40)
    _await_serving(host, than=before)
    took = time.monotonic() - began
    exchanges.once()
    figures.tell("service", "daemon hung: replaced, and served again, after", f"{took:.1f} s", "<= 20 s")
    assert took <= 20 + _PATIENCE
    assert "Watchdog timeout" in host.log(f"--unit={UNIT}")
    assert len([p for p in host.processes(UNIT) if p["Name"] == "dnsmasq"]) == 2


@pytest.mark.parametrize("how", ["reboot", "reset"])
def test_rebooted(host: Machine, exchanges: Exchanges, figures: Figures, how: str) -> None:
    """It comes up by itself and serves the generation that was proven, which is not proven anew."""
    _await_serving(host)
    generation = _status(host)["generation"]
    began = time.monotonic()
    host.reboot() if how == "reboot" else host.reset()
    took = _served_again(exchanges, began)
    word = {"reboot": "rebooted", "reset": "reset button"}[how]
    figures.tell("service", f"host {word}: an address again after", f"{took:.1f} s", "")
    _await_serving(host)
    after = _status(host)
    assert (after["generation"]["id"], after["generation"]["proven"]) == (generation["id"], True)


def test_upgraded_under_a_busy_rack(
    host: Machine, node1: Client, exchanges: Exchanges, newer: Path, figures: Figures
) -> None:
    """`pip install` of a newer version, then `service install`: no exchange is lost, all of it is newer."""
    _await_serving(host)
    node1.boot()
    before, children = _main(host), {p["Pid"] for p in host.processes(UNIT) if p["Name"] == "dnsmasq"}
    with ExitStack() as clients:
        dora = clients.enter_context(doing(exchanges.once))
        fetch = partial(tftp_get, host.clients, CLIENT_ADDRESS, ADDRESS, "undionly.kpxe")
        tftp = clients.enter_context(doing(fetch, 0.1))
        http = clients.enter_context(doing(partial(get_anew, host.link)))
        put_program(host, newer)
        said = host.run(PROGRAM, "service", "install", "--yes").stdout
        assert "The service is installed." in said
        last = len(exchanges.xids)
        wait_until(lambda: len(exchanges.xids) > last, "one more exchange")
    assert _status(host)["daemon"]["version"] == "99.1"
    assert _main(host) == before
    assert {p["Pid"] for p in host.processes(UNIT) if p["Name"] == "dnsmasq"} == children
    for deeds in (dora, tftp, http):
        assert deeds.seconds
        assert not deeds.failures
    done = len(dora.seconds) + len(tftp.seconds) + len(http.seconds)
    figures.tell("service", "upgrade of the service: exchanges meanwhile, lost", f"{done}, 0", "0 lost")
    assert _status(host)["problems"] == []

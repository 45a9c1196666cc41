"""The guard under the unit's whole sandbox: no root, two capabilities, a filter of system calls."""

from __future__ import annotations

import pytest

from tests.netns.wire import wait_until
from tests.systemd.machine import Machine

pytestmark = pytest.mark.netns

LIST = ("nft", "list", "table", "inet", "pxe-appliance")


def test_the_service_puts_up_its_guard_and_mends_it(host: Machine) -> None:
    uid = host.run("id", "-u", "pxe-appliance").stdout.strip()
    rules = host.run(*LIST).stdout
    assert f"meta skuid {uid} udp sport {{ 67, 69, 4011 }}" in rules
    assert "policy drop" not in rules
    host.run("nft", "flush", "ruleset")
    wait_until(lambda: "hook forward" in host.run(*LIST, check=False).stdout, "the guard again", 10)


# A program that is being replaced by another dies of SIGTERM as this one does: it takes nothing down.
DEAF = """
[Service]
Type=exec
ExecStart=
ExecStart=/bin/sleep infinity
"""


def test_a_stop_takes_it_down_when_nobody_was_there_to_do_it(host: Machine) -> None:
    unit, drop_in = "pxe-appliance.service", "/run/systemd/system/pxe-appliance.service.d/deaf.conf"
    host.run("systemctl", "stop", unit)
    host.write(drop_in, DEAF)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", unit)
    host.run("nft", "add", "table", "inet", "pxe-appliance")
    host.run("systemctl", "kill", "--signal=KILL", unit)
    wait_until(lambda: host.show(unit, "NRestarts") == {"NRestarts": "1"}, "another one", 10)
    host.run(*LIST)  # one that was killed leaves it for the next

    host.run("systemctl", "stop", unit)
    assert host.run("nft", "list", "tables").stdout == ""
    host.run("rm", drop_in)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", unit)

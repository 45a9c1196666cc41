"""Two daemons of ours with roots of their own on one interface: neither answers beside the other unseen."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.wire import wait_until

pytestmark = pytest.mark.netns


def test_the_second_is_refused_and_told_apart_from_the_first(appliance: Appliance, tmp_path: Path) -> None:
    appliance.serve()
    first = appliance.daemon_pid()
    second = Appliance(tmp_path / "second", namespace=appliance.namespace)
    second.write(settings=SETTINGS.replace('other_servers = "tell"\n', ""))

    def told(one: Appliance) -> Any:
        problems = one.status()["problems"]
        return next((p["message"] for p in problems if "another pxe-appliance" in p["message"]), "")

    refused = second.run("serve", rc=4)
    assert f"another pxe-appliance answers DHCP on pxe0 (process {first})" in refused.stderr
    assert told(appliance) == ""
    assert appliance.process is not None
    appliance.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "took over from version" in appliance.log(), "the take-over", 60)
    wait_until(lambda: second.run("serve", rc=None).rc == 4, "the claim to be there again")

    second.write()  # with the operator's word that others may be there
    second.serve(wait=False)
    try:
        assert second.process is not None
        pid = second.process.pid
        wait_until(lambda: f"(process {first})" in told(second), "what the second says", 30)
        wait_until(lambda: f"(process {pid})" in told(appliance), "what the first says", 30)
        second.stop()
        wait_until(lambda: told(appliance) == "", "the end of it", 30)
    finally:
        if second.process is not None:
            second.stop(signal.SIGKILL)

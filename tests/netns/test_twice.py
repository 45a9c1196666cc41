"""Two daemons of ours on one interface: neither answers beside the other unseen, never two of one root."""

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


def test_without_its_lock_file_it_is_the_only_one_of_its_root_all_the_same(appliance: Appliance) -> None:
    appliance.serve()
    run, first = appliance.root / "run/pxe-appliance", appliance.daemon_pid()
    (run / "daemon.lock").unlink()
    second = Appliance(appliance.root, namespace=appliance.namespace)
    refused = second.run("serve", rc=4).stderr
    assert "a daemon serves this root already, although its lock file was removed" in refused
    assert appliance.status()["daemon"]["pid"] == first
    assert appliance.dnsmasq()["state"] == "serving"

    assert appliance.process is not None
    appliance.process.send_signal(signal.SIGHUP)  # the program that comes holds on to all of it
    wait_until(lambda: "took over from version" in appliance.log(), "the take-over", 60)
    assert "already" in second.run("serve", rc=4).stderr

    for path in (run / "daemon.lock", run / "control.sock"):
        path.unlink()
    told = second.run("status", rc=None)
    assert "a daemon runs and does not listen" in told.stdout
    appliance.edit('ip = "172.0.1.21"', 'ip = "172.0.1.71"')
    assert "a daemon runs and does not listen" in second.run("sync", "--yes", rc=5).stderr
    assert "a daemon serves this root already" in second.run("serve", rc=4).stderr
    appliance.stop()
    second.serve()
    second.stop()

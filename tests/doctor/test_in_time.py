"""The doctor is done in five seconds, whatever hangs; what hung is a finding, and nothing is left behind."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Final

import pytest

from tests.doctor.bench import Bench
from tests.doctor.planting import tftp_stopped

pytestmark = pytest.mark.netns
HANGING: Final = (
    "nft", "iptables-save", "ufw", "firewall-cmd", "systemctl", "timedatectl", "dpkg-query", "ss", "dnsmasq",
)  # fmt: skip
SECONDS: Final = 5.0


def sleepers() -> list[str]:
    """Processes that the hanging programs became."""
    done = subprocess.run(["pgrep", "-f", "^sleep 7654$"], capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_it_ends_though_everything_hangs(bench: Bench) -> None:
    try:
        tftp_stopped(bench)
        bench.create(bench.etc / "dnsmasq.d/own.conf", b"dhcp-authoritative\n")  # dnsmasq is asked about it
        for name in HANGING:
            bench.program(name, "exec sleep 7654")
        started = time.monotonic()
        done = bench.doctor("-o", "json")
        took = time.monotonic() - started
        rows = {row["id"]: row for row in json.loads(done.stdout)}
        assert done.returncode == 5
        assert took < SECONDS
        told = " ".join(rows["doctor-time"]["evidence"])
        assert rows["doctor-time"]["verdict"] == "warning"
        for name in ("nft", "systemctl", "timedatectl", "dpkg-query", "dnsmasq"):
            assert name in told, told
        assert rows["daemon-answers"]["verdict"] == "error"
        assert rows["tftp-fetch"]["verdict"] == "error"
        assert rows["http-health"]["verdict"] == "error"
        assert rows["interface-up"]["verdict"] == "ok", "what does not hang is judged"
        assert "unit-active" not in rows, "what was not seen is not judged"
        assert not sleepers()
    finally:
        bench.heal("doctor-time")


def test_a_healthy_host_takes_no_longer(bench: Bench) -> None:
    started = time.monotonic()
    assert bench.doctor().returncode == 0
    assert time.monotonic() - started < SECONDS

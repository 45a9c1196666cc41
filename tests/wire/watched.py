"""An appliance under attack, looked at from the host: its processes, its memory, its time, its logs."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.dnsmasq.log import parse
from appliance.dnsmasq.records import Unrecognised
from tests.netns.appliance import Appliance
from tests.netns.conftest import run
from tests.netns.wire import wait_until

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_IDLE: Final = 0.25  # of a CPU: the page, the probes, the rogue look-out all tick
_LOOK_SECONDS: Final = 1.0


class Watched:
    """Made before the attack, asked after it."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance
        self._children = self._pids()
        self._memory = self._resident()

    def is_unhurt(self, mended: Mapping[str, int] | None = None) -> None:
        """The same daemon, the same children; but for those that may have been started again so often."""
        allowed = mended or {}
        assert self._appliance.process is not None
        assert self._appliance.process.poll() is None, "the daemon is gone"
        for child in self._appliance.dnsmasq()["children"]:
            assert child["restarts"] <= allowed.get(child["name"], 0), child
            assert child["name"] in allowed or child["pid"] == self._children[child["name"]]

    def grown(self) -> float:
        """MiB that the daemon and its children hold more than before."""
        return self._resident() - self._memory

    def logs(self) -> int:
        """Bytes of a child's log and the one before it; of the child that has most."""
        sizes: Counter[str] = Counter()
        for log in (self._appliance.root / "run").rglob("*.log*"):
            with contextlib.suppress(FileNotFoundError):  # it was put aside in between
                sizes[log.name.removesuffix(".1")] += log.stat().st_size
        return max(sizes.values())

    def waiting(self) -> int:
        """Signals that wait to be decided about."""
        control = self._appliance.root / "run/pxe-appliance/control.sock"
        page = run("curl", "-s", "-m", "20", "--unix-socket", str(control), "http://localhost/metrics")
        found = re.search(r"^pxe_appliance_decider_queue_length ([0-9.]+)$", page, re.MULTILINE)
        assert found, page
        return int(float(found[1]))

    def unrecognised(self) -> list[str]:
        """Lines in its children's logs, as far as they are kept, that our grammar does not know."""
        logs = (self._appliance.root / "run").rglob("*.log*")
        lines = [line for log in logs for line in log.read_bytes().decode(errors="replace").split("\n")[:-1]]
        return [line for line in lines if isinstance(parse(line), Unrecognised)]

    def is_idle_again(self, seconds: float = 60) -> None:
        """No process of it spins: over a second, all together take a quarter of a CPU at most."""
        last = [self._work()]
        since = [_now()]

        def calm() -> bool:
            if _now() - since[0] < _LOOK_SECONDS:
                return False
            used, last[0] = self._work() - last[0], self._work()
            span, since[0] = _now() - since[0], _now()
            return used / span < _IDLE

        wait_until(calm, "the appliance to be idle again", seconds)

    def _pids(self) -> dict[str, int]:
        return {c["name"]: c["pid"] for c in self._appliance.dnsmasq()["children"]}

    def _all(self) -> list[int]:
        return [self._appliance.daemon_pid(), *(pid for pid in self._pids().values() if pid)]

    def _resident(self) -> float:
        return sum(_status(pid, "VmRSS") for pid in self._all()) / 1024

    def _work(self) -> float:
        """Seconds of CPU that all have used so far."""
        total = 0
        for pid in self._all():
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(words[11]) + int(words[12])
        return total / _TICKS


def _now() -> float:
    return os.times().elapsed


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no {key}")

"""A trial start: real dnsmasq on staged files, in a network namespace where there is no wire at all.

It is the only reader that sees a hosts file as the running child will (measured: `--test` never opens it, and
a bad line costs one log line and silently drops a machine).
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.dnsmasq.log import parse
from appliance.dnsmasq.process import DNSMASQ
from appliance.dnsmasq.records import CannotRead, HostsRead, HostsRejected
from appliance.errors import SurroundingsError
from appliance.system.command import run, spawn

_PATIENCE = 30.0  # seconds; 50,000 hosts take some four


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial start showed: the lines dnsmasq rejected, and in words how it went."""

    rejected: tuple[str, ...]
    words: str


def trial_start(configuration: str, hosts: Path) -> Trial:
    """Start dnsmasq on `configuration` with the staged `hosts` and read what it says of it.

    Where no namespace can be had (an unprivileged user on a host that forbids them, or our own service's
    sandbox) the trial is left out and says so.
    """
    namespace = _namespace()
    if not namespace:
        return Trial((), "no trial start: this process may not make a network namespace")
    with tempfile.TemporaryDirectory(prefix="pxe-trial-") as folder:
        scratch = Path(folder) / "dnsmasq.conf"
        scratch.write_text(_redirected(configuration, hosts), encoding="utf-8")
        lines = _run_until_read(namespace, scratch)
    return _verdict(lines)


def _namespace() -> list[str]:
    kinds = [["unshare", "--net"]] if os.geteuid() == 0 else []
    kinds.append(["unshare", "--user", "--map-root-user", "--net"])
    for argv in kinds:
        try:
            if run([*argv, "true"], timeout=5, check=False).rc == 0:
                return argv
        except SurroundingsError:
            continue
    return []


def _redirected(configuration: str, hosts: Path) -> str:
    """The same configuration with the staged hosts file, talking to standard error."""
    kept = [
        line
        for line in configuration.splitlines()
        if not line.startswith(("dhcp-hostsfile=", "log-facility=", "user=", "group="))
    ]
    return "\n".join([*kept, f"dhcp-hostsfile={hosts}", "log-facility=-", "user=root", "group=", ""])


def _run_until_read(namespace: list[str], configuration: Path) -> list[str]:
    reader, writer = os.pipe()
    child = spawn(
        [*namespace, DNSMASQ, "--keep-in-foreground", f"--conf-file={configuration}"], stderr=writer
    )
    os.close(writer)
    try:
        return list(_lines(reader))
    finally:
        child.kill()
        child.wait()
        os.close(reader)


def _lines(reader: int) -> Iterator[str]:
    """The child's lines up to the one that says its hosts were read, or its end."""
    deadline = time.monotonic() + _PATIENCE
    rest = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            return
        chunk = os.read(reader, 1 << 16)
        *complete, rest = (rest + chunk).split(b"\n")
        for raw in complete:
            line = raw.decode(errors="replace")
            yield line
            if isinstance(parse(line), HostsRead):
                return
        if not chunk:
            yield rest.decode(errors="replace")
            return


def _verdict(lines: list[str]) -> Trial:
    records = [parse(line) for line in lines]
    rejected = [
        line
        for line, r in zip(lines, records, strict=True)
        if isinstance(r, HostsRejected | CannotRead) or "FAILED to start up" in line
    ]
    if rejected:
        return Trial(tuple(rejected), "dnsmasq rejected lines at a trial start")
    if not any(isinstance(r, HostsRead) for r in records):
        last = lines[-1] if lines else "nothing"
        return Trial((f"it did not read its hosts at a trial start; it said: {last}",), "no start")
    return Trial((), "dnsmasq started on it in a namespace of its own and rejected nothing")

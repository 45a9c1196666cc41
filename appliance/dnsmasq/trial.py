"""A trial start: real dnsmasq on staged files, where there is no wire.

It is the only reader that sees a hosts file as the running child will (measured: `--test` never opens it, and
a bad line costs one log line and silently drops a machine).

Without a wire is a network namespace of its own, or, in our service's sandbox, which makes no namespaces, the
loopback interface at a port that no client asks: bound to that device, it hears nothing of any other.
"""

from __future__ import annotations

import os
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.dnsmasq.log import parse
from appliance.dnsmasq.process import DHCP_CAPABILITIES, DNSMASQ, child_argv, dies_with_us
from appliance.dnsmasq.records import CannotRead, HostsRead, HostsRejected
from appliance.errors import SurroundingsError
from appliance.system.command import run, spawn

_PATIENCE = 30.0  # seconds; 50,000 hosts take some four
# CAP_NET_BIND_SERVICE and CAP_NET_ADMIN (linux/capability.h), without which it exits.
_NEEDED = 1 << 10 | 1 << 12


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial start showed: the lines dnsmasq rejected, and in words how it went."""

    rejected: tuple[str, ...]
    words: str


def trial_start(configuration: str, hosts: Path) -> Trial:
    """Start dnsmasq on `configuration` with the staged `hosts` and read what it says of it.

    Where neither a namespace nor dnsmasq's capabilities can be had (an unprivileged user on a host that
    forbids namespaces) the trial is left out and says so.
    """
    namespace = _namespace()
    if not namespace and not _capable():
        return Trial((), "no trial start: this process may not make a network namespace")
    redirected = _redirected(configuration, hosts)
    with tempfile.TemporaryDirectory(prefix="pxe-trial-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder) / "dnsmasq.conf"
        if namespace:
            scratch.write_text("\n".join([*redirected, "user=root", "group=", ""]), encoding="utf-8")
            dnsmasq = [DNSMASQ, "--keep-in-foreground", f"--conf-file={scratch}"]
            argv = [*namespace, *dies_with_us(dnsmasq)]
            return _verdict(_run_until_read(argv), "in a namespace of its own")
        scratch.write_text("\n".join([*_on_loopback(redirected), ""]), encoding="utf-8")
        argv = child_argv(scratch, DHCP_CAPABILITIES, root=False)
        return _verdict(_run_until_read(argv), "on the loopback interface")


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


def _capable() -> bool:
    """Whether a child of ours may have what dnsmasq needs, as in our service (capabilities(7), ambient)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return False
    ambient = next((line.split()[1] for line in status.splitlines() if line.startswith("CapAmb:")), "0")
    return int(ambient, 16) & _NEEDED == _NEEDED


def _on_loopback(lines: list[str]) -> list[str]:
    kept = [line for line in lines if not line.startswith(("interface=", "except-interface="))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [*kept, "interface=lo", f"dhcp-alternate-port={port},{port}"]


def _redirected(configuration: str, hosts: Path) -> list[str]:
    """The same configuration with the staged hosts file, talking to standard error."""
    kept = [
        line
        for line in configuration.splitlines()
        if not line.startswith(("dhcp-hostsfile=", "log-facility=", "user=", "group="))
    ]
    return [*kept, f"dhcp-hostsfile={hosts}", "log-facility=-"]


def _run_until_read(argv: list[str]) -> list[str]:
    reader, writer = os.pipe()
    child = spawn(argv, stderr=writer)
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


def _verdict(lines: list[str], where: str) -> Trial:
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
    return Trial((), f"dnsmasq started on it {where} and rejected nothing")

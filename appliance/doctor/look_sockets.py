"""Looks at who listens: psutil for the processes, `ss` for the interface that a socket is bound to."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Mapping

import psutil

from appliance.doctor.ports import Listener
from appliance.doctor.reach import Reach

_DEVICE = re.compile(
    r"(?P<address>[\d.*\[\]:a-f]+)%(?P<device>[^\s:]+):(?P<port>\d+)\s.*?(?P<users>users:.*)?$"
)
_PID = re.compile(r"pid=(\d+)")
# systemd's own letters: anybody may make control groups below his session, and name them as he likes.
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.service")


def look_at_listeners(reach: Reach, ports: Collection[int]) -> list[Listener]:
    """Every socket that takes something on one of `ports`, with its process where that may be seen."""
    devices = _devices(reach)
    found = []
    for one in psutil.net_connections("inet"):
        if not one.laddr or one.laddr.port not in ports:
            continue
        if one.type == socket.SOCK_STREAM and one.status != psutil.CONN_LISTEN:
            continue
        pid = one.pid or 0
        name, parent = _process(pid)
        protocol = "tcp" if one.type == socket.SOCK_STREAM else "udp"
        unit = _unit(reach, pid) if pid else ""
        address = str(one.laddr.ip)
        device = devices.get((pid, one.laddr.port), "")
        found.append(Listener(protocol, address, one.laddr.port, pid, parent, name, unit, device))
    if not reach.root and any(not x.pid for x in found):
        reach.hidden("which process listens on which port")
    return found


def _process(pid: int) -> tuple[str, int]:
    if not pid:
        return "", 0
    try:
        process = psutil.Process(pid)
        return process.name(), process.ppid()
    except psutil.Error:
        return "a process that has ended", 0


def _unit(reach: Reach, pid: int) -> str:
    """The systemd unit that a process is in, by its control group."""
    groups = reach.text(reach.proc / str(pid) / "cgroup")
    if "/user.slice/" in groups:
        return ""
    return next((part for part in reversed(re.split(r"[/\n]", groups)) if _UNIT.fullmatch(part)), "")


def _devices(reach: Reach) -> Mapping[tuple[int, int], str]:
    """The interface of each socket that is bound to one (SO_BINDTODEVICE), by pid and port."""
    done = reach.run("ss", "-H", "-lnup")
    found = {}
    for line in done.stdout.splitlines() if done else ():
        bound = _DEVICE.search(line)
        for pid in _PID.findall(bound["users"] or "") if bound else ():
            assert bound is not None
            found[int(pid), int(bound["port"])] = bound["device"]
    return found

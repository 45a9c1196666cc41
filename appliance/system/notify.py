"""Words to systemd over its notification socket (sd_notify(3)). Without systemd they go nowhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*assignments: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send assignments such as `READY=1` or `STATUS=…`; False when nobody listens.

    A lost notification is never an error: serving matters more than reporting that we serve.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall("\n".join(assignments).encode())
    except OSError:
        return False
    return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often systemd wants a sign of life at the least, halved for safety; None when it does not ask."""
    raw = environ.get("WATCHDOG_USEC", "")
    if not raw.isdecimal() or int(raw) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(raw) / 2_000_000

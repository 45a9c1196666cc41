"""Packet sockets inside another network namespace."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path
from typing import Final

from appliance.errors import SurroundingsError

NAMESPACES: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_EVERYTHING: Final = 3  # ETH_P_ALL
_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP: Final = 1
_PROMISCUOUS: Final = 1


def packet_socket(namespace: str | None, interface: str) -> socket.socket:
    """A raw socket that sees and sends every frame on `interface`, promiscuously; the caller closes it.

    Args:
        namespace: name of a network namespace; None for our own.

    Raises:
        SurroundingsError: no such namespace or interface, or no permission.
    """
    opened: list[socket.socket] = []
    failed: list[OSError] = []

    def work() -> None:
        try:
            if namespace is not None:
                _enter(namespace)
            opened.append(_open(interface))
        except OSError as error:
            failed.append(error)

    # A namespace belongs to a thread, and a socket to the namespace it was opened in: a thread that ends
    # after opening it leaves the rest of the process where it was.
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        place = f" in namespace {namespace}" if namespace else ""
        raise SurroundingsError(f"cannot open a raw socket on {interface}{place}: {failed[0].strerror}")
    return opened[0]


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
    fd = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


def _open(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    try:
        raw.bind((interface, _EVERYTHING))
        index = socket.if_nametoindex(interface)
        membership = index.to_bytes(4, "little") + _PROMISCUOUS.to_bytes(2, "little") + bytes(10)
        raw.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
    except OSError:
        raw.close()
        raise
    return raw

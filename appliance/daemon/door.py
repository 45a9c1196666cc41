"""One listening socket and who accepts on it: it can be shut for a moment without turning anybody away."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

BACKLOG: Final = 512  # a rack that is switched on at once
_IP_FREEBIND: Final = 15  # linux/in.h; Python has no name for it


class Door:
    """Opens and pauses; while it is paused, the kernel lets clients connect and wait."""

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """`listener` is bound, and closed with this; `protocol` deals with one connection."""
        self._listener = listener
        self._protocol = protocol
        self._server: asyncio.Server | None = None

    @property
    def fd(self) -> int:
        """The listening socket's file descriptor."""
        return self._listener.fileno()

    async def open(self) -> None:
        """Accept from now on, or again.

        Raises:
            OSError: as from listen(2); the socket is closed then.
        """
        # The server closes its socket when it ends. Ours is another name of it, and keeps the queue.
        self._end()
        own = self._listener.dup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._protocol, sock=own, backlog=BACKLOG
            )
        except OSError:
            own.close()
            self._listener.close()
            raise

    def pause(self) -> None:
        """Accept nobody; who comes waits.

        A server that is closed drops those whom it has accepted and not handed on yet: it stays until `open`.
        """
        if self._server is not None:
            for own in self._server.sockets:
                asyncio.get_running_loop().remove_reader(own.fileno())

    def close(self) -> None:
        """Turn away whoever comes."""
        self._end()
        self._listener.close()

    def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def tcp_listener(address: str, port: int) -> socket.socket:
    """A socket that is bound there; the interface may come late, lose its address and get it back.

    Raises:
        OSError: as from bind(2).
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def unix_listener(path: Path) -> socket.socket:
    """A socket at `path`, where there is no file.

    Raises:
        OSError: as from bind(2).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(os.fspath(path))
    except OSError:
        listener.close()
        raise
    return listener


def listens(fd: int) -> bool:
    """Whether a file descriptor is a listening stream socket."""
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False

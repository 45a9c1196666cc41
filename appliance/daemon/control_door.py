"""The control socket in the run directory, and who is served on it."""

from __future__ import annotations

import socket
from pathlib import Path

from aiohttp import web

from appliance.daemon.door import Door, unix_listener
from appliance.daemon.premises import clear_socket, open_to_group
from appliance.matchbox.methods import Connection
from appliance.paths import Paths


class ControlDoor:
    """Closed until `open`. Its file is there only while it is open."""

    def __init__(self, paths: Paths, found: int | None = None) -> None:
        """`found`: the listening socket of the program before us, a file descriptor."""
        self._paths = paths
        self._found = socket.socket(fileno=found) if found is not None else None
        self._door: Door | None = None
        self._runner: web.AppRunner | None = None

    @property
    def fd(self) -> int | None:
        """The listening socket's file descriptor, while it is open."""
        return self._door.fd if self._door is not None else None

    @property
    def server(self) -> web.Server | None:
        """Who has the connections; None before `open`."""
        return self._runner.server if self._runner is not None else None

    async def open(self, app: web.Application) -> None:
        """Serve `app` from now on."""
        self._runner = runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        server = runner.server
        assert server is not None, "the runner is set up"
        self._door = Door(self._listener(), lambda: Connection(server))
        await self._door.open()
        open_to_group(self._paths)

    def pause(self) -> None:
        """Take no new connection; who comes waits."""
        if self._door is not None:
            self._door.pause()

    async def resume(self) -> None:
        """Take connections again."""
        if self._door is not None:
            await self._door.open()

    async def close(self) -> None:
        """Turn away whoever comes, and take the file away."""
        if self._door is not None:
            self._door.close()
        if self._runner is not None:
            await self._runner.cleanup()
        clear_socket(self._paths)

    def _listener(self) -> socket.socket:
        path, found = Path(self._paths.control), self._found
        if found is not None:
            if path.is_socket():
                return found
            found.close()  # nobody finds it any more; whoever waits in its queue is turned away
        clear_socket(self._paths)
        return unix_listener(path)

"""The real web application on loopback, with a state that a test plants: the daemon's, without dnsmasq."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from aiohttp import web

from appliance.daemon import signals as s
from appliance.daemon.children import Children
from appliance.daemon.desk import Desk
from appliance.daemon.history import History
from appliance.daemon.known import State
from appliance.daemon.recorder import Recorder
from appliance.paths import Paths

Change = Callable[[State], State]


@dataclass
class Site:
    """One run of the application at a time; a second `start` is a restart of the daemon."""

    root: Path
    state: State
    port: int = 0
    desk: Desk | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ui/"

    def start(self) -> None:
        """Serve until `stop`; the port stays the same over restarts."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(up)))
        self._thread.start()
        assert up.wait(20), "the application does not come up"

    def stop(self) -> None:
        """As the daemon stops: connections end."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            self._loop = None

    def change(self, change: Change) -> None:
        """Have something happen; it is so when this returns."""
        assert self._loop is not None
        done = threading.Event()

        def apply() -> None:
            self.state = change(self.state)
            done.set()

        self._loop.call_soon_threadsafe(apply)
        assert done.wait(10)

    @property
    def followers(self) -> int:
        assert self.desk is not None
        return self.desk.feed.followers

    async def _serve(self, up: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        paths = Paths(PurePosixPath(self.root))
        Path(paths.history).parent.mkdir(parents=True, exist_ok=True)
        history = History(Path(paths.history))
        queue: asyncio.Queue[s.Signal] = asyncio.Queue()
        desk = Desk(paths, lambda: self.state, queue, Recorder(history), Children(paths, queue.put_nowait))
        desk.web.refresh()
        self.desk = desk
        runner = web.AppRunner(desk.web.application(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        up.set()
        await self._stop.wait()
        await runner.cleanup()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        history.close()


@contextmanager
def running(root: Path, state: State) -> Iterator[Site]:
    """A site that runs for as long as the block."""
    site = Site(root, state)
    site.start()
    try:
        yield site
    finally:
        site.stop()


def with_ladder(name: str, ladder: object) -> Change:
    """A change: a machine's boot is there now."""
    return lambda state: replace(state, ladders=state.ladders.set(name, ladder))  # type: ignore[arg-type]

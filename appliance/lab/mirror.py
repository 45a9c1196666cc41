"""A mirror: `python -m appliance.lab.mirror FOLDER PORT` serves a folder over HTTP on the loopback address.

aiohttp's static files have what a download needs that goes on after a break: ranges and entity tags. It says
`ready` once it listens, and ends when it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

READY = "ready"


async def serve(folder: Path, port: int) -> None:
    """Serve `folder` for ever."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    folder, port = sys.argv[1:]
    asyncio.run(serve(Path(folder).resolve(), int(port)))


if __name__ == "__main__":
    main()

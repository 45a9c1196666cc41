"""Tasks that should live as long as the daemon does."""

from __future__ import annotations

import asyncio


async def first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until a task that should live for ever ends; raise what ended it."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()

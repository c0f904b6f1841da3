"""Periodic: work that is done again and again beside the calls, each kind in a task of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from tokenopen.ports.storage import StorageAway

RETRY_S: Final = 1.0

_log = structlog.get_logger()


class PeriodicJobs:
    """Runs functions at intervals. One that fails is logged and runs again at its next turn.

    Where the storage is away that turn comes soon, so that all is well a moment after it is back.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, name: str, function: Callable[[], Awaitable[object]], *, every_s: float) -> None:
        """Run ``function`` from now on, first after one interval."""
        self._tasks.append(asyncio.create_task(_repeat(name, function, every_s), name=name))

    async def close(self) -> None:
        """Stop all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _repeat(name: str, function: Callable[[], Awaitable[object]], every_s: float) -> None:
    pause_s = every_s
    while True:
        await asyncio.sleep(pause_s)
        pause_s = every_s
        try:
            await function()
        except StorageAway as error:
            pause_s = min(every_s, RETRY_S)
            _log.warning("job_postponed", job=name, error=str(error))
        except Exception:
            _log.exception("job_failed", job=name)

"""Patience: what to do about answers that do not come in time, by one timer for all that are waited for.

A timer for each would cost each call more than the wait itself, and nearly all of them come to nothing.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any


class Patience:
    """Waits for answers that all have the same time, so that the first to be asked for is the first due."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, asyncio.Future[Any], Callable[[], object]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = math.inf

    def end_after(self, time_s: float, answered: asyncio.Future[Any], act: Callable[[], object]) -> None:
        """Call ``act`` where the answer has not come after so long."""
        waiting, loop = self._waiting, answered.get_loop()
        while waiting and waiting[0][1].done():
            waiting.popleft()
        due_s = loop.time() + time_s
        waiting.append((due_s, answered, act))
        if due_s < self._timer_at_s:
            self._look_at(due_s, loop)

    def _look_at(self, due_s: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = due_s
        self._timer = loop.call_at(due_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._timer_at_s = None, math.inf
        while self._waiting:
            due_s, answered, act = self._waiting[0]
            if not answered.done():
                if due_s > loop.time():
                    self._look_at(due_s, loop)
                    return
                act()
            self._waiting.popleft()


def wake(waiter: asyncio.Future[None], *_: object) -> None:
    """Let go on whoever waits, unless that has happened already."""
    if not waiter.done():
        waiter.set_result(None)

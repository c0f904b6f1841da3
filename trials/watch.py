"""Watch: looks into the database while the trial runs, past every fault, as nobody else does.

Each look is one snapshot, so what must always hold has to hold in it: available never below zero, what is
held equal to the open holds. How long the holds of a killed worker stay is measured by the way.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

_EVERY_S: Final = 0.5
_AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
_ACCOUNTS: Final = """
    SELECT a.id, a.balance, a.held, coalesce(h.held, 0)::bigint AS open_holds
    FROM accounts a LEFT JOIN (
      SELECT account_id, sum(hold) AS held FROM calls WHERE state = 'held' GROUP BY account_id
    ) h ON h.account_id = a.id WHERE a.balance - a.held < 0 OR a.held <> coalesce(h.held, 0)"""
_HOLDERS: Final = "SELECT worker_id, count(*) AS holds FROM calls WHERE state = 'held' GROUP BY worker_id"
_WORKERS: Final = "SELECT id FROM workers WHERE process_id = ANY($1::int[])"


class Watch:
    """``looks`` counts the snapshots, ``violations`` says what was wrong in one."""

    def __init__(self, url: str) -> None:
        self.looks = 0
        self.violations: list[str] = []
        self.holds_max = 0
        # How long the holds of killed workers stayed, in seconds; only those that had any.
        self.freed_after_s: list[float] = []
        self.database_restarts = 0
        self._url = url
        self._killed: dict[str, float] = {}
        self._had_holds: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look again and again."""
        self._task = asyncio.create_task(self._go_on_looking())

    async def end(self) -> None:
        """Stop looking."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _go_on_looking(self) -> None:
        connection: Any = None
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(self._url, timeout=5)
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    wrong = await connection.fetch(_ACCOUNTS, timeout=5)
                    holders = await connection.fetch(_HOLDERS, timeout=5)
            except _AWAY:
                continue
            self.looks += 1
            self.violations += [f"look {self.looks}: {dict(row)}" for row in wrong]
            self._note_holders({row["worker_id"]: row["holds"] for row in holders})

    def _note_holders(self, holders: dict[str, int]) -> None:
        self.holds_max = max(self.holds_max, sum(holders.values()))
        self._had_holds |= holders.keys() & self._killed.keys()
        for worker_id in self._killed.keys() - holders.keys():
            killed_s = self._killed.pop(worker_id)
            if worker_id in self._had_holds:
                self.freed_after_s.append(time.monotonic() - killed_s)

    async def expect_freed(self, pids: Sequence[int]) -> None:
        """Measure from now on how long the holds of these processes stay."""
        for worker_id in await self.workers_of(pids):
            self._killed[worker_id] = time.monotonic()

    async def workers_of(self, pids: Sequence[int]) -> list[str]:
        """Return the ids that these processes admit under; none where the database is away."""
        return [row["id"] for row in await self._fetch(_WORKERS, list(pids))]

    async def count_held(self, workers: Sequence[str]) -> int:
        """Return how many holds these workers have; 0 where the database is away."""
        return sum(row["holds"] for row in await self._fetch(_HOLDERS) if row["worker_id"] in workers)

    async def count_all_held(self) -> int:
        """Return how many holds there are. Raises where the database is away."""
        connection = await asyncpg.connect(self._url, timeout=5)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM calls WHERE state = 'held'"))
        finally:
            await connection.close()

    async def _fetch(self, statement: str, *values: object) -> Sequence[Any]:
        try:
            connection = await asyncpg.connect(self._url, timeout=5)
            try:
                return list(await connection.fetch(statement, *values, timeout=5))
            finally:
                await connection.close(timeout=5)
        except _AWAY:
            return []

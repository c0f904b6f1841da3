"""Two workers on one PostgreSQL database: a storage and a till each, as two processes have them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import asyncpg
import pytest

from tests.conftest import make_user
from tests.engines import opened_postgresql
from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, make_key, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.audit import audit
from tokenopen.control.group import create_group
from tokenopen.control.ledger import top_up
from tokenopen.control.seed_groups import SEED_GROUPS, SeedGroup
from tokenopen.control.setup import set_up
from tokenopen.core.group import GroupPolicy, Limits
from tokenopen.core.money import parse_amount
from tokenopen.gateway.till import Till
from tokenopen.ports.clock import SystemClock
from tokenopen.storage.postgresql import PostgresqlStorage

# What machines' clocks may differ by. The server's alone decides, so nothing depends on it.
CLOCK_AHEAD_MS = 60_000
# Without limits, and with 60 requests per minute.
GROUP = "free"
LIMITED_GROUP = "limited"


@dataclass(kw_only=True)
class Workers:
    """``calls`` makes items for either worker; ``calls.storage`` is the first one's."""

    url: str
    storages: tuple[PostgresqlStorage, PostgresqlStorage]
    tills: tuple[Till, Till]
    administrator: Actor
    calls: TillCalls

    async def add_caller(self, email: str, *, credit: str) -> TillCalls:
        """Return the calls of another user, with credit and a key of the default group."""
        storage = self.storages[0]
        user = await make_user(storage, self.administrator, email)
        async with storage.write() as tx:
            await top_up(
                tx, self.administrator, user_id=user.user_id, amount=parse_amount(credit), reason="Test"
            )
        caller = replace(self.calls, user=user)
        return replace(caller, key=await make_key(caller, group=GROUP, credit_limit=None))

    async def ask_server(self, statement: str, *arguments: object) -> object:
        """Return one value that the server gives, on a connection of its own."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    async def until_waiting(self) -> None:
        """Wait until some session waits for a lock."""
        statement = """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        async with asyncio.timeout(10):
            while not await self.ask_server(statement):  # noqa: ASYNC110 the server tells nobody
                await asyncio.sleep(0.01)

    async def assert_sound(self) -> None:
        """Audit the database, and see that the server never had to end a circle of waits."""
        async with self.storages[0].read() as tx:
            report = await audit(tx)
        assert report.drift == []
        statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await self.ask_server(statement) == 0

    async def held(self, callers: Iterable[TillCalls]) -> int:
        """Return what is held of the callers' accounts."""
        ids = [caller.user.account_id for caller in callers]
        held = await self.ask_server("SELECT sum(held)::bigint FROM accounts WHERE id = ANY($1)", ids)
        assert isinstance(held, int)
        return held


def _group(slug: str, requests_per_minute: int | None) -> SeedGroup:
    return SeedGroup(
        slug=slug,
        name=slug.title(),
        suitable_for="",
        visibility="public",
        custom_terms=False,
        policy=GroupPolicy(
            allowed_models=("*",),
            multiplier_ppm=1_000_000,
            model_multipliers={},
            limits=Limits(requests_per_minute=requests_per_minute, requests_per_day=None),
        ),
    )


@pytest.fixture
async def workers(postgresql_url: str) -> AsyncIterator[Workers]:
    """Two workers on a database that has been set up, with one user who has 10 credits and a key."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(opened_postgresql(postgresql_url))
        second = await stack.enter_async_context(opened_postgresql(postgresql_url))
        async with first.write() as tx:
            administrator = (await set_up(tx, seed_groups=SEED_GROUPS, default_group="default")).administrator
            for slug, requests_per_minute in ((GROUP, None), (LIMITED_GROUP, 60)):
                await create_group(tx, administrator, _group(slug, requests_per_minute))
        user = await make_user(first, administrator, "ada@example.com")
        clock = MovableClock(SystemClock().now_ms() + CLOCK_AHEAD_MS)
        tills = (Till(first), Till(second))
        for till in tills:
            till.start()
            stack.push_async_callback(till.close)
        calls = await start_calls(first, clock, administrator, user)
        yield Workers(
            url=postgresql_url,
            storages=(first, second),
            tills=tills,
            administrator=administrator,
            calls=await calls.with_key(group=GROUP),
        )

"""The bench of lists and charts, made small: every answer is what the rows themselves say."""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import select
from trials.bench_logs import Loaded, control_client, load
from trials.call_log_load import Loader, PostgresqlLoader, SqliteLoader
from trials.call_log_queries import questions

from tests.engines import PostgresqlServer, opened_postgresql
from tokenopen.api.json_types import format_instant
from tokenopen.ports.clock import SystemClock
from tokenopen.storage import schema
from tokenopen.storage.migrate import upgrade_sqlite
from tokenopen.storage.sqlite import SqliteStorage

CALLS, ACCOUNTS, DAYS = 2_000, 10, 6
HOUR_MS = 3_600_000

Row = Mapping[str, Any]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> PostgresqlServer | None:
    """Each engine in turn; None is SQLite."""
    if request.param == "sqlite":
        return None
    found: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return found


@pytest.fixture
async def loaded(server: PostgresqlServer | None, tmp_path: Path) -> AsyncIterator[Loaded]:
    """A small log in a database of its own."""
    if server is None:
        path = tmp_path / "tokenopen.sqlite3"
        upgrade_sqlite(path)
        storage = SqliteStorage(path, SystemClock())

        async def into_file() -> Loader:
            return SqliteLoader(path)

        yield await load(storage, into_file, calls=CALLS, accounts=ACCOUNTS, days=DAYS)
        await storage.close()
        return
    async with server.database() as url, opened_postgresql(url) as postgresql:

        async def into_server() -> Loader:
            return PostgresqlLoader(await asyncpg.connect(url))

        yield await load(postgresql, into_server, calls=CALLS, accounts=ACCOUNTS, days=DAYS)


# Enough to be gathered from two pages or more, where there are so many.
GATHERED, A_PAGE = 100, "60"


async def gather(client: httpx.AsyncClient, path: str, query: Mapping[str, str]) -> tuple[list[Any], bool]:
    """Follow a list over some pages; return the ids in order, and whether it was at its end."""
    ids: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(path, params={**query, "limit": A_PAGE, **cursor})
        assert answer.status_code == 200, answer.text
        ids += [row["id"] for row in answer.json()["data"]]
        ended = answer.json()["next_cursor"] is None
        if ended or len(ids) >= GATHERED:
            return ids, ended
        cursor = {"cursor": answer.json()["next_cursor"]}


def passes(call: Row, query: Mapping[str, str], groups: Mapping[str, str]) -> bool:
    """Tell by its row whether a call is what is asked for."""
    admitted = format_instant(call["admitted_at_ms"])
    tests: dict[str, Callable[[str], bool]] = {
        "key": lambda wanted: call["key_id"] == wanted,
        "group": lambda wanted: call["group_id"] == groups[wanted],
        "user": lambda wanted: call["user_id"] == wanted,
        "absorbed": lambda wanted: (call["absorbed"] > 0) == (wanted == "true"),
        "flagged": lambda wanted: (call["flag"] is not None) == (wanted == "true"),
        "from": lambda wanted: admitted >= wanted,
        "to": lambda wanted: admitted < wanted,
        **{
            name: lambda wanted, name=name: call[name] == wanted  # type: ignore[misc]
            for name in ("model", "surface", "state", "end_reason")
        },
    }
    return all(tests[name](wanted) for name, wanted in query.items() if name != "limit")


async def test_every_list_and_chart_says_what_the_rows_say(loaded: Loaded) -> None:
    async with loaded.storage.read() as tx:
        calls = await tx.fetch_all(select(schema.calls).order_by(schema.calls.c.id.desc()))
        hours = await tx.fetch_all(select(schema.usage_hours))
        groups = {row["slug"]: row["id"] for row in await tx.fetch_all(select(schema.groups))}
        entries = await tx.fetch_all(select(schema.ledger_entries))
    assert len(calls) == CALLS
    mine = loaded.world.accounts[0].id
    seen = {"calls": 0, "usage": 0}
    async with control_client(loaded, "administrator") as admin, control_client(loaded, "user") as user:
        clients = {"administrator": admin, "user": user}
        for question in questions(loaded.world):
            client = clients[question.who]
            query = question.make(random.Random(question.name))
            own = question.who == "user"
            if question.name.startswith("calls"):
                expected = [
                    call["id"]
                    for call in calls
                    if passes(call, query, groups) and (not own or call["account_id"] == mine)
                ]
                found, ended = await gather(client, question.path, query)
                assert found == (expected if ended else expected[: len(found)]), question.name
                seen["calls"] += len(expected)
            elif question.name.startswith("usage"):
                of_mine = own or "user" in query
                answer = (await client.get(question.path, params=query)).json()
                assert _total(answer["data"]) == _due(hours, query, mine if of_mine else None), question.name
                seen["usage"] += len(answer["data"])
            elif question.name.startswith("ledger"):
                found, ended = await gather(client, question.path, query)
                owner = next(
                    (each.id for each in loaded.world.accounts if each.user_id == query.get("user")), None
                )
                kinds = [
                    entry["id"]
                    for entry in entries
                    if query.get("kind", entry["kind"]) == entry["kind"]
                    and owner in (None, entry["account_id"])
                    and query.get("call", entry["call_id"]) == entry["call_id"]
                ]
                assert set(found) <= set(kinds), question.name
                assert len(found) == len(set(found)), question.name
                assert not ended or len(found) == len(kinds), question.name
            else:
                answer = await client.get(question.path, params=query)
                assert answer.status_code == 200, (question.name, answer.text)
    assert min(seen.values()) > CALLS


def _total(rows: Sequence[Row]) -> tuple[int, int]:
    return sum(row["calls"] for row in rows), sum(row["input_units"] for row in rows)


def _due(hours: Sequence[Row], query: Mapping[str, str], account_id: str | None) -> tuple[int, int]:
    """Add up the hours that a chart covers; everybody's by key or user is of whole days UTC."""
    whole_days = account_id is None and query["group_by"] in ("key", "user")
    within = [
        row
        for row in hours
        if account_id in (None, row["account_id"])
        and (whole_days or query["from"][:13] <= format_instant(row["hour"] * HOUR_MS)[:13])
        and (not whole_days or query["from"][:10] <= format_instant(row["hour"] * HOUR_MS)[:10])
    ]
    return _total(within)

"""The bench of lists and charts, made small: every answer is what the rows themselves say."""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import add
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest
from sqlalchemy import select
from trials.bench_logs import Loaded, control_client, load
from trials.call_log_load import Loader, PostgresqlLoader, SqliteLoader
from trials.call_log_queries import questions

from tests.engines import PostgresqlServer, opened_postgresql
from tokenopen.api.json_types import format_instant
from tokenopen.core.money import parse_amount
from tokenopen.jobs.usage_fold import fold_usage
from tokenopen.ports.clock import SystemClock
from tokenopen.storage import schema
from tokenopen.storage.migrate import upgrade_sqlite
from tokenopen.storage.sqlite import SqliteStorage

CALLS, ACCOUNTS, DAYS = 2_000, 10, 12
HOUR_MS = 3_600_000
ZONE = ZoneInfo("Asia/Kolkata")

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

        yield await _in_zone(await load(storage, into_file, calls=CALLS, accounts=ACCOUNTS, days=DAYS))
        await storage.close()
        return
    async with server.database() as url, opened_postgresql(url) as postgresql:

        async def into_server() -> Loader:
            return PostgresqlLoader(await asyncpg.connect(url))

        yield await _in_zone(await load(postgresql, into_server, calls=CALLS, accounts=ACCOUNTS, days=DAYS))


async def _in_zone(loaded: Loaded) -> Loaded:
    """Fold what is over, and put the platform into a zone whose days begin at half past an hour of UTC."""
    await fold_usage(loaded.storage)
    async with control_client(loaded, "administrator") as client:
        answer = await client.patch("/api/admin/settings", json={"time_zone": ZONE.key})
        assert answer.status_code == 200, answer.text
    return loaded


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
    names = {group_id: slug for slug, group_id in groups.items()}
    names |= {account.id: account.user_id for account in loaded.world.accounts}
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
                shown = {(row["at"], row["label"]): _sums(row) for row in answer["data"]}
                assert len(shown) == len(answer["data"]), question.name
                assert shown == _due(hours, query, mine if of_mine else None, names), question.name
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


def _sums(row: Row) -> tuple[int, ...]:
    charge = row["charge"] if isinstance(row["charge"], int) else parse_amount(row["charge"])
    return row["calls"], row["input_units"], row["output_units"], charge


def _due(
    hours: Sequence[Row], query: Mapping[str, str], account_id: str | None, names: Mapping[str, str]
) -> Mapping[tuple[str | None, str | None], tuple[int, ...]]:
    """Add a chart's points up from the rollups' rows; everybody's by key or user are of whole days UTC."""
    by, step = query["group_by"], query.get("interval")
    column = {"model": "model", "key": "key_id", "group": "group_id", "user": "account_id"}.get(by)
    cut = 10 if account_id is None and by in ("key", "user") else 13
    points: list[tuple[str | None, str | None, Row]] = []
    for row in hours:
        begins = format_instant(row["hour"] * HOUR_MS)
        if account_id not in (None, row["account_id"]) or query["from"][:cut] > begins[:cut]:
            continue
        local = datetime.fromtimestamp(row["hour"] * 3600, UTC).astimezone(ZONE)
        at = {"hour": begins, "day": local.date().isoformat(), None: None}[
            step or (by if not column else None)
        ]
        points.append((at, at if column is None else names.get(row[column], row[column]), row))
    totals: dict[str | None, tuple[int, int]] = {}
    for _, label, row in points:
        charge, calls = totals.get(label, (0, 0))
        totals[label] = charge + row["charge"], calls + row["calls"]
    lines = int(query.get("lines", 10)) if step else 1_000
    named = sorted(totals, key=lambda label: totals[label], reverse=True)[: lines if column else None]
    due: dict[tuple[str | None, str | None], tuple[int, ...]] = {}
    for at, label, row in points:
        key = at, label if label in named else None
        due[key] = tuple(map(add, due.get(key, (0, 0, 0, 0)), _sums(row)))
    return due

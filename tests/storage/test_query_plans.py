"""Lists at size: rare rows are read along the partial indexes that are kept of them, on SQLite."""

import pytest
from sqlalchemy import ClauseElement, select, text

from tests.engines import OpenStorage
from tests.fakes.clock import MovableClock
from tokenopen.storage import ledger
from tokenopen.storage.call_search import CallFilter, plan_search
from tokenopen.storage.schema import ledger_entries
from tokenopen.storage.sqlite import SqliteStorage


async def _plan(open_storage: OpenStorage, clock: MovableClock, statement: ClauseElement) -> str:
    sql = str(statement.compile(compile_kwargs={"literal_binds": True}))
    async with open_storage(clock) as storage, storage.read() as tx:
        assert isinstance(storage, SqliteStorage)
        rows = await tx.fetch_all(text(f"EXPLAIN QUERY PLAN {sql.replace(':', chr(92) + ':')}"))
    return " / ".join(row["detail"] for row in rows)


@pytest.fixture
def engine() -> str:
    """Plans are SQLite's here, whichever engine other tests run on."""
    return "sqlite"


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (CallFilter(account_id="acc_a", absorbed=True), "ix_calls_absorbed"),
        (CallFilter(flagged=True), "ix_calls_flagged"),
        (CallFilter(account_id="acc_a", state="held"), "ix_calls_held_in_group"),
        (CallFilter(account_id="acc_a", state="voided"), "state_id"),
        (CallFilter(account_id="acc_a", key_id="key_a"), "ix_calls_key_id_id"),
    ],
)
async def test_rare_calls_are_read_along_their_own_index(
    open_storage: OpenStorage, clock: MovableClock, wanted: CallFilter, index: str
) -> None:
    plan = await _plan(open_storage, clock, plan_search(wanted, None).scan(1_000).element)
    assert index in plan, plan


@pytest.mark.parametrize(
    ("account_id", "kind", "index"),
    [
        ("acc_a", "refund", "ix_ledger_entries_account_id_kind_number"),
        (None, "top_up", "ix_ledger_entries_kind_id"),
        ("acc_a", None, "PRIMARY KEY"),
        ("acc_a", "charge", "PRIMARY KEY"),
    ],
)
async def test_rare_entries_are_read_along_their_own_index(
    open_storage: OpenStorage, clock: MovableClock, account_id: str | None, kind: str | None, index: str
) -> None:
    stretch = ledger._stretch(account_id, kind, None)
    statement = select(ledger_entries).where(stretch.where()).order_by(*stretch.order()).limit(51)
    plan = await _plan(open_storage, clock, statement)
    assert index in plan, plan
    assert "TEMP B-TREE" not in plan

"""Lists at size: rare rows are read along the partial indexes that are kept of them, on SQLite."""

import pytest
from sqlalchemy import ClauseElement, select, text

from tests.engines import OpenStorage
from tests.fakes.clock import MovableClock
from tokenopen.storage import ledger
from tokenopen.storage.call_search import CallFilter, plan_search
from tokenopen.storage.schema import ledger_entries
from tokenopen.storage.sqlite import DIALECT, SqliteStorage


async def _plan(open_storage: OpenStorage, clock: MovableClock, statement: ClauseElement) -> str:
    sql = str(statement.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
    async with open_storage(clock) as storage, storage.read() as tx:
        assert isinstance(storage, SqliteStorage)
        rows = await tx.fetch_all(text(f"EXPLAIN QUERY PLAN {sql.replace(':', chr(92) + ':')}"))
    return " / ".join(row["detail"] for row in rows)


@pytest.fixture
def engine() -> str:
    """Plans are SQLite's here, whichever engine other tests run on."""
    return "sqlite"


@pytest.mark.parametrize(
    ("wanted", "read"),
    [
        (CallFilter(), "ix_calls_id (id>? AND id<?)"),
        (CallFilter(account_id="acc_a"), "PRIMARY KEY ((account_id,id)>(?,?) AND (account_id,id)<(?,?))"),
        (
            CallFilter(account_id="acc_a", model="m"),
            "PRIMARY KEY ((account_id,id)>(?,?) AND (account_id,id)<",
        ),
        (CallFilter(model="m"), "ix_calls_model_id ((model,id)>(?,?) AND (model,id)<(?,?))"),
        (CallFilter(account_id="acc_a", absorbed=True), "ix_calls_absorbed (id>? AND id<?)"),
        (CallFilter(flagged=True), "ix_calls_flagged (id>? AND id<?)"),
        (CallFilter(account_id="acc_a", state="held"), "ix_calls_held_in_group"),
        # Not from what was voided to what expired, and not from the newest to where a page begins.
        (CallFilter(state="expired"), "ix_calls_state_id (state=? AND id>? AND id<?)"),
        (
            CallFilter(account_id="acc_a", state="voided", model="m"),
            "ix_calls_account_id_state_id ((account_id,state,id)>(?,?,?) AND (account_id,state,id)<(?,?,?))",
        ),
        (CallFilter(account_id="acc_a", key_id="key_a"), "ix_calls_key_id_id ((key_id,id)>(?,?) AND"),
    ],
)
async def test_calls_are_read_along_the_index_that_suits_the_filter(
    open_storage: OpenStorage, clock: MovableClock, wanted: CallFilter, read: str
) -> None:
    search = plan_search(wanted, None)
    for scan in (search.scan(1_000), search.ids(1_000)):
        plan = await _plan(open_storage, clock, scan.element)
        assert read in plan, plan
        assert "TEMP B-TREE" not in plan or wanted.state == "held", plan


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

"""Call search: lists of calls, newest first, read along the index that suits what is asked for.

A filter that no index carries is tried on each row of that index's stretch, and only so many rows are read
for one page: a page may be short, or empty, and yet say where the search goes on. So the time that a page
takes does not depend on how many calls there are, nor on whether any of them is wanted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Subquery, and_, func, select, true

from tokenopen.core.identifier import first_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage.call import select_with_names
from tokenopen.storage.keyset import Stretch, as_indexed, told_sqlite
from tokenopen.storage.schema import calls
from tokenopen.storage.schema_base import FLAGGED, HELD, NOT_CHARGED, NOT_COVERED

Row = Mapping[str, Any]

# A call's id tells when it arrived, and the list is read by id; it is admitted a little later, at worst
# after the till's retries. Clocks of several machines may differ by some of this too.
_ADMISSION_LAG_MS: Final = 5 * 60 * 1000
# How many rows are read for a page whose filter no index carries: few first, since most filters suit many.
_SCANS: Final = (1_000, 4_000, 10_000)
# Sorts before and after every id of a call.
_FIRST: Final = ""
_LAST: Final = "call_~"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are listed; None leaves a column open. Instants are of admission, ``until_ms`` excluded.

    ``flagged`` and ``absorbed`` ask for calls that an administrator should look at, and for those that
    credit did not cover, ``reviewed`` for those that one has looked at; False asks for all others.
    """

    account_id: str | None = None
    key_id: str | None = None
    group_id: str | None = None
    model: str | None = None
    surface: str | None = None
    state: str | None = None
    end_reason: str | None = None
    flagged: bool | None = None
    absorbed: bool | None = None
    reviewed: bool | None = None
    from_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCalls:
    """Calls, newest first. ``next_before`` is the id that the search goes on before; None at its end."""

    rows: Sequence[Row]
    next_before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which rows are read, in which order, and what each of them is then tried for.

    ``index`` is named to SQLite, which knows nothing of how many rows there are; None is the table's own key.
    """

    where: ColumnElement[bool]
    order: Sequence[ColumnElement[Any]]
    tried: Sequence[ColumnElement[bool]]
    index: str | None

    def scan(self, limit: int) -> Subquery:
        """Return the next so many rows: the id of each, and whether it passes."""
        return self._rows(limit, calls.c.id, and_(true(), *self.tried).label("passes"))

    def ids(self, limit: int) -> Subquery:
        """Return the ids of the next so many rows."""
        return self._rows(limit, calls.c.id)

    def _rows(self, limit: int, *columns: ColumnElement[Any]) -> Subquery:
        scanned = select(*columns).where(self.where).order_by(*self.order).limit(limit)
        if self.index is not None:
            scanned = scanned.with_hint(calls, f"INDEXED BY {self.index}", "sqlite")
        return scanned.subquery("scanned")


def _bounds(wanted: CallFilter, before_id: str | None) -> tuple[str, str]:
    first = before = None
    if wanted.from_ms is not None:
        first = first_id("call", max(0, wanted.from_ms - _ADMISSION_LAG_MS))
    if wanted.until_ms is not None:
        before = first_id("call", wanted.until_ms + _ADMISSION_LAG_MS)
    return first or _FIRST, min(before or _LAST, before_id or _LAST)


def _tests(wanted: CallFilter) -> dict[str, ColumnElement[bool]]:
    """Return what a call has to pass, by the filter's field."""
    tests: dict[str, ColumnElement[bool]] = {
        name: calls.c[name] == value
        for name in ("account_id", "key_id", "group_id", "model", "surface", "state", "end_reason")
        if (value := getattr(wanted, name)) is not None
    }
    if wanted.flagged is not None:
        tests["flagged"] = calls.c.flag.is_not(None) if wanted.flagged else calls.c.flag.is_(None)
    if wanted.absorbed is not None:
        tests["absorbed"] = calls.c.absorbed > 0 if wanted.absorbed else calls.c.absorbed == 0
    if wanted.reviewed is not None:
        seen = calls.c.reviewed_at_ms
        tests["reviewed"] = seen.is_not(None) if wanted.reviewed else seen.is_(None)
    if wanted.from_ms is not None:
        tests["from_ms"] = calls.c.admitted_at_ms >= wanted.from_ms
    if wanted.until_ms is not None:
        tests["until_ms"] = calls.c.admitted_at_ms < wanted.until_ms
    return tests


def plan_search(wanted: CallFilter, before_id: str | None) -> Plan:
    """Choose the index: of what is rare first, then of what bounds the rows best."""
    if wanted.state == "held":
        return _plan_held(wanted, before_id)
    first, before = _bounds(wanted, before_id)
    account: list[tuple[Any, Any]] = []
    if wanted.account_id is not None:
        account = [(calls.c.account_id, wanted.account_id)]
    carried: set[str] = {"account_id"} if account else set()
    prefix: list[tuple[Any, Any]] = account
    always: list[ColumnElement[bool]] = []
    index = None if account else "ix_calls_id"
    if wanted.state in ("voided", "expired"):
        prefix, always = [*account, (calls.c.state, wanted.state)], [as_indexed(NOT_CHARGED)]
        index = "ix_calls_account_id_state_id" if account else "ix_calls_state_id"
        if not account:
            bounds = (calls.c.id >= first) & (calls.c.id < before)
            always.append(told_sqlite((calls.c.state == wanted.state) & bounds))
        carried.add("state")
    elif wanted.flagged:
        prefix, always, carried = [], [as_indexed(FLAGGED)], {"flagged"}
        index = "ix_calls_flagged"
    elif wanted.absorbed:
        prefix, always, carried = [], [as_indexed(NOT_COVERED)], {"absorbed"}
        index = "ix_calls_absorbed"
    elif wanted.key_id is not None:
        prefix, carried = [(calls.c.key_id, wanted.key_id)], {"key_id"}
        index = "ix_calls_key_id_id"
    elif not account and wanted.model is not None:
        prefix, carried = [(calls.c.model, wanted.model)], {"model"}
        index = "ix_calls_model_id"
    stretch = Stretch(by=calls.c.id, prefix=prefix, always=always, first=first, before=before)
    return Plan(
        where=stretch.where(),
        order=stretch.order(),
        tried=[test for name, test in _tests(wanted).items() if name not in carried],
        index=index,
    )


def _plan_held(wanted: CallFilter, before_id: str | None) -> Plan:
    """Calls under way: few, in an index of their own that has no order, so none may be taken from another."""
    call_id = func.coalesce(calls.c.id, "")
    first, before = _bounds(wanted, before_id)
    tests = _tests(wanted)
    del tests["state"]
    return Plan(
        where=and_(as_indexed(HELD), call_id >= first, call_id < before),
        order=[call_id.desc()],
        tried=list(tests.values()),
        index="ix_calls_held_in_group",
    )


async def search_calls(
    tx: Transaction, *, wanted: CallFilter, before_id: str | None, limit: int
) -> FoundCalls:
    """Return at most so many calls before an id, each with the names its ids stand for."""
    found: list[str] = []
    next_before = before_id
    scans = _SCANS if plan_search(wanted, before_id).tried else (limit + 1,)
    for scan in scans:
        plan = plan_search(wanted, next_before)
        found += await _try_rows(tx, plan, scan, limit + 1 - len(found))
        if len(found) > limit:
            next_before = found[limit - 1]
            break
        next_before = await _end_of_scan(tx, plan, scan)
        if next_before is None:
            break
    rows = await _fetch(tx, wanted.account_id, found[:limit])
    return FoundCalls(rows=rows, next_before=next_before)


async def _try_rows(tx: Transaction, plan: Plan, scan: int, limit: int) -> list[str]:
    """Return the ids of the first calls that pass, among the next so many rows."""
    scanned = plan.scan(scan)
    rows = await tx.fetch_all(
        select(scanned.c.id).where(scanned.c.passes).order_by(scanned.c.id.desc()).limit(limit)
    )
    return [row["id"] for row in rows]


async def _end_of_scan(tx: Transaction, plan: Plan, scan: int) -> str | None:
    """Return the id of the last of the next so many rows, or None where there are fewer."""
    scanned = plan.ids(scan)
    row = await tx.fetch_one(select(func.min(scanned.c.id).label("last"), func.count().label("scanned")))
    assert row is not None
    return str(row["last"]) if row["scanned"] == scan else None


async def _fetch(tx: Transaction, account_id: str | None, ids: Sequence[str]) -> Sequence[Row]:
    if not ids:
        return []
    statement = select_with_names().where(calls.c.id.in_(ids)).order_by(calls.c.id.desc())
    if account_id is not None:
        statement = statement.where(calls.c.account_id == account_id)
    return await tx.fetch_all(statement)

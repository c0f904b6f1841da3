"""Model import: the makers' models and list prices into the catalog, without undoing what people decided.

A price that an administrator has set stays until an administrator sets another. Where the last price came
from an import, the maker's new one follows it as a new revision. Nothing is ever deleted, an archived
model stays archived, and numbers that a model already has are not written over.
"""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal

import msgspec

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.imported_model import ImportedModel, ImportedPrices
from tokenopen.control.price import IMPORT_REASON, PriceList, make_revision, name_prices
from tokenopen.core.errors import InvalidRequest
from tokenopen.ports.storage import Transaction
from tokenopen.storage import model as statements
from tokenopen.storage.directory import model_from_row
from tokenopen.storage.version import bump_catalog_version, lock_catalog

Row = Mapping[str, Any]

Change = Literal["created", "changed", "unchanged", "own_price"]
_LIMITS: Final = ("context_window", "max_output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedChange:
    """What the import did with one model. ``own_price`` says that an administrator's price was kept.

    ``missing`` is what still has to be filled in before it can be offered; ``notes`` are the import's own.
    """

    name: str
    maker: str
    change: Change
    missing: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or would do."""

    changes: Sequence[ImportedChange]

    def count(self, change: Change) -> int:
        """Return how many models came out so."""
        return sum(found.change == change for found in self.changes)

    @property
    def incomplete(self) -> int:
        """How many of the models cannot be offered yet."""
        return sum(bool(found.missing) for found in self.changes)


async def list_importable_models(today: date) -> Sequence[ImportedModel]:
    """Return every model of the makers with its prices from ``today`` (a UTC day) on, by maker and name.

    A process of its own reads them: here what reads the data would keep 8 MB, and calls would wait for it.
    """
    reading = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tokenopen.control.price_import",
        today.isoformat(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    listed, _ = await reading.communicate()
    if reading.returncode:
        raise RuntimeError("the makers' prices cannot be read; what reads them has said why on stderr")
    return msgspec.msgpack.decode(listed, type=list[ImportedModel])


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What is to be written for one model."""

    row: dict[str, Any]
    is_new: bool
    limits: Mapping[str, int]
    revisions: Sequence[Row]
    new_revisions: Sequence[Row]
    kept_own_price: bool

    @property
    def change(self) -> Change:
        if self.is_new:
            return "created"
        if self.new_revisions or self.limits:
            return "changed"
        return "own_price" if self.kept_own_price else "unchanged"


async def import_models(
    tx: Transaction,
    actor: Actor,
    imported: Sequence[ImportedModel],
    *,
    makers: Sequence[str] | None = None,
    dry_run: bool = False,
) -> ImportReport:
    """Write the makers' models and prices, those of ``makers`` alone where given; report what was done.

    A dry run only reports. Refuses InvalidRequest for a maker that has no models here.
    """
    actor.require_administrator()
    wanted = _wanted(imported, makers)
    if not dry_run:
        await lock_catalog(tx)
    rows = await statements.list_all_models(tx)
    revisions = await statements.list_price_revisions(tx)
    plans = [
        _plan(model, rows.get(model.name), revisions.get(model.name, ()), actor, tx.now_ms)
        for model in wanted
    ]
    report = ImportReport(
        changes=[
            ImportedChange(
                name=model.name,
                maker=model.maker,
                change=plan.change,
                missing=_missing(plan, tx.now_ms),
                notes=model.notes,
            )
            for model, plan in zip(wanted, plans, strict=True)
        ]
    )
    if not dry_run and any(plan.change in ("created", "changed") for plan in plans):
        await _write(tx, plans)
        await _record(tx, actor, report)
    return report


def _wanted(imported: Sequence[ImportedModel], makers: Sequence[str] | None) -> Sequence[ImportedModel]:
    if makers is None:
        return imported
    known = {model.maker for model in imported}
    unknown = sorted(set(makers) - known)
    if unknown:
        raise InvalidRequest(
            f"There are no prices of {unknown[0]} to import. Known makers: {', '.join(sorted(known))}.",
            param="makers",
        )
    return [model for model in imported if model.maker in makers]


def _plan(
    model: ImportedModel, row: Row | None, revisions: Sequence[Row], actor: Actor, now_ms: int
) -> _Plan:
    found = statements.model_row(
        model.name,
        maker=model.maker,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        now_ms=now_ms,
    )
    limits = {}
    if row is not None:
        limits = {name: found[name] for name in _LIMITS if row[name] is None and found[name] is not None}
        found = {**row, **limits}
    last = max(revisions, key=lambda revision: int(revision["number"]), default=None)
    own_price = last is not None and last["reason"] != IMPORT_REASON
    return _Plan(
        row=found,
        is_new=row is None,
        limits=limits,
        revisions=revisions,
        new_revisions=[] if own_price else list(_new_revisions(model, found, revisions, actor, now_ms)),
        kept_own_price=own_price,
    )


def _starts_ms(prices: ImportedPrices) -> int:
    """Return when a price begins; one that is in force already began before anything."""
    if prices.starts_on is None:
        return 0
    return int(datetime.combine(prices.starts_on, time.min, UTC).timestamp()) * 1000


def _new_revisions(
    model: ImportedModel, row: Row, revisions: Sequence[Row], actor: Actor, now_ms: int
) -> Iterator[Row]:
    """Yield what makes the model's prices the maker's, now and at each coming change.

    Coming revisions of an earlier import count as changes too, so that one that the maker took back is
    followed by what holds instead.
    """
    gives_output = row["max_output_tokens"] != 0
    if gives_output and model.max_output_tokens == 0:
        # The administrator says that it gives output, and the maker names no price for any.
        return
    if not model.price_changes:
        return
    coming = {revision["effective_from_ms"] for revision in revisions}
    coming |= {_starts_ms(prices) for prices in model.price_changes}
    written = list(revisions)
    for at_ms in sorted({now_ms} | {instant for instant in coming if instant > now_ms}):
        prices = [change for change in model.price_changes if _starts_ms(change) <= at_ms][-1]
        revision = make_revision(
            model.name,
            PriceList(
                named=name_prices(prices.prices, has_output=gives_output),
                steps=[
                    (step.above_input_units, name_prices(step.prices, has_output=gives_output))
                    for step in prices.steps
                ],
            ),
            revisions=written,
            has_output=gives_output,
            effective_from_ms=at_ms,
            actor_id=actor.user_id,
            reason=IMPORT_REASON,
            now_ms=now_ms,
        )
        if revision is not None:
            written.append(revision)
            written.sort(key=lambda each: (each["effective_from_ms"], each["number"]))
            yield revision


def _missing(plan: _Plan, now_ms: int) -> Sequence[str]:
    revisions = sorted(
        [*plan.revisions, *plan.new_revisions],
        key=lambda each: (each["effective_from_ms"], each["number"]),
    )
    return model_from_row(plan.row, revisions).missing(now_ms)


async def _write(tx: Transaction, plans: Sequence[_Plan]) -> None:
    await statements.insert_models(tx, [plan.row for plan in plans if plan.is_new])
    for plan in plans:
        if plan.limits:
            await statements.update_model(tx, plan.row["name"], **plan.limits)
    await statements.insert_price_revisions(
        tx, [revision for plan in plans for revision in plan.new_revisions]
    )
    await bump_catalog_version(tx)


async def _record(tx: Transaction, actor: Actor, report: ImportReport) -> None:
    # One entry for all: what changed of each price stands in its revisions, with actor and reason.
    await record_change(
        tx,
        actor,
        action="model.import",
        subject_kind="catalog",
        subject_id="models",
        before=None,
        after={
            change: [found.name for found in report.changes if found.change == change]
            for change in ("created", "changed")
        },
    )

"""Model statements: the models on offer, and the immutable revisions of their prices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, and_, case, exists, func, insert, not_, or_, select, update

from tokenopen.core.catalog import PriceStep, resolve_prices
from tokenopen.core.money import Nanocredits
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import decode_json, encode_json, encode_prices, encode_steps
from tokenopen.storage.schema import models, price_revisions, routes, upstreams, users

Row = Mapping[str, Any]
ListedState = Literal["incomplete", "active", "archived"]

NamedPrices = Mapping[str, Nanocredits]
# Prices as they were named: the base list, then (above_input_units, list) for each long-context step.
NamedSteps = Sequence[tuple[int, NamedPrices]]

# Rows of one INSERT, so that its parameters stay within what both engines take.
_ROWS_MAX: Final = 500


def _is_incomplete(now_ms: int) -> ColumnElement[bool]:
    priced = (
        select(price_revisions.c.id)
        .where(price_revisions.c.model == models.c.name, price_revisions.c.effective_from_ms <= now_ms)
        .exists()
    )
    return or_(models.c.context_window.is_(None), models.c.max_output_tokens.is_(None), not_(priced))


def _listed_state(now_ms: int) -> ColumnElement[str]:
    return case(
        (models.c.state == "archived", "archived"), (_is_incomplete(now_ms), "incomplete"), else_="active"
    )


def _in_state(state: ListedState, now_ms: int) -> ColumnElement[bool]:
    if state == "archived":
        return models.c.state == "archived"
    incomplete = _is_incomplete(now_ms)
    return and_(models.c.state == "active", incomplete if state == "incomplete" else not_(incomplete))


def is_carried() -> ColumnElement[bool]:
    """Return the condition that an enabled upstream carries a model."""
    return exists().where(
        routes.c.model == models.c.name,
        routes.c.upstream_id == upstreams.c.id,
        upstreams.c.enabled.is_(True),
    )


# Where models stand in a list that begins with those that somebody has to look at: what an upstream carries
# and what is not offered all the same. An import leaves many that lack something and that nobody carries.
Place = Literal["lacking", "offered", "uncarried", "unused", "archived"]
PLACES: Final[Sequence[Place]] = get_args(Place)


def place_of(state: ListedState, *, carried: bool) -> Place:
    """Return where a model stands."""
    if state == "archived":
        return "archived"
    if state == "incomplete":
        return "lacking" if carried else "unused"
    return "offered" if carried else "uncarried"


def _place(now_ms: int) -> ColumnElement[int]:
    """Return what ``place_of`` says, as its index in PLACES."""
    incomplete, carried = _is_incomplete(now_ms), is_carried()
    return case(
        (models.c.state == "archived", PLACES.index("archived")),
        (and_(incomplete, carried), PLACES.index("lacking")),
        (incomplete, PLACES.index("unused")),
        (carried, PLACES.index("offered")),
        else_=PLACES.index("uncarried"),
    )


async def list_models(
    tx: Transaction,
    *,
    text: str | None,
    state: ListedState | None,
    after: str | None,
    limit: int,
    after_place: Place | None = None,
    by_place: bool = False,
) -> Sequence[Row]:
    """Return models by name, those whose name or maker contains ``text`` where one is given.

    ``by_place`` sorts them by their place first; ``after_place`` is then that of the one named ``after``.
    """
    place = _place(tx.now_ms)
    conditions: list[ColumnElement[bool]] = []
    if text:
        needle = text.lower()
        conditions.append(
            or_(
                func.lower(models.c.name).contains(needle, autoescape=True),
                func.lower(models.c.maker).contains(needle, autoescape=True),
            )
        )
    if state is not None:
        conditions.append(_in_state(state, tx.now_ms))
    order: list[ColumnElement[Any]] = [models.c.name]
    if by_place:
        order.insert(0, place)
    if after is not None and by_place and after_place is not None:
        at = PLACES.index(after_place)
        conditions.append(or_(place > at, and_(place == at, models.c.name > after)))
    elif after is not None:
        conditions.append(models.c.name > after)
    return await tx.fetch_all(select(models).where(*conditions).order_by(*order).limit(limit))


async def count_lacking_models(tx: Transaction) -> int:
    """Return how many models an upstream carries that are not offered, since they lack something."""
    row = await tx.fetch_one(
        select(func.count().label("count"))
        .select_from(models)
        .where(_in_state("incomplete", tx.now_ms), is_carried())
    )
    assert row is not None
    return int(row["count"])


async def list_all_models(tx: Transaction) -> Mapping[str, Row]:
    """Return every model by name."""
    return {row["name"]: row for row in await tx.fetch_all(select(models))}


async def find_model(tx: Transaction, name: str) -> Row | None:
    """Return a model's row, or None."""
    return await tx.fetch_one(select(models).where(models.c.name == name))


async def list_price_revisions(
    tx: Transaction, names: Sequence[str] | None = None
) -> Mapping[str, Sequence[Row]]:
    """Return the price revisions of the models named, or of all: in the order in which they come into force.

    Of two that begin together the later written one is in force.
    """
    statement = select(price_revisions, users.c.email.label("actor_email")).outerjoin(
        users, users.c.id == price_revisions.c.actor_id
    )
    if names is not None:
        statement = statement.where(price_revisions.c.model.in_(names))
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in await tx.fetch_all(
        statement.order_by(price_revisions.c.effective_from_ms, price_revisions.c.number)
    ):
        by_model[row["model"]].append(row)
    return by_model


async def find_price_revision(tx: Transaction, revision_id: str) -> Row | None:
    """Return a price revision's row, or None."""
    return await tx.fetch_one(select(price_revisions).where(price_revisions.c.id == revision_id))


async def list_carriers(tx: Transaction, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return, by model, the names of the enabled upstreams that carry it."""
    carriers: dict[str, list[str]] = defaultdict(list)
    for row in await tx.fetch_all(
        select(routes.c.model, upstreams.c.name)
        .join(upstreams, upstreams.c.id == routes.c.upstream_id)
        .where(routes.c.model.in_(names), upstreams.c.enabled.is_(True))
        .order_by(upstreams.c.priority, upstreams.c.name)
    ):
        carriers[row["model"]].append(row["name"])
    return carriers


def model_row(
    name: str, *, maker: str, context_window: int | None, max_output_tokens: int | None, now_ms: int
) -> dict[str, Any]:
    """Return the row of a new model."""
    return {
        "name": name,
        "maker": maker,
        "context_window": context_window,
        "max_output_tokens": max_output_tokens,
        "state": "active",
        "created_at_ms": now_ms,
        "updated_at_ms": now_ms,
    }


async def insert_models(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new models."""
    for start in range(0, len(rows), _ROWS_MAX):
        await tx.execute(insert(models).values(list(rows[start : start + _ROWS_MAX])))


async def update_model(tx: Transaction, name: str, **values: object) -> None:
    """Change what a model's row says."""
    changed = await tx.execute(
        update(models).where(models.c.name == name).values(updated_at_ms=tx.now_ms, **values)
    )
    assert changed == 1


def encode_named(named: NamedPrices, steps: NamedSteps) -> str:
    """Return the prices that were named, as JSON of nano-credits."""
    return encode_json(
        {
            "prices": named,
            "steps": [{"above_input_units": above, "prices": prices} for above, prices in steps],
        }
    )


def decode_named(text: str) -> tuple[NamedPrices, NamedSteps]:
    """Return the prices that a revision was written with: the base list and the steps."""
    fields = decode_json(text)
    return fields["prices"], [(step["above_input_units"], step["prices"]) for step in fields["steps"]]


def price_revision_row(
    revision_id: str,
    *,
    model: str,
    number: int,
    named: NamedPrices,
    steps: NamedSteps,
    has_output: bool,
    effective_from_ms: int,
    actor_id: str,
    reason: str | None,
    now_ms: int,
) -> dict[str, Any]:
    """Return the row of a new price revision, every class resolved. Raises InvalidPrices."""
    return {
        "id": revision_id,
        "model": model,
        "number": number,
        "named": encode_named(named, steps),
        "prices": encode_prices(resolve_prices(named, has_output=has_output)),
        "steps": encode_steps(
            tuple(
                PriceStep(above_input_units=above, prices=resolve_prices(prices, has_output=has_output))
                for above, prices in steps
            )
        ),
        "effective_from_ms": effective_from_ms,
        "actor_id": actor_id,
        "reason": reason,
        "created_at_ms": now_ms,
    }


async def insert_price_revisions(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new price revisions."""
    for start in range(0, len(rows), _ROWS_MAX):
        await tx.execute(insert(price_revisions).values(list(rows[start : start + _ROWS_MAX])))


async def list_model_states(tx: Transaction) -> Mapping[str, ListedState]:
    """Return the state of every model by name, as lists show it."""
    state = _listed_state(tx.now_ms).label("listed_state")
    return {row["name"]: row["listed_state"] for row in await tx.fetch_all(select(models.c.name, state))}

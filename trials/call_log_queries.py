"""Every documented filter of the lists, and every chart, as the console and the command line ask for them."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenopen.api.json_types import format_instant
from trials.call_log import CODES, DAY_MS, DAYS, MODELS, RARE_MODEL, LogAccount

Who = Literal["administrator", "user"]
Query = Mapping[str, str]

# Everybody's charts by key or user have no interval.
_GROUPED: Final = ("hour", "day", "model", "key", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWorld:
    """What there is to be asked about. The first account makes the most calls, ``user`` is whose it is."""

    accounts: Sequence[LogAccount]
    groups: Sequence[str]
    until_ms: int
    # A charge of the first account.
    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One filter or chart: who asks, where, and a query that differs from time to time."""

    name: str
    who: Who
    path: str
    make: Callable[[random.Random], Query]


def questions(world: LogWorld) -> Iterator[Question]:
    """Return everything that is documented, with what is rare, absent, old and large."""
    yield from _calls("administrator", "/api/admin/calls", world)
    yield from _calls("user", "/api/me/calls", world)
    yield from _admin_calls(world)
    yield from _ledger(world)
    yield from _refused(world)
    yield from _usage(world)


def _span(world: LogWorld, days: int) -> Callable[[random.Random], Query]:
    def make(draw: random.Random) -> Query:
        from_ms = world.until_ms - DAYS * DAY_MS + int(draw.random() * (DAYS - days) * DAY_MS)
        return {"from": format_instant(from_ms), "to": format_instant(from_ms + days * DAY_MS)}

    return make


def _last(world: LogWorld, days: int) -> Query:
    return {"from": format_instant(world.until_ms - days * DAY_MS), "to": format_instant(world.until_ms)}


def _fixed(**query: str) -> Callable[[random.Random], Query]:
    return lambda _draw: query


def _calls(who: Who, path: str, world: LogWorld) -> Iterator[Question]:
    span = _span(world, 1)
    key_ids = world.accounts[0].key_ids

    def ask(name: str, make: Callable[[random.Random], Query]) -> Question:
        return Question(name=f"calls: {name}", who=who, path=path, make=make)

    yield ask("all", _fixed())
    yield ask("200 a page", _fixed(limit="200"))
    yield ask("of one day", span)
    yield ask("key", lambda draw: {"key": draw.choice(key_ids)})
    yield ask("key, of one day", lambda draw: {"key": draw.choice(key_ids), **span(draw)})
    yield ask("model", lambda draw: {"model": draw.choice(MODELS)})
    yield ask("model, of one day", lambda draw: {"model": draw.choice(MODELS), **span(draw)})
    yield ask("model used once, long ago", _fixed(model=RARE_MODEL))
    yield ask("model never used", _fixed(model="none"))
    for group in world.groups:
        yield ask(f"group {group}", _fixed(group=group))
    yield ask("group and model", lambda draw: {"group": world.groups[0], "model": draw.choice(MODELS)})
    yield ask("surface", _fixed(surface="messages"))
    yield ask("surface never used", _fixed(surface="embeddings"))
    for state in ("held", "settled", "voided", "expired"):
        yield ask(f"state {state}", _fixed(state=state))
    yield ask("state voided, model", lambda draw: {"state": "voided", "model": draw.choice(MODELS)})
    yield ask("end reason", _fixed(end_reason="upstream_failed"))
    yield ask("end reason that never was", _fixed(end_reason="client_left"))
    yield ask("not covered by credit", _fixed(absorbed="true"))


def _admin_calls(world: LogWorld) -> Iterator[Question]:
    def ask(name: str, make: Callable[[random.Random], Query]) -> Question:
        return Question(name=f"calls: {name}", who="administrator", path="/api/admin/calls", make=make)

    def somebody(draw: random.Random) -> Query:
        return {"user": draw.choice(world.accounts).user_id}

    yield ask("user", somebody)
    yield ask("user, model", lambda draw: {**somebody(draw), "model": draw.choice(MODELS)})
    yield ask("largest user, model never used", _fixed(user=world.accounts[0].user_id, model="none"))
    yield ask("user, state voided", lambda draw: {**somebody(draw), "state": "voided"})
    yield ask("flagged", _fixed(flagged="true"))
    yield ask("flagged, of a user", lambda draw: {**somebody(draw), "flagged": "true"})


def _ledger(world: LogWorld) -> Iterator[Question]:
    def ask(name: str, make: Callable[[random.Random], Query]) -> Question:
        return Question(name=f"ledger: {name}", who="administrator", path="/api/admin/ledger", make=make)

    yield ask("all", _fixed())
    yield ask("user", lambda draw: {"user": draw.choice(world.accounts).user_id})
    for kind in ("top_up", "charge", "refund", "adjustment"):
        yield ask(kind, _fixed(kind=kind))
        yield ask(f"{kind}, of the largest user", _fixed(kind=kind, user=world.accounts[0].user_id))
    yield ask("call", _fixed(call=world.call_id))


def _refused(world: LogWorld) -> Iterator[Question]:
    admin, mine = "/api/admin/refused-calls", "/api/me/refused-calls"
    last, shortly = _last(world, DAYS), _last(world, 17)
    somebody = world.accounts[0].user_id
    asked: list[tuple[str, Who, str, Query]] = [
        ("all", "administrator", admin, {}),
        ("code", "administrator", admin, {"code": CODES[0]}),
        ("code that never was", "administrator", admin, {"code": "none"}),
        ("user", "administrator", admin, {"user": somebody}),
        ("own", "user", mine, {}),
        ("own, code", "user", mine, {"code": CODES[0]}),
        ("counts, 90 days", "administrator", f"{admin}/counts", last),
        ("counts by day, 90 days", "administrator", f"{admin}/counts", {**last, "interval": "day"}),
        ("counts by hour, 17 days", "administrator", f"{admin}/counts", {**shortly, "interval": "hour"}),
        ("own counts by day, 90 days", "user", f"{mine}/counts", {**last, "interval": "day"}),
    ]
    for name, who, path, query in asked:
        yield Question(name=f"refused: {name}", who=who, path=path, make=_fixed(**query))


def _usage(world: LogWorld) -> Iterator[Question]:
    charts: list[tuple[str, Query]] = []
    for days in (30, DAYS):
        last = _last(world, days)
        charts += [(f"by {by}, {days} days", {"group_by": by, **last}) for by in _GROUPED]
        charts.append((f"by model and day, {days} days", {"group_by": "model", "interval": "day", **last}))
    # The most points that one may ask for.
    hourly = {"group_by": "model", "interval": "hour"}
    charts += [
        ("by model and hour, 11 days", {**hourly, **_last(world, 11)}),
        ("by model and hour, 2 lines, 41 days", {**hourly, "lines": "2", **_last(world, 41)}),
        (
            f"by model and day, 32 lines, {DAYS} days",
            {"group_by": "model", "interval": "day", "lines": "32", **_last(world, DAYS)},
        ),
    ]
    asked: list[tuple[Who, str, Query]] = [
        ("administrator", "/api/admin/usage", {}),
        ("administrator", "/api/admin/usage", {"user": world.accounts[0].user_id}),
        ("user", "/api/me/usage", {}),
    ]
    for who, path, more in asked:
        for name, query in charts:
            whose = "largest user's " if more else ""
            yield Question(name=f"usage: {whose}{name}", who=who, path=path, make=_fixed(**query, **more))
    by_user = {"group_by": "user", **_last(world, DAYS)}
    yield Question(
        name=f"usage: by user, {DAYS} days",
        who="administrator",
        path="/api/admin/usage",
        make=_fixed(**by_user),
    )
    by_key = {"group_by": "key", "interval": "day", **_last(world, DAYS)}
    yield Question(
        name=f"usage: own by key and day, {DAYS} days",
        who="user",
        path="/api/me/usage",
        make=_fixed(**by_key),
    )

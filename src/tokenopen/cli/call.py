"""``tokenopen calls``: what was called and charged, and the receipt that a charge is recomputed from."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group as Stack
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.ledger import show_entry
from tokenopen.cli.output import facts, instant_text, table
from tokenopen.core.call import CallState

app = typer.Typer(help="Calls: what was charged and why; receipts, refunds.", no_args_is_help=True)

CallId = Annotated[str, typer.Argument(metavar="CALL", help="The call's id: the reply's x-request-id.")]


def _units(call: Json) -> str:
    """Return the units of a call by class; an estimate says so."""
    units = ", ".join(
        f"{count:,} {usage_class.replace('_', ' ')}" for usage_class, count in (call["usage"] or {}).items()
    )
    return f"{units} (estimated)" if call["usage_source"] == "estimated" else units


def _state(call: Json) -> str:
    """Return what became of a call, in the words of its page."""
    words = {
        "held": "running",
        "settled": "charged",
        "voided": "not charged",
        "expired": "not charged (expired)",
    }
    return words[call["state"]]


def _rows(calls: Sequence[Json]) -> RenderableType:
    return table(
        ("When", "Call", "User", "Group", "Model", "API", "Tokens", "Multiplier", "Charge", "State", "ms"),
        [
            (
                instant_text(call["admitted_at"]),
                call["id"],
                call.get("user_email"),
                call["group"]["slug"],
                call["model"],
                f"{call['surface']}, stream" if call["stream"] else call["surface"],
                _units(call),
                f"{call['multiplier']}x",
                call["charge"],
                _state(call),
                call["duration_ms"],
            )
            for call in calls
        ],
        right=("Charge", "ms"),
    )


def _receipt(call: Json) -> RenderableType:
    shown: list[RenderableType] = [
        facts(
            {
                "Call": call["id"],
                "When": instant_text(call["admitted_at"]),
                "User": call.get("user_email"),
                "API key": f"{call['key']['name']} (…{call['key']['last_four']})",
                "Group": f"{call['group']['name']}, revision {call['group_revision']['number']}",
                "Model": call["model"],
                "API": f"{call['surface']}, stream" if call["stream"] else call["surface"],
                "State": _state(call),
                "Ended": (call["end_reason"] or "").replace("_", " ") or None,
                "Tokens": _units(call) or None,
                "Multiplier": f"{call['multiplier']}x ({call['multiplier_rule']})",
                "List price": call["list_price"],
                "Price revision": call["price_revision"]["number"],
                "Long context": _long_context(call),
                "Charge": f"{call['charge']} credits (1 credit = 1 USD)",
                "Formula": call["formula"],
                "Not covered by credit (not charged)": call["absorbed"],
                "Refunded": call["refunded"],
                "Reserved": call["reserved"],
                "Status": call["status"],
                "First byte, whole (ms)": f"{call['first_byte_ms']}, {call['duration_ms']}",
                "Adjusted": call["adjusted"],
                "Look at": _flag(call),
                "Provider's cost": _cost(call),
            }
        )
    ]
    if call["unit_prices"] is not None:
        shown += ["", _price_rows(call)]
    if call.get("attempts"):
        shown += ["", _attempt_rows(call["attempts"])]
    return Stack(*shown)


def _flag(call: Json) -> str | None:
    """Return what an administrator should look at, and whether one has."""
    if call.get("flag") is None:
        return None
    said = f"{call['flag'].replace('_', ' ')}: {call['flag_detail'] or '-'}"
    return f"{said} (reviewed {instant_text(call['reviewed_at'])})" if call["reviewed_at"] else said


def _cost(call: Json) -> str | None:
    return None if call.get("cost") is None else f"{call['cost']} ({call['cost_source']})"


def _long_context(call: Json) -> str | None:
    above = call["long_context_above_input_tokens"]
    return None if above is None else f"prices above {above:,} input tokens"


def _price_rows(call: Json) -> RenderableType:
    return table(
        ("Class", "Units", "Price per 1M"),
        [
            (usage_class.replace("_", " "), count, call["unit_prices"][usage_class])
            for usage_class, count in (call["usage"] or {}).items()
        ],
        right=("Units", "Price per 1M"),
    )


def _attempt_rows(attempts: Sequence[Json]) -> RenderableType:
    return table(
        ("Upstream", "Result", "ms"),
        [
            (attempt["upstream_name"] or attempt["upstream_id"], attempt["result"], attempt["duration_ms"])
            for attempt in attempts
        ],
        right=("ms",),
    )


@command(app, "list")
def list_calls(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", help="Of one user, by e-mail or id.")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Under one group.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="With one key, by its id.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="To one model.")] = None,
    state: Annotated[
        CallState | None,
        typer.Option("--state", help="held: running; settled: charged; voided, expired: not charged."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="INSTANT", help="Such as 2026-12-01T00:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Before then.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List calls, newest first: everybody's for administrators, else one's own."""
    client = session.client
    path, user_id = path_of("me", "calls"), None
    if user is not None or client.is_administrator():
        path = path_of("admin", "calls")
        user_id = None if user is None else client.find_user_id(user)
    query = {"user": user_id, "group": group, "key": key, "model": model, "state": state}
    page = client.get(path, **query, **{"from": since, "to": until}, limit=limit, cursor=cursor)
    session.show_page(page, _rows)


@command(app, "flagged")
def list_flagged(
    session: Session,
    reviewed: Annotated[
        bool | None, typer.Option("--reviewed/--unreviewed", help="Only those; else both.")
    ] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List calls to look at, newest first: their usage cannot be true, has no price, or is too large."""
    path = path_of("admin", "calls")
    page = session.client.get(path, flagged=True, reviewed=reviewed, limit=limit, cursor=cursor)
    session.show_page(page, _flagged_rows)


def _flagged_rows(calls: Sequence[Json]) -> RenderableType:
    return table(
        ("When", "Call", "User", "Model", "Charge", "Adjusted", "Look at"),
        [
            (
                instant_text(call["admitted_at"]),
                call["id"],
                call["user_email"],
                call["model"],
                call["charge"],
                call["adjusted"],
                _flag(call),
            )
            for call in calls
        ],
        right=("Charge", "Adjusted"),
    )


@command(app, "review")
def review(
    session: Session,
    call: CallId,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="What you found; kept in the audit log.")
    ] = None,
) -> None:
    """Mark a flagged call as looked at."""
    path = path_of("admin", "calls", call, "review")
    session.show(
        session.client.post(path, option.given(note=note)),
        lambda call: facts({"Call": call["id"], "Look at": _flag(call)}),
    )


@command(app, "adjust", negative_arguments=True)
def adjust(
    session: Session,
    call: CallId,
    amount: Annotated[
        str,
        typer.Argument(
            metavar="AMOUNT", help="Credits: 0.5 gives back, -0.5 takes; up to what was reserved."
        ),
    ],
    reason: option.MoneyReason,
    idempotency_key: option.IdempotencyKey = None,
) -> None:
    """Correct what a flagged call has cost, up or down, and mark it as looked at."""
    path = path_of("admin", "calls", call, "adjustments")
    body = {"amount": amount, "reason": reason}
    session.show(session.client.post_money(path, body, idempotency_key=idempotency_key), show_entry)


@command(app, "show")
def show(session: Session, call: CallId) -> None:
    """Show a call's receipt: units, prices, multiplier and its rule, and the sum written out."""
    whose = "admin" if session.client.is_administrator() else "me"
    session.show(session.client.get(path_of(whose, "calls", call)), _receipt)


@command(app, "refund")
def refund(
    session: Session,
    call: CallId,
    reason: option.MoneyReason,
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="CREDITS", help="Else all that is left of the charge.")
    ] = None,
    idempotency_key: option.IdempotencyKey = None,
) -> None:
    """Give back a part of a call's charge, or all of it."""
    body = option.given(amount=amount, reason=reason)
    path = path_of("admin", "calls", call, "refunds")
    session.show(session.client.post_money(path, body, idempotency_key=idempotency_key), show_entry)

"""``tokenopen credits``: credit given and corrected, and the ledger entries that say so."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.output import facts, instant_text, table
from tokenopen.cli.user import credit_facts
from tokenopen.core.ledger import EntryKind

app = typer.Typer(help="Credit: top-ups, adjustments, balances. 1 credit = 1 USD.", no_args_is_help=True)

MaybeUser = Annotated[
    str | None, typer.Argument(metavar="[USER]", help="E-mail or id; else the management key's own user.")
]


def _rows(entries: Sequence[Json]) -> RenderableType:
    return table(
        ("When", "Kind", "Amount", "Balance after", "Reason", "Call", "User"),
        [
            (
                instant_text(entry["created_at"]),
                entry["kind"],
                entry["amount"],
                entry["balance_after"],
                entry["reason"],
                entry["call_id"],
                entry["user_id"],
            )
            for entry in entries
        ],
        right=("Amount", "Balance after"),
    )


def show_entry(entry: Json) -> RenderableType:
    """Return one ledger entry as people read it."""
    return facts(
        {
            "Entry": entry["id"],
            "Kind": entry["kind"],
            "Amount": f"{entry['amount']} credits",
            "Balance after": f"{entry['balance_after']} credits (1 credit = 1 USD)",
            "Reason": entry["reason"],
            "Call": entry["call_id"],
        }
    )


@command(app, "add")
def add(
    session: Session,
    user: option.User,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Credits, such as 10 or 2.5.")],
    reason: option.MoneyReason,
    idempotency_key: option.IdempotencyKey = None,
) -> None:
    """Add credit to a user's account."""
    _post(session, user, "credits", amount, reason, idempotency_key)


@command(app, "adjust", negative_arguments=True)
def adjust(
    session: Session,
    user: option.User,
    amount: Annotated[
        str,
        typer.Argument(metavar="AMOUNT", help="Credits, such as -2.5; never takes more than is available."),
    ],
    reason: option.MoneyReason,
    idempotency_key: option.IdempotencyKey = None,
) -> None:
    """Correct a user's balance, up or down."""
    _post(session, user, "adjustments", amount, reason, idempotency_key)


def _post(
    session: Session, user: str, what: str, amount: str, reason: str, idempotency_key: str | None
) -> None:
    path = path_of("admin", "users", session.client.find_user_id(user), what)
    body = {"amount": amount, "reason": reason}
    session.show(session.client.post_money(path, body, idempotency_key=idempotency_key), show_entry)


@command(app, "show")
def show(session: Session, user: MaybeUser = None) -> None:
    """Show balance, what is reserved for running calls, and what is available."""
    path = path_of("me") if user is None else path_of("admin", "users", session.client.find_user_id(user))
    session.show(session.client.get(path), lambda user: facts({"User": user["email"], **credit_facts(user)}))


@command(app, "ledger")
def ledger(
    session: Session,
    user: Annotated[
        str | None, typer.Argument(metavar="[USER]", help="E-mail or id; else everybody's.")
    ] = None,
    kind: Annotated[EntryKind | None, typer.Option("--kind", help="Only those.")] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="CALL", help="Of one call, by its id.")
    ] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List ledger entries, newest first: every change of a balance."""
    user_id = None if user is None else session.client.find_user_id(user)
    page = session.client.get(
        path_of("admin", "ledger"), user=user_id, kind=kind, call=call, limit=limit, cursor=cursor
    )
    session.show_page(page, _rows)

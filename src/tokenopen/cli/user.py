"""``tokenopen users``: the people who own keys and credit."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.admin import show_link
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.output import facts, instant_text, table
from tokenopen.core.user import Role, UserState

app = typer.Typer(help="Users: who owns keys and credit.", no_args_is_help=True)


def _rows(users: Sequence[Json]) -> RenderableType:
    return table(
        ("E-mail", "Name", "Role", "State", "Available", "Balance", "Id"),
        [
            (
                user["email"],
                user["name"],
                user["role"],
                user["state"],
                user["available"],
                user["balance"],
                user["id"],
            )
            for user in users
        ],
        right=("Available", "Balance"),
    )


def _one(user: Json) -> RenderableType:
    return facts(
        {
            "E-mail": user["email"],
            "Name": user["name"],
            "Role": user["role"],
            "State": user["state"],
            "May sign in": user["has_password"],
            **credit_facts(user),
            "Created": instant_text(user["created_at"]),
            "Id": user["id"],
            "Account": user["account_id"],
        }
    )


def credit_facts(user: Json) -> dict[str, object]:
    """Return a user's credit, by label."""
    return {
        "Balance": f"{user['balance']} credits (1 credit = 1 USD)",
        "Reserved for running calls": user["held"],
        "Available": user["available"],
    }


@command(app, "list")
def list_users(
    session: Session,
    email: Annotated[str | None, typer.Option("--email", help="The one with this address.")] = None,
    role: Annotated[Role | None, typer.Option("--role", help="Only those.")] = None,
    state: Annotated[UserState | None, typer.Option("--state", help="Only those.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List users, newest first, with their credit."""
    page = session.client.get(
        path_of("admin", "users"), email=email, role=role, state=state, limit=limit, cursor=cursor
    )
    session.show_page(page, _rows)


@command(app, "show")
def show(session: Session, user: option.User) -> None:
    """Show a user with their credit."""
    session.show(session.client.get(path_of("admin", "users", session.client.find_user_id(user))), _one)


@command(app, "create")
def create(
    session: Session,
    email: Annotated[str, typer.Argument(metavar="E-MAIL", help="By which the user is known.")],
    name: Annotated[str, typer.Option("--name", help="What people see.")],
    role: Annotated[Role | None, typer.Option("--role", help="A user, unless said otherwise.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password, so that they can sign in.")
    ] = False,
) -> None:
    """Create a user and their account, which has no credit yet."""
    secret = None
    if password:
        secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    body = option.given(email=email, name=name, role=role, password=secret)
    session.show(session.client.post(path_of("admin", "users"), body), _one)


@command(app, "suspend")
def suspend(session: Session, user: option.User) -> None:
    """Refuse a user and all their keys, from the very next call on."""
    _set_state(session, user, "suspended")


@command(app, "resume")
def resume(session: Session, user: option.User) -> None:
    """Let a suspended user and their keys in again."""
    _set_state(session, user, "active")


@command(app, "password")
def set_password(
    session: Session,
    user: option.User,
    link: Annotated[
        bool, typer.Option("--link", help="Print a one-time link instead, with which they choose it.")
    ] = False,
) -> None:
    """Set a user's password, asked for here; every session of theirs ends."""
    user_id = session.client.find_user_id(user)
    if link:
        session.show(session.client.post(path_of("admin", "users", user_id, "password-links")), show_link)
        return
    password = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    session.client.post(path_of("admin", "users", user_id, "password"), {"password": password})
    session.say("The password is set, and every session of theirs has ended.")


def _set_state(session: Session, user: str, state: UserState) -> None:
    path = path_of("admin", "users", session.client.find_user_id(user))
    session.show(session.client.patch(path, {"state": state}), _one)

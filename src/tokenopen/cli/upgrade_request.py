"""``tokenopen requests``: users ask for a group that is by request, administrators decide."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.output import facts, instant_text, table
from tokenopen.core.upgrade_request import UpgradeRequestState

app = typer.Typer(help="Requests for groups: list, approve, decline.", no_args_is_help=True)

RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id.")]
Answer = Annotated[str | None, typer.Option("--answer", metavar="TEXT", help="What the user is told.")]


def _rows(requests: Sequence[Json]) -> RenderableType:
    return table(
        ("Id", "User", "Group", "Reason", "State", "Asked", "Answer"),
        [
            (
                request["id"],
                request["user"]["email"],
                request["group"]["slug"],
                request["reason"],
                request["state"],
                instant_text(request["created_at"]),
                request["answer"],
            )
            for request in requests
        ],
    )


def _one(request: Json) -> RenderableType:
    return facts(
        {
            "Id": request["id"],
            "User": request["user"]["email"],
            "Group": f"{request['group']['name']} ({request['group']['slug']})",
            "Reason": request["reason"],
            "State": request["state"],
            "Answer": request["answer"],
            "Asked": instant_text(request["created_at"]),
            "Decided": instant_text(request["decided_at"]),
        }
    )


@command(app, "list")
def list_requests(
    session: Session,
    state: Annotated[UpgradeRequestState | None, typer.Option("--state", help="Only those.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List requests, newest first: everybody's for administrators, else one's own."""
    whose = "admin" if session.client.is_administrator() else "me"
    page = session.client.get(path_of(whose, "upgrade-requests"), state=state, limit=limit, cursor=cursor)
    session.show_page(page, _rows)


@command(app, "create")
def create(
    session: Session,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The slug of the group you ask for.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")],
) -> None:
    """Ask for a group that is by request, for the management key's own user."""
    body = {"group": group, "reason": reason}
    session.show(session.client.post(path_of("me", "upgrade-requests"), body), _one)


@command(app, "approve")
def approve(
    session: Session,
    request: RequestId,
    answer: Answer = None,
    move_keys: Annotated[
        bool, typer.Option("--move-keys", help="Put all the user's keys into the group.")
    ] = False,
    move_key: Annotated[
        list[str] | None, typer.Option("--move-key", metavar="KEY", help="Put this key there; may repeat.")
    ] = None,
    multiplier: option.OwnMultiplier = None,
    model_multiplier: option.ModelMultipliers = None,
    extra_model: option.ExtraModels = None,
    requests_per_minute: option.RequestsPerMinute = None,
    requests_per_day: option.RequestsPerDay = None,
    tokens_per_minute: option.TokensPerMinute = None,
    concurrent_calls: option.ConcurrentCalls = None,
    expires_at: option.ExpiresAt = None,
) -> None:
    """Let the user into the group, on its terms or on custom terms."""
    terms = option.own_terms(
        multiplier=multiplier,
        model_multiplier=model_multiplier,
        extra_model=extra_model,
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_minute=tokens_per_minute,
        concurrent_calls=concurrent_calls,
    )
    keys = True if move_keys else move_key
    body = option.given(state="approved", answer=answer, terms=terms or None, move_keys=keys)
    session.show(session.client.patch(path_of("admin", "upgrade-requests", request), body), _one)


@command(app, "decline")
def decline(session: Session, request: RequestId, answer: Answer = None) -> None:
    """Decline a request; the user sees the answer."""
    body = option.given(state="declined", answer=answer)
    session.show(session.client.patch(path_of("admin", "upgrade-requests", request), body), _one)

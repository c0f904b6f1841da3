"""``tokenopen audit-log``: who changed what, and when."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import RenderableType

from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, over_the_api
from tokenopen.cli.output import cell, instant_text, table

# An import names hundreds of models; --json has them all.
_SHOWN_MAX: Final = 400


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]} …"


def _changed(before: Any, after: Any) -> str:
    """Return the fields that differ, old -> new; all that there is where a thing began or ended."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return cell(after if before is None else before)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name}: {cell(before.get(name))} -> {cell(after.get(name))}" for name in names)


def _rows(entries: Sequence[Json]) -> RenderableType:
    return table(
        ("When", "By", "Action", "What", "Change"),
        [
            (
                instant_text(entry["at"]),
                entry["actor"]["email"] or entry["actor"]["id"],
                entry["action"],
                entry["subject_id"],
                _shorten(_changed(entry["before"], entry["after"])),
            )
            for entry in entries
        ],
    )


@over_the_api
def audit_log(
    session: Session,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Changes by one user, by e-mail or id.")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="Such as group.update.")] = None,
    subject_kind: Annotated[
        str | None, typer.Option("--subject-kind", help="Such as group, model, api_key, account.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Of one thing, by its id.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List every change of groups, prices, keys, credit and settings, newest first."""
    page = session.client.get(
        path_of("admin", "audit-log"),
        actor=None if actor is None else session.client.find_user_id(actor),
        action=action,
        subject_kind=subject_kind,
        subject=subject,
        limit=limit,
        cursor=cursor,
    )
    session.show_page(page, _rows)

"""``tokenopen entitlements``: group access, for accounts, to groups that are by request."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import Session, command
from tokenopen.cli.output import facts, instant_text, limit_text, limits_facts, multipliers_text, table

app = typer.Typer(
    help="Group access: who may use a group that is by request, and on which custom terms.",
    no_args_is_help=True,
)

Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's slug.")]

_OWN_LIMITS: Final = {
    "requests_per_minute": "Requests / minute (RPM)",
    "requests_per_day": "Requests / day (TPD)",
    "tokens_per_minute": "Tokens / minute (TPM)",
    "concurrent_calls": "Concurrent calls",
}


def _custom_terms(entitlement: Json) -> str:
    """Return what differs from the group, in words; the group's own terms where nothing does."""
    terms = []
    if entitlement["multiplier"] is not None:
        terms.append(f"{entitlement['multiplier']}x")
    if entitlement["model_multipliers"]:
        terms.append(multipliers_text(entitlement["model_multipliers"]))
    # Only limits that are the entitlement's own are there at all; null is unlimited.
    terms += [
        f"{label} {limit_text(entitlement[name])}"
        for name, label in _OWN_LIMITS.items()
        if name in entitlement
    ]
    if entitlement["extra_models"]:
        terms.append(f"also {', '.join(entitlement['extra_models'])}")
    return "; ".join(terms) or "the group's"


def _rows(entitlements: Sequence[Json]) -> RenderableType:
    return table(
        ("Group", "Name", "Multiplier", "Custom terms", "Until", "In force"),
        [
            (
                entitlement["group"]["slug"],
                entitlement["group"]["name"],
                entitlement["display_multiplier"],
                _custom_terms(entitlement),
                instant_text(entitlement["expires_at"]),
                entitlement["in_force"],
            )
            for entitlement in entitlements
        ],
    )


def _one(entitlement: Json) -> RenderableType:
    return facts(
        {
            "Group": f"{entitlement['group']['name']} ({entitlement['group']['slug']})",
            "Custom terms": _custom_terms(entitlement),
            "Multiplier": entitlement["display_multiplier"],
            **limits_facts(entitlement["limits"]),
            "Until": instant_text(entitlement["expires_at"]),
            "In force": entitlement["in_force"],
            "By": entitlement["by"]["email"],
        }
    )


@command(app, "list")
def list_entitlements(session: Session, user: option.User) -> None:
    """List the groups that a user has access to by request, ended access too."""
    path = path_of("admin", "users", session.client.find_user_id(user), "entitlements")
    session.show_page(session.client.get(path), _rows)


@command(app, "put")
def put(
    session: Session,
    user: option.User,
    group: Group,
    multiplier: option.OwnMultiplier = None,
    model_multiplier: option.ModelMultipliers = None,
    extra_model: option.ExtraModels = None,
    requests_per_minute: option.RequestsPerMinute = None,
    requests_per_day: option.RequestsPerDay = None,
    tokens_per_minute: option.TokensPerMinute = None,
    concurrent_calls: option.ConcurrentCalls = None,
    expires_at: option.ExpiresAt = None,
) -> None:
    """Let a user use a group, on exactly these custom terms: what is not named is the group's."""
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
    path = path_of("admin", "users", session.client.find_user_id(user), "entitlements", group)
    session.show(session.client.put(path, terms), _one)


@command(app, "delete")
def delete(session: Session, user: option.User, group: Group) -> None:
    """End a user's access to a group, or their custom terms in it, from the very next call on."""
    path = path_of("admin", "users", session.client.find_user_id(user), "entitlements", group)
    session.client.delete(path)
    session.say(f"{user} has no access of their own to group {group} any more.")

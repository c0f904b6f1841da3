"""``tokenopen groups``: the policies that API keys point at."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Group as Stack
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.output import facts, instant_text, limit_text, limits_facts, multipliers_text, table
from tokenopen.cli.setting import ControlError
from tokenopen.core.group import GroupState, InterruptionRule, Visibility

app = typer.Typer(help="Groups: the models, price and limits of the API keys in them.", no_args_is_help=True)

Slug = Annotated[str, typer.Argument(metavar="GROUP", help="The group's slug, such as vip.")]
Name = Annotated[str | None, typer.Option("--name", help="What people see.")]
SuitableFor = Annotated[str | None, typer.Option("--suitable-for", help="Whom the group is for.")]
Visible = Annotated[
    Visibility | None,
    typer.Option("--visibility", help="public: open to everyone; entitled: by request."),
]
Multiplier = Annotated[
    str | None, typer.Option("--multiplier", metavar="DECIMAL", help="Factor on list prices, such as 0.8.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME|PATTERN",
        help="An available model, or a pattern such as gpt-4o*; repeat for more.",
    ),
]
Interruption = Annotated[
    InterruptionRule | None,
    typer.Option("--interruption-rule", help="What a stream is charged whose caller leaves."),
]
ReadOnSeconds = Annotated[
    int | None,
    typer.Option("--read-on-seconds", help="With read_on: for how many seconds the usage is waited for."),
]
DefaultMaxOutputTokens = Annotated[
    int | None,
    typer.Option("--default-max-output-tokens", help="What a call that names no maximum is reserved for."),
]

VISIBILITY: Final = {"public": "Open to everyone", "entitled": "By request"}


def _rows(groups: Sequence[Json]) -> RenderableType:
    return table(
        (
            "Group",
            "Name",
            "Multiplier",
            "Requests / minute (RPM)",
            "Requests / day (TPD)",
            "Access",
            "Suitable for",
            "Keys",
            "State",
        ),
        [
            (
                group["slug"],
                group["name"],
                group["display_multiplier"],
                limit_text(group["requests_per_minute"]),
                limit_text(group["requests_per_day"]),
                VISIBILITY[group["visibility"]],
                group["suitable_for"],
                group["key_count"],
                group["state"],
            )
            for group in groups
        ],
        right=("Requests / minute (RPM)", "Requests / day (TPD)", "Keys"),
    )


def _revision_rows(revisions: Sequence[Json]) -> RenderableType:
    return table(
        (
            "Revision",
            "From",
            "By",
            "Reason",
            "Name",
            "Multiplier",
            "By model",
            "Requests / minute (RPM)",
            "Requests / day (TPD)",
            "Access",
            "State",
            "Available models",
        ),
        [
            (
                revision["number"],
                instant_text(revision["effective_from"]),
                revision["by"]["email"],
                revision["reason"],
                revision["name"],
                f"{revision['multiplier']}x",
                multipliers_text(revision["model_multipliers"]),
                limit_text(revision["requests_per_minute"]),
                limit_text(revision["requests_per_day"]),
                VISIBILITY[revision["visibility"]],
                revision["state"],
                revision["allowed_models"],
            )
            for revision in revisions
        ],
    )


def _interruption_text(group: Json) -> str:
    if group["interruption_rule"] == "delivered_only":
        return "charged for what was delivered"
    return f"read on for the usage, at most {group['read_on_seconds']} s"


def _one(group: Json) -> RenderableType:
    revision = group["revision"]
    shown: list[RenderableType] = [
        facts(
            {
                "Group": group["slug"],
                "Name": group["name"],
                "Suitable for": group["suitable_for"],
                "Access": VISIBILITY[group["visibility"]],
                "Custom terms": group["custom_terms"],
                "Multiplier": f"{group['multiplier']}x",
                "Multiplier by model": multipliers_text(group["model_multipliers"]),
                **limits_facts(group),
                "Reserved without a maximum": f"{group['default_max_output_tokens']:,} output tokens",
                "When a caller leaves": _interruption_text(group),
                "Available models": group["allowed_models"],
                "API keys": group["key_count"],
                "Accounts with group access": group["entitlement_count"],
                "State": group["state"],
                "Revision": f"{revision['number']}, from {instant_text(revision['effective_from'])}, "
                f"by {revision['by']['email']}",
                "Reason": revision["reason"],
            }
        )
    ]
    if group["upcoming"]:
        shown += ["", "Upcoming:", _revision_rows(group["upcoming"])]
    return Stack(*shown)


@command(app, "list")
def list_groups(
    session: Session,
    state: Annotated[GroupState | None, typer.Option("--state", help="Only those.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List groups with their multiplier, limits and access."""
    session.show_page(
        session.client.get(path_of("admin", "groups"), state=state, limit=limit, cursor=cursor), _rows
    )


@command(app, "show")
def show(session: Session, group: Slug) -> None:
    """Show a group: available models, multipliers, limits, and the revision in force."""
    session.show(session.client.get(path_of("admin", "groups", group)), _one)


@command(app, "create")
def create(
    session: Session,
    group: Slug,
    name: Annotated[str, typer.Option("--name", help="What people see.")],
    multiplier: Annotated[
        str, typer.Option("--multiplier", metavar="DECIMAL", help="Factor on list prices, such as 0.8.")
    ],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="NAME|PATTERN",
            help="An available model, or a pattern such as gpt-4o*; repeat for more.",
        ),
    ],
    suitable_for: SuitableFor = None,
    visibility: Visible = None,
    custom_terms: Annotated[
        bool, typer.Option("--custom-terms", help="Terms are made per customer; shown as Custom.")
    ] = False,
    model_multiplier: option.ModelMultipliers = None,
    requests_per_minute: option.RequestsPerMinute = None,
    requests_per_day: option.RequestsPerDay = None,
    tokens_per_minute: option.TokensPerMinute = None,
    concurrent_calls: option.ConcurrentCalls = None,
    default_max_output_tokens: DefaultMaxOutputTokens = None,
    interruption_rule: Interruption = None,
    read_on_seconds: ReadOnSeconds = None,
    reason: option.Reason = None,
) -> None:
    """Create a group. It is by request, and without the limits that are not named."""
    body = option.given(
        slug=group,
        name=name,
        multiplier=multiplier,
        allowed_models=model,
        suitable_for=suitable_for,
        visibility=visibility,
        custom_terms=custom_terms,
        model_multipliers=option.model_multipliers(model_multiplier),
        default_max_output_tokens=default_max_output_tokens,
        interruption_rule=interruption_rule,
        read_on_seconds=read_on_seconds,
        reason=reason,
    )
    body |= option.limits(
        requests_per_minute=requests_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_minute=tokens_per_minute,
        concurrent_calls=concurrent_calls,
    )
    session.show(session.client.post(path_of("admin", "groups"), body), _one)


@command(app, "change")
def change(
    session: Session,
    group: Slug,
    name: Name = None,
    multiplier: Multiplier = None,
    model: Models = None,
    add_model: Annotated[
        list[str] | None, typer.Option("--add-model", metavar="NAME|PATTERN", help="One more; may repeat.")
    ] = None,
    remove_model: Annotated[
        list[str] | None, typer.Option("--remove-model", metavar="NAME|PATTERN", help="One less; may repeat.")
    ] = None,
    suitable_for: SuitableFor = None,
    visibility: Visible = None,
    custom_terms: Annotated[
        bool | None, typer.Option("--custom-terms/--no-custom-terms", help="Terms are made per customer.")
    ] = None,
    model_multiplier: option.ModelMultipliers = None,
    no_model_multipliers: Annotated[
        bool, typer.Option("--no-model-multipliers", help="One multiplier for every model.")
    ] = False,
    requests_per_minute: option.RequestsPerMinute = None,
    requests_per_day: option.RequestsPerDay = None,
    tokens_per_minute: option.TokensPerMinute = None,
    concurrent_calls: option.ConcurrentCalls = None,
    default_max_output_tokens: DefaultMaxOutputTokens = None,
    interruption_rule: Interruption = None,
    read_on_seconds: ReadOnSeconds = None,
    effective_from: option.EffectiveFrom = None,
    reason: option.Reason = None,
) -> None:
    """Change what is named of a group; a new revision, which binds the very next call or a coming instant.

    --model and --model-multiplier replace all that there were.
    """
    by_model = {} if no_model_multipliers else option.model_multipliers(model_multiplier)
    body = option.given(
        name=name,
        multiplier=multiplier,
        allowed_models=model,
        suitable_for=suitable_for,
        visibility=visibility,
        custom_terms=custom_terms,
        model_multipliers=by_model,
        default_max_output_tokens=default_max_output_tokens,
        interruption_rule=interruption_rule,
        read_on_seconds=read_on_seconds,
        effective_from=effective_from,
        reason=reason,
    )
    body |= option.limits(
        requests_per_minute=requests_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_minute=tokens_per_minute,
        concurrent_calls=concurrent_calls,
    )
    path = path_of("admin", "groups", group)
    if add_model or remove_model:
        body["allowed_models"] = _edit_models(
            model if model is not None else session.client.get(path).data["allowed_models"],
            add=add_model or (),
            remove=remove_model or (),
        )
    session.show(session.client.patch(path, body), _one)


def _edit_models(models: Sequence[str], *, add: Sequence[str], remove: Sequence[str]) -> list[str]:
    for name in remove:
        if name not in models:
            raise ControlError(f"{name} is not among the group's available models: {', '.join(models)}")
    kept = [name for name in models if name not in remove]
    return kept + [name for name in add if name not in kept]


@command(app, "rename")
def rename(
    session: Session,
    group: Slug,
    slug: Annotated[str, typer.Argument(metavar="NEW-SLUG", help="The new slug.")],
    name: Name = None,
    reason: option.Reason = None,
) -> None:
    """Give a group another slug, and another name if one is given. Its keys stay in it."""
    body = option.given(slug=slug, name=name, reason=reason)
    session.show(session.client.patch(path_of("admin", "groups", group), body), _one)


@command(app, "archive")
def archive(session: Session, group: Slug, reason: option.Reason = None) -> None:
    """Stop offering a group: its keys are refused from the very next call on."""
    path = path_of("admin", "groups", group, "archive")
    session.show(session.client.post(path, option.given(reason=reason)), _one)


@command(app, "revisions")
def revisions(session: Session, group: Slug, limit: Limit = LIMIT, cursor: Cursor = None) -> None:
    """List everything that a group has said and will say: from when, by whom and why."""
    path = path_of("admin", "groups", group, "revisions")
    session.show_page(session.client.get(path, limit=limit, cursor=cursor), _revision_rows)


@command(app, "mine")
def mine(session: Session) -> None:
    """List the groups that the management key's own user may pick for a key, with their terms."""
    session.show(session.client.get(path_of("me", "groups")), _my_rows)


def _my_rows(mine: Json) -> RenderableType:
    return table(
        (
            "Group",
            "Name",
            "Open",
            "Multiplier",
            "Requests / minute (RPM)",
            "Requests / day (TPD)",
            "Suitable for",
            "Available models",
        ),
        [
            (
                group["slug"],
                group["name"],
                "yes" if group["open"] else "by request",
                group["display_multiplier"],
                limit_text(group["limits"]["requests_per_minute"]),
                limit_text(group["limits"]["requests_per_day"]),
                group["suitable_for"],
                group["allowed_models"],
            )
            for group in (*mine["data"], *mine["by_request"])
        ],
        right=("Requests / minute (RPM)", "Requests / day (TPD)"),
    )

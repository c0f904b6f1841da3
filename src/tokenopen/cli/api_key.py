"""``tokenopen keys``: API keys, each in a group. A key's secret is printed once, when it is created."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, command
from tokenopen.cli.output import facts, instant_text, limits_facts, multipliers_text, table
from tokenopen.cli.setting import ControlError
from tokenopen.core.group import matches_any

app = typer.Typer(help="API keys: create, list, change, move, rotate, revoke.", no_args_is_help=True)

_EXAMPLE_MODEL: Final = "gpt-4o-mini"

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as tokenopen keys list shows it.")]
Group = Annotated[str | None, typer.Option("--group", metavar="GROUP", help="The group's slug.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME|PATTERN", help="Narrow the key to these of its group; may repeat."),
]
AllowedIps = Annotated[
    list[str] | None,
    typer.Option("--allowed-ip", metavar="ADDRESS|NETWORK", help="Usable from there only; may repeat."),
]
CreditLimit = Annotated[
    str | None, typer.Option("--credit-limit", metavar="CREDITS", help="The most the key may spend in all.")
]


def _rows(keys: Sequence[Json]) -> RenderableType:
    return table(
        ("Id", "Name", "Key", "Group", "Multiplier", "State", "Spent", "Credit limit", "Last used", "User"),
        [
            (
                key["id"],
                key["name"],
                f"…{key['last_four']}",
                key["group"]["slug"],
                key["display_multiplier"],
                key["state"],
                key["spent"],
                key["credit_limit"],
                instant_text(key["last_used_at"]),
                key["user"]["email"],
            )
            for key in keys
        ],
        right=("Spent", "Credit limit"),
    )


def _one(key: Json) -> RenderableType:
    return facts(
        {
            "Id": key["id"],
            "Name": key["name"],
            "Key": f"…{key['last_four']}",
            "User": key["user"]["email"],
            "Group": f"{key['group']['name']} ({key['group']['slug']})",
            "Multiplier": key["display_multiplier"],
            "Multiplier by model": multipliers_text(key["model_multipliers"]),
            **limits_facts(key["limits"]),
            "Available models": key["allowed_models"],
            "Narrowed to": key["models"],
            "Allowed addresses": key["allowed_ips"] or "any",
            "Credit limit": key["credit_limit"] or "none",
            "Spent": key["spent"],
            "Expires": instant_text(key["expires_at"]),
            "Former secret works until": instant_text(key["former_secret_until"]),
            "Last used": instant_text(key["last_used_at"]),
            "State": key["state"],
        }
    )


@command(app, "list")
def list_keys(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", help="Of one user, by e-mail or id.")] = None,
    group: Group = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> None:
    """List keys, newest first: everybody's for administrators, else one's own."""
    client = session.client
    if user is None and group is None and not client.is_administrator():
        page = client.get(path_of("me", "keys"), limit=limit, cursor=cursor)
    else:
        user_id = None if user is None else client.find_user_id(user)
        page = client.get(path_of("admin", "keys"), user=user_id, group=group, limit=limit, cursor=cursor)
    session.show_page(page, _rows)


def _path(session: Session, key_id: str, *more: str) -> str:
    return path_of("admin" if session.client.is_administrator() else "me", "keys", key_id, *more)


@command(app, "show")
def show(session: Session, key: KeyId) -> None:
    """Show a key with its group's terms; never its secret."""
    session.show(session.client.get(_path(session, key)), _one)


@command(app, "create")
def create(
    session: Session,
    name: Annotated[str, typer.Option("--name", help="By which you will know the key.")],
    user: Annotated[
        str | None, typer.Option("--user", help="The owner, by e-mail or id; else the management key's user.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="GROUP", help="The group's slug; else the platform's default."),
    ] = None,
    credit: Annotated[
        str | None,
        typer.Option("--credits", metavar="CREDITS", help="Add so much credit to the owner's account first."),
    ] = None,
    model: Models = None,
    allowed_ip: AllowedIps = None,
    credit_limit: CreditLimit = None,
    expires_at: option.ExpiresAt = None,
) -> None:
    """Create a key, print it this once, and how to make the first call with it."""
    client = session.client
    owner_id = client.get("/api/me").data["id"] if user is None else client.find_user_id(user)
    if credit is not None:
        top_up = {"amount": credit, "reason": f"Credit for API key {name}"}
        client.post_money(path_of("admin", "users", owner_id, "credits"), top_up, idempotency_key=None)
    body = option.given(
        name=name,
        group=group,
        models=model,
        allowed_ips=allowed_ip,
        credit_limit=credit_limit,
        expires_at=expires_at,
    )
    path = path_of("me", "keys") if user is None else path_of("admin", "users", owner_id, "keys")
    try:
        answer = client.post(path, body)
    except ControlError as error:
        if credit is None:
            raise
        raise ControlError(
            f"{error} The {credit} credits were added all the same; repeat without --credits.",
            code=error.code,
        ) from None
    session.show(answer, _one)
    if not session.as_json:
        _say_how_to_call(session, answer.data, own=user is None)


def _say_how_to_call(session: Session, key: Json, *, own: bool) -> None:
    secret = key["key"]
    base_url = f"{session.client.url}/v1"
    session.say(f"\nShown once; keep it:\n\n  export OPENAI_API_KEY={secret}")
    session.say(f"  export OPENAI_BASE_URL={base_url}\n")
    model = _example_model(_offered_models(session, key, own=own))
    if model is None:
        session.say(
            "No model that the key may call is offered yet. Add a provider: tokenopen upstreams add openai"
        )
        return
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    session.say(
        f"  curl {base_url}/chat/completions -H 'Authorization: Bearer {secret}' \\\n"
        f"    -H 'Content-Type: application/json' -d '{body}'\n"
    )
    path = path_of("me") if own else path_of("admin", "users", key["user"]["id"])
    owner = session.client.get(path).data
    session.say(f"{owner['available']} credits are available to {owner['email']} (1 credit = 1 USD).")
    if owner["available"] == "0":
        session.say(
            f"Add some before the first call: tokenopen credits add {owner['email']} 10 --reason Start"
        )


def _offered_models(session: Session, key: Json, *, own: bool) -> Iterator[Json]:
    """Return the models that the key may call now and that give output, with their names."""
    if own:
        groups = session.client.get(path_of("me", "groups")).data["data"]
        offered = [
            {**model, "name": model["model"]}
            for group in groups
            if group["slug"] == key["group"]["slug"]
            for model in group["models"]
        ]
    else:
        models = session.client.list_all(path_of("admin", "models"), state="active")
        offered = [model for model in models if model["offered"]]
    for model in offered:
        narrowed = key["models"] is None or matches_any(key["models"], model["name"])
        if narrowed and matches_any(key["allowed_models"], model["name"]) and model["max_output_tokens"]:
            yield model


def _example_model(offered: Iterator[Json]) -> str | None:
    names = [str(model["name"]) for model in offered]
    return _EXAMPLE_MODEL if _EXAMPLE_MODEL in names else next(iter(names), None)


@command(app, "change")
def change(
    session: Session,
    key: KeyId,
    name: Annotated[str | None, typer.Option("--name", help="By which you know the key.")] = None,
    group: Group = None,
    model: Models = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Every model of its group.")] = False,
    allowed_ip: AllowedIps = None,
    any_ip: Annotated[bool, typer.Option("--any-ip", help="Usable from everywhere.")] = False,
    credit_limit: CreditLimit = None,
    no_credit_limit: Annotated[
        bool, typer.Option("--no-credit-limit", help="Only the account's credit bounds it.")
    ] = False,
    expires_at: option.ExpiresAt = None,
    never_expires: Annotated[bool, typer.Option("--never-expires", help="No end.")] = False,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Switch the key on or off.")] = None,
) -> None:
    """Change a key, its group too; the secret stays, and the very next call is bound."""
    state = None if on is None else "active" if on else "disabled"
    body = option.given(
        name=name,
        group=group,
        models=model,
        allowed_ips=allowed_ip,
        credit_limit=credit_limit,
        expires_at=expires_at,
        state=state,
    )
    cleared = {
        "models": all_models,
        "allowed_ips": any_ip,
        "credit_limit": no_credit_limit,
        "expires_at": never_expires,
    }
    body |= {field: None for field, wanted in cleared.items() if wanted}
    session.show(session.client.patch(_path(session, key), body), _one)


@command(app, "move")
def move(
    session: Session,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The slug of a group open to you.")],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="KEY", help="One of your keys; may repeat. Without it, all of them."),
    ] = None,
) -> None:
    """Move your own keys to a group, all of them or none; secrets stay."""
    answer = session.client.post(path_of("me", "keys", "move"), {"group": group, "keys": key or None})
    session.show_page(answer, _rows)


@command(app, "rotate")
def rotate(
    session: Session,
    key: KeyId,
    overlap_seconds: Annotated[
        int | None,
        typer.Option("--overlap-seconds", help="For how long the old secret works on; a day unless named."),
    ] = None,
) -> None:
    """Give a key a new secret, printed this once; the old one works on for a while."""
    body = option.given(overlap_seconds=overlap_seconds)
    answer = session.client.post(_path(session, key, "rotate"), body)
    session.show(answer, _one)
    if not session.as_json:
        session.say(f"\nShown once; keep it:\n\n  export OPENAI_API_KEY={answer.data['key']}")


@command(app, "revoke")
def revoke(session: Session, key: KeyId) -> None:
    """Make a key useless for good, from the very next call on."""
    session.show(session.client.post(_path(session, key, "revoke")), _one)

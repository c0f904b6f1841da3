"""``tokenopen upstreams``: the providers that calls are forwarded to."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from pydantic_settings import BaseSettings, EnvSettingsSource
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Answer, ControlClient, Json, path_of
from tokenopen.cli.command import LIMIT, Cursor, Limit, Session, ask_secret, command, somebody_can_answer
from tokenopen.cli.output import facts, table
from tokenopen.cli.setting import ControlError
from tokenopen.upstream.providers import PROVIDERS, Provider

app = typer.Typer(
    help="Upstreams: providers, their credentials, and the models they carry.", no_args_is_help=True
)

Reference = Annotated[str, typer.Argument(metavar="UPSTREAM", help="The upstream's name or id.")]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="As the provider's SDK takes it.")
]
CredentialVariable = Annotated[
    str | None,
    typer.Option("--credential-env", metavar="VARIABLE", help="The environment variable it is in."),
]
Priority = Annotated[
    int | None, typer.Option("--priority", min=0, max=1_000, help="A lower number is tried first.")
]
Weight = Annotated[
    int | None, typer.Option("--weight", min=1, max=1_000, help="Its share among equal priorities.")
]
CostMultiplier = Annotated[
    str | None,
    typer.Option(
        "--cost-multiplier",
        metavar="DECIMAL",
        help="What the provider takes, as a factor on the models' prices here, such as 0.9.",
    ),
]


def _rows(upstreams: Sequence[Json]) -> RenderableType:
    return table(
        (
            "Name",
            "Provider",
            "Base URL",
            "Credential",
            "Models",
            "Priority",
            "Weight",
            "Enabled",
            "Warnings",
            "Id",
        ),
        [
            (
                upstream["name"],
                upstream["provider"],
                upstream["base_url"],
                f"…{upstream['credential_last_four']}",
                len(upstream["models"]),
                upstream["priority"],
                upstream["weight"],
                upstream["enabled"],
                len(upstream["warnings"]),
                upstream["id"],
            )
            for upstream in upstreams
        ],
        right=("Models", "Priority", "Weight", "Warnings"),
    )


def _one(upstream: Json) -> RenderableType:
    return facts(
        {
            "Name": upstream["name"],
            "Id": upstream["id"],
            "Provider": upstream["provider"],
            "Base URL": upstream["base_url"],
            "Credential": f"…{upstream['credential_last_four']}",
            "Enabled": upstream["enabled"],
            "Priority, weight": f"{upstream['priority']}, {upstream['weight']}",
            "Provider takes": None
            if upstream["cost_multiplier"] is None
            else f"{upstream['cost_multiplier']}x the models' prices",
            "Timeouts (ms)": f"connect {upstream['connect_timeout_ms']:,}, "
            f"first byte {upstream['first_byte_timeout_ms']:,}, idle {upstream['idle_timeout_ms']:,}",
            f"Models ({len(upstream['models'])})": [
                public if public == there else f"{public} -> {there}"
                for public, there in upstream["models"].items()
            ],
            "Warnings": "\n".join(upstream["warnings"]) or None,
        }
    )


def _find(client: ControlClient, reference: str) -> Json:
    """Return the upstream with a name or an id. Raises ControlError."""
    upstreams = client.list_all(path_of("admin", "upstreams"))
    for upstream in upstreams:
        if reference in (upstream["name"], upstream["id"]):
            return upstream
    names = ", ".join(upstream["name"] for upstream in upstreams) or "none yet"
    raise ControlError(f"There is no upstream {reference}. There are: {names}.")


@command(app, "list")
def list_upstreams(session: Session, limit: Limit = LIMIT, cursor: Cursor = None) -> None:
    """List upstreams, the oldest first."""
    session.show_page(session.client.get(path_of("admin", "upstreams"), limit=limit, cursor=cursor), _rows)


@command(app, "show")
def show(session: Session, upstream: Reference) -> None:
    """Show an upstream with the models it carries; never its credential."""
    found = _find(session.client, upstream)
    session.show(session.client.get(path_of("admin", "upstreams", found["id"])), _one)


@command(app, "add")
def add(
    session: Session,
    provider: Annotated[
        str,
        typer.Argument(
            metavar="PROVIDER", help=f"One of {', '.join(PROVIDERS)}.", autocompletion=lambda: list(PROVIDERS)
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", help="Else the provider's.")] = None,
    base_url: BaseUrl = None,
    credential_env: CredentialVariable = None,
    priority: Priority = None,
    weight: Weight = None,
    cost_multiplier: CostMultiplier = None,
) -> None:
    """Add a provider: test its credential, read its model list, and map every model that has a price here.

    The credential is taken from --credential-env, else the provider's usual variable (OPENAI_API_KEY for
    openai), else asked for. Repeat the command after a failed test to try another credential.
    """
    known = _known_provider(provider, base_url)
    body = option.given(
        provider=provider,
        name=name or provider,
        base_url=base_url,
        credential=_credential(session, known, credential_env),
        priority=priority,
        weight=weight,
        cost_multiplier=cost_multiplier,
    )
    client = session.client
    unfinished = _find_unfinished(client, body["name"])
    if unfinished is None:
        upstream = client.post(path_of("admin", "upstreams"), body).data
    else:
        upstream = client.patch(path_of("admin", "upstreams", unfinished["id"]), body).data
    probe = _test(client, upstream).data
    if not probe["ok"]:
        raise ControlError(
            f"{probe['error']} Upstream {upstream['name']} is kept, without models: "
            "repeat the command to try again."
        )
    session.say(f"{upstream['base_url']} answered in {probe['latency_ms']:,} ms, {probe['models']:,} models.")
    _map_models(session, upstream)


def _known_provider(name: str, base_url: str | None) -> Provider:
    if name not in PROVIDERS:
        raise ControlError(
            f"{name} is not a provider that is known here: {', '.join(PROVIDERS)}. "
            "Another API in OpenAI's shape is openai-compatible."
        )
    if PROVIDERS[name].base_url is None and base_url is None:
        raise ControlError(f"Provider {name} has no address of its own: name it with --base-url URL")
    return PROVIDERS[name]


def _find_unfinished(client: ControlClient, name: str) -> Json | None:
    """Return the upstream that an earlier attempt left without models, or None."""
    for upstream in client.list_all(path_of("admin", "upstreams")):
        if upstream["name"] == name and not upstream["models"]:
            return upstream
    return None


def _credential(session: Session, provider: Provider, variable: str | None) -> str:
    """Return the credential from the variable named, else the provider's usual one, else a hidden prompt."""
    variables = EnvSettingsSource(BaseSettings, case_sensitive=True).env_vars
    if variable is not None:
        credential = variables.get(variable)
        if not credential:
            raise ControlError(f"The variable {variable} is not set, or is empty.")
        return credential
    usual = variables.get(provider.credential_variable)
    if usual:
        session.say(f"Using the credential in {provider.credential_variable}.")
        return usual
    return _ask_credential(provider)


def _ask_credential(provider: Provider) -> str:
    if not somebody_can_answer():
        raise ControlError(
            f"A credential is needed. Set {provider.credential_variable}, or name another variable with "
            "--credential-env"
        )
    return ask_secret(f"Credential of {provider.label}")


def _test(client: ControlClient, upstream: Json) -> Answer:
    return client.post(path_of("admin", "upstreams", upstream["id"], "test"))


def _map_models(session: Session, upstream: Json) -> None:
    """Map what the provider lists and has a price here; what is mapped already stays."""
    path = path_of("admin", "upstreams", upstream["id"])
    available = session.client.get(f"{path}/available-models").data["data"]
    models = {**_priced(available), **upstream["models"]}
    answer = session.client.patch(path, {"models": models})
    session.show(answer, _mapped_rows)
    if not session.as_json:
        _say_unmapped(session, available)


def _priced(available: Sequence[Json]) -> Mapping[str, str]:
    """Return public name -> name there; of two that stand for the same model the one of that very name."""
    found = {each["model"]: each["upstream_model"] for each in available if each["has_price"]}
    exact = {
        each["model"]: each["model"]
        for each in available
        if each["has_price"] and each["model"] == each["upstream_model"]
    }
    return found | exact


def _mapped_rows(upstream: Json) -> RenderableType:
    return table(("Model", f"Name at {upstream['name']}"), sorted(upstream["models"].items()))


def _say_unmapped(session: Session, available: Sequence[Json]) -> None:
    mapped = sum(each["has_price"] for each in available)
    session.say(f"{mapped:,} of {len(available):,} models have a price here and are mapped.")
    incomplete = [each["model"] for each in available if each["state"] == "incomplete"]
    archived = [each["model"] for each in available if each["state"] == "archived"]
    unknown = [each["upstream_model"] for each in available if each["model"] is None]
    if incomplete:
        session.say(
            f"Incomplete (tokenopen models list --incomplete says what to fill in): {', '.join(incomplete)}"
        )
    if archived:
        session.say(f"Archived here: {', '.join(archived)}")
    if unknown:
        session.say(f"Without a price here (tokenopen models set-price): {', '.join(unknown)}")
    if incomplete or unknown:
        session.say("When they have one, tokenopen upstreams map maps them too.")


@command(app, "map")
def map_models(session: Session, upstream: Reference) -> None:
    """Read the provider's model list again and map every model that has a price here by now."""
    _map_models(session, _find(session.client, upstream))


@command(app, "test")
def test(session: Session, upstream: Reference) -> None:
    """Ask the provider for its model list, which costs nothing; exit code 1 where it does not answer."""
    answer = _test(session.client, _find(session.client, upstream))
    session.show(
        answer,
        lambda probe: facts(
            {
                "Answers": probe["ok"],
                "Status": probe["status"],
                "Latency": f"{probe['latency_ms']:,} ms",
                "Models": probe["models"],
                "What to do": probe["error"],
            }
        ),
    )
    if not answer.data["ok"]:
        raise typer.Exit(1)


@command(app, "change")
def change(
    session: Session,
    upstream: Reference,
    name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    base_url: BaseUrl = None,
    credential_env: CredentialVariable = None,
    ask_credential: Annotated[
        bool, typer.Option("--ask-credential", help="Ask for another credential.")
    ] = False,
    add_model: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="MODEL=NAME", help="Carry a model, by its name there; may repeat."),
    ] = None,
    remove_model: Annotated[
        list[str] | None, typer.Option("--unmap", metavar="MODEL", help="Carry it no more; may repeat.")
    ] = None,
    priority: Priority = None,
    weight: Weight = None,
    cost_multiplier: CostMultiplier = None,
    connect_timeout_ms: Annotated[int | None, typer.Option("--connect-timeout-ms")] = None,
    first_byte_timeout_ms: Annotated[int | None, typer.Option("--first-byte-timeout-ms")] = None,
    idle_timeout_ms: Annotated[int | None, typer.Option("--idle-timeout-ms")] = None,
) -> None:
    """Change an upstream; binds the very next call. Another address needs the credential for it, too."""
    found = _find(session.client, upstream)
    provider = PROVIDERS[found["provider"]]
    credential = None
    if credential_env is not None:
        credential = _credential(session, provider, credential_env)
    elif ask_credential:
        credential = _ask_credential(provider)
    body = option.given(
        name=name,
        base_url=base_url,
        credential=credential,
        priority=priority,
        weight=weight,
        cost_multiplier=cost_multiplier,
        connect_timeout_ms=connect_timeout_ms,
        first_byte_timeout_ms=first_byte_timeout_ms,
        idle_timeout_ms=idle_timeout_ms,
    )
    if add_model or remove_model:
        body["models"] = _edit_map(found["models"], add_model or (), remove_model or ())
    session.show(session.client.patch(path_of("admin", "upstreams", found["id"]), body), _one)


def _edit_map(models: Mapping[str, str], add: Sequence[str], remove: Sequence[str]) -> Mapping[str, str]:
    for name in remove:
        if name not in models:
            raise ControlError(f"The upstream does not carry {name}.")
    kept = {public: there for public, there in models.items() if public not in remove}
    return kept | option.parse_pairs("--map", add)


@command(app, "enable")
def enable(session: Session, upstream: Reference) -> None:
    """Forward calls to an upstream again."""
    _set_enabled(session, upstream, enabled=True)


@command(app, "disable")
def disable(session: Session, upstream: Reference) -> None:
    """Forward no call to an upstream; models that no other one carries are not offered."""
    _set_enabled(session, upstream, enabled=False)


def _set_enabled(session: Session, reference: str, *, enabled: bool) -> None:
    path = path_of("admin", "upstreams", _find(session.client, reference)["id"])
    session.show(session.client.patch(path, {"enabled": enabled}), _one)

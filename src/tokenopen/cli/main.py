"""``tokenopen``: the command line. What runs here, and what asks a running server through its control API."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from tokenopen import __version__
from tokenopen.cli import (
    api_key,
    audit,
    audit_log,
    call,
    demo,
    entitlement,
    group,
    ledger,
    model,
    platform,
    price,
    serve,
    upgrade_request,
    upstream,
    user,
)
from tokenopen.cli.replay import replay
from tokenopen.cli.upstream_simulator import upstream_simulator

# What runs in this process, by name; each has its own file.
COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "serve": serve.serve,
    "demo": demo.demo,
    "audit": audit.audit,
    "replay": replay,
    "upstream-simulator": upstream_simulator,
}

# What asks a running server, by the noun it is about.
NOUNS: Final[dict[str, typer.Typer]] = {
    "upstreams": upstream.app,
    "models": model.app,
    "prices": price.app,
    "groups": group.app,
    "users": user.app,
    "credits": ledger.app,
    "entitlements": entitlement.app,
    "requests": upgrade_request.app,
    "keys": api_key.app,
    "calls": call.app,
    "settings": platform.app,
}

app = typer.Typer(
    name="tokenopen",
    help="TokenOpen: an LLM API platform that you run yourself; groups decide models, price and limits.",
    no_args_is_help=True,
    # A traceback with the values of variables could show a key.
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tokenopen {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _name, _function in COMMANDS.items():
    app.command(_name)(_function)
for _name, _noun in NOUNS.items():
    app.add_typer(_noun, name=_name)
audit_log.register(app)


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()

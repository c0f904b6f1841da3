"""``tokenopen``: the command line. What runs here, and what asks a running server through its control API."""

import importlib
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tokenopen import __version__
from tokenopen.cli import (
    admin,
    api_key,
    audit_log,
    call,
    entitlement,
    group,
    ledger,
    model,
    platform,
    price,
    upgrade_request,
    upstream,
    user,
)

# What runs in this process, by name: each is a function, or several as an app, in its own file.
COMMANDS: Final = {
    "serve": "tokenopen.cli.serve:serve",
    "demo": "tokenopen.cli.demo:demo",
    "audit": "tokenopen.cli.audit:audit",
    "backup": "tokenopen.cli.backup:backup",
    "restore": "tokenopen.cli.backup:restore",
    "db": "tokenopen.cli.db:app",
    "replay": "tokenopen.cli.replay:replay",
    "upstream-simulator": "tokenopen.cli.upstream_simulator:upstream_simulator",
}

# What asks a running server, by the noun it is about.
NOUNS: Final[dict[str, typer.Typer]] = {
    "admin": admin.app,
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


class _Root(TyperGroup):
    """Imports what runs in this process only when it is asked for: a platform takes a second to import,
    and a shell completes a word by starting us."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, function = COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), function)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)


app = typer.Typer(
    cls=_Root,
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


for _name, _noun in NOUNS.items():
    app.add_typer(_noun, name=_name)
audit_log.register(app)


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()

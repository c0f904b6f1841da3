"""``tokenopen``: the command line. What runs here, and what asks a running server through its control API."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tokenopen import __version__

# Every command by name, in the order of the help: a function, or several as an app, each in its own file.
COMMANDS: Final = {
    # What runs in this process.
    "serve": "tokenopen.cli.serve:serve",
    "demo": "tokenopen.cli.demo:demo",
    "audit": "tokenopen.cli.audit:audit",
    "backup": "tokenopen.cli.backup:backup",
    "restore": "tokenopen.cli.backup:restore",
    "db": "tokenopen.cli.db:app",
    "replay": "tokenopen.cli.replay:replay",
    "upstream-simulator": "tokenopen.cli.upstream_simulator:upstream_simulator",
    # What asks a running server.
    "audit-log": "tokenopen.cli.audit_log:audit_log",
    "admin": "tokenopen.cli.admin:app",
    "upstreams": "tokenopen.cli.upstream:app",
    "models": "tokenopen.cli.model:app",
    "prices": "tokenopen.cli.price:app",
    "groups": "tokenopen.cli.group:app",
    "users": "tokenopen.cli.user:app",
    "credits": "tokenopen.cli.ledger:app",
    "entitlements": "tokenopen.cli.entitlement:app",
    "requests": "tokenopen.cli.upgrade_request:app",
    "keys": "tokenopen.cli.api_key:app",
    "calls": "tokenopen.cli.call:app",
    "settings": "tokenopen.cli.platform:app",
}


class _Commands(Mapping[str, Any]):
    """Imports a command only when it is asked for: a platform takes a second to import, a shell completes a
    word by starting us, and what commands over the API need would stay in a server's memory."""

    def __getitem__(self, name: str) -> Any:
        module, _, function = COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(module), function)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        if isinstance(found, typer.Typer):
            alone.add_typer(found, name=name)
        else:
            alone.command(name)(found)
        return typer.main.get_group(alone).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Root(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # It is only read.
        self.commands = _Commands()  # type: ignore[assignment]


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


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()

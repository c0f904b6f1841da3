"""Command: what every command over the control API has in common: its connection, --json, and its errors."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, Final, ParamSpec

import httpx
import typer
from rich.console import RenderableType

from tokenopen.cli.client import (
    Answer,
    ControlClient,
    Json,
    base_url,
    open_client,
)
from tokenopen.cli.output import plain, show
from tokenopen.cli.setting import ControlError, read_settings

Parameters = ParamSpec("Parameters")

_PANEL: Final = "Connection and output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command's connection, and how it is to answer."""

    client: ControlClient
    as_json: bool

    def show(self, answer: Answer, view: Callable[[Json], RenderableType]) -> None:
        """Print what the API answered: its JSON untouched, or as ``view`` lays it out."""
        if self.as_json:
            typer.echo(answer.text)
            return
        show(view(answer.data))

    def show_page(self, answer: Answer, view: Callable[[list[Json]], RenderableType]) -> None:
        """Print a page of a list, and how to get the next one."""
        self.show(answer, lambda page: view(page["data"]))
        if not self.as_json and answer.data["next_cursor"] is not None:
            self.say(f"More: repeat with --cursor {answer.data['next_cursor']}")

    def say(self, text: str) -> None:
        """Print a sentence for people; with --json nothing stands beside the JSON."""
        if not self.as_json:
            typer.echo(plain(text))


Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on where an earlier page ended.")
]
LIMIT: Final = 50

# The options that ``command`` adds to every function, after the function's own.
_COMMON: Final = {
    "as_json": (
        Annotated[
            bool, typer.Option("--json", help="Print the API's JSON untouched.", rich_help_panel=_PANEL)
        ],
        False,
    ),
    "url": (
        Annotated[
            str | None,
            typer.Option(
                "--url",
                metavar="URL",
                help="Where TokenOpen serves; else from TOKENOPEN_HOST and TOKENOPEN_PORT.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "admin_key": (
        Annotated[
            str | None,
            typer.Option(
                "--admin-key",
                metavar="KEY",
                help="Management key; else TOKENOPEN_ADMIN_KEY, else a prompt.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}


def command(
    app: typer.Typer, name: str, *, negative_arguments: bool = False
) -> Callable[
    [Callable[Concatenate[Session, Parameters], None]], Callable[Concatenate[Session, Parameters], None]
]:
    """Register a function over the API as a command of ``app``.

    With ``negative_arguments`` an argument such as -2.5 is not taken for an option.
    """
    context_settings = {"ignore_unknown_options": True} if negative_arguments else None

    def register(
        function: Callable[Concatenate[Session, Parameters], None],
    ) -> Callable[Concatenate[Session, Parameters], None]:
        app.command(name, context_settings=context_settings)(over_the_api(function))
        return function

    return register


def over_the_api(function: Callable[Concatenate[Session, Parameters], None]) -> Callable[..., None]:
    """Return what a function becomes as a command: it is called with an open session before its own options.

    A ControlError that leaves the function becomes one line on stderr and exit code 1.
    """

    @functools.wraps(function)
    def run(*, context: typer.Context, **options: Any) -> None:
        common = {name: options.pop(name) for name in _COMMON}
        transport = context.obj if isinstance(context.obj, httpx.BaseTransport) else None
        with errors_told(), _open_session(transport, **common) as session:
            function(session, **options)  # type: ignore[call-arg]

    signature = _command_signature(function)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {
        parameter.name: parameter.annotation for parameter in signature.parameters.values()
    }
    return run


def _command_signature(function: Callable[..., None]) -> inspect.Signature:
    """Return the function's signature without its session, with the context and the common options."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    return inspect.Signature(
        [parameter.replace(kind=keyword) for parameter in own]
        + [inspect.Parameter("context", keyword, annotation=typer.Context)]
        + [
            inspect.Parameter(name, keyword, annotation=annotation, default=default)
            for name, (annotation, default) in _COMMON.items()
        ]
    )


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn a ControlError into one line on stderr and exit code 1."""
    try:
        yield
    except ControlError as error:
        code = "" if error.code is None else f" [{error.code}]"
        typer.echo(f"Error: {plain(error)}{code}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _open_session(
    transport: httpx.BaseTransport | None, *, as_json: bool, url: str | None, admin_key: str | None
) -> Iterator[Session]:
    settings = read_settings()
    known = settings.admin_key.get_secret_value() if settings.admin_key else None
    key = admin_key or known or _ask_for_key()
    with open_client(url=url or base_url(settings), key=key, transport=transport) as client:
        yield Session(client=client, as_json=as_json)


def _ask_for_key() -> str:
    """Ask a person for the management key; there is none where nobody can answer."""
    if not somebody_can_answer():
        return ""
    return ask_secret("Management key (tokenopen serve prints it at its first start)")


def somebody_can_answer() -> bool:
    """Tell whether a question on the terminal would be read by a person."""
    return sys.stdin.isatty()


def ask_secret(question: str) -> str:
    """Ask for something that is not shown while it is typed; stdout stays free for what a command answers."""
    return str(typer.prompt(question, hide_input=True, err=True))

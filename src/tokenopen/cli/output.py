"""Output: what the API answered, as tables for people. Labels are those of the console's pages."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Wide enough for every table: output that goes into a file or a pipe is never folded.
_UNFOLDED_WIDTH: Final = 10_000

NONE: Final = "-"


def console() -> Console:
    """Return a console on stdout, folding tables only where somebody looks at them."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_UNFOLDED_WIDTH)


def show(renderable: RenderableType) -> None:
    """Print a table; into a file or a pipe without the blanks that fill its last column."""
    target = console()
    if target.is_terminal:
        target.print(renderable)
        return
    with target.capture() as captured:
        target.print(renderable)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def plain(text: object) -> str:
    """Return a text without characters that would steer the terminal."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in str(text)
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """Return a table; the columns named in ``right`` hold numbers and are set to the right."""
    # A rule under the heads is for eyes; what reads a pipe wants rows.
    shown = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, show_edge=False, pad_edge=False)
    numbers = set(right)
    for column in columns:
        shown.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell(value)) for value in row))
    return shown


def facts(pairs: Mapping[str, object]) -> Table:
    """Return one thing, a line for each of its labels."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for label, value in pairs.items():
        shown.add_row(Text(label), Text(cell(value)))
    return shown


def cell(value: object) -> str:
    """Return a JSON value as people read it."""
    if value is None or value == [] or value == {}:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {cell(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(cell(item) for item in value)
    return plain(value)


def limit_text(value: int | None) -> str:
    """Return a limit; none is unlimited."""
    return "unlimited" if value is None else f"{value:,}"


def instant_text(text: str | None) -> str:
    """Return an RFC 3339 instant without what only machines need."""
    if text is None:
        return NONE
    return plain(text).replace("T", " ").replace("Z", " UTC")


def multipliers_text(patterns: Mapping[str, str] | None) -> str:
    """Return multipliers by model pattern."""
    return ", ".join(f"{plain(pattern)} {value}x" for pattern, value in (patterns or {}).items()) or NONE


def credits_text(amount: str) -> str:
    """Return an amount of credit with its unit."""
    return f"{amount} credits"


def limits_facts(thing: Mapping[str, Any]) -> dict[str, object]:
    """Return the four limits of whatever has them, by label."""
    return {
        "Requests / minute (RPM)": limit_text(thing["requests_per_minute"]),
        "Requests / day (TPD)": limit_text(thing["requests_per_day"]),
        "Tokens / minute (TPM)": limit_text(thing["tokens_per_minute"]),
        "Concurrent calls": limit_text(thing["concurrent_calls"]),
    }

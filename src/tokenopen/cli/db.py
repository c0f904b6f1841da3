"""``tokenopen db``: the database itself: its schema, and moving it to the other engine."""

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tokenopen.cli.log import configure_logging
from tokenopen.bootstrap.database import Copied, DatabaseError, copy_database, upgrade_database
from tokenopen.cli.setting import ControlError, read_settings

app = typer.Typer(
    help="The database: bring its schema up to date, or copy it to the other engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("upgrade")
def upgrade() -> None:
    """Bring the schema up to date, as serve does when it starts.

    On PostgreSQL workers of the version before serve on meanwhile; the embedded database has to be at rest.
    """
    configure_logging()
    try:
        revision = asyncio.run(upgrade_database(read_settings()))
    except (DatabaseError, ControlError) as error:
        typer.echo(f"The schema is not up to date: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"The schema is up to date ({revision}).")


@app.command("copy")
def copy(
    source: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="sqlite:PATH of a data directory, or postgresql://..."),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="An empty database: postgresql://..., or sqlite:PATH")
    ],
) -> None:
    """Copy every row into an empty database of the other engine; nothing may serve either of them meanwhile.

    Both are audited, and the rows of each table counted on both sides. The source stays as it is. The secret
    is not copied: it stays yours to carry.
    """
    configure_logging()
    bar = Progress(
        TextColumn("Copying rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True
    )
    try:
        with bar:
            task = bar.add_task("rows", total=None)
            copied = asyncio.run(
                copy_database(
                    source,
                    target,
                    on_counted=lambda rows: bar.update(task, total=rows),
                    on_copied=lambda rows: bar.advance(task, rows),
                )
            )
    except DatabaseError as error:
        typer.echo(f"Not copied: {error}", err=True)
        raise typer.Exit(1) from None
    _report(copied, target)


def _report(copied: Copied, target: str) -> None:
    for table, rows in copied.rows.items():
        if rows:
            typer.echo(f"{rows:>14,}  {table}")
    typer.echo(f"{sum(copied.rows.values()):>14,}  rows, as many on both sides")
    typer.echo(f"audit of the copy: {copied.audit.drift_count:,} drift")
    if target.startswith("sqlite:"):
        typer.echo("Next: set TOKENOPEN_DATA_DIR to its directory, and TOKENOPEN_SECRET_KEY as before.")
    else:
        typer.echo(
            "Next: set TOKENOPEN_DATABASE_URL to the target, and TOKENOPEN_SECRET_KEY to the secret that the "
            "source was used with (the content of secret.key in its data directory, unless you had set one)."
        )
    if copied.audit.drift_count:
        raise typer.Exit(1)

"""``tokenopen backup`` and ``tokenopen restore``: the embedded installation in one file, and back."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from tokenopen.bootstrap.backup import BackedUp, back_up
from tokenopen.bootstrap.backup import restore as put_back
from tokenopen.bootstrap.database import DatabaseError
from tokenopen.cli.setting import ControlError, read_settings

File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)]


def backup(
    file: File,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
) -> None:
    """Write the embedded database as it stands now, and its secret, into one file; a server may run beside.

    The file is readable by you only: whoever has it can use every upstream's credential. It is checked
    while it is made: all of it is read, and audited.
    """
    bar = Progress(TextColumn("Copying the database"), BarColumn(), TaskProgressColumn(), transient=True)
    try:
        with bar:
            task = bar.add_task("pages", total=None)
            done = back_up(
                read_settings(),
                file,
                overwrite=overwrite,
                on_copied=lambda copied, pages: bar.update(task, total=pages, completed=copied),
            )
    except (DatabaseError, ControlError) as error:
        typer.echo(f"Not backed up: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{file} holds the database as of {done.manifest.created_at}{_secret(done)}.")
    _end(done)


def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move the installation that is there aside first.")
    ] = False,
) -> None:
    """Make a backup the embedded installation; no server may run on the data directory.

    Everything is checked before anything is put in place: lengths and digests, the database's integrity, that
    the secret is its own. A backup of an older version is brought up to date. Calls that ran when the backup
    was made are given up at the next start and cost nothing.
    """
    try:
        settings = read_settings()
        done = put_back(settings, file, replace=replace)
    except (DatabaseError, ControlError) as error:
        typer.echo(f"Not restored: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{settings.data_dir} is as of {done.manifest.created_at}{_secret(done)}.")
    if done.moved_to is not None:
        typer.echo(f"What was there is in {done.moved_to}.")
    _end(done)


def _secret(done: BackedUp) -> str:
    if done.manifest.has_secret:
        return ", with its secret"
    return "; the secret in TOKENOPEN_SECRET_KEY is not in it: keep that yourself"


def _end(done: BackedUp) -> None:
    checked = ", ".join(f"{count:,} {kind}" for kind, count in done.audit.checked.items())
    typer.echo(f"audit: {done.audit.drift_count:,} drift ({checked})")
    if done.audit.drift_count:
        typer.echo("Its books are not sound; see tokenopen audit.", err=True)
        raise typer.Exit(1)

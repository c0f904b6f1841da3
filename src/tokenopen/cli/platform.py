"""``tokenopen settings``: what holds for the whole installation."""

from typing import Annotated

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import Session, command
from tokenopen.cli.output import facts

app = typer.Typer(help="Platform settings: name, time zone, default group, support.", no_args_is_help=True)


def _one(settings: Json) -> RenderableType:
    return facts(
        {
            "Name": settings["name"],
            "Time zone": settings["time_zone"],
            "Default group": settings["default_group"],
            "Support contact": settings["support_contact"] or None,
        }
    )


@command(app, "show")
def show(session: Session) -> None:
    """Show the platform settings."""
    session.show(session.client.get(path_of("admin", "settings")), _one)


@command(app, "set")
def set_settings(
    session: Session,
    name: Annotated[str | None, typer.Option("--name", help="What the installation is called.")] = None,
    time_zone: Annotated[
        str | None,
        typer.Option("--time-zone", metavar="ZONE", help="Where days end, for Requests / day (TPD)."),
    ] = None,
    default_group: Annotated[
        str | None, typer.Option("--default-group", metavar="GROUP", help="For keys created without one.")
    ] = None,
    support_contact: Annotated[
        str | None, typer.Option("--support-contact", help="Mail address or link; refused calls name it.")
    ] = None,
) -> None:
    """Change platform settings; they bind the very next call."""
    body = option.given(
        name=name, time_zone=time_zone, default_group=default_group, support_contact=support_contact
    )
    session.show(session.client.patch(path_of("admin", "settings"), body), _one)

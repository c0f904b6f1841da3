"""``tokenopen admin``: getting administrators in."""

import typer
from rich.console import RenderableType

from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import Session, command
from tokenopen.cli.output import facts, instant_text

app = typer.Typer(
    help="Administrators: a one-time link with which somebody becomes one.", no_args_is_help=True
)


def show_link(link: Json) -> RenderableType:
    """Lay out a one-time link."""
    return facts({"Link": link["url"], "Works": f"once, until {instant_text(link['expires_at'])}"})


@command(app, "link")
def link(session: Session) -> None:
    """Print a link that makes whoever opens it an administrator, with a password of their own."""
    session.show(session.client.post(path_of("admin", "administrator-links")), show_link)

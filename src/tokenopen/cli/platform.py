"""``tokenopen settings``: what holds for the whole installation."""

from typing import Annotated, Final

import typer
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import Session, command
from tokenopen.cli.output import facts
from tokenopen.core.platform import SignUpState

app = typer.Typer(
    help="Platform settings: name, time zone, default group, support, signing up.", no_args_is_help=True
)

_FOREVER: Final = "forever"


def _one(settings: Json) -> RenderableType:
    days = settings["call_retention_days"]
    return facts(
        {
            "Name": settings["name"],
            "Time zone": settings["time_zone"],
            "Default group": settings["default_group"],
            "Support contact": settings["support_contact"] or None,
            "Signing up": settings["sign_up"],
            "Starting credit": settings["starting_credit"],
            "Allowed e-mail domains": ", ".join(settings["allowed_email_domains"]) or None,
            "Prices": "public" if settings["public_prices"] else "after signing in",
            "Records of calls": "kept for ever" if days is None else f"dropped after {days:,} days",
        }
    )


def _days(text: str) -> int | None:
    if text == _FOREVER:
        return None
    return option.parse_count("--call-retention-days", text, or_else=f", or {_FOREVER}")


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
    sign_up: Annotated[
        SignUpState | None, typer.Option("--sign-up", help="Whether people become users by themselves.")
    ] = None,
    starting_credit: Annotated[
        str | None,
        typer.Option("--starting-credit", metavar="CREDITS", help="What their account begins with."),
    ] = None,
    email_domain: Annotated[
        list[str] | None,
        typer.Option(
            "--email-domain", metavar="DOMAIN", help="Only for addresses of it; repeatable, '' lets in all."
        ),
    ] = None,
    public_prices: Annotated[
        bool | None,
        typer.Option(
            "--public-prices/--no-public-prices", help="Whether people see groups and prices signed out."
        ),
    ] = None,
    call_retention_days: Annotated[
        str | None,
        typer.Option(
            "--call-retention-days",
            metavar="DAYS|forever",
            help="How long records of calls are kept; what is dropped cannot be had back.",
        ),
    ] = None,
) -> None:
    """Change platform settings; they bind the very next call."""
    domains = None if email_domain is None else [domain for domain in email_domain if domain]
    body = option.given(
        name=name,
        time_zone=time_zone,
        default_group=default_group,
        support_contact=support_contact,
        sign_up=sign_up,
        starting_credit=starting_credit,
        allowed_email_domains=domains,
        public_prices=public_prices,
    )
    if call_retention_days is not None:
        body["call_retention_days"] = _days(call_retention_days)
    session.show(session.client.patch(path_of("admin", "settings"), body), _one)

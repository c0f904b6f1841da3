"""``tokenopen prices``: the makers' list prices, imported."""

from typing import Annotated

import typer
from rich.console import Group as Stack
from rich.console import RenderableType

from tokenopen.cli import option
from tokenopen.cli.client import Json, path_of
from tokenopen.cli.command import Session, command
from tokenopen.cli.output import facts, table

app = typer.Typer(help="List prices of the makers' own models.", no_args_is_help=True)


# One command is still named: `tokenopen prices import`.
@app.callback()
def _prices() -> None:
    pass


@command(app, "import")
def import_prices(
    session: Session,
    maker: Annotated[
        list[str] | None,
        typer.Option("--maker", metavar="MAKER", help="Only this maker's, such as openai; may repeat."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
) -> None:
    """Import models and list prices that ship with this version; prices that you have set stay."""
    body = option.given(makers=maker, dry_run=dry_run)
    session.show(session.client.post(path_of("admin", "models", "import"), body), _report)


def _report(report: Json) -> RenderableType:
    counts = facts(
        {
            "Dry run": report["dry_run"],
            "Created": report["created"],
            "Changed": report["changed"],
            "Unchanged": report["unchanged"],
            "Your own price kept": report["own_price"],
            "Incomplete": f"{report['incomplete']:,} (tokenopen models list --incomplete)",
        }
    )
    told = [model for model in report["models"] if model["change"] != "unchanged"]
    if not told:
        return counts
    rows = table(
        ("Model", "Maker", "Change", "Missing", "Notes"),
        [
            (
                model["name"],
                model["maker"],
                model["change"].replace("_", " "),
                ", ".join(what.replace("_", " ") for what in model["missing"]),
                " ".join(model["notes"]),
            )
            for model in told
        ],
    )
    return Stack(rows, counts)

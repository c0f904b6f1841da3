"""``tokenopen audit``: re-derives every invariant from the database, beside a running server too."""

import asyncio

import typer
from rich.console import Console
from rich.table import Table

from tokenopen.bootstrap import StartupError, open_reader
from tokenopen.cli.setting import ControlError, read_settings
from tokenopen.control.audit import audit as derive
from tokenopen.control.audit_report import INVARIANTS, AuditReport


def audit() -> None:
    """Re-derive every invariant; exit 1 and the rows on drift. Reads only, on one snapshot."""
    try:
        report = asyncio.run(_audit())
    except (StartupError, ControlError) as error:
        typer.echo(f"The audit cannot run: {error}", err=True)
        raise typer.Exit(2) from None
    _print(report)
    if report.drift_count:
        raise typer.Exit(1)


async def _audit() -> AuditReport:
    async with open_reader(read_settings()) as tx:
        return await derive(tx)


def _print(report: AuditReport) -> None:
    if report.drift_count:
        table = Table()
        for heading in ("Invariant", "Where", "What"):
            # Whole ids, also into a pipe: a row that cannot be looked up is of no use.
            table.add_column(heading, overflow="fold")
        for drift in report.drift:
            says = f"{drift.invariant} {INVARIANTS[drift.invariant]}"
            table.add_row(says, f"{drift.subject_id} ({drift.account_id})", drift.message)
        Console(soft_wrap=True).print(table)
    checked = ", ".join(f"{count:,} {kind}" for kind, count in report.checked.items())
    typer.echo(f"audit: {report.drift_count:,} drift ({checked})")

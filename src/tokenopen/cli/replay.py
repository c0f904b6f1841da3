"""``tokenopen replay``: a recorded trace, sent as calls, with progress and a summary."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console

from tokenopen.cli.command import errors_told
from tokenopen.cli.output import console
from tokenopen.cli.replay_summary import Summary, print_summary
from tokenopen.cli.replay_trace import InvalidTrace, ReplayOptions, run_replay
from tokenopen.cli.setting import read_settings
from tokenopen.settings import Settings

# Whoever replays a trace chooses where to; no caller's URL comes near this client.
_EVERYWHERE: Final = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def replay(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE.csv",
            help="Columns TIMESTAMP, ContextTokens, GeneratedTokens.",
            exists=True,
            dir_okay=False,
        ),
    ],
    base_url: Annotated[
        str, typer.Option("--base-url", metavar="URL", help="As OPENAI_BASE_URL: ends in /v1.")
    ],
    key: Annotated[
        list[str], typer.Option("--key", metavar="KEY", help="API key; rows are dealt over several in turn.")
    ],
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Model to call; several are taken in turn.")
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", help="Factor on the recorded pace: 60 plays an hour in a minute.")
    ] = 1.0,
    as_fast_as_it_goes: Annotated[
        bool, typer.Option("--as-fast-as-it-goes", help="At no pace: the next call when one has ended.")
    ] = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=10_000, help="Calls that may run at once.")
    ] = 64,
    stream_share: Annotated[
        int, typer.Option("--stream-share", min=0, max=100, help="Percentage of the calls that stream.")
    ] = 50,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Only the first so many rows.")] = None,
) -> None:
    """Send a trace's calls, and sum up what was answered, refused and charged, and the added latency.

    Ctrl-C sends no more and waits for what runs; the second one cuts it. Exit code 1 where a call failed.
    """
    try:
        options = ReplayOptions(
            trace_path=trace,
            base_url=base_url,
            keys=key,
            models=model or ["gpt-4o-mini"],
            stream_percent=stream_share,
            speed=None if as_fast_as_it_goes else speed,
            concurrency=concurrency,
            rows_max=rows,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with errors_told():
        settings = read_settings()
    try:
        summary = uvloop.run(_replay(options, settings))
    except (InvalidTrace, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    print_summary(summary, console(), key_names=[f"…{key[-4:]}" for key in options.distinct_keys])
    if summary.total.failed_calls:
        raise typer.Exit(1)


async def _replay(options: ReplayOptions, settings: Settings) -> Summary:
    # Here, not at the top: it brings the whole platform along, which takes as long as most commands do.
    from tokenopen.bootstrap import create_upstream

    upstream = create_upstream(settings.model_copy(update={"upstream_networks": _EVERYWHERE}))
    try:
        return await run_replay(options, upstream, console=Console(stderr=True))
    finally:
        await upstream.close()

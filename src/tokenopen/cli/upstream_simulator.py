"""``tokenopen upstream-simulator``: a provider that only pretends, for trying things without a credential."""

from pathlib import Path
from typing import Annotated

import typer


def upstream_simulator(
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 takes a free one.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Append one JSON line per call.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the last calls for GET /_simulator/calls.")
    ] = False,
) -> None:
    """Serve a simulated provider: OpenAI-compatible, every reply countable by hand, any credential."""
    # Here, not at the top: no other command needs a server.
    from tokenopen.simulator.server import serve

    try:
        serve(host=host, port=port, log_path=log, record=record, ready=lambda port: _greet(host, port))
    except OSError as error:
        typer.echo(f"Error: cannot serve on {host} port {port}, or write the log: {error}", err=True)
        raise typer.Exit(1) from None


def _greet(host: str, port: int) -> None:
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
    typer.echo(f"Simulated provider at {address}, until Ctrl-C. To send calls there:")
    typer.echo(f"  tokenopen upstreams add openai --name simulator --base-url {address}")
    typer.echo("The server allows an address of your own network where TOKENOPEN_UPSTREAM_NETWORKS names it.")

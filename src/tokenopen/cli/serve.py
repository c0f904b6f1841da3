"""``tokenopen serve``: the platform on one port, until SIGINT or SIGTERM."""

import sys
from typing import Annotated

import typer

from tokenopen.cli.log import configure_logging
from tokenopen.bootstrap import FirstStart, StartupError, require_shared_engine
from tokenopen.cli.serve_process import listen, serve_platform
from tokenopen.cli.setting import ControlError, read_settings
from tokenopen.cli.supervisor import Supervisor
from tokenopen.settings import WORKERS_MAX, Settings


def serve(
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=WORKERS_MAX,
            help="Processes that share the port, with PostgreSQL.  [default: TOKENOPEN_WORKERS, or 1]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start TokenOpen. The first start creates the groups, imports models, and prints a management key
    and a link with which somebody becomes the administrator.

    SIGTERM ends it when running streams have ended, 30 s at most. With several workers SIGHUP replaces them
    one after another, without a call lost.
    """
    configure_logging()
    try:
        settings = read_settings()
        count = workers or settings.workers
        if count == 1:
            _serve_alone(settings)
        else:
            require_shared_engine(settings, workers=count)
            _supervise(settings, count)
    except (ControlError, StartupError) as error:
        typer.echo(f"TokenOpen cannot start: {error}", err=True)
        raise typer.Exit(1) from None


def _serve_alone(settings: Settings) -> None:
    # Here, not at the top: a supervisor runs no loop.
    import uvloop

    with listen(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        uvloop.run(
            serve_platform(
                settings,
                listener,
                on_ready=lambda platform: _greet(settings, port, platform.first_start),
            )
        )


def _supervise(settings: Settings, workers: int) -> None:
    with listen(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        supervisor = Supervisor(
            listener,
            workers=workers,
            on_ready=lambda first_start: _greet(settings, port, first_start, workers=workers),
        )
        code = supervisor.run()
    if code:
        raise typer.Exit(code)


def _greet(settings: Settings, port: int, first_start: FirstStart | None, *, workers: int = 1) -> None:
    host = settings.host
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    shared = f" with {workers} workers" if workers > 1 else ""
    typer.echo(f"TokenOpen serves {address}{shared}  (calls: {address}/v1, control API: {address}/api)")
    if first_start is not None:
        typer.echo("First start: groups are created and the well-known models imported.")
        console = settings.public_url or f"http://localhost:{port}"
        typer.echo(f"Become the administrator, once, within an hour:  {console}{first_start.link_path}")
        if first_start.key is not None:
            typer.echo(f"Management key, shown once:  {first_start.key}")
            typer.echo(
                "Keep it:  export TOKENOPEN_ADMIN_KEY=<that key>   Next:  tokenopen upstreams add openai"
            )
    sys.stdout.flush()

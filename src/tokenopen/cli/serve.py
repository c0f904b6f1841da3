"""``tokenopen serve``: the platform on one port, until SIGINT or SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final, TextIO, cast

import structlog
import typer
import uvicorn
import uvloop

from tokenopen.api.http_protocol import BoundedHttpProtocol
from tokenopen.bootstrap import Platform, StartupError, open_platform
from tokenopen.cli.client import ControlError, read_settings
from tokenopen.settings import Settings

# Longer than an idle SDK client waits to reuse a connection, so that it seldom meets a closing one.
_KEEP_ALIVE_S: Final = 75
_STREAMS_END_S: Final = 30
_BACKLOG: Final = 2048


def serve() -> None:
    """Start TokenOpen. The first start creates the groups, imports models, and prints a management key."""
    configure_logging()
    try:
        uvloop.run(_serve(read_settings()))
    except (ControlError, StartupError) as error:
        typer.echo(f"TokenOpen cannot start: {error}", err=True)
        raise typer.Exit(1) from None


class _BestEffort:
    """A stream on which nothing fails: where the log cannot be written, on a full disk, calls go on without.

    An error would otherwise end whatever was logging, the till among them.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logging() -> None:
    """Log to stderr: for people on a terminal, as JSON lines elsewhere."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _BestEffort(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises StartupError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {host} port {port} ({error.strerror}). Stop what uses it, or set "
            "TOKENOPEN_PORT (0 takes a free one) or TOKENOPEN_HOST."
        ) from error


class _Server(uvicorn.Server):
    """Leaves signals to us: its own handling would end the process before the platform is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings) -> None:
    with listen(settings.host, settings.port) as listener:
        async with open_platform(settings) as platform:
            server = _Server(
                uvicorn.Config(
                    platform.application,
                    http=BoundedHttpProtocol,
                    ws="none",
                    lifespan="off",
                    access_log=False,
                    log_config=None,
                    server_header=False,
                    proxy_headers=False,
                    timeout_keep_alive=_KEEP_ALIVE_S,
                    timeout_graceful_shutdown=_STREAMS_END_S,
                    backlog=_BACKLOG,
                )
            )
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, server.handle_exit, number, None)
            _greet(settings.host, listener.getsockname()[1], platform)
            await server.serve(sockets=[listener])


def _greet(host: str, port: int, platform: Platform) -> None:
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(f"TokenOpen serves {address}  (calls: {address}/v1, control API: {address}/api)")
    if platform.first_key is not None:
        typer.echo("First start: groups are created and the well-known models imported.")
        typer.echo(f"Management key, shown once:  {platform.first_key}")
        typer.echo("Keep it:  export TOKENOPEN_ADMIN_KEY=<that key>   Next:  tokenopen upstreams add openai")
    sys.stdout.flush()

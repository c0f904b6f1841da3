"""uvicorn around the simulator: httptools, uvloop, no access log, no further headers."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tokenopen.simulator.app import create_app
from tokenopen.simulator.connection import TRANSPORT
from tokenopen.simulator.model import MODELS_DEFAULT

# Longer than any gateway keeps an idle connection, so that none meets a close it did not ask for.
_KEEP_ALIVE_S = 600


class SimulatorProtocol(HttpToolsProtocol):
    """Puts the transport into the scope, for replies that are not proper HTTP."""

    transport: asyncio.Transport

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


def serve(
    *,
    host: str = "127.0.0.1",
    port: int,
    log_path: Path | None = None,
    record: bool = False,
    models: Sequence[str] = MODELS_DEFAULT,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; port 0 takes a free one.

    ``ready`` is told the port as soon as connections are accepted. Raises OSError where the port is taken
    or the log cannot be written.
    """
    config = uvicorn.Config(
        create_app(models=models, log_path=log_path, record=record),
        http=SimulatorProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=2048) as listener:
        if ready is not None:
            ready(listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])

"""One serving process: the platform on a listening socket, until it is told to stop.

SIGTERM, SIGINT     no call is admitted any more; those that run may end, then what remains is cut and
                    costs nothing. A second signal cuts at once.
SIGHUP              where a supervisor has another process ready: nothing new is accepted; a connection that
                    is kept alive is answered once more and closed; then as above
supervisor gone     as SIGTERM
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from tokenopen.api.http_protocol import BoundedHttpProtocol
from tokenopen.bootstrap import Platform, StartupError, open_platform
from tokenopen.settings import Settings

STREAMS_END_S: Final = 30
BACKLOG: Final = 2048
# Longer than an idle SDK client waits to reuse a connection, so that it seldom meets a closing one.
_KEEP_ALIVE_S: Final = 75
_HAND_OVER_S: Final = 3
# How many more objects than before there are when unreachable ones are looked for; Python's own is 700.
_NEW_OBJECTS: Final = 20_000


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises StartupError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {host} port {port} ({error.strerror}). Stop what uses it, or set "
            "TOKENOPEN_PORT (0 takes a free one) or TOKENOPEN_HOST."
        ) from error


class _Server(uvicorn.Server):
    """Leaves signals to us: its own handling would end the process before the platform is closed."""

    def __init__(self, config: uvicorn.Config, platform: Platform) -> None:
        super().__init__(config)
        self._platform = platform
        self._handing_over: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Admit nothing more and end when the calls have ended; called again, at once."""
        if self.should_exit:
            self.force_exit = True
        self._platform.gateway_api.stop_admitting(cut_after_s=0 if self.force_exit else STREAMS_END_S)
        self.should_exit = True

    def hand_over(self) -> None:
        """Leave new connections to another process, finish with those that are there, and stop."""
        if self._handing_over is None and not self.should_exit:
            self._handing_over = asyncio.create_task(self._hand_over())

    async def _hand_over(self) -> None:
        for server in self.servers:
            server.close()
        self._platform.application.close_connections()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HAND_OVER_S):
                while self.server_state.connections:  # noqa: ASYNC110 the server does not tell
                    await asyncio.sleep(0.05)
        if not self.should_exit:
            self.stop()


async def serve_platform(
    settings: Settings,
    listener: socket.socket,
    *,
    on_ready: Callable[[Platform], None],
    supervisor: int | None = None,
    meter_directory: Path | None = None,
) -> None:
    """Serve until a signal says otherwise. Raises StartupError.

    ``supervisor`` is a descriptor that ends when the supervisor does; its workers tell each other in
    ``meter_directory`` what they counted.
    """
    async with open_platform(settings, meter_directory=meter_directory) as platform:
        config = uvicorn.Config(
            platform.application,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=STREAMS_END_S,
            backlog=BACKLOG,
        )
        server = _Server(config, platform)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        if supervisor is None:
            loop.add_signal_handler(signal.SIGHUP, server.stop)
        else:
            loop.add_signal_handler(signal.SIGHUP, server.hand_over)
            loop.add_reader(supervisor, _stop_alone, server, supervisor)
        settle_memory()
        on_ready(platform)
        await server.serve(sockets=[listener])


def settle_memory() -> None:
    """Leave what a start has made out of every search for unreachable objects, and search less often.

    Calls make few circles; looking at each object of a large catalog again and again costs more than they do.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 50)


def _stop_alone(server: _Server, supervisor: int) -> None:
    asyncio.get_running_loop().remove_reader(supervisor)
    structlog.get_logger().warning("supervisor_gone")
    # Not a second signal, which would cut at once what has time to end.
    if not server.should_exit:
        server.stop()

"""``tokenopen demo``: a platform with a simulated provider, users and keys, shown and checked.

First a month of the past (cli/demo_history.py), then two child processes, the server and the provider,
and everything else through the public API, as people would do it. With ``--once`` it ends by itself, with
exit code 0 only if all is as it says.
"""

import asyncio
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import SecretStr
from rich.progress import Progress

from tokenopen.cli.demo_history import DAYS, live_through
from tokenopen.cli.demo_people import PEOPLE
from tokenopen.cli.demo_story import DemoFailed, tell_story
from tokenopen.cli.demo_trace_run import run_trace
from tokenopen.settings import Settings, child_environment
from tokenopen.simulator.process import SimulatorProcess

_PORTS_TRIED: Final = 100
_END_TIMEOUT_S: Final = 40


def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the checks instead of staying up.")] = False,
) -> None:
    """Start a demo: embedded database, simulated provider, a month of the past, three groups, real calls."""
    # Being asked to end, or losing the terminal, ends the child processes too, as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenopen-demo-")))
        simulator = stack.enter_context(SimulatorProcess())
        environment = demo_environment(directory / "data")
        password = secrets.token_urlsafe(12)
        try:
            settings = Settings(
                data_dir=Path(environment["TOKENOPEN_DATA_DIR"]),
                admin_key=SecretStr(environment["TOKENOPEN_ADMIN_KEY"]),
                upstream_networks=environment["TOKENOPEN_UPSTREAM_NETWORKS"],  # type: ignore[arg-type]
            )
            _live_through(settings, simulator.base_url, password)
            # Looked for only now: the past took a while.
            environment["TOKENOPEN_PORT"] = str(free_port(settings.port))
            url = stack.enter_context(_server(environment))
            story = tell_story(url, environment["TOKENOPEN_ADMIN_KEY"])
            run_trace(story)
            _audit(environment)
        except DemoFailed as failure:
            typer.echo(f"The demo found a fault: {failure}", err=True)
            raise typer.Exit(1) from None
        story.say_what_to_try(password)
        if not once:
            typer.echo("\nThe demo stays up until Ctrl-C. Its data goes with it.")
            _wait_for_interrupt()


def free_port(first: int) -> int:
    """Return the first port from ``first`` on that nothing listens on; 0 leaves it to the system."""
    for port in range(first, first + _PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise typer.BadParameter(f"no port from {first} to {first + _PORTS_TRIED - 1} is free")


def demo_environment(data_dir: Path) -> dict[str, str]:
    """Return the server's environment: its own data, its own keys, providers on loopback allowed."""
    return child_environment(
        {
            "TOKENOPEN_DATA_DIR": str(data_dir),
            "TOKENOPEN_ADMIN_KEY": f"demo-{secrets.token_hex(24)}",
            "TOKENOPEN_HOST": "127.0.0.1",
            "TOKENOPEN_UPSTREAM_NETWORKS": "127.0.0.0/8",
        }
    )


def _live_through(settings: Settings, provider_url: str, password: str) -> None:
    """Fill the data directory with a month of calls, with a bar that shows how far it is."""
    with Progress(transient=True) as progress:
        task = progress.add_task("Living through the past month", total=DAYS)
        calls = asyncio.run(
            live_through(
                settings,
                provider_url,
                password=password,
                on_day=lambda days: progress.update(task, completed=days),
            )
        )
    typer.echo(
        f"The past month: {calls:,} calls by {len(PEOPLE)} people, made through the product's own clock."
    )


@contextmanager
def _server(environment: dict[str, str]) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tokenopen.cli.main", "serve"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for us; the server is ended in order.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        if "http://" not in first_line:
            raise typer.Exit(1)
        yield "http://" + first_line.split("http://", 1)[1].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _audit(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tokenopen.cli.main", "audit"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    typer.echo(done.stdout.rstrip())
    if done.returncode != 0:
        raise DemoFailed(f"the audit found drift {done.stderr}")


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        typer.echo("\nEnding the demo.")

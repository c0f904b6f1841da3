"""A running platform for end-to-end tests: the real server process, the simulated provider, real HTTP."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from tests.e2e import command
from tests.e2e.command import Command
from tokenopen.simulator.process import SimulatorProcess

ADMIN_KEY = "test-admin-key-0123456789-0123456789"
START_TIMEOUT_S = 60
# How a command is started. Tests fork it instead (tests/conftest.py).
start_command = command.execute


class Server:
    """``tokenopen serve`` as a child process on a data directory of its own."""

    def __init__(
        self, data_dir: Path, *, environment: Mapping[str, str] | None = None, workers: int | None = None
    ) -> None:
        self._data_dir = data_dir
        self._arguments = ["serve", *(["--workers", str(workers)] if workers else [])]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOKENOPEN_")},
            "TOKENOPEN_DATA_DIR": str(data_dir),
            "TOKENOPEN_ADMIN_KEY": ADMIN_KEY,
            "TOKENOPEN_HOST": "127.0.0.1",
            "TOKENOPEN_PORT": "0",
            "TOKENOPEN_UPSTREAM_NETWORKS": "127.0.0.0/8",
            **(environment or {}),
        }
        self.log_path = data_dir.with_name(data_dir.name + ".log")
        self._process: Command | None = None
        self._printed: IO[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start the process and wait until it says where it serves."""
        printed, prints = os.pipe()
        with self.log_path.open("a") as log:
            self._process = start_command(
                self._arguments, self._environment, stdout=prints, stderr=log.fileno()
            )
        os.close(prints)
        self._printed = os.fdopen(printed)
        first_line = self._printed.readline()
        assert "http://" in first_line, f"the server did not start: {self.log_path.read_text()}"
        self.url = "http://" + first_line.split("http://", 1)[1].split()[0]
        # From now on the same port, so that clients find a restarted server.
        self._environment["TOKENOPEN_PORT"] = self.url.rsplit(":", 1)[1]

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End the process as an operator would (SIGTERM) and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self.wait(timeout_s=60)

    def wait(self, *, timeout_s: float | None = None) -> int:
        """Wait until the process has ended, whatever ends it, and return its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        assert self._printed is not None
        self._printed.close()
        self._process = None
        return code

    def run_cli(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a ``tokenopen`` command with this server's environment."""
        return run_command(arguments, self._environment, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()


def run_command(
    arguments: Sequence[str], environment: Mapping[str, str], *, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a ``tokenopen`` command and return what it printed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = start_command(arguments, environment, stdout=out.fileno(), stderr=err.fileno())
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), err.read())


class Platform:
    """A running server with the simulated provider behind it, and what an administrator does to it."""

    def __init__(self, server: Server, simulator: SimulatorProcess) -> None:
        self.server = server
        self.simulator = simulator
        self.admin = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=60
        )

    def ask(self, method: str, path: str, json: object = None, **headers: str) -> Any:
        """Ask the control API as the administrator and return its answer, which has to be a success."""
        reply = self.admin.request(method, path, json=json, headers=headers)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def add_model(
        self,
        name: str,
        *,
        prices: Mapping[str, str] | None = None,
        context_window: int = 128_000,
        max_output_tokens: int = 16_384,
        **more: object,
    ) -> None:
        """Create a model of our own, or set a known one's price."""
        self.ask(
            "PUT",
            f"/api/admin/models/{name}",
            {
                "maker": "test",
                "prices": prices or {"input": "0.15", "output": "0.60"},
                "context_window": context_window,
                "max_output_tokens": max_output_tokens,
                **more,
            },
        )

    def add_upstream(self, models: Sequence[str], *, name: str = "simulated", **more: object) -> str:
        """Connect the simulated provider for these models and return the upstream's id."""
        upstream = self.ask(
            "POST",
            "/api/admin/upstreams",
            {
                "name": name,
                "provider": "openai",
                "base_url": self.simulator.base_url,
                "credential": "sim-key",
                "models": {model: model for model in models},
                **more,
            },
        )
        return str(upstream["id"])

    def add_group(self, slug: str, **changes: object) -> Any:
        """Create a group that is open to everyone and allows every model."""
        return self.ask(
            "POST",
            "/api/admin/groups",
            {
                "slug": slug,
                "name": slug.title(),
                "visibility": "public",
                "multiplier": "1.0",
                "allowed_models": ["*"],
                **changes,
            },
        )

    def add_user(self, email: str = "ada@example.com", *, credit: str | None = "10") -> str:
        """Create a user with credit and return their id."""
        user = self.ask("POST", "/api/admin/users", {"email": email, "name": "Ada", "role": "user"})
        if credit is not None:
            self.top_up(user["id"], credit)
        return str(user["id"])

    def top_up(self, user_id: str, amount: str) -> None:
        """Give a user credit."""
        self.ask(
            "POST",
            f"/api/admin/users/{user_id}/credits",
            {"amount": amount, "reason": "test"},
            **{"Idempotency-Key": secrets.token_hex(8)},
        )

    def add_key(self, user_id: str, group: str | None = None, **more: object) -> str:
        """Create an API key for a user and return its secret."""
        wanted = {"name": "test", **({"group": group} if group else {}), **more}
        return str(self.ask("POST", f"/api/admin/users/{user_id}/keys", wanted)["key"])

    def caller(self, key: str) -> httpx.Client:
        """Return a client that calls with an API key."""
        # Plain http: without this each client would read the machine's certificates first.
        return httpx.Client(
            base_url=f"{self.server.url}/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
            verify=False,
        )

    def audit(self) -> str:
        """Run ``tokenopen audit`` and return what it prints; it has to find no drift."""
        done = self.server.run_cli("audit")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 drift" in done.stdout
        return done.stdout

    def wait_until_nothing_is_held(self, user_id: str, *, timeout_s: float = 10) -> None:
        """Wait until every hold of a user is resolved."""
        deadline = time.monotonic() + timeout_s
        while True:
            held = self.ask("GET", f"/api/admin/users/{user_id}")["held"]
            if held == "0":
                return
            assert time.monotonic() < deadline, f"{held} credits are still held"
            time.sleep(0.05)

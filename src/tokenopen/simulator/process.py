"""The simulator as a child process, for the demo, tests and trials."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from tokenopen.simulator.app import CALLS_PATH
from tokenopen.simulator.journal import RECORDED_CALLS_MAX

_END_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedCall:
    """A request as it arrived; ``body`` is its text byte for byte, None where it was not UTF-8."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str | None
    json: Any
    at_ms: int
    body_base64: str | None

    def header(self, name: str) -> str | None:
        """Return the first header of that lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


class SimulatorProcess:
    """Started by its constructor, ended by ``stop`` or with the process that started it.

    ``base_url`` is what an OpenAI client takes: it ends in ``/v1``. Raises RuntimeError where it does not
    start; its own error is on stderr.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        log_path: Path | None = None,
        record: bool = False,
        models: Sequence[str] = (),
    ) -> None:
        command = [sys.executable, "-m", "tokenopen.simulator", "--port", str(port), "--until-stdin-closes"]
        command += ["--log", str(log_path)] if log_path is not None else []
        command += ["--record"] if record else []
        for model in models:
            command += ["--model", model]
        # This interpreter and arguments of our own: nothing here comes from outside.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert self._process.stdout is not None
        first_line = self._process.stdout.readline().strip()
        if not first_line:
            raise RuntimeError(f"the simulator ended with {self._process.wait()} before it served")
        self.port = int(first_line)
        self.pid = self._process.pid
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def received(self, limit: int = RECORDED_CALLS_MAX) -> list[ReceivedCall]:
        """Return the last calls, the newest last; needs ``record``."""
        body = self._request("GET", f"{CALLS_PATH}?limit={limit}")
        return msgspec.json.decode(body, type=dict[str, list[ReceivedCall]])["data"]

    def forget(self) -> None:
        """Drop what was recorded; needs ``record``."""
        self._request("DELETE", CALLS_PATH)

    def _request(self, method: str, path: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            body = reply.read()
        finally:
            connection.close()
        if reply.status != 200:
            raise RuntimeError(f"the simulator answered {reply.status}: {body.decode(errors='replace')}")
        return body

    def stop(self) -> None:
        """End the process and wait for it. Idempotent."""
        self._process.terminate()
        self._process.wait(_END_TIMEOUT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

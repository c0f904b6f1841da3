"""The command line against the real control API: commands run in a thread of their own, as in a process,
and their requests are answered on the test's loop, where the database is."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from tests.conftest import make_management_key
from tests.fakes.clock import MovableClock
from tests.fakes.upstream import FakeReply, FakeUpstream
from tests.till_calls import TillCalls, start_calls
from tokenopen.cli.main import app
from tokenopen.control.actor import Actor
from tokenopen.storage.sqlite import SqliteStorage

ANSWER_TIMEOUT_S = 60
PROVIDER_VARIABLES = ("OPENAI_API_KEY", "OPENROUTER_API_KEY")


class LoopTransport(httpx.BaseTransport):
    """Brings a blocking client's requests to an application that lives on a loop of another thread."""

    def __init__(self, application: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        self.loop = loop
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = asyncio.run_coroutine_threadsafe(self._answer(request), self.loop)
        return answer.result(ANSWER_TIMEOUT_S)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        return httpx.Response(
            response.status_code, headers=response.headers, content=await response.aread(), request=request
        )


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON that it printed."""
        return json.loads(self.out)

    def line(self, label: str) -> str:
        """Return what stands behind a label, or behind the first cell of a table's row."""
        found = re.findall(rf"^ *{re.escape(label)} {{2,}}(.*)$", self.out, re.MULTILINE)
        assert len(found) == 1, f"{label!r} in {self.out}"
        return str(found[0])


@dataclass(kw_only=True)
class Cli:
    """Runs commands as one user. Called, it demands success."""

    transport: httpx.BaseTransport | None
    environment: Mapping[str, str | None]

    async def run(self, *arguments: str, answers: str | None = None, **environment: str | None) -> Ran:
        """Run a command as one would in a shell whose input is no terminal."""
        result = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            list(arguments),
            prog_name="tokenopen",
            obj=self.transport,
            input=answers,
            env={**self.environment, **environment},
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(exit_code=result.exit_code, out=result.stdout, err=result.stderr)

    async def __call__(self, *arguments: str, answers: str | None = None, **environment: str | None) -> Ran:
        ran = await self.run(*arguments, answers=answers, **environment)
        assert ran.exit_code == 0, f"{arguments}: {ran.out}{ran.err}"
        return ran

    async def refused(self, *arguments: str, exit_code: int = 1) -> str:
        """Run a command that is refused, and return the one line that says why."""
        ran = await self.run(*arguments)
        assert ran.exit_code == exit_code, ran.out
        assert ran.out == ""
        assert ran.err.count("\n") == 1, ran.err
        return ran.err.strip()


def _cli(application: FastAPI, key: str) -> Cli:
    environment = dict.fromkeys(PROVIDER_VARIABLES)
    return Cli(
        transport=LoopTransport(application, asyncio.get_running_loop()),
        environment={
            **environment,
            "TOKENOPEN_ADMIN_KEY": key,
            "TOKENOPEN_HOST": None,
            "TOKENOPEN_PORT": None,
        },
    )


@pytest.fixture
async def cli(control_app: FastAPI, storage: SqliteStorage, administrator: Actor) -> Cli:
    """The command line of an administrator."""
    return _cli(control_app, await make_management_key(storage, administrator))


@pytest.fixture
async def user_cli(control_app: FastAPI, storage: SqliteStorage, user: Actor) -> Cli:
    """The command line of a user, ada@example.com."""
    return _cli(control_app, await make_management_key(storage, user))


@pytest.fixture
async def calls(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    """Ada's credit, key and model, and a way to make her calls."""
    return await start_calls(storage, clock, administrator, user)


ListModels = Callable[..., None]


@pytest.fixture
def provider_lists(upstream: FakeUpstream) -> ListModels:
    """Let the provider answer its next requests with lists of these models."""

    def queue(*models: str, times: int = 1) -> None:
        body = json.dumps({"object": "list", "data": [{"id": model} for model in models]}).encode()
        upstream.replies.extend(FakeReply(200, body) for _ in range(times))

    return queue


Price = Callable[..., Awaitable[None]]


@pytest.fixture
def price(cli: Cli) -> Price:
    """Give models a price and all that they need to be offered."""

    async def put(*models: str) -> None:
        for model in models:
            await cli(
                *("models", "set-price", model, "--input", "0.15", "--output", "0.60"),
                *("--context-window", "128000", "--max-output-tokens", "16384"),
            )

    return put

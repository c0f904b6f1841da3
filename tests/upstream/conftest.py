"""Raw servers and the HTTP/1.1 adapter; its tests run on both event loops that the product may run on."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import uvloop
from tests.upstream.raw_server import LOOPBACK, RawServer, Script

from tokenopen.upstream.http1 import Http1Upstream

Serve = Callable[..., Awaitable[RawServer]]


@pytest.hookimpl
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name.startswith("test_http1"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers with a script; a script that fails fails the test."""
    servers = []

    async def start(script: Script, *, tls: ssl.SSLContext | None = None) -> RawServer:
        servers.append(await RawServer(script).start(tls=tls))
        return servers[-1]

    yield start
    for server in servers:
        await server.stop()
    assert [failure for server in servers for failure in server.failures] == []


@pytest.fixture
async def upstream() -> AsyncIterator[Http1Upstream]:
    """The adapter, allowed to connect to loopback; what closes a connection is never that it rested."""
    upstream = Http1Upstream(allowed_networks=LOOPBACK, max_idle_seconds=60)
    yield upstream
    await upstream.close()

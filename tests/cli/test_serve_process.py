"""A serving process: a start that meets a database that has just gone, and a supervisor that ends."""

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest
import uvicorn

from tokenopen.bootstrap import Platform, StartupError, open_platform
from tokenopen.cli.serve_process import STREAMS_END_S, _Server, _stop_alone
from tokenopen.gateway.worker import Worker
from tokenopen.ports.storage import StorageAway
from tokenopen.settings import Settings


class GatewayThatStops:
    """Notes how long the calls that run were given."""

    def __init__(self) -> None:
        self.cuts_after_s: list[float] = []

    def stop_admitting(self, *, cut_after_s: float) -> None:
        self.cuts_after_s.append(cut_after_s)


class StoppablePlatform:
    def __init__(self) -> None:
        self.gateway_api = GatewayThatStops()


async def test_a_database_that_goes_away_during_the_start_is_a_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_it_gone(_worker: Worker) -> None:
        raise StorageAway("connection refused")

    monkeypatch.setattr(Worker, "enroll", find_it_gone)
    with pytest.raises(StartupError, match="went away during the start: connection refused"):
        async with open_platform(Settings(data_dir=tmp_path)):
            pass


@pytest.mark.parametrize("told_before", [False, True])
async def test_a_supervisor_that_is_gone_is_no_second_signal(told_before: bool) -> None:
    """Streams that have 30 s to end keep them, also where SIGTERM came first and the supervisor then died."""
    platform = StoppablePlatform()
    server = _Server(uvicorn.Config("unused:app"), cast(Platform, platform))
    read, write = os.pipe()
    loop = asyncio.get_running_loop()
    loop.add_reader(read, _stop_alone, server, read)
    if told_before:
        server.stop()
    os.close(write)
    async with asyncio.timeout(5):
        while loop.remove_reader(read):
            loop.add_reader(read, _stop_alone, server, read)
            await asyncio.sleep(0.001)
    os.close(read)
    assert server.should_exit
    assert not server.force_exit
    assert platform.gateway_api.cuts_after_s == [STREAMS_END_S]

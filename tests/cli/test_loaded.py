"""What a process that serves has loaded stays in its memory, so it loads nothing that only others use."""

import subprocess
import sys
from pathlib import Path

import pytest

from tokenopen.settings import child_environment

# Commands over the API; migrations; the makers' prices; mails and PostgreSQL where there are none.
NOT_LOADED = (
    "alembic",
    "asyncpg",
    "genai_prices",
    "greenlet",
    "httpx",
    "httpx2",
    "mako",
    "pygments",
    "rich",
    "smtplib",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
    "tokenopen.cli.client",
    "tokenopen.simulator",
)
PROGRAM = """
import asyncio, importlib, sys
import tokenopen.cli.main
importlib.import_module(sys.argv[1])
from tokenopen.bootstrap import open_platform
from tokenopen.settings import Settings

async def serve():
    async with open_platform(Settings()):
        print(*sys.modules)

asyncio.run(serve())
"""


@pytest.mark.parametrize("module", ["tokenopen.cli.serve", "tokenopen.cli.serve_worker"])
def test_a_process_that_serves_loads_nothing_that_only_others_use_even_at_a_first_start(
    module: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module],
        env=child_environment({"TOKENOPEN_DATA_DIR": str(tmp_path / "data")}),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert {"tokenopen.web.app", "structlog", "sqlalchemy.dialects.sqlite"} <= loaded
    assert not loaded.intersection(NOT_LOADED)

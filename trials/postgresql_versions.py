"""The contract suite and the exactness tests on every PostgreSQL version that is at hand.

    python -m trials.postgresql_versions 15 16 18

Each version gets a server of its own, of the wheel's programs or of Debian's. Exit 1 where a test fails or a
version is not there.
"""

import os
import re
import subprocess
import sys
import time
from typing import Final

from rich.console import Console
from rich.table import Table
from tests.engines import ENGINE_VARIABLE, SERVER_VARIABLE

from trials.postgresql import DatabaseServer

VERSIONS: Final = ("15", "16", "18")
# What names an engine is run on PostgreSQL, the rest on it for being told so.
_ON_BOTH_ENGINES: Final = ("tests/contracts/test_storage.py", "tests/storage")
_TOLD: Final = (
    "tests/gateway",
    "tests/e2e/test_exactness.py",
    "tests/e2e/test_group_pricing.py",
    "tests/e2e/test_changes_under_load.py",
    "tests/e2e/test_postgresql.py",
)
_PYTEST: Final = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header")


def _run_tests(url: str, *arguments: str) -> tuple[bool, int, str]:
    """Run tests on a server; return whether all passed, how many, and what pytest printed."""
    environment = {**os.environ, SERVER_VARIABLE: url, ENGINE_VARIABLE: "postgresql"}
    done = subprocess.run(
        [*_PYTEST, "-o", "addopts=", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    return done.returncode == 0, int(passed[1]) if passed else 0, done.stdout + done.stderr


def main() -> int:
    """Try the versions that the command line names, or all; return the exit code."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table("Server", "Tests passed", "Seconds", "", title="PostgreSQL versions")
    failed = False
    for version in sys.argv[1:] or VERSIONS:
        began_s = time.monotonic()
        try:
            server = DatabaseServer(version=version)
        except FileNotFoundError as error:
            table.add_row(version, "", "", f"not there: {error}")
            failed = True
            continue
        with server:
            runs = [
                _run_tests(server.url, "-k", "postgresql", *_ON_BOTH_ENGINES),
                _run_tests(server.url, *_TOLD),
            ]
        sound = all(ok for ok, _, _ in runs)
        failed = failed or not sound
        for ok, _, output in runs:
            if not ok:
                console.print(output[-6_000:], markup=False)
        passed, took_s = sum(count for _, count, _ in runs), time.monotonic() - began_s
        table.add_row(server.version, f"{passed:,}", f"{took_s:.0f}", "ok" if sound else "FAILED")
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

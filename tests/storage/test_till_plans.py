"""The till on SQLite finds its rows by whole keys: no batch may cost more the more is stored."""

import re
import sqlite3
from pathlib import Path

import pytest

from tokenopen.storage import sqlite_till
from tokenopen.storage.migrate import upgrade_sqlite

STATEMENTS = {
    name: value for name, value in vars(sqlite_till).items() if name.isupper() and isinstance(value, str)
}
# A table's part of a plan that names every column of the key, or of the few rows that an account has there.
BY_WHOLE_KEY = (
    "(account_id=? AND id=?)",
    "ix_calls_held_in_group (account_id=? AND group_id=?)",
    "sqlite_autoindex_",
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> sqlite3.Connection:
    path: Path = tmp_path_factory.mktemp("plans") / "tokenopen.sqlite3"
    upgrade_sqlite(path)
    return sqlite3.connect(path)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_statement_reads_rows_that_a_batch_does_not_concern(
    name: str, connection: sqlite3.Connection
) -> None:
    sql = STATEMENTS[name]
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?")).fetchall()
    for *_, step in plan:
        if step.startswith("SCAN"):
            assert re.match(r"SCAN (wanted|json_each) VIRTUAL TABLE", step), step
        elif step.startswith("SEARCH"):
            assert any(key in step for key in BY_WHOLE_KEY), step

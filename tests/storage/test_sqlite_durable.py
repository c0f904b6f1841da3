"""What a commit of the embedded database waits for."""

from pathlib import Path

from tokenopen.storage.migrate import upgrade_sqlite
from tokenopen.storage.sqlite import connect

FULL = 2


def test_a_commit_waits_until_the_disk_has_the_log_of_it(tmp_path: Path) -> None:
    """With FULL each commit syncs the write-ahead log (https://sqlite.org/pragma.html#pragma_synchronous)."""
    path = tmp_path / "tokenopen.sqlite3"
    upgrade_sqlite(path)
    connection = connect(path, read_only=False)
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == FULL
    finally:
        connection.close()

"""A migration that is cut short leaves the database as it was, so that the next start can carry it out."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import op

from tokenopen.storage.migrate import upgrade_sqlite


class CutShort(Exception):
    """What stands for the process being killed."""


def test_a_migration_that_is_cut_short_is_carried_out_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenopen.sqlite3"
    create_table = op.create_table
    made: list[str] = []

    def create_five(name: str, *columns: Any, **options: Any) -> Any:
        if len(made) == 5:
            raise CutShort
        made.append(name)
        return create_table(name, *columns, **options)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", create_five)
        with pytest.raises(CutShort):
            upgrade_sqlite(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    upgrade_sqlite(path)

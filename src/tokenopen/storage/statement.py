"""Statements: SQLAlchemy Core turned into an engine's own SQL and parameters."""

from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.engine import Dialect


def render(statement: ClauseElement, dialect: Dialect) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL text and its positional parameters."""
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    parameters = compiled.construct_params() or {}
    names = compiled.positiontup or ()  # type: ignore[attr-defined]
    return str(compiled), tuple(parameters[name] for name in names)

"""CSV file: a table to download, which no spreadsheet takes for formulas."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.responses import Response

# What spreadsheets take for the beginning of a formula (OWASP, CSV injection).
_FORMULA_MARKS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe_cell(value: str | int) -> str | int:
    """Return a cell that is shown as it is; a text that would be taken for a formula begins with a quote."""
    if isinstance(value, str) and value.startswith(_FORMULA_MARKS):
        return f"'{value}"
    return value


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> Response:
    """Answer with a CSV file (RFC 4180) to be saved under ``name``."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"},
    )

"""Model limits: the product's own dated table of context windows and output maxima.

``model_limits.csv`` beside this file says in its header what its columns mean and which reading stands
where sources differ. To add a model, add a row: with a source, and the day it was read.
"""

import csv
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """What one row says: bounds in units of one call, and where they were read."""

    maker: str
    name: str
    context_window: int
    max_output_tokens: int
    source: str
    checked_on: datetime.date


def load_model_limits() -> Mapping[str, ModelLimits]:
    """Return the rows by model name. Raises ValueError where a name stands twice or a cell is no figure."""
    table = resources.files("tokenopen.control").joinpath("model_limits.csv").read_text(encoding="utf-8")
    lines = [line for line in table.splitlines() if not line.startswith("#")]
    limits: dict[str, ModelLimits] = {}
    for row in csv.DictReader(lines):
        name = row["name"]
        if name in limits:
            raise ValueError(f"{name} stands twice in model_limits.csv")
        limits[name] = ModelLimits(
            maker=row["maker"],
            name=name,
            context_window=int(row["context_window"]),
            max_output_tokens=int(row["max_output_tokens"]),
            source=row["source"],
            checked_on=datetime.date.fromisoformat(row["checked"]),
        )
    return limits

"""Imported model: a maker's model with its list prices, as an import proposes it.

Apart from what reads it out of the price data, which is loaded only where somebody imports.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from tokenopen.core.catalog import Prices, PriceStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPrices:
    """Prices that hold from 00:00 UTC of ``starts_on``; None where they are in force already."""

    starts_on: datetime.date | None
    prices: Prices
    steps: Sequence[PriceStep]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModel:
    """A maker's model as the import proposes it.

    ``price_changes`` begins with the prices in force, upcoming ones follow by day; it is empty where the data
    has no price that can be charged. ``context_window`` may come from genai-prices, which often gives the
    input limit alone, rounded: check it when filling in what is missing. ``notes`` say where a price here is
    not simply the maker's, or why there is none.
    """

    name: str
    maker: str
    description: str | None
    context_window: int | None
    max_output_tokens: int | None
    price_changes: Sequence[ImportedPrices]
    notes: Sequence[str]

    @property
    def missing(self) -> Sequence[str]:
        """Name what has to be filled in before the model can be offered, in Model.missing's words."""
        facts = {
            "prices": self.price_changes or None,
            "context_window": self.context_window,
            "max_output_tokens": self.max_output_tokens,
        }
        return [name for name, value in facts.items() if value is None]

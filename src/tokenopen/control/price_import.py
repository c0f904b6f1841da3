"""Price import: the makers' own models at their list prices, from the data that ships in genai-prices.

What that data means, as its own calculation has it (calc_unit_price and get_prices in genai_prices.types):

- A tier applies to *all* units of a call whose input units, of all kinds together, are more than the tier's
  ``start``: exactly a PriceStep with ``above_input_units=start``. (A maker's "200K or more" stands there as
  199,999.)
- A kind of unit without a price of its own costs what the wider kind costs: resolve_prices does the same.
- A dated price begins at 00:00 UTC of its day. A price by time of day (DeepSeek's peak hours) has no place
  in a price revision: of the prices that a day knows the dearest is taken, class by class.

Nothing becomes free: a model for which the data names no price is imported without prices, although that is
how the data marks models that are free of charge; a price of zero has to be named. A model that is billed in
units which no usage class covers (hours of audio, pages, characters, video) is imported without prices too.
Of paid tools the price of web searches is imported, in the units that their makers bill. Prices of other
tools, batches and service tiers are not: calls that would use them are refused.
"""

import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from tokenopen.control.imported_model import ImportedModel, ImportedPrices
from tokenopen.control.model_limits import ModelLimits, load_model_limits
from tokenopen.core.catalog import PER_CALL, InvalidPrices, Prices, PriceStep, resolve_prices
from tokenopen.core.money import Nanocredits, parse_price
from tokenopen.core.usage import COUNTED_CLASSES, TOKEN_CLASSES

# Companies that make the models they sell and whose names in the data are those of their own API. Not
# here: who hosts others' models (Groq, OpenRouter, Azure, AWS, Together ...).
MAKERS: Final = (
    "openai",
    "anthropic",
    "google",
    "mistral",
    "x-ai",
    "deepseek",
    "cohere",
    "moonshotai",
    "perplexity",
)

# Others' models that makers host beside their own, by the beginning of the name.
_HOSTED: Final = {"google": ("claude-",), "mistral": ("deepseek-", "zai-")}

_CLASS_OF_PRICE: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "input_image_mtok": "image_input",
    "cache_audio_read_mtok": "cached_audio_input",
    "input_video_mtok": "video_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
}
_PER_THOUSAND_CALLS: Final = "requests_kcount"
_PER_THOUSAND_SEARCHES: Final = "web_searches_kcount"
# Of the other tools no maker's entry has a price, or none that what replies tell could be charged by.
_PAID_TOOLS: Final = frozenset(
    {_PER_THOUSAND_SEARCHES, "social_searches_kcount", "storage_searches_kcount", "code_executions_kcount"}
)
# Of cached units only those of sound have a class of their own: no provider reports cached images apart.
_CACHED_MEDIA: Final = {"cache_image_read_mtok": "units of cached images"}
_UNDERSTOOD: Final = frozenset({*_CLASS_OF_PRICE, _PER_THOUSAND_CALLS, *_PAID_TOOLS, *_CACHED_MEDIA})


def list_importable_models(today: datetime.date) -> Sequence[ImportedModel]:
    """Return every model of the makers with its prices from ``today`` (a UTC day) on, by maker and name.

    Raises InvalidAmount where a price in the data cannot be kept exactly.
    """
    limits = load_model_limits()
    return [
        _import_model(name, maker, entry, limits.get(name), today)
        for name, (maker, entry) in sorted(
            _list_entries(limits).items(), key=lambda item: (item[1][0], item[0])
        )
    ]


def _list_entries(limits: Mapping[str, ModelLimits]) -> Mapping[str, tuple[str, ModelInfo]]:
    """Return maker and entry by model name: the entries' own names, and those that the limits table names.

    One entry prices several names (snapshots, aliases), in the spellings of other hosts as well; the table
    tells which of them are the maker's. What the data marks deprecated is left out.
    """
    providers = {provider.id: provider for provider in get_snapshot().providers}
    found: dict[str, tuple[str, ModelInfo]] = {}
    for maker in MAKERS:
        if maker in providers:
            found |= {entry.id: (maker, entry) for entry in providers[maker].models if _is_own(maker, entry)}
    for name, row in limits.items():
        entry = providers[row.maker].find_model(name) if row.maker in providers else None
        if entry is not None and not entry.deprecated:
            found[name] = (row.maker, entry)
    return found


def _is_own(maker: str, entry: ModelInfo) -> bool:
    # An entry that does not answer to its own name, or whose name ends in a dash, stands for a family (such
    # as fine-tuned models); names with a colon or a slash are those of other hosts.
    return (
        not entry.deprecated
        and entry.is_match(entry.id)
        and not entry.id.endswith("-")
        and not any(mark in entry.id for mark in ":/")
        and not entry.id.startswith(_HOSTED.get(maker, ()))
    )


def _import_model(
    name: str, maker: str, entry: ModelInfo, limits: ModelLimits | None, today: datetime.date
) -> ImportedModel:
    has_output = limits is None or limits.max_output_tokens > 0
    try:
        price_changes = _list_price_changes(entry, today, has_output=has_output)
    except InvalidPrices:
        price_changes = []
    return ImportedModel(
        name=name,
        maker=maker,
        description=entry.description,
        context_window=entry.context_window if limits is None else limits.context_window,
        max_output_tokens=None if limits is None else limits.max_output_tokens,
        price_changes=price_changes,
        notes=list(_explain(entry, today)),
    )


def _list_price_changes(
    entry: ModelInfo, today: datetime.date, *, has_output: bool
) -> Sequence[ImportedPrices]:
    """Return the prices in force today and the coming ones. Raises InvalidPrices where there are none."""
    changes: list[ImportedPrices] = []
    for day in (None, *_coming_days(entry, today)):
        prices, steps = _price_lists(_prices_of_day(entry, day or today), has_output=has_output)
        if not changes or (prices, steps) != (changes[-1].prices, changes[-1].steps):
            changes.append(ImportedPrices(starts_on=day, prices=prices, steps=steps))
    return changes


def _conditions(entry: ModelInfo) -> Sequence[ConditionalPrice]:
    return [] if isinstance(entry.prices, ModelPrice) else entry.prices


def _coming_days(entry: ModelInfo, today: datetime.date) -> Sequence[datetime.date]:
    starts = {
        condition.constraint.start_date
        for condition in _conditions(entry)
        if isinstance(condition.constraint, StartDateConstraint)
    }
    return sorted(start for start in starts if start > today)


def _prices_of_day(entry: ModelInfo, day: datetime.date) -> Sequence[ModelPrice]:
    """Return the different prices that hold at some time of the day, in the data's own resolution."""
    times = {datetime.time(0)}
    for condition in _conditions(entry):
        if isinstance(condition.constraint, TimeOfDateConstraint):
            times |= {condition.constraint.start_time, condition.constraint.end_time}
    prices: list[ModelPrice] = []
    for time in times:
        instant = datetime.datetime.combine(day, time, time.tzinfo or datetime.UTC).astimezone(datetime.UTC)
        price = entry.get_prices(datetime.datetime.combine(day, instant.timetz()))
        if price not in prices:
            prices.append(price)
    return prices


def _price_lists(candidates: Sequence[ModelPrice], *, has_output: bool) -> tuple[Prices, list[PriceStep]]:
    """Return the price list and the long-context steps; of several candidates the dearest, class by class."""

    def dearest(input_units: int) -> Prices:
        lists = [
            resolve_prices(_named_prices(price, input_units), has_output=has_output) for price in candidates
        ]
        counted = [name for name in COUNTED_CLASSES if all(name in prices.per_million for prices in lists)]
        return Prices(
            per_million={
                unit_class: max(prices.per_million[unit_class] for prices in lists)
                for unit_class in (*TOKEN_CLASSES, *counted)
            },
            per_call=max(prices.per_call for prices in lists),
        )

    starts = {
        tier.start
        for price in candidates
        for _, value in _stored(price)
        if isinstance(value, TieredPrices)
        for tier in value.tiers
    }
    return dearest(0), [
        PriceStep(above_input_units=start, prices=dearest(start + 1)) for start in sorted(starts)
    ]


def _stored(price: ModelPrice) -> Iterator[tuple[str, Decimal | TieredPrices]]:
    return ((key, value) for key, value in vars(price).items() if value is not None)


def _named_prices(price: ModelPrice, input_units: int) -> Mapping[str, Nanocredits]:
    """Return the prices, by usage class, of a call with so many input units.

    None where some of its units are of no usage class: the rest alone would be too little.
    """
    named: dict[str, Nanocredits] = {}
    for key, value in _stored(price):
        if key not in _UNDERSTOOD:
            return {}
        amount = _tier_price(value, input_units)
        if key in _CLASS_OF_PRICE:
            named[_CLASS_OF_PRICE[key]] = _exact_price(amount)
        elif key == _PER_THOUSAND_SEARCHES:
            named["web_searches"] = _exact_price(amount.scaleb(3))
        elif key == _PER_THOUSAND_CALLS:
            named[PER_CALL] = _exact_price(amount.scaleb(-3))
    return named


def _tier_price(price: Decimal | TieredPrices, input_units: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if input_units > tier.start]
    return reached[-1] if reached else price.base


def _exact_price(price: Decimal) -> Nanocredits:
    return parse_price(format(price, "f"))


def _explain(entry: ModelInfo, today: datetime.date) -> Iterator[str]:
    prices = _prices_of_day(entry, today)
    keys = {key for price in prices for key, _ in _stored(price)}
    for key in sorted(keys - _UNDERSTOOD):
        yield f"no prices: {key} is for units that no usage class covers"
    if not keys - _PAID_TOOLS:
        yield "no prices: the price data names none; set a price of zero to give the model away"
    if len(prices) > 1:
        yield "the price varies by time of day; the dearest is taken"
    for key in sorted(keys & set(_CACHED_MEDIA)):
        yield f"{key} is not imported: {_CACHED_MEDIA[key]} cost what their usage class does"


if __name__ == "__main__":
    # Started by model_import.list_importable_models, with the day.
    _models = list_importable_models(datetime.date.fromisoformat(sys.argv[1]))
    sys.stdout.buffer.write(msgspec.msgpack.encode(_models))

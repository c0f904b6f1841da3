"""Catalog: models, their prices, and the routes that lead to a provider.

A price revision holds a price for *every* class of tokens, resolved when it is written, so a class that a
provider starts to report is never free: input-like classes fall back to ``input``, output-like ones to
``output``. Counted classes have no such neighbour: what is not priced is not sold. Long-context steps replace
the whole price list for calls whose input lies above a bound.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tokenopen.core.group import Group
from tokenopen.core.money import Nanocredits
from tokenopen.core.platform import Platform
from tokenopen.core.usage import (
    COUNTED_CLASSES,
    INPUT_CLASSES,
    OUTPUT_CLASSES,
    TOKEN_CLASSES,
    USAGE_CLASSES,
)

PER_CALL: Final = "per_call"
# Sold dearer than text by every provider: what gives them needs a price that names them.
OWN_PRICE_CLASSES: Final = frozenset({"audio_output", "image_output"})
PRICE_NAMES: Final = (*USAGE_CLASSES, PER_CALL)
# Classes that came after price lists had been written, with the class whose price their units had until then.
LATER_CLASSES: Final[Mapping[str, str]] = {"cached_audio_input": "cached_input", "video_input": "input"}


class InvalidPrices(ValueError):
    """A price list that cannot be resolved: no input price, or an unknown class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Nano-credits per million units for every class of tokens and the counted ones that are priced, and
    nano-credits per call."""

    per_million: Mapping[str, Nanocredits]
    per_call: Nanocredits

    def __post_init__(self) -> None:
        assert set(TOKEN_CLASSES) <= set(self.per_million) <= set(USAGE_CLASSES), "every class has a price"
        assert all(price >= 0 for price in self.per_million.values())
        assert self.per_call >= 0

    def unpriced(self, unit_classes: Iterable[str]) -> Sequence[str]:
        """Return those of the classes that have no price: units of them cannot be charged."""
        return [unit_class for unit_class in unit_classes if unit_class not in self.per_million]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStep:
    """Prices of a call whose input units, of all classes together, are more than ``above_input_units``."""

    above_input_units: int
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The dearest classes of one of a revision's price lists, for calls with more input than a bound."""

    above_input_units: int
    prices: Prices
    dearest_input: Nanocredits
    dearest_output: Nanocredits


def _ceiling(above_input_units: int, prices: Prices) -> Ceiling:
    return Ceiling(
        above_input_units=above_input_units,
        prices=prices,
        dearest_input=max(prices.per_million[unit_class] for unit_class in INPUT_CLASSES),
        dearest_output=max(prices.per_million[unit_class] for unit_class in OUTPUT_CLASSES),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRevision:
    """The prices of one model from an instant on. Never changed once written.

    ``named`` are the prices that were named; all others were resolved from them.
    """

    id: str
    model: str
    number: int
    prices: Prices
    steps: Sequence[PriceStep]
    effective_from_ms: int
    named: frozenset[str] = frozenset()
    # Looked at by every call, and the same for ever.
    ceilings: Sequence[Ceiling] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ceilings = [_ceiling(-1, self.prices)]
        ceilings += [_ceiling(step.above_input_units, step.prices) for step in self.steps]
        object.__setattr__(self, "ceilings", tuple(ceilings))

    def find_unpriced(self, needed: Iterable[Sequence[str]]) -> Sequence[str] | None:
        """Return the first of several alternatives of which no class was named, None where each has one.

        A counted class has to be named for every length of input, since nothing else gives it a price. What
        each call costs beside its units may be asked for as well.
        """
        for alternatives in needed:
            if not any(
                unit_class in self.named and self._is_priced(unit_class) for unit_class in alternatives
            ):
                return alternatives
        return None

    def _is_priced(self, unit_class: str) -> bool:
        if unit_class == PER_CALL:
            return all(prices.per_call for prices in self.price_lists)
        return not any(prices.unpriced((unit_class,)) for prices in self.price_lists)

    def prices_for(self, input_units: int) -> Prices:
        """Return the price list of a call with so many input units."""
        found = self.prices
        for step in self.steps:
            if input_units > step.above_input_units:
                found = step.prices
        return found

    @property
    def price_lists(self) -> Sequence[Prices]:
        """Every price list a call under this revision may come under."""
        return (self.prices, *(step.prices for step in self.steps))


def resolve_prices(named: Mapping[str, Nanocredits], *, has_output: bool = True) -> Prices:
    """Return the full price list for the classes an administrator named.

    Raises InvalidPrices where ``input`` is missing, where ``output`` is missing although the model gives
    any, or where a name is unknown. A price of zero has to be named.
    """
    unknown = set(named) - set(PRICE_NAMES)
    if unknown:
        raise InvalidPrices(f"unknown price {sorted(unknown)[0]!r}; known are {', '.join(PRICE_NAMES)}")
    if "input" not in named:
        raise InvalidPrices("a price for input is needed")
    if has_output and "output" not in named:
        raise InvalidPrices("a price for output is needed")
    per_million = {name: named.get(name, named["input"]) for name in INPUT_CLASSES}
    output = named.get("output", Nanocredits(0))
    # An hour's cache write without its own price costs what the shorter one does, never less.
    per_million["cache_write_1h"] = named.get("cache_write_1h", per_million["cache_write"])
    # Sound from a cache that has no price costs what sound does.
    cached = "cached_input" if "cached_input" in named else "audio_input"
    per_million["cached_audio_input"] = named.get("cached_audio_input", per_million[cached])
    per_million |= {name: named.get(name, output) for name in OUTPUT_CLASSES}
    per_million |= {name: named[name] for name in COUNTED_CLASSES if name in named}
    return Prices(per_million=per_million, per_call=named.get(PER_CALL, Nanocredits(0)))


ModelState = Literal["active", "archived"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model under its public name.

    ``context_window`` counts units in and out together; ``max_output_tokens`` is 0 for a model that gives
    none (embeddings). A model that lacks either, or a price, is *incomplete* and not offered.
    """

    name: str
    maker: str
    context_window: int | None
    max_output_tokens: int | None
    state: ModelState = "active"
    # Upcoming and past prices, oldest first; the one in force is the last that has begun.
    price_revisions: Sequence[PriceRevision] = ()

    def price_at(self, now_ms: int) -> PriceRevision | None:
        """Return the price revision in force, or None where none has begun."""
        found = None
        for revision in self.price_revisions:
            if revision.effective_from_ms <= now_ms:
                found = revision
        return found

    def missing(self, now_ms: int) -> Sequence[str]:
        """Name what an administrator still has to fill in before the model can be offered."""
        lacks = []
        if self.price_at(now_ms) is None:
            lacks.append("prices")
        if self.context_window is None:
            lacks.append("context_window")
        if self.max_output_tokens is None:
            lacks.append("max_output_tokens")
        return lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A configured upstream. ``credential_sealed`` is opened only where the call is sent.

    ``cost_multiplier_ppm``: what its provider takes, as a factor on the models' prices here; None where an
    administrator has not said so.
    """

    id: str
    name: str
    provider: str
    base_url: str
    credential_sealed: bytes
    enabled: bool
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int
    cost_multiplier_ppm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Model -> upstream, with the model's name there. A lower ``priority`` number is tried first;
    among equals the chance is by ``weight``."""

    model: str
    endpoint: Endpoint
    upstream_model: str
    priority: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that calls need and that is no account's own, as of one catalog version.

    ``groups`` are by id, archived ones too; ``platform.default_group`` is a group's id.
    """

    version: int
    models: Mapping[str, Model]
    routes: Mapping[str, Sequence[Route]]
    groups: Mapping[str, Group]
    platform: Platform

    def find_offered(self, name: str, now_ms: int) -> Model | None:
        """Return the model if calls may be made to it now: active, complete, and with a route."""
        model = self.models.get(name)
        if model is None or model.state != "active" or model.missing(now_ms) or not self.routes.get(name):
            return None
        return model

    def list_offered(self, now_ms: int) -> Sequence[Model]:
        """Return every model that calls may be made to now, by name."""
        return [model for name in sorted(self.models) if (model := self.find_offered(name, now_ms))]

    def next_change_ms(self, now_ms: int) -> int | None:
        """Return the earliest instant at which an upcoming price or group revision begins, or None."""
        coming = [
            revision.effective_from_ms
            for model in self.models.values()
            for revision in model.price_revisions
            if revision.effective_from_ms > now_ms
        ]
        coming += [at_ms for group in self.groups.values() if (at_ms := group.next_change_ms(now_ms))]
        return min(coming, default=None)

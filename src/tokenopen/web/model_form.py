"""Model form: limits and prices of a model, read as typed, and filled from a model.

A price that is left empty is not named: it costs what its neighbour does. A price of zero has to be typed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tokenopen.control.model import MAKER_UNNAMED, ModelChanges, ModelRecord
from tokenopen.control.price import STEPS_MAX
from tokenopen.core.catalog import PRICE_NAMES
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.money import InvalidAmount, Nanocredits, format_amount, parse_price
from tokenopen.core.usage import UNITS_MAX
from tokenopen.web.form import Form
from tokenopen.web.form_value import Reading, read_instant, read_number, read_prose
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import Visit

MAKER_LENGTH_MAX: Final = 200
# The prices that most models have; all others stand below them, folded away.
COMMON_PRICES: Final = ("input", "cached_input", "output")
OTHER_PRICES: Final = tuple(name for name in PRICE_NAMES if name not in COMMON_PRICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedModel:
    """What was typed of a model; without any price none is named."""

    name: str
    changes: ModelChanges
    reason: str | None
    effective_from_ms: int | None

    @property
    def prices(self) -> Mapping[str, Nanocredits]:
        """The prices that were named."""
        return self.changes.get("prices", {})


def step_fields(form: Form) -> Sequence[int]:
    """Return the numbers of the long-context steps that a form has fields for; one more than are filled."""
    filled = [at for at in range(1, STEPS_MAX + 1) if form.text(f"step{at}_above")]
    return range(1, min(max(filled, default=0) + 1, STEPS_MAX) + 1)


def read_model_form(form: Form, visit: Visit) -> tuple[TypedModel | None, Form]:
    """Return what was typed, None where some of it cannot be, and the form with what is wrong with it."""
    text, reading = visit.text, Reading()
    changes = ModelChanges(
        maker=reading.take(_maker, form, text) or MAKER_UNNAMED,
        context_window=reading.take(_units, form, text, "context_window", least=1),
        max_output_tokens=reading.take(_units, form, text, "max_output_tokens", least=0),
    )
    prices = _read_prices(form, text, reading, "price_")
    steps = _read_steps(form, text, reading)
    if prices or steps or form.text("had_prices"):
        changes["prices"], changes["steps"] = prices, steps
    reason = reading.take(read_prose, form, text, "reason")
    effective_from_ms = reading.take(read_instant, form, text, "effective_from", visit.zone)
    if reading.errors:
        return None, form.wrong(**reading.errors)
    typed = TypedModel(
        name=form.text("name"), changes=changes, reason=reason or None, effective_from_ms=effective_from_ms
    )
    return typed, form


def _maker(form: Form, text: Catalogue) -> str:
    maker = form.text("maker")
    if len(maker) > MAKER_LENGTH_MAX or not maker.isprintable():
        raise InvalidRequest(text("form.no_prose", most=MAKER_LENGTH_MAX), param="maker")
    return maker


def _units(form: Form, text: Catalogue, name: str, *, least: int) -> int | None:
    return read_number(form, text, name, least=least, most=UNITS_MAX) if form.text(name) else None


def _read_prices(form: Form, text: Catalogue, reading: Reading, prefix: str) -> dict[str, Nanocredits]:
    prices: dict[str, Nanocredits] = {}
    for name in PRICE_NAMES:
        field = f"{prefix}{name}"
        if form.text(field):
            price = reading.take(_price, form, text, field)
            prices[name] = price or Nanocredits(0)
    return prices


def _price(form: Form, text: Catalogue, field: str) -> Nanocredits:
    try:
        return parse_price(form.text(field))
    except InvalidAmount as error:
        raise InvalidRequest(text("admin_model.no_price"), param=field) from error


def _read_steps(form: Form, text: Catalogue, reading: Reading) -> list[tuple[int, Mapping[str, Nanocredits]]]:
    steps: list[tuple[int, Mapping[str, Nanocredits]]] = []
    for at in range(1, STEPS_MAX + 1):
        field = f"step{at}_above"
        prices = _read_prices(form, text, reading, f"step{at}_price_")
        if form.text(field) or prices:
            above = reading.take(read_number, form, text, field, least=1, most=UNITS_MAX)
            steps.append((above or 0, prices))
    return steps


def fill_model_form(record: ModelRecord) -> Form:
    """Return the form as it shows a model before anything was typed."""
    model = record.model
    values = {"name": model.name, "maker": model.maker, "version": record.version}
    for name in ("context_window", "max_output_tokens"):
        value = getattr(model, name)
        values[name] = "" if value is None else str(value)
    if record.price is not None:
        values["had_prices"] = "yes"
        values |= _price_values("price_", record.price.named.named)
        for at, (above, named) in enumerate(record.price.named.steps, 1):
            values[f"step{at}_above"] = str(above)
            values |= _price_values(f"step{at}_price_", named)
    return Form(values={name: [value] for name, value in values.items()})


def _price_values(prefix: str, named: Mapping[str, Nanocredits]) -> dict[str, str]:
    return {f"{prefix}{name}": format_amount(price) for name, price in named.items()}

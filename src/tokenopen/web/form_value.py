"""Form values: amounts, multipliers, limits and instants as people type them into fields.

Each reads one field of a form and refuses InvalidRequest there, in words of the catalogue.
"""

import datetime
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.group import LIMIT_MAX, MODEL_PATTERN
from tokenopen.core.money import InvalidAmount, Nanocredits, parse_amount, parse_multiplier
from tokenopen.web.form import Form
from tokenopen.web.text import Catalogue

REASON_LENGTH_MAX: Final = 500
PROSE_LENGTH_MAX: Final = 2_000
# What stands for "no limit" in a field of one, in the language of the page and always in English.
_UNLIMITED: Final = "unlimited"
# With the thousands apart as our own pages show them, or not.
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,10}|[0-9]{1,3}(,[0-9]{3})+", re.ASCII)

Value = TypeVar("Value")
Given = ParamSpec("Given")


@dataclass(slots=True, kw_only=True)
class Reading:
    """Reads one field after the other, and keeps what was wrong with each."""

    errors: dict[str, str] = field(default_factory=dict)

    def take(self, read: Callable[Given, Value], *args: Given.args, **kwargs: Given.kwargs) -> Value | None:
        """Return what one of the readers below returns, or None where it refuses."""
        try:
            return read(*args, **kwargs)
        except InvalidRequest as refusal:
            self.errors[str(refusal.facts["param"])] = refusal.message
            return None


def read_choice(form: Form, text: Catalogue, name: str, choices: Collection[str]) -> str:
    """Return which of the choices was made."""
    chosen = form.text(name)
    if chosen not in choices:
        raise InvalidRequest(text("form.no_choice"), param=name)
    return chosen


def read_amount(
    form: Form, text: Catalogue, name: str = "amount", *, at_least_zero: bool = False
) -> Nanocredits:
    """Return an amount of credits. A comma is refused: for half of all people it begins the decimals."""
    try:
        amount = parse_amount(form.text(name).replace("\N{MINUS SIGN}", "-"))
    except InvalidAmount as error:
        raise InvalidRequest(text("form.no_amount"), param=name) from error
    if at_least_zero and amount < 0:
        raise InvalidRequest(text("form.below_zero"), param=name)
    return amount


def read_multiplier(form: Form, text: Catalogue, name: str) -> int | None:
    """Return a multiplier in parts per million, or None where the field is empty."""
    typed = form.text(name)
    return _multiplier(typed, text, name) if typed else None


def _multiplier(typed: str, text: Catalogue, name: str) -> int:
    try:
        return parse_multiplier(typed.removesuffix("x").rstrip())
    except InvalidAmount as error:
        raise InvalidRequest(text("form.no_multiplier"), param=name) from error


def read_limit(form: Form, text: Catalogue, name: str) -> int | None:
    """Return a limit, or None where the word for no limit is typed."""
    typed = form.text(name)
    if typed.casefold() in (_UNLIMITED, text("common.unlimited").casefold()):
        return None
    limit = int(typed.replace(",", "")) if _WHOLE_NUMBER.fullmatch(typed) else LIMIT_MAX + 1
    if limit > LIMIT_MAX:
        raise InvalidRequest(text("form.no_limit"), param=name)
    return limit


def read_patterns(form: Form, text: Catalogue, name: str) -> list[str]:
    """Return model names and * patterns, one a line or with commas between them, each once."""
    patterns = list(dict.fromkeys(form.text(name).replace(",", "\n").split()))
    for pattern in patterns:
        if not MODEL_PATTERN.fullmatch(pattern):
            raise InvalidRequest(text("form.no_pattern", typed=pattern), param=name)
    return patterns


def read_model_multipliers(form: Form, text: Catalogue, name: str) -> Mapping[str, int]:
    """Return multipliers by model name or pattern, typed one a line: ``gpt-5* 0.9``."""
    multipliers: dict[str, int] = {}
    for line in form.text(name).splitlines():
        parts = line.replace("=", " ").replace(": ", " ").split()
        if not parts:
            continue
        if len(parts) != 2 or not MODEL_PATTERN.fullmatch(parts[0]):
            raise InvalidRequest(text("form.no_model_multiplier", typed=line.strip()), param=name)
        multipliers[parts[0]] = _multiplier(parts[1], text, name)
    return multipliers


def read_instant(form: Form, text: Catalogue, name: str, zone: ZoneInfo) -> int | None:
    """Return the instant that a wall clock in the zone was set to, in ms, or None where it was not."""
    typed = form.text(name)
    if not typed:
        return None
    try:
        moment = datetime.datetime.fromisoformat(typed)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        instant_ms = int(moment.timestamp()) * 1000
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(text("form.no_instant"), param=name) from error
    if instant_ms < 0:
        raise InvalidRequest(text("form.no_instant"), param=name)
    return instant_ms


def instant_field(instant_ms: int | None, zone: ZoneInfo) -> str:
    """Return an instant as a field of the type ``datetime-local`` takes it; empty where there is none."""
    if instant_ms is None:
        return ""
    moment = datetime.datetime.fromtimestamp(instant_ms // 1000, zone)
    return moment.strftime("%Y-%m-%dT%H:%M:%S" if moment.second else "%Y-%m-%dT%H:%M")


def read_reason(form: Form, text: Catalogue, name: str = "reason") -> str:
    """Return why something is done, which has to be said."""
    reason = form.text(name)
    if not 0 < len(reason) <= REASON_LENGTH_MAX:
        raise InvalidRequest(text("form.no_reason", most=REASON_LENGTH_MAX), param=name)
    return reason


def read_prose(form: Form, text: Catalogue, name: str, *, most: int = PROSE_LENGTH_MAX) -> str:
    """Return a text that may be empty, with its line breaks as one sign each."""
    prose = form.text(name).replace("\r\n", "\n")
    if len(prose) > most or any(ord(sign) < 32 and sign not in "\n\t" for sign in prose):
        raise InvalidRequest(text("form.no_prose", most=most), param=name)
    return prose


def read_number(form: Form, text: Catalogue, name: str, *, least: int, most: int) -> int:
    """Return a whole number within bounds."""
    typed = form.text(name)
    number = int(typed.replace(",", "")) if _WHOLE_NUMBER.fullmatch(typed) else -1
    if not least <= number <= most:
        raise InvalidRequest(text("form.no_number", least=least, most=most), param=name)
    return number

"""JSON types: amounts, multipliers, prices and instants as the control API takes and shows them.

Amounts, prices and multipliers are decimal strings; a JSON integer is taken too, a JSON float never,
since it may not be the number that was written (invariant I7). Instants are RFC 3339, shown in UTC.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from tokenopen.control.page import PAGE_LIMIT, PAGE_LIMIT_MAX, Page, PageRequest
from tokenopen.core.group import LIMIT_MAX, MODEL_PATTERN
from tokenopen.core.money import (
    Nanocredits,
    format_amount,
    format_multiplier,
    parse_amount,
    parse_multiplier,
    parse_price,
)

_DECIMAL_SCHEMA: Final = {
    "anyOf": [{"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?$"}, {"type": "integer"}],
    "examples": ["0.8"],
}
_TEXT_SCHEMA: Final = {"type": "string", "examples": ["0.8"]}
_INSTANT_SCHEMA: Final = {"type": "string", "format": "date-time", "examples": ["2026-12-01T00:00:00Z"]}
_RFC_3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _decimal(parse: Callable[[str], int]) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError('send a decimal string such as "0.8", not another type')  # noqa: TRY004
        return parse(value)

    return read


def parse_instant(value: object) -> int:
    """Return the milliseconds since 1970 UTC of an RFC 3339 instant. Raises ValueError."""
    match = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("send an instant such as 2026-12-01T00:00:00Z")
    day, time, fraction, zone = match.groups(default="")
    instant = datetime.fromisoformat(f"{day}T{time}{zone.upper().replace('Z', '+00:00')}")
    try:
        seconds = int(instant.timestamp())
    except OverflowError as error:
        raise ValueError("send an instant such as 2026-12-01T00:00:00Z") from error
    return seconds * 1000 + int(fraction[1:4].ljust(3, "0"))


def format_instant(at_ms: int) -> str:
    """Return an instant as RFC 3339 in UTC, with milliseconds only where it has any."""
    seconds, milliseconds = divmod(at_ms, 1000)
    # Not strftime, which writes a year before 1000 with fewer than four digits.
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{text}.{milliseconds:03d}Z" if milliseconds else f"{text}Z"


def _refuse_control_characters(text: str) -> str:
    if any(ord(character) < 32 and character not in "\n\t" for character in text):
        raise ValueError("must not hold control characters")
    return text


def _model_pattern(text: str) -> str:
    if not MODEL_PATTERN.fullmatch(text):
        raise ValueError("must be a model's name or a pattern with *, such as gpt-4o*")
    return text


AmountIn = Annotated[Nanocredits, BeforeValidator(_decimal(parse_amount)), WithJsonSchema(_DECIMAL_SCHEMA)]
AmountOut = Annotated[
    Nanocredits, PlainSerializer(format_amount, return_type=str), WithJsonSchema(_TEXT_SCHEMA)
]
PriceIn = Annotated[Nanocredits, BeforeValidator(_decimal(parse_price)), WithJsonSchema(_DECIMAL_SCHEMA)]
MultiplierIn = Annotated[int, BeforeValidator(_decimal(parse_multiplier)), WithJsonSchema(_DECIMAL_SCHEMA)]
MultiplierOut = Annotated[
    int, PlainSerializer(format_multiplier, return_type=str), WithJsonSchema(_TEXT_SCHEMA)
]
InstantIn = Annotated[int, BeforeValidator(parse_instant), WithJsonSchema(_INSTANT_SCHEMA)]
InstantOut = Annotated[int, PlainSerializer(format_instant, return_type=str), WithJsonSchema(_INSTANT_SCHEMA)]
LimitIn = Annotated[int, Field(ge=0, le=LIMIT_MAX)]
ModelPattern = Annotated[str, AfterValidator(_model_pattern)]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_refuse_control_characters),
]
Prose = Annotated[
    str, StringConstraints(max_length=2000, strip_whitespace=True), AfterValidator(_refuse_control_characters)
]


class Body(BaseModel):
    """A request body: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


# The default of a field that a PATCH may leave out. It is never read: see ``PatchBody.changes``.
UNCHANGED: Any = None


def _drop_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class PatchBody(Body):
    """A PATCH: an absent field stays as it is, null clears one that may be null."""

    model_config = ConfigDict(json_schema_extra=_drop_defaults)

    def changes(self) -> Any:
        """Return the fields that were sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class PersonOut(BaseModel):
    """A user by name; ``email`` is null where the id is no user's (any more)."""

    id: str
    email: str | None


class PageQuery(BaseModel):
    """Query parameters of every list; an unknown one is refused, since a mistyped filter shows too much."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=PAGE_LIMIT, ge=1, le=PAGE_LIMIT_MAX)
    cursor: str | None = None

    def page(self) -> PageRequest:
        """Return which stretch of the list is asked for."""
        return PageRequest(limit=self.limit, after=self.cursor)

    def filters(self) -> dict[str, Any]:
        """Return the filters that were given, by name."""
        return self.model_dump(exclude={"limit", "cursor"}, exclude_none=True)


Shown = TypeVar("Shown", bound=BaseModel)
Item = TypeVar("Item")


class PageOut(BaseModel, Generic[Shown]):
    """A list; ``next_cursor`` goes into ``?cursor=`` for what follows, and is null at the end."""

    data: list[Shown]
    next_cursor: str | None


def page_out(page: Page[Item], show: Callable[[Item], Shown]) -> PageOut[Shown]:
    """Return a page as it is shown."""
    return PageOut(data=[show(item) for item in page.items], next_cursor=page.next_cursor)

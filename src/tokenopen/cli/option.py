"""Option: what commands take on the command line beyond plain words, and the request body it becomes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

import typer

from tokenopen.cli.client import Json

UNLIMITED: Final = "unlimited"

_LIMITS_PANEL: Final = "Limits (a number, or unlimited)"


def _limit_option(*names: str, label: str) -> Json:
    return typer.Option(*names, metavar="N|unlimited", help=label, rich_help_panel=_LIMITS_PANEL)


RequestsPerMinute = Annotated[
    str | None, _limit_option("--requests-per-minute", label="Requests / minute (RPM)")
]
RequestsPerDay = Annotated[str | None, _limit_option("--requests-per-day", label="Requests / day (TPD)")]
TokensPerMinute = Annotated[str | None, _limit_option("--tokens-per-minute", label="Tokens / minute (TPM)")]
ConcurrentCalls = Annotated[str | None, _limit_option("--concurrent-calls", label="Concurrent calls")]
ModelMultipliers = Annotated[
    list[str] | None,
    typer.Option(
        "--model-multiplier",
        metavar="PATTERN=MULTIPLIER",
        help="Multiplier of the models that fit a pattern, such as gpt-5*=0.9; repeat for more.",
    ),
]
OwnMultiplier = Annotated[
    str | None, typer.Option("--multiplier", metavar="DECIMAL", help="In place of the group's.")
]
ExtraModels = Annotated[
    list[str] | None,
    typer.Option("--extra-model", metavar="NAME|PATTERN", help="Besides the group's; may repeat."),
]
EffectiveFrom = Annotated[
    str | None,
    typer.Option("--effective-from", metavar="INSTANT", help="From then on, such as 2026-12-01T00:00:00Z."),
]
ExpiresAt = Annotated[
    str | None, typer.Option("--expires-at", metavar="INSTANT", help="Until then, as 2026-12-01T00:00:00Z.")
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with the change.")]
MoneyReason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the ledger entry.")
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", metavar="KEY", help="The same key and command again: answered, not done again."
    ),
]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's e-mail or id.")]


def given(**fields: Json) -> dict[str, Json]:
    """Return the fields that were given; one that is None was not."""
    return {name: value for name, value in fields.items() if value is not None}


def limits(**texts: str | None) -> dict[str, int | None]:
    """Return the limits that were given, by field; None is unlimited. Raises BadParameter."""
    return {name: _parse_limit(name, text) for name, text in texts.items() if text is not None}


def _parse_limit(name: str, text: str) -> int | None:
    if text == UNLIMITED:
        return None
    return parse_count(f"--{name.replace('_', '-')}", text, or_else=f", or {UNLIMITED}")


def parse_count(option: str, text: str, *, or_else: str = "") -> int:
    """Return a whole number from 0 on; 60,000 and 60_000 may be written. Raises BadParameter."""
    digits = text.replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdecimal()):
        raise typer.BadParameter(f"{option} takes a whole number{or_else}, not {text!r}")
    return int(digits)


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Return NAME=VALUE texts as a mapping. Raises BadParameter."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name and value):
            raise typer.BadParameter(f"{option} takes NAME=VALUE, not {text!r}")
        if name in pairs:
            raise typer.BadParameter(f"{option} names {name} twice")
        pairs[name] = value
    return pairs


def model_multipliers(texts: Sequence[str] | None) -> Mapping[str, str] | None:
    """Return --model-multiplier as a mapping, None where the option was not given. Raises BadParameter."""
    return None if texts is None else parse_pairs("--model-multiplier", texts)


def own_terms(
    *,
    multiplier: str | None,
    model_multiplier: Sequence[str] | None,
    extra_model: Sequence[str] | None,
    expires_at: str | None,
    **limit_texts: str | None,
) -> dict[str, Json]:
    """Return an account's custom terms within a group, as the API takes them. Raises BadParameter."""
    terms = given(
        multiplier=multiplier,
        model_multipliers=model_multipliers(model_multiplier),
        extra_models=extra_model,
        expires_at=expires_at,
    )
    return terms | limits(**limit_texts)

"""Refused call: one refusal as its account sees it, and what refusals are counted by."""

from dataclasses import dataclass
from typing import Final

HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedHour:
    """What refusals are counted by; ``hour`` is hours since 1970 UTC."""

    account_id: str
    key_id: str
    group_id: str
    code: str
    hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """One refusal. ``id`` is the call id that the reply carried; ``facts`` are the refusal's, as JSON."""

    id: str
    account_id: str
    key_id: str
    group_id: str
    model: str | None
    surface: str
    status: int
    code: str
    message: str
    facts: str | None
    refused_at_ms: int

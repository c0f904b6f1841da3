"""What a provider says that it takes for a call, in nano-credits: 1 credit is 1 USD. Pure.

    usage.cost                 USD, also as a decimal string (OpenRouter; the charge of another TokenOpen)
    usage.cost_in_usd_ticks    10,000,000,000 of them are 1 USD (docs.x.ai/developers/cost-tracking)

Which of them a provider means is said in its row: elsewhere a member of that name may be anything. A cost
that cannot be read is unknown: it is never 0, and never a reason not to charge.
"""

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec

from tokenopen.core.money import AMOUNT_MAX, NANO_PER_CREDIT, Nanocredits

CostField = Literal["cost", "cost_in_usd_ticks"]

_ABSENT: Final = msgspec.Raw(b"null")
_NANO_PER_UNIT: Final = {"cost": Decimal(NANO_PER_CREDIT), "cost_in_usd_ticks": Decimal("0.1")}
# Nothing that anybody takes for a call is longer, or as large.
_DIGITS_MAX: Final = 40
_AMOUNT_BOUND: Final = Decimal(10) ** 25


class CostMembers(msgspec.Struct, gc=False, frozen=True):
    """The members of a ``usage`` object that tell its cost, unread."""

    cost: msgspec.Raw = _ABSENT
    cost_in_usd_ticks: msgspec.Raw = _ABSENT
    cost_details: msgspec.Raw = _ABSENT
    is_byok: Any = None


class _Details(msgspec.Struct, gc=False, frozen=True):
    upstream_inference_cost: msgspec.Raw = _ABSENT


_details_decoder: Final = msgspec.json.Decoder(_Details)


def read_cost(report: CostMembers, field: CostField | None) -> Nanocredits | None:
    """Return what is reported under a provider's field, rounded up; None where that is nothing.

    OpenRouter's cost with a key of the operator's own is its fee alone: what the vendor takes beside it is
    added, and without that number the cost is unknown.
    """
    if field is None:
        return None
    cost = _amount(report.cost if field == "cost" else report.cost_in_usd_ticks)
    if cost is None:
        return None
    if report.is_byok is True and field == "cost":
        try:
            vendors = _amount(_details_decoder.decode(report.cost_details).upstream_inference_cost)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if vendors is None:
            return None
        cost += vendors
    nano = int((cost * _NANO_PER_UNIT[field]).to_integral_value(ROUND_CEILING))
    return Nanocredits(nano) if nano <= AMOUNT_MAX else None


def _amount(raw: msgspec.Raw) -> Decimal | None:
    text = bytes(raw).strip(b'"')
    if not text or len(text) > _DIGITS_MAX:
        return None
    try:
        amount = Decimal(text.decode("ascii"))
    except (InvalidOperation, UnicodeDecodeError):
        return None
    return amount if amount.is_finite() and 0 <= amount < _AMOUNT_BOUND else None

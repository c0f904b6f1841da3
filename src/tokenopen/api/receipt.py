"""Receipts and calls, as they are shown: under /api, and to API keys at /v1/receipts/{call_id}."""

from pydantic import BaseModel

from tokenopen.api.json_types import AmountOut, InstantOut, MultiplierOut
from tokenopen.control.call import CallRecord
from tokenopen.control.receipt import Receipt
from tokenopen.core.group import InterruptionRule


class CallGroupOut(BaseModel):
    """The group that a call was made under, by its names of today."""

    slug: str | None
    name: str | None


class CallKeyOut(BaseModel):
    """The API key that a call was made with."""

    id: str
    name: str | None
    last_four: str | None


class CallOut(BaseModel):
    """A call. ``state`` is held (running), settled (charged), voided or expired (both not charged).

    ``reserved`` is what was set aside while it ran; ``usage`` counts units by class, null while there is
    none; ``charge`` and ``absorbed`` (not covered by credit, not charged) together are its exact price.
    ``adjusted`` is what an administrator corrected later: above 0 given back, below it taken.
    """

    id: str
    model: str
    surface: str
    stream: bool
    state: str
    end_reason: str | None
    group: CallGroupOut
    key: CallKeyOut
    usage: dict[str, int] | None
    usage_source: str | None
    multiplier: MultiplierOut
    multiplier_rule: str
    list_price: AmountOut | None
    reserved: AmountOut
    charge: AmountOut
    absorbed: AmountOut
    refunded: AmountOut
    adjusted: AmountOut
    status: int | None
    admitted_at: InstantOut
    resolved_at: InstantOut | None
    first_byte_ms: int | None
    duration_ms: int | None


class AdminCallOut(CallOut):
    """A call as administrators see it; ``flag`` and ``flag_detail`` say what they should look at.

    ``cost`` is what the provider takes for it, null where that is not known; ``cost_source`` is reported (by
    the provider) or stated (from the prices that the upstream is set up with).
    """

    user_id: str
    user_email: str | None
    account_id: str
    flag: str | None
    flag_detail: str | None
    reviewed_at: InstantOut | None
    reviewed_by: str | None
    cost: AmountOut | None
    cost_source: str | None


class RevisionOut(BaseModel):
    """A revision that a call was made under."""

    id: str
    number: int | None


class ReceiptFields(BaseModel):
    """What a receipt says beyond the call: all that its charge is recomputed from.

    ``unit_prices`` are credits per million units by class, ``price_per_call`` credits; both null where the
    call was not charged. ``formula`` is the sum, written out. ``translated_to`` is the API that the provider
    was asked by, where that is not the caller's. ``interruption_rule`` is set where the call was interrupted,
    and says what the group charges then.
    """

    group_revision: RevisionOut
    entitlement_id: str | None
    price_revision: RevisionOut
    long_context_above_input_tokens: int | None
    unit_prices: dict[str, AmountOut] | None
    price_per_call: AmountOut | None
    formula: str | None
    translated_to: str | None
    interruption_rule: InterruptionRule | None


class ReceiptOut(ReceiptFields, CallOut):
    """A call with everything that its charge is recomputed from."""


class AttemptOut(BaseModel):
    """One try at one upstream; ``result`` is its status, or what went wrong."""

    upstream_id: str
    upstream_name: str | None
    result: str | None
    duration_ms: int | None


class AdminReceiptOut(ReceiptFields, AdminCallOut):
    """A receipt as administrators see it, with the upstreams that were tried."""

    attempts: list[AttemptOut]


def show_call(call: CallRecord) -> CallOut:
    """Return a call as its account sees it."""
    return CallOut(
        id=call.id,
        model=call.model,
        surface=call.surface,
        stream=call.stream,
        state=call.state,
        end_reason=call.end_reason,
        group=CallGroupOut(slug=call.group_slug, name=call.group_name),
        key=CallKeyOut(id=call.key_id, name=call.key_name, last_four=call.key_last_four),
        usage=None if call.usage is None else dict(call.usage.units),
        usage_source=None if call.usage is None else call.usage.source,
        multiplier=call.multiplier_ppm,
        multiplier_rule=call.multiplier_rule,
        list_price=call.list_price,
        reserved=call.hold,
        charge=call.charge,
        absorbed=call.absorbed,
        refunded=call.refunded,
        adjusted=call.adjusted,
        status=call.status,
        admitted_at=call.admitted_at_ms,
        resolved_at=call.resolved_at_ms,
        first_byte_ms=call.first_byte_ms,
        duration_ms=call.duration_ms,
    )


def show_admin_call(call: CallRecord) -> AdminCallOut:
    """Return a call as administrators see it."""
    return AdminCallOut(
        **dict(show_call(call)),
        user_id=call.user_id,
        user_email=call.user_email,
        account_id=call.account_id,
        flag=call.flag,
        flag_detail=call.flag_detail,
        reviewed_at=call.reviewed_at_ms,
        reviewed_by=call.reviewed_by,
        cost=call.cost,
        cost_source=call.cost_source,
    )


def _receipt_fields(receipt: Receipt) -> ReceiptFields:
    prices = receipt.call.prices
    return ReceiptFields(
        group_revision=RevisionOut(id=receipt.group_revision_id, number=receipt.group_revision_number),
        entitlement_id=receipt.entitlement_id,
        price_revision=RevisionOut(id=receipt.price_revision_id, number=receipt.price_revision_number),
        long_context_above_input_tokens=receipt.step_above_input_units,
        unit_prices=None if prices is None else dict(prices.per_million),
        price_per_call=None if prices is None else prices.per_call,
        formula=receipt.formula,
        translated_to=receipt.translated_to,
        interruption_rule=receipt.interruption_rule,
    )


def show_receipt(receipt: Receipt) -> ReceiptOut:
    """Return a receipt as the call's account sees it."""
    return ReceiptOut(**dict(show_call(receipt.call)), **dict(_receipt_fields(receipt)))


def show_admin_receipt(receipt: Receipt) -> AdminReceiptOut:
    """Return a receipt as administrators see it."""
    return AdminReceiptOut(
        **dict(show_admin_call(receipt.call)),
        **dict(_receipt_fields(receipt)),
        attempts=[
            AttemptOut(
                upstream_id=attempt.upstream_id,
                upstream_name=attempt.upstream_name,
                result=attempt.result,
                duration_ms=attempt.duration_ms,
            )
            for attempt in receipt.attempts
        ],
    )

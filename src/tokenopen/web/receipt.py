"""Receipt: a call's charge as a page shows it, line by line, and what happened to the call, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenopen.control.receipt import Receipt, charge_lines
from tokenopen.core.charge import charge_for
from tokenopen.core.ledger import LedgerEntry
from tokenopen.core.money import Nanocredits
from tokenopen.web import format as as_text
from tokenopen.web.text import Catalogue

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptView:
    """What templates/macros/receipt.html shows. ``lines`` are empty where nothing was charged.

    ``steps`` stand between the multiplier and the charge, ``after`` below it; ``attempts`` are shown with
    their upstream's name to administrators only.
    """

    receipt: Receipt
    lines: Sequence[Mapping[str, str]]
    multiplier: str
    rule: str
    steps: Pairs
    charge: str
    after: Pairs
    refunds: Sequence[LedgerEntry]


def receipt_view(receipt: Receipt, text: Catalogue, *, refunds: Sequence[LedgerEntry] = ()) -> ReceiptView:
    """Return a receipt as a page shows it; ``refunds`` are the call's refunds in the ledger."""
    call = receipt.call
    return ReceiptView(
        receipt=receipt,
        lines=_lines(receipt, text),
        multiplier=as_text.multiplier(call.multiplier_ppm),
        rule=rule_text(call.multiplier_rule, call.group_name or call.group_id, text),
        steps=_steps(receipt, text),
        charge=as_text.credits_exact(call.charge),
        after=_after(receipt, text),
        refunds=refunds,
    )


def _lines(receipt: Receipt, text: Catalogue) -> Sequence[Mapping[str, str]]:
    usage, prices = receipt.call.usage, receipt.call.prices
    if usage is None or prices is None:
        return []
    return [
        {
            "label": text(f"usage_class.{line.unit_class or 'per_call'}"),
            "units": as_text.number(line.units),
            "price": as_text.credits_exact(line.price),
            "amount": line.amount,
        }
        for line in charge_lines(usage, prices)
    ]


def _steps(receipt: Receipt, text: Catalogue) -> Pairs:
    """Return how the charge follows from the exact price where credit did not cover all of it."""
    call = receipt.call
    if not call.absorbed or call.usage is None or call.prices is None:
        return []
    due = charge_for(call.usage, call.prices, multiplier_ppm=call.multiplier_ppm)
    return [
        (text("receipt.due"), as_text.credits_exact(due)),
        (text("receipt.not_covered"), as_text.credits_exact(Nanocredits(-call.absorbed))),
    ]


def _after(receipt: Receipt, text: Catalogue) -> Pairs:
    call = receipt.call
    if not call.refunded:
        return []
    return [
        (text("receipt.refunded"), as_text.credits_exact(Nanocredits(-call.refunded))),
        (text("receipt.paid"), as_text.credits_exact(Nanocredits(call.charge - call.refunded))),
    ]


def rule_text(rule: str, group: str, text: Catalogue) -> str:
    """Return whose multiplier applied, as ``core.terms`` stored it on the call."""
    kind, _, pattern = rule.partition(" model ")
    if pattern:
        return text(f"receipt.rule.{kind}_model", group=group, pattern=pattern)
    return text(f"receipt.rule.{kind}", group=group)

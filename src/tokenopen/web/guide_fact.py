"""Guide facts: the live values of the guide's pages, from the groups, models and refusals there are."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from tokenopen.control.price_list import PriceList
from tokenopen.core import errors
from tokenopen.core.catalog import Model, Prices
from tokenopen.core.charge import charge_for
from tokenopen.core.group import GroupPolicy
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.money import PPM_ONE, UNITS_PER_PRICE, Nanocredits, format_rate
from tokenopen.core.terms import CUSTOM, display_multiplier, multiplier_for
from tokenopen.core.usage import Usage
from tokenopen.web import format as as_text
from tokenopen.web.guide_page import GuidePage
from tokenopen.web.guide_value import LiveLink, LiveTable, LiveValues, Value, support_link
from tokenopen.web.text import Catalogue

# What the worked example uses: units that a short chat with a cached prompt has.
EXAMPLE_USAGE: Final = Usage({"input": 1_200, "cached_input": 4_096, "output": 350})
# What examples name where it is offered; it is small, cheap, and everybody's SDK knows it.
EXAMPLE_MODEL: Final = "gpt-4o-mini"
_NAMED_MODELS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A call that the billing rules are explained with."""

    model: Model
    group: GroupRecord
    multiplier_ppm: int
    prices: Prices

    @property
    def charge(self) -> Nanocredits:
        """What the call is charged, by the very function that charges calls."""
        return charge_for(EXAMPLE_USAGE, self.prices, multiplier_ppm=self.multiplier_ppm)


def find_example(prices: PriceList) -> Example | None:
    """Return a call to explain, in the group with the lowest multiplier so that it shows, or None."""
    found = []
    for group in prices.groups:
        for model in sorted(prices.models_of(group), key=lambda model: model.name != EXAMPLE_MODEL):
            revision = model.price_at(prices.now_ms)
            if revision is None or revision.prices.unpriced(EXAMPLE_USAGE.units):
                continue
            ppm, _ = multiplier_for(group.policy, None, model.name)
            example = Example(
                model=model,
                group=group,
                multiplier_ppm=ppm,
                prices=revision.prices_for(EXAMPLE_USAGE.input_units),
            )
            found.append(example)
            break
    return min(found, key=lambda example: (example.multiplier_ppm, example.group.id), default=None)


def _limit(value: int | None, text: Catalogue) -> str:
    return text("common.unlimited") if value is None else as_text.number(value)


def _models(prices: PriceList, group: GroupRecord, text: Catalogue) -> str:
    names = [model.name for model in prices.models_of(group)]
    if not names:
        return text("guide.no_models")
    if len(names) == len(prices.offered) > _NAMED_MODELS:
        return text("guide.all_models", count=len(names))
    first = ", ".join(names[:_NAMED_MODELS])
    more = len(names) - _NAMED_MODELS
    return text("guide.more_models", names=first, count=more) if more > 0 else first


def group_table(prices: PriceList, text: Catalogue) -> LiveTable:
    """Return the groups as Group Pricing Explained shows them."""
    return LiveTable(
        caption=text("guide.group_table"),
        columns=[
            text("guide.column.group"),
            text("guide.column.multiplier"),
            text("guide.column.suitable_for"),
            text("guide.column.models"),
            text("guide.column.rpm"),
            text("guide.column.tpd"),
        ],
        rows=[
            [
                group.description.name,
                display_multiplier(group.policy, custom=group.description.custom_terms),
                group.description.suitable_for,
                _models(prices, group, text),
                _limit(group.policy.limits.requests_per_minute, text),
                _limit(group.policy.limits.requests_per_day, text),
            ]
            for group in prices.groups
        ],
        numbers=frozenset({1, 4, 5}),
    )


def _access_table(prices: PriceList, text: Catalogue) -> LiveTable:
    return LiveTable(
        caption=text("guide.access_table"),
        columns=[
            text("guide.column.group"),
            text("guide.column.access"),
            text("guide.column.allowed"),
            text("guide.column.own_multipliers"),
            text("guide.column.tpm"),
            text("guide.column.at_once"),
        ],
        rows=[
            [
                group.description.name,
                text(f"guide.access.{group.description.visibility}"),
                text(
                    "guide.some_models",
                    offered=len(prices.offered),
                    count=len(prices.models_of(group)),
                ),
                _own_multipliers(group.policy, text),
                _limit(group.policy.limits.tokens_per_minute, text),
                _limit(group.policy.limits.concurrent_calls, text),
            ]
            for group in prices.groups
        ],
        numbers=frozenset({4, 5}),
    )


def _rate_table(prices: PriceList, text: Catalogue) -> LiveTable:
    rows = []
    for model in prices.offered:
        revision = model.price_at(prices.now_ms)
        assert revision is not None, "an offered model has a price"
        per_million = revision.prices.per_million
        row = [model.name]
        for group in prices.groups:
            if not group.policy.allows(model.name):
                row.append(text("guide.not_available"))
                continue
            if group.description.custom_terms:
                row.append(CUSTOM)
                continue
            ppm, _ = multiplier_for(group.policy, None, model.name)
            rates = [as_text.rate(per_million[name], ppm) for name in ("input", "output")]
            row.append(" / ".join(rates))
        rows.append(row)
    names = [group.description.name for group in prices.groups]
    return LiveTable(
        caption=text("guide.rate_table"),
        columns=[text("guide.column.model"), *names],
        rows=rows or [[text("guide.no_models"), *[""] * len(names)]],
        numbers=frozenset(range(1, len(names) + 1)),
    )


def _own_multipliers(policy: GroupPolicy, text: Catalogue) -> str:
    if not policy.model_multipliers:
        return text("guide.none")
    return ", ".join(
        f"{pattern} {as_text.multiplier(ppm)}" for pattern, ppm in policy.model_multipliers.items()
    )


def _model_table(prices: PriceList, text: Catalogue) -> LiveTable:
    rows = []
    for model in prices.offered:
        revision = model.price_at(prices.now_ms)
        assert revision is not None, "an offered model has a price"
        per_million = revision.prices.per_million
        rows.append(
            [
                model.name,
                text("guide.none") if model.context_window is None else as_text.number(model.context_window),
                *(as_text.rate(per_million[name]) for name in ("input", "cached_input", "output")),
                ", ".join(
                    group.description.name for group in prices.groups if group.policy.allows(model.name)
                ),
            ]
        )
    return LiveTable(
        caption=text("guide.model_table"),
        columns=[
            text(f"guide.column.{name}")
            for name in ("model", "context", "input", "cached_input", "output", "groups")
        ],
        rows=rows or [[text("guide.no_models"), "", "", "", "", ""]],
        numbers=frozenset({1, 2, 3, 4}),
    )


def _example_table(example: Example | None, text: Catalogue) -> LiveTable:
    rows = []
    if example is not None:
        for name, units in EXAMPLE_USAGE:
            price = example.prices.per_million[name]
            amount = Nanocredits(units * price)
            rows.append(
                [
                    text(f"usage_class.{name}"),
                    as_text.number(units),
                    as_text.rate(price),
                    format_rate(amount, PPM_ONE // UNITS_PER_PRICE),
                ]
            )
        rows.append([text("receipt.multiplier"), "", "", as_text.multiplier(example.multiplier_ppm)])
        rows.append([text("receipt.charge"), "", "", as_text.credits_exact(example.charge)])
    return LiveTable(
        caption=text("receipt.caption"),
        columns=[text("receipt.what"), text("receipt.units"), text("receipt.price"), text("receipt.amount")],
        rows=rows or [[text("guide.no_models"), "", "", ""]],
        numbers=frozenset({1, 2, 3}),
    )


def list_refusals() -> Sequence[type[errors.Refusal]]:
    """Return every refusal that has a code, by status and code."""
    found, waiting = [], [errors.Refusal]
    while waiting:
        refusal = waiting.pop()
        waiting += refusal.__subclasses__()
        if hasattr(refusal, "code"):
            found.append(refusal)
    return sorted(found, key=lambda refusal: (refusal.status, refusal.code))


def _refusal_table(text: Catalogue) -> LiveTable:
    return LiveTable(
        caption=text("guide.refusal_table"),
        columns=[text(f"guide.column.{name}") for name in ("status", "code", "why", "what_to_do")],
        rows=[
            [
                str(refusal.status),
                f"`{refusal.code}`",
                text(f"refusal.{refusal.code}.why"),
                text(f"refusal.{refusal.code}.advice"),
            ]
            for refusal in list_refusals()
        ],
        anchor=1,
    )


def operation_table(openapi: Mapping[str, Any], text: Catalogue) -> LiveTable:
    """Return what the control API can do, as its own description says."""
    rows = [
        [f"{method.upper()} {path}", operation.get("description") or operation.get("summary", "")]
        for path, operations in openapi.get("paths", {}).items()
        for method, operation in operations.items()
    ]
    return LiveTable(
        caption=text("guide.operation_table"),
        columns=[text("guide.column.request"), text("guide.column.what_it_does")],
        rows=[[request, what.split("\n\n")[0].replace("\n", " ")] for request, what in rows],
    )


def guide_values(
    prices: PriceList, text: Catalogue, *, base_url: str, openapi: Mapping[str, Any]
) -> Mapping[str, Value]:
    """Return every live value by the name that pages have for it."""
    return LiveValues(
        _texts(prices, text, base_url=base_url),
        {
            "group_table": lambda: group_table(prices, text),
            "access_table": lambda: _access_table(prices, text),
            "model_table": lambda: _model_table(prices, text),
            "rate_table": lambda: _rate_table(prices, text),
            "worked_example": lambda: _example_table(find_example(prices), text),
            "refusal_table": lambda: _refusal_table(text),
            "operation_table": lambda: operation_table(openapi, text),
        },
    )


def _texts(prices: PriceList, text: Catalogue, *, base_url: str) -> Mapping[str, str | LiveLink]:
    platform, default, example = prices.platform, prices.default_group, find_example(prices)
    in_default = [model.name for model in prices.models_of(default)]
    named = EXAMPLE_MODEL if EXAMPLE_MODEL in in_default or not in_default else in_default[0]
    none = text("guide.none")
    return {
        "platform_name": platform.name,
        "base_url": base_url,
        "time_zone": platform.zone.key,
        "support_contact": support_link(platform.support_contact or text("guide.no_contact")),
        "default_group": default.description.name,
        "default_rpm": _limit(default.policy.limits.requests_per_minute, text),
        "default_tpd": _limit(default.policy.limits.requests_per_day, text),
        "multipliers_as_of": text(
            "guide.multipliers_as_of", instant=as_text.instant(prices.now_ms, platform.zone)
        ),
        "example_model": named,
        "worked_group": none if example is None else example.group.description.name,
        "worked_model": none if example is None else example.model.name,
        "worked_charge": none if example is None else as_text.credits_exact(example.charge),
    }


def last_updated(page: GuidePage, revised_at_ms: int, zone: ZoneInfo) -> datetime.date:
    """Return the newest of the page's own date and the day on which the groups were last revised."""
    return max(page.updated, as_text.at_zone(revised_at_ms, zone).date())

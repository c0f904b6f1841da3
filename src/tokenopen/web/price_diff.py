"""Price diff: what a price revision changes, class by class, as people read it."""

from collections.abc import Iterator, Mapping, Sequence

from tokenopen.control.price import PriceList, PriceRecord
from tokenopen.core.money import Nanocredits
from tokenopen.web import format as as_text
from tokenopen.web.group_diff import Change
from tokenopen.web.text import Catalogue


def price_before(revision: PriceRecord, revisions: Sequence[PriceRecord]) -> PriceRecord | None:
    """Return what a revision was written to follow: of the earlier ones the last to begin by then."""
    own = revision.revision
    earlier = [
        other
        for other in revisions
        if other.revision.number < own.number and other.revision.effective_from_ms <= own.effective_from_ms
    ]
    return max(
        earlier, key=lambda other: (other.revision.effective_from_ms, other.revision.number), default=None
    )


def describe_prices(before: PriceList | None, after: PriceList, text: Catalogue) -> Sequence[Change]:
    """Return the named prices that differ between two lists; all of them where there was none before."""
    old = {} if before is None else dict(_lines(before, text))
    new = dict(_lines(after, text))
    return [
        (label, old.get(label), new.get(label))
        for label in dict.fromkeys((*new, *old))
        if old.get(label) != new.get(label)
    ]


def _lines(prices: PriceList, text: Catalogue) -> Iterator[tuple[str, str]]:
    yield from _named(prices.named, text, "")
    for above, named in prices.steps:
        yield from _named(named, text, text("admin_model.above", units=as_text.number(above)))


def _named(named: Mapping[str, Nanocredits], text: Catalogue, where: str) -> Iterator[tuple[str, str]]:
    for name, price in named.items():
        label = text(f"usage_class.{name}")
        yield f"{label} {where}".rstrip(), as_text.rate(price)

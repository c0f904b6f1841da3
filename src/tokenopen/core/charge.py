"""What a finished call is charged: units x price x multiplier, rounded once, downwards."""

from tokenopen.core.catalog import Prices
from tokenopen.core.money import PPM_ONE, UNITS_PER_PRICE, Nanocredits, ceil_div
from tokenopen.core.usage import Usage

_DIVISOR = UNITS_PER_PRICE * PPM_ONE


def _scaled_list_price(usage: Usage, prices: Prices) -> int:
    """Return the list price in nano-credits times one million."""
    per_million = prices.per_million
    units_price = sum(units * per_million[unit_class] for unit_class, units in usage)
    return units_price + prices.per_call * UNITS_PER_PRICE


def charge_for(usage: Usage, prices: Prices, *, multiplier_ppm: int) -> Nanocredits:
    """Return the charge for ``usage`` in nano-credits (DESIGN: Money)."""
    assert multiplier_ppm >= 0
    return Nanocredits(_scaled_list_price(usage, prices) * multiplier_ppm // _DIVISOR)


def hold_for(usage: Usage, prices: Prices, *, multiplier_ppm: int) -> Nanocredits:
    """Return what a call of at most ``usage`` can cost, rounded up, so that no charge exceeds its hold."""
    assert multiplier_ppm >= 0
    return Nanocredits(ceil_div(_scaled_list_price(usage, prices) * multiplier_ppm, _DIVISOR))

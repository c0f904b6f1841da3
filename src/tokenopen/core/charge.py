"""What a finished call is charged: units x price x multiplier, rounded once, downwards."""

from tokenopen.core.catalog import Prices
from tokenopen.core.money import PPM_ONE, UNITS_PER_PRICE, Nanocredits
from tokenopen.core.usage import Usage

_DIVISOR = UNITS_PER_PRICE * PPM_ONE


def charge_for(usage: Usage, prices: Prices, *, multiplier_ppm: int) -> Nanocredits:
    """Return the charge for ``usage`` in nano-credits (DESIGN: Money)."""
    assert multiplier_ppm >= 0
    assert not prices.unpriced(usage.units), "what has no price is never charged"
    per_million = prices.per_million
    units_price = sum([units * per_million[unit_class] for unit_class, units in usage])
    list_price_scaled = units_price + prices.per_call * UNITS_PER_PRICE
    return Nanocredits(list_price_scaled * multiplier_ppm // _DIVISOR)

"""Usage: the units of a finished call, by disjoint class.

Providers disagree on whether cached, audio or reasoning units are inside the totals they report; the
surfaces under ``upstream/`` turn each report into these classes, which never overlap, so a sum of
units x price is a sum over different units.

Input and output are counted in tokens and have a price for every class. Counted classes are charged where a
model is sold by something else than tokens; such a call needs a price that names the class.

    images      images that a call gives              characters  text that is read out, in code points
    seconds     sound that is listened to, begun ones searches    search units of a rerank
    web_searches  searches of the web that the provider ran for the model
    containers  in which it ran code for the model
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

from tokenopen.core.frozen import Frozen

INPUT_CLASSES: Final = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "cached_audio_input",
    "video_input",
)
OUTPUT_CLASSES: Final = ("output", "reasoning", "audio_output", "image_output")
TOKEN_CLASSES: Final = INPUT_CLASSES + OUTPUT_CLASSES
COUNTED_CLASSES: Final = ("images", "characters", "seconds", "searches", "web_searches", "containers")
# Sold beside tokens, never instead: units of these that have no price leave the tokens due.
ADDED_CLASSES: Final = frozenset({"web_searches", "containers"})
USAGE_CLASSES: Final = TOKEN_CLASSES + COUNTED_CLASSES
_INPUT: Final = frozenset(INPUT_CLASSES)
_OUTPUT: Final = frozenset(OUTPUT_CLASSES)
_ALL: Final = frozenset(USAGE_CLASSES)

# No real call comes near this; a report beyond it is a fault.
UNITS_MAX: Final = 10**9

UsageSource = Literal["reported", "estimated"]


class ImpossibleUsage(ValueError):
    """A provider's report that cannot be true: negative, not whole, or classes that do not sum."""


class Usage(Frozen, frozen=True):
    """Units by class; a class that is not named has none.

    ``cost`` is what the provider says that it takes for them, in nano-credits; None where it does not say.
    """

    units: Mapping[str, int]
    source: UsageSource = "reported"
    cost: int | None = None

    def __post_init__(self) -> None:
        for unit_class, units in self.units.items():
            if unit_class not in _ALL:
                raise ImpossibleUsage(f"unknown usage class {unit_class!r}")
            if type(units) is not int or not 0 <= units <= UNITS_MAX:
                raise ImpossibleUsage(f"{units} units of {unit_class}")

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.units.items())

    def without(self, unit_classes: Collection[str]) -> "Usage":
        """Return the usage but for the units of some classes."""
        units = {name: count for name, count in self.units.items() if name not in unit_classes}
        return Usage(units, self.source, self.cost)

    @property
    def input_units(self) -> int:
        """All units that went in, however they are priced."""
        return sum([count for unit_class, count in self.units.items() if unit_class in _INPUT])

    @property
    def output_units(self) -> int:
        """All units that came out, however they are priced."""
        return sum([count for unit_class, count in self.units.items() if unit_class in _OUTPUT])


def usage_of(*, source: UsageSource = "reported", **units: int) -> Usage:
    """Return the usage with the classes that have any units. Raises ImpossibleUsage."""
    return Usage({unit_class: count for unit_class, count in units.items() if count}, source)

"""Frozen: a value of named fields that cannot be changed, at a fraction of what a frozen dataclass costs.

A call makes some twenty of them. This is the one file of core that uses a library: the interpreter takes
seven times as long for the same (docs/decisions/0031).
"""

from typing import Any, Self

import msgspec


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The base of such a class, which says ``frozen=True, kw_only=True`` again for its own fields."""

    def changed(self, **fields: Any) -> Self:
        """Return the same with other values in some fields."""
        return msgspec.structs.replace(self, **fields)

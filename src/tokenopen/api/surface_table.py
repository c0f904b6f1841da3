"""Surface table: which surface answers which method and path."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tokenopen.upstream.surface import Surface

_PLACE: Final = re.compile(r"\\\{(\w+)\\\}")


class SurfaceTable:
    """The surfaces that are offered. Paths without places are found by one look-up."""

    def __init__(self, surfaces: Iterable[Surface]) -> None:
        self._fixed: dict[tuple[str, str], Surface] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Surface]] = []
        for surface in surfaces:
            if "{" in surface.path:
                self._patterns.append((surface.method, _pattern(surface.path), surface))
            else:
                assert (surface.method, surface.path) not in self._fixed
                self._fixed[surface.method, surface.path] = surface

    def find(self, method: str, path: str) -> tuple[Surface, Mapping[str, str]] | None:
        """Return the surface at a path, and what stands in its places; None where there is none."""
        surface = self._fixed.get((method, path))
        if surface is not None:
            return surface, {}
        for wanted, pattern, surface in self._patterns:
            if wanted == method and (match := pattern.fullmatch(path)) is not None:
                return surface, match.groupdict()
        return None


def _pattern(path: str) -> re.Pattern[str]:
    # Names of models may hold slashes (maker/model).
    return re.compile(
        _PLACE.sub(
            lambda place: f"(?P<{place[1]}>{'.+' if place[1] == 'model' else '[^/]+'})", re.escape(path)
        ),
        re.DOTALL,
    )

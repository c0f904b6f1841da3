"""Text: every string of the pages, by key, from one catalogue per language.

A language is a folder under ``strings/``: one TOML file per noun, whose keys are reached as ``noun.key``.
What a language lacks is said in English. A string may hold ``{names}`` for values; one that counts is a table
of ``one`` and ``other``.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

STRINGS: Final = Path(__file__).parent / "strings"
FALLBACK: Final = "en"

Entry = str | Mapping[str, str]


class UnknownText(KeyError):
    """A page asks for a string that no file has."""


def _flatten(prefix: str, value: Any) -> dict[str, Entry]:
    if isinstance(value, str) or set(value) == {"one", "other"}:
        return {prefix: value}
    found: dict[str, Entry] = {}
    for name, inner in value.items():
        found |= _flatten(f"{prefix}.{name}", inner)
    return found


def _load(folder: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.toml")):
        entries |= _flatten(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
    return entries


class Catalogue:
    """The strings of one language. Calling it returns a string with its values filled in."""

    def __init__(self, language: str, entries: Mapping[str, Entry]) -> None:
        self.language = language
        self.entries = entries

    def __call__(self, key: str, **values: Any) -> str:
        """Return a string. Safe markup among the values stays so, and everything else is then escaped.

        ``count`` chooses between ``one`` and ``other``. Raises UnknownText, KeyError for a missing value.
        """
        entry = self.entries.get(key)
        if entry is None:
            raise UnknownText(key)
        if not isinstance(entry, str):
            entry = entry["one" if values["count"] == 1 else "other"]
        if any(isinstance(value, Markup) for value in values.values()):
            # Escaped first, then filled: format() escapes every value that is not markup itself.
            return Markup(escape(entry)).format(**values)  # noqa: S704
        return entry.format(**values)


class Languages:
    """The catalogues there are. ``folder`` holds one folder per language."""

    def __init__(self, folder: Path = STRINGS) -> None:
        fallback = _load(folder / FALLBACK)
        self._catalogues = {
            path.name: Catalogue(path.name, {**fallback, **_load(path)})
            for path in sorted(folder.iterdir())
            if path.is_dir()
        }

    @property
    def names(self) -> Sequence[str]:
        """The languages, as their folders are named."""
        return list(self._catalogues)

    def choose(self, accept_language: str) -> Catalogue:
        """Return the catalogue that a browser's Accept-Language header prefers, else English."""
        for wanted in _by_preference(accept_language):
            for name in (wanted, wanted.split("-")[0]):
                if name in self._catalogues:
                    return self._catalogues[name]
        return self._catalogues[FALLBACK]


def _by_preference(accept_language: str) -> Sequence[str]:
    weighted = []
    for part in accept_language.lower().split(",")[:20]:
        name, _, weight = part.strip().partition(";q=")
        weighted.append((weight or "1", name))
    # RFC 9110, 12.4.2: weights are 0 to 1 with at most three places, so they sort as text as well.
    return [name for weight, name in sorted(weighted, key=lambda pair: pair[0], reverse=True) if weight > "0"]

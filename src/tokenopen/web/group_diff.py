"""Group diff: what a change of a group changes, as people read it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tokenopen.core.group import LIMIT_NAMES
from tokenopen.core.group_history import GroupContent, content_fields
from tokenopen.web import format as as_text
from tokenopen.web.text import Catalogue

# A field's label, what it said and what it says; None where there was or is nothing.
Change = tuple[str, str | None, str | None]
# Fields whose values are words of the catalogue.
_WORDED: Final = ("visibility", "custom_terms", "state", "interruption_rule")


def describe_change(before: GroupContent | None, after: GroupContent, text: Catalogue) -> Sequence[Change]:
    """Return what differs between two states of a group; all of it where there was none before."""
    old = {} if before is None else content_fields(before)
    return list(_changes(old, content_fields(after), text))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], text: Catalogue) -> Iterator[Change]:
    for name, value in new.items():
        label = text(f"admin_group.field.{name}")
        if name in old and old[name] == value:
            continue
        if name == "allowed_models":
            yield from _models(label, old.get(name, []), value)
        elif name == "model_multipliers":
            yield from _multipliers(label, old.get(name, {}), value)
        else:
            shown = _shown(name, text)
            yield label, shown(old[name]) if name in old else None, shown(value)


def _shown(name: str, text: Catalogue) -> Callable[[Any], str | None]:
    def shown(value: Any) -> str | None:
        if name in LIMIT_NAMES and value is None:
            return text("common.unlimited")
        if name == "multiplier_ppm":
            return as_text.multiplier(value)
        if name in _WORDED:
            return text(f"admin_group.{name}.{str(value).lower()}")
        return as_text.number(value) if isinstance(value, int) else value or None

    return shown


def _models(label: str, old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    gone = ", ".join(pattern for pattern in old if pattern not in new)
    come = ", ".join(pattern for pattern in new if pattern not in old)
    if gone or come:
        yield label, gone or None, come or None


def _multipliers(label: str, old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[Change]:
    for pattern in dict.fromkeys((*old, *new)):
        if old.get(pattern) != new.get(pattern):
            before, after = (
                as_text.multiplier(multipliers[pattern]) if pattern in multipliers else None
                for multipliers in (old, new)
            )
            yield f"{label}: {pattern}", before, after

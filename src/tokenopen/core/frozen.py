"""Frozen: a frozen, slotted, keyword-only dataclass that costs no more to make than one that is not frozen.

The standard library's sets each field past the class's own lock, which takes three times as long, and a call
makes some twenty of them. Here an instance is open while it is made, by being of a twin class without a lock.
"""

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, cast, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: Class) -> Class:
    """Make a class one; see above. Everything else is as ``dataclass`` has it."""
    made: Any = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    names: dict[str, Any] = {
        "made": made,
        "twin": type(f"_Open{cls.__name__}", made.__bases__, {"__slots__": made.__slots__}),
        "unlock": object.__setattr__,
        "MISSING": MISSING,
    }
    members = fields(made)
    parameters = [_parameter(member, names) for member in members]
    lines = [
        f"def __init__(self, *, {', '.join(parameters)}):",
        "  unlock(self, '__class__', twin)",
        *(f"  self.{member.name} = {_value(member)}" for member in members),
        "  self.__class__ = made",
        *(["  self.__post_init__()"] if hasattr(made, "__post_init__") else []),
    ]
    exec("\n".join(lines), names)  # noqa: S102 - of names that stand in our own code, as dataclasses does it
    names["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    made.__init__ = names["__init__"]
    return cast(Class, made)


def _parameter(member: "Field[Any]", names: dict[str, Any]) -> str:
    """Return how a field stands in the parameters; what it is otherwise is added to the names."""
    if member.default is not MISSING:
        names[f"default_{member.name}"] = member.default
        return f"{member.name}=default_{member.name}"
    if member.default_factory is not MISSING:
        names[f"make_{member.name}"] = member.default_factory
        return f"{member.name}=MISSING"
    return member.name


def _value(member: "Field[Any]") -> str:
    if member.default_factory is MISSING:
        return member.name
    return f"make_{member.name}() if {member.name} is MISSING else {member.name}"

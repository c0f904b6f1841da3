"""Frozen: it holds what it was given, and nothing changes it."""

import copy
import pickle
from collections.abc import Mapping

import msgspec
import pytest

from tokenopen.core.frozen import Frozen


class Sum(Frozen, frozen=True, kw_only=True):
    """Adds up."""

    name: str
    amount: int = 0
    parts: Mapping[str, int] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("negative")

    @property
    def doubled(self) -> int:
        return 2 * self.amount


def test_it_holds_what_it_is_given_and_else_its_defaults() -> None:
    one, other = Sum(name="a", amount=3, parts={"b": 3}), Sum(name="a")
    assert (one.name, one.amount, one.parts, one.doubled) == ("a", 3, {"b": 3}, 6)
    assert (other.amount, other.parts) == (0, {})
    assert other.parts is not Sum(name="a").parts
    assert type(one) is Sum


def test_nothing_of_it_can_be_changed_or_added() -> None:
    one = Sum(name="a")
    with pytest.raises(AttributeError):
        one.amount = 4  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del one.name
    assert not hasattr(one, "__dict__")


def test_it_is_compared_shown_and_replaced_by_its_fields() -> None:
    one = Sum(name="a", amount=3)
    assert one == Sum(name="a", amount=3) != Sum(name="a", amount=4)
    assert repr(one) == "Sum(name='a', amount=3, parts={})"
    assert one.changed(amount=5) == Sum(name="a", amount=5)
    assert one.amount == 3
    assert copy.copy(one) == one == pickle.loads(pickle.dumps(one))


def test_what_it_may_not_be_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="negative"):
        Sum(name="a", amount=-1)
    with pytest.raises(TypeError, match="name"):
        Sum(amount=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Sum("a")  # type: ignore[call-arg]

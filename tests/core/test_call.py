"""Call: the lifecycle is a table, and nothing leads out of an end."""

import re

from tokenopen.core import call
from tokenopen.core.call import TRANSITIONS, Outcome


def test_a_hold_is_settled_voided_or_expired_and_then_nothing() -> None:
    assert TRANSITIONS == {
        "held": {"settle": "settled", "void": "voided", "expire": "expired"},
        "settled": {},
        "voided": {},
        "expired": {},
    }


def test_the_picture_at_the_top_is_the_table() -> None:
    assert call.__doc__ is not None
    assert re.findall(r"-+(\w+)-+> (\w+)", call.__doc__) == list(TRANSITIONS["held"].items())


def test_an_outcome_is_due_nothing_unless_it_says_so() -> None:
    assert Outcome(resolution="void", end_reason="upstream_failed").due == 0

"""Identifier: carries its kind, sorts by age, does not repeat."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tokenopen.core.identifier import Kind, charge_entry_id, new_id

KINDS: list[Kind] = ["usr", "acc", "key", "grp", "etl", "ups", "call", "led"]
# Crockford's base 32: no i, l, o and u.
MANY = 3_000
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def time_of(identifier: str) -> int:
    """Read the 48 bits of time back, digit by digit."""
    value = 0
    for digit in identifier.rsplit("_", 1)[1]:
        value = value * 32 + DIGITS.index(digit)
    return value >> 80


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("now_ms", [0, 1, 1_795_468_577_123, 2**48 - 1])
def test_an_identifier_is_its_kind_its_time_and_chance(kind: Kind, now_ms: int) -> None:
    identifier = new_id(kind, now_ms)
    assert re.fullmatch(f"{kind}_[{DIGITS}]{{26}}", identifier)
    assert time_of(identifier) == now_ms


def test_identifiers_sort_by_the_millisecond_in_which_they_were_made() -> None:
    made = [new_id("call", now_ms) for now_ms in (0, 1, 31, 32, 1_023, 1_024, 10**6, 10**12, 10**13)]
    assert made == sorted(made)


def test_identifiers_of_one_millisecond_do_not_repeat() -> None:
    assert len({new_id("call", 5) for _ in range(5_000)}) == 5_000


def test_identifiers_made_by_several_threads_at_once_do_not_repeat() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = [done.result() for done in [threads.submit(make_many) for _ in range(4)]]
    assert len(set().union(*made)) == 4 * MANY


def make_many() -> set[str]:
    return {new_id("call", 5) for _ in range(MANY)}


def test_each_call_has_one_charge_entry_id() -> None:
    one, two = new_id("call", 5), new_id("call", 5)
    assert charge_entry_id(one) == charge_entry_id(one) != charge_entry_id(two)
    assert charge_entry_id(one) == "led_" + one.split("_")[1]

"""Affinity: what begins alike goes to the same upstream, shares are by weight, and little moves."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.catalog import Endpoint, Route
from tokenopen.gateway.affinity import PREFIX_BYTES_MAX, order_routes, prefix_of


def route(name: str, *, weight: int = 1, priority: int = 0) -> Route:
    endpoint = Endpoint(
        id=name,
        name=name,
        provider="openai",
        base_url="https://example.com/v1",
        credential_sealed=b"",
        enabled=True,
        connect_timeout_ms=1,
        first_byte_timeout_ms=1,
        idle_timeout_ms=1,
    )
    return Route(model="m", endpoint=endpoint, upstream_model="m", priority=priority, weight=weight)


def fields(**values: object) -> dict[str, bytes]:
    return {name: msgspec.json.encode(value) for name, value in values.items()}


def messages(*texts: str) -> dict[str, bytes]:
    return fields(messages=[{"role": "user", "content": text} for text in texts])


ROUTES = [route("a"), route("b"), route("c")]


def first(body: dict[str, bytes], *, account_id: str = "acc_1", routes: list[Route] = ROUTES) -> str:
    return order_routes(routes, account_id=account_id, fields=body)[0].endpoint.id


@given(st.text(max_size=50), st.lists(st.text(max_size=20), max_size=4))
def test_a_conversation_stays_where_it_began(opening: str, later: list[str]) -> None:
    assert first(messages(opening)) == first(messages(opening, *later))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (messages("hi"), messages("ho")),
        (fields(system="a", messages=[1]), fields(system="b", messages=[1])),
        (fields(instructions="a", input="x"), fields(instructions="b", input="x")),
        (fields(prompt_cache_key="a", messages=[1]), fields(prompt_cache_key="b", messages=[1])),
        (fields(contents=[{"parts": 1}]), fields(contents=[{"parts": 2}])),
    ],
)
def test_what_begins_otherwise_is_another_prefix(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert prefix_of(one) != prefix_of(other)


@pytest.mark.parametrize(
    "body", [fields(), fields(messages=[]), fields(messages=None), fields(system="", input=None)]
)
def test_a_call_that_says_nothing_has_no_prefix_and_goes_anywhere(body: dict[str, bytes]) -> None:
    assert prefix_of(body) is None
    assert {first(body) for _ in range(100)} == {"a", "b", "c"}


def test_two_accounts_are_spread_apart() -> None:
    assert len({first(messages("hi"), account_id=f"acc_{number}") for number in range(50)}) == 3


def test_shares_are_by_weight() -> None:
    routes = [route("a", weight=3), route("b", weight=1)]
    shares = Counter(first(messages(f"text {number}"), routes=routes) for number in range(4_000))
    assert 2_850 < shares["a"] < 3_150


def test_shares_of_calls_that_say_nothing_are_by_weight_too() -> None:
    routes = [route("a", weight=3), route("b", weight=1)]
    shares = Counter(first(fields(prompt=[]), routes=routes) for _ in range(4_000))
    # More than five standard deviations of 27 to either side.
    assert 2_850 < shares["a"] < 3_150


def test_an_upstream_that_goes_moves_its_own_calls_only() -> None:
    for number in range(300):
        body = messages(f"text {number}")
        before = first(body)
        after = first(body, routes=ROUTES[:2])
        assert after == before or before == "c"


def test_a_lower_priority_number_comes_before_any_affinity() -> None:
    routes = [replace(each, priority=5) for each in ROUTES] + [route("z", priority=1)]
    assert all(first(messages(f"text {number}"), routes=routes) == "z" for number in range(50))


def test_only_the_beginning_of_a_long_prompt_is_looked_at() -> None:
    long = "x" * 10 * PREFIX_BYTES_MAX
    prefix = prefix_of(messages(long, "one"))
    assert prefix == prefix_of(messages(long, "two"))
    assert prefix is not None
    assert len(prefix) <= PREFIX_BYTES_MAX + len(b"messages")
    assert len(prefix_of(fields(system=long)) or b"") <= PREFIX_BYTES_MAX + len(b"system")


@given(st.binary(max_size=60))
def test_whatever_stands_there_never_fails(value: bytes) -> None:
    prefix_of({"messages": value, "input": b"[" + value})

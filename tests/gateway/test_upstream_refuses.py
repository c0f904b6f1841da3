"""A provider that refuses a call, or cannot be reached, before its reply begins."""

import pytest

from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PROVIDERS_WORDS,
    ask,
    ask_stream,
    provider_error,
    whole_json,
    whole_stream,
)
from tests.gateway.world import EMBEDDING_MODEL, EMBEDDINGS, World, price, refusal
from tokenopen.ports.upstream import (
    AddressForbidden,
    FirstByteTimeout,
    NotReached,
    ReplyBroken,
    UpstreamFailure,
)

CALLERS_BUSINESS = [400, 413, 415, 422]
OPERATORS_TROUBLE = [401, 402, 403, 404, 408, 409, 429, 500, 502, 503, 504, 529]
UNREACHABLE = [NotReached("refused"), AddressForbidden("loopback"), ReplyBroken("reset")]
CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)


def failing(failure: UpstreamFailure) -> Script:
    return Script(before=[failure])


@pytest.mark.parametrize("status", CALLERS_BUSINESS)
@pytest.mark.parametrize("body", [ask(), ask_stream()], ids=["json", "stream"])
async def test_what_is_the_callers_business_passes_in_the_providers_words_and_costs_nothing(
    world: World, status: int, body: dict[str, object]
) -> None:
    await world.add_upstream("two", {"priority": 1})
    headers = (
        (b"content-type", b"application/problem+json"),
        (b"openai-organization", b"org-secret"),
        (b"set-cookie", b"secret=1"),
        (b"x-request-id", b"theirs"),
        (b"x-ratelimit-limit-requests", b"9"),
    )
    world.upstream.will(provider_error(status, headers=headers), whole_json())
    reply = await world.call(body)
    assert (reply.status, reply.body, reply.whole) == (status, PROVIDERS_WORDS, True)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"].startswith("call_")
    assert reply.headers["x-tokenopen-group"] == "team"
    assert not {"openai-organization", "set-cookie", "x-ratelimit-limit-requests"} & set(reply.headers)
    assert len(world.upstream.requests) == 1
    row = await world.call_row(reply)
    assert (row["state"], row["end_reason"], row["status"]) == ("voided", "upstream_rejected", status)
    assert await world.charges() == []
    assert world.upstream.replies[0].closed
    await world.assert_sound()


@pytest.mark.parametrize("status", OPERATORS_TROUBLE)
async def test_what_is_the_operators_trouble_goes_to_the_next_route(world: World, status: int) -> None:
    first = world.upstream_id
    second = await world.add_upstream("two", {"priority": 1})
    world.upstream.will(provider_error(status), whole_json())
    reply = await world.call(ask())
    assert reply.status == 200
    assert [request.url for request in world.upstream.requests] == [
        "https://one.example.com/v1/chat/completions",
        "https://two.example.com/v1/chat/completions",
    ]
    assert await world.charges() == [CHARGE]
    row = await world.call_row(reply)
    assert row["upstream_id"] == second
    assert first in row["attempts"]
    assert str(status) in row["attempts"]
    assert all(reply.closed for reply in world.upstream.replies)
    await world.assert_sound()


@pytest.mark.parametrize("status", OPERATORS_TROUBLE)
@pytest.mark.parametrize("body", [ask(), ask_stream()], ids=["json", "stream"])
async def test_the_operators_trouble_is_told_in_our_words(
    world: World, status: int, body: dict[str, object]
) -> None:
    world.upstream.will(provider_error(status))
    reply = await world.call(body)
    assert reply.status in (502, 503)
    refusal(reply, reply.status, "upstream_error" if reply.status == 502 else "no_upstream_available")
    assert b"org-secret" not in reply.body
    assert b"theirs" not in reply.body
    row = await world.call_row(reply)
    assert (row["state"], row["end_reason"], row["status"]) == ("voided", "upstream_failed", reply.status)
    assert await world.charges() == []
    await world.assert_sound()


@pytest.mark.parametrize("failure", UNREACHABLE, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_an_upstream_that_gives_no_reply_is_followed_by_the_next_one(
    world: World, failure: UpstreamFailure, stream: bool
) -> None:
    await world.add_upstream("two", {"priority": 1})
    world.upstream.will(failing(failure), whole_stream() if stream else whole_json())
    reply = await world.call(ask_stream() if stream else ask())
    assert (reply.status, reply.whole) == (200, True)
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_no_upstream_that_can_be_reached_is_a_503(world: World) -> None:
    await world.add_upstream("two", {"priority": 1})
    world.upstream.will(failing(NotReached("no address 10.1.2.3")), failing(NotReached("refused")))
    reply = await world.call(ask())
    error = refusal(reply, 503, "no_upstream_available")
    assert "10.1.2.3" not in error["message"]
    assert int(reply.headers["retry-after"]) > 0
    assert len(world.upstream.requests) == 2
    assert await world.charges() == []
    await world.assert_sound()


async def test_a_provider_that_may_be_working_is_not_followed_by_another(world: World) -> None:
    """It would be paid twice."""
    await world.add_upstream("two", {"priority": 1})
    world.upstream.will(failing(FirstByteTimeout("600 s")), whole_json())
    refusal(await world.call(ask()), 504, "upstream_timeout")
    assert len(world.upstream.requests) == 1
    row = await world.only_call()
    assert (row["state"], row["status"]) == ("voided", 504)
    assert await world.charges() == []
    await world.assert_sound()


async def test_routes_are_tried_in_the_order_of_their_priority_and_one_that_failed_comes_last(
    world: World,
) -> None:
    await world.add_upstream("two", {"priority": 2})
    await world.add_upstream("three", {"priority": 1})
    world.upstream.will(failing(NotReached("down")), provider_error(500), whole_json())
    assert (await world.call(ask())).status == 200
    hosts = [request.url.split("/")[2].split(".")[0] for request in world.upstream.requests]
    assert hosts == ["one", "three", "two"]
    world.upstream.will(whole_json())
    await world.call(ask())
    assert world.upstream.requests[-1].url.startswith("https://two.")
    world.clock.move(seconds=60)
    world.upstream.will(whole_json())
    await world.call(ask())
    assert world.upstream.requests[-1].url.startswith("https://one.")


async def test_embeddings_are_forwarded_and_charged_by_their_input(world: World) -> None:
    world.upstream.will(Script(body=[b'{"data": [], "usage": {"prompt_tokens": 40, "total_tokens": 40}}']))
    reply = await world.call({"model": EMBEDDING_MODEL, "input": ["a", "b"]}, path=EMBEDDINGS)
    assert reply.status == 200
    assert world.upstream.requests[0].url == "https://one.example.com/v1/embeddings"
    assert await world.charges() == [40 * 20]
    await world.assert_sound()


@pytest.mark.parametrize(
    "script", [provider_error(500), failing(FirstByteTimeout("late"))], ids=["502", "504"]
)
async def test_an_admitted_call_that_fails_shows_its_group_and_limits_too(
    world: World, script: Script
) -> None:
    """DESIGN 7: every admitted or limited reply carries them; the call did count."""
    await world.change_group({"requests_per_minute": 5})
    world.upstream.will(script)
    reply = await world.call(ask())
    assert reply.status in (502, 504)
    assert reply.headers.get("x-tokenopen-group") == "team"
    assert reply.headers["x-ratelimit-remaining-requests"] == "4"

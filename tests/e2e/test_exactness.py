"""Exactness under parallel calls, against the real process."""

import asyncio
import secrets
from collections import Counter
from fractions import Fraction

import httpx

from tests.e2e.running import Platform

CONCURRENCY = 100


async def call_at_once(platform: Platform, key: str, bodies: list[dict[str, object]]) -> list[httpx.Response]:
    """Send every body, up to CONCURRENCY at a time, and return the replies."""
    gate = asyncio.Semaphore(CONCURRENCY)
    limits = httpx.Limits(max_connections=CONCURRENCY)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=120, limits=limits) as caller:

        async def call(body: dict[str, object]) -> httpx.Response:
            async with gate:
                return await caller.post(f"{platform.server.url}/v1/chat/completions", json=body)

        return await asyncio.gather(*(call(body) for body in bodies))


def test_of_1000_calls_on_credit_for_37_exactly_37_are_answered(platform: Platform) -> None:
    """Each call is charged exactly its hold: the provider reports the most that the hold covers."""
    platform.add_model("dear", prices={"input": "0", "output": "1000"}, max_output_tokens=1_000)
    platform.add_upstream(["dear"], name="dear")
    user = platform.add_user("thirtyseven@example.com", credit="37")
    platform.add_group("thirtyseven")
    key = platform.add_key(user, "thirtyseven")
    # 1,000 output tokens at 1,000 credits per million cost 1 credit, and so does the hold.
    body = {"model": "dear", "max_tokens": 1_000, "messages": [{"role": "user", "content": "x"}]}
    replies = asyncio.run(call_at_once(platform, key, [body] * 1_000))
    statuses = Counter(reply.status_code for reply in replies)
    assert statuses == {200: 37, 402: 963}
    assert {reply.headers["x-tokenopen-charge"] for reply in replies if reply.status_code == 200} == {"1"}
    refused = next(reply.json()["error"] for reply in replies if reply.status_code == 402)
    assert refused["code"] == "insufficient_credit"
    shown = platform.ask("GET", f"/api/admin/users/{user}")
    assert (shown["balance"], shown["held"], shown["available"]) == ("0", "0", "0")
    platform.audit()


def test_of_200_calls_at_once_60_are_admitted_at_60_requests_per_minute(platform: Platform) -> None:
    user = platform.add_user("sixty@example.com")
    platform.add_group("sixty", requests_per_minute=60)
    key = platform.add_key(user, "sixty")
    body = {"model": "small", "max_tokens": 2, "messages": [{"role": "user", "content": "x"}]}
    replies = asyncio.run(call_at_once(platform, key, [body] * 200))
    assert Counter(reply.status_code for reply in replies) == {200: 60, 429: 140}
    assert {reply.json()["error"]["code"] for reply in replies if reply.status_code == 429} == {
        "rpm_exceeded"
    }
    platform.audit()


def test_a_3_mb_image_without_a_maximum_is_answered_on_one_credit(platform: Platform) -> None:
    user = platform.add_user("image@example.com", credit="1")
    platform.add_group("image")
    key = platform.add_key(user, "image")
    image = "data:image/png;base64," + "A" * 3_000_000
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": image}}]
    with platform.caller(key) as caller:
        reply = caller.post(
            "/chat/completions",
            json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]},
        )
    assert reply.status_code == 200, reply.text
    assert Fraction(reply.headers["x-tokenopen-charge"]) > 0
    assert platform.simulator.received()[-1].json["messages"][0]["content"][1]["image_url"]["url"] == image


def test_where_credit_does_not_cover_the_models_maximum_the_default_is_sent_as_the_cap(
    platform: Platform,
) -> None:
    platform.add_model("wide", prices={"input": "0", "output": "100"}, max_output_tokens=100_000)
    platform.add_upstream(["wide"], name="wide")
    user = platform.add_user("cap@example.com", credit="5")
    platform.add_group("cap", default_max_output_tokens=20_000)
    key = platform.add_key(user, "cap")
    body = {"model": "wide", "messages": [{"role": "user", "content": "x"}]}
    with platform.caller(key) as caller:
        capped = caller.post("/chat/completions", json=body)
        assert capped.headers["x-tokenopen-max-output-tokens"] == "20000"
        assert platform.simulator.received()[-1].json["max_completion_tokens"] == 20_000
        platform.top_up(user, "20")
        free = caller.post("/chat/completions", json=body)
        assert "x-tokenopen-max-output-tokens" not in free.headers
        assert "max_completion_tokens" not in platform.simulator.received()[-1].json


def test_what_the_caller_may_afford_is_named_exactly(platform: Platform) -> None:
    platform.add_model("exact", prices={"input": "0", "output": "1000"}, max_output_tokens=100_000)
    platform.add_upstream(["exact"], name="exact")
    user = platform.add_user("afford@example.com", credit="1.2345")
    platform.add_group("afford")
    key = platform.add_key(user, "afford")

    def call(max_tokens: int) -> httpx.Response:
        body = {"model": "exact", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "x"}]}
        with platform.caller(key) as caller:
            return caller.post("/chat/completions", json=body)

    error = call(100_000).json()["error"]
    assert (error["needed"], error["available"]) == ("100", "1.2345")
    affordable = error["affordable_max_output_tokens"]
    assert affordable == 1_234
    assert call(affordable + 1).status_code == 402
    assert call(affordable).status_code == 200


def test_a_key_never_goes_over_its_own_credit_limit(platform: Platform) -> None:
    platform.add_model("coin", prices={"input": "0", "output": "1000"}, max_output_tokens=1_000)
    platform.add_upstream(["coin"], name="coin")
    user = platform.add_user("keylimit@example.com", credit="50")
    platform.add_group("keylimit")
    key = platform.add_key(user, "keylimit", credit_limit="5")
    body = {"model": "coin", "max_tokens": 1_000, "messages": [{"role": "user", "content": "x"}]}
    replies = asyncio.run(call_at_once(platform, key, [body] * 50))
    assert Counter(reply.status_code for reply in replies) == {200: 5, 402: 45}
    codes = {reply.json()["error"]["code"] for reply in replies if reply.status_code == 402}
    assert codes == {"key_credit_limit_reached"}
    assert platform.ask("GET", f"/api/admin/users/{user}")["balance"] == "45"


def test_bad_bodies_are_refused_and_cost_nothing(platform: Platform) -> None:
    user = platform.add_user(f"{secrets.token_hex(4)}@example.com", credit="1")
    platform.add_group("bad-bodies")
    key = platform.add_key(user, "bad-bodies")
    message = '"messages": [{"role": "user", "content": "x"}]'
    bodies: list[tuple[str | bytes, int]] = [
        ("", 400),
        ("not json", 400),
        ("[]", 400),
        ("null", 400),
        (b"\xff\xfe", 400),
        ("{}", 400),
        (f"{{{message}}}", 400),
        (f'{{"model": 7, {message}}}', 400),
        (f'{{"model": "", {message}}}', 400),
        (f'{{"model": "small", "model": "large", {message}}}', 400),
        (f'{{"Model": "small", "model": "small", {message}}}', 400),
        (f'{{"model": "small", "MAX_TOKENS": 5, {message}}}', 400),
        (f'{{"model": "small", "max_tokens": -1, {message}}}', 400),
        (f'{{"model": "small", "max_tokens": 0, {message}}}', 400),
        (f'{{"model": "small", "max_tokens": 1.5, {message}}}', 400),
        (f'{{"model": "small", "max_tokens": "5", {message}}}', 400),
        (f'{{"model": "small", "n": 0, {message}}}', 400),
        (f'{{"model": "small", "n": true, {message}}}', 400),
        (f'{{"model": "small", "stream": "yes", {message}}}', 400),
        (f'{{"model": "small", "service_tier": "priority", {message}}}', 400),
        (f'{{"model": "small", "web_search_options": {{}}, {message}}}', 400),
        (f'{{"model": "small", "tools": [{{"type": "web_search"}}], {message}}}', 400),
        ('{"model": "small"}', 400),
        ('{"model": "small", "messages": "x"}', 400),
        ('{"model": "small", "messages": []}', 400),
        ("[" * 100_000, 400),
        ('{"model": "small", "messages": ' + "[" * 100_000, 400),
        (b'{"model": "small", "messages": [{"content": "' + b"x" * 50_000_000 + b'"}]}', 413),
    ]
    with platform.caller(key) as caller:
        for body, status in bodies:
            reply = caller.post("/chat/completions", content=body)
            assert reply.status_code == status, (body[:80], reply.text)
            assert reply.json()["error"]["code"] in ("invalid_request", "request_too_large")
    shown = platform.ask("GET", f"/api/admin/users/{user}")
    assert (shown["balance"], shown["held"]) == ("1", "0")

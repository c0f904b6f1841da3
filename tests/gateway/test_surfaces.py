"""Which provider a call of a surface goes to, what counting costs, and whose ids are whose."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import EVENT_STREAM, Script
from tests.gateway.replies import ask, chat_json, delta, event, provider_error, whole_json
from tests.gateway.world import MODEL, World, bearer, refusal, until
from tokenopen.ports.storage import Batch
from tokenopen.ports.upstream import ReplyBroken

RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
COUNT_INPUT = "/v1/responses/input_tokens"
USAGE = {"input_tokens": 100, "output_tokens": 7, "total_tokens": 107}
CHARGE = 100 * 150 + 7 * 600


def response(response_id: str = "resp_1", item_id: str = "msg_1") -> Any:
    return {"id": response_id, "output": [{"id": item_id, "type": "message"}], "usage": USAGE}


def whole_response(response_id: str = "resp_1", item_id: str = "msg_1") -> Script:
    return Script(body=[msgspec.json.encode(response(response_id, item_id))])


def ask_response(**fields: Any) -> Any:
    return {"model": MODEL, "input": "x", "max_output_tokens": 10, **fields}


def ask_message(**fields: Any) -> Any:
    return {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 10, **fields}


async def request(world: World, method: str, path: str, *, key: str | None = None) -> AsgiCaller:
    caller = AsgiCaller(path=path, method=method, headers=[bearer(key or world.key)])
    await caller.call(world.api)
    await world.settled()
    return caller


async def add_anthropic(world: World) -> str:
    """Connect a provider that speaks Anthropic's surfaces, after the one that does not."""
    return await world.add_upstream(
        "anthropic", {"provider": "anthropic", "base_url": "https://anthropic.example.com", "priority": 9}
    )


async def test_a_call_goes_to_the_providers_that_speak_its_surface_alone(world: World) -> None:
    await add_anthropic(world)
    usage = {"input_tokens": 100, "output_tokens": 7}
    reply = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "usage": usage}
    world.upstream.will(Script(body=[msgspec.json.encode(reply)]), whole_json(), provider_error(500))
    assert (await world.call(ask_message(), path=MESSAGES)).status == 200
    assert (await world.call(ask())).status == 200
    failed = await world.call(ask_message(), path=MESSAGES)
    assert failed.json()["error"]["type"] == "api_error"
    assert [sent.url.split("/")[2] for sent in world.upstream.requests] == [
        "anthropic.example.com",
        "one.example.com",
        "anthropic.example.com",
    ]
    assert await world.charges() == [CHARGE, CHARGE]
    await world.assert_sound()


async def test_a_model_that_nobody_speaks_the_surface_for_is_refused_with_those_it_can_be_called_by(
    world: World,
) -> None:
    caller = await world.call({"model": MODEL, "messages": ask()["messages"]}, path=COUNT)
    error = refusal(caller, 400, "invalid_request")
    assert caller.json()["type"] == "error"
    assert error["type"] == "invalid_request_error"
    assert "cannot be called by POST /v1/messages/count_tokens" in error["message"]
    assert "/v1/chat/completions, /v1/completions" in error["message"]
    # What it can be called by in translation as well.
    assert "/v1/messages, /v1/moderations" in error["message"]
    assert "/v1/responses" in error["message"]
    assert world.upstream.requests == []


async def test_counting_tokens_holds_and_costs_nothing_however_little_credit_there_is(world: World) -> None:
    await add_anthropic(world)
    await world.set_credit(0)
    world.upstream.will(Script(body=[b'{"input_tokens":100}']))
    caller = await world.call({"model": MODEL, "messages": ask()["messages"]}, path=COUNT)
    assert (caller.status, caller.body) == (200, b'{"input_tokens":100}')
    assert caller.headers["x-tokenopen-charge"] == "0"
    row = await world.call_row(caller)
    assert (row["state"], row["hold"], row["charge"], row["end_reason"]) == ("voided", 0, 0, "completed")
    assert await world.charges() == []
    await world.assert_sound()


async def test_counting_the_input_of_a_response_is_free_and_knows_whose_responses_are_whose(
    world: World,
) -> None:
    asked = {"model": MODEL, "input": "x"}
    world.upstream.will(Script(body=[b'{"object":"response.input_tokens","input_tokens":12}']))
    caller = await world.call(asked, path=COUNT_INPUT)
    assert (caller.status, caller.headers["x-tokenopen-charge"]) == (200, "0")
    assert world.upstream.requests[0].url.endswith("/v1/responses/input_tokens")
    anothers = await world.call(asked | {"previous_response_id": "resp_9"}, path=COUNT_INPUT)
    refusal(anothers, 404, "not_found")
    assert await world.charges() == []
    await world.assert_sound()


async def test_a_free_call_is_not_charged_whatever_its_reply_looks_like(world: World) -> None:
    await add_anthropic(world)
    start = event({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 9}}})
    world.upstream.will(
        Script(body=[chat_json()]),
        Script(headers=EVENT_STREAM, body=[start, event({"type": "message_stop"})]),
        Script(headers=EVENT_STREAM, body=[start, delta("x"), ReplyBroken("gone")]),
    )
    for _ in range(3):
        await world.call({"model": MODEL, "messages": ask()["messages"]}, path=COUNT)
    assert await world.charges() == []
    await world.assert_sound()


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_what_a_reply_made_is_on_record_before_its_end_leaves(world: World, streamed: bool) -> None:
    gate = asyncio.Event()

    async def wait(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()

    world.storage.before_post = wait
    if streamed:
        created = event({"type": "response.created", "response": {"id": "resp_1"}})
        done = event({"type": "response.completed", "response": response()})
        world.upstream.will(Script(headers=EVENT_STREAM, body=[created, done]))
    else:
        world.upstream.will(whole_response())
    caller = world.caller(ask_response(stream=streamed), path=RESPONSES)
    running = world.start(caller)
    await until(lambda: any(batch.resolutions for batch in world.storage.batches))
    await asyncio.sleep(0.02)
    assert (caller.whole, b"completed" in caller.body) == (False, False)
    gate.set()
    await world.ended(running)
    assert caller.whole
    kept = {row["id"]: row["upstream_id"] for row in await world.rows("provider_objects")}
    assert kept == {"resp_1": world.upstream_id, "msg_1": world.upstream_id}


async def test_what_a_stream_that_broke_off_had_made_is_its_accounts_too(world: World) -> None:
    created = event({"type": "response.created", "response": {"id": "resp_1"}})
    text = event({"type": "response.output_text.delta", "delta": "Hi"})
    world.upstream.will(Script(headers=EVENT_STREAM, body=[created, text, ReplyBroken("gone")]))
    caller = await world.call(ask_response(stream=True), path=RESPONSES)
    assert caller.was_cut
    last = caller.body.split(b"\n\n")[-2]
    assert last.startswith(b"event: error\ndata: ")
    assert msgspec.json.decode(last.partition(b"data: ")[2])["code"] == "upstream_error"
    assert [row["id"] for row in await world.rows("provider_objects")] == ["resp_1"]
    await world.assert_sound()


async def test_ids_of_others_are_refused_before_anything_is_sent(world: World) -> None:
    world.upstream.will(whole_response())
    assert (await world.call(ask_response(), path=RESPONSES)).status == 200
    key = await world.create_key_of_another()
    sent = len(world.upstream.requests)
    asked = [
        ask_response(previous_response_id="resp_1"),
        ask_response(input=[{"type": "item_reference", "id": "msg_1"}]),
        ask_response(input=[{"type": "reasoning", "id": "msg_1", "summary": []}]),
        ask_response(previous_response_id="resp_of_nobody"),
    ]
    for body in asked:
        refusal(await world.call(body, path=RESPONSES, key=key), 404, "not_found")
    for method, path in (
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ):
        refusal(await request(world, method, path, key=key), 404, "not_found")
    assert len(world.upstream.requests) == sent
    assert len(await world.rows("calls")) == 1


async def test_an_items_id_is_only_a_name_to_a_provider_that_keeps_nothing(world: World) -> None:
    """DeepSeek and others want their items back as they were, with ids that they never look up."""
    await world.add_upstream("groq", {"provider": "groq", "base_url": "https://groq.example.com/openai/v1"})
    reasoning = {"type": "reasoning", "id": "rs_of_elsewhere", "content": [{"text": "hm"}]}
    world.upstream.will(whole_response())
    body = ask_response(input=[reasoning, {"role": "user", "content": "x"}])
    assert (await world.call(body, path=RESPONSES)).status == 200
    assert [sent.url for sent in world.upstream.requests] == ["https://groq.example.com/openai/v1/responses"]


async def test_a_follow_up_goes_where_its_response_is_and_nowhere_else(world: World) -> None:
    world.upstream.will(whole_response())
    assert (await world.call(ask_response(), path=RESPONSES)).status == 200
    await world.add_upstream("two", {"priority": -1})
    world.upstream.will(provider_error(500), Script(body=[b'{"id":"resp_1"}']), provider_error(404))
    failed = await world.call(ask_response(previous_response_id="resp_1"), path=RESPONSES)
    refusal(failed, 502, "upstream_error")
    shown = await request(world, "GET", "/v1/responses/resp_1")
    assert (shown.status, shown.body) == (200, b'{"id":"resp_1"}')
    refusal(await request(world, "GET", "/v1/responses/resp_1"), 404, "not_found")
    await world.change_upstream({"enabled": False})
    gone = await world.call(ask_response(previous_response_id="resp_1"), path=RESPONSES)
    refusal(gone, 503, "no_upstream_available")
    refusal(await request(world, "GET", "/v1/responses/resp_1"), 503, "no_upstream_available")
    hosts = [(sent.method, sent.url.split("/")[2]) for sent in world.upstream.requests]
    assert set(hosts) == {(b"POST", "one.example.com"), (b"GET", "one.example.com")}
    assert len(hosts) == 4
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_follow_up_is_held_for_the_whole_context_window(world: World) -> None:
    world.upstream.will(whole_response(), whole_response("resp_2", "msg_2"))
    first = await world.call(ask_response(), path=RESPONSES)
    second = await world.call(ask_response(previous_response_id="resp_1"), path=RESPONSES)
    assert (await world.call_row(first))["hold"] < 128_000 * 150
    assert (await world.call_row(second))["hold"] == 128_000 * 150 + 10 * 600


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", "anthropic"),
        ("/v1/messages/batches", "anthropic"),
        ("/v1beta/models/x:unknownMethod", "gemini"),
        ("/v1/responses", "openai"),
        ("/v1/nowhere", "openai"),
    ],
)
async def test_a_caller_without_a_key_is_refused_in_the_shape_of_the_path(
    world: World, path: str, shape: str
) -> None:
    caller = await AsgiCaller(path=path).call(world.api)
    assert caller.status == 401
    said = caller.json()
    if shape == "anthropic":
        assert (said["type"], said["error"]["type"]) == ("error", "authentication_error")
        assert said["request_id"] == caller.headers["request-id"] == caller.headers["x-request-id"]
        assert "x-api-key" in said["error"]["message"]
    elif shape == "gemini":
        assert (said["error"]["code"], said["error"]["status"]) == (401, "UNAUTHENTICATED")
        assert said["error"]["details"][0]["reason"] == "invalid_api_key"
    else:
        assert said["error"]["code"] == "invalid_api_key"


async def test_each_dialects_key_is_found_where_its_sdk_puts_it(world: World) -> None:
    key = world.key.encode()
    places: list[tuple[str, list[tuple[bytes, bytes]], bytes]] = [
        ("/v1/messages/nowhere", [(b"x-api-key", key)], b""),
        ("/v1/messages/nowhere", [(b"authorization", b"Bearer " + key)], b""),
        ("/v1/messages/nowhere", [(b"x-api-key", b"sk-ant-1"), (b"authorization", b"bearer " + key)], b""),
        ("/v1beta/nowhere", [(b"x-goog-api-key", key)], b""),
        ("/v1beta/nowhere", [], b"alt=sse&key=" + key),
        ("/v1/nowhere", [(b"authorization", b"Bearer " + key)], b""),
    ]
    for path, headers, query in places:
        caller = AsgiCaller(path=path, headers=headers)
        caller.scope["query_string"] = query
        assert (await caller.call(world.api)).status == 404, (path, headers)
    for path, headers, query in [
        ("/v1/nowhere", [(b"x-api-key", key)], b""),
        ("/v1/nowhere", [], b"key=" + key),
        ("/v1/messages/nowhere", [], b"key=" + key),
        ("/v1/nowhere", [(b"authorization", b"Basic " + key)], b""),
    ]:
        caller = AsgiCaller(path=path, headers=headers)
        caller.scope["query_string"] = query
        assert (await caller.call(world.api)).status == 401, (path, headers)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o-mini"])
async def test_models_are_shown_in_anthropics_shape_to_those_who_speak_it(world: World, path: str) -> None:
    headers = [(b"x-api-key", world.key.encode()), (b"anthropic-version", b"2023-06-01")]
    caller = await AsgiCaller(path=path, method="GET", headers=headers).call(world.api)
    said = caller.json()
    first = said if path.endswith("mini") else said["data"][0]
    assert (first["type"], first["id"]) == ("model", MODEL)
    assert first["created_at"].endswith("Z")
    plain = (await world.look_up(path)).json()
    assert (plain if path.endswith("mini") else plain["data"][0])["object"] == "model"

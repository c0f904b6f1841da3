"""Responses and completions by the official openai SDK, against the real process: what the provider keeps
belongs to the account whose call made it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.running import Platform
from tokenopen.simulator.process import SimulatorProcess

MODEL = "small"
# At a second provider as well, before the first.
SHARED_MODEL = "shared"


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    platform.add_group("responses")
    return platform.add_key(platform.add_user("responses@example.com", credit="10"), "responses")


@pytest.fixture
def client(platform: Platform, key: str) -> Iterator[Any]:
    with OpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
def stranger(platform: Platform, client: Any) -> Any:
    """A client of another account in the same group."""
    user = platform.add_user(f"stranger-{id(client)}@example.com", credit="10")
    return client.with_options(api_key=platform.add_key(user, "responses"))


def test_a_response_and_its_charge(client: Any) -> None:
    raw = client.responses.with_raw_response.create(model=MODEL, input="one two three", max_output_tokens=4)
    response = raw.parse()
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 4)
    assert response.output_text
    assert raw.headers["x-tokenopen-charge"] == "0.00000285"


def test_a_stream_ends_with_the_whole_response(client: Any) -> None:
    events = list(
        client.responses.create(model=MODEL, input="one two three", max_output_tokens=4, stream=True)
    )
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.usage.output_tokens == 4
    kept = client.responses.retrieve(events[0].response.id)
    assert kept.output_text == "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )


async def test_the_async_client_in_both_ways(platform: Platform, key: str) -> None:
    client: Any
    async with AsyncOpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=0) as client:
        response = await client.responses.create(model=MODEL, input="one", max_output_tokens=2)
        followed = await client.responses.create(
            model=MODEL, input="two", max_output_tokens=2, previous_response_id=response.id, stream=True
        )
        last = [event async for event in followed][-1]
    # The provider counts what it keeps: 1 in, 2 out, and 1 more in.
    assert last.response.usage.input_tokens == 4


def test_what_is_kept_can_be_shown_followed_up_and_deleted(platform: Platform, client: Any) -> None:
    response = client.responses.create(model=MODEL, input="one two", max_output_tokens=2)
    raw = client.responses.with_raw_response.retrieve(response.id)
    assert raw.parse().output_text == response.output_text
    assert raw.headers["x-tokenopen-charge"] == "0"
    assert client.responses.input_items.list(response.id).data == []
    item = response.output[0].id
    followed = client.responses.create(
        model=MODEL,
        input=[{"type": "item_reference", "id": item}, {"role": "user", "content": "three"}],
        max_output_tokens=2,
    )
    assert followed.output_text
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(response.id)
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.retrieve(response.id)
    assert gone.value.code == "not_found"


def test_nobody_else_may_name_what_an_account_has_made(
    platform: Platform, client: Any, stranger: Any
) -> None:
    response = client.responses.create(model=MODEL, input="one two", max_output_tokens=2)
    before = len(platform.simulator.received())
    reference = {"type": "item_reference", "id": response.output[0].id}
    reasoning = {"type": "reasoning", "id": response.output[0].id, "summary": []}
    attempts: list[Any] = [
        lambda: stranger.responses.retrieve(response.id),
        lambda: stranger.responses.delete(response.id),
        lambda: stranger.responses.cancel(response.id),
        lambda: stranger.responses.input_items.list(response.id),
        lambda: stranger.responses.create(model=MODEL, input="x", previous_response_id=response.id),
        lambda: stranger.responses.create(model=MODEL, input=[reference]),
        lambda: stranger.responses.create(model=MODEL, input=[{"id": response.output[0].id}]),
        lambda: stranger.responses.create(model=MODEL, input=[reasoning]),
        # Of nobody's making.
        lambda: client.responses.retrieve("resp_unknown"),
        lambda: client.responses.create(model=MODEL, input="x", conversation="conv_unknown"),
        lambda: client.responses.create(model=MODEL, input="x", conversation={"id": "conv_unknown"}),
        lambda: client.responses.create(
            model=MODEL,
            input=[{"role": "user", "content": [{"type": "input_file", "file_id": "file_unknown"}]}],
        ),
        lambda: client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_x"}}]}],
        ),
        lambda: client.chat.completions.create(
            model=MODEL, messages=[{"role": "assistant", "audio": {"id": "audio_x"}}]
        ),
    ]
    for attempt in attempts:
        with pytest.raises(openai.NotFoundError) as unknown:
            attempt()
        assert unknown.value.code == "not_found"
    assert len(platform.simulator.received()) == before


def test_what_would_finish_where_nobody_meters_it_is_refused(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(model=MODEL, input="x", background=True)
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.responses.create(model=MODEL, prompt={"id": "pmpt_1"})


def test_an_item_that_comes_back_whole_needs_not_be_kept(client: Any) -> None:
    first = client.responses.create(model=MODEL, input="one", max_output_tokens=2, store=False)
    again = [item.model_dump() for item in first.output]
    followed = client.responses.create(
        model=MODEL, input=[*again, {"role": "user", "content": "two"}], store=False, max_output_tokens=2
    )
    assert followed.output_text
    sealed = {"type": "reasoning", "id": "rs_of_elsewhere", "summary": [], "encrypted_content": "gAAAA"}
    assert client.responses.create(
        model=MODEL, input=[sealed, {"role": "user", "content": "two"}]
    ).output_text


def test_a_follow_up_goes_to_the_provider_that_keeps_the_response(platform: Platform, client: Any) -> None:
    platform.add_model(SHARED_MODEL)
    first = platform.add_upstream([SHARED_MODEL], name="first", priority=1)
    response = client.responses.create(model=SHARED_MODEL, input="one", max_output_tokens=2)
    with SimulatorProcess(record=True) as other:
        platform.ask(
            "POST",
            "/api/admin/upstreams",
            {
                "name": "before-the-first",
                "provider": "openai",
                "base_url": other.base_url,
                "credential": "sim-key",
                "priority": 0,
                "models": {SHARED_MODEL: SHARED_MODEL},
            },
        )
        follow: Any = {"model": SHARED_MODEL, "input": "two", "previous_response_id": response.id}
        assert client.responses.create(**follow).output_text
        assert client.responses.retrieve(response.id).id == response.id
        assert other.received() == []
        assert client.responses.create(model=SHARED_MODEL, input="x").output_text
        assert len(other.received()) == 1
        platform.ask("PATCH", f"/api/admin/upstreams/{first}", {"enabled": False})
        with pytest.raises(openai.InternalServerError) as gone:
            client.responses.create(**follow)
        assert (gone.value.status_code, gone.value.code) == (503, "no_upstream_available")
        assert len(other.received()) == 1


def test_a_stored_response_is_shown_also_when_the_group_does_not_allow_its_model_any_more(
    platform: Platform, client: Any
) -> None:
    response = client.responses.create(model=MODEL, input="one", max_output_tokens=2)
    platform.ask("PATCH", "/api/admin/groups/responses", {"allowed_models": ["large"]})
    try:
        assert client.responses.retrieve(response.id).id == response.id
        with pytest.raises(openai.PermissionDeniedError):
            client.responses.create(model=MODEL, input="two", previous_response_id=response.id)
    finally:
        platform.ask("PATCH", "/api/admin/groups/responses", {"allowed_models": ["*"]})


def test_a_stream_that_breaks_off_raises_and_is_charged_for_what_came(
    platform: Platform, key: str, client: Any
) -> None:
    stream = client.responses.create(
        model=MODEL,
        input="x" * 60,
        max_output_tokens=50,
        stream=True,
        extra_body={"simulate": {"cut_after_events": 9}},
    )
    call_id = stream.response.headers["x-request-id"]
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)
    with platform.caller(key) as caller:
        receipt = caller.get(f"/receipts/{call_id}").json()
    assert (receipt["end_reason"], receipt["usage_source"]) == ("upstream_broke_off", "estimated")
    # Of nine events four come before the text; 60 bytes of text are at least 10 tokens.
    assert receipt["usage"] == {"input": 10, "output": 5}


def test_completions_whole_and_streamed(client: Any) -> None:
    raw = client.completions.with_raw_response.create(
        model=MODEL, prompt=["one two", "three"], max_tokens=4, n=2
    )
    assert raw.parse().usage.completion_tokens == 16
    # 3 at 0.15 and 16 at 0.6 per million.
    assert raw.headers["x-tokenopen-charge"] == "0.00001005"
    chunks = list(client.completions.create(model=MODEL, prompt="one", max_tokens=3, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "alpha bravo delta"


def test_the_books_are_right(platform: Platform) -> None:
    platform.audit()

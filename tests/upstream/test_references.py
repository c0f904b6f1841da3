"""References: which ids in a request are of what a provider keeps, and which ids a reply hands out."""

import json
from typing import Any

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import Surface, Target
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.surfaces.responses import ResponsesSurface
from tokenopen.upstream.surfaces.stored_response import StoredResponseSurface

CONVENTION = PROVIDERS["openai"].convention
CHAT, MESSAGES, RESPONSES = ChatSurface(), MessagesSurface(), ResponsesSurface()


def references(surface: Surface, **fields: Any) -> tuple[list[str], list[str]]:
    body = {"model": "m", **fields}
    request = surface.read_request(json.dumps(body).encode())
    return list(request.references), list(request.item_ids)


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("surface", "fields", "expected"),
    [
        (RESPONSES, {"input": "x", "previous_response_id": "resp_1"}, ["resp_1"]),
        (RESPONSES, {"input": "x", "conversation": "conv_1"}, ["conv_1"]),
        (RESPONSES, {"input": "x", "conversation": {"id": "conv_1"}}, ["conv_1"]),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}, ["msg_1"]),
        (RESPONSES, {"input": [{"id": "msg_1"}, {"id": "msg_1", "type": None}]}, ["msg_1"]),
        (RESPONSES, {"input": user({"type": "input_file", "file_id": "file_1"})}, ["file_1"]),
        (RESPONSES, {"input": user({"type": "input_image", "file_id": "file_1"})}, ["file_1"]),
        (
            RESPONSES,
            {
                "input": [
                    {
                        "type": "computer_call_output",
                        "output": {"type": "computer_screenshot", "file_id": "file_1"},
                    }
                ]
            },
            ["file_1"],
        ),
        # Code that is asked for next may run where that of an earlier item has run.
        (
            RESPONSES,
            {
                "input": [
                    {"type": "code_interpreter_call", "encrypted_content": "x", "container_id": "cntr_1"}
                ]
            },
            ["cntr_1"],
        ),
        (
            RESPONSES,
            {"input": [{"type": "shell_call", "environment": {"container_id": "cntr_1"}}]},
            ["cntr_1"],
        ),
        (
            RESPONSES,
            {"input": "x", "tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
            ["cntr_1"],
        ),
        (
            RESPONSES,
            {
                "input": "x",
                "tools": [{"type": "image_generation", "input_image_mask": {"file_id": "file_1"}}],
            },
            ["file_1"],
        ),
        (RESPONSES, {"input": "x", "previous_response_id": None, "conversation": None}, []),
        (CHAT, {"messages": user({"type": "file", "file": {"file_id": "file_1"}})}, ["file_1"]),
        (CHAT, {"messages": user({"type": "file", "file_id": "file_1"})}, ["file_1"]),
        (CHAT, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, ["audio_1"]),
        (MESSAGES, {"messages": user(), "container": "container_1"}, ["container_1"]),
        (MESSAGES, {"messages": user(), "container": {"id": "container_1", "skills": []}}, ["container_1"]),
        (
            MESSAGES,
            {"messages": user({"type": "image", "source": {"type": "file", "file_id": "file_1"}})},
            ["file_1"],
        ),
        (MESSAGES, {"messages": user({"type": "container_upload", "file_id": "file_1"})}, ["file_1"]),
        (
            MESSAGES,
            {
                "messages": user(
                    {
                        "type": "tool_result",
                        "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}],
                    }
                )
            },
            ["file_1"],
        ),
    ],
)
def test_what_a_provider_keeps_is_found_wherever_it_is_referred_to(
    surface: Surface, fields: dict[str, Any], expected: list[str]
) -> None:
    assert references(surface, **fields) == (expected, [])


@pytest.mark.parametrize(
    ("surface", "fields"),
    [
        (RESPONSES, {"input": "x", "previous_response_id": 5}),
        (RESPONSES, {"input": "x", "previous_response_id": ""}),
        (RESPONSES, {"input": "x", "conversation": {}}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": ["msg_1"]}]}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "x" * 513}]}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": f"m{n}"} for n in range(501)]}),
        (RESPONSES, {"input": [{"type": "reasoning", "id": f"m{n}"} for n in range(501)]}),
        (MESSAGES, {"messages": user(), "container": 5}),
        (CHAT, {"messages": user({"type": "file", "file": {"file_id": 5}})}),
    ],
)
def test_ids_that_no_provider_gives_are_refused(surface: Surface, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        references(surface, **fields)


def test_an_approval_names_an_item_that_may_be_looked_up() -> None:
    approval = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    assert references(RESPONSES, input=[approval]) == ([], ["mcpr_1"])


def test_items_that_are_sent_whole_are_no_references_but_others_may_be_looked_up() -> None:
    items: list[Any] = [
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
        {"role": "user", "id": "msg_2", "content": "x"},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "id": "fo_1", "call_id": "c", "output": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": ""},
        {"type": "image_generation_call", "id": "ig_1"},
        {"type": "of_tomorrow", "id": "x_1"},
    ]
    assert references(RESPONSES, input=items) == ([], ["rs_2", "ig_1", "x_1"])


def test_the_ids_of_a_response_and_its_items_are_found_whole_and_streamed() -> None:
    response = {"id": "resp_1", "output": [{"id": "rs_1"}, {"id": "msg_1"}, {"id": None}, 5]}
    assert RESPONSES.created_ids(json.dumps(response).encode()) == ["resp_1", "rs_1", "msg_1"]
    for odd in (b"<html>", b"[]", b'{"id":5}', b'{"id":"","output":{}}'):
        assert list(RESPONSES.created_ids(odd)) == []
    request = RESPONSES.read_request(b'{"model":"m","input":"x","stream":true}')
    reader = RESPONSES.stream_reader(request, convention=CONVENTION)
    events: list[Any] = [
        {"type": "response.created", "response": {"id": "resp_1", "output": []}},
        {"type": "response.output_item.added", "item": {"id": "rs_1"}},
        {"type": "response.output_item.done", "item": {"id": "rs_1"}},
    ]
    for event in events:
        reader.feed(f"data: {json.dumps(event)}\n\n".encode())
    # Also where the stream breaks off here.
    assert list(reader.created_ids) == ["resp_1", "rs_1"]
    reader.feed(f"data: {json.dumps({'type': 'response.completed', 'response': response})}\n\n".encode())
    assert list(reader.created_ids) == ["resp_1", "rs_1", "msg_1"]


def test_the_ids_of_sound_are_found_whole_and_streamed() -> None:
    reply = {"choices": [{"message": {"audio": {"id": "audio_1"}}}, {"message": {"content": "x"}}]}
    assert list(CHAT.created_ids(json.dumps(reply).encode())) == ["audio_1"]
    assert list(CHAT.created_ids(b'{"audio"')) == []
    request = CHAT.read_request(b'{"model":"m","messages":[{}],"stream":true}')
    reader = CHAT.stream_reader(request, convention=CONVENTION)
    for audio in ({"id": "audio_1"}, {"id": "audio_1", "data": "AAAA"}, {"transcript": "x"}):
        reader.feed(f"data: {json.dumps({'choices': [{'delta': {'audio': audio}}]})}\n\n".encode())
    assert list(reader.created_ids) == ["audio_1"]


def test_a_stored_response_is_asked_for_by_its_id_with_few_parameters() -> None:
    shown = StoredResponseSurface("GET", "/input_items")
    target = Target(
        values={"response_id": "resp/1"},
        query_pairs=[("include[]", "a b"), ("include[]", "c"), ("limit", "5")],
    )
    request = shown.read_request(b"", target)
    assert (request.model, list(request.references)) == ("", ["resp/1"])
    url = PROVIDERS["openai"].url_of(shown, "https://a.test/v1", request, "m")
    expected = "https://a.test/v1/responses/resp%2F1/input_items?include%5B%5D=a+b&include%5B%5D=c&limit=5"
    assert url == expected
    for pairs in ([("stream", "true")], [("api-version", "1")]):
        with pytest.raises(InvalidRequest):
            shown.read_request(b"", Target(values={"response_id": "resp_1"}, query_pairs=pairs))
    with pytest.raises(InvalidRequest):
        shown.read_request(b"x" * 65, Target(values={"response_id": "resp_1"}))

"""Schemas that a reply has to follow, in the shapes of both APIs, and what else real requests have needed."""

from typing import Any

import pytest
from tests.upstream.test_translation_requests import CHAT, MESSAGES, SCHEMA, USER, carried, carry, refused

STRICT: Any = SCHEMA | {"additionalProperties": False, "required": ["city"]}
PLACE = "response_format.json_schema"


def chat_with(**json_schema: Any) -> Any:
    return CHAT | {"response_format": {"type": "json_schema", "json_schema": {"name": "place"} | json_schema}}


@pytest.mark.parametrize("strict", [{}, {"strict": True}, {"strict": False}, {"strict": None}])
def test_a_schema_of_chats_is_one_of_messages(strict: Any) -> None:
    there = {"format": {"type": "json_schema", "schema": STRICT}}
    assert carried("chat", chat_with(schema=STRICT, **strict))["output_config"] == there


def test_what_chat_says_about_a_schema_is_said_inside_it() -> None:
    described = STRICT | {"description": "Where."}
    for given in (STRICT, described):
        found = carried("chat", chat_with(schema=given, description="Where."))
        assert found["output_config"]["format"]["schema"] == described
    assert refused("chat", chat_with(schema=described, description="Who.")) == f"{PLACE}.description"


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ({"type": "json_object"}, "response_format.type"),
        ({"type": "grammar", "grammar": "g"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "p"}}, f"{PLACE}.schema"),
        ({"type": "json_schema", "json_schema": {"schema": STRICT, "mode": "x"}}, f"{PLACE}.mode"),
        ({"type": "json_schema", "json_schema": {"schema": STRICT}, "mode": "x"}, "response_format.mode"),
        ("json", "response_format"),
    ],
)
def test_forms_of_replies_that_messages_have_nothing_like_are_refused(form: Any, name: str) -> None:
    assert refused("chat", CHAT | {"response_format": form}) == name


@pytest.mark.parametrize("told", ["output_config", "output_format"])
def test_a_schema_of_messages_is_a_strict_one_of_chats(told: str) -> None:
    """Anthropic keeps to its schemas; chat does where it is asked to be strict."""
    form = {"type": "json_schema", "schema": STRICT}
    asked = MESSAGES | {told: {"format": form} if told == "output_config" else form}
    there = {"type": "json_schema", "json_schema": {"name": "reply", "schema": STRICT, "strict": True}}
    assert carried("messages", asked)["response_format"] == there
    assert "response_format" not in carried("messages", MESSAGES | {told: None})


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": {"type": "json_schema", "schema": STRICT, "x": 1}}, "output_format.x"),
        (
            {
                "output_config": {"format": {"type": "json_schema", "schema": STRICT}},
                "output_format": {"type": "json_schema", "schema": STRICT},
            },
            "output_format",
        ),
    ],
)
def test_what_chat_has_nothing_like_in_forms_of_replies_is_refused(more: Any, name: str) -> None:
    assert refused("messages", MESSAGES | more) == name


def test_the_name_beside_a_tools_result_is_left_out_since_its_call_has_it() -> None:
    """OpenAI's API does not know it, but many clients send it."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "name": "f", "tool_call_id": "1", "content": "Sun."},
    ]
    asked = CHAT | {"messages": turns}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "Sun."}
    assert carried("chat", asked)["messages"][2] == {"role": "user", "content": [result]}
    assert carry("chat", asked).left_out == ["name"]


def test_mistrals_word_for_any_tool_is_understood() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    assert carried("chat", CHAT | {"tools": tools, "tool_choice": "any"})["tool_choice"] == {"type": "any"}

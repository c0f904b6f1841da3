"""LiteLLM's SDK over OpenAI's and Anthropic's APIs: whole replies, streams, tools, errors."""

import os
from typing import Any

import litellm
from report import Report

MODEL, URL = os.environ["TRIAL_MODEL"], os.environ["TRIAL_URL"]
KEY, WRONG_KEY, LIMITED_KEY = (os.environ[f"TRIAL_{name}"] for name in ("KEY", "WRONG_KEY", "LIMITED_KEY"))
HELLO = [{"role": "user", "content": "Say hello"}]
BASES = {"openai": f"{URL}/v1", "anthropic": URL}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
litellm.suppress_debug_info = True
report = Report()


def call(provider: str, *, key: str = KEY, model: str = MODEL, **more: Any) -> Any:
    return litellm.completion(
        model=f"{provider}/{model}",
        api_base=BASES[provider],
        api_key=key,
        messages=HELLO,
        max_tokens=16,
        num_retries=0,
        **more,
    )


@report.step("chat")
def chat() -> None:
    for provider in BASES:
        reply = call(provider)
        assert len(reply.choices[0].message.content.split()) == 16
        assert reply.usage.total_tokens == 18


@report.step("stream")
def stream() -> None:
    for provider in BASES:
        pieces = [event.choices[0].delta.content or "" for event in call(provider, stream=True)]
        assert len(pieces) > 2
        assert len("".join(pieces).split()) == 16


@report.step("tools")
def tools() -> None:
    for provider in BASES:
        choice = {"type": "function", "function": {"name": "weather"}}
        reply = call(provider, tools=[TOOL], tool_choice=choice)
        assert reply.choices[0].message.tool_calls[0].function.name == "weather"


@report.step("errors")
def refused() -> None:
    expected = (
        ({"model": "unknown"}, litellm.NotFoundError),
        ({"key": WRONG_KEY}, litellm.AuthenticationError),
        ({"key": LIMITED_KEY}, litellm.RateLimitError),
    )
    for provider in BASES:
        for changes, kind in expected:
            try:
                call(provider, **changes)
            except kind:
                continue
            raise AssertionError(f"{provider}: no {kind.__name__}")


@report.step("more")
def more() -> None:
    reply = litellm.embedding(model=f"openai/{MODEL}", input=["one"], api_base=BASES["openai"], api_key=KEY)
    assert len(reply.data) == 1


report.end()

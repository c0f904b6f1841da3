"""LangChain over OpenAI's and Anthropic's APIs: whole replies, streams, tools, errors."""

import os

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from report import Report

MODEL, URL = os.environ["TRIAL_MODEL"], os.environ["TRIAL_URL"]
KEY, WRONG_KEY, LIMITED_KEY = (os.environ[f"TRIAL_{name}"] for name in ("KEY", "WRONG_KEY", "LIMITED_KEY"))
report = Report()


def models(key: str = KEY, model: str = MODEL) -> list[BaseChatModel]:
    return [
        ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=key, max_tokens=16, max_retries=0),
        ChatAnthropic(model_name=model, base_url=URL, api_key=key, max_tokens=16, max_retries=0),
    ]


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@report.step("chat")
def chat() -> None:
    for model in models():
        reply = model.invoke("Say hello")
        assert len(str(reply.text).split()) == 16
        assert reply.usage_metadata is not None
        assert reply.usage_metadata["total_tokens"] == 18


@report.step("stream")
def stream() -> None:
    for model in models():
        pieces = list(model.stream("Say hello"))
        assert len(pieces) > 2
        assert len("".join(str(piece.text) for piece in pieces).split()) == 16


@report.step("tools")
def tools() -> None:
    for model in models():
        reply = model.bind_tools([weather], tool_choice="weather").invoke("What is the weather in Paris?")
        assert [call["name"] for call in reply.tool_calls] == ["weather"]
        assert reply.tool_calls[0]["args"] == {"city": "alpha"}


@report.step("errors")
def refused() -> None:
    expected = (
        (models(model="unknown"), (openai.NotFoundError, anthropic.NotFoundError)),
        (models(WRONG_KEY), (openai.AuthenticationError, anthropic.AuthenticationError)),
        (models(LIMITED_KEY), (openai.RateLimitError, anthropic.RateLimitError)),
    )
    for callers, kinds in expected:
        for model, kind in zip(callers, kinds, strict=True):
            try:
                model.invoke("Hi")
            except kind:
                continue
            raise AssertionError(f"no {kind.__name__}")


@report.step("more")
def more() -> None:
    embeddings = OpenAIEmbeddings(
        model=MODEL, base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_documents(["one", "two"])) == 2


report.end()
